# %% [markdown] name="title"
# # Send a message
#
# Two actors meet on a channel; the picture shows it. See [the folder](source/02_sample.py).

# %% name="setup"
import os
import time

import matplotlib.pyplot as plt
from IPython.display import display

import labkit
from labkit.exercises import Wrong, exercise

lab = labkit.connect()
print(f"Broker: {lab.name} (process {os.getpid()})")

# %% [markdown] name="picture-intro"
# ## Look at it

# %% name="picture"
figure, axes = plt.subplots(figsize=(3, 2))
axes.plot([1, 2, 3], [1, 4, 9])
alt = "A curve that rises from 1 to 9."
display(figure, metadata={"image/png": {"alt": alt}})
plt.close(figure)

# %% [markdown] name="timing-intro"
# ## Measure it

# %% name="timing" tags=["nbval-ignore-output"]
began = time.perf_counter_ns()
took_ns = time.perf_counter_ns() - began
print(f"took {took_ns} ns at {time.time_ns()}")

# %% name="timing-check"
assert took_ns >= 0
print("No time runs backwards.")

# %% name="failing" tags=["raises-exception"]
labkit.connect("carrier-pigeon://loft")

# %% [markdown] name="double-task"
# ## Exercise
#
# Write a function that doubles.


# %% name="double"
def double(number):
    """Twice the number."""
    ### BEGIN SOLUTION
    return 2 * number
    ### END SOLUTION
    ### BEGIN STUB
    # # Write your answer here.
    # return ...
    ### END STUB


# %% name="double-check"
@exercise("2.1", "Double", correct="Twice 4 is 8.", expects="function")
def check_double(answer, _lab):
    if answer(4) != 8:
        raise Wrong("double(4) is not 8.", "Multiply by two.")


check_double(double)

# %%
print("Done.")
