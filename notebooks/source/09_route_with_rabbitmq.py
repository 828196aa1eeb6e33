# %% [markdown] name="title"
# # Route with RabbitMQ
#
# So far the sender named the channel or the queue. RabbitMQ puts a switchboard in between: the tower says
# *what* happened, and rules that others write decide who hears of it. And much that you built yourself in
# the labs before is built in here, but little of it is switched on.
#
# **Time:** 60 minutes · **You need:** [lab 03](03-share-work-in-a-queue.ipynb),
# [lab 04](04-ask-and-get-an-answer.ipynb), a RabbitMQ and the package pika
# (`pip install 'messaging-lab[rabbitmq]'`). The lab starts a private **node**, as a RabbitMQ server is called,
# and stops it at the end. Without one you can read along: the first cell says what is missing, and what is
# printed below was printed by a real node.
#
# **You'll do**
#
# - route a day of flights by four kinds of exchange, and predict the ways;
# - publish messages that vanish without an error, and then messages that cannot;
# - restart a node, and see what it has kept;
# - share work fairly, retry later, put poison aside, let alarms overtake;
# - ask and get an answer.
#
# **You'll learn** which promises RabbitMQ keeps by itself, and which only when it is asked.

# %% name="setup" tags=["needs-rabbitmq"]
from collections import Counter

from labkit import Requester, Responder, StepClock, plots
from labkit.errors import NoResponder
from labkit.exercises import lab09
from labkit.experiments.rabbitmq_lesson import depth, flight_keys, on_own_node, start_lesson, take
from labkit.plots import Published
from labkit.topology import Binding, Exchange, Queue, Topology

rabbit = start_lesson(clock=StepClock(tick=0.1))
print(f"Broker: {rabbit.name}")

# %% [markdown] name="flow"
# ## Exchanges decide
#
# ```mermaid
# flowchart LR
#     tower["tower<br/>(publisher)"] -- "cancelled.LGA" --> desks{{"exchange desks<br/>(direct)"}}
#     tower -- "cancelled.LGA, cancelled" --> flights{{"exchange flights<br/>(topic)"}}
#     desks -- "binding cancelled.LGA" --> lga[("queue LGA desk")]
#     desks -- "binding cancelled.*" --> rebooking[("queue rebooking")]
#     flights -- "binding cancelled.#" --> press[("queue press")]
# ```
#
# In words: the tower publishes to an **exchange**, with a **routing key**, such as `cancelled.LGA`. The
# exchange keeps nothing. It compares the routing key with the keys of its **bindings**, and puts a copy into
# each **queue** to which a fitting one leads. A *direct* exchange compares whole keys. A *topic* exchange
# compares word by word, between the dots: `*` stands for one word, `#` for any number of words.
#
# Below, a `Topology` lists exchanges, queues and bindings (each from an exchange, to a queue, by a key).
# `rabbit.begin(…)` declares them on the node, `publish_to` publishes, `rabbit.depths(…)` counts what waits in
# each queue that is not empty.
#
# **Predict.** Three messages: `cancelled.LGA` to each of the two exchanges, and the bare `cancelled` to
# `flights`. How many wait in each queue?
#
# - **A.** LGA desk 1, rebooking 1, press 2.
# - **B.** LGA desk 1, rebooking 0, press 2.
# - **C.** LGA desk 1, rebooking 0, press 1.

# %% name="kinds"
exchanges = [Exchange("desks", "direct"), Exchange("flights", "topic")]
queues = [Queue("LGA desk"), Queue("rebooking"), Queue("press")]
lga = Binding("desks", "LGA desk", "cancelled.LGA")
rebooking = Binding("desks", "rebooking", "cancelled.*")
press = Binding("flights", "press", "cancelled.#")
desks = Topology(exchanges, queues, [lga, rebooking, press])
rabbit.begin(desks)
three = [("desks", "cancelled.LGA"), ("flights", "cancelled.LGA"), ("flights", "cancelled")]
for exchange, key in three:
    rabbit.lab.publish_to(exchange, key, b"US 2130")
print(rabbit.depths(desks), desks.route("desks", "cancelled.LGA"), sep="\n")
plots.show(plots.routing(desks, three))

# %% [markdown] name="kinds-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** To a direct exchange `*` is a character like any other: *rebooking* waits for a key that is literally
# `cancelled.*`. And `#` may stand for no word at all, so `cancelled.#` fits `cancelled`, too.
# `desks.route(…)` tells, by the same rules and without a broker, where a message goes and why.
#
# </details>
#
# ## A day on a topic exchange
#
# All 979 flights of the day, with keys of three words: what happened, from where, to where. The board
# wants what concerns flights from JFK, the rebooking desk what is cancelled. The auditors have asked twice:
# for everything, and for what is cancelled. (`mandatory=False` lets a message vanish that nobody wants; more
# on that soon.)
#
# **Predict.** How many copies of a cancelled flight does the auditors' queue get?
#
# - **A.** One.
# - **B.** Two: two bindings fit.
# - **C.** None: RabbitMQ refuses bindings that overlap.

# %% name="day"
asked = [("board", "*.JFK.*"), ("rebooking", "cancelled.#"), ("audit", "#")]
asked.append(("audit", "cancelled.*.*"))
bindings = [Binding("flights", queue, key) for queue, key in asked]
queues = [Queue("board"), Queue("rebooking"), Queue("audit")]
day = Topology([Exchange("flights", "topic")], queues, bindings)
rabbit.begin(day)
flights = flight_keys()  # [("departed.JFK.PSE", the same as headers), …]
for key, headers in flights:
    rabbit.lab.publish_to("flights", key, b"a flight", headers, mandatory=False)
predicted = Counter(queue for key, _ in flights for queue in day.route("flights", key).queues)
print(len(flights), "sent:", rabbit.depths(day), "| as predicted:", rabbit.depths(day) == predicted)
plots.show(plots.routing(day, [("flights", flights[0][0]), ("flights", "cancelled.LGA.BOS")]))

# %% [markdown] name="day-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** 979 flights, 979 copies for the auditors, the cancelled ones among them. A queue gets a message
# once, however many bindings lead to it. (A Redis subscriber whose channel *and* pattern fit gets two: lab
# 02.)
#
# </details>
#
# ## Everything to everybody, and by headers
#
# A *fanout* exchange copies to every queue that is bound to it. A *headers* exchange compares the message's
# headers: a binding asks for *all* of its own headers, or for *any*. Neither looks at the routing key.
#
# Two crews ask for the headers `what: cancelled` and `from: EWR` (Newark): one for all, one for any.
#
# **Predict.** 180 flights are cancelled, 354 are from Newark, 88 of these are cancelled. How many does the
# queue `any` get?
#
# - **A.** 534: 180 and 354.
# - **B.** 88.
# - **C.** 446: those 88 come once.

# %% name="headers"
newark = {"what": "cancelled", "from": "EWR"}
crews = [Binding("crews", match, headers=newark, match=match) for match in ("all", "any")]
halls = [Binding("halls", hall) for hall in ("hall A", "hall B")]
exchanges = [Exchange("crews", "headers"), Exchange("halls", "fanout")]
calls = Topology(exchanges, [Queue(one.target) for one in crews + halls], crews + halls)
rabbit.begin(calls)
for key, headers in flights:
    for exchange in ("crews", "halls"):
        rabbit.lab.publish_to(exchange, key, b"a flight", headers, mandatory=False)
print("waiting:", rabbit.depths(calls))
three = [Published("crews", *flights[number]) for number in (0, 1, 799)]
plots.show(plots.routing(calls, [*three, Published("halls", *flights[0])]))

# %% [markdown] name="silent"
# <details><summary><b>What happened</b></summary>
#
# **C.** A queue gets a message once, here too: 180 + 354 − 88. Both halls got everything. And a flight that
# departed from JFK fits neither crew: it is gone, without an error, without a trace.
#
# </details>
#
# ## "Published" is not "stored"
#
# From here on you use [pika](https://pika.readthedocs.io), the usual client in Python, itself. It speaks on
# a *channel*, a conversation within a connection. `""` is the default exchange: it leads to the queue whose
# name is the routing key. (`exclusive` queues belong to one connection, and go with it.) After
# `confirm_delivery()` the broker answers each message with a **confirm**, and `basic_publish` waits for it.
# (RabbitMQ's own tutorial on confirms has no version in Python.)
#
# **Predict.** You publish, with confirms, to a queue `nowhere` that does not exist. What do you get?
#
# - **A.** An exception: that is what confirms are for.
# - **B.** A time-out: no confirm comes.
# - **C.** A confirm.

# %% name="silent-run"
import pika

one_place = {"x-max-length": 1, "x-overflow": "reject-publish"}
with rabbit.channel() as channel:
    channel.confirm_delivery()
    channel.queue_declare("full", exclusive=True, arguments=one_place)
    channel.basic_publish("", "full", b"B6 739")
    for queue, back in [("nowhere", False), ("nowhere", True), ("full", True)]:
        try:
            channel.basic_publish("", queue, b"US 2130", mandatory=back)
            print(f"{queue}, mandatory={back}: confirmed")
        except (pika.exceptions.UnroutableError, pika.exceptions.NackError) as error:
            print(f"{queue}, mandatory={back}: {type(error).__name__}")

# %% [markdown] name="silent-explained"
# <details><summary><b>What happened</b></summary>
#
# **C**, and the message is gone. A confirm says that the broker has done what the bindings ask for, and here
# they ask for nothing. A `mandatory` message comes back when no queue gets it. The opposite of a confirm, a
# *nack*, says that a queue did not take it: its one place was taken. (Without confirms pika raises neither.)
#
# </details>
#
# ## Who hears of a mistake?
#
# Three mistakes, each on a channel of its own, without confirms: you publish to an *exchange* that does not
# exist; you declare a queue anew with other arguments; you acknowledge a message twice (by the
# `delivery_tag`, the number of its delivery on this channel).
#
# **Predict.** Which of the three calls raises an error?
#
# - **A.** Declaring anew; for the others the error comes later.
# - **B.** All three.
# - **C.** The publish. The new arguments are taken over, and a second acknowledgement is harmless.

# %% name="closed"
from labkit.experiments.rabbitmq_lesson import put_tasks, why_closed

with rabbit.connection() as connection:
    one, two, three = (connection.channel() for _ in range(3))
    one.basic_publish("no such exchange", "cancelled.LGA", b"US 2130")
    print("published; the next call says:", why_closed(one.queue_declare, "", exclusive=True))
    put_tasks(two, "tasks", 1)
    other = {"exclusive": True, "arguments": {"x-max-priority": 3}}
    print("declared anew:", why_closed(three.queue_declare, "tasks", **other))
    method, _, _ = take(two, "tasks")
    two.basic_ack(method.delivery_tag)
    two.basic_ack(method.delivery_tag)
    print("acknowledged twice; the next call says:", why_closed(two.basic_get, "tasks"))

# %% [markdown] name="durable"
# <details><summary><b>What happened</b></summary>
#
# **A.** To declare is a question, and the answer is no: nothing is updated. A publish and an acknowledgement
# ask no question, so there is no answer in which an error could come. The broker closes the channel, and
# whoever uses it next hears of it, in a line that has nothing to do with it. (After `confirm_delivery()` a
# publish does ask.) The other channels of the connection stay open.
#
# </details>
#
# ## What survives a restart
#
# A queue can be *durable*, and a message can be *persistent* (`delivery_mode=2`).
#
# **Predict.** A durable queue holds two messages, one of them persistent. The node is shut down in order and
# started again. How many are in the queue then?
#
# - **A.** Two: the queue is durable, with what is in it.
# - **B.** One.
# - **C.** None: messages live in memory.


# %% name="restart"
def restart(node):
    with rabbit.channel(node.url) as channel:
        channel.confirm_delivery()
        channel.queue_declare("tasks", durable=True)
        channel.basic_publish("", "tasks", b"B6 739")
        persistent = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", "tasks", b"US 2130, persistent", persistent)
        print("before:", depth(channel, "tasks"))
    node.restart()
    with rabbit.channel(node.url) as channel:
        print("after: ", depth(channel, "tasks"), "|", take(channel, "tasks")[2].decode())


on_own_node(restart)  # a second node, to be switched off

# %% [markdown] name="durable-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A durable queue is there again after a restart, a persistent message is written to the disk: you need
# both. And without a confirm you do not know whether the message had reached the disk. So a publisher that
# loses nothing asks for persistent messages, confirms, and `mandatory`; the queue has to be durable. You will
# write it in exercise 9.2. (*Quorum queues*, below, are always durable, and write every message to the disk.)
#
# </details>
#
# ## Who gets how many
#
# RabbitMQ *pushes*: a consumer subscribes, and the broker sends it messages before it asks. A **prefetch**
# limits how many may be with a consumer, unacknowledged, at a time.
#
# **Predict.** Ten tasks wait. Ann subscribes, then Bob; neither sets a prefetch. Ann's first task takes all
# day; Bob acknowledges each of his at once. How many go to each?
#
# - **A.** Ann ten, Bob none.
# - **B.** Five and five: they take turns.
# - **C.** Ann one, Bob nine: he is faster.


# %% name="subscribe"
def subscribe(channel, name, prefetch, got):
    """Ann never gets done with a task; Bob is done with each at once."""

    def on_task(channel, method, _properties, _body):  # pika calls it for each task
        got[name] += 1
        if name == "Bob":
            channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=prefetch)
    channel.basic_consume("jobs", on_task)


# %% name="fair"
from labkit.experiments.rabbitmq_lesson import wait_until


def share(prefetch):
    got = Counter(Ann=0, Bob=0)
    with rabbit.connection() as connection:
        ann, bob = connection.channel(), connection.channel()
        put_tasks(ann, "jobs", 10)
        subscribe(ann, "Ann", prefetch, got)
        subscribe(bob, "Bob", prefetch, got)
        wait_until(connection, lambda: got.total() == 10)  # pika works meanwhile
    return dict(got)


print("prefetch 0 (the default):", share(0))
print("prefetch 1:", share(1))

# %% [markdown] name="fair-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** The default, 0, is no limit. Taking turns needs two consumers who are there; when Ann subscribed she
# was alone, and the broker gave her all ten. With `basic_qos(prefetch_count=1)` she holds one, and Bob does
# the other nine. That is *fair dispatch*.
#
# </details>
#
# ## Requeue is not "later"
#
# A consumer that cannot do a task may refuse it, and give it back: `basic_nack(tag, requeue=True)`.
#
# **Predict.** One task, one consumer that requeues it each time because the airline's system is down. How
# often is it tried within 20 seconds?
#
# - **A.** Once: it goes to the end, for later.
# - **B.** About 20 times: the broker waits a little in between.
# - **C.** A thousand times, or more.

# %% name="requeue"
tries = []
with rabbit.channel() as channel:
    put_tasks(channel, "hot", 1)

    def requeue(channel, method, _properties, _body):
        tries.append(method.redelivered)
        channel.basic_nack(method.delivery_tag, requeue=True)

    channel.basic_consume("hot", requeue)
    wait_until(channel.connection, lambda: len(tries) >= 1_000, timeout=20)  # else an error
print("At least 1,000 tries in less than 20 seconds.")
print("Marked as redelivered: all but", tries.count(False))

# %% [markdown] name="retry"
# <details><summary><b>What happened</b></summary>
#
# **C.** The end of an empty queue is its front. A failing task that is requeued keeps the broker and your
# consumer busy, and hammers the system that is down.
#
# </details>
#
# ## Retry later, with dead letters
#
# RabbitMQ has no "later" of its own, but two parts that make one. A queue may name a **dead-letter
# exchange**: it gets what the queue lets go of, such as refused and expired messages. And a **TTL** (time to
# live) makes messages expire.
#
# ```mermaid
# flowchart LR
#     work[("queue work")] -- "refused" --> wait[("queue wait<br/>TTL 0.2 s")]
#     wait -- "expired" --> work
#     work -- "third failure: put there" --> parked[("queue parked")]
# ```
#
# In words: a task that is refused with `requeue=False` goes from *work* to *wait*. Nobody consumes from
# *wait*; after 0.2 seconds the task expires there and goes back to *work*. Instead of refusing it for the
# third time, the consumer puts it into *parked*. The task here is **poison**: it fails each time, for half of
# the flight's number is unreadable.
#
# **Predict.** The consumer below remembers nothing from one try to the next. How does it know the third?
#
# - **A.** It cannot: it needs a database.
# - **B.** Such a message is marked as redelivered.
# - **C.** The broker writes it into the message.

# %% name="retry-declare"
with rabbit.channel() as channel:
    for queue, dead_letters_to, ttl in (("work", "wait", None), ("wait", "work", 200)):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letters_to}
        if ttl:
            arguments["x-message-ttl"] = ttl  # milliseconds
        channel.queue_delete(queue)  # of an earlier run
        channel.queue_declare(queue, durable=True, arguments=arguments)
    channel.queue_delete("parked")
    channel.queue_declare("parked", durable=True)
    channel.basic_publish("", "work", b"B6 73?")

# %% name="retry-run"
from labkit.experiments.rabbitmq_lesson import deaths

with rabbit.channel() as channel:
    for _ in range(3):
        method, properties, body = take(channel, "work")
        died = deaths(properties)  # its header x-death, in short
        print("redelivered:", method.redelivered, "| deaths:", died)
        if died.get("rejected in work", 0) < 2:
            channel.basic_nack(method.delivery_tag, requeue=False)
        else:
            channel.basic_publish("", "parked", body)
            channel.basic_ack(method.delivery_tag)
    print("parked:", take(channel, "parked", auto_ack=True)[2].decode())

# %% [markdown] name="overtake"
# <details><summary><b>What happened</b></summary>
#
# **C.** Each death is counted in the header `x-death`. (To its queue a message that comes back from *wait* is
# a new one, so it is not marked.) Where the pauses shall grow, there is a *wait* queue for each length.
# Publishing to *parked* comes first, then the acknowledgement: a crash in between leaves two copies, never
# none. Outside of a lesson that publish is persistent, confirmed and mandatory.
#
# </details>
#
# ## Alarms overtake
#
# A queue with `x-max-priority` keeps one row for each priority, and empties the highest first.
#
# **Predict.** Four messages: first one without a priority, then those with 1, 2 and 3. In which order do they
# come?
#
# - **A.** As they were published.
# - **B.** 3, 2, 1, and last the one without.
# - **C.** First the one without, which has no row to wait in; then 3, 2, 1.

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
# <details><summary><b>What happened</b></summary>
#
# **B.** No priority is 0. Only what waits in the queue can be overtaken, not what has been sent to a consumer:
# with priorities keep the prefetch small.
#
# </details>
#
# ## Poison, counted by the broker
#
# To refuse a task a consumer must be alive. What if the task kills it, each time? A **quorum queue** keeps
# copies on several nodes, and goes on as long as most of them live (on our single node it has one copy). It
# also counts how often a message comes back, and with an `x-delivery-limit` lets go of it.
#
# **Predict.** The limit is 2. Each worker that takes the task dies of it: it neither acknowledges nor
# refuses. How many workers die?
#
# - **A.** Two.
# - **B.** Three.
# - **C.** All that come: nobody has refused anything.

# %% name="quorum-run"
from labkit.experiments.rabbitmq_lesson import times_back

quorum = {"x-queue-type": "quorum", "x-delivery-limit": 2}
quorum |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "parked"}
with rabbit.channel() as channel:
    channel.queue_delete("safe")
    channel.queue_declare("safe", durable=True, arguments=quorum)
    channel.basic_publish("", "safe", b"US 21?0")
for worker in ("Ann", "Bob", "Eve"):
    with rabbit.channel() as channel:  # it ends here, without an answer
        print(worker, "takes it; it came back before:", times_back(take(channel, "safe")[1]))
with rabbit.channel() as channel:
    print("parked:", deaths(take(channel, "parked", auto_ack=True)[1]))

# %% [markdown] name="rpc"
# <details><summary><b>What happened</b></summary>
#
# **B.** A message may come back twice; the third time it is a dead letter. The broker counts, for it does not
# die of the task.
#
# </details>
#
# ## Ask and get an answer
#
# labkit's `Requester` and `Responder` of lab 04 run on RabbitMQ, too, and the code is the same.
#
# **Predict.** The seat desk answers one question, and closes. The agent asks again, and would wait two
# seconds for an answer. What does it get?
#
# - **A.** An error, at once.
# - **B.** A time-out, after two seconds.
# - **C.** The answer of before: queues keep things.
#
# **Under the hood**, in the second cell, the same is done by hand. AMQP messages (AMQP is the protocol that
# RabbitMQ speaks) have fields for it: `reply_to` names the queue for the answer, `correlation_id` says to
# which question it belongs.

# %% name="rpc-run"
agent = Requester(rabbit.lab, name="agent").connect()
desk = Responder(rabbit.lab, "seats", lambda request: {"free": 3}, name="seat desk").connect()
pending = agent.send("seats", {"flight": "US 2130"})
print(desk.serve_one().outcome, "|", agent.collect(pending).content)
desk.disconnect()
try:
    agent.request("seats", {"flight": "US 2130"}, timeout=2)
except NoResponder:
    print("The desk is closed: NoResponder")
agent.disconnect()

# %% name="rpc-by-hand"
with rabbit.channel() as channel:
    channel.queue_declare("seats", exclusive=True)
    inbox = channel.queue_declare("", exclusive=True).method.queue  # the broker names it
    question = pika.BasicProperties(reply_to=inbox, correlation_id="question 1")
    channel.basic_publish("", "seats", b"US 2130", question)
    _, asked, body = take(channel, "seats")  # here the desk begins
    print("the desk reads:", body.decode())
    about = pika.BasicProperties(correlation_id=asked.correlation_id)
    channel.basic_publish("", asked.reply_to, b"3 free", about)
    _, replied, body = take(channel, inbox)  # and here the agent goes on
    print("the agent reads:", replied.correlation_id, "|", body.decode())

# %% [markdown] name="exercise-1"
# <details><summary><b>What happened</b></summary>
#
# **A.** The desk's queue went with its last consumer, labkit's request was `mandatory`, and came back. (A
# time-out would have been another error than `NoResponder`.)
#
# </details>
#
# ## Exercises
#
# ### Exercise 9.1: the bindings of a departure board
#
# The topic exchange `flights` gets keys of three words, such as `departed.JFK.LAX`: what happened
# (`scheduled`, `departed`, `arrived` or `cancelled`), from where, to where. Return a list of `Binding`s:
#
# - the queue `board` gets what *departed* from JFK, what was *cancelled* there, and nothing else;
# - the queue `coast` gets everything that concerns flights *to* LAX or SFO.
#
# **Expected:** a list with which every key of the day finds the right queues.


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
# Publish `body` on this pika channel, through the default exchange, to the queue whose name is `queue`, so
# that nothing is lost in silence. Return `True` if the broker has stored the message, `False` if there is no
# such queue. Declare nothing: a queue is the business of those who read from it, and they have made it
# durable.
#
# **Expected:** a persistent message; `True` only after the confirm; `False` instead of an exception.


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
# Subscribe to the queue on this channel so that `handler(body)` is called for each task, at most one task is
# with you at a time, and a task is acknowledged when the handler is done with it. Subscribe and return,
# as `subscribe` did above; the check lets pika run.
#
# **Expected:** five of six tasks still wait while the first is handled; none is lost if the handler raises an
# exception.


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
# - An error may come late, at the next call on a channel that the broker has closed.
# - Durable is for queues, persistent for messages. To keep both over a restart you need both.
# - Set a prefetch, or the first consumer gets everything.
# - Never requeue in a loop: wait in a queue with a TTL, count with `x-death` or a delivery limit, and park
#   what never works.
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
# misses heartbeats, and the broker takes the connection for dead: work in another thread, and acknowledge
# with `connection.add_callback_threadsafe`. To wait for each confirm costs a way to the broker and back;
# where that is too slow, publish many and then wait, which pika does only on its asynchronous connections.
# From RabbitMQ 4.3 on a quorum queue counts `basic_reject` and a death, but no longer `basic_nack`
# ([the two compared](https://www.rabbitmq.com/docs/nack)). Put an alarm on the depth of queues, and of
# *parked* above all. Take quorum queues for what must survive the loss of a machine.
#
# **Next:** [lab 10](10-stream-with-kafka.ipynb).

# %% name="clean-up"
rabbit.remove(desks, day, calls, "work", "wait", "parked", "safe")
rabbit.close()
print("Closed.")
