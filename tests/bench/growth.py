"""Bars: the time to compile grows with at most the power 1.2 of the steps; 1,600 steps take 0.5 s.

The power is that from 100 steps on: below, the start of the process counts for more. The processor's time stands beside
the wall time, which other work on the machine makes longer.
"""
import math
import os
import tempfile

import chain
from measure import KFHOST, bar, finish, median, milliseconds

RUNS = 5
LENGTHS = (10, 50, 100, 200, 400, 800, 1600)


def slope(points):
    """The slope of the straight line that fits the points best."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


times = {}
with tempfile.TemporaryDirectory() as scratch:
    for length in LENGTHS:
        notebook = os.path.join(scratch, f"chain-{length}.ipynb")
        chain.write(length, notebook)
        target = os.path.join(scratch, "chain.yaml")
        used = os.times()
        times[length] = median([KFHOST, "kale", "compile", notebook, "-o", target], RUNS)
        now = os.times()
        processor = (now.children_user + now.children_system - used.children_user - used.children_system) / RUNS

exponent = slope([(math.log(length), math.log(time)) for length, time in times.items() if length >= 100])
print("       compile of " + ", ".join(f"{length}: {milliseconds(time)}" for length, time in times.items()))
bar("growth exponent, 100 to 1,600 steps", "", exponent, "<=", 1.2)
bar("compile of 1,600 steps", f"{milliseconds(processor)} of the processor", times[1600], "<=", 0.5, " s")
finish()
