# %% [markdown] name="title"
# # Keep the log
#
# The storm is over, and everybody has a question about it: the board, the auditors, the people who write
# the bills, and somebody next year of whom nobody knows yet. Pub/sub has forgotten the day and the queue
# is empty, so you keep a **log**: what happened stays, and each reader has a place of its own in it.
#
# **Time:** 45 minutes · **You need:** [lab 03](03-share-work-in-a-queue.ipynb).
#
# **You'll do**
#
# - append the day's departures, and read them from anywhere;
# - let a group share the events, and another group read the same ones;
# - let a member die with events in its hands, and find them again;
# - watch lag grow and shrink over a whole day;
# - trim the log, and see what that destroys;
# - put four ways of handing messages on into one table, by experiment.
#
# **You'll learn** what "read" means when reading takes nothing away, and what has to be kept instead.

# %% name="setup"
from datetime import datetime

import labkit
from labkit import EventStream, StepClock, plots
from labkit.data import stormy_day
from labkit.exercises import lab06
from labkit.experiments.four_ways import compare_four_ways
from labkit.experiments.killed_reader import kill_reader_in_the_middle

clock = StepClock("2013-03-08T06:00:00-05:00", tick=0.01)  # six in the morning, in New York
lab = labkit.connect(clock=clock)
kinds = ["flight.departed", "flight.cancelled"]
morning = stormy_day(origins=["JFK"], types=kinds, start="06:00", limit=15)
print(f"Broker: {lab.name}")

# %% [markdown] name="flow"
# ## Append, and read
#
# ```mermaid
# flowchart LR
#     tower["tower"] -- append --> log["log<br/>flights"]
#     log -- poll --> ann["Ann"]
#     log -- poll --> bob["Bob"]
#     log -- poll --> eve["Eve"]
#     subgraph board ["group board"]
#         ann
#         bob
#     end
#     subgraph news ["group news"]
#         eve
#     end
# ```
#
# In words: the tower *appends* events at the end of the log. The groups "board" and "news" read it, each
# from a place and at a pace of its own. Within a group the members share: what Ann is given, Bob is not.
#
# The log's clock follows the day: each event is appended at the minute at which it happened.
#
# **Predict.** Twelve events are appended, and somebody reads them all, twice. How many does the second
# reading find, and how many are in the log afterwards?
#
# - **A.** None; none.
# - **B.** Twelve; none.
# - **C.** Twelve; twelve.

# %% name="append"
flights = EventStream(lab, "flights", sender="tower")
_ = flights.delete()  # a shared server may have events of an earlier run


def write(happenings):
    """Append each at its own time."""
    for happening in happenings:
        clock.advance(max(0, happening.time.timestamp() - clock.now()))
        flights.append(happening.message, key=happening.message.content["flight"])


write(morning[:12])
print(len(flights.read()), "and", len(flights.read()), "read;", len(flights), "in the log")
for event in flights.read(count=3):
    print(event.position, "|", event.label, "| number", event.revision, "of", event.key)

# %% [markdown] name="append-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** Reading takes nothing away. What a reader has to remember is its place. A **position** names one,
# and sorts: on Redis it is the time in milliseconds since 1970, a dash, and a number for those of the
# same millisecond. An event may have a *key*, which is what it is about; its *revision* is its number
# among the events of that key.
#
# </details>
#
# ## Read from anywhere
#
# A reading may begin at the "first" event, at the "last" one, at a position, or at a time.
#
# **Predict.** You have handled five events and have written down the position of the fifth. Tomorrow you
# call `flights.read(that_position)`. Which event comes first?
#
# - **A.** The fifth, which you have handled already.
# - **B.** The sixth.
# - **C.** The first: a new reading begins at the beginning.

# %% name="anywhere"
everything = flights.read()
fifth, sixth = everything[4], everything[5]
half_past = datetime.fromisoformat("2013-03-08T06:20:00-05:00")
places = {"first": "first", "last": "last", "a position": fifth.position, "06:20": half_past}
for words, place in places.items():
    found = flights.read(place)
    print(f"{words}: {len(found)} of 12, from {found[0].message.timestamp[11:16]} UTC on")
print("the position gives the fifth event:", flights.read(fifth.position)[0] == fifth)
print("a cursor gives the sixth:          ", flights.read({0: fifth.position})[0] == sixth)

# %% [markdown] name="anywhere-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** A position names an event, and reading from it begins with that one. To go on *behind* it, pass a
# **cursor**: a dict from partition to the last position that is done. This log has one partition, number
# 0; a log on Kafka has several. (06:20 in New York is 11:20 UTC.) Redis has both readings, too: `XRANGE`
# includes its start, `XREAD` goes on behind it.
#
# </details>
#
# ## Follow it
#
# `flights.follow("end")` waits at the end for what comes. (Redis: `XREAD` with `$`.)
#
# **Predict.** A loop calls `follow("end")` anew in each turn, and between two turns an event is appended,
# three in all. How many does it get, and how many does *one* follower get that is kept?
#
# - **A.** Three and three.
# - **B.** None and three.
# - **C.** Three and none.

# %% name="follow"
one_follower, each_turn = flights.follow("end", timeout=0), []
for happening in morning[12:]:
    each_turn += list(flights.follow("end", timeout=0))
    write([happening])
print("from the end in each turn:", len(each_turn), "of 3")
print("one follower that is kept:", len(list(one_follower)), "of 3")

# %% [markdown] name="follow-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** "The end" is where the end is when you ask. What came between two questions is behind it. Ask for
# the end once, and from then on for what comes after the last event that you have *seen*.
#
# </details>
#
# ## A group shares the load
#
# A **group** keeps the place for you, on the broker, and shares the events among its members. A member
# asks for its share: `poll(3)` gives it up to three events.
#
# **Predict.** The log has fifteen events. Group "board" begins at the first, group "news" at the "end".
# Ann and Bob of the board ask for three each. What do they get, and what does Eve of the news get?
#
# - **A.** Ann and Bob the same three; Eve fifteen.
# - **B.** Ann three and Bob the next three; Eve nothing.
# - **C.** Ann three and Bob the next three; Eve the nine that are left.

# %% name="share"
board = flights.group("board", "first")
news = flights.group("news", "end")
ann, bob, eve = board.join("Ann"), board.join("Bob"), news.join("Eve")
of_ann, of_bob = ann.poll(3), bob.poll(3)
print("Ann:", [event.key for event in of_ann])
print("Bob:", [event.key for event in of_bob])
print("Eve:", [event.key for event in eve.poll(3)])
plots.show(plots.positions(flights))

# %% [markdown] name="share-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Each event goes to one member of a group, and each group has a cursor of its own. A group that
# begins at the end (Redis: `XGROUP CREATE … $`) never sees what was there before.
#
# </details>
#
# The coloured events are **pending**: given to a member, not yet committed. `commit()` says that they
# are done.
#
# **Predict.** Ann commits her three. How many events are in the log then, and what is the board's
# **lag**, which is what it has still to do?
#
# - **A.** Twelve; a lag of nine, the unread ones.
# - **B.** Fifteen; a lag of nine.
# - **C.** Fifteen; a lag of twelve.

# %% name="commit"
print("committed:", ann.commit(), "| in the log:", len(flights), "| lag:", board.lag())
place = board.state().places[0]
print("unread:", place.unread, "| pending:", place.pending)

# %% [markdown] name="commit-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A commit (Redis: `XACK`) crosses an entry off the group's list. It deletes nothing. And the lag is
# nine unread events *and* the three in Bob's hands: what is given is not yet done.
#
# </details>
#
# ## A member dies
#
# Bob's program is killed, with three events in its hands, and is started again. Redis' own way to ask for
# what is new is `XREADGROUP … >`.
#
# **Predict.** Bob asks with `>` for three. What does he get?
#
# - **A.** His three from before the crash.
# - **B.** The next three; of the old ones he hears nothing.
# - **C.** Nothing: Redis thinks that he is at work.

# %% name="restart"
raw, key = lab.native, flights.log.key
[[_, new]] = raw.xreadgroup("board", "Bob", {key: ">"}, count=3)
print("with >:", [fields[b"key"].decode() for _, fields in new])
for name in ("Bob", "Ann"):
    [[_, own]] = raw.xreadgroup("board", name, {key: "0"})
    print(f"with 0, {name}:", [fields[b"key"].decode() for _, fields in own])

# %% [markdown] name="restart-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** `>` means *what nobody was given yet*. The old ones are still pending, in his name, until somebody
# asks for them. With `0` in its place a member gets its own pending events, all six of Bob's here; Ann
# gets hers, which are none, and not those of the group. A program that reads only with `>` leaves a few
# events behind at every crash. (labkit's `poll` asks for what its member owes first.)
#
# </details>
#
# If Bob never comes back, somebody else must take his events over: **claim** them. A log cannot see a death
# any more than a queue can; you say how many seconds of silence are enough.
#
# **Predict.** Ann claims Bob's six. But Bob was not dead, only slow, and commits now. What happens?
#
# - **A.** They are done, and Ann's work is thrown away.
# - **B.** Nothing is committed: they are Ann's now.
# - **C.** An error stops him.
#
# The next cell tries it. The one after it does the same with a real death: it starts a private Redis and a
# reader in a process of its own, and kills that process with SIGKILL in its batch of six. Another reader
# claims what nobody has touched for a fifth of a second. Without a Redis or Valkey on this machine it says
# so.

# %% name="claim"
claimed = ann.claim_stale(idle=0)  # at once, for this lesson
print("Ann claims", len(claimed), "| attempts:", [event.attempt for event in claimed])
print("Bob commits:", bob.commit(), "| too late:", bob.stats().late)
print("committed by Ann, one alone:", ann.acknowledge(claimed[2]))
plots.show(plots.positions(flights))

# %% name="kill" tags=["nbval-ignore-output"]
outcome = kill_reader_in_the_middle()
outcome or "No Redis or Valkey on this machine: skipped. 'labkit doctor' says how to get one."

# %% name="kill-check"
if outcome:
    assert outcome.claimed == outcome.pending > 0
    assert outcome.handled == outcome.appended
    assert outcome.begun_twice > 0
print("If there was a server: no event was lost, and some were begun twice.")

# %% [markdown] name="claim-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Bob's commit is counted as late. (It names the three events that `poll` gave him; the other three
# you asked for by hand.) He may have *done* the work all the same, and Ann does it again: at least once, as
# in lab 03. So `idle` must be longer than the slowest handling. An attempt is counted for each delivery:
# here the first one, the one with `0`, and the claim.
#
# The killed reader had begun a part of its batch and committed none of it, so another began that part anew.
#
# The picture shows one event committed and five around it pending. On Redis a member may acknowledge one
# alone; the others are not forgotten for that.
#
# </details>
#
# Cat of group "billing" has four events in her hands, and has gone home. Somebody tidies up, and deletes
# the idle consumer: `XGROUP DELCONSUMER`.
#
# **Predict.** Dan does all that is left for billing. How many of the fifteen events were billed?
#
# - **A.** Fifteen: Cat's four go to Dan.
# - **B.** Eleven, and a lag of four.
# - **C.** Eleven, and a lag of nothing.

# %% name="delete-consumer"
billing, billed = flights.group("billing"), []
cat = billing.join("Cat")
_ = cat.poll(4)
print("pending when she was deleted:", raw.xgroup_delconsumer(key, "billing", "Cat"))
dan = billing.join("Dan")
_ = dan.run(lambda event: billed.append(event.key))
print("billed:", len(billed), "| lag:", billing.lag())
billing.rewind("first")
print("after a rewind, the lag:", billing.lag(), "| handled again:", dan.run(lambda event: None))

# %% [markdown] name="delete-consumer-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** With the consumer its list of pending events is gone. The events are in the log, the group is past
# them, and no figure shows it. (labkit's `close()` removes a member only if it holds nothing.) The log
# still has them: `rewind` sends the group back to the first event, and it does all fifteen, eleven of them
# for the second time.
#
# </details>
#
# ## Lag over time
#
# The whole day at all three airports, in steps of ten minutes. Ann of the board does up to nine events in
# a step. Zoe of the audit does up to thirty, but dies at noon; at three (15 in the picture) her colleague
# Yan claims what she held, and goes on.
#
# **Predict.** What will the two lines of lag look like?
#
# - **A.** Both near zero, with a step for the audit at noon.
# - **B.** The audit grows from noon to three, then falls fast; the board grows in each rush, and recovers
#   when fewer flights leave.
# - **C.** Both grow all day: a log never gets shorter.

# %% name="lag-prepare"
day = EventStream(lab, "whole-day")
_ = day.delete()
steps = {step: [] for step in range(5 * 6, 26 * 6)}  # of ten minutes
midnight = datetime.fromisoformat("2013-03-08T00:00:00-05:00")
for happening in stormy_day(types=["flight.departed"], start="05:00"):
    step = int((happening.time - midnight).total_seconds() // 600)
    steps.get(step, []).append(happening.message)
ann_of_board = day.group("board").join("Ann")
zoe, yan = (day.group("audit").join(name) for name in ("Zoe", "Yan"))

# %% name="lag-run"
samples, noon, three = [], 12 * 6, 15 * 6
for step, messages in steps.items():
    _ = day.append_many(messages)
    _ = ann_of_board.poll(9), ann_of_board.commit()
    if step < noon:
        _ = zoe.poll(30), zoe.commit()
    elif step == noon:
        _ = zoe.poll(30), zoe.crash()  # as if her process were killed: she tells nobody
    elif step >= three:
        _ = yan.claim_stale(idle=0), yan.poll(30), yan.commit()
    samples.append((step / 6, day.positions()))
plots.show(plots.lag(samples, marks={12: "Zoe dies", 15: "Yan claims"}, time_name="time (hours)"))

# %% [markdown] name="lag-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Lag is the pulse of a reader, as depth was of a queue. A line that recovers is a rush; one that only
# grows is a reader that is dead or too slow. The lower panel helps to tell those two apart: something
# pending that stays pending is in the hands of somebody who does not work. So alert on lag *and* on how long the
# oldest event has been pending.
#
# </details>
#
# ## Trim it, and what that destroys
#
# A log grows until somebody trims it. In the log of the morning Ann still holds five events, and six are
# unread by the board.
#
# **Predict.** You ask to keep the last five events. What does labkit do, and what does Redis do with its
# own `XTRIM`?
#
# - **A.** Both trim: what is trimmed counts as done.
# - **B.** labkit refuses, Redis trims without asking.
# - **C.** Both refuse.

# %% name="trim"
try:
    flights.trim(keep=5)
except labkit.errors.TrimRefused as error:
    print(error)
print("in the log:", len(flights))
print(lab.capabilities["trim"].why)

# %% [markdown] name="trim-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The refusal says whose work would be destroyed, and how much. Let it be done first, or write
# `force=True`, so that whoever reads the code sees that it was meant. (That Redis itself trims what a group
# has not read you see two cells further down.)
#
# </details>
#
# **Predict.** With force, what becomes of the pending events that are trimmed?
#
# - **A.** They leave the list of pending ones, too.
# - **B.** They stay on the list, but their contents are gone.

# %% name="force"
gone = flights.trim(keep=5, force=True)
print("destroyed:", gone.entries, "| of them pending:", gone.pending)
plots.show(plots.positions(flights))
ann = board.join("Ann")  # her program is started again, and asks for what she owes
_ = ann.poll(5)
print("Ann was told of", ann.stats().destroyed, "events that she owed, and that are destroyed")

# %% [markdown] name="destroyed-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The list of a group and the log are two things. Asked for them, Redis gives a place without a
# content; labkit crosses it off, and counts it as destroyed. Which flights those were nobody can say any more.
#
# </details>
#
# Most programs trim while they append: `XADD … MAXLEN ~ 10` keeps the last ten; the `~` stands for
# *about*, and is cheap.
#
# **Predict.** 500 appends, each with `MAXLEN ~ 10`, and a group that has read none of them yet. How many
# entries are in the stream?
#
# - **A.** 10.
# - **B.** 100.
# - **C.** 500.

# %% name="maxlen"
for approximate in (True, False):
    _ = raw.delete(f"{key} short")
    _ = raw.xgroup_create(f"{key} short", "board", id="0", mkstream=True)
    for number in range(500):
        _ = raw.xadd(f"{key} short", {"n": number}, maxlen=10, approximate=approximate)
    print("about ten:  " if approximate else "exactly ten:", raw.xlen(f"{key} short"))
_ = raw.delete(f"{key} short")

# %% [markdown] name="maxlen-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** `~` throws away only whole blocks of the inner structure, by default of 100 entries: that is
# why it is cheap, and it keeps *at least* ten. Without `~` it is exact, and slower. Neither asks the
# group: what it had to do is gone.
#
# </details>
#
# ## Four ways, one table
#
# You have met four ways to hand messages on. The next cell puts the same questions to all of them; each
# figure in the table is counted in an experiment of its own, with four messages (with one, where
# somebody dies).
#
# **Predict.** Answer for pub/sub, a queue and an event stream, each with a number out of four:
#
# 1. All were delivered and confirmed. How many does the broker still have?
# 2. A reader comes only after they were sent. How many does it get?
# 3. Two readers that have nothing to do with each other take turns. How many does each get?
# 4. The two are members of one group. How many does each get?
# 5. One takes a message and dies. How many of this one message does the next reader get?
# 6. A reader has read all, and asks once more. How many does it get?
# 7. A new reader comes when others have read all. How many does it get?

# %% name="four-ways"
answers = compare_four_ways(lab)
answers

# %% [markdown] name="four-ways-explained"
# <details><summary><b>What happened</b></summary>
#
# Read the table by its columns. **Pub/sub** gives everybody a copy, now or never. **A queue** keeps a task
# until somebody has done it, then forgets it; whether it is built on lists or on a stream makes no
# difference from outside. **A log** keeps everything: groups are like subscribers that may come late,
# members of one group are like workers. It can do what the others do, and the bill is its size, and that
# somebody must decide when to trim.
#
# </details>
#
# ## Under the hood
#
# An append is a Lua script around `XADD` (it counts the revision of the key in the same step), a commit one
# around `XACK` (which alone would also acknowledge what another member has claimed). The second cell below
# does the same by hand:

# %% name="hood"
_ = flights.append({"flight": "B6 739"}, key="B6 739", type="flight.departed")
last = news.join("Eve")
_ = last.poll(1), last.commit()
for command in lab.commands(last=4):
    print(command[:72])
print("fields:", *(name.decode() for name in raw.xrevrange(key, count=1)[0][1]))

# %% name="hood-by-hand"
# The same with nothing but Redis' own commands, as you could type them into redis-cli:
hand = f"{key} by hand"
_ = raw.delete(hand)
_ = raw.xgroup_create(hand, "board", id="0", mkstream=True)
print("XADD      ", raw.xadd(hand, {"body": "B6 739 departed"}, id="1-0").decode())
print("XREADGROUP", len(raw.xreadgroup("board", "Ann", {hand: ">"})[0][1]), "entry")
print("XPENDING  ", raw.xpending(hand, "board")["pending"])
print("XACK      ", raw.xack(hand, "board", "1-0"))
print("XPENDING  ", raw.xpending(hand, "board")["pending"])
print("XLEN      ", raw.xlen(hand))
_ = raw.delete(hand)

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 6.1: go on where you were
#
# Return the events that come *after* a position, in order; all of them for `None`. None may be missing
# and none may come twice, also if the event at that position has been trimmed meanwhile.
#
# **Expected:** `read_after(log, None)` returns all events, `read_after(log, fifth.position)` those from the
# sixth on.


# %% name="read-after"
def read_after(log, position):
    """The events behind `position`, which is a position of this log, or None."""
    ### BEGIN SOLUTION
    if position is None:
        return log.read()
    return log.read({0: position})
    ### END SOLUTION
    ### BEGIN STUB
    # # log.read(start) takes "first", a position, a time, or a cursor.
    # return ...
    ### END STUB


# %% name="read-after-check"
lab06.check_read_after(read_after)

# %% [markdown] name="exercise-2"
# ### Exercise 6.2: a crash loses nothing
#
# Poll events, at most five at a time, call `handle(event)` for each, and commit, until there are no more.
# `handle` may raise: that is a crash. Let it out, and leave everything such that a new member of the same
# name does what is left.
#
# **Expected:** after a crash and a second run each event was handled at least once, and the lag is 0.


# %% name="work-through"
def work_through(member, handle):
    """Handle all that there is."""
    ### BEGIN SOLUTION
    while events := member.poll(count=5):
        for event in events:
            handle(event)
        member.commit()
    ### END SOLUTION
    ### BEGIN STUB
    # # member.poll(count=5) returns a list; when is what you were given done?
    # return ...
    ### END STUB


# %% name="work-through-check"
lab06.check_work_through(work_through)

# %% [markdown] name="exercise-3"
# ### Exercise 6.3: how much may go?
#
# Return how many of the oldest events may be trimmed without destroying work: all those in front of the
# first event that any group has still to do. Without a group nobody has read anything: 0. Trim nothing.
#
# **Expected:** for ten events of which the audit has committed the first six and the board the first four:
# 4. Then `log.trim(keep=6)` is allowed, and `log.trim(keep=5)` refused.


# %% name="may-go"
def may_go(log):
    """How many of the oldest events nobody needs any more."""
    ### BEGIN SOLUTION
    done = []
    for group in log.positions().groups:
        committed = group.places[0].committed
        done.append(0 if committed is None else len(log.read(end=committed)))
    return min(done, default=0)
    ### END SOLUTION
    ### BEGIN STUB
    # # log.positions().groups; places[0].committed: the last position up to which all is committed,
    # # or None for nothing. log.read(end=position) reads up to a position, that one included.
    # return ...
    ### END STUB


# %% name="may-go-check"
lab06.check_may_go(may_go)

# %% [markdown] name="recap"
# ## Recap
#
# - A log keeps what happened; a reader keeps its place. Reading and committing take nothing away.
# - A group shares events among its members; each group has a cursor and a list of pending events.
# - After a crash ask for what you owe; claim what others owe when they have been silent for long.
# - Lag is what is unread *and* what is pending. Lag 0 does not prove that all was done.
# - Trimming destroys, and Redis asks nobody. Know who has not read yet.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. Two groups of three members each read a stream of 60 events. How many deliveries
# are there, without crashes?</summary>
#
# 120: each group is given all 60, each member about 20 of them.
#
# </details>
# <details><summary>2. A member commits each batch <i>before</i> it handles it. What does a crash
# cost?</summary>
#
# What was left of the batch: the group counts it as done. Commit after the work costs a second handling
# instead, which an idempotent handler makes harmless.
#
# </details>
# <details><summary>3. The lag of a group has been exactly 7 for an hour, and events come all the time.
# What is wrong?</summary>
#
# Seven events are pending with a member that does not work any more, while the others keep up. Claim
# them, and find out whether it is the member that is broken, or the events.
#
# </details>
#
# **In practice.** Kafka, Redpanda and Pulsar are logs; NATS has them as JetStream, RabbitMQ as streams. In
# Kafka a group commits how far it has got, and not single events; it trims by age or by size, and asks
# nobody either. What you want to keep for ever belongs where it is backed up, too.
#
# **Next:** [Rebuild the past](07-rebuild-the-past.ipynb) from such a log.

# %% name="clean-up"
for member in (ann, bob, eve, dan, last, ann_of_board, zoe, yan):
    member.close()
_ = flights.delete(), day.delete()
lab.close()
print("Closed.")
