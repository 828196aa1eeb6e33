# %% [markdown] name="title"
# # Stream with Kafka
#
# Lab 06 kept the day in one log on one server. When there are more events than one reader can do, a log
# has to be cut into parts; Kafka is a log that is cut from the start, and most of its surprises come from
# the cuts.
#
# **Time:** 60 minutes · **You need:** [lab 06](06-keep-the-log.ipynb), and the package confluent-kafka
# (`pip install 'messaging-lab[kafka]'`). It brings a small Kafka cluster along, inside this program, that
# speaks the real protocol. One cell needs a real Kafka, and skips itself where there is none.
#
# **You'll do**
#
# - find out where a record is after `produce()`;
# - map a day of flights to partitions, by one key and by another;
# - watch a group share partitions while members come and die;
# - lose work and do work twice, by the place of one line;
# - watch one partition fall behind while others have nothing to do, and replay a log;
# - take the broker down, and lose an answer on its way.
#
# **You'll learn** what a key, an offset and a commit promise, and what they do not.

# %% name="setup"
import re
from collections import Counter

import labkit
from labkit import NewEvent, plots
from labkit.data import stormy_day
from labkit.exercises import lab10
from labkit.experiments.kafka_day import watch_lag
from labkit.experiments.kafka_lab import count_records, fresh_topic, next_offset, open_kafka
from labkit.experiments.real_kafka import SKIPPED, try_a_real_kafka
from labkit.experiments.rebalancing import watch_rebalances

lab = open_kafka()
print(f"Broker: {lab.name if lab else 'none'}")

# %% [markdown] name="flow"
# ## Where is a record after `produce()`?
#
# ```mermaid
# flowchart LR
#     tower["tower<br/>(producer)"] -- "key → partition" --> p0[("partition 0")]
#     tower --> p1[("partition 1")]
#     tower --> p2[("partition 2")]
#     p0 --> ann["Ann<br/>(consumer)"]
#     p1 --> ann
#     p2 --> bob["Bob<br/>(consumer)"]
#     subgraph board ["group board"]
#         ann
#         bob
#     end
# ```
#
# In words: Kafka calls an event a **record**, and a stream a **topic**. A topic is several logs, its
# **partitions**. A **producer** appends records, and chooses the partition of each by its key.
# **Consumers** read. In a group each partition has one **owner**, who reads it in order.
#
# The package confluent-kafka is a thin cover on the library librdkafka. Its `produce()` takes a record and
# returns at once. For each record it calls a function of yours, later: the **delivery report**.
#
# **Predict.** You call `produce()` three times; no call raises an exception. How many records has the broker
# when you look?
#
# - **A.** Three.
# - **B.** None.
# - **C.** Two: each call sends the one before.
#
# This producer may have three records on their way, and no more (by default it is 100,000). What does a
# fourth call do?
#
# - **D.** It waits until there is room.
# - **E.** It raises an exception.
# - **F.** It replaces the oldest one.

# %% name="buffer"
notes, reports = fresh_topic(lab, "notes"), Counter()


def report(error, _record):
    """What became of one record: librdkafka calls this."""
    reports[error.name() if error else "delivered"] += 1


with lab.kafka.producer(linger_ms=60_000, queue_buffering_max_messages=3) as producer:
    for number in range(4):
        try:
            producer.produce(lab.kafka.topic("notes"), f"note {number}", on_delivery=report)
        except BufferError as full:
            print(f"note {number}: {full}")
    print(len(producer), "in this program |", count_records(notes), "in the topic |", dict(reports))
print("after the end of the block:", count_records(notes), "in the topic |", dict(reports))

# %% [markdown] name="buffer-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** `produce()` puts a record into a buffer of your own program; a thread sends it later, together with
# others. `linger.ms` says how long it may wait for company: 5 ms by default, and a minute here, so that you
# had time to look: with 5 ms you might have found three. A program that ends before `flush()` takes its buffer with it, without an error.
# `lab.kafka.producer` calls `flush()` at the end of its block, and so does `lab.close()`; then the reports
# come in, and the broker has all three.
#
# **E.** The buffer is bounded, and `BufferError` says that it is full: call `poll()`, which gives you the
# reports and makes room, and try again. labkit's `append` does that for you, and waits for the report of each
# record; if one is not delivered in time, it raises `BrokerUnavailable`.
#
# </details>
#
# ## Which partition?
#
# From the key the producer computes a number (a **hash**: the same key always gives the same number), divides
# it by the number of partitions, and takes the remainder.
#
# 979 departures and cancellations go into two topics of six partitions each: once with the carrier as the
# key, once with the airport (EWR, JFK or LGA). There are fifteen carriers.
#
# **Predict.** How many of the six partitions get something, by carrier and by airport?
#
# - **A.** Six and six, about the same in each: that is what a hash is for.
# - **B.** Six and six, but not the same in each.
# - **C.** Six, but not the same in each, and three.

# %% name="partitions"
day = stormy_day(types=["flight.departed", "flight.cancelled"])
topics = []
for name, field in {"by-carrier": "carrier", "by-airport": "origin"}.items():
    topic = fresh_topic(lab, name, 6)
    _ = topic.append_many([NewEvent(h.message, key=h.message.content[field]) for h in day])
    topics.append(topic)
plots.show(plots.partitions(topics))

# %% [markdown] name="partitions-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A key always goes to one partition, so three keys fill three partitions at most, and however many
# consumers you add, three will work. Fifteen carriers are not enough either: which of them share a
# partition is chance, and United has more flights than Hawaiian. One partition has a third of all, another
# next to nothing: that is **skew**.
#
# </details>
#
# **Predict**, three times.
#
# A delayed flight is on everybody's phone: of 1,000 events 900 are about B6 739, and 100 about a hundred
# other flights. The key is the flight. How many has the busiest of six partitions?
#
# - **A.** About 167, a sixth.
# - **B.** 900: B6 739 has a partition to itself.
# - **C.** More than 900.
#
# A Java program and this one append to the same topic of three partitions. For how many of 1,000 keys do they
# choose the same partition?
#
# - **D.** All 1,000: it is the same Kafka.
# - **E.** About 333.
# - **F.** None.
#
# The topic of three partitions gets a fourth one. How many of the 1,000 keys go elsewhere from then on?
#
# - **G.** None.
# - **H.** About 250.
# - **I.** About 750.

# %% name="keys"
keys = ["B6 739"] * 900 + [f"F {number}" for number in range(100)]
loads = Counter(lab.kafka.partition_of("by-carrier", key) for key in keys)
print("busiest of six:", max(loads.values()), "| all:", [loads[number] for number in range(6)])

three, four = fresh_topic(lab, "three", 3), fresh_topic(lab, "four", 4)
thousand = [f"key {number}" for number in range(1000)]
python = [lab.kafka.partition_of("three", key) for key in thousand]
java = [lab.kafka.partition_of("three", key, "murmur2_random") for key in thousand]
after = [lab.kafka.partition_of("four", key) for key in thousand]
print("Python and Java agree on", sum(a == b for a, b in zip(python, java, strict=True)))
print("with a fourth partition move", sum(a != b for a, b in zip(python, after, strict=True)))

# %% [markdown] name="keys-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** 916: the 900, and sixteen other flights whose hash leads there, too. Hashing spreads *keys*, not
# events. Where the order among the events of a key is not needed, take a finer key: flight and passenger,
# say.
#
# **E.** The *producer* computes the hash, not the broker, and not all with the same function: librdkafka
# takes CRC-32, Java's client murmur2. On three partitions they agree by chance, on a third. Set
# `partitioner` to the same in all programs (`"murmur2_random"` is Java's).
#
# **I.** Another number to divide by, another remainder. From then on a flight's old events and its new ones
# are in two places: begin with enough partitions.
#
# </details>
#
# ## What is in order?
#
# All that happened on the day, 3,832 events with the flight as the key, is appended in the order of the day to
# three partitions. Then it is read.
#
# **Predict.** Does it come in the order of the day?
#
# - **A.** Yes: it is a log.
# - **B.** No, but the events of each flight do.
# - **C.** No, not even those of one flight: they are spread over the partitions.

# %% name="order"
flights = fresh_topic(lab, "flights", 3)
happened = [NewEvent(h.message, key=h.message.content["flight"]) for h in stormy_day()]
_ = flights.append_many(happened)
read = flights.read(count=10_000)


def in_order(events):
    """Whether they come in the order of the day."""
    times = [event.message.timestamp for event in events]
    return times == sorted(times)


print(len(read), "read | all in order:", in_order(read))
for number in range(3):
    part = [event for event in read if event.position.partition == number]
    keys = {event.key for event in part}
    print(f"partition {number}: {len(keys)} flights | in order:", in_order(part))

# %% [markdown] name="order-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Order holds within a partition. The three figures make 979, the number of flights of the day: so each
# flight is in one partition only, and its events are in order. Between partitions there is no order: they
# are read side by side.
#
# </details>
#
# ## A group shares partitions
#
# Ann, Bob and Cat join one after the other, then Dan and Eve. Then Ann dies. The topic has three
# partitions. (This takes about a quarter of a minute: the group has to settle each time.)
#
# **Predict.** How many of the five work, before Ann's death?
#
# - **A.** Five.
# - **B.** Three.
# - **C.** One: the others stand by.

# %% name="rebalance"
steps = [(f"{name} joins", [name]) for name in ("Ann", "Bob", "Cat")]
steps += [("Dan and Eve join", ["Dan", "Eve"]), ("Ann dies", ["-Ann"])]
story = watch_rebalances(lab, "flights", steps)
for words, shares in story:
    busy = sum(bool(owned) for owned in shares.values())
    print(f"{words}: {busy} busy, {len(shares) - busy} idle")
plots.show(plots.rebalance(story))

# %% [markdown] name="rebalance-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A partition has one owner in a group, because it has one order. More consumers than partitions are
# in reserve: when Ann dies everybody moves up, and Dan gets work. At each dashed line is a **rebalance**:
# everybody gives all back, and it is shared anew. What the old owner had not marked as done is done again
# by the new one.
#
# A client sends signs of life by itself (*heartbeats*). A member is dead when none has come for
# `session.timeout.ms`. And who does not call `poll` for `max.poll.interval.ms`, five minutes by default,
# loses its partitions, too: while a slow handler works on, another member is given the same records.
#
# In lab 06 members shared the *events* of one log, in any number. Here they share partitions.
#
# </details>
#
# ## Commit before, or after?
#
# Each record has a number in its partition, its **offset**: 0, 1, 2 and so on. A group says how far it has got
# by one number for each partition: it **commits** an offset, and all before it counts as done. (Redis, in
# lab 06, kept a list of what was not.) What is not committed is the group's **lag**.
#
# Ann polls five tasks of ten, does three, and dies before she has done the fourth. A second Ann takes up her
# place.
#
# **Predict.** What is lost, and what is done twice, if she commits *before* the work? And *after* it?
#
# - **A.** Before: 4 and 5 are lost. After: 1, 2 and 3 are done twice.
# - **B.** Before: nothing is lost, for the log still has them. After: 4 and 5 are lost.
# - **C.** Both times nothing: the second Ann goes on at 4.


# %% name="work"
def work(ann, commit_first, dies_at=None):
    """Poll five tasks and do them; returns what was done, also by one who dies."""
    done = []
    events = ann.poll(5)
    if commit_first:
        ann.commit()
    for event in events:
        if event.content == dies_at:
            return done  # dead: nothing is done or committed after this
        done.append(event.content)
    if not commit_first:
        ann.commit()
    return done


# %% name="crash"
tasks = fresh_topic(lab, "tasks")
_ = tasks.append_many(range(1, 11))
for name, first in {"commit first": True, "work first": False}.items():
    group = tasks.group(name)
    with group.join("Ann") as ann:
        print(f"{name}: {work(ann, first, dies_at=4)}", end=", then ")
    with group.join("the second Ann") as ann:
        print(work(ann, first), "| lag", group.lag())

# %% [markdown] name="crash-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** Commit first is **at most once**: 4 and 5 are in the log, but the group is past them, and nobody
# will ask for them. Work first is **at least once**: 1 to 3 were done twice. One line decides. Neither
# place gives *exactly* once; so work first, and make the work such that a second time does no harm.
#
# </details>
#
# ## Where does the next one begin?
#
# The tasks have the offsets 0 to 9. Four groups, each with a first consumer, which is handed the offsets 0
# to 4 and closed, and a second one, which takes up its place. The first consumer,
#
# 1. with librdkafka's default, *auto-commit*: an exception in its first task ends its program, which closes the
#    consumer on the way out;
# 2. without auto-commit: it has done all five, and commits by hand the offset of the last one, which is 4;
# 3. without: it commits nothing; the group has `auto.offset.reset` set to `earliest`;
# 4. as 3, but with librdkafka's default, `largest`: the first consumer gets nothing either.
#
# **Predict.** At which offset does the second consumer begin, in each group?
#
# - **A.** 0.
# - **B.** 4.
# - **C.** 5.
# - **D.** 10, the end.


# %% name="begin"
from confluent_kafka import TopicPartition


def commit_offset(ann, record):
    """Commit the offset of the last record."""
    place = TopicPartition(record.topic(), record.partition(), record.offset())
    ann.commit(offsets=[place], asynchronous=False)  # False: wait for Kafka's answer


def commit_record(ann, record):
    """Let the client find out the offset."""
    ann.commit(message=record, asynchronous=False)


auto = {"enable_auto_commit": True, "enable_auto_offset_store": True}
print("1. auto-commit: ", next_offset(lab, "tasks", "auto", **auto))
print("2. offset 4:    ", next_offset(lab, "tasks", "offset", commit_offset))
print("   message=:    ", next_offset(lab, "tasks", "record", commit_record))
print("3. earliest:    ", next_offset(lab, "tasks", "old"))
print("4. largest:     ", next_offset(lab, "tasks", "new", auto_offset_reset="largest"))

# %% [markdown] name="begin-explained"
# <details><summary><b>What happened</b></summary>
#
# 1. **C.** Auto-commit commits what `poll` has *handed over*, every five seconds and at `close()`. Tasks that
#    a crash has cut off are skipped. Switch it off, and commit after the work.
# 2. **B.** The committed offset is the one that comes *next*. Commit 4, and 4 comes again. `message=` adds
#    the one for you; so does labkit.
# 3. **A.** A group that has committed nothing begins where `auto.offset.reset` says. Only such a group: the
#    groups of 1 and 2 had `earliest`, too, and did not begin again. To read again, set a group back (below).
# 4. **D.** With `largest` a new group skips what is there. labkit sets `earliest`.
#
# </details>
#
# ## Lag, partition by partition
#
# The departures and cancellations once more, by carrier, hour by hour. Each of the six partitions has an owner
# who does up to 14 events in an hour, and commits. Together they can do 84; the busiest hour brings 71. (The
# hours go on after midnight: 25 is one in the morning.)
#
# **Predict.** Who falls behind?
#
# - **A.** Nobody: together they are fast enough.
# - **B.** All of them a little, in the rush hours.
# - **C.** One or two, for most of the day.

# %% name="lag"
hours = fresh_topic(lab, "hour-by-hour", 6)
samples = watch_lag(lab, hours, day, key="carrier", each=14)
for hour, positions in samples[::5]:
    places = positions["board"].places
    print(f"{hour:2.0f}:00 | lag of partitions 0 to 5:", [place.lag for place in places])
time_name = "time (hours since midnight)"
plots.show(plots.lag(samples, by_partition=True, time_name=time_name))

# %% [markdown] name="lag-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** Partition 5, with United and Delta, is behind from seven in the morning on, while three owners are
# never behind. More consumers would not help, for a partition has one owner. Another key would. So watch
# the lag of each partition: a sum says neither who is behind nor why.
#
# </details>
#
# ## Replay
#
# Zoe has read all the flights for the audit, and has committed. She is still a member of the group when you
# set it back to the first record, with `rewind`.
#
# **Predict.** What happens?
#
# - **A.** She gets all of it again with her next `poll`.
# - **B.** Kafka refuses.
# - **C.** She goes on at the end; the next one who joins begins at the first record.

# %% name="replay"
audit = flights.group("audit")
with audit.join("Zoe") as zoe:
    print("done:", zoe.run(lambda event: None), "| lag:", audit.lag())
    try:
        audit.rewind("first")
    except labkit.errors.BrokerRefused as refused:
        print(refused)
audit.rewind("first")
print("set back | lag:", audit.lag())
with audit.join("Zoe") as zoe:
    print("done again:", zoe.run(lambda event: None), "| lag:", audit.lag())

# %% [markdown] name="down-concept"
# <details><summary><b>What happened</b></summary>
#
# **B.** To set a group back is to commit smaller offsets, and Kafka takes commits of members only while a
# group has some: stop all of them, set it back, start them again. The log has lost nothing by being read,
# so everything is done twice: a replay needs work that bears it, as at least once does.
#
# </details>
#
# ## The broker goes down
#
# The next two cells break the connection on purpose, on a small cluster of their own. The broker is down for
# three seconds. One producer has a patience of 60 seconds (`message.timeout.ms`), another of one second.
#
# **Predict.** The broker is down, and you call `produce()`, with the patient one. What happens?
#
# - **A.** It raises an exception, at once.
# - **B.** Nothing is said, and the record is in the topic when the broker is back.
# - **C.** Nothing is said, and the record is lost: nobody was there to take it.

# %% name="down"
sky = labkit.connect("kafka+embedded://")
gates, topic = fresh_topic(sky, "gates"), sky.kafka.topic("gates")


def send(patience_s):
    """Produce while the broker is down for three seconds, and tell what became of it."""
    reports.clear()
    with sky.kafka.producer(message_timeout_ms=patience_s * 1_000) as producer:
        sky.faults.broker_down()
        producer.produce(topic, "gate 7", on_delivery=report)
        waiting = producer.flush(3)  # seconds
        sky.faults.broker_up()
    print(f"{patience_s} s: {waiting} waits, {dict(reports)}, {count_records(gates)} in the topic")


send(60)
send(1)

# %% [markdown] name="down-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** librdkafka connects again by itself and sends what has waited, up to `message.timeout.ms` (five
# minutes by default). What is not delivered by then is thrown away, as the second line shows, and the delivery
# report gets the error `_MSG_TIMED_OUT`. It is called in `poll` or `flush`. Who gives no report learns
# nothing: that is how **C** comes about. So count the reports. (labkit does, and raises an exception.)
#
# </details>
#
# ## The answer is lost
#
# With `acks=all` a broker confirms a record when it and all copies in step have it. Now the broker has appended
# a record, but the connection breaks before its confirmation arrives. The producer tries again.
#
# **Predict.** How often is the record in the topic, with librdkafka's defaults?
#
# - **A.** Once.
# - **B.** Twice.
# - **C.** Not at all: without confirmation it does not count.

# %% name="lost-answer"
with sky.kafka.producer(idempotent=False) as producer:
    producer.produce(topic, "gate 8")  # so that it is connected
    _ = producer.flush()
    before = count_records(gates)
    sky.faults.round_trip(20)  # an answer would take so many seconds
    producer.produce(topic, "gate 9")
    _ = producer.flush(1)
    sky.faults.broker_down()
    sky.faults.round_trip(0)
    sky.faults.broker_up()
    _ = producer.flush()
print("gate 9 is in the topic", count_records(gates) - before, "times")

# %% [markdown] name="lost-answer-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The second attempt looks like a new record. With `enable.idempotence` a producer numbers its
# batches, and the broker knows one that it has. It is off by default in librdkafka, and on in labkit. The
# small cluster in this program takes the numbers, but does not compare them; a real Kafka does.
#
# </details>
#
# ## What a real Kafka adds
#
# Four more things, on a private Kafka that is started for this cell and takes about twenty seconds.
#
# **Predict** eight figures:
#
# - **Idempotence.** The answer is lost again. How often is the record there without idempotence, and with it?
# - **Transactions.** What is appended in one becomes valid together, or not at all. One record is in a
#   transaction that is aborted, one in a transaction that is committed. How many does a reader get whose
#   `isolation.level` is `read_committed`, and how many one with `read_uncommitted`?
# - **Compaction.** A topic can be told to keep only the last record of each key. Three flights get four gates
#   each. How many of the twelve records are left, and which gate of each flight?
# - **Retention.** A topic can be told how long to keep its records, here a tenth of a second. Five are
#   appended, and nobody has read them. How many are left soon after, and which offset gets the next one?

# %% name="real" tags=["nbval-ignore-output"]
outcome = try_a_real_kafka(lab)
outcome or print(SKIPPED)

# %% name="real-check"
if outcome:
    assert (outcome.twice_without, outcome.twice_with) in {(2, 1), (None, None)}, outcome
    assert (outcome.committed, outcome.uncommitted) == (1, 2), outcome
    assert (outcome.gates_kept, outcome.gates_last) == (3, True), outcome
    assert (outcome.retained, outcome.next_offset) == (0, 5), outcome
print("With a real Kafka: once with idempotence, 1 of 2 committed, 3 gates kept, 0 retained.")

# %% [markdown] name="real-explained"
# <details><summary><b>What happened</b></summary>
#
# With idempotence the record is there once. An aborted record *is in the log*; a reader with
# `read_committed` steps over it, and one without does not. Compaction makes of a log a table: the last
# gate of each flight. Retention deletes by age, and asks no group whether it has read, as trimming did in
# lab 06; offsets go on counting, they are never used again.
#
# </details>
#
# ## Under the hood
#
# The cell prints three things:
#
# - what labkit has called, as you would write it with confluent-kafka. (The first commit is labkit's: a new
#   group notes where it begins.)
# - what labkit sets, beside librdkafka's default, and why;
# - where the client was told to go. A client asks the first broker for the addresses of all, and from then on
#   uses these **advertised** addresses. A port that is open proves little: if the broker advertises a name
#   that your machine does not know, the client waits.

# %% name="hood"
_ = tasks.append(11, key="B6 739")
with tasks.group("hood").join("Ann") as ann:
    _ = ann.poll(100), ann.commit()
for command in lab.commands(last=4):
    print(re.sub(r"\d+ bytes", "… bytes", command))
names = ["acks", "enable.idempotence", "queue.buffering.max.messages", "linger.ms"]
names += ["enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"]
for name in names:
    setting = lab.settings()[name]
    print(f"{name} = {setting.value} (librdkafka: {setting.default})\n    {setting.why}")
for broker in sky.native.list_topics().brokers.values():
    print("advertised:", broker.host, "and a port")

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 10.1: choose a key
#
# Every flight of the day is scheduled, departs and arrives, or is cancelled. All these events go into a topic
# of six partitions. The events of each flight must stay in order, and no partition may have more than a
# quarter of all events. Return the key of an event.
#
# **Expected:** `key_of(content)` returns a text. `content` is a dict such as `{"flight": "B6 739", "carrier":
# "JetBlue", "origin": "JFK", "destination": "PSE", "scheduled": "23:55"}`; some events
# have more.


# %% name="key-of"
def key_of(content):
    """The key of the event with this content."""
    ### BEGIN SOLUTION
    return content["flight"]
    ### END SOLUTION
    ### BEGIN STUB
    # # What do all events have in common that must stay in order, and as few others as possible?
    # return ...
    ### END STUB


# %% name="key-of-check"
lab10.check_key_of(key_of)

# %% [markdown] name="exercise-2"
# ### Exercise 10.2: what may be committed?
#
# You were handed records, and several threads work on them, so that they are not done in order. Return the
# offset to commit in each partition, such that a crash loses nothing and as little as possible is done
# again. Leave out a partition in which nothing can be committed.
#
# - `handed` is a dict, from partition to the offsets that you were given, in order;
# - `done` is a set of pairs (partition, offset): these are finished.
#
# **Expected:** `offsets_to_commit({0: [7, 8, 9, 10]}, {(0, 7), (0, 8), (0, 10)})` returns `{0: 9}`.


# %% name="offsets-to-commit"
def offsets_to_commit(handed, done):
    """From partition to the offset to commit."""
    ### BEGIN SOLUTION
    offsets = {}
    for partition, rows in handed.items():
        for offset in rows:
            if (partition, offset) not in done:
                break
            offsets[partition] = offset + 1
    return offsets
    ### END SOLUTION
    ### BEGIN STUB
    # # What does a commit of 9 say about 7 and 8, and what would a commit of 11 say about 9?
    # return ...
    ### END STUB


# %% name="offsets-to-commit-check"
lab10.check_offsets_to_commit(offsets_to_commit)

# %% [markdown] name="exercise-3"
# ### Exercise 10.3: who owns what?
#
# Compute what the picture of the rebalance shows: who owns which partition. The rule (it is called *range*)
# sorts the members by name, and deals out neighbouring partitions. All get the same number, as far as that
# goes; those that are left over go one each to the first members. Who gets none is idle.
#
# **Expected:** `share(["Bob", "Ann"], 3)` returns `{"Ann": [0, 1], "Bob": [2]}`.


# %% name="share"
def share(members, partitions):
    """The list of partitions of each member; an idle one has an empty list."""
    ### BEGIN SOLUTION
    each, more = divmod(partitions, len(members))
    shares, start = {}, 0
    for number, name in enumerate(sorted(members)):
        end = start + each + (1 if number < more else 0)
        shares[name] = list(range(start, end))
        start = end
    return shares
    ### END SOLUTION
    ### BEGIN STUB
    # # divmod(partitions, len(members)) says how many go evenly, and how many are left over.
    # return ...
    ### END STUB


# %% name="share-check"
lab10.check_share(share)

# %% [markdown] name="recap"
# ## Recap
#
# - The producer buffers, hashes the key and tries again. Count the delivery reports, and flush.
# - A key has one partition, and with it an order; there is no other order.
# - In a group a partition has one owner: there are never more consumers at work than partitions, and one
#   partition can be behind alone.
# - The committed offset is the next one to read. Commit after the work, and make the work bear a second time.
# - Idempotence removes what a retry has doubled. Transactions need readers with `read_committed`.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. To save a library, somebody computes <code>hash(key) % 3</code> in Python and names
# the partition in <code>produce()</code>. What goes wrong?</summary>
#
# Python's `hash` of a text differs from process to process: after a restart the same flight goes to
# another partition, and its order is lost.
#
# </details>
# <details><summary>2. A group of six reads six partitions. You start six more consumers, and stop them again. What
# changes, and when may work be done twice?</summary>
#
# Nobody is faster: the six new ones are idle. But each coming and going is a rebalance, and what was handed over
# and not committed by then is handed over again.
#
# </details>
# <details><summary>3. Port 9092 of a Kafka in a container is open from your laptop, and the client never
# gets further than its first question. Why?</summary>
#
# The broker advertises an address that only exists inside the container, `kafka:9092` say. The client
# goes there after the first answer.
#
# </details>
#
# **In practice.** A real cluster has three brokers or more, and copies of each partition; `acks=all` waits
# for those in step. Newer clients and brokers can rebalance cooperatively, so that only the partitions
# that move are given back. A handler that fails for ever blocks its partition: put the record into a topic
# for later, and go on. Put an alarm on the lag of each partition, and on the age of its oldest record.
#
# **Next:** [lab 11](11-choose-a-broker.ipynb).

# %% name="clean-up"
if not lab.embedded:
    for topic in (notes, *topics, three, four, flights, tasks, hours):
        _ = topic.delete()
sky.close()
lab.close()
print("Closed.")
