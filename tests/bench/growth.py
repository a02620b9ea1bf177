"""Bars: the time to compile grows with at most the power 1.2 of the steps; 1,600 steps take 0.5 s."""
import math
import os
import tempfile

import chain
from measure import KFHOST, bar, finish, median, milliseconds

LENGTHS = (100, 200, 400, 800, 1600)


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
        times[length] = median([KFHOST, "kale", "compile", notebook, "-o", target], 5)

exponent = slope([(math.log(length), math.log(time)) for length, time in times.items()])
bar("growth exponent, 100 to 1,600 steps", ", ".join(milliseconds(time) for time in times.values()),
    exponent, "<=", 1.2)
bar("compile of 1,600 steps", "", times[1600], "<=", 0.5, " s")
finish()
