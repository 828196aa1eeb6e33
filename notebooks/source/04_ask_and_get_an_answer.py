# %% [markdown] name="title"
# # Ask and get an answer
#
# A passenger stands at your counter: is there a seat on the next flight to Charlotte? You need one
# answer, to your question, soon, or the knowledge that there will be none. Over a broker that is a
# pattern of its own, **request/reply**, and its hard part is not the answer but its absence.
#
# **Time:** 45 minutes · **You need:** [lab 02](02-publish-and-subscribe.ipynb) and
# [lab 03](03-share-work-in-a-queue.ipynb).
#
# **You'll do**
#
# - ask a seat desk over a broker, step by step;
# - mix up two answers on purpose, and then make that impossible;
# - meet a time-out, a late reply, a desk that is closed, and one that fails;
# - charge a passenger twice, and repair it;
# - ask a hundred questions at once, and several desks the same question.
#
# **You'll learn** what a correlation id, a reply address and a deadline are for, and what a time-out
# does *not* tell you.

# %% name="setup"
import threading
import time

import labkit
from labkit import Requester, Responder, StepClock, plots
from labkit.exercises import lab04

lab = labkit.connect(clock=StepClock(tick=0.1))
print(f"Broker: {lab.name}")

# %% [markdown] name="flow"
# ## A question, and its way back
#
# ```mermaid
# flowchart LR
#     agent["agent<br/>(requester)"] -- "request: id, reply address, deadline" --> service["seats<br/>(service)"]
#     service --> desk["seat desk<br/>(responder)"]
#     desk -- "reply: the same id" --> inbox["agent's inbox"]
#     inbox --> agent
# ```
#
# In words: the *agent* sends a request to a **service**, a name behind which one or several
# *responders* wait. With the request travel three facts: a **correlation id**, which says which
# question this is; a **reply address**, the agent's own inbox; and a **deadline**, after which nobody
# needs the answer any more. The desk handles the request, and sends its reply to that address, with
# the same id.
#
# Usually you write `agent.request("seats", …)`, which sends and waits. In a notebook there is one of
# you, so we take the steps apart: *send*, *serve*, *collect*.

# %% name="first"
seats = {"US 2130": 3, "DL 1174": 0, "UA 1737": 12}


def count_free(request):
    """The seat desk's handler: gets the request, returns the content of the reply."""
    return {"free": seats[request.content["flight"]]}


agent = Requester(lab, name="agent").connect()
desk = Responder(lab, "seats", count_free, name="seat desk").connect()
pending = agent.send("seats", {"flight": "US 2130"})
served = desk.serve_one()
print(served.outcome, "|", agent.collect(pending).content)

# %% [markdown] name="envelope-concept"
# The three facts are in the request's metadata. The time-out was not given, so it is two seconds; the
# reply address is a name that nobody else has.

# %% name="envelope"
facts = served.request.metadata
print("correlation id:", facts["correlation_id"])
print("deadline:      ", round(facts["deadline"] - served.request.time.timestamp(), 1), "s later")
print("reply address:  a random name of", len(facts["reply_to"]), "characters")

# %% [markdown] name="naive"
# ## Mixed up
#
# Why an id? Build the pattern naively, from two lists: one for questions, one for answers. The agent
# asks, looks for an answer, gives up, and later takes *the next* one. The desk is slow today.
#
# **Predict.** The agent asks about US 2130 and gives up after its time-out. It asks about DL 1174, and
# takes the next answer. Which one is it?
#
# - **A.** The answer about DL 1174, the question it has asked last.
# - **B.** The answer about US 2130.
# - **C.** None: the first answer was thrown away at the time-out.

# %% name="naive-code"
redis = lab.native
redis.rpush("naive:questions", "US 2130")
print("first answer:", redis.lpop("naive:answers"), "-> time-out, give up")
redis.rpush("naive:questions", "DL 1174")
for _ in range(2):  # now the desk gets round to it
    flight = redis.lpop("naive:questions").decode()
    redis.rpush("naive:answers", f"{flight}: {seats[flight]} free")
print("asked about DL 1174, got:", redis.lpop("naive:answers").decode())
_ = redis.delete("naive:answers", "naive:questions")

# %% [markdown] name="naive-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The agent now sells seats on a full flight. The answer about DL 1174 is still in the list, and
# will be taken for the answer to the *third* question, and so on, until somebody restarts the program.
# "The next reply is mine" holds as long as nothing is ever late.
#
# </details>
#
# ## Late, and nobody is confused
#
# The same with ids: the agent asks about US 2130 and gives up; a slow desk, which takes five seconds on
# the clock of this lab, answers all the same; *then* the agent asks about DL 1174. The late answer is
# in the inbox first.
#
# **Predict.** What happens to the answer that comes too late?
#
# - **A.** The agent's next request gets it.
# - **B.** It stays in the inbox for ever.
# - **C.** It is recognised by its id, counted, and thrown away.

# %% name="late"
lab.trace.clear()
slow_desk = Responder(lab, "seats", lambda _: lab.clock.advance(5) or 3, name="slow desk")
slow_desk.connect()
first = agent.send("seats", {"flight": "US 2130"}, timeout=1)
try:
    agent.collect(first, timeout=0)  # looks once, and gives up
except labkit.errors.RequestTimeout as error:
    print("the agent:", type(error).__name__)
print("the slow desk:", slow_desk.serve_one().outcome, "| late replies:", agent.stats().late)

# %% name="late-second"
slow_desk.disconnect()
second = agent.send("seats", {"flight": "DL 1174"})
desk.serve_one()
print("about DL 1174:", agent.collect(second).content, "| late replies:", agent.stats().late)

# %% name="late-picture"
plots.show(plots.requests(lab.trace))

# %% [markdown] name="late-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** Each request has its own id, and the agent keeps a list of those it waits for. A reply with
# any other id is counted (as late, duplicate or unknown) and goes to nobody. One id for the whole
# agent would not do: it must be one for each request.
#
# </details>
#
# **Predict.** Now the desk gets round to a request only *after* its deadline. Does it still look the
# seats up?
#
# - **A.** Yes, it cannot know.
# - **B.** No: the deadline travelled with the request.

# %% name="expired"
impatient = agent.send("seats", {"flight": "UA 1737"}, timeout=1)
lab.clock.advance(10)
print("the desk:", desk.serve_one().outcome, "| expired:", desk.stats().expired)
try:
    agent.collect(impatient)
except labkit.errors.RequestTimeout as error:
    print(error)

# %% [markdown] name="expired-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Work that nobody waits for is the first thing to drop when you are behind; whoever does it
# anyway falls behind for good. The clocks of both sides must agree for that, roughly: the responder
# gives a grace of a second.
#
# </details>
#
# ## What a time-out does not tell
#
# Read the error's sentence once more: *it may have done the work or not*. Here is why that matters.
#
# **Predict.** The desk charges a passenger 80 dollars. The reply is late, the agent gets a time-out,
# and asks again. How often is the passenger charged?
#
# - **A.** Once: a time-out means that it did not happen.
# - **B.** Twice.
# - **C.** It depends on the broker.

# %% name="charge"
charges = []


def charge(request):
    """Charge the card; the first time the network is slow afterwards."""
    charges.append(request.content["dollars"])
    if len(charges) == 1:
        lab.clock.advance(5)
    return "charged"


# %% name="charge-run"
cashier = Responder(lab, "payments", charge, name="cashier").connect()
for attempt in (1, 2):
    pending = agent.send("payments", {"payment_id": "P-7", "dollars": 80}, timeout=1)
    cashier.serve_one()
    try:
        print(f"attempt {attempt}:", agent.collect(pending).content)
    except labkit.errors.RequestTimeout:
        print(f"attempt {attempt}: time-out, so ask again")
print("charges:", charges)

# %% [markdown] name="charge-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** After a time-out there are three possibilities: the request was lost, the desk died in the
# middle, or the *reply* was lost or late. From here they look the same. Asking again is safe only if
# doing it twice is harmless. You make it harmless in exercise 4.3.
#
# </details>
#
# ## Closed, and broken
#
# Not every missing answer needs a time-out. `agent.request(…)` is `send` and `collect` in one.
#
# **Predict.** Nobody serves "upgrades". How long does the agent wait, with a time-out of a minute? And
# what happens to the seat desk when its handler raises a `KeyError`?
#
# - **A.** A minute; the desk dies.
# - **B.** Not at all; the desk dies, and the agent gets a time-out.
# - **C.** Not at all; the desk goes on, and the agent is told.

# %% name="closed"
began = time.monotonic()
try:
    agent.request("upgrades", {"flight": "UA 1737"}, timeout=60)
except labkit.errors.NoResponder as error:
    print(error)
print("waited less than five seconds:", time.monotonic() - began < 5)

# %% name="broken"
pending = agent.send("seats", {"flight": "XX 1"})
print("the desk:", desk.serve_one().outcome)
try:
    agent.collect(pending)
except labkit.errors.RemoteError as error:
    print(error)

# %% [markdown] name="closed-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** Responders sign in, and stay signed in while they live, so the broker could be asked. (One that
# was killed counts as there for a few seconds more, until its entry expires.) And a handler's exception is an answer, too: it comes back as a `RemoteError` with its type and text, and
# the desk goes on. Its traceback stays at home, unless you ask for it: it tells strangers what your
# code looks like.
#
# </details>
#
# ## Three desks
#
# A queue forms; you open two more desks. They serve the same name, and nothing changes for the agent:
# as in lab 03, each request goes to one of them.

# %% name="three"
lab.trace.clear()
desks = [desk, *(Responder(lab, "seats", count_free, name=f"desk {n}").connect() for n in (2, 3))]
questions = [agent.send("seats", {"flight": flight}, timeout=60) for flight in [*seats] * 2]
for number in range(6):
    desks[number % 3].serve_one()
answers = [agent.collect(question) for question in questions]
for question, answer in zip(questions, answers, strict=True):
    print(f"{question.message.content['flight']}: {answer.content['free']:2} ({answer.responder})")

# %% name="three-picture"
plots.show(plots.requests(lab.trace))

# %% [markdown] name="three-prose"
# Each request went to one desk, and each answer to its own question, whichever desk gave it. (An arrow
# ends where the agent *took* the reply; here it took all of them in the end.)
#
# ## Many at once
#
# From here on time is real: `live` is a second lab with the machine's clock, and the responders run
# in the background. The handler of this one takes a tenth of a second.
#
# **Predict.** Ten requests are sent at once. How long do they take with one responder that handles one
# request at a time, and how long with a responder that handles ten?
#
# - **A.** 0.1 s and 0.1 s: they were sent at once.
# - **B.** About 1 s, and about 0.1 s.
# - **C.** About 1 s and 1 s: Python has only one thread.

# %% name="many" tags=["nbval-ignore-output"]
live = labkit.connect()
caller = Requester(live, name="caller").connect()
seconds = {}
for at_once in (1, 10):
    with Responder(live, "slow", lambda _: time.sleep(0.1), concurrency=at_once) as worker:
        worker.start()
        began = time.monotonic()
        replies = caller.request_many("slow", list(range(10)), timeout=10)
        seconds[at_once] = time.monotonic() - began
print({at_once: round(took, 2) for at_once, took in seconds.items()})

# %% name="many-check"
assert seconds[1] > 0.9
assert seconds[10] < seconds[1] / 2
print("One at a time, they queue up; ten at a time, they overlap.")

# %% [markdown] name="many-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Sending at once is not handling at once. What waits (for a network, for a disk, as here for a
# `sleep`) can overlap in threads; what computes needs more processes, or more machines.
#
# </details>
#
# Now a hundred questions in flight over *one* inbox, and two responders of four threads each, which
# finish out of order: a task takes between zero and six milliseconds. Does each question get its own
# answer?


# %% name="hundred"
def double(request):
    """Twice the number, after a while."""
    time.sleep(request.content % 7 / 1000)
    return 2 * request.content


with (
    Responder(live, "double", double, concurrency=4) as one,
    Responder(live, "double", double, concurrency=4) as two,
):
    one.start()
    two.start()
    replies = caller.request_many("double", list(range(100)), timeout=10)
right = sum(reply.content == 2 * number for number, reply in enumerate(replies))
print(f"{right} of {len(replies)} questions got their own answer")

# %% [markdown] name="scatter"
# ## Ask several, take the first
#
# The passenger would fly with any airline. **Scatter-gather**: ask all of them at once, and be content
# with the first two answers, or with what is there at the deadline. United does not answer today.
#
# **Predict.** How long does it take to get two offers, and how long if you want all three, with a
# deadline of half a second?
#
# - **A.** Half a second each: it waits for the deadline.
# - **B.** Next to nothing, and half a second.
# - **C.** Next to nothing, and for ever.

# %% name="scatter-code"
stuck = threading.Event()
silent = lambda _: stuck.wait(10)
fares = {"fares.B6": lambda _: 210, "fares.DL": lambda _: 185, "fares.UA": silent}
airlines = [Responder(live, name, handler).connect() for name, handler in fares.items()]
for airline in airlines:
    airline.start()

# %% name="scatter-ask"
for first in (2, None):
    began = time.monotonic()
    offers = caller.scatter_gather(list(fares), {"to": "CLT"}, first=first, timeout=0.5)
    waited = time.monotonic() - began >= 0.5
    prices = {name: reply.content for name, reply in sorted(offers.replies.items())}
    print(prices, "| without", offers.missing, "| waited for the deadline:", waited)
stuck.set()

# %% [markdown] name="hood"
# ## Under the hood
#
# <details><summary><b>What happened</b></summary>
#
# **B.** With `first=2` it returns as soon as two have answered; without it, when all have, or at the
# deadline.
#
# </details>
#
# Redis has no request/reply. labkit builds it from lists: one for a service's questions, one for each
# inbox. The capability table says so, and the commands of one question and its answer show it:

# %% name="hood-code"
for name in ("request/reply", "nobody serves, known at once"):
    row = lab.capabilities[name]
    print(f"{row.name}: {row.support}. {row.why}")
pending = agent.send("seats", {"flight": "US 2130"})
_ = desk.serve_one(), agent.collect(pending)
for command in lab.commands(last=4):
    print(*[word for word in command.split()[:2] if "{" not in word])  # without the names

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 4.1: four endings
#
# Return the number of free seats. If nobody serves the desk, return `"closed"`; if no answer comes in
# time, `"unknown"`; if the desk fails on the flight, `"no such flight"`.
#
# **Expected:** `ask_seats(agent, "US 2130")` returns a number or one of these three strings, and never
# raises. (The desks above work step by step and would let you wait; the check starts desks of its own.)


# %% name="ask-seats"
def ask_seats(agent, flight):
    """The free seats on `flight`, from the service "seats"; wait half a second at most."""
    ### BEGIN SOLUTION
    try:
        return agent.request("seats", {"flight": flight}, timeout=0.5).content["free"]
    except labkit.errors.NoResponder:
        return "closed"
    except labkit.errors.RequestTimeout:
        return "unknown"
    except labkit.errors.RemoteError:
        return "no such flight"
    ### END SOLUTION
    ### BEGIN STUB
    # # agent.request("seats", {"flight": flight}, timeout=0.5) returns a reply, or raises.
    # return ...
    ### END STUB


# %% name="ask-seats-check"
lab04.check_ask_seats(ask_seats)

# %% [markdown] name="exercise-2"
# ### Exercise 4.2: sort the answers
#
# Replies come in any order, some twice, some for strangers. Given the ids that you wait for and a list
# of `(id, content)` pairs as they arrived, return a dict from id to content, with `None` for those that
# have no answer. The first answer to a question counts, and an answer may be `None`, too.
#
# **Expected:** `sort_replies(["q1", "q2"], [("q2", 5), ("q9", 1), ("q2", 6)])` returns
# `{'q1': None, 'q2': 5}`.


# %% name="sort-replies"
def sort_replies(waiting, arrived):
    """Which answer belongs to which question."""
    ### BEGIN SOLUTION
    answers = dict.fromkeys(waiting)
    seen = set()
    for correlation_id, content in arrived:
        if correlation_id in answers and correlation_id not in seen:
            answers[correlation_id] = content
            seen.add(correlation_id)
    return answers
    ### END SOLUTION
    ### BEGIN STUB
    # # Begin with every question unanswered: dict.fromkeys(waiting).
    # return ...
    ### END STUB


# %% name="sort-replies-check"
lab04.check_sort_replies(sort_replies)

# %% [markdown] name="exercise-3"
# ### Exercise 4.3: charge once
#
# Return a handler for the service "payments" that charges each `payment_id` once, however often it is
# asked, and always answers `"charged"`. `charge_card(dollars)` does the charging; if it raises, nothing
# was charged, and asking again must charge.
#
# **Expected:** two requests with the payment id `"P-7"`, one charge; another id is charged on its own.


# %% name="make-cashier"
def make_cashier(charge_card):
    """A handler that may be asked twice."""
    ### BEGIN SOLUTION
    done = set()

    def handler(request):
        payment_id = request.content["payment_id"]
        if payment_id not in done:
            charge_card(request.content["dollars"])
            done.add(payment_id)
        return "charged"

    return handler
    ### END SOLUTION
    ### BEGIN STUB
    # # Remember which payment ids are done; define a handler(request) that looks there first.
    # return ...
    ### END STUB


# %% name="make-cashier-check"
lab04.check_make_cashier(make_cashier)

# %% [markdown] name="recap"
# ## Recap
#
# - A request carries an id, an address and a deadline; its reply carries the id.
# - Late replies are normal. Without ids they become wrong answers.
# - A time-out is not a "no": the work may have been done. Make asking twice harmless.
# - Several responders share a service; many requests share an inbox; several services can be asked at
#   once.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. Why not use one correlation id for each client?</summary>
#
# Because a client's late reply to its first question would pass for the answer to its second. It must
# be one for each request.
#
# </details>
# <details><summary>2. The memory of exercise 4.3 is a Python set. When does the passenger pay twice
# all the same?</summary>
#
# When the cashier is restarted between the two requests, or when two cashiers share the service. The
# memory belongs in a store that both see, written in the same transaction as the charge.
#
# </details>
# <details><summary>3. When should you not use request/reply over a broker?</summary>
#
# When both sides must be up at the same moment anyway and nobody else listens: a plain HTTP or gRPC
# call is simpler to follow and to debug. The broker pays off where responders come and go, share the
# load, or must not be reachable from outside.
#
# </details>
#
# **In practice.** RabbitMQ calls it RPC, and has a *direct reply-to* that needs no inbox; NATS has
# request/reply built in, with "no responders" at once; over Kafka it is awkward. Whatever you use: set
# a time-out on every request, and measure how often it fires.
#
# **Next:** measure all this, honestly, in [lab 05](05-measure-it-honestly.ipynb).

# %% name="clean-up"
for actor in (agent, *desks, slow_desk, cashier, caller, *airlines):
    actor.disconnect()
live.close()
lab.close()
print("Closed.")
