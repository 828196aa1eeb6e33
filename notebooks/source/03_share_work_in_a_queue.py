# %% [markdown] name="title"
# # Share work in a queue
#
# 180 flights are cancelled, and each of them must be rebooked: by somebody, by *one* of your people,
# and for certain. Publish/subscribe cannot do that: it gives everybody a copy and forgets. A **work
# queue** gives each task to one worker, and keeps it until that worker says that it is done.
#
# **Time:** 45 minutes · **You need:** [lab 02](02-publish-and-subscribe.ipynb).
#
# **You'll do**
#
# - let several workers share the cancelled flights;
# - let a worker die in the middle, and see its task come back;
# - retry with growing pauses, and look after the tasks that nobody can do;
# - rebook a passenger twice, and then make that impossible;
# - compare fair dispatch with batches, and a stream with a list.
#
# **You'll learn** what "at least once" promises, what it costs, and how to live with it.

# %% name="setup"
import labkit
from labkit import OnceStore, RetryPolicy, StepClock, Worker, WorkQueue, plots
from labkit.data import stormy_day
from labkit.exercises import lab03
from labkit.experiments.fair_dispatch import fair_dispatch
from labkit.experiments.killed_worker import kill_worker_in_the_middle

clock = StepClock(tick=0.1)
lab = labkit.connect(clock=clock)
cancelled = [happening.message.content for happening in stormy_day(types=["flight.cancelled"])]
print(f"Broker: {lab.name}")
print(len(cancelled), "cancelled flights, the first:", cancelled[0]["flight"])

# %% [markdown] name="flow"
# ## Each task to one worker
#
# ```mermaid
# flowchart LR
#     desk["desk<br/>(producer)"] -- put --> queue["queue<br/>rebooking"]
#     queue -- take --> ann["Ann<br/>(worker)"]
#     queue -- take --> bob["Bob<br/>(worker)"]
#     ann -- ack --> queue
#     bob -- ack --> queue
# ```
#
# In words: the desk *puts* tasks into the queue. Ann and Bob, two workers, *take* one each, do it, and
# *acknowledge* it: only then does it leave the queue. They compete; whoever is free takes the next. One
# task here stands for one flight, and rebooks all of its passengers.
#
# **Predict.** Six tasks, two workers that take turns. How many does each of them do?
#
# - **A.** Six and six: each gets a copy.
# - **B.** Three and three.
# - **C.** Six and none: the first one takes all.

# %% name="share"
queue = WorkQueue(lab, "rebooking", sender="desk", lease=30)
_ = queue.purge()  # a shared server may have tasks of an earlier run
_ = queue.put_many(cancelled[:6])
ann = Worker(queue, lambda task: None, name="Ann")
bob = Worker(queue, lambda task: None, name="Bob")
print(queue.depth())
for _ in range(3):
    print(ann.run_one().what, "by Ann,", bob.run_one().what, "by Bob")
print(queue.depth())

# %% name="share-picture"
plots.show(plots.space_time(lab.trace))

# %% [markdown] name="share-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Each task went to one of them. `run_one()` takes one task, calls the handler (here it does
# nothing), and acknowledges. `depth()` tells where the tasks are: *ready*, *in flight* (in somebody's
# hands), *delayed*, or *dead*.
#
# </details>
#
# ## A worker dies
#
# Ann takes a task, and her program is killed: no exception, no goodbye. `crash()` plays that here.
#
# **Predict.** Where is her task right after the crash, and where is it a minute later?
#
# - **A.** Lost; lost.
# - **B.** Back in the queue at once, and so a minute later.
# - **C.** In flight; back in the queue a minute later.

# %% name="crash"
lab.trace.clear()
_ = queue.put(cancelled[6])
task = ann.take()
print("Ann has", task.content["flight"])
ann.crash()
print("right after:   ", queue.depth())
clock.advance(60)
_ = queue.recover()
print("a minute later:", queue.depth())
outcome = bob.run_one()
print("Bob:", outcome.what, "at attempt", outcome.attempt)

# %% name="crash-picture"
plots.show(plots.task_life(lab.trace))

# %% [markdown] name="crash-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** The queue cannot see a death; it sees silence. Each worker holds a **lease** (here of 30
# seconds), and a heart-beat renews it while the worker lives, however long its task takes. When the
# lease has run out, somebody must take the dead worker's tasks and give them to others: `recover()`
# does. Workers call it now and then, so that no operator has to. (The heart beats in real time. On the
# `StepClock` of this lab nothing beats: time passes only when we say so.)
#
# Bob's was the second *attempt*. Had Ann done the work and died before she could say so, the work would
# have been done twice. This is **at least once**: no task is lost, some are done again.
#
# </details>
#
# The same with a real death: the next cell starts a private Redis and a worker in a process of its own,
# and kills that process with SIGKILL in the middle of a task. Without a Redis or Valkey on this machine
# it says so.

# %% name="kill" tags=["nbval-ignore-output"]
outcome = kill_worker_in_the_middle()
outcome or "No Redis or Valkey on this machine: skipped. 'labkit doctor' says how to get one."

# %% name="kill-check"
if outcome:
    assert outcome.done == outcome.put
    assert outcome.second_attempts >= 1
print("If there was a server: every task was done, those of the dead worker by another.")

# %% [markdown] name="retry-concept"
# ## Try again, but not at once
#
# Rebooking calls another airline's system, and that system fails now and then. Trying again at once
# hits it while it is down, and a hundred workers that all try again after one second hit it together.
# So pauses grow (*back-off*), and are drawn at random below their bound (*jitter*).
#
# **Predict.** A handler fails twice, then works. The policy allows four attempts. What does the worker
# report for the three steps?
#
# - **A.** error, error, done.
# - **B.** retrying, retrying, done; between them the task is *delayed*.
# - **C.** done: it retries inside of one step.

# %% name="retry"
lab.trace.clear()
failures = iter([ConnectionError("airline does not answer"), TimeoutError("airline is slow")])


def rebook(task):
    """Fails as long as there are failures left."""
    for error in failures:
        raise error


policy = RetryPolicy(attempts=4, first=2.0, cap=60.0, seed=8)
cat = Worker(queue, rebook, name="Cat", retry=policy)
_ = queue.put(cancelled[7])
for _ in range(3):
    outcome = cat.run_one()
    print(outcome.what, "|", outcome.detail, "| delayed:", queue.depth().delayed)
    clock.advance(outcome.delay or 0)

# %% name="retry-picture"
plots.show(plots.task_life(lab.trace))
plots.show(plots.retry_waits(RetryPolicy(attempts=7, first=2.0, cap=60.0, seed=8)))

# %% [markdown] name="retry-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Between two attempts the task waits in the queue and not in the worker, who does something
# else meanwhile. The second picture shows the bounds of the pauses: 2, 4, 8, … seconds, at most 60, and
# forty draws of each. With jitter, many tasks that failed together come back one by one.
#
# </details>
#
# ## Dead letters
#
# Some tasks never work: a flight number with a typing error fails a thousand times.
#
# **Predict.** After its last attempt, what becomes of such a task?
#
# - **A.** It is deleted; the log has a line.
# - **B.** It is tried for ever, and blocks the others.
# - **C.** It is put aside, with every error, for somebody to look at.


# %% name="dead"
def strict(task):
    """Refuses what is no flight."""
    if not task.content["flight"][-1].isdigit():
        raise ValueError(f"no such flight: {task.content['flight']}")


dan = Worker(queue, strict, name="Dan", retry=RetryPolicy(attempts=3, first=1.0, seed=1))
_ = queue.put_many([{"flight": "B6 73?"}, cancelled[8]])
for _ in range(4):
    print(dan.run_one().what)
    clock.advance(60)
queue.dead_letters()

# %% [markdown] name="dead-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** A **dead letter** is kept with the error of every attempt. It is not lost, and it blocks
# nobody: the good task behind it was *done* while the bad one waited for its second attempt. Put an alarm on the number of dead letters; each one is a
# passenger who waits.
#
# </details>
#
# Somebody has looked, and the new version of the handler knows what to do with the `?`. *Redrive* the
# dead letters: they go back as if new.

# %% name="redrive"
erin = Worker(queue, lambda task: None, name="Erin")
print("put back:", queue.redrive())
print("Erin:", erin.run_one().what)
print(queue.depth())

# %% [markdown] name="once-concept"
# ## Twice is once too many
#
# At least once means that a rebooking may be done twice. Here it happens: the worker rebooks, and dies
# *before* it acknowledges.
#
# **Predict.** The task comes back and is done by another worker. How many seats are booked in the end?
#
# - **A.** One: the queue knows that it was done.
# - **B.** Two.

# %% name="twice"
booked = []


def book_and_die(task):
    """Does the work, and never gets to say so."""
    booked.append(task.content["flight"])
    fay.crash()


fay = Worker(queue, book_and_die, name="Fay")
gus = Worker(queue, lambda task: booked.append(task.content["flight"]), name="Gus")
_ = queue.put(cancelled[9])
_ = fay.run_one()
clock.advance(60)
outcome = gus.run_one()
print("Gus:", outcome.what, "at attempt", outcome.attempt)
print("booked:", booked)

# %% [markdown] name="once-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** The queue knows only what it was told. To acknowledge *before* the work would turn it round:
# then a death in the middle loses the task (*at most once*). No setting gives "exactly once".
#
# </details>
#
# So make the second time harmless. A handler that may be called twice with the same effect as once is
# called **idempotent**. It needs a *key* for each piece of work, and a *mark* for each key that is done.
# Where the mark is kept decides everything: if a crash can fall *between* the booking and the mark, one
# of them is missing. An `OnceStore` keeps both in one database and sets them in one transaction: both
# happen, or neither.

# %% name="once"
store = OnceStore()
_ = store.connection.execute("CREATE TABLE seats (flight TEXT)")


def book_once(task):
    """Books a seat and sets the mark, in one transaction."""
    flight = task.content["flight"]

    def effect(db):
        db.execute("INSERT INTO seats VALUES (?)", (flight,))

    store.run(flight, effect)


# %% [markdown] name="once-concept-2"
# The same death as before, with this handler: booked, crashed, delivered again. Then the whole day, with
# 20 tasks that somebody has put twice.

# %% name="once-run"
eve = Worker(queue, lambda task: book_once(task) or eve.crash(), name="Eve")
hal = Worker(queue, book_once, name="Hal")
_ = queue.put(cancelled[9])
_ = eve.run_one()
clock.advance(60)
print("Hal: attempt", hal.run_one().attempt, "| rebookings:", store.count())
_ = queue.put_many(cancelled + cancelled[:20])
print(hal.run(), "tasks done,", store.count(), "rebookings")
print("seats booked:", store.connection.execute("SELECT count(*) FROM seats").fetchone()[0])

# %% [markdown] name="fair-concept"
# 201 tasks, one of them delivered twice, and 180 rebookings: one for each flight.
#
# This works because the effect is in the same database as the mark. A foreign system, another
# airline's, cannot take part in your transaction: send the key along, and let *it* refuse the second
# one. You will do that in lab 04.
#
# ## Fair, or fast
#
# A worker may take several tasks at once: `prefetch`. That saves round trips to the broker; lab 05
# measures how much. It also puts tasks into the hands of somebody who is busy.
#
# **Predict.** One task takes ten seconds, five take one second. Two workers, each takes four at once:
# Ida takes the long one and three short ones. When is the last task done, about?
#
# - **A.** After 10 seconds: Jon does the short ones meanwhile.
# - **B.** After 13 seconds.
# - **C.** After 15 seconds: one after the other.

# %% name="fair"
traces = {prefetch: fair_dispatch(lab, prefetch) for prefetch in (4, 1)}
for prefetch, trace in traces.items():
    last = max(event.time for event in trace)
    print(f"prefetch {prefetch}: the last task was done after {last:.0f} s")
plots.show(plots.tasks_per_worker(traces[4], title="Four at once: 13 s, and Jon waits for 11"))

# %% name="fair-picture"
plots.show(plots.tasks_per_worker(traces[1], title="One at a time: 10 s, and Jon waits for 5"))

# %% [markdown] name="fair-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** In the first picture three short tasks lie in Ida's hands behind the long one, while Jon is
# done and has nothing to do. In the second one each takes one at a time, Jon does all the short ones,
# and the day is over after ten seconds. Prefetch many where tasks are short and alike; prefetch one
# where they are long or differ.
#
# </details>
#
# ## Depth over time
#
# A queue's depth is the pulse of a system. Put 40 tasks; Kim does one in each second; after fourteen
# seconds Lou joins. Take the depth every second:

# %% name="depth"
samples = []
_ = queue.put_many(cancelled[:40])
team = [Worker(queue, lambda task: None, name="Kim"), Worker(queue, lambda task: None, name="Lou")]
for step in range(28):
    samples.append((step, queue.depth()))
    for worker in team[: 1 if step < 14 else 2]:
        _ = worker.run_one()
samples.append((28, queue.depth()))
plots.show(plots.depth(samples))

# %% [markdown] name="kinds"
# The line falls by one in a second, and by two after the fourteenth, when Lou has joined. If it *rose*
# instead, more would come in than goes out, and no length of queue would help.
#
# ## Two ways to keep tasks
#
# Redis has no queue. labkit builds one from a *stream* (a log with groups of readers), or from *lists*
# (a task moves from one list to another). From outside both look alike, and the course's tests hold both
# to the same promises. Inside they differ; here are the keys that Redis keeps for a task in hand:

# %% name="kinds-code"
for kind in ("stream", "list"):
    small = WorkQueue(lab, f"small {kind}", kind=kind)
    small.purge()
    small.put("a task", id="T-1")
    print(kind, "| the same id again:", small.put("again", id="T-1").accepted)
    Worker(small, lambda task: None, name="Max").take()
    keys = sorted(lab.native.keys(f"*queue:*small {kind}*"))
    print(
        "  ", ", ".join(sorted({lab.native.type(key).decode() for key in keys})), "|", small.depth()
    )
print(*[" ".join(command.split()[:2]) for command in lab.commands(last=3)], sep="\n")

# %% [markdown] name="kinds-prose"
# The second `put` was refused: an explicit `id` is unique while its task is in the queue. A *zset* is
# Redis' sorted set (here the leases, by the time at which they end), a *hash* a table of fields. The names
# in angle brackets are small Lua scripts, which Redis runs as one step: a task must never be in two
# places, or in none, whatever dies in between. The capability table tells what is native to the broker
# and what labkit adds:

# %% name="capabilities"
for name in ("work queue", "leases", "delayed tasks", "dead letters"):
    row = lab.capabilities[name]
    print(f"{row.name}: {row.support}. {row.why}")

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 3.1: whom to retry
#
# Return a `RetryPolicy` for rebooking: five attempts; the bound of the first pause is at most one second,
# bounds grow, and none passes thirty. A `ValueError` (no such flight) must not be tried again, for no
# second attempt can cure it; everything else is.
#
# **Expected:** a `ConnectionError` is tried five times, a `ValueError` once.


# %% name="make-policy"
def make_policy():
    """How to retry a rebooking."""
    ### BEGIN SOLUTION
    return RetryPolicy(attempts=5, first=1.0, cap=30.0, give_up_on=(ValueError,))
    ### END SOLUTION
    ### BEGIN STUB
    # # help(RetryPolicy) lists its arguments.
    # return ...
    ### END STUB


# %% name="make-policy-check"
lab03.check_make_policy(make_policy)

# %% [markdown] name="exercise-2"
# ### Exercise 3.2: one rebooking for each flight
#
# Return a handler that appends each flight to `rebooked` once, however often its task is delivered.
# `store` is an `OnceStore`; its `run(key, effect)` calls `effect(db)` once for each key.
#
# **Expected:** three tasks for two flights, two rebookings; one that fails is tried again. (A list stands
# in for the bookings here; a transaction could not take back what is appended to it.)


# %% name="make-handler"
def make_handler(store, rebooked):
    """An idempotent handler."""

    ### BEGIN SOLUTION
    def handler(task):
        flight = task.content["flight"]
        store.run(flight, lambda db: rebooked.append(flight))

    return handler
    ### END SOLUTION
    ### BEGIN STUB
    # # Define handler(task), and return it. The key is what must not happen twice.
    # return ...
    ### END STUB


# %% name="make-handler-check"
lab03.check_make_handler(make_handler)

# %% [markdown] name="exercise-3"
# ### Exercise 3.3: is the queue all right?
#
# Given a `Depth` and the number of workers that live, say what an operator must hear: `"dead letters"`
# if there are any, else `"no workers"` if there are tasks and nobody works, else `"stuck"` if tasks are
# ready and none is in flight although there are workers, else `"ok"`.
#
# **Expected:** one of these four strings.


# %% name="judge"
def judge(depth, workers):
    """What an operator must hear."""
    ### BEGIN SOLUTION
    if depth.dead:
        return "dead letters"
    if depth.unfinished and not workers:
        return "no workers"
    if depth.ready and not depth.in_flight:
        return "stuck"
    return "ok"
    ### END SOLUTION
    ### BEGIN STUB
    # # A Depth has ready, in_flight, delayed, dead, and unfinished (the first three together).
    # return ...
    ### END STUB


# %% name="judge-check"
lab03.check_judge(judge)

# %% [markdown] name="recap"
# ## Recap
#
# - A work queue gives each task to one worker, and forgets it when it is acknowledged.
# - Death is silence: a lease runs out, and the task goes to others. So tasks may be done twice:
#   *at least once*.
# - Retry later, not at once; put aside what never works, with its history.
# - Idempotent handlers make twice harmless; the mark and the effect belong in one transaction.
# - Prefetch trades fairness for round trips.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. A task takes ten minutes, the lease is thirty seconds. Is it delivered twice?</summary>
#
# Not with a heart-beat: it renews the lease as long as the worker lives, whatever the task does. Queues
# with a plain *visibility time-out*, without a heart-beat, deliver it again after thirty seconds.
#
# </details>
# <details><summary>2. Two workers share a queue, and the first task fails once. In which order are tasks
# 0, 1, 2, 3 completed?</summary>
#
# You cannot know: often 1, 2, 3, 0, for the retry waits. A queue hands out in order; completion in order
# needs one worker, and no retries.
#
# </details>
# <details><summary>3. Why is "the queue is empty" not yet "the work is done"?</summary>
#
# Tasks may be in flight or delayed. Look at `unfinished`, not at `ready`.
#
# </details>
#
# **In practice.** Celery, Dramatiq, RQ and Huey are work queues in Python; SQS, RabbitMQ and Google's
# Pub/Sub are brokers that have them built in. Ask of each: what happens when a worker is killed, after
# how long, and how do I see it? Many lose the task in their default settings.
#
# **Next:** [Ask and get an answer](04-ask-and-get-an-answer.ipynb).

# %% name="clean-up"
store.close()
lab.close()
print("Closed.")
