# %% [markdown] name="title"
# # Send your first message
#
# Programs that work together have to tell each other what happened. In this course they do it
# through a **message broker**: a program in the middle that takes messages and hands them on, so
# that the sender need not know who listens.
#
# **Time:** 15 minutes · **You need:** Python functions, lists and dicts; no broker, no server.
#
# **You'll do**
#
# - check that your set-up works;
# - send a message to nobody, then to somebody;
# - read a trace and a picture of what happened;
# - solve two exercises that check themselves.
#
# **You'll learn** what a publisher, a subscriber, a channel and a broker are, and how a lab of this
# course works.

# %% [markdown] name="how-to"
# ## How a lab works
#
# Run the cells from top to bottom with **Shift+Enter**. Most rounds have four steps:
#
# 1. **Concept:** a few sentences.
# 2. **Predict:** a question with options. Choose one *before* you run the next cell; being wrong
#    here is how you learn most.
# 3. **Run** the cell.
# 4. **What happened:** open the fold and compare.
#
# The outputs that you see before you run anything are real: they were stored by a run, and are
# compared with a new one whenever the course is tested. They also give the answers away, so begin
# with *Edit → Clear Outputs of All Cells*.
#
# Run each cell once, in order. If you get lost, choose *Kernel → Restart Kernel* and start again from
# the top: nothing is kept, and nothing can break.

# %% name="setup"
import labkit
from labkit import Publisher, StepClock, Subscriber, plots
from labkit.exercises import lab00

lab = labkit.connect(clock=StepClock(tick=0.1))
print(f"Broker: {lab.name}")

# %% [markdown] name="setup-explained"
# `labkit` is the small package that all labs use. `labkit.connect()` opened a broker and returned
# `lab`, through which everything in this notebook goes.
#
# - **Embedded?** If the line above says *embedded*, the broker is a small stand-in for Redis,
#   written in Python, inside this notebook. It behaves as Redis does in this lab, and it needs no
#   installation. To use a real Redis instead, set the environment variable `LABKIT_BROKER_URL`, for
#   instance to `redis://127.0.0.1:6379`, and start the notebook again: nothing else changes.
# - **`StepClock`?** A clock for lessons. Each time somebody asks it, a tenth of a second has passed.
#   So what you see below is the *order* of events, the same on every machine, instead of the
#   microseconds of yours.

# %% name="ping"
lab.ping()
print("The broker answers. Your set-up works.")

# %% [markdown] name="roles"
# ## Four words
#
# It is 8 March 2013, and snow falls on New York. You run the messaging of the operations room.
#
# ```mermaid
# flowchart LR
#     tower["tower<br/>(publisher)"] -- "message on channel news" --> broker["broker"]
#     broker -- "a copy" --> board["board<br/>(subscriber)"]
# ```
#
# In words: the *tower* sends a message to the *broker*, on a channel named `news`. The broker hands
# a copy to the *board*, because the board has said that it wants what is sent on `news`. The tower and
# the board know only the broker, not each other.
#
# | word | who or what |
# |---|---|
# | **publisher** | sends messages; here the tower |
# | **channel** | a name that messages are sent on; here `news` |
# | **subscriber** | asks for the messages of a channel; here the board |
# | **broker** | stands in the middle: takes messages, and hands out copies |

# %% [markdown] name="publish-concept"
# ## Say something
#
# A publisher needs a connection to the broker and a name, the *sender* of its messages. Then it
# publishes content on a channel. Anything that JSON can hold can be content: text, a number, a list,
# a dict.
#
# **Predict.** Nobody listens yet. What will happen when the tower publishes?
#
# - **A.** An error: there is no such channel.
# - **B.** The broker keeps the message until somebody wants it.
# - **C.** No error, and nobody ever gets it.

# %% name="publish-to-nobody"
tower = Publisher(lab, sender="tower").connect()
tower.publish("news", "Snow is coming")

# %% [markdown] name="publish-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** `publish` returned a `Receipt`: the broker wrote the message to **0** subscriptions, and
# that was the end of it. In publish/subscribe nothing is kept. A channel need not exist before you
# send on it, and there is no error, because a publisher does not have to care who listens.
#
# That is the strength of this pattern, and its price. You will measure both in lab 02.
#
# </details>

# %% [markdown] name="subscribe-concept"
# ## Listen
#
# A subscriber has a connection of its own. `subscribe` returns when the broker has confirmed, so
# from the next line on the board is listening.

# %% name="subscribe"
board = Subscriber(lab, name="board").connect()
board.subscribe("news")
board

# %% [markdown] name="second-predict"
# **Predict.** The tower sends a second message. What will the board have then?
#
# - **A.** Both messages.
# - **B.** The second message.
# - **C.** Nothing: it must subscribe again for each message.

# %% name="publish-to-one"
tower.publish("news", "Runway 4L is closed")

# %% [markdown] name="drain-concept"
# The receipt counts one subscription now. `drain()` takes everything that was published up to this
# moment and hands it to you:

# %% name="drain"
board.drain()

# %% [markdown] name="drain-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The board has the second message and not the first, which was sent before it subscribed. The
# row shows the channel, the *type* of the message (`"message"`, because we gave none), its content
# and its sender. Lab 01 is about these fields.
#
# But where was the second message between `publish` and `drain()`, if nothing is kept? The broker
# wrote it to the board's open connection at once, and there it waited until the board took it. Such a
# place exists only for those who are connected and subscribed.
#
# </details>

# %% [markdown] name="trace-concept"
# ## See what happened
#
# labkit writes down who did what to which message, and when. That record is the **trace**. When
# something surprises you in a lab, look here first. A message is *sent* by the publisher, *accepted* by
# the broker, and *delivered* when a subscriber takes it.

# %% name="trace"
lab.trace

# %% [markdown] name="picture-concept"
# The same trace as a picture. Each line is one actor, time runs to the right, and each arrow is a
# message: it starts where the message was sent, and ends where the board *took* it (at `drain()`).

# %% name="picture"
plots.show(plots.space_time(lab.trace))

# %% [markdown] name="picture-explained"
# Read it from left to right. "Snow is coming" went from the tower to the broker and no further:
# nobody was listening. Then the board subscribed. "Runway 4L is closed" went to the broker and from
# there to the board.
#
# Such a picture is called a *space-time diagram*. You will see it in every lab, also when messages
# get lost.

# %% [markdown] name="hood-concept"
# ## Under the hood
#
# labkit hides little. Here is what it sent to Redis for publishing, subscribing and draining, in the
# words of `redis-cli`, Redis' own command line (long ones are cut):

# %% name="commands"
lab.commands()

# %% [markdown] name="hood-native"
# - `PUBLISH` and `SUBSCRIBE` are what you did. The content travelled inside an envelope, which lab
#   01 opens.
# - `PING` is how `drain()` knows that it has everything: Redis answers in order, so when the answer
#   is there, all that was published before it is there, too.
#
# And `lab.native` is the Redis client itself (a [redis-py](https://redis.readthedocs.io) `Redis`
# object), for anything that labkit does not do. Send something without an envelope:

# %% name="native"
print("subscriptions:", lab.native.publish("news", "no envelope, only text"))

# %% name="native-received"
print("messages:", board.drain())
print("unreadable:", board.stats().unreadable)
print(board.stats().decode_errors[0])

# %% [markdown] name="native-explained"
# The broker does not mind: bytes are bytes. But the board could not read it as a message. It did not
# stop, and it did not throw the thing away in silence: it counted it, and kept a note that says why.

# %% [markdown] name="exercise-1"
# ## Exercises
#
# Below each exercise is a cell with a check. As long as you have not written anything, the check
# says so. If your answer is wrong, it says what is wrong; call it with `hint=2` to be told how to go
# on.
#
# ### Exercise 0.1: announce
#
# Complete the function: it connects a publisher with the sender `"desk"`, publishes `text` on
# `channel`, and returns the receipt.
#
# **Expected:** `announce(lab, "gates", "Gate 7 moved")` returns
# `Receipt(channel='gates', subscriptions=0)`.


# %% name="announce"
def announce(lab, channel, text):
    """Publish `text` on `channel` as "desk"; return the receipt."""
    ### BEGIN SOLUTION
    with Publisher(lab, sender="desk") as desk:
        return desk.publish(channel, text)
    ### END SOLUTION
    ### BEGIN STUB
    # # Write your answer here, in place of the three dots.
    # return ...
    ### END STUB


# %% name="announce-check"
lab00.check_announce(announce)

# %% [markdown] name="exercise-2"
# ### Exercise 0.2: be there in time
#
# Complete the function: a subscriber named `"desk"` must *receive* the text that a publisher with
# the sender `"tower"` publishes on the channel `"alerts"`. Return the list of contents that the desk
# got.
#
# **Expected:** `hear_the_alert(lab, "ground stop")` returns `['ground stop']`.


# %% name="hear-the-alert"
def hear_the_alert(lab, text):
    """Publish `text` on "alerts", and return the contents that the desk received."""
    ### BEGIN SOLUTION
    with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
        desk.subscribe("alerts")
        tower.publish("alerts", text)
        return [incoming.content for incoming in desk.drain()]
    ### END SOLUTION
    ### BEGIN STUB
    # # Mind the order. The content of one received message is `incoming.content`.
    # return ...
    ### END STUB


# %% name="hear-the-alert-check"
lab00.check_hear_the_alert(hear_the_alert)

# %% [markdown] name="recap"
# ## Recap
#
# - A publisher sends on a channel; the broker hands a copy to each subscription on it; neither side
#   knows the other.
# - Whoever is not subscribed at that moment gets nothing, and nobody is told.
# - A receipt counts subscriptions, a trace says what happened, a picture shows it.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. The receipt says 3 subscriptions. Have three people read the message?</summary>
#
# Not necessarily. The broker wrote it to three connections. Whether a program took it from there,
# and did something with it, the receipt does not say.
#
# </details>
# <details><summary>2. What does the publisher have to change when a second board subscribes?</summary>
#
# Nothing. That is what *loose coupling* means.
#
# </details>
# <details><summary>3. Why did the check of exercise 0.2 care about the order of two lines?</summary>
#
# Because nothing is kept: publish first and subscribe second, and the message is gone.
#
# </details>
#
# **In practice.** Redis Pub/Sub, NATS core and MQTT with QoS 0 all work like this.
# Use it for news that is worthless tomorrow: prices, positions, "the page has changed, reload".
# Where every message counts, you need something that keeps them: a queue (lab 03) or a log (lab 06).
#
# **Next:** [Describe a message](01-describe-a-message.ipynb).

# %% name="clean-up"
board.disconnect()
tower.disconnect()
lab.close()
print("Closed.")
