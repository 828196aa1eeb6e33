# %% [markdown] name="title" tags=["measures"]
# # Measure it honestly
#
# "Redis does 50,000 messages a second." "Latency is 5 to 50 milliseconds." You will read such
# sentences, and one day you will write one. Here you find out what they depend on, and how a careful
# person still gets them wrong.
#
# **Time:** 60 minutes · **You need:** labs [02](02-publish-and-subscribe.ipynb),
# [03](03-share-work-in-a-queue.ipynb) and [04](04-ask-and-get-an-answer.ipynb).
#
# **You'll do**
#
# - measure throughput and latency, and throw the warm-up away;
# - freeze a broker for a second, and see one way of measuring miss it;
# - raise the load until the latency breaks away;
# - vary batches, message sizes, subscribers and workers, one at a time;
# - put what people say beside what you measured.
#
# **You'll learn** what a percentile is and what it cannot do, why the load must not wait for the
# answer, and why a figure without its conditions says nothing.

# %% name="setup"
import labkit
from labkit import measure, plots
from labkit.exercises import lab05
from labkit.experiments.bench import Bench, server_books, what_people_say
from labkit.measure import Closed, Constant, Poisson, SimulatedServer, Stall, sweep, trial

lab = labkit.connect()
bench = Bench()
print(f"Broker: {lab.name}")

# %% [markdown] name="flow"
# The embedded broker lives in this Python process. Its figures are figures of Python, and never of
# Redis. So the cell above has started a private Redis or Valkey, if this machine has one, and from
# here on `bench.lab` is that one. Without it every cell runs all the same, and every picture says what
# it is.
#
# ## A first figure, and its conditions
#
# ```mermaid
# flowchart LR
#     schedule["schedule<br/>when each operation is due"] --> generator["generator"]
#     generator -- "intended, sent" --> broker["broker"]
#     broker --> subscriber["subscriber"]
#     subscriber -- "done" --> recorder["recorder<br/>three times for each operation"]
# ```
#
# In words: a **schedule** says when each operation is *intended*; the generator sends it, if it can
# keep up, at that moment; the message comes back through a subscriber and is *done*. Three readings of
# one clock for each operation, all kept. **Service time** is from sent to done; **response time** from
# intended to done. A `Closed` load has no schedule: it sends when the last answer is there, so for now
# the two are the same.
#
# **Predict.** One client publishes 100 bytes, waits until its own subscriber has them, and publishes
# again. How many such round trips does it get done in a second, on a Redis on this machine?
#
# - **A.** Hundreds: a broker's latency is 5 to 50 ms.
# - **B.** Thousands.
# - **C.** Over 50,000, as everybody says.

# %% name="first" tags=["nbval-ignore-output"]
print(bench)
first = trial(bench.lab, schedule=Closed(clients=1), seconds=1.5, warmup=0.3)
plots.show(plots.over_time(first.series, trials=first.trials))
first.trials[["broker", "throughput", "response_p50_ms", "response_p99_ms", "lost", "valid"]]

# %% name="first-check"
figures, operations = first.trials.iloc[0], first.operations
assert figures.lost == figures.unanswered == figures.implausible == 0
assert figures.throughput > 100
assert 0 < operations.warmup.sum() < len(operations)
print("Nothing was lost. The warm-up is in the table, marked, and not in the figures.")

# %% [markdown] name="first-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** A round trip through Redis on one machine takes a fraction of a millisecond, so one client that
# waits for each gets thousands done. "5 to 50 ms" is the network, or a busy machine, or a measuring
# program that sleeps; "50,000" is many messages under way at once. Neither is wrong, and neither says
# what it depends on.
#
# </details>
#
# Often the first operations are slower: code is loaded, connections are opened, caches are cold. They
# are the **warm-up**, and they are cut by time. Cut does not mean deleted: they stay in the table,
# marked, and the picture shades them. *valid* in the table says that the generator kept its schedule.
# (The title is the median of the short stretches that the picture shows; the table has the mean.)
#
# ## What a percentile is, and what it is not
#
# The **p99** is the time within which 99 of 100 operations were done; one in a hundred took longer. The
# mean hides that one. But percentiles have a rule of their own.
#
# **Predict.** Two workers measured ten response times each: 11 to 20 ms, and 91 to 100 ms. Their p90s
# are 19 and 99. What is the p90 of all twenty?
#
# - **A.** 59, the mean of the two.
# - **B.** 98.
# - **C.** 99.

# %% name="percentile"
ann, bob = list(range(11, 21)), list(range(91, 101))
each = [measure.exact_percentile(times, 0.90) for times in (ann, bob)]
print("each:", each, "| their mean:", sum(each) / 2)
print("of all:", measure.exact_percentile(ann + bob, 0.90))
histograms = [measure.Histogram(), measure.Histogram()]
for histogram, times in zip(histograms, (ann, bob), strict=True):
    histogram.add_all(ms * 1_000_000 for ms in times)  # in nanoseconds
histograms[0].merge(histograms[1])
print(f"merged: {histograms[0].count} samples, {histograms[0].percentile(0.90) / 1e6:.0f} ms")

# %% [markdown] name="percentile-explained"
# <details><summary><b>What happened</b></summary>
#
# **B.** 18 of the 20 took 98 ms or less. Percentiles are **never averaged**: the mean of two p90s is
# the p90 of nothing. A dashboard that averages the p99 of ten servers does this every minute.
#
# What can be added up are *histograms*: counts of how many times fell into each range. labkit's ranges
# are so narrow that a percentile is off by 1 % at most. Each process keeps a histogram, and merging
# them adds the counts.
#
# </details>
#
# Of the round trips above, two pictures: which share was done within which time, and the same with the
# tail stretched, so that each step to the right is ten times rarer. A p99.9 is only shown where there
# are samples enough to know it.

# %% name="tail-picture" tags=["nbval-ignore-output"]
plots.show(plots.ecdf(first.operations, trials=first.trials))
plots.show(plots.percentiles(first.operations, trials=first.trials))

# %% name="tail-check"
assert figures.response_p50_ms <= figures.response_p99_ms
assert figures.response_p999_ms > 0 or figures.completed < 10_000
print("A p99.9 is told only above 10,000 samples.")

# %% [markdown] name="omission-concept"
# ## The load that waits
#
# Now the mistake that careful people make. A server takes 1 ms for each request, and once it stands
# still for 200 ms. A hundred requests a second are *due*.
#
# The server here exists only in numbers: it runs on a clock that it moves itself, so the figures are
# exact.
#
# **Predict.** Over ten seconds, 1,000 requests. What is the p99 of the response time, counted from the
# moment when each request was due?
#
# - **A.** 1 ms: one request in a thousand hit the stall.
# - **B.** about 10 ms.
# - **C.** about 110 ms.
# - **D.** 200 ms.

# %% name="omission"
server = SimulatedServer(service=0.001)
stall = Stall(at=2.0, seconds=0.2)
waits = trial(server, schedule=Closed(clients=1), seconds=10, warmup=0, stall=stall)
due = trial(server, schedule=Constant(rate=100), seconds=10, warmup=0, stall=stall)
for name, run in (("waits for the answer", waits), ("keeps its schedule  ", due)):
    row = run.trials.iloc[0]
    print(f"{name}: {row.sent:5,} sent, p99 {row.response_p99_ms:.0f} ms")

# %% [markdown] name="omission-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** During the stall about twenty requests were due. The first took 201 ms, the next 192, then 183:
# each was due 10 ms later, and is served 1 ms later. Ten of the 1,000 may be slower than the p99, so it
# is the eleventh: 111 ms. Each of them is a person who waited.
#
# A **closed** load sends as fast as it is answered, 9,800 times here, and *one* of these met the stall:
# 201 ms, its maximum. Its p99 is 1 ms. The measuring program stood still exactly when there was
# something to measure. Gil Tene calls it **coordinated omission**.
#
# An **open** load has a schedule. What is late counts from the moment when it was due.
#
# </details>
#
# The same with a real freeze of one second: the operating system stops the server's process, by the
# signal SIGSTOP. (On the embedded broker the stall is played.) The title of the picture takes the
# percentile at which the two loads differ most.

# %% name="freeze" tags=["nbval-ignore-output"]
setting = {"seconds": 3.0, "warmup": 0.3, "stall": bench.stall(at=1.0, seconds=1.0)}
closed = trial(bench.lab, schedule=Closed(clients=1), **setting)
opened = trial(bench.lab, schedule=Constant(rate=500), **setting)
plots.show(plots.open_and_closed(closed.operations, opened.operations))

# %% name="freeze-check"
shut, wide = closed.trials.iloc[0], opened.trials.iloc[0]
assert shut.response_max_ms > 900  # the closed load met it, once
assert shut.response_p99_ms < 100
assert 800 < wide.response_p99_ms < 1_500
print("The closed load's p99 knows nothing of the second; the open one's is near a second.")

# %% [markdown] name="knee-concept"
# ## More and more load
#
# Messages do not come like a clock ticks. Where nobody agrees with anybody, they come as a **Poisson**
# process: bursts and pauses. Each takes the server 1 ms on average, some more, some less, so 1,000 a
# second are the limit.
#
# **Predict.** At 80 % of the limit, a message waits some time before it is served. At 95 %?
#
# - **A.** A little longer: 1.2 times.
# - **B.** Twice as long.
# - **C.** About five times as long.

# %% name="queueing"
for busy in (0.5, 0.8, 0.95):
    model = SimulatedServer(measure.exponential(0.001, seed=5))
    run = trial(model, schedule=Poisson(1_000 * busy, seed=105), seconds=100, warmup=5)
    law, done = measure.littles_law(run), run.trials.throughput[0]
    response = run.operations[~run.operations.warmup].response_ms.mean()
    print(f"{busy:.0%} busy: {response:4.1f} ms, of which waiting {response - 1:4.1f}", end="; ")
    print(f"{done:.0f}/s x {response:.1f} ms = {law.expected:.1f}, under way {law.in_flight:.1f}")
    assert abs(law.ratio - 1) < 0.05

# %% [markdown] name="queueing-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** For one server, with arrivals and service times at random, the theory says: if it is busy for a
# share ρ of the time, you wait ρ / (1 - ρ) service times. That is 1, 4 and 19 ms. A queue needs idle
# time to recover from a burst, and at 95 % there is little. Nothing is broken, and everybody waits.
#
# The last two figures are **Little's law**: what is under way = throughput × response time, in any
# system, whatever happens inside. The cell asserts that it holds. If it does not hold in a measurement
# of yours, you forgot to count something.
#
# </details>
#
# The same on the broker: seats are asked for (lab 04), the desk works 1 ms on each, and the load rises.
# Both are processes of their own, so that they do not take turns. The place where the curve turns steep
# is called the **knee**. (The embedded broker lives in one process: there the desk does no work. You
# see no knee, and perhaps only points marked *invalid*: the generator was later than it may be, and
# labkit does not trust such a trial.)

# %% name="knee" tags=["nbval-ignore-output"]
desk = {"work": 0.001, "processes": True} if bench.real else {}
rates = [100, 300, 500, 700, 850]
arrivals = {"rates": rates, "arrivals": "poisson", "repeats": 1}
loads = sweep(bench.lab, pattern="rpc", seconds=0.8, warmup=0.2, **arrivals, **desk)
plots.show(plots.latency_against_load(loads.trials))

# %% name="knee-check"
p99 = loads.trials.set_index("rate").response_p99_ms
assert loads.trials.lost.sum() == 0
assert not bench.real or p99[850] > p99[100]
print("Nothing was lost; and where the desk works, the fullest is the slowest.")

# %% [markdown] name="vary-concept"
# ## One thing at a time
#
# Four settings that change a figure several times over, while the broker stays the same. First: how many
# messages go out in one call.
#
# **Predict.** One message a call, or a hundred: how do throughput and latency change?
#
# - **A.** Throughput rises several times; latency rises, too.
# - **B.** Throughput rises; latency falls.
# - **C.** Neither: the broker's speed is what it is.

# %% name="batch" tags=["nbval-ignore-output"]
short = {"repeats": 3, "seconds": 0.25, "warmup": 0.05}
batches = sweep(brokers=bench.labs, batches=[1, 10, 100, 1_000], seed=1, **short)
plots.show(plots.side_by_side(batches.trials, x="batch"))
batches.trials.groupby(["broker", "batch"])[["throughput", "response_p50_ms"]].median().round(2)

# %% name="batch-check"
own = batches.trials[batches.trials.embedded == (bench.real is None)]
by_batch = own.groupby("batch")[["throughput", "response_p50_ms"]].median()
assert by_batch.throughput[100] > by_batch.throughput[1]
assert by_batch.response_p50_ms[100] > by_batch.response_p50_ms[1]
print("A batch of 100 does more a second than one at a time, and each message takes longer.")

# %% [markdown] name="batch-explained"
# <details><summary><b>What happened</b></summary>
#
# **A.** Most of a single publish is the way there and back, and the client's own work. A batch shares
# it. The price is that a message waits for the batch to be done. (One at a time, the embedded broker
# may even win: it has no way to go. It gains little by batches, because Python does all of the work.)
#
# </details>
#
# Then the size of a message, from 64 bytes to 1 MB; and the number of subscribers, each of which gets
# every message. And then the number of workers on a queue whose tasks take 2 ms each; on a real server
# they are processes of their own, so that they can work at the same time.

# %% name="size" tags=["nbval-ignore-output"]
lengths = [64, 1_000, 10_000, 100_000, 1_000_000]
sizes = sweep(bench.lab, sizes=lengths, batches=[10], seed=2, **short)
plots.show(plots.throughput_against_size(sizes.trials))
crowd = sweep(bench.lab, subscribers=[1, 3, 10, 30, 100], seed=3, **short)
plots.show(plots.fan_out(crowd.trials))

# %% name="size-check"
by_size = sizes.trials.groupby("size_bytes")[["throughput", "mb_per_s"]].median()
assert by_size.throughput[1_000_000] < by_size.throughput[64]
assert by_size.mb_per_s[100_000] > by_size.mb_per_s[64]
by_crowd = crowd.trials.groupby("subscribers").response_p50_ms.median()
assert by_crowd[100] > by_crowd[1]
assert crowd.trials.lost.sum() == crowd.trials.duplicates.sum() == 0
print("Larger messages: fewer a second, more bytes a second. Many subscribers: later, each once.")

# %% name="workers" tags=["nbval-ignore-output"]
team = trial(bench.embedded, pattern="queue", seconds=0.5, warmup=0.2)
if bench.real:
    tasks = {"rates": [1_000], "work": 0.002, "processes": True, "repeats": 1}
    team = sweep(bench.real, pattern="queue", workers=[1, 2, 4], seconds=0.5, warmup=0.2, **tasks)
plots.show(plots.throughput_against_workers(team.trials))

# %% name="workers-check"
by_team = team.trials.groupby("workers").throughput.median()
assert not bench.real or by_team[1] <= 500
assert not bench.real or by_team[4] > by_team[1]
print("On a real server: one worker does at most 500 tasks of 2 ms a second, four do more.")

# %% [markdown] name="under-the-hood"
# ## Under the hood: who is slow?
#
# "Redis does 12,000 publishes a second, so Redis is the limit." Redis keeps books of its own: how often
# each command came, and how many microseconds of the *server's* time it took.
#
# **Predict.** While one client publishes as fast as it can, one by one, the server works on PUBLISH for
#
# - **A.** all of the time: it is the bottleneck.
# - **B.** half of the time.
# - **C.** less than 5 % of the time.

# %% name="books" tags=["nbval-ignore-output"]
with server_books(bench.lab, "publish") as books:
    busy = trial(bench.lab, schedule=Closed(clients=1), seconds=1.0, warmup=0.0)
print(books)
bench.lab.commands(3)  # before the x's: number and times, as bytes

# %% name="books-check"
if books.kept:
    assert books.calls >= busy.trials.sent[0]
    assert books.calls * books.microseconds < 0.05 * 1_000_000
print("Where a server keeps books: PUBLISH took less than 5 % of its second.")

# %% [markdown] name="books-explained"
# <details><summary><b>What happened</b></summary>
#
# **C.** To carry out a PUBLISH costs the server one or two microseconds. Its books leave out reading and
# writing the connections, which cost it several times more: compare its use of the processor. Even so
# it is idle most of the time. The rest is the client, the way there and back, and waiting for a
# processor. So "how fast is Redis?" was answered with "how fast is my client?" Before you name a
# bottleneck, look who is busy.
#
# </details>
#
# ## What people say
#
# The two sentences from the beginning, and three more that are often quoted for message sizes. Beside
# them is what you measured: "over 50,000" with your best batch, the sizes with ten in a call. (Without
# a real Redis the dots come from the embedded broker, and say nothing about Redis.)

# %% name="quoted" tags=["nbval-ignore-output"]
fastest = by_batch.throughput.max()
said = what_people_say(
    [
        ("latency 5 to 50 ms", 5, 50, figures.response_p50_ms, "ms"),
        ("over 50,000 messages/s", 50_000, None, fastest, "/s"),
        ("below 1 KB: 8,000/s", 8_000, 8_000, by_size.throughput[64], "/s"),
        ("1 to 10 KB: 6,000/s", 6_000, 6_000, by_size.throughput[10_000], "/s"),
        ("above 100 KB: 2,000/s", 2_000, 2_000, by_size.throughput[1_000_000], "/s"),
    ]
)
plots.show(plots.quoted(said.assign(embedded=bench.real is None)))
said

# %% name="quoted-check"
assert len(said) == 5
assert said.measured.gt(0).all()
print("Each of the five sentences has a measured figure beside it.")

# %% [markdown] name="quoted-explained"
# | what people say | what decides it |
# |---|---|
# | latency 5–50 ms | where the client is, and whether the load waits. On one machine it is far below |
# | over 50,000/s | batches, and whose time is counted: publishing alone, or until somebody has it |
# | 8,000 / 6,000 / 2,000 by size | how many go out in one call, and what "above 100 KB" means: 100 kB and 1 MB are several times apart. Ten a call help small messages; with large ones the bytes decide |
#
# None of the sentences is a lie. They are answers whose questions were cut off.
#
# ## Exercises
#
# ### Exercise 5.1: counted from when?
#
# Each row is `(intended_ms, sent_ms, done_ms)`; `done_ms` is `None` for a request that was never
# answered, and was given up `timeout_ms` after it was *intended*. Return the list of response times in
# milliseconds, one for each row, so that nothing vanishes.
#
# **Expected:** `response_times([(0, 0, 1), (10, 200, 201), (20, 201, None)], 500)` returns
# `[1, 191, 500]`.


# %% name="response-times"
def response_times(rows, timeout_ms):
    """What each caller waited, from the moment at which the request was due."""
    ### BEGIN SOLUTION
    return [timeout_ms if done is None else done - intended for intended, _, done in rows]
    ### END SOLUTION
    ### BEGIN STUB
    # # Three times in each row: from which to which does the caller wait?
    # return ...
    ### END STUB


# %% name="response-times-check"
lab05.check_response_times(response_times)

# %% [markdown] name="exercise-2"
# ### Exercise 5.2: one p99 for three servers
#
# Three servers send you a `measure.Histogram` each. Return the p99 of all requests together, in
# milliseconds, and leave the three histograms as they are.
#
# **Expected:** for two servers with 495 requests of 1 ms each, and a third with 20 of 500 ms, about 500.


# %% name="joint-p99"
def joint_p99(histograms):
    """The p99 over all of them, in milliseconds."""
    ### BEGIN SOLUTION
    everything = measure.Histogram()
    for histogram in histograms:
        everything.merge(histogram)
    return everything.percentile(0.99) / 1e6
    ### END SOLUTION
    ### BEGIN STUB
    # # A new measure.Histogram() can take in others; percentile() is in nanoseconds.
    # return ...
    ### END STUB


# %% name="joint-p99-check"
lab05.check_joint_p99(joint_p99)

# %% [markdown] name="exercise-3"
# ### Exercise 5.3: does it hold?
#
# The seat desk must take 500 requests a second, arriving as they like, and answer 99 of 100 within
# 20 ms, also when the server stumbles. Measure the `target` for ten seconds with `trial` (with the
# schedule that fits) and return True or False.
#
# **Expected:** True for a server that takes 1 ms; False for one that takes 1 ms and stands still for
# 300 ms once, and for one that takes 3 ms.


# %% name="holds"
def holds(target, stall=None):
    """Whether `target` keeps its promise of p99 <= 20 ms at 500 requests a second."""
    ### BEGIN SOLUTION
    run = trial(target, schedule=Poisson(rate=500, seed=1), seconds=10, warmup=0.5, stall=stall)
    return bool(run.trials.response_p99_ms.iloc[0] <= 20)
    ### END SOLUTION
    ### BEGIN STUB
    # # run = trial(target, schedule=..., seconds=10, stall=stall); run.trials has the figures.
    # return ...
    ### END STUB


# %% name="holds-check"
lab05.check_holds(holds)

# %% [markdown] name="recap"
# ## Recap
#
# - Keep three times for each operation: intended, sent, done. Response time counts from *intended*.
# - A load that waits for the answer cannot see a stall. An open load can.
# - Merge histograms; never average percentiles. Withhold what the samples cannot support.
# - Near its limit a system gets slow long before it breaks. Look for the knee, and stay left of it.
# - A figure has conditions: batch, size, subscribers, machine, and who was the bottleneck.
#
# **Test yourself.** Answer, then open.
#
# <details><summary>1. Your generator is meant to send 20,000 a second, and sends each message 30 ms
# late. What did you measure?</summary>
#
# Your generator. labkit reports the *schedule lag* (p99 of sent - intended), and marks such a trial as
# invalid; the pictures draw it hollow.
#
# </details>
# <details><summary>2. A queue takes 30,000 tasks a second. Is that its throughput?</summary>
#
# Only if they are also done at that rate. What comes in faster than it goes out is a queue that grows,
# and its latency grows with it.
#
# </details>
# <details><summary>3. Three repeats of a trial gave 9,000, 11,000 and 14,000 a second. What do you
# write?</summary>
#
# The median with its interval, and the number of repeats. A single dot hides that the next run may say
# something else. If the interval is wider than the difference that you want to show, repeat more, or
# find out what else the machine is doing.
#
# </details>
#
# **In practice.** `redis-benchmark` and most load tools are closed loops; `wrk2` and k6's arrival-rate
# executors are open. Prometheus histograms can be summed over servers, the quantiles of its summaries
# cannot. In a terminal, `labkit bench pubsub --rate 1000` runs such a trial three times, and `labkit
# plot` draws it.
#
# **Next:** messages that stay, in [lab 06](06-keep-the-log.ipynb).

# %% name="clean-up"
bench.close()
lab.close()
print("Closed.")
