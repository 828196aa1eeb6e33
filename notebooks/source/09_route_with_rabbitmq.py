# %% [markdown] name="title"
# # Route with RabbitMQ
#
# So far the sender named the channel or the queue. RabbitMQ puts a switchboard in between: the tower says
# *what* happened, and rules that others write decide who hears of it. It also keeps promises that Redis
# leaves to you, if you know how to ask for them.
#
# **Time:** 60 minutes · **You need:** [lab 03](03-share-work-in-a-queue.ipynb),
# [lab 04](04-ask-and-get-an-answer.ipynb), and a RabbitMQ on this machine. The lab starts a private node
# and stops it at the end. Without one you can read along: what is printed below was printed by a real node.
#
# **You'll do**
#
# - route a day of flights by four kinds of exchange, and predict each way;
# - publish messages that vanish without an error, and then messages that cannot;
# - restart a node, and see what it has kept;
# - share work fairly, retry later, put poison aside, let alarms overtake;
# - ask and get an answer.
#
# **You'll learn** which promises RabbitMQ keeps by itself, and which only when it is asked.

# %% name="setup" tags=["needs-rabbitmq"]
from collections import Counter

from labkit import Requester, Responder, StepClock, Worker, WorkQueue, plots
from labkit.data import load_flights
from labkit.exercises import lab09
from labkit.experiments.rabbitmq_lesson import deaths, put_tasks, start_lesson, take
from labkit.plots import Published
from labkit.servers import start_rabbitmq
from labkit.topology import Binding, Exchange, Queue, Topology

rabbit = start_lesson(clock=StepClock(tick=0.1))
print(f"Broker: {rabbit.name}")

# %% [markdown] name="flow"
# ## Exchanges decide
#
# ```mermaid
# flowchart LR
#     tower["tower<br/>(publisher)"] -- "cancelled.JFK" --> desks{{"exchange desks<br/>(direct)"}}
#     tower -- "cancelled.JFK" --> flights{{"exchange flights<br/>(topic)"}}
#     desks -- "cancelled.*" --> rebooking[("queue rebooking")]
#     flights -- "cancelled.#" --> press[("queue press")]
# ```
#
# In words: the tower publishes to an **exchange**, with a *routing key* (here `cancelled.JFK`). The
# exchange keeps nothing. It compares the key with its **bindings**, and puts a copy into each **queue** to
# which one leads. A *direct* exchange compares the whole key. A *topic* exchange compares word by word,
# between the dots: `*` stands for one word, `#` for any number of words.
#
# **Predict.** Three messages: `cancelled.JFK` to each of the two exchanges above, and the bare `cancelled`
# to the topic exchange. How many arrive?
#
# - **A.** All three.
# - **B.** Two: those that went to the topic exchange.
# - **C.** One: `cancelled.JFK` at the topic exchange.

# %% name="kinds"
exchanges = [Exchange("desks", "direct"), Exchange("flights", "topic")]
queues = [Queue("rebooking"), Queue("press")]
by_key = [("desks", "rebooking", "cancelled.*"), ("flights", "press", "cancelled.#")]
desks = Topology(exchanges, queues, [Binding(*one) for one in by_key])
rabbit.begin(desks)
three = [("desks", "cancelled.JFK"), ("flights", "cancelled.JFK"), ("flights", "cancelled")]
for exchange, key in three:
    rabbit.lab.publish_to(exchange, key, b"B6 739", mandatory=False)
print("waiting:", rabbit.depths(desks))
print(desks.route("desks", "cancelled.JFK"))
plots.show(plots.routing(desks, three))

# %% [markdown] name="kinds-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** To a direct exchange `*` is a character like any other: it waits for a key that is literally
# `cancelled.*`. And `#` may stand for no word at all, so `cancelled.#` fits `cancelled`, too. The message
# that fitted nothing is gone: no error, no trace. `desks.route(…)` tells, by the same rules and without a
# broker, where a message goes and why.
#
# </details>
#
# ## A day on a topic exchange
#
# All 979 flights of the day, with keys of three words: what happened, from where, to where. The board
# wants what concerns JFK, the rebooking desk what is cancelled. The auditors have asked twice: for
# everything, and for what is cancelled.
#
# **Predict.** How many copies of a cancelled flight does the auditors' queue get?
#
# - **A.** Two: two bindings fit.
# - **B.** One.
# - **C.** None: RabbitMQ refuses bindings that overlap.

# %% name="day"
asked = {"*.JFK.*": "board", "cancelled.#": "rebooking", "#": "audit", "cancelled.*.*": "audit"}
bindings = [Binding("flights", queue, key) for key, queue in asked.items()]
queues = [Queue("board"), Queue("rebooking"), Queue("audit")]
day = Topology([Exchange("flights", "topic")], queues, bindings)
rabbit.begin(day)
what = {True: "cancelled", False: "departed"}
keys = [f"{what[one.cancelled]}.{one.origin}.{one.destination}" for one in load_flights()]
for key in keys:
    rabbit.lab.publish_to("flights", key, b"a flight", mandatory=False)
predicted = Counter(queue for key in keys for queue in day.route("flights", key).queues)
print(len(keys), "sent:", rabbit.depths(day), "| as predicted:", rabbit.depths(day) == predicted)
plots.show(plots.routing(day, [("flights", key) for key in (keys[0], "cancelled.JFK.BOS")]))

# %% [markdown] name="day-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** 979 flights, 979 copies for the auditors, the cancelled ones among them. A queue gets a message
# once, however many bindings lead to it. (A Redis subscriber whose channel *and* pattern fit gets two: lab
# 02.)
#
# </details>
#
# ## Everything to everybody, and by headers
#
# A *fanout* exchange ignores the key and copies to every queue that is bound. A *headers* exchange ignores
# the key, too, and looks at the message's headers: a binding asks for *all* of its headers, or for *any*.

# %% name="headers"
halls = [Binding("halls", hall) for hall in ("hall A", "hall B")]
crews = [
    Binding("crews", "Newark", headers={"what": "cancelled", "from": "EWR"}, match="all"),
    Binding("crews", "standby", headers={"what": "cancelled", "hours": 9}, match="any"),
]
exchanges = [Exchange("halls", "fanout"), Exchange("crews", "headers")]
queues = [Queue(binding.target) for binding in halls + crews]
calls = Topology(exchanges, queues, halls + crews)
rabbit.begin(calls)

# %% name="headers-run"
rabbit.lab.publish_to("halls", "", b"The airport is open again.")
flights = [{"what": "cancelled", "from": "EWR"}, {"what": "departed", "hours": 9}, {"from": "EWR"}]
for headers in flights:
    rabbit.lab.publish_to("crews", "", b"a flight", headers, mandatory=False)
print("waiting:", rabbit.depths(calls))
labels = ["cancelled, EWR", "departed, 9 h", "only EWR"]
sent = [Published("crews", "", *one) for one in zip(flights, labels, strict=True)]
plots.show(plots.routing(calls, [Published("halls", label="open again"), *sent]))

# %% [markdown] name="silent"
# One call to all halls; the first flight to both crews, the second to the standby crew alone, for its nine
# hours; the third has only one of the two headers that the Newark crew asks for, and reaches nobody.
#
# ## "Published" is not "stored"
#
# From here on you use [pika](https://pika.readthedocs.io), the usual client in Python, itself. It speaks on
# a *channel*, a conversation within a connection. `""` is the default exchange: it leads to the queue whose
# name is the routing key. With `confirm_delivery()` the broker confirms each message, and
# `basic_publish` waits for that.
#
# **Predict.** You publish, with confirms, to a queue that does not exist. What do you get?
#
# - **A.** An exception: that is what confirms are for.
# - **B.** A time-out: no confirm comes.
# - **C.** A confirm, and the message is gone.

# %% name="silent-run"
import pika

with rabbit.channel() as channel:
    channel.confirm_delivery()
    channel.basic_publish("", "no such queue", b"B6 739")
    print("with confirms: no error")
    try:
        channel.basic_publish("", "no such queue", b"B6 739", mandatory=True)
    except pika.exceptions.UnroutableError as error:
        print("and mandatory:", error)

# %% [markdown] name="silent-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A confirm says that the broker has done what the bindings ask for, and here they ask for nothing.
# Only a `mandatory` message comes back when no queue gets it. (pika raises that as an error only if
# confirms are on.)
#
# </details>
#
# **Predict.** Now, without confirms, to an *exchange* that does not exist. Where is the error?
#
# - **A.** At the publish.
# - **B.** At the next call on this channel, whatever it is.
# - **C.** Nowhere.

# %% name="late-error"
with rabbit.channel() as channel:
    channel.basic_publish("no such exchange", "cancelled.JFK", b"B6 739")
    print("publish: no error")
    try:
        channel.queue_declare("anything", exclusive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        print("next call:", error.reply_code, error.reply_text.split(" in vhost")[0])

# %% [markdown] name="late-error-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A publish asks no question, so there is no answer in which an error could come. The broker closes
# the channel, and whoever uses it next hears of it. With confirms it would have been the publish.
#
# </details>
#
# A closed channel is AMQP's answer to most mistakes. Two that everybody makes once: to declare a queue anew
# with other arguments (nothing is updated), and to acknowledge a message twice.

# %% name="two-mistakes"
from labkit.experiments.rabbitmq_lesson import why_closed

with rabbit.connection() as connection:
    first, second = connection.channel(), connection.channel()
    put_tasks(first, "tasks", 1)
    other = {"exclusive": True, "arguments": {"x-max-priority": 3}}
    print("declared anew:", why_closed(second.queue_declare, "tasks", **other))
    print("the other channel is open:", first.is_open)
    method, _, _ = take(first, "tasks")
    first.basic_ack(method.delivery_tag)
    first.basic_ack(method.delivery_tag)
    print("acknowledged twice:", why_closed(first.basic_get, "tasks"))

# %% [markdown] name="durable"
# ## What survives a restart
#
# A *durable* queue is still there after a restart. A *persistent* message (`delivery_mode=2`) is written to
# the disk.
#
# **Predict.** A durable queue holds a message of each kind, and the node is shut down in order and started
# again. How many are in the queue then?
#
# - **A.** Two: the queue is durable.
# - **B.** One.
# - **C.** None: messages live in memory.

# %% name="restart"
persistent = pika.BasicProperties(delivery_mode=2)
with start_rabbitmq() as node:  # one of its own, to be switched off
    with rabbit.channel(node.url) as channel:
        channel.confirm_delivery()
        channel.queue_declare("tasks", durable=True)
        channel.basic_publish("", "tasks", b"B6 739, in memory")
        channel.basic_publish("", "tasks", b"B6 740, persistent", persistent)
        print("before:", channel.queue_declare("tasks", passive=True).method.message_count)
    node.restart()
    with rabbit.channel(node.url) as channel:
        print("after: ", channel.queue_declare("tasks", passive=True).method.message_count)
        print("it is: ", take(channel, "tasks")[2].decode())

# %% [markdown] name="durable-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The queue's promise is for the queue, each message's for that message: both are needed. And without
# a confirm you do not know whether the message had reached the disk, so a publisher that loses nothing asks
# for three things: a durable queue, persistent messages, and confirms (with `mandatory`). You will write it
# in exercise 9.2. (*Quorum queues*, below, are always durable, and write every message to the disk.)
#
# </details>
#
# ## Who gets how many
#
# RabbitMQ *pushes*: a consumer subscribes, and messages are sent to it until so many are unacknowledged
# as its **prefetch** allows. Without one there is no limit.
#
# **Predict.** Ten tasks wait. Ann subscribes, then Bob. Ann's first task takes all day; Bob acknowledges
# each of his at once. Without a prefetch, how many go to each?
#
# - **A.** Five and five: round robin.
# - **B.** Ten and none.
# - **C.** One and nine: Bob is faster.


# %% name="subscribe"
def subscribe(channel, name, prefetch, got):
    """Ann never gets done with a task; Bob is done with each at once."""

    def on_task(channel, method, _properties, _body):
        got[name] += 1
        if name == "Bob":
            channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=prefetch)
    channel.basic_consume("jobs", on_task)


# %% name="fair"
from labkit.experiments.rabbitmq_lesson import wait_until

for prefetch in (0, 1):  # 0, the default, is no limit
    got = Counter(Ann=0, Bob=0)
    with rabbit.connection() as connection:
        ann, bob = connection.channel(), connection.channel()
        put_tasks(ann, "jobs", 10)
        subscribe(ann, "Ann", prefetch, got)
        subscribe(bob, "Bob", prefetch, got)
        wait_until(connection, lambda got=got: got.total() == 10)
    print(f"prefetch {prefetch}: Ann {got['Ann']}, Bob {got['Bob']}")

# %% [markdown] name="fair-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Round robin needs two consumers who are there; when Ann subscribed she was alone, and the broker
# gave her all ten. With `basic_qos(prefetch_count=1)` she holds one, and Bob does the other nine: C. That
# is *fair dispatch*.
#
# </details>
#
# ## Requeue is not "later"
#
# A consumer that cannot do a task may refuse it: `basic_nack(tag, requeue=True)`.
#
# **Predict.** One task, one consumer that requeues it each time because the airline's system is down. How
# often is it delivered within half a second?
#
# - **A.** Once: it goes to the end, for later.
# - **B.** A few times.
# - **C.** Hundreds of times.

# %% name="requeue" tags=["nbval-ignore-output"]
deliveries = []
with rabbit.channel() as channel:
    put_tasks(channel, "hot", 1)

    def requeue(channel, method, _properties, _body):
        deliveries.append(method.redelivered)
        channel.basic_nack(method.delivery_tag, requeue=True)

    channel.basic_consume("hot", requeue)
    channel.connection.sleep(0.5)  # seconds, in which pika calls requeue()
print(f"{len(deliveries):,} deliveries of one task in half a second")

# %% name="requeue-check"
assert len(deliveries) > 10  # thousands, where nobody else uses the machine
assert all(deliveries[1:])  # each but the first is marked as redelivered
print("The task came back at once, again and again.")

# %% [markdown] name="retry"
# <details><summary><b>What happened</b></summary>
#
# **C.** The end of an empty queue is its front. A failing task that is requeued keeps one processor of the
# broker and one of yours busy, and hammers the system that is down.
#
# </details>
#
# ## Retry later, with dead letters
#
# RabbitMQ has no "later" of its own, but two parts that make one. A **dead-letter exchange** gets what a queue lets go
# of: refused messages, expired ones, those too many. A **TTL** (time to live) makes messages expire.
#
# ```mermaid
# flowchart LR
#     work[("queue work")] -- "nack (dead letter)" --> wait[("queue wait<br/>TTL 0.2 s")]
#     wait -- "expired (dead letter)" --> work
#     work -- "third failure" --> parked[("queue parked")]
# ```
#
# In words: a refused task goes from *work* to *wait*. Nobody consumes from *wait*; after 0.2 seconds the task
# expires there and goes back to *work*. After its third failure the consumer itself puts it into *parked*.

# %% name="retry-declare"
with rabbit.channel() as channel:
    for queue, dead_letter_to, ttl in (("work", "wait", None), ("wait", "work", 200)):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letter_to}
        if ttl:
            arguments["x-message-ttl"] = ttl  # milliseconds
        channel.queue_delete(queue)  # of an earlier run
        channel.queue_declare(queue, durable=True, arguments=arguments)
    channel.queue_delete("parked")
    channel.queue_declare("parked", durable=True)
    channel.basic_publish("", "work", b"B6 73?", persistent)

# %% name="retry-run"
with rabbit.channel() as channel:
    channel.confirm_delivery()
    for _ in range(3):
        method, properties, body = take(channel, "work")
        died = deaths(properties)
        print("taken:", died or "for the first time")
        if died.get("rejected in work", 0) < 2:
            channel.basic_nack(method.delivery_tag, requeue=False)
        else:
            channel.basic_publish("", "parked", body, persistent, mandatory=True)
            channel.basic_ack(method.delivery_tag)
    print("parked:", channel.basic_get("parked", auto_ack=True)[2].decode())

# %% [markdown] name="overtake"
# Each death is counted in the header `x-death`: the consumer need not remember how often it tried. Where the
# pauses shall grow, there is a *wait* queue for each length. Publishing to *parked* comes first, then the
# acknowledgement: a crash in between leaves two copies, never none.
#
# ## Alarms overtake
#
# A classic queue with `x-max-priority` has one row for each priority, and empties the highest first.

# %% name="priority"
with rabbit.channel() as channel:
    channel.queue_declare("alerts", exclusive=True, arguments={"x-max-priority": 3})
    alerts = [("info: gate changed", 1), ("warning: snow", 2), ("critical: runway closed", 3)]
    for text, priority in [("no priority: hello", None), *alerts]:
        properties = pika.BasicProperties(priority=priority)
        channel.basic_publish("", "alerts", text.encode(), properties)
    for _ in range(4):
        print(take(channel, "alerts")[2].decode())

# %% [markdown] name="quorum"
# ## Poison, counted by the broker
#
# A **quorum queue** keeps copies on several nodes, and goes on as long as most of them live. (On our single
# node it has one copy.) It also counts deliveries: `x-delivery-limit` is the number of times that a message
# may come back. A consumer that dies on a task never gets to count anything; the broker does.

# %% name="quorum-run"
to_parked = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "parked"}
arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, **to_parked}
with rabbit.channel() as channel:
    channel.queue_delete("safe")
    channel.queue_declare("safe", durable=True, arguments=arguments)
    channel.basic_publish("", "safe", b"B6 73?")
    for _ in range(3):
        method, properties, _ = take(channel, "safe")
        print("taken, came back before:", properties.headers["x-delivery-count"])
        channel.basic_nack(method.delivery_tag, requeue=True)
    _, properties, body = take(channel, "parked")
    print(body.decode(), "is a dead letter:", properties.headers["x-first-death-reason"])

# %% [markdown] name="rpc"
# ## Ask and get an answer
#
# AMQP messages have fields for it: `reply_to` names the queue for the answer, `correlation_id` says to which
# question it belongs. labkit's `Requester` and `Responder` of lab 04 use queues here; the code is the same.

# %% name="rpc-run"
agent = Requester(rabbit.lab, name="agent").connect()
desk = Responder(rabbit.lab, "seats", lambda request: {"free": 3}, name="seat desk").connect()
pending = agent.send("seats", {"flight": "US 2130"})
print(desk.serve_one().outcome, "|", agent.collect(pending).content)
desk.disconnect()
try:
    agent.request("seats", {"flight": "US 2130"}, timeout=2)
except Exception as error:
    print("the desk is closed:", type(error).__name__)
agent.disconnect()

# %% [markdown] name="labkit"
# At once, and not after two seconds: the desk's queue went with its last consumer, the request was
# `mandatory`, and came back.
#
# ## Under the hood: a work queue
#
# The `WorkQueue` of lab 03 runs on RabbitMQ, too. What labkit declares for it is what you have met: quorum
# queues (one for each priority), dead letters; `desk.known` is its own, to recognise the ids of tasks. The table says what RabbitMQ does by itself (*native*) and
# what labkit adds (*emulated*).

# %% name="labkit-run"
queue = WorkQueue(rabbit.lab, "desk", sender="tower")
queue.purge()
queue.put_many([{"flight": "B6 739"}, {"flight": "B6 740"}])
print(Worker(queue, lambda task: None, name="Ann").run_one().what, queue.depth())
declared = [text for text in rabbit.lab.commands(200) if text.startswith("queue.declare")]
print(*sorted({text.split()[1] for text in declared if "'desk" in text}), sep="\n")
for name in ("work queue", "leases", "delayed tasks", "priorities", "dead letters"):
    print(f"{name}: {rabbit.lab.capabilities[name].support}")

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 9.1: the bindings of a departure board
#
# The topic exchange `flights` gets keys such as `departed.JFK.LAX`: `scheduled`, `departed`, `arrived` or `cancelled`, then
# from where, then to where. Return a list of `Binding`s: the queue `board` gets what *departed* from JFK or
# was *cancelled* there, and nothing else; the queue `coast` gets everything that concerns flights *to* LAX
# or SFO.
#
# **Expected:** a list; `Topology.route` then finds the right queues for every flight of the day.


# %% name="bind-board"
def bind_board():
    """The bindings of the board and of the coast's queue."""
    ### BEGIN SOLUTION
    wanted = [("board", "departed.JFK.*"), ("board", "cancelled.JFK.*")]
    wanted += [("coast", "*.*.LAX"), ("coast", "*.*.SFO")]
    return [Binding("flights", queue, key) for queue, key in wanted]
    ### END SOLUTION
    ### BEGIN STUB
    # # A list of Binding("flights", queue, key).
    # return ...
    ### END STUB


# %% name="bind-board-check"
lab09.check_bind_board(bind_board)

# %% [markdown] name="exercise-2"
# ### Exercise 9.2: a publisher that loses nothing
#
# Publish `body` to the queue of that name (it is durable, if it exists) through the default exchange, so that
# nothing is lost in silence. Return `True` if the broker has stored the message, `False` if there is no such
# queue. Declare nothing: a queue is the business of those who read from it.
#
# **Expected:** the message is persistent, `True` only after the confirm, `False` instead of an exception.


# %% name="publish-safely"
def publish_safely(channel, queue, body):
    """Publish so that nothing is lost in silence; whether it was stored."""
    ### BEGIN SOLUTION
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=2)
    try:
        channel.basic_publish("", queue, body, persistent, mandatory=True)
    except pika.exceptions.UnroutableError:
        return False
    return True
    ### END SOLUTION
    ### BEGIN STUB
    # # Three things to ask for, and one error to expect.
    # return ...
    ### END STUB


# %% name="publish-safely-check"
lab09.check_publish_safely(publish_safely)

# %% [markdown] name="exercise-3"
# ### Exercise 9.3: a fair worker
#
# Subscribe to the queue on this channel so that `handler(body)` is called for each task, at most one task is in
# your hands at a time, and a task is acknowledged when the handler is done with it. Only subscribe; the check
# lets pika run.
#
# **Expected:** five of six tasks still wait while the first is handled; none is lost if the handler fails.


# %% name="work-fairly"
def work_fairly(channel, queue, handler):
    """Subscribe: one task at a time, acknowledged after the work."""

    ### BEGIN SOLUTION
    def on_task(channel, method, _properties, body):
        handler(body)
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_task)
    ### END SOLUTION
    ### BEGIN STUB
    # # pika calls on_task(channel, method, properties, body); method.delivery_tag is what to ack.
    # return ...
    ### END STUB


# %% name="work-fairly-check"
lab09.check_work_fairly(work_fairly)

# %% [markdown] name="recap"
# ## Recap
#
# - Publishers name an exchange and a key; bindings decide. A queue gets one copy at most.
# - No error is not success: `mandatory` for "no queue", confirms for "stored", both for "not lost".
# - Durable is for queues, persistent for messages. After a restart you need both.
# - Set a prefetch, or the first consumer gets everything. Never requeue in a loop: wait in a queue with a
#   TTL, count with `x-death` or a delivery limit, and park what never works.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. You change a queue's arguments in the code and deploy. What happens?</summary>
#
# 406 at the declaration, and the channel is closed. Delete the queue first, use a new name, or set such things
# by a *policy* on the broker, which can change.
#
# </details>
# <details><summary>2. Which binding of a topic exchange gets what a fanout exchange would get?</summary>
#
# `#`: any number of words, also none.
#
# </details>
# <details><summary>3. A worker has acknowledged on another channel than the one of the delivery. What
# happens?</summary>
#
# Tags are counted for each channel: the broker does not know it there, and closes that channel, as with the
# second acknowledgement above.
#
# </details>
#
# **In practice.** pika is not made for threads: a connection belongs to one. A handler that takes minutes
# misses heart-beats, and the broker takes the connection for dead: work in another thread, and acknowledge
# with `connection.add_callback_threadsafe`. Put an alarm on the depth of queues, and of *parked* above all.
# Declare durable or exclusive queues, and quorum queues for what must survive the loss of a machine.
#
# **Next:** lab 10, Kafka: where nothing is taken out of the queue, and everybody reads the same log.

# %% name="clean-up"
rabbit.remove(desks, day, calls, "work", "wait", "parked", "safe")
queue.purge()
rabbit.close()
print("Closed.")
