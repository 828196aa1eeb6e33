# %% [markdown] name="title"
# # Describe a message
#
# A broker carries bytes. It does not know whether they are an order, an alarm or a joke. Those who
# send and those who receive must agree on what a message looks like, and keep to it for years: queues
# and logs (labs 03 and 06) hold old messages, and old programs go on sending them.
#
# **Time:** 30 minutes · **You need:** [lab 00](00-start-here.ipynb); what JSON is.
#
# **You'll do**
#
# - see what a broker refuses, and what JSON does to your data;
# - take an envelope apart, field by field;
# - build messages of four families, and break them on purpose;
# - name channels, and find out what a pattern matches;
# - watch what bad messages do to a subscriber.
#
# **You'll learn** to describe a message so that a stranger can read it, and to receive one from a
# stranger without falling over.

# %% name="setup"
import json
import pickle

import labkit
from labkit import Message, Publisher, StepClock, Subscriber, channels, families, plots
from labkit.exercises import lab01

lab = labkit.connect(clock=StepClock(tick=0.1))
print(f"Broker: {lab.name}")

# %% [markdown] name="flow"
# ## From object to bytes and back
#
# ```mermaid
# flowchart LR
#     object["Python object"] -- encode --> bytes1["bytes"] --> broker
#     broker --> bytes2["bytes"] -- decode --> object2["an equal object?"]
# ```
#
# In words: the publisher *encodes* an object into bytes; the broker carries the bytes; the
# subscriber *decodes* them into an object. Whether that object equals the first one is up to the
# format. This course uses **JSON**: every language reads it, and so do you.
#
# **Predict.** You hand a dict and then `True` to Redis' own client. What happens?
#
# - **A.** The dict is sent as JSON; `True` is sent as the text `True`.
# - **B.** Both raise an error.
# - **C.** The dict raises an error; `True` is sent as the text `True`.

# %% name="bytes"
for thing in ({"flight": "B6 739"}, True, 42, "text", b"bytes"):
    try:
        lab.native.publish("news", thing)
        print(f"{thing!r:25} sent")
    except Exception as error:
        print(f"{thing!r:25} {type(error).__name__}")

# %% [markdown] name="bytes-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A Redis client sends bytes, text and numbers. Everything else is yours to encode, and that is
# good: a client that guessed would guess `"True"` one day and `"true"` on another.
#
# </details>
#
# ## What JSON does to your data
#
# JSON knows objects, lists, text, numbers, `true`, `false` and `null`. Python knows more.
#
# **Predict.** What does `json.loads(json.dumps({1: "a", "1": "b"}))` return?
#
# - **A.** `{1: 'a', '1': 'b'}`, what went in.
# - **B.** `{'1': 'b'}`: one entry is gone.
# - **C.** An error: a key of a JSON object must be text.

# %% name="json"
print(json.loads(json.dumps({1: "a", "1": "b"})))
print(json.loads(json.dumps({"route": ("JFK", "PSE")})))
print(json.loads(json.dumps({"wind": float("nan")})), "<- and no other language reads NaN")

# %% [markdown] name="json-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** JSON turned the number 1 into the text "1", and the second entry replaced the first: no
# error, and an entry is lost. The tuple came back as a list. NaN survived, but only because both ends
# were Python: it is not JSON, and other languages refuse the whole message.
#
# </details>
#
# labkit refuses such content where it is made, and says where in the content it is:

# %% name="refused"
for content in ({"seats": {1: "window"}}, {"route": ("JFK", "PSE")}, {"wind": float("nan")}):
    try:
        Message.new("flight.departed", content, sender="tower")
    except labkit.errors.ValidationError as error:
        print(error)

# %% [markdown] name="envelope-concept"
# ## The envelope
#
# Every message of this course has exactly five fields. Four of them are about the fifth, the
# content, as what is written on an envelope is about the letter.

# %% name="envelope"
departed = Message(
    type="flight.departed",
    content={"flight": "B6 739", "origin": "JFK", "destination": "PSE", "delay_minutes": 6},
    timestamp="2013-03-09T05:01:00.000Z",
    sender="tower",
    metadata={"priority": "normal", "version": "1"},
)
plots.show(plots.message_anatomy(departed))

# %% [markdown] name="envelope-prose"
# The picture shows the message as JSON, as it travels, and what each field is for:
#
# | field | answers | rule |
# |---|---|---|
# | `type` | what happened, or what is asked? | `noun.verb`, in the past for events; alerts and logs have fixed ones |
# | `content` | the facts | any JSON; enough to act on |
# | `timestamp` | when? | ISO-8601, **UTC**, milliseconds, `Z` |
# | `sender` | who says so? | a service, not a machine |
# | `metadata` | what about the message itself? | priority, version, message id, … |
#
# The timestamp says 9 March, five in the morning: in New York it was one minute past midnight. A
# message crosses time zones; a time without a zone is a bug that waits for summer.
#
# What was sent can be read again, and is equal:

# %% name="round-trip-code"
body = departed.encode()
print(f"{len(body)} bytes: {body[:60]}…")
print("equal after the way there and back:", Message.decode(body) == departed)

# %% [markdown] name="families-concept"
# ## Four families
#
# Messages differ in who must do what about them.
#
# | family | `type` | must have | who cares |
# |---|---|---|---|
# | event notification | `user.created` | `user_id`, `email` | anyone, now or never |
# | system alert | `system.alert` | `level`, `message`, `service` | an operator, soon |
# | application log | `application.log` | `level`, `message` | a search, later |
# | business event | `order.placed` | `order_id`, `customer_id`, `total_amount`, `items` | accounting, for certain |
#
# Every other type, such as our `flight.departed`, counts as an event notification; which fields it has
# is up to you. labkit has a constructor for each family, which knows its fields, and adds what belongs
# to it: `details`, and for a critical alert the priority `high`.

# %% name="families"
alert = families.system_alert(
    "critical",
    "De-icing fluid is running out",
    service="ground-JFK",
    sender="ground",
    error_code="DEICE-7",
    timestamp="2013-03-08T15:00:00.000Z",
)
print(alert.to_json())

# %% name="families-table"
item = {"product_id": "blanket", "quantity": 2, "price": 9.5}
order = families.business_event(
    "order.placed", order_id=1, customer_id=7, total_amount=19.0, items=[item], sender="shop"
)
user = families.event_notification("user.created", user_id=7, email="a@example.org", sender="users")
log = families.application_log("error", "Seat map not found", sender="seats", user_id=7)
for message in (user, alert, log, order, departed):
    print(f"{message.type:16} {families.family_of(message)}")

# %% [markdown] name="check-predict"
# `families.check` looks at a message that somebody else has built, and raises an error if it lacks what
# its family needs.
#
# **Predict.** The alert below has a level that nobody knows. The order has *two* faults: its list of
# items is empty, and its total is missing. What do you learn?
#
# - **A.** Only that both are invalid.
# - **B.** The field at fault and what was expected there, one fault a message.
# - **C.** All three faults.

# %% name="check"
strange = Message.new(
    "system.alert", {"level": "terrible", "message": "!", "service": "x"}, sender="x"
)
empty = Message.new("order.placed", {"order_id": 1, "customer_id": 7, "items": []}, sender="shop")
for message in (strange, empty):
    try:
        families.check(message)
    except labkit.errors.ValidationError as error:
        print(error)

# %% [markdown] name="check-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The envelope was fine, the content was not. A check at the door, with the field's name in
# it, saves the person who has to find out at night. It stops at the first fault: repair the order's
# items (`array of length >= 1` means: at least one), and it will tell you of the total.
#
# </details>
#
# ## Names for channels
#
# A channel name is an address that people type. Four conventions are common, and each answers a
# different question:

# %% name="names"
print("whose?       ", channels.by_service("order-service"))
print("what?        ", channels.by_event("order", "placed"))
print("how urgent?  ", channels.by_level("alerts", "critical"), channels.by_level("logs", "error"))
print(
    "for real?    ",
    channels.by_environment("prod", "alerts"),
    channels.by_environment("dev", "logs"),
)

# %% [markdown] name="glob-predict"
# Dots are a habit of people, not a rule of Redis. But Redis matches **patterns**: `*` stands for any
# characters, `?` for one, `[ab]` for a or b.
#
# **Predict.** Which of these does the pattern `order.*` match in Redis?
#
# - **A.** `order.placed` only.
# - **B.** `order.placed` and `order.eu.placed`.
# - **C.** `order.placed`, `order.eu.placed` and `order`.

# %% name="glob"
tests = ["order.placed", "order.eu.placed", "order", "reorder.placed"]
for pattern in ("order.*", "order.???ced", "[or]*.placed"):
    print(f"{pattern:13}", [name for name in tests if channels.matches(pattern, name)])

# %% [markdown] name="glob-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** In Redis `*` crosses dots. In RabbitMQ it does not: there `order.*` matches `order.placed`
# only, and `order.#` matches all three. The same characters, two meanings: when you change the
# broker, check the patterns.
#
# `channels.matches` is labkit's copy of Redis' rule; the course's tests compare the two on thousands of
# generated patterns.
#
# </details>
#
# Redis also *stores* values under names, which it calls keys. Is the channel `news` the key `news`? Set
# a key, send a message, and look at both:

# %% name="keyspace-code"
board = Subscriber(lab, name="board").connect()
board.subscribe("news")
lab.native.set("news", "a value, stored")
tower = Publisher(lab, sender="tower").connect()
tower.publish("news", "a message, sent")
print("key:", lab.native.get("news"), "| messages:", [i.content for i in board.drain()])
_ = lab.native.delete("news")

# %% [markdown] name="bad-concept"
# Both are there, and neither touched the other. A channel is not stored anywhere.
#
# ## Bad messages
#
# Sooner or later somebody sends you rubbish: an old program, a tired colleague, an attacker. The next
# cell publishes raw bytes, past the envelope, with `lab.publish(channel, body)`.
#
# **Predict.** Four bodies arrive, and the second one is the only good message. What will the board
# hold?
#
# - **A.** Nothing: the first one raises an error.
# - **B.** One message, and no sign of the others.
# - **C.** One message, and three notes that say what was wrong.

# %% name="bad"
not_json = b"hello?"
good = departed.encode()
no_content = b'{"type": "flight.departed"}'
bad_time = good.replace(b"2013-03-09T", b"March ")
for body in (not_json, good, no_content, bad_time):
    lab.publish("news", body)
print([i.content["flight"] for i in board.drain()])
for record in board.stats().decode_errors:
    print("-", record.reason)

# %% [markdown] name="bad-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A subscriber must not stop at rubbish, must not throw it away in silence, and must not trust it.
# Each note is a `DecodeError` record with the reason, the channel, the size and the first bytes. A number that grows in `stats().unreadable` is the first sign that two teams no longer speak
# the same language.
#
# </details>
#
# Bad messages are not always rubbish. Here a team renames a field, and one of its programs was not
# updated. The board gets a *handler*, a function that is called for each message, and `inject` hands it
# two messages as if they had arrived.
#
# **Predict.** The new consumer reads `delay_minutes`; the old message has `delay`. What happens?
#
# - **A.** It works: it is the same fact.
# - **B.** A `KeyError` in the handler ends the subscriber.
# - **C.** A `KeyError` in the handler; it is counted, and the next message is handled.

# %% name="rename"
delays = []
board.set_message_callback(lambda channel, message: delays.append(message.content["delay_minutes"]))
board.inject("news", {"flight": "UA 1124", "delay": 225})
board.inject("news", {"flight": "B6 35", "delay_minutes": 143})
print(delays, board.stats().errors[-1].error)

# %% [markdown] name="rename-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** The subscriber survives, but the fact is lost to the handler. Renaming a field is not a
# refactoring: it changes a contract with messages that already exist. Add the new field beside the
# old one, or put a `version` into the metadata and read both. You will do that in exercise 1.3.
#
# </details>
#
# Why JSON, when Python has `pickle`, which keeps tuples and int keys? Because of *not trusting*:


# %% name="pickle"
class Greeting:
    """Looks harmless. `__reduce__` says what to call when it is unpickled."""

    def __reduce__(self):
        return print, ("This line was printed by pickle.loads, in the consumer.",)


harmless_bytes = pickle.dumps(Greeting())
received = pickle.loads(harmless_bytes)

# %% [markdown] name="pickle-explained"
# Unpickling *runs code that the sender chose*. It was `print`; it could have been anything. Whoever
# can send on such a channel owns every subscriber. JSON can only ever become data.
#
# ## Under the hood
#
# What travels is text, nothing else; any program that reads JSON can take part. A publisher adds facts
# about the delivery to the metadata: an id, a number, the time of sending. Lab 02 shows what the number
# is good for.

# %% name="hood-code"
tower.publish("news", "snow")
[incoming] = board.drain()
print(incoming.message.to_json())

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 1.1: write an alert
#
# Return a *warning* from the service `"runway-4L"`, sent by `"ground"`, that says
# `"Braking action poor"`. Use the constructor of its family.
#
# **Expected:** a `Message` of type `system.alert`, which `families.check` accepts.


# %% name="write-alert"
def write_alert():
    """A warning about runway 4L."""
    ### BEGIN SOLUTION
    return families.system_alert(
        "warning", "Braking action poor", service="runway-4L", sender="ground"
    )
    ### END SOLUTION
    ### BEGIN STUB
    # # families.system_alert(...) knows the fields.
    # return ...
    ### END STUB


# %% name="write-alert-check"
lab01.check_write_alert(write_alert)

# %% [markdown] name="exercise-2"
# ### Exercise 1.2: choose the channel
#
# Return the channel for a message: an alert goes to `alerts.<level>`, a log to `logs.<level>`, and
# everything else to its own type (`flight.departed`, `order.placed`).
#
# **Expected:** `channel_for(alert)` returns `'alerts.critical'`, `channel_for(log)` returns
# `'logs.error'`.


# %% name="channel-for"
def channel_for(message):
    """The channel that this message belongs on."""
    ### BEGIN SOLUTION
    family = families.family_of(message)
    if family is families.Family.ALERT:
        return channels.by_level("alerts", message.content["level"])
    if family is families.Family.LOG:
        return channels.by_level("logs", message.content["level"])
    return message.type
    ### END SOLUTION
    ### BEGIN STUB
    # # message.type, message.content["level"] and channels.by_level may help.
    # return ...
    ### END STUB


# %% name="channel-for-check"
lab01.check_channel_for(channel_for)

# %% [markdown] name="exercise-3"
# ### Exercise 1.3: read old and new
#
# Version 1 of `flight.departed` has the field `delay`; version 2 calls it `delay_minutes`. Return the
# delay of either. A flight that left on time may have neither: then return 0. Return `None` for bytes
# that are not a message at all. Content can be any JSON, a text too: then return 0.
#
# **Expected:** `read_delay(body)` takes **bytes**, never raises, and returns a number or `None`.


# %% name="read-delay"
def read_delay(body):
    """The delay in minutes in these bytes; None if they are no message."""
    ### BEGIN SOLUTION
    try:
        content = Message.decode(body).content
    except labkit.errors.DecodeError:
        return None
    if not isinstance(content, dict):
        return 0
    return content.get("delay_minutes", content.get("delay", 0))
    ### END SOLUTION
    ### BEGIN STUB
    # # Message.decode(body) raises labkit.errors.DecodeError for what is no message.
    # return ...
    ### END STUB


# %% name="read-delay-check"
lab01.check_read_delay(read_delay)

# %% [markdown] name="recap"
# ## Recap
#
# - A broker carries bytes; the format is an agreement between people. JSON turns tuples into lists and
#   int keys into text, and has no NaN: refuse them early.
# - Five fields: type, content, timestamp (UTC!), sender, metadata. Four families: by who must act.
# - Names of channels answer one question each; patterns differ from broker to broker.
# - A bad message must not stop you, must leave a note, and must not be trusted.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. A colleague wants to put the password into the metadata, "it is only
# metadata". What do you say?</summary>
#
# Metadata travel with the message, to every subscriber, into every log and trace. They are as public
# as the content.
#
# </details>
# <details><summary>2. Why is `user.created` a better type than `create.user` for an event?</summary>
#
# An event tells what *has happened*; nobody can refuse it any more. `create.user` is a command: it
# asks for something, and may be refused.
#
# </details>
# <details><summary>3. Which change to a message is safe while old consumers run?</summary>
#
# Adding a field that they may ignore. Renaming, removing, or changing the meaning or the unit of one
# breaks them.
#
# </details>
#
# **In practice.** Look at [CloudEvents](https://cloudevents.io) for an envelope that many vendors
# share. Where size or speed matter, Protocol Buffers and Avro replace JSON and bring a *schema*, which
# a registry can check before anyone deploys. What stays is what you did here: name the fields, give
# the version, check at the door.
#
# **Next:** [Publish and subscribe](02-publish-and-subscribe.ipynb).

# %% name="clean-up"
board.disconnect()
tower.disconnect()
lab.close()
print("Closed.")
