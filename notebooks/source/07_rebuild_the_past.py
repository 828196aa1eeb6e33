# %% [markdown] name="title"
# # Rebuild the past: event sourcing and CQRS
#
# A database tells you how things are. Ask it how they came to be, or how they stood at nine this
# morning, and it is silent: each change has overwritten the one before. If you keep what *happened*
# instead, how things are can be computed from it, today and again tomorrow.
#
# **Time:** 45 minutes · **You need:** labs [03](03-share-work-in-a-queue.ipynb) and
# [06](06-keep-the-log.ipynb).
#
# **You'll do**
#
# - follow a flight through its day, event by event;
# - build read models from the events, find a bug in one, and build it again;
# - send e-mails three times by mistake, and learn where they belong;
# - separate commands from questions, and refuse a command with a reason;
# - let two desks decide about one flight at once;
# - read events of an old form, and step over one that nobody can read.
#
# **You'll learn** what events can give back that a table cannot, and what that asks of you.

# %% name="setup"
import time
from collections import Counter
from datetime import datetime

import labkit
from labkit import EventStream, Projection, Publisher, StepClock, Subscriber, plots
from labkit.data import load_flights, stormy_day
from labkit.errors import Conflict, PoisonEvent, SnapshotMismatch
from labkit.exercises import lab07
from labkit.experiments import flight_views
from labkit.experiments.flight_desk import CommandRefused, FlightDesk

lab = labkit.connect(clock=StepClock(tick=0.1))
print(f"Broker: {lab.name}")

# %% [markdown] name="flow"
# ## A day is what happened
#
# ```mermaid
# flowchart LR
#     people(["people"]) -- command --> desk["desk<br/>(write model)"]
#     desk -- event --> stream[("stream<br/>flight-events")]
#     stream --> board["departure board"]
#     stream --> carriers["delay per carrier"]
#     stream --> move["bookings to move"]
# ```
#
# In words: somebody asks the desk for something, a **command**: "cancel AA 1838". The desk checks
# whether that may be, and appends an **event**: "AA 1838 was cancelled". A command may be refused; an
# event has happened, and stays. Three **read models** are computed from the events, each for one
# question.
#
# The desk is given the stormy day, from the first departure to the last arrival:


# %% name="day"
def empty_stream(name):
    """A stream of that name; a shared server may have one of an earlier run."""
    found = EventStream(lab, name, sender="desk")
    found.delete()
    return found


stream = empty_stream("flight-events")
desk = FlightDesk(stream)
print(f"{desk.tell(stormy_day()):,} events about {len(load_flights())} flights")
events = stream.read()
new_york = load_flights()[0].scheduled.tzinfo
plots.show(plots.timeline(events, ["US 2116", "AA 1838", "FL 361"], zone=new_york))
stream.read(key="FL 361")

# %% [markdown] name="timeline-prose"
# Each bar is a state, and each stroke an event that began it. FL 361 was put on the board at 06:10, was
# announced late three times, left at 16:00 and arrived two hours later. AA 1838 was cancelled. Of
# US 2116 the day's data have no arrival, so its bar goes on. The table holds all that is stored about
# FL 361. (Its time stamps are UTC; the picture has New York's time. The positions tell when the desk
# appended it all, and that took it a few minutes.)
#
# ## What an event must say
#
# Two bookings were made for two seats each, and now have one seat each. In the first a passenger stays at
# home; the second had a typing error. A system keeps both histories as `booking.updated`, with the new row
# as content.
#
# **Predict.** The airline asks: how many seats were *cancelled*? Can you count that in the log?
#
# - **A.** Yes: compare each row with the one before.
# - **B.** No.

# %% name="intent"
histories = {
    "stayed at home": [("booking.made", {"seats": 2}), ("seat.cancelled", {"seats": 1})],
    "typing error": [("booking.made", {"seats": 2}), ("booking.corrected", {"seats": 1})],
}
updates = [[("booking.updated", row) for _, row in each] for each in histories.values()]
print("kept as updates, the two are the same:", updates[0] == updates[1])
for name, history in histories.items():
    print(name, "| seats cancelled:", sum(kind == "seat.cancelled" for kind, _ in history))

# %% [markdown] name="intent-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** As updates the two histories cannot be told apart: the **intent** is lost, and no program can
# bring it back. Name an event after what happened in the world, in the past tense, and not after what it
# did to a row. The log of this lab says `flight.cancelled`, so its cancellations can be counted. You do
# that in a minute.
#
# </details>
#
# ## Events that pass by, and events that stay
#
# "We send events, so we are event-sourced." A live board listens to three events on a channel, and keeps
# what it hears in memory. Then its program is started anew.
#
# **Predict.** What does the board show after the restart?
#
# - **A.** The same three flights: they were events.
# - **B.** Nothing.

# %% name="restart"
tower = Publisher(lab, sender="tower").connect()
before = Subscriber(lab, name="board").connect()
before.subscribe("flights.live")
for event in events[:3]:
    _ = tower.publish("flights.live", event.content)
print("before the restart:", [message.content["flight"] for message in before.drain()])
before.disconnect()
after = Subscriber(lab, name="board").connect()
after.subscribe("flights.live")
print("after the restart: ", [message.content["flight"] for message in after.drain()])

# %% [markdown] name="restart-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** *Event-driven* means that services tell each other what happens. **Event sourcing** means that
# the kept events are the truth, and that every state is computed from them. A channel keeps nothing, so
# nothing can be computed again.
#
# </details>
#
# ## State is a sum
#
# A **projection** is a first state, and a function `apply(state, event)`: it is called with each event
# in turn, and either changes the state that it is given or returns a new one. That is all. (Functional
# programmers call it a *fold*.) Here is one that begins with an empty dict and counts what happened, and
# one that labkit brings along, the departure board:


# %% name="fold"
def count(state, event):
    """Changes the state that it is given."""
    state[event.type] = state.get(event.type, 0) + 1


print(Projection(dict, count, name="counts").rebuild(stream))

nine = datetime.fromisoformat("2013-03-08T09:00:00-05:00")
at_nine = [event for event in events if event.time <= nine]
board = flight_views.departure_board("JFK")
for name, end in (("at nine", at_nine[-1]), ("in the end", None)):
    rows = board.rebuild(stream, end=end).values()
    print(f"the board of JFK {name}:", dict(Counter(row["status"] for row in rows)))

# %% [markdown] name="fold-prose"
# There they are, the 180 cancellations. And the board can be had as it stood at nine, although nobody
# thought of keeping it: read up to there, and no further.
#
# ## A bug, and its cure
#
# The next projection adds up each carrier's minutes of delay. It has been on the wall for a year when
# somebody notices that Delta looks too good.


# %% name="bug"
def add_delay(carriers, event):
    """Minutes of delay, by carrier."""
    if event.type == "flight.departed":
        name = event.content["carrier"]
        carriers[name] = carriers.get(name, 0) + event.content["delay_minutes"]


def add_lateness(carriers, event):
    """The same, mended: who leaves early does not make up for who leaves late."""
    if event.type == "flight.departed":
        name = event.content["carrier"]
        carriers[name] = carriers.get(name, 0) + max(0, event.content["delay_minutes"])


for apply in (add_delay, add_lateness):
    minutes = Projection(dict, apply, name="minutes").rebuild(stream)
    print(f"{apply.__name__:12} Delta: {minutes['Delta']:,}  JetBlue: {minutes['JetBlue']:,}")

# %% [markdown] name="bug-prose"
# Mend the function, build again, and a year of wrong figures is right. The events were never wrong: they
# say what happened, and not what somebody made of it.
#
# ## Two truths
#
# A desk does not want to wait for projections, so its handler writes both: the row into a table, and the
# event into the stream. FL 361 is announced 15, then 60, then 180 minutes late. There is a bug in one of
# the two paths.
#
# **Predict.** Throw the table away and rebuild it from the events. Is it the same?
#
# - **A.** Yes: both were written by the same handler.
# - **B.** No.

# %% name="dual"
table, dual = {}, empty_stream("dual-writes")


def announce(flight, minutes):
    """Writes the row, and the event."""
    table[flight] = table.get(flight, 0) + minutes  # the bug: minutes are since the plan
    dual.append({"delay_minutes": minutes}, key=flight, type="flight.delayed")


for minutes in (15, 60, 180):
    announce("FL 361", minutes)
latest = Projection(dict, lambda state, event: {**state, event.key: event.content["delay_minutes"]})
print("table:", table, "| rebuilt:", latest.rebuild(dual))

# %% [markdown] name="dual-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Both paths were written by the same person, but not by the same line. No bug is needed, either:
# a program that dies between the two writes leaves one without the other. Let the event be the *only*
# thing that a command writes, and make the table from it.
#
# </details>
#
# ## What a rebuild does again
#
# Passengers of a cancelled flight get an e-mail. The nearest place to send it is `apply`: it sees every
# event. This one also appends `mail.sent` to the stream, so that all is on record. Three flights are
# cancelled. The projection runs once, and is then rebuilt twice.
#
# **Predict.** How many e-mails have gone out?
#
# - **A.** 3: a rebuild only computes.
# - **B.** 0: they are sent when the day is over.
# - **C.** 9.

# %% name="mails"
outbox, small = [], empty_stream("three-cancelled")
_ = [small.append({}, key=name, type="flight.cancelled") for name in ("MQ 1", "MQ 2", "MQ 3")]


def apply_and_mail(state, event):
    """Does what it should not."""
    if event.type == "flight.cancelled":
        outbox.append(f"to the passengers of {event.key}")
        small.append({}, key=event.key, type="mail.sent")


mailing = Projection(dict, apply_and_mail)
for run in ("first run", "rebuild", "rebuild"):
    _ = mailing.rebuild(small)
    print(f"{run:9} | e-mails: {len(outbox)} | events in the stream: {len(small)}")

# %% [markdown] name="mails-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A rebuild is nothing but calling `apply` again with every event. So `apply` must be **pure**: it
# computes the state, and does nothing else. Events that it appends are even worse than the mails: the
# stream grows with every rebuild, and tells of things that did not happen.
#
# What *reacts* to an event is another program. It keeps its place, like a group in lab 06, so that an
# event that it has handled is behind it. And whether something shall happen is decided in the *command*:
# an event has happened already. Exercise 7.2 takes the two apart.
#
# </details>
#
# ## Snapshots
#
# A year has more events than a day. A **snapshot** is a state together with the place up to which it was
# computed. After a restart you go on from there. This one is taken 32 events before the end of the day:

# %% name="snapshot" tags=["nbval-ignore-output"]
evening = flight_views.delay_per_carrier()
_ = evening.rebuild(stream, end=events[-33])
kept = evening.snapshot()
full, restored = flight_views.delay_per_carrier(), flight_views.delay_per_carrier()
began = time.perf_counter()
_ = full.rebuild(stream)
full_s, began = time.perf_counter() - began, time.perf_counter()
restored.restore(kept)
_ = restored.catch_up(stream)
rest_s = time.perf_counter() - began
print(f"full replay {full_s * 1000:.1f} ms, from the snapshot {rest_s * 1000:.1f} ms")

# %% name="snapshot-check"
for name, projection in (("from the first event", full), ("from the snapshot", restored)):
    print(f"{name}: {projection.stats().messages:,} events read")
assert (full.stats().messages, restored.stats().messages) == (len(events), 32)
print("the same state:", full.state == restored.state)
mended = Projection(dict, add_lateness, name="delay per carrier", version=2)
try:
    mended.restore(kept)
except SnapshotMismatch as error:
    print(error)

# %% [markdown] name="snapshot-prose"
# How much time a snapshot saves depends on the machine; how many events it saves does not: here all but
# 32. 3,832 events are few, and a full replay takes a moment. Measure before you add snapshots: each is a
# copy that may be wrong, and after a bug is mended, the old ones carry it along. So a projection has a
# `version`, and refuses the snapshot of another: that is the last line.
#
# ## Commands and questions
#
# Telling the desk what to do and asking it a question are two things. **CQRS** (command query
# responsibility segregation) keeps them apart: one *write model*, made for deciding, and *read models*,
# made for being looked at.
#
# **Predict.** What is the least that you need for CQRS?
#
# - **A.** Two databases, and a broker between them.
# - **B.** An event store.
# - **C.** One dict and two functions.

# %% name="cqrs-dict"
flights = {"AA 1838": "scheduled", "FL 361": "departed"}


def cancel(flight):
    """A command: it decides, changes, and answers nothing."""
    if flights[flight] == "departed":
        raise ValueError(f"{flight} cannot be cancelled: it has departed")
    flights[flight] = "cancelled"


def cancelled_flights():
    """A query: it answers, and changes nothing."""
    return sorted(name for name, status in flights.items() if status == "cancelled")


cancel("AA 1838")
print(cancelled_flights())

# %% [markdown] name="cqrs-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** CQRS is a way to write functions. Two databases, a broker, events: each can be added when there
# is a reason, and each brings its own trouble. (One of them: read models lag behind. A user who has
# cancelled a flight may look at a board that does not know it yet.)
#
# </details>
#
# Now the desk of this lab. Its write model knows of each flight only what it needs for deciding:
# scheduled → delayed → departed → arrived, or cancelled before it departs. What may not be is refused,
# with the reason. Below that are the three read models, built from the same events. The third one knows,
# at the moment at which AA 1838 to Boston was cancelled, which flights could take its passengers:

# %% name="refused"
for command, flight in (("cancel", "FL 361"), ("depart", "AA 1838"), ("arrive", "US 1")):
    try:
        getattr(desk, command)(flight)
    except CommandRefused as error:
        print(error)
print(f"{len(stream):,} events: nothing was appended")

# %% name="views"
cancellation = next(e for e in events if (e.type, e.key) == ("flight.cancelled", "AA 1838"))
jfk = flight_views.departure_board("JFK").rebuild(stream)
carriers = flight_views.delay_per_carrier().rebuild(stream)
to_move = flight_views.bookings_to_move().rebuild(stream, end=cancellation)["to move"]
print("departure board:", jfk["AA 1838"])
print("delay of Envoy: ", carriers["Envoy"])
print("to move:        ", to_move["AA 1838"])

# %% [markdown] name="conflict-concept"
# A read model is thrown away and built again when its question changes, and a fourth can be added
# tomorrow, with the whole day in it.
#
# ## Two desks, one flight
#
# US 1843 is scheduled: one event. Two desks look at it at the same time. One lets it depart, the other
# cancels it, each for good reasons. Both append with `expected=1`: "I have seen one event of this flight".
#
# **Predict.** What becomes of the second append?
#
# - **A.** Stored: a log takes everything.
# - **B.** It replaces the first.
# - **C.** Refused: a conflict.

# %% name="conflict"
desks = empty_stream("two-desks")
_ = desks.append({}, key="US 1843", type="flight.scheduled", expected=0)
seen = desks.revision("US 1843")  # both look: one event so far
_ = desks.append({"delay_minutes": 0}, key="US 1843", type="flight.departed", expected=seen)
try:
    desks.append({}, key="US 1843", type="flight.cancelled", expected=seen)
except Conflict as error:
    print("Conflict: expected", error.expected, "and is at", error.actual)
_ = desks.append({}, key="US 1843", type="flight.cancelled")  # without asking
print([event.type for event in desks.read()])
print("Under the hood:", lab.capabilities["expected revision"].why)

# %% [markdown] name="conflict-explained"
# <details><summary><b>What happened</b></summary>
#
# **C**, because the append said which **revision** it expected: how many events of this flight there are.
# The broker compares and appends in one step. The line after shows **A**, an append without `expected`: a
# flight that departed and was cancelled. A log that cannot compare is no event store. A plain Redis stream
# takes everything, and so does Kafka; labkit adds the comparison, as the last line says.
#
# </details>
#
# Whoever loses must not only append again, but *decide* again. Two `FlightDesk`s on one stream do:

# %% name="two-desks"
ann, bob = FlightDesk(desks), FlightDesk(desks)
ann.schedule("AA 543", carrier="American", origin="JFK", destination="MIA", scheduled="17:29")
bob.delay("AA 543", 30)
ann.delay("AA 543", 45)  # a conflict, decided anew: it may be delayed once more
ann.depart("AA 543", 50)
try:
    bob.cancel("AA 543")  # a conflict, decided anew: it may not be cancelled any more
except CommandRefused as error:
    print(error)
print("conflicts: Ann", ann.conflicts, "and Bob", bob.conflicts)
print([event.type for event in desks.read(key="AA 543")])

# %% [markdown] name="old-concept"
# ## Events grow old
#
# Events stay for years, and their form changes. Last year a departure said `"delay": "0:45"`, as the
# screen showed it; this year it says `"delay_minutes": 45`. Each event says in which `version` of the form
# it is written. The mended projection from above knows only the new one.
#
# **Predict.** What does it do with last year's event?
#
# - **A.** It counts it: an event is an event.
# - **B.** It leaves it out.
# - **C.** It stops there.

# %% name="old"
old = empty_stream("two-years")
for content, version in (
    ({"carrier": "Delta", "delay_minutes": 10}, 2),
    ({"carrier": "Delta", "delay": "0:45"}, 1),
    ({"carrier": "Delta", "delay_minutes": 20}, 2),
):
    old.append(content, key="DL 4", type="flight.departed", version=version)
try:
    Projection(dict, add_lateness, name="minutes").rebuild(old)
except PoisonEvent as error:
    print(error)

# %% [markdown] name="old-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** An event that a projection cannot apply is called **poison**. The projection stops before it, and
# says where; its state is that of the events before. Leaving it out in silence would give a figure that
# is wrong and looks right.
#
# </details>
#
# Nobody rewrites last year's events: they are what happened. Nor should every `apply` know all forms of
# all years. An **upcaster** makes an old content into one of the next version, while it is read. For some
# events there is none: somebody has written `"delay": "soon"`.


# %% name="upcast"
def to_minutes(content):
    """From version 1 to version 2 of flight.departed."""
    hours, minutes = content["delay"].split(":")
    return {"carrier": content["carrier"], "delay_minutes": 60 * int(hours) + int(minutes)}


upcasters = {("flight.departed", 1): to_minutes}
both_years = Projection(dict, add_lateness, name="minutes", upcasters=upcasters)
print(both_years.rebuild(old), "| made newer:", both_years.stats().upcast)

# %% name="poison"
bad = old.append({"carrier": "Delta", "delay": "soon"}, key="DL 4", type="flight.departed")
_ = old.append({"carrier": "Delta", "delay": "0:05"}, key="DL 4", type="flight.departed")
try:
    both_years.catch_up(old)
except PoisonEvent as error:
    print("stopped before the bad one:", error.position == str(bad.position), "|", error.reason)
print("so far:", both_years.state)
both_years.skip(bad.position)
_ = both_years.catch_up(old)
print("on purpose without it:", both_years.state, "| skipped:", both_years.stats().skipped)

# %% [markdown] name="exercise-1"
# 10 + 45 + 20, and 5 after the bad one. Skipping is a decision, and it is on record: in the projection's
# `skips`, in its snapshots, and in the trace.
#
# ## Exercises
#
# ### Exercise 7.1: what the delays come to
#
# Write `apply` for a read model: for each carrier, by name, how many flights *departed*, and their
# *minutes* of delay together. A flight that left early counts as a departure, with 0 minutes.
#
# **Expected:** `{"JetBlue": {"departed": 2, "minutes": 70}, …}`; carriers without a departure have no row.


# %% name="apply-delay"
def apply_delay(carriers, event):
    """Change the state: departures and minutes of delay, by carrier."""
    ### BEGIN SOLUTION
    if event.type != "flight.departed":
        return
    row = carriers.setdefault(event.content["carrier"], {"departed": 0, "minutes": 0})
    row["departed"] += 1
    row["minutes"] += max(0, event.content["delay_minutes"])
    ### END SOLUTION
    ### BEGIN STUB
    # # event has type, key and content; carriers is the dict to change.
    # return ...
    ### END STUB


# %% name="apply-delay-check"
lab07.check_apply_delay(apply_delay)

# %% [markdown] name="exercise-2"
# ### Exercise 7.2: rebuild without mails
#
# Return two functions. `apply(cancelled, event)` appends the key of each cancelled flight to the list
# `cancelled`, and is called in rebuilds. `react(event)` sends one e-mail, `send(event.key)`, for each
# cancellation; it may be given the same event twice (at least once!). `mailed` is a set that outlives
# your program: keep in it what you need.
#
# **Expected:** three cancellations, three mails, whatever is rebuilt, repeated or started anew. If
# `send` fails, the next call with this event tries again.


# %% name="make-parts"
def make_parts(send, mailed):
    """What computes, and what acts: apply and react."""

    ### BEGIN SOLUTION
    def apply(cancelled, event):
        if event.type == "flight.cancelled":
            cancelled.append(event.key)

    def react(event):
        if event.type == "flight.cancelled" and event.id not in mailed:
            send(event.key)
            mailed.add(event.id)

    return apply, react
    ### END SOLUTION
    ### BEGIN STUB
    # # Define apply(cancelled, event) and react(event). event.id names an event for ever.
    # return ...
    ### END STUB


# %% name="make-parts-check"
lab07.check_make_parts(make_parts)

# %% [markdown] name="exercise-3"
# ### Exercise 7.3: a command that may be refused
#
# Let a flight depart: append `{"delay_minutes": minutes}` as `flight.departed` with its key. Only a
# scheduled or a delayed flight may depart; for every other, raise a `ValueError` that says why. If
# somebody else has appended meanwhile, decide again.
#
# **Expected:** one event, or a `ValueError`; never a departure after a cancellation.


# %% name="depart"
def depart(stream, flight, minutes):
    """A command handler: read, decide, append."""
    ### BEGIN SOLUTION
    while True:
        history = stream.read(key=flight)
        status = history[-1].type if history else "flight.unknown"
        if status not in ("flight.scheduled", "flight.delayed"):
            raise ValueError(f"{flight} cannot depart: it is {status.removeprefix('flight.')}")
        content = {"delay_minutes": minutes}
        try:
            stream.append(content, key=flight, type="flight.departed", expected=len(history))
            return
        except Conflict:
            continue  # somebody was quicker: look again
    ### END SOLUTION
    ### BEGIN STUB
    # # stream.read(key=flight) is the flight's history; its length is the revision to expect.
    # return ...
    ### END STUB


# %% name="depart-check"
lab07.check_depart(depart)

# %% [markdown] name="recap"
# ## Recap
#
# - An event says what happened, in the past tense, with its intent; it is never changed.
# - A projection is a first state and a pure function. It can be thrown away, mended, and built again, up
#   to any moment.
# - What acts (e-mails, other systems) reacts to events with a place of its own, and never in `apply`.
# - A command is checked against the flight's own events, and appended with the revision it was decided
#   on. After a conflict, decide again.
# - Old forms are upcast while reading; a poison event stops a projection until somebody decides.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. A passenger's data must be deleted by law. The log never changes. What now?</summary>
#
# Keep personal data out of events, and refer to it by a key; or encrypt it with one key for each person,
# and destroy that key. Think of it before the first event: afterwards it is too late.
#
# </details>
# <details><summary>2. Your read model is a database table. Must apply be pure there, too?</summary>
#
# Yes: what it writes into *its own* table is its state. Write the place into the same table in the same
# transaction, as the mark in lab 03, or a crash in between counts an event twice.
#
# </details>
# <details><summary>3. When would you not do this?</summary>
#
# Nearly always at first. A table with a column `updated_at` does for most things. Event sourcing pays
# where the history is the business: bookings, money, deliveries, everything that somebody will audit.
#
# </details>
#
# **In practice.** EventStoreDB (KurrentDB), Axon and Marten are event stores with expected versions;
# with Kafka as the log the comparison has to be done elsewhere, in a database. Projections lag behind:
# show how far. Keep the versions of your events in a list, with an upcaster and a test for each.
#
# **Next:** lab 08, Break things.

# %% name="clean-up"
tower.disconnect()
after.disconnect()
lab.close()
print("Closed.")
