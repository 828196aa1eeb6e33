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

from labkit import plots
from labkit.exercises import lab11
from labkit.experiments.choosing import compare, jobs, open_brokers
from labkit.experiments.choosing.commands import commands_of_a_task
from labkit.experiments.choosing.guide import guide
from labkit.experiments.choosing.job_table import JobTable
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
# small machine, set `LABKIT_BROKERS` to those that you want, as in `redis+embedded,redis`.

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
# handled. Ten messages; the third is poisoned: the handler raises, however often it is tried. Once they are
# in a **log**: the reader goes on in order, and commits each one after its work. Once they are in a
# **queue**: each task is acknowledged by itself, and after three attempts it is put aside.
#
# **Predict.** How many of the ten are done in the log, and how many in the queue?
#
# - **A.** 9 and 9: the poisoned one is left out.
# - **B.** 2 and 9.
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
# **B**, on every broker: it is the *way of reading* that decides, and not the maker. A log has one place for
# a reader, and "4 to 10 are done, 3 is not" cannot be said with one place. So the reader comes back to the
# third for ever, and what is behind it waits. A queue knows each task, so one can be put aside.
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
# every broker:

# %% name="job"
print(inspect.getsource(jobs.rebook))

# %% [markdown] name="jobs-concept"
# **Predict.** A worker is killed (on a server: its process, by SIGKILL) while it works on a task. The lease
# is one second. How long until another one has that task?
#
# - **A.** About a second on each: that is the lease.
# - **B.** At once on each: the connection is gone.
# - **C.** It differs by a hundred times and more: at once on one, after seconds on another.
#
# And which broker hands out the three channels of the fan-out in the order in which they were published?
#
# - **D.** All of them.
# - **E.** All but Kafka.
# - **F.** None.

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
# **C.** Who notices a death, and how? RabbitMQ sees the connection break, and gives the task to another at
# once. Redis knows nothing of its clients' lives: labkit's lease has to run out. Kafka waits until the
# member's session has ended, six seconds here, and then shares the partitions anew.
#
# **E.** Redis and RabbitMQ have one line to each reader. Kafka has a log for each channel, and they have
# nothing to do with one another: the reader gets some of the one, then some of the other. *Within* a channel
# nothing was out of order. With the tasks it is the same: Kafka spreads them over partitions.
#
# And nobody lost anything. So "which of them loses messages?" is not the question; we come back to it.
#
# </details>
#
# Be careful with the times. All ends of these jobs live in one Python program, so they are figures of this
# client *and* a broker; a p99 rests on the two slowest of each hundred; and another program that wakes up in
# that moment is in it, too. Run the cell again, and see which differences stay. A factor of ten that stays
# is worth a sentence.
#
# ## What was emulated?
#
# The code was the same everywhere. What the broker did for it was not. labkit says of each capability
# whether the broker does it (*native*), labkit has to do it (*emulated*), or nobody does (*absent*).
#
# **Predict.** On which broker does labkit have to emulate the work queue, on which is there no stream, and on
# which no task that waits for ten minutes?
#
# - **A.** Redis, Redis, Redis: it is a cache.
# - **B.** Kafka, RabbitMQ, Kafka.
# - **C.** Nowhere: each of them can do everything.

# %% name="capabilities" tags=["nbval-ignore-output"]
run.capabilities()

# %% name="capabilities-check"
can, absent = run.capabilities(), run.figures.support == "absent"
assert run.figures[absent].throughput.isna().all()
assert run.figures[~absent].throughput.gt(0).all()
for kafka in [name for name in can if name.startswith("Kafka")]:
    assert (can[kafka]["work queue"], can[kafka]["delayed tasks"]) == ("emulated", "absent")
assert "RabbitMQ" not in can or can["RabbitMQ"]["stream"] == "absent"
print("What is absent has no figures; what is native or emulated has.")

# %% [markdown] name="capabilities-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** Each broker is at home somewhere. *Absent* is the most useful word in the table: a broker that is
# twice as fast at what you do not need does not help. *Emulated* is the second: it works, and the code for
# it is yours to trust, here labkit's, elsewhere your own.
#
# The reason stands in `run.capability("RabbitMQ", "stream").why`, for each of them.
#
# </details>
#
# ## Under the hood
#
# One task is put into a queue and done. What that becomes on each broker: the last commands of its own
# client.

# %% name="hood" tags=["nbval-ignore-output"]
commands = commands_of_a_task(brokers)
for name, lines in commands.items():
    print(f"{name}:", *lines, sep="\n   ")

# %% name="hood-check"
assert set(commands) == set(brokers.names)
assert all(commands.values())
print("Each broker has its own words for it.")

# %% [markdown] name="costs-concept"
# ## What it costs to have it
#
# **Predict.** How much memory does a server hold that did this work?
#
# - **A.** All about the same: the messages are the same.
# - **B.** Redis some 10 to 20 MB, RabbitMQ over 100, Kafka over 200.
# - **C.** Redis most, for it keeps everything in memory.

# %% name="costs" tags=["nbval-ignore-output"]
run.brokers[["broker", "what", "idle_mb", "busy_mb", "adapter_lines", "emulated", "absent"]]

# %% name="costs-check"
held = run.brokers.set_index("broker").busy_mb.dropna()
assert "Redis" not in held or held["Redis"] == held.min()
assert "Kafka" not in held or held["Kafka"] == held.max()
print(run.jobs.to_string(index=False))

# %% [markdown] name="costs-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A few thousand small messages are nothing; the machinery is what you see. Kafka's is made for
# millions of them, and is there from the start. (These are private nodes with small settings, in production
# they hold more. A stand-in has no server, so no figure.)
#
# The jobs need the same lines on each, because labkit hides the difference. `adapter_lines` is what that
# takes: some three thousand lines of labkit for each broker. To be independent of a broker is not free.
#
# </details>
#
# ## To lose nothing, you must use …
#
# A hundred messages are in a server. It is killed (SIGKILL), and started again. Once everything is left as
# it is by default; once it is set to keep them.
#
# **Predict.** Whose messages survive by default?
#
# - **A.** RabbitMQ's: it is made for messages.
# - **B.** Redis': it writes snapshots.
# - **C.** Neither's. With the right settings, both.

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
# write is on the disk before the answer. RabbitMQ's queue was not durable, and went with all that was in it.
# *Settings* decide, and each setting that keeps more makes something slower.
#
# Kafka's log is in files, so it survives that the *program* is killed. When the machine loses power, what
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
# **C.** One statement takes a job (`update … returning`), so no two workers get the same one. What is lost
# cannot hide: it is a row. There is one thing less to run, to watch and to secure, and a report and its job
# can be written in *one* transaction; no broker shares one with your database. It ends where many workers wait for one
# table, or where somebody has to hear of a job within milliseconds.
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
# For each: what you take ("Redis", "RabbitMQ", "Kafka" or "a table"), and the capability that decides, as the
# table above writes it: the job needs it, and at least one broker lacks it. `None` where no broker is needed.
# There are several right answers.
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
# oldest first, and deletes its row. The broker may go away in the middle: `queue.put` then raises. No task
# may be lost then, and none that is in the queue may stay in the table.
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
# From a frame like `run.figures` (columns broker, job, real, support, p50_ms, p99_ms): for each job, how many
# times as long as the fastest server's is the slowest one's p99? Leave out stand-ins, and what was not
# measured; and a job that only one server did.
#
# **Expected:** `{"seats": 4.0}` for a p99 of 2 ms on Redis and of 8 ms on RabbitMQ.


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
# - No default keeps everything. Settings do, and they cost time.
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
