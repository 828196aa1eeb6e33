# %% [markdown] name="title"
# # Publish and subscribe
#
# One announces, many listen, and nobody waits for anybody: publish/subscribe is the pattern behind
# departure boards, price tickers and chat rooms. It is also the pattern that loses messages without
# an error, so this lab shows you how to see it happen.
#
# **Time:** 45 minutes · **You need:** [lab 00](00-start-here.ipynb) and
# [lab 01](01-describe-a-message.ipynb).
#
# **You'll do**
#
# - fan out real flights to several boards, by name and by pattern;
# - filter and route what arrives;
# - send in batches and on a schedule, and read the statistics;
# - lose messages by coming late and by being slow, and count them;
# - listen in the background.
#
# **You'll learn** to build a fan-out, and to say exactly what it does not promise.

# %% name="setup"
import labkit
from labkit import Publisher, StepClock, Subscriber, plots
from labkit.data import stormy_day
from labkit.exercises import lab02
from labkit.experiments.slow_subscriber import cut_off_slow_subscriber

lab = labkit.connect(clock=StepClock(tick=0.1))
print(f"Broker: {lab.name}")

# %% [markdown] name="day"
# ## The day
#
# 8 March 2013 in New York: 979 flights are planned from three airports, it snows, 180 are cancelled.
# `stormy_day()` tells the day as a list of *happenings*, in order: each has a `time`, a `channel` and a
# `message` (whose `label` is a short name for people). The channel names the airport of departure, also
# when a flight arrives elsewhere: `flights.JFK`, `flights.LGA`, `flights.EWR`. Delays are alerts, by
# level: `alerts.info`, `alerts.warning`, `alerts.critical`.

# %% name="day-code"
day = stormy_day()
print(len(day), "messages, from", day[0].time, "to", day[-1].time)
noon = stormy_day(start="12:02", end="12:04")
for happening in noon:
    print(f"{happening.time:%H:%M}  {happening.channel:11}  {happening.message.label}")

# %% [markdown] name="fan-out-concept"
# ## Fan out
#
# ```mermaid
# flowchart LR
#     tower -- "flights.JFK" --> broker
#     tower -- "flights.LGA" --> broker
#     broker -- "flights.JFK" --> jfk["JFK board"]
#     broker -- "flights.*" --> app["passenger app"]
# ```
#
# In words: the tower publishes each message once. The JFK board has subscribed to one channel by
# name. The passenger app has subscribed with a pattern, `flights.*`, and gets the flights of all
# airports. The broker makes the copies.

# %% name="fan-out-subscribe"
tower = Publisher(lab, sender="tower").connect()
jfk_board = Subscriber(lab, name="JFK board").connect()
jfk_board.subscribe("flights.JFK")
app = Subscriber(lab, name="app").connect()
app.psubscribe("flights.*")

# %% [markdown] name="fan-out-predict"
# **Predict.** The tower publishes the seven messages above. What do the receipts say for a flight from
# JFK, and for one from LaGuardia?
#
# - **A.** 2 and 1.
# - **B.** 1 and 1: a message has one receiver.
# - **C.** 2 and 2: the broker sends everything to everybody.

# %% name="fan-out"
for happening in noon:
    receipt = tower.publish(happening.channel, happening.message)
    _ = jfk_board.drain(), app.drain()
    print(receipt.channel, receipt.subscriptions)
print(jfk_board.stats().handled, "on the JFK board,", app.stats().handled, "in the app")
plots.show(plots.space_time(lab.trace))

# %% [markdown] name="fan-out-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** The broker copies a message to each subscription that matches: two for JFK (the board by
# name, the app by pattern), one for the others. The tower sent seven messages and knows nothing of
# boards and apps. A third board would change the receipts, and not a line of the tower's code.
#
# </details>
#
# **Predict.** The app now *also* subscribes to `flights.JFK` by name, to be sure. What does it get
# when one flight leaves JFK?
#
# - **A.** The message once.
# - **B.** The message twice.
# - **C.** An error: it has that channel already.

# %% name="twice"
app.subscribe("flights.JFK")
print(tower.publish("flights.JFK", {"flight": "B6 739"}, type="flight.departed"))
print(app.drain())
print("duplicates that the app has seen:", app.stats().duplicates)
app.unsubscribe("flights.JFK")

# %% [markdown] name="twice-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** To Redis these are two subscriptions, and each gets its copy. The receipt says 3: the board,
# and the app twice. So "3 subscriptions" is not "3 programs", and certainly not "3 people". labkit
# counts the second copy as a duplicate, and hands it out all the same: what to do with it is your
# decision. (It knows it by a number in the message; more on that below.)
#
# </details>
#
# ## Filter and route
#
# A channel is a coarse net. Finer ones are yours:
#
# - `filter(predicate)` lets through what you want;
# - `route(pattern, handler)` and `route(type=…, handler=…)` call a handler for what matches;
# - `set_message_callback(handler)` gets what no route takes.
#
# A handler is a function of `(channel, message)`. The filter comes first; a message that it stops
# reaches no handler.
#
# **Predict.** The desk below takes flights and alerts, but wants only what is about JFK. Where does the
# filter run?
#
# - **A.** In the broker: other airports' messages do not travel.
# - **B.** In the desk: they travel, and are thrown away on arrival.
# - **C.** In the tower: they are not even sent.

# %% name="route"
pages, moves, rest = [], [], []
desk = Subscriber(lab, name="desk").connect()
desk.psubscribe("flights.*", "alerts.*")
desk.filter(lambda message: message.content["origin"] == "JFK")
desk.route("alerts.critical", lambda channel, message: pages.append(message.content["message"]))
desk.route(type="flight.cancelled", handler=lambda channel, message: moves.append(message.label))
desk.set_message_callback(lambda channel, message: rest.append(message.label))

# %% name="route-run"
noon_rush = [(h.channel, h.message) for h in stormy_day(start="12:00", end="13:00")]
_ = tower.publish_multiple(noon_rush)
handled = desk.drain()
print(len(noon_rush), "sent,", len(handled), "handled,", desk.stats().filtered, "filtered out")
print(len(pages), "pages,", len(moves), "rebookings,", len(rest), "others")
print("page somebody:", pages[0])
print("rebook:", moves)

# %% [markdown] name="route-prose"
# <details><summary><b>What happened</b></summary>
#
# **B.** All of them travelled to the desk, and it counted what it threw away. Filtering saves work, not
# network. If you filter most of a channel away, the channel is too coarse.
#
# </details>
#
# ## Batches, schedules, statistics
#
# `publish` waits for the broker's answer each time: one *round trip* a message.
# `publish_multiple` sends many messages in one go and collects the answers afterwards. Here is the
# whole day:

# %% name="batch"
whole_day = [(happening.channel, happening.message) for happening in day]
_ = jfk_board.drain(), app.drain()
receipts = tower.publish_multiple(whole_day)
jfk_day = jfk_board.drain()
print(len(receipts), "messages sent;", len(jfk_day), "for the JFK board")
print("cancelled at JFK:", sum(i.message.type == "flight.cancelled" for i in jfk_day))

# %% [markdown] name="periodic"
# `publish_periodic` sends on a schedule. The times are *start + n · every*, so that a message that is
# late does not push the later ones back. With the `StepClock` of this lab the waiting takes no time.

# %% name="periodic-code"
tower.publish_periodic("weather", lambda n: {"observation": n, "snow_cm": 4 + n}, every=60, count=5)
tower.stats()

# %% [markdown] name="stats-prose"
# Statistics are counts for each channel. *Unheard* is what the broker wrote to nobody: no one has
# subscribed to the weather. *Subscriptions* counts the copies. Every number is also an attribute
# (`tower.stats().unheard`), and `to_frame()` gives you a pandas frame to compute with:

# %% name="stats-frame"
jfk_board.stats().to_frame()[["messages", "bytes", "handled"]]

# %% [markdown] name="late-concept"
# ## Losing by coming late
#
# You know from lab 00 that a late subscriber gets nothing that was sent before. Can it at least *know*?
#
# Each labkit publisher numbers its messages, from 1, for each channel. The number travels in the
# metadata, as `seq`.
#
# **Predict.** Five messages are sent. A screen subscribes after the third one, and misses nothing
# from then on. What do its statistics say?
#
# - **A.** 2 handled, and nothing else: it cannot know.
# - **B.** 2 handled, 3 missed before.
# - **C.** 5 handled: the broker sends the earlier ones after all.

# %% name="late"
lab.trace.clear()
gates = Publisher(lab, sender="gates").connect()
display = Subscriber(lab, name="display").connect()
display.subscribe("gates.B")
screen = Subscriber(lab, name="late screen").connect()
for n in range(1, 6):
    gates.publish("gates.B", {"title": f"gate B{n}"})
    if n == 3:
        screen.subscribe("gates.B")
_ = display.drain(), screen.drain()
print(screen.stats().handled, "handled,", screen.stats().missed_before, "missed before")

# %% name="late-picture"
plots.show(plots.space_time(lab.trace))

# %% [markdown] name="late-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The messages for gates B1 to B3 went past while the screen was not subscribed; the picture
# shows its line dotted until then. The first message that it got had the number 4, so three came
# before. The numbers cannot bring them back: for that, something has to keep them (lab 06).
#
# </details>
#
# ## Losing by being slow
#
# A subscriber that handles less than arrives needs room for the rest: a *buffer*. Room is finite, so
# something must happen when it is full. labkit has three policies:
#
# | `overflow=` | when the buffer is full | the price |
# |---|---|---|
# | `"block"` | stop reading; the broker must keep it | a real broker cuts you off |
# | `"drop_oldest"` | the oldest one makes room | you lose the past |
# | `"error"` | raise an error | you stop |
#
# **Predict.** Six times, three messages are sent and a slow board handles one. Its buffer holds four,
# and it drops the oldest. In the end it may handle all that is left. How many of the 18 does it get?
#
# - **A.** 18: it only takes longer.
# - **B.** 9.
# - **C.** 4.

# %% name="slow"
slow = Subscriber(lab, name="slow board", buffer=4, overflow="drop_oldest").connect()
slow.subscribe("gates.C")
for start in range(0, 18, 3):
    gates.publish_multiple([("gates.C", {"title": f"C{start + n}"}) for n in range(3)])
    [incoming] = slow.drain(max_messages=1)
    print(f"handled {incoming.content['title']:4} dropped so far: {slow.stats().dropped}")
print("left in the buffer:", [incoming.content["title"] for incoming in slow.drain()])
stats = slow.stats()
print(f"{stats.handled} handled, {stats.dropped} dropped, of {stats.messages}")

# %% name="slow-picture"
rows = []
for who in (display, screen, slow):
    seen = who.stats()
    sent = seen.messages + seen.missed_before
    rows.append(plots.LossRow(who.name, sent, seen.handled, seen.missed_before, seen.dropped))
plots.show(plots.losses(rows))

# %% [markdown] name="slow-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** It handled one in each of the six rounds, and in the end the three that were left in the
# buffer: 9 in all; the other 9 were dropped. In the first round there was room for all three; in the
# second, one was dropped; from the third on, two in each round. Nothing failed, and
# nobody was told, except by the counter. *A loss that nobody counts looks exactly like no loss.*
#
# The three bars, as a table:
#
# | subscriber | sent | delivered | missed before | dropped |
# |---|---|---|---|---|
# | display | 5 | 5 | 0 | 0 |
# | late screen | 5 | 2 | 3 | 0 |
# | slow board | 18 | 9 | 0 | 9 |
#
# </details>
#
# ## Losing by being cut off
#
# And `"block"`? Then the messages pile up in the broker. The embedded broker lets them. A real Redis
# protects itself: when a subscriber's output buffer passes a limit (by default 32 MB, or 8 MB for a
# minute), **it closes the connection**.
#
# The next cell needs a real Redis on this machine; without one it says so. It starts a private server
# with a limit of 1 MB. A subscriber subscribes, and reads nothing. A publisher sends messages of 10 kB
# until a receipt says 0. Only then the subscriber reads what it can.
#
# **Predict.** All receipts but the last say that *one* subscription got the message. Will this labkit
# subscriber have them all?
#
# - **A.** Yes: the receipts said 1.
# - **B.** No, and it will find out when it comes back.
# - **C.** No, and it cannot know.

# %% name="cut" tags=["nbval-ignore-output"]
outcome = cut_off_slow_subscriber()
outcome or "No Redis or Valkey on this machine: skipped. 'labkit doctor' says how to get one."

# %% name="cut-check"
if outcome:
    assert outcome.receipts_of_one == outcome.sent - 1
    assert outcome.received + outcome.lost == outcome.sent
    assert outcome.lost > 0
    assert outcome.gaps == 1
print("If there was a server: every message was either received or counted as lost.")

# %% [markdown] name="cut-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A receipt of 1 means: written to one connection's buffer. That connection was closed with the
# buffer still full. The subscriber came back by itself, and most clients would say nothing about it, so
# for them C is true. labkit reported a **gap** (a time without a connection), and the numbers told how
# many messages were gone. Your own figures are above; they depend on how much the operating system's
# sockets held.
#
# </details>
#
# These are the counts that you have met, and will need for exercise 2.3:
#
# | count | what it means |
# |---|---|
# | `messages` | arrived at the subscriber, in any state |
# | `handled` | handed to the handlers, or to you |
# | `filtered` | stopped by your own filter |
# | `dropped` | pushed out of a full buffer |
# | `unreadable` | not a message (lab 01) |
# | `missed_before` | sent before the first one that was seen |
# | `lost` | missing between two that were seen |
# | `duplicates` | came more than once |
# | `gaps` | times without a connection, not messages |
#
# ## Listen in the background
#
# Until now you took each step by hand. A program that serves listens all the time: `listen()` does
# the same steps in a background thread. What an exception in a handler does there matters: nobody is
# looking.
#
# **Predict.** Three messages arrive: `a`, `boom`, `b`. The handler raises an exception for `boom`. What
# becomes of `b`?
#
# - **A.** It is not handled: the exception has ended the listening.
# - **B.** It is handled, and nothing tells of the exception.
# - **C.** It is handled, and the exception is on record.

# %% name="background"
seen = []


def handler(channel, message):
    """Notes what it sees, and fails on one of them."""
    seen.append(message.content)
    if message.content == "boom":
        raise ValueError("cannot show this")


with Subscriber(lab, name="listener") as listener:
    listener.set_message_callback(handler)
    listener.subscribe("lounge")
    listener.listen()
    tower.publish_multiple([("lounge", "a"), ("lounge", "boom"), ("lounge", "b")])
    listener.wait_for(3)
print(seen, "|", listener.stats().errors[0].error)

# %% [markdown] name="background-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** One bad message must not end the listening; the exception was counted and kept. With
# redis-py's own `run_in_thread`, the thread would have ended after `boom`, and the board would have
# stayed dark, without a word, until somebody looked up.
#
# The thread prints nothing. It records, and the cell prints: threads that print tear each other's
# lines apart.
#
# </details>
#
# ## Under the hood
#
# The native client of Redis, without labkit. Note what comes first:

# %% name="hood-code"
raw = lab.native.pubsub()
raw.subscribe("lounge")
raw.psubscribe("loun*")
lab.native.publish("lounge", "hello")
for _ in range(4):
    print(raw.get_message(timeout=1))
print(raw.get_message())
raw.close()

# %% [markdown] name="hood-prose"
# The first two "messages" are the confirmations: do not mistake them for yours. Then `hello` comes
# twice, as `message` and as `pmessage`. And `get_message()` without a timeout does not wait: it returned
# `None` at once.
#
# ## Exercises
#
# ### Exercise 2.1: the right net
#
# Subscribe the board to all flights and to the *critical* alerts, and to nothing else.
#
# **Expected:** the board gets `flights.JFK`, `flights.EWR`, any other airport and `alerts.critical`, each
# once, and neither `alerts.info` nor `weather`.


# %% name="subscribe-board"
def subscribe_board(board):
    """Subscribe a connected Subscriber to all flights and to critical alerts."""
    ### BEGIN SOLUTION
    board.psubscribe("flights.*")
    board.subscribe("alerts.critical")
    ### END SOLUTION
    ### BEGIN STUB
    # # board.subscribe(...) takes names, board.psubscribe(...) takes patterns.
    # return ...
    ### END STUB


# %% name="subscribe-board-check"
lab02.check_subscribe_board(subscribe_board)

# %% [markdown] name="exercise-2"
# ### Exercise 2.2: count the cancelled flights
#
# Route the cancelled flights, and only those, to a handler that counts them by airport of origin.
# Return the dict of counts; it fills when the board drains.
#
# **Expected:** after the day, `{'EWR': 88, 'JFK': 16, 'LGA': 76}`.


# %% name="count-cancelled"
def count_cancelled(board):
    """Make `board` (connected, subscribed to flights.*) count; return the dict that it fills."""
    ### BEGIN SOLUTION
    counts = {}

    def count(channel, message):
        origin = message.content["origin"]
        counts[origin] = counts.get(origin, 0) + 1

    board.route(type="flight.cancelled", handler=count)
    return counts
    ### END SOLUTION
    ### BEGIN STUB
    # counts = {}
    # # A handler is a function of (channel, message); board.route(type=..., handler=...) calls it.
    # return ...
    ### END STUB


# %% name="count-cancelled-check"
lab02.check_count_cancelled(count_cancelled)

# %% [markdown] name="exercise-3"
# ### Exercise 2.3: an honest report
#
# A colleague's status page says "all good" whenever there was no exception. Write a better one: given
# a subscriber's statistics, return the number of messages that were sent on its channels but never
# reached its handlers *against its will*. Filtered ones do not count: nobody wanted them. Nor do
# messages whose handler failed: they did reach it.
#
# **Expected:** for the slow board above, `never_handled(slow.stats())` is 9; for the late screen, 3.


# %% name="never-handled"
def never_handled(stats):
    """How many messages did not reach the handlers, although they should have."""
    ### BEGIN SOLUTION
    return stats.missed_before + stats.lost + stats.dropped + stats.unreadable
    ### END SOLUTION
    ### BEGIN STUB
    # # Which of the counts in the table above mean "gone"?
    # return ...
    ### END STUB


# %% name="never-handled-check"
lab02.check_never_handled(never_handled)

# %% [markdown] name="recap"
# ## Recap
#
# - The broker copies a message to every subscription that matches, at that moment. Each subscription
#   gets it once or not at all; this guarantee is called *at most once*.
# - A receipt counts subscriptions that it was written to. It promises nothing.
# - Late, slow, cut off: three ways to lose messages without an error. Numbers make losses visible;
#   they do not bring anything back.
# - A full buffer blocks, drops or raises. Choose, and count.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. Two copies of your e-mail service subscribe to `order.placed`, to share the
# work. What will your customers say?</summary>
#
# That they get every e-mail twice. Fan-out gives each subscriber a copy; to *share* work you need a
# queue (lab 03).
#
# </details>
# <details><summary>2. The last three messages of the day were lost. Will the subscriber's counters
# show it?</summary>
#
# Not until another message of the same sender arrives on that channel: a number is seen to be missing
# only when a later one comes. A publisher that sends a heartbeat every minute bounds the time of not knowing.
#
# </details>
# <details><summary>3. When is "drop the oldest" the right policy?</summary>
#
# When a newer message makes the older one worthless: positions, prices, states. Not when each message
# is a change to be added up.
#
# </details>
#
# **In practice.** NATS core, MQTT with QoS 0 and UDP multicast behave like Redis Pub/Sub. In RabbitMQ
# a *fanout exchange* copies into queues, which keep messages; in Kafka every reader has its own place
# in a log. What to watch in production: `client-output-buffer-limit`, the subscribers' lag, and a
# counter of losses on a dashboard that somebody looks at.
#
# **Next:** share work instead of copying it, in [lab 03](03-share-work-in-a-queue.ipynb).

# %% name="clean-up"
for actor in (tower, gates, jfk_board, app, desk, display, screen, slow):
    actor.disconnect()
lab.close()
print("Closed.")
