# needs: numpy pandas matplotlib
import numpy as np
import pandas as pd
import matplotlib.figure
import matplotlib.pyplot as plt
np.random.seed(3)
drawn = np.random.rand(2).round(6)
print(drawn)
more = np.random.randint(0, 100, 3)
print(more)
rng = np.random.default_rng(5)
first = rng.integers(0, 1000)
print(first)
second = rng.integers(0, 1000)
print(second)
pd.set_option("display.max_rows", 4)
frame = pd.DataFrame({"a": range(10)})
print(frame)
pd.options.display.precision = 2
print(pd.DataFrame({"x": [1.23456]}))
np.set_printoptions(precision=2)
print(np.array([1.23456]))
plt.rcParams["figure.dpi"] = 50
print(plt.rcParams["figure.dpi"])
matplotlib.rcParams.update({"lines.linewidth": 3})
fig = matplotlib.figure.Figure()
ax = fig.subplots()
lines = ax.plot([1, 2], [3, 4])
print(ax.lines[0].get_linewidth(), fig.dpi)
del lines
with np.errstate(divide="ignore"):
    quotient = np.array([1.0]) / 0
print(quotient)
