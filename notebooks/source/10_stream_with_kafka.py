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
# - take the broker down, and lose an answer on its way.
#
# **You'll learn** what a key, an offset and a commit promise, and what they do not.

# %% name="setup"
from collections import Counter

import labkit
from labkit import NewEvent, plots
from labkit.data import stormy_day
from labkit.exercises import lab10
from labkit.experiments.kafka_lab import consumer, count_records, fresh_topic, open_kafka, take
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
#     p0 --> ann["Ann"]
#     p1 --> ann
#     p2 --> bob["Bob"]
#     subgraph board ["group board"]
#         ann
#         bob
#     end
# ```
#
# In words: a **topic** is several logs, its **partitions**. The producer chooses the partition of each
# record, by its key. In a group each partition has one **owner**, who reads it in order.
#
# The client in this lab is librdkafka, in the package confluent-kafka. Its `produce()` returns at once.
#
# **Predict.** You call `produce()` three times and nothing else. How many records has the broker, a moment
# later?
#
# - **A.** Three.
# - **B.** None.
# - **C.** One: each call sends the one before.

# %% name="buffer"
notes = fresh_topic(lab, "notes")
with lab.kafka.producer(linger_ms=60_000) as producer:  # a minute, so that you can look
    for number in range(3):
        producer.produce(lab.kafka.topic("notes"), f"note {number}")
    print("in this program:", len(producer), "| in the topic:", count_records(notes))
    producer.flush()
    print("in this program:", len(producer), "| in the topic:", count_records(notes))

# %% [markdown] name="buffer-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** `produce()` puts a record into a buffer of your own program; a thread sends it later, in batches
# (`linger.ms`: by default it waits 5 ms for company, here a minute). A program that ends before `flush()` takes its buffer with
# it, without an error. (labkit's `append` waits until the broker has confirmed.)
#
# </details>
#
# ## Which partition?
#
# The same 979 departures and cancellations go into two topics of six partitions: once with the carrier as
# the key, once with the airport, of which the day has three.
#
# **Predict.** How many of the six partitions get something, and do they get about the same?
#
# - **A.** All six, about the same: that is what hashing is for.
# - **B.** All six by carrier, unequal; three at most by airport.
# - **C.** Six by carrier and six by airport, both unequal.

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
# **B.** A key always goes to one partition, so three keys fill three partitions at most, and however many
# consumers you add, three will work. Fifteen carriers are not enough either: which of them share a
# partition is chance, and United is larger than Hawaiian.
#
# </details>
#
# **Predict.** A delayed flight is in everybody's app: of 1,000 events 900 are about B6 739, and 100 are
# about a hundred other flights. The key is the flight. How many has the busiest of six partitions?
#
# - **A.** About 167, a sixth.
# - **B.** More than 900.
# - **C.** 1,000.

# %% name="hot-key"
keys = ["B6 739"] * 900 + [f"F {number}" for number in range(100)]
loads = Counter(lab.kafka.partition_of("by-carrier", key) for key in keys)
print("busiest of six:", max(loads.values()), "| all:", [loads[number] for number in range(6)])

# %% [markdown] name="hot-key-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** 916. Hashing spreads *keys*, not events: all of the hot one have to go to one place, or they would
# lose their order. A finer key is the way out, where the order among its events is not needed.
#
# </details>
#
# ## What is in order?
#
# Now all that happened on the day, 3,832 events with the flight as the key, is appended in the order of
# the day, to three partitions. Somebody reads all of it.
#
# **Predict.** Does it come in the order of the day?
#
# - **A.** Yes: it is a log.
# - **B.** No, but the events of each flight do.
# - **C.** No, nothing is in order.

# %% name="order"
flights = fresh_topic(lab, "flights", 3)
happened = [h.message for h in stormy_day()]
_ = flights.append_many([NewEvent(m, key=m.content["flight"]) for m in happened])
read = [event.message for event in flights.read(count=10_000)]


def by_flight(messages):
    """What happened to each flight, in order."""
    found = {}
    for message in messages:
        found.setdefault(message.content["flight"], []).append((message.type, message.timestamp))
    return found


times = [message.timestamp for message in read]
print(len(read), "read | in the order of the day:", times == sorted(times))
print(len(by_flight(read)), "flights | each in order:", by_flight(read) == by_flight(happened))

# %% name="order-check"
assert by_flight(read) == by_flight(happened)
parts = {}
for event in flights.read(count=10_000):
    parts.setdefault(event.key, set()).add(event.position.partition)
print("flights in more than one partition:", sum(len(found) > 1 for found in parts.values()))

# %% [markdown] name="order-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Order holds within a partition, and a flight has one. Between partitions there is none: they are
# read side by side.
#
# </details>
#
# ## Who chooses the partition?
#
# **Predict.** A Java program and this one append to the same topic of three partitions. For how many of
# 1,000 keys do they choose the same partition?
#
# - **A.** All 1,000: the broker hashes the key.
# - **B.** About 333.
# - **C.** None.
#
# And when the topic gets a fourth partition: how many of the 1,000 keys move?

# %% name="partitioner"
thousand = [f"key {number}" for number in range(1000)]
_ = fresh_topic(lab, "four", 4)


def places_of(topic, partitioner="consistent_random"):
    """Where each of the thousand keys goes."""
    return [lab.kafka.partition_of(topic, key, partitioner) for key in thousand]


python, java, four = places_of("flights"), places_of("flights", "murmur2_random"), places_of("four")
print("Python and Java agree on", sum(a == b for a, b in zip(python, java, strict=True)))
print("with a fourth partition move", sum(a != b for a, b in zip(python, four, strict=True)))

# %% [markdown] name="partitioner-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The *producer* hashes the key, and not all with the same function: librdkafka takes CRC-32, Java's
# client murmur2. On three partitions they agree by chance, on a third. Set `partitioner` to the same in
# all programs (`"murmur2_random"`). And three quarters of the keys move with a fourth partition: from then
# on a flight's old events and its new ones are in two places. Begin with enough partitions.
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
# in reserve: Dan takes over when Ann dies. At each dashed line, the **rebalance**, everybody gives all
# back, and it is shared anew; work that was not committed by then is done twice. A member is dead when
# its heartbeats have stopped for `session.timeout.ms`; and it loses its partitions, too, when it
# does not call `poll` for `max.poll.interval.ms`, five minutes by default: slow handlers do not only lag.
#
# In lab 06 members shared the *events* of one log, in any number. Here they share partitions.
#
# </details>
#
# ## Commit before, or after?
#
# A group commits an **offset** for each partition. Redis keeps a list of pending entries; Kafka keeps one
# number.
#
# Ann polls five tasks of ten and dies at the fourth. A second Ann takes up her place.
#
# **Predict.** What is lost, and what is done twice, if she commits *before* the work? And *after* it?
#
# - **A.** Before: 4 and 5 are lost. After: 1, 2 and 3 are done twice.
# - **B.** Before: nothing is lost, for the log still has them. After: 4 and 5 are lost.
# - **C.** Both times nothing: the second Ann goes on at 4.


# %% name="work"
def work(group, first, dies_at=None):
    """Poll five, do them, and commit first or last; what was done, also by one who dies."""
    done = []
    with group.join("Ann") as ann:
        events = ann.poll(5)
        _ = ann.commit() if first else 0
        for event in events:
            if event.content == dies_at:
                return done  # dead: nothing is done or committed after this
            done.append(event.content)
        _ = 0 if first else ann.commit()
    return done


# %% name="crash"
tasks = fresh_topic(lab, "tasks")
_ = tasks.append_many(range(1, 11))
for name, first in {"commit first": True, "work first": False}.items():
    group = tasks.group(name)
    print(name, "|", work(group, first, dies_at=4), work(group, first), "| lag:", group.lag())

# %% [markdown] name="crash-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** Commit first is **at most once**: 4 and 5 are in the log, but the group is past them, and nobody
# will ask for them. Work first is **at least once**: 1 to 3 were done twice. Nothing in between exists,
# and one line decides.
#
# </details>
#
# librdkafka's own default is `enable.auto.commit`. Ann is handed five tasks and dies at the first one; her
# program ends in good order (`close()`).
#
# **Predict.** At which offset does the next one begin? (The first record has offset 0.)
#
# - **A.** At 0: nothing was processed.
# - **B.** At 5: what was handed over counts as processed.
# - **C.** At 1.
#
# And if she commits by hand the offset of the last record that she has done, which is 4?
#
# - **D.** At 5.
# - **E.** At 4.

# %% name="auto"
from confluent_kafka import TopicPartition


def begin_after(group, commit=lambda *_: None, **settings):
    """Take five and commit in some way; where does the next one begin?"""
    with consumer(lab, "tasks", group, **settings) as ann:
        commit(ann, take(ann, 5))
    with consumer(lab, "tasks", group) as next_one:
        return take(next_one, 1)[0].offset()


defaults = {"enable_auto_commit": True, "enable_auto_offset_store": True}
print("auto-commit, nothing done: ", begin_after("auto", **defaults))


# %% name="offsets"
def last(ann, records):
    """Commit the offset of the last record."""
    place = TopicPartition(records[-1].topic(), records[-1].partition(), records[-1].offset())
    ann.commit(offsets=[place], asynchronous=False)


print("offset of the last record: ", begin_after("last", last))
by_message = begin_after("message", lambda ann, r: ann.commit(message=r[-1], asynchronous=False))
print("commit(message=the record):", by_message)
print("no commit at all:          ", begin_after("none"))

# %% [markdown] name="offsets-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Auto-commit commits what `poll` has *handed over*, every five seconds and at `close()`. Tasks that
# a crash has cut off are skipped. Switch it off, or store offsets by hand after the work.
#
# **E.** The committed offset is the one that comes *next*. Commit 4, and 4 comes again. (`message=`
# adds the one for you; so does labkit.)
#
# </details>
#
# ## Again from the beginning
#
# A program has `auto.offset.reset=earliest`, reads all, commits, ends, and is started again.
#
# **Predict.** How many of the ten tasks does the second run read? And how many does a program of a new
# group read, with librdkafka's default, `largest`?
#
# - **A.** Ten; ten.
# - **B.** None; none.
# - **C.** Ten; none.


# %% name="earliest"
def read_all(group, **settings):
    """One run of a program that commits what it has read."""
    with consumer(lab, "tasks", group, **settings) as reader:
        records = take(reader, 100)
        if records:
            reader.commit(message=records[-1], asynchronous=False)
        return len(records)


print("earliest:", read_all("board", auto_offset_reset="earliest"), end=" records, then ")
print(read_all("board", auto_offset_reset="earliest"))
print("largest: ", read_all("news", auto_offset_reset="largest"))

# %% [markdown] name="earliest-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The setting holds only for a group that has committed *nothing* (or whose offset is gone). To read
# again, set the group back.
#
# </details>
#
# ## Lag, and replay
#
# Lag is counted for each partition: its end, less what is committed. A replay is a commit backwards, and
# Kafka allows it only while the group has no members.

# %% name="replay"
audit = flights.group("audit")
with audit.join("Zoe") as zoe:
    _ = zoe.run(lambda event: None)
    print("done, lag:", audit.lag())
    _ = flights.append_many([NewEvent("late news", key=f"flight {n}") for n in range(6)])
    print("lag of each partition:", [place.lag for place in audit.state().places])
    try:
        audit.rewind("first")
    except labkit.errors.BrokerRefused as refused:
        print(refused)
audit.rewind("first")
print("after the replay was ordered, lag:", audit.lag())

# %% [markdown] name="down-concept"
# ## The broker goes down
#
# The next two cells break the connection on purpose, on a small cluster of their own.
#
# **Predict.** The broker is down, and you call `produce()`. What happens?
#
# - **A.** An exception, at once.
# - **B.** Nothing is said; the record waits, and is sent when the broker is back, if that is in time.
# - **C.** Nothing is said, and the record is lost.

# %% name="down"
sky = labkit.connect("kafka+embedded://")
gates, reports = fresh_topic(sky, "gates"), []


def send(patience_s):
    """Produce while the broker is down for three seconds; how many records wait then."""
    with sky.kafka.producer(message_timeout_ms=patience_s * 1_000) as producer:
        sky.faults.broker_down()
        producer.produce("gates", "gate 7", on_delivery=lambda error, _: reports.append(error))
        waiting = producer.flush(3)
        sky.faults.broker_up()
    return waiting


for seconds in (60, 1):
    print(f"patience {seconds} s: {send(seconds)} waits, {count_records(gates)} in the topic")
print("reports:", *(error.name() if error else "delivered" for error in reports))

# %% [markdown] name="down-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** librdkafka connects again by itself and sends what has waited, up to `message.timeout.ms` (five
# minutes by default). What is then not delivered is told to your *delivery report*, which is called in
# `poll` or `flush`. Who gives no report and never looks learns nothing: that is how **C** comes about.
#
# </details>
#
# ## The answer is lost
#
# The broker has appended a record, but the connection breaks before its confirmation arrives.
# The producer tries again.
#
# **Predict.** How often is the record in the topic, with librdkafka's defaults?
#
# - **A.** Once.
# - **B.** Twice.
# - **C.** Not at all.

# %% name="lost-answer"
with sky.kafka.producer(idempotent=False) as producer:
    producer.produce("gates", "gate 8")
    _ = producer.flush()
    before = count_records(gates)
    sky.faults.round_trip(20)  # an answer would take so many seconds
    producer.produce("gates", "gate 9")
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
# Four more things, on a private Kafka that is started for this cell and takes about twenty seconds:
#
# - **idempotence**: the answer is lost again, without it and with it;
# - **transactions**: one is aborted and one committed, with one record each, and two readers look:
#   `read_committed` and `read_uncommitted`;
# - **compaction**: a topic may keep only the last record of each key; three flights get four gates each;
# - **retention**: a topic may keep its records for a tenth of a second, read or not.
#
# **Predict** the figures, before you run it.

# %% name="real" tags=["nbval-ignore-output"]
outcome = try_a_real_kafka(lab)
outcome or print(SKIPPED)

# %% name="real-check"
if outcome:
    assert (outcome.twice_without, outcome.twice_with) in {(2, 1), (None, None)}, outcome
    assert (outcome.committed, outcome.uncommitted) == (1, 2), outcome
    assert (outcome.gates_kept, outcome.gates_last) == (3, True), outcome
    assert (outcome.retained, outcome.next_offset) == (0, 5), outcome
print(
    "If there was a real Kafka: once with idempotence, 1 of 2 committed, 3 gates kept, 0 retained."
)

# %% [markdown] name="real-explained"
# <details><summary><b>What happened</b></summary>
#
# With idempotence the record is there once. An aborted record *is in the log*; a reader with
# `read_committed` steps over it, and one without does not. Compaction makes of a log a table: the last
# gate of each flight. Retention deletes by age, and asks no group whether it has read, as `MAXLEN` did
# in lab 06; offsets go on counting, they are never used again.
#
# </details>
#
# ## Under the hood
#
# What labkit has called, as you would write it with confluent-kafka (a new group first notes where it
# begins); what it sets otherwise than
# librdkafka, for the reasons above; and where the client was told to go. A client asks the first broker
# for the addresses of all, and from then on uses these **advertised** addresses. A port that is open
# proves little: if the broker advertises a name that your machine does not know, the client waits.

# %% name="hood"
_ = tasks.append(11, key="B6 739")
with tasks.group("hood").join("Ann") as ann:
    _ = ann.poll(100), ann.commit()
for command in lab.commands(last=3):
    print(command)
for name in ("enable.idempotence", "enable.auto.commit", "auto.offset.reset"):
    setting = lab.settings()[name]
    print(f"{name}: {setting.value} (librdkafka: {setting.default})")
for broker in sky.native.list_topics().brokers.values():
    print("advertised:", broker.host, "and a port")

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 10.1: choose a key
#
# All that happens on the day goes into a topic of six partitions. The events of each flight must stay in
# order, and no partition may have more than a quarter of all. Return the key.
#
# **Expected:** `key_of(content)` is a text; `content` has "flight", "carrier", "origin", "destination" and
# more.


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
# You were handed records, and several threads work on them, so that they are done in any order. Return
# which offsets may be committed such that a crash loses nothing and as little as possible is done again.
# Leave out partitions in which nothing can be committed.
#
# **Expected:** handed `{0: [7, 8, 9, 10]}`, done `{(0, 7), (0, 8), (0, 10)}`: `{0: 9}`.


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
    # # handed: the offsets of each partition, in order; done: a set of (partition, offset).
    # return ...
    ### END STUB


# %% name="offsets-to-commit-check"
lab10.check_offsets_to_commit(offsets_to_commit)

# %% [markdown] name="exercise-3"
# ### Exercise 10.3: who owns what?
#
# Predict the picture of the rebalance. The rule (it is called *range*) sorts the members by name and
# deals out neighbouring partitions: each member gets as many as go evenly, and the first members get one
# more until nothing is left. Who gets none is idle.
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
# - The producer buffers, hashes the key and tries again. Look at delivery reports, and flush.
# - A key has one partition, and with it an order; there is no other order.
# - In a group a partition has one owner: there are never more consumers at work than partitions.
# - The committed offset is the next one to read. Commit after the work, and make the work idempotent.
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
# <details><summary>2. Lag grows in one partition of six only. You start six more consumers. What
# changes?</summary>
#
# There is a rebalance, and six members are idle. One partition has one owner; the key is what has to
# change.
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
# for later, and go on.
#
# **Back:** [Keep the log](06-keep-the-log.ipynb) does the same questions on Redis.

# %% name="clean-up"
if not lab.embedded:
    for topic in (notes, *topics, flights, tasks, fresh_topic(lab, "four", 4)):
        _ = topic.delete()
sky.close()
lab.close()
print("Closed.")
