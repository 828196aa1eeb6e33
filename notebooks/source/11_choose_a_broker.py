# %% [markdown] name="title" tags=["measures"]
# # Choose a broker
#
# "Kafka is a faster RabbitMQ." "Redis loses messages." Such sentences decide what a team runs for years.
# Here every broker that is at hand does the same work, and you get sentences of your own, each with the
# figure that it rests on.
#
# **Time:** 45 minutes · **You need:** labs [03](03-share-work-in-a-queue.ipynb),
# [04](04-ask-and-get-an-answer.ipynb), [05](05-measure-it-honestly.ipynb) and
# [06](06-keep-the-log.ipynb). One broker is enough; the more of Redis, RabbitMQ and Kafka this machine has,
# the more you see.
#
# **You'll do**
#
# - give ten messages, one of them poisoned, to a log and to a queue;
# - run four jobs on every broker at hand, and kill a worker on each;
# - look at what labkit had to emulate, and at what it costs in memory and code;
# - kill the servers themselves, and count what is left;
# - read a decision guide that is made of your own run.
#
# **You'll learn** to ask what a job needs before you ask which broker is fast.

# %% name="setup"
import inspect
from textwrap import fill

from labkit import plots
from labkit.exercises import lab11
from labkit.experiments.choosing import compare, jobs, open_brokers
from labkit.experiments.choosing.commands import commands_of_a_task
from labkit.experiments.choosing.guide import guide
from labkit.experiments.choosing.job_table import CLAIM, JobTable
from labkit.experiments.choosing.poison import poison
from labkit.experiments.choosing.restart import kill_servers

brokers = open_brokers()
print(f"Broker: {', '.join(brokers.names)}")

# %% [markdown] name="flow"
# ## Who is here
#
# ```mermaid
# flowchart LR
#     jobs["four jobs<br/>each written once"] --> embedded[("embedded")]
#     jobs --> redis[("Redis")]
#     jobs --> rabbit[("RabbitMQ")]
#     jobs --> kafka[("Kafka")]
#     embedded --> notes["notes<br/>lost, twice, in order, how soon"]
#     redis --> notes
#     rabbit --> notes
#     kafka --> notes
#     notes --> guide["a guide<br/>of this run"]
# ```
#
# In words: the same four jobs go to every broker; what arrives is written down; a guide is made of that.
#
# The cell above has started a private server of each kind that this machine has. The embedded broker is
# always there; without a real Kafka, the mock cluster of librdkafka takes its place, if confluent-kafka is
# installed. Both are *stand-ins*: they show what is promised, and nothing about speed. If you have fewer
# than the picture shows, look at the stored outputs before you run: they come from a run with four. On a
# small machine, set `LABKIT_BROKERS` to those that you want before you start Jupyter: `redis+embedded,redis`
# takes the embedded broker and a Redis.

# %% name="at-hand" tags=["nbval-ignore-output"]
brokers

# %% name="at-hand-check"
assert len(brokers) >= 1
assert all(how for how in brokers.missing.values())
print("At least one broker is here; of one that is missing, the table says how to get it.")

# %% [markdown] name="poison-concept"
# ## What happens after the processing?
#
# "Kafka is a faster RabbitMQ" compares how fast messages pass. Ask first what happens *after* a message was
# handled. Ten messages; the third is poisoned: the handler raises, however often it is tried.
#
# - Once they are in a **log**. The reader goes on in order, and after each one it writes down how far it has
#   come (it *commits* its place). When the handler raises, the reader stops; it is started three times.
# - Once they are in a **queue**. The worker acknowledges each task by itself; each may be tried three times.
#
# **Predict.** How many of the ten are done in the log, and how many in the queue?
#
# - **A.** 9 and 9: the poisoned one is left out.
# - **B.** 2 and 9: only the worker of the queue gets past it.
# - **C.** 2 and 2: what fails stops the others.

# %% name="poison" tags=["nbval-ignore-output"]
poisoned = poison(brokers)
poisoned

# %% name="poison-check"
logs = [row for row in poisoned if row.log_done is not None]
print("in a log, done:", *{row.log_done for row in logs})
print("tries of the third:", *{row.log_tries for row in logs})
print("in a queue, done:", *{row.queue_done for row in poisoned}, end=", ")
print("put aside:", *{row.queue_dead for row in poisoned})
assert {(row.queue_done, row.queue_dead) for row in poisoned} == {(9, 1)}

# %% [markdown] name="poison-explained"
# <details><summary><b>What happened</b></summary>
#
# **B**, on every broker that has both: it is the *way of reading* that decides, and not the maker. A log has
# one place for a reader, and "4 to 10 are done, 3 is not" cannot be said with one place. So each new start
# begins at the third again, here three times, else for ever, and what is behind it waits. A queue knows each
# task, so one can be put aside. (On RabbitMQ labkit has no log, so nothing was tried there.)
#
# The log has something for it: all ten are still there, in order, for the next reader and for the mended
# handler. To go on past the third, your code has to skip it, and write down that it did. (A Redis stream can
# also acknowledge one by one, so it serves as either. On Kafka a group commits one place.)
#
# </details>
#
# ## Four jobs, each written once
#
# | job | what it is | pattern |
# |---|---|---|
# | fan-out | every departure and cancellation of the day, on three channels, to three readers | publish/subscribe |
# | rebooking | every cancelled flight is a task; of twelve more, the worker is killed in the fourth | work queue |
# | seats | a desk is asked for seats | request/reply |
# | replay | the day in a log: followed live, and read once more | event stream |
#
# Each job does its work twice: at a calm pace, which gives the latency (from when a message was *due*; the
# first twenty are warm-up), and in one burst, which gives the throughput. This is one of them, as it runs on
# every broker. `notes` hands out the flights, `paced` at their time and `burst` all at once, and writes down
# what arrives; `kill_one` starts a worker and kills it in its fourth task:

# %% name="job"
print(inspect.getsource(jobs.rebook))

# %% [markdown] name="jobs-concept"
# **Predict.** A worker is killed (on a server: its process, by SIGKILL) while it works on a task. Its lease is
# one second: so long may it be silent. How long until another one has that task?
#
# - **A.** About a second on each: that is the lease.
# - **B.** A few milliseconds on each: the connection is gone.
# - **C.** It differs: soonest on Redis, which is the fastest.
# - **D.** It differs: soonest on RabbitMQ.
#
# And which broker hands out the three channels of the fan-out in the order in which they were published?
#
# - **E.** All of them.
# - **F.** All but Kafka.
# - **G.** None.
#
# The cell takes half a minute. How to read what comes: *twice* counts deliveries beyond the first,
# *reordered* those that came after a later one. *Native* means that the broker itself does the job,
# *emulated* that labkit does it on top of the broker, *absent* that nobody does.

# %% name="compare" tags=["nbval-ignore-output"]
run = compare(brokers)
plots.show(plots.jobs(run))
run

# %% name="compare-check"
did = run.figures[run.figures.support != "absent"]
did = did.set_index(["job", "broker"]).sort_index()
assert (did.lost == 0).all()
assert (did.drop("rebooking").twice == 0).all()
assert (did.loc["rebooking"].twice >= 1).all()
in_order = run.capabilities().loc["order across channels"] == "native"
assert (did.loc["fan-out"].reordered[in_order] == 0).all()
assert (did.loc["fan-out"].reordered_in_key == 0).all()
print("Nothing was lost. Only the killed worker's task was begun twice.")
print("Within a channel all was in order; across channels, where the broker promises it.")

# %% name="killed-check"
back = did.loc["rebooking"].back_after_s
assert (back < 30).all()
assert (did.loc["rebooking"].throughput > 60).all()  # 180 tasks in three seconds
assert "RabbitMQ" not in back or back["RabbitMQ"] < 2
assert "Redis" not in back or 0.5 < back["Redis"] < 10
assert "Kafka" not in back or back["Kafka"] > 3
print("The killed worker's task came back everywhere.")

# %% [markdown] name="compare-explained"
# <details><summary><b>What happened</b></summary>
#
# **D.** Who notices a death, and how? RabbitMQ sees the connection break, and gives the task to another within
# milliseconds. Redis knows nothing of its clients' lives: labkit's lease has to run out, about a second. Kafka
# waits until it has heard nothing from the reader for six seconds (its *session*), and then shares out the
# partitions, the parts of a topic, among those that are left.
#
# **F.** Redis and RabbitMQ have one line to each reader. Kafka has a log for each channel, and they have
# nothing to do with one another: the reader gets some of the one, then some of the other. *Within* a channel
# nothing was out of order. With the tasks and the replay it is the same: Kafka spreads them over partitions.
#
# And nobody lost anything. So "which of them loses messages?" is not the question; we come back to it.
#
# </details>
#
# Be careful with the times. All ends of these jobs live in one Python program, so they are figures of this
# client *and* a broker; a p99 of a hundred messages rests on the two slowest; and another program that wakes
# up in that moment is in it, too. Nor do they promise the same: this RabbitMQ has a task on the disk before
# `put` returns, this Redis only in memory (you will see what that is worth). Run the cell again, and see
# which differences stay. A factor of ten that stays is worth a sentence.
#
# ## What was emulated?
#
# The code was the same everywhere; what the broker did for it was not. You have seen two cases: on Kafka labkit
# *emulates* the work queue, and on RabbitMQ a log is *absent*. The rebooking asks for more: a passenger for
# whom there is no seat is to be tried again in ten minutes, so a task has to wait, and others pass it.
#
# **Predict.** Where do such *delayed tasks* come natively, as labkit uses these brokers?
#
# - **A.** On RabbitMQ: it is made for tasks.
# - **B.** On Redis and RabbitMQ; only a log cannot let others pass.
# - **C.** On all three.
# - **D.** On none.

# %% name="capabilities" tags=["nbval-ignore-output"]
for name in brokers.names:
    waits = run.capability(name, "delayed tasks")
    print(fill(f"{name}, {waits.support}: {waits.why}", 90, subsequent_indent="   "))
run.capabilities()

# %% name="capabilities-check"
can, absent = run.capabilities(), run.figures.support == "absent"
assert run.figures[absent].throughput.isna().all()
assert run.figures[~absent].throughput.gt(0).all()
for kafka in [name for name in can if name.startswith("Kafka")]:
    assert (can[kafka]["work queue"], can[kafka]["delayed tasks"]) == ("emulated", "absent")
assert "RabbitMQ" not in can or can["RabbitMQ"]["stream"] == "absent"
assert "native" not in set(can.loc["delayed tasks"])
print("No broker here delays a task by itself.")
print("What is absent has no figures; what is native or emulated has.")

# %% [markdown] name="capabilities-explained"
# <details><summary><b>What happened</b></summary>
#
# **D.** The lines above the table say how labkit helps itself, and why it cannot on Kafka. Read down the
# columns: each broker is at home somewhere, and none everywhere.
#
# *Absent* is the most useful word in the table: a broker that is twice as fast at what you do not need does
# not help. *Emulated* is the second: it works, and the code for it is yours to trust, here labkit's,
# elsewhere your own. The reason for any of them: `run.capability("RabbitMQ", "stream").why`.
#
# </details>
#
# ## Under the hood
#
# One task is put into a queue and done. What that becomes on each broker: the last commands of its own
# client, long ones cut at `…`. Marks such as `<take>` and `<ack>` are labkit's, and say what a command is for.
#
# Look for the command that says "this task is done". Which broker is told of one task, and which of a place?

# %% name="hood" tags=["nbval-ignore-output"]
commands = commands_of_a_task(brokers)
for name, lines in commands.items():
    print(f"{name}:", *lines, sep="\n   ")

# %% name="hood-check"
assert set(commands) == set(brokers.names)
assert all(commands.values())
print("Each broker has its own words for it.")

# %% [markdown] name="costs-concept"
# Redis and RabbitMQ are told of one task (`<ack>` with its id, `basic.ack`). Kafka is told a place in a
# partition, `[2]=1` for example: in partition 2 go on at 1. That is the log with its one place again.
#
# ## What it costs to have it
#
# **Predict.** How much memory does a server hold that did this work?
#
# - **A.** All about the same: the messages are the same.
# - **B.** Kafka most, and over ten times as much as Redis.
# - **C.** Redis most, for it keeps everything in memory.
#
# In the table: `idle_mb` before the work and `busy_mb` after it; `adapter_lines`, labkit's own code for this
# broker; and how many of its capabilities are emulated and absent.

# %% name="costs" tags=["nbval-ignore-output"]
run.brokers.set_index("broker")[["idle_mb", "busy_mb", "adapter_lines", "emulated", "absent"]]

# %% name="costs-check"
held = run.brokers.set_index("broker").busy_mb.dropna()
assert "Redis" not in held or held["Redis"] == held.min()
assert "Kafka" not in held or held["Kafka"] == held.max()
assert not {"Redis", "Kafka"} <= set(held.index) or held["Kafka"] > 10 * held["Redis"]
print(run.jobs.to_string(index=False))

# %% [markdown] name="costs-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A few thousand small messages are nothing; the machinery is what you see. Kafka's is made for
# millions of them, and is there from the start. (These are private nodes with small settings, in production
# they hold more. One may hold less after the work than before it, when it has tidied up. A stand-in has no
# server, so no figure.)
#
# The jobs need the same few lines on each (the cell above counts them), because labkit hides the difference.
# `adapter_lines` is what that takes: some three thousand lines of labkit for each broker. To be independent of a broker is not free.
#
# </details>
#
# ## To lose nothing, you must use …
#
# A hundred messages are in a server. It is killed (SIGKILL), and started again: once as client and server are
# by default, and once set to keep them.
#
# **Predict.** Whose messages survive by default?
#
# - **A.** Those on RabbitMQ and Kafka: they are made for messages, Redis is a cache.
# - **B.** Those on all three: Redis writes snapshots.
# - **C.** Those on Kafka only.
# - **D.** None.

# %% name="kill" tags=["nbval-ignore-output"]
left = kill_servers(brokers)
left

# %% name="kill-check"
assert all(row.kept == 100 for row in left), left
assert all(row.default == 0 for row in left if row.broker in ("Redis", "RabbitMQ"))
assert all(row.default == 100 for row in left if row.broker == "Kafka")
print("Where a server could be killed: all 100 were there again, if it was set so.")

# %% [markdown] name="kill-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** Redis' first snapshot would have come later; with `appendonly yes` and `appendfsync always` each
# write is on the disk before the answer. RabbitMQ's queue was not durable, for pika's `queue_declare` does not ask
# for it by default, and went with all that was in it. With the right settings both keep all hundred.
# (One thing more: RabbitMQ 3 has a confirmed message on the disk, but writes down only within two seconds that
# its queue *exists*. One that was declared a moment ago can be gone after a crash; the cell waits for it.)
# *Settings* decide, and each setting that keeps more makes something slower.
#
# Kafka's log is in files, so it survives that the *program* is killed, by default, too. When the machine loses power, what
# the operating system has not written yet is gone, on each of them; then copies on other machines help.
#
# </details>
#
# ## Ten jobs a day
#
# A report for each of ten airlines, every night. If one is missing, somebody has to see it in the morning.
#
# **Predict.** What do you take?
#
# - **A.** Kafka: it keeps everything.
# - **B.** RabbitMQ: it is a work queue.
# - **C.** A table in the database that the program has anyway.

# %% name="table"
print(CLAIM)
table = JobTable(":memory:")
table.put(*(f"report {number}" for number in range(1, 11)))
for _ in range(6):
    job, what = table.take()
    table.done(job)
dead = table.take()  # and its worker dies
print(table.states(), "| begun, and nobody finishes it:", table.begun())

# %% name="table-again"
table.give_back(dead[0])
while (next_one := table.take()) is not None:
    table.done(next_one[0])
print(table.states())
table.close()

# %% [markdown] name="table-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** The statement that is printed above takes a job: it looks for one and marks it as begun in one step, so
# no two workers get the same. What is lost cannot hide: report 7 was a row that says "begun" in the morning.
# There is one thing less to run, to watch and to secure, and a report and its job can be written in *one*
# transaction; no broker shares one with your database. It ends where many workers wait for one table, or
# where somebody has to hear of a job within milliseconds.
#
# </details>
#
# ## The guide
#
# Now the sentences. Each was written by the cell below, around figures of this run or rows of the table of
# capabilities, and names them. Where no server is at hand, it says nothing about times; and of two servers
# it calls one the faster only if its p99 is below the other's median.

# %% name="guide" tags=["nbval-ignore-output"]
advice = guide(run)
advice

# %% name="guide-check"
assert len(advice) >= 7
assert advice.unfounded(run) == []
print("Every sentence rests on figures or capabilities of this run, and they are as it says.")

# %% [markdown] name="guide-explained"
# Read it once more, and ask of each line: would it be the same with ten times the messages, over a network,
# with three nodes? The capabilities would. Of the figures only a new run can tell.

# %% [markdown] name="exercise-1"
# ## Exercises
#
# ### Exercise 11.1: choose for three jobs
#
# - **audit**: all events of the day are kept; next week somebody reads them again, with a question that
#   nobody has asked yet.
# - **rebooking**: passengers of flights that leave soon come first; who finds no seat is tried again in ten
#   minutes.
# - **report**: ten a night, by one program with a database; a missing one must be seen.
#
# For each a pair: what you take ("Redis", "RabbitMQ", "Kafka" or "a table"), and the capability that decides,
# as the table of capabilities writes it: the job needs it, your choice has it, and at least one other broker
# lacks it. With "a table" the second one is `None`. There are several right answers.
#
# **Expected:** three pairs, such as `("Redis", "subscriber count")`.

# %% name="choices"
### BEGIN SOLUTION
choices = {
    "audit": ("Kafka", "stream"),
    "rebooking": ("RabbitMQ", "delayed tasks"),
    "report": ("a table", None),
}
### END SOLUTION
### BEGIN STUB
# choices = {
#     "audit": (..., ...),
#     "rebooking": (..., ...),
#     "report": (..., ...),
# }
### END STUB

# %% name="choices-check"
lab11.check_choices(choices)

# %% [markdown] name="exercise-2"
# ### Exercise 11.2: later, on a broker that cannot wait
#
# On Kafka "delayed tasks" is absent. So tasks wait in a table `later` (columns `id`, `due`, `what`), and once
# a minute your program calls `put_due`: it puts each task that is due into the queue (`queue.put(what)`), the
# oldest first, and deletes its row. Each statement on this database takes effect at once.
#
# The broker may go away in the middle: `queue.put` then raises. You need not catch that. But no task may be
# lost by it; and of those that are in the queue already no row may be left, or they are put again.
#
# **Expected:** with tasks due at 10, 20 and 90, `put_due(database, queue, 30)` puts two; one row is left.


# %% name="put-due"
def put_due(database, queue, now):
    """Put what is due into the queue, oldest first."""
    due = "select id, what from later where due <= ? order by due"
    ### BEGIN SOLUTION
    for row, what in database.execute(due, (now,)).fetchall():
        queue.put(what)
        database.execute("delete from later where id = ?", (row,))
    ### END SOLUTION
    ### BEGIN STUB
    # # database.execute(due, (now,)).fetchall() gives pairs of id and what;
    # # database.execute("delete from later where id = ?", (row,)) deletes one row.
    # return ...
    ### END STUB


# %% name="put-due-check"
lab11.check_put_due(put_due)

# %% [markdown] name="exercise-3"
# ### Exercise 11.3: how far apart?
#
# You get a frame like `run.figures`: a row for each broker and job, with the columns broker, job, real,
# support, p50_ms, p99_ms. For each job, divide the greatest p99 by the smallest. Leave out stand-ins (`real` is
# False) and what was not measured (NaN); then leave out a job for which only one server is left.
#
# **Expected:** `{"seats": 4.0}` for a p99 of 2 ms on Redis and of 8 ms on RabbitMQ. When it is right, try
# `apart(run.figures)`: which job tells the servers apart most?


# %% name="apart"
def apart(figures):
    """From each job to the ratio of the greatest p99 to the smallest."""
    ### BEGIN SOLUTION
    servers = figures[figures.real].dropna(subset=["p99_ms"])
    p99 = servers.groupby("job").p99_ms
    ratios = p99.max() / p99.min()
    return ratios[p99.count() > 1].to_dict()
    ### END SOLUTION
    ### BEGIN STUB
    # # figures[figures.real] keeps the servers; groupby("job").p99_ms has max(), min(), count().
    # return ...
    ### END STUB


# %% name="apart-check"
lab11.check_apart(apart)

# %% [markdown] name="recap"
# ## Recap
#
# - Ask what the job needs: who hears it, who does it, in which order, once more, later, after a death.
# - What is *absent* decides first, what is *emulated* second, and speed last.
# - A log stops at poison and can be read again; a queue puts poison aside and forgets what is done.
# - A broker's name does not keep a message. Settings do, and they cost time.
# - A broker is a server to run, watch and secure. For ten jobs a day take a table.
# - A sentence about a broker without a figure or a capability behind it is a habit.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. A colleague measured that Kafka reads 100,000 records a second and RabbitMQ delivers
# 30,000, and wants to move the rebooking to Kafka. What do you ask?</summary>
#
# What happens to a task that fails, to one that must wait, and to one that is urgent. 180 tasks are done
# within three seconds on each of them; what Kafka lacks for them stays absent.
#
# </details>
# <details><summary>2. "We use RabbitMQ, so we lose nothing." Which three questions?</summary>
#
# Are the queues durable, the messages persistent, and does the publisher wait for confirms?
#
# </details>
# <details><summary>3. A worker's task came back at once on RabbitMQ, and after six seconds on Kafka. Is that
# RabbitMQ's merit?</summary>
#
# It follows from what each of them watches: a connection, or a session. A machine that loses its power closes
# no connection: then RabbitMQ waits for missed heartbeats, a minute by default.
#
# </details>
#
# **In practice.** Most teams have a broker already; the cheapest one is often the one that is there, as long as
# nothing that you need is absent. Many run two: a log for what happened, a queue for what is to be done.
# Managed services change the cost of running one, and not what is absent. RabbitMQ has streams of its own and
# newer Kafkas have share groups, which acknowledge one by one: look at the capabilities again before you
# decide, they move.
#
# **Next:** lab 12, in which the messages leave for the world: HTTP, WebSocket and a live departure board. It
# is not there yet.

# %% name="clean-up"
brokers.close()
print("Closed.")
