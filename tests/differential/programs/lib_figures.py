# needs: numpy pandas matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
frame = pd.DataFrame({"a": [1, 2, 3], "b": [3, 1, 2]})
fig = Figure()
ax = fig.add_subplot(121)
other = fig.add_subplot(122)
frame.plot(ax=ax)
print(len(ax.lines))
def draw(where, column):
    frame[column].plot(ax=where, legend=False)
    where.set_title(column)
draw(other, "b")
print(other.get_title(), len(other.lines), len(fig.axes))
axes = Figure().subplots(2)
frame.a.plot(ax=axes[0])
for number, each in enumerate(axes):
    each.set_xlabel("x%d" % number)
print([a.get_xlabel() for a in axes], len(axes[0].lines))
line, = ax.plot(np.arange(3), color="red")
line.set_label("mine")
ax.legend()
print(ax.get_legend_handles_labels()[1], line.axes is ax)
legend = ax.get_legend()
legend.set_title("what")
print(ax.get_legend().get_title().get_text())
print(len(fig.axes))
title = fig.suptitle("whole")
title.set_color("red")
print(ax.figure is fig, other.figure is fig, fig.axes[1] is other)
fig.set_size_inches(4, 3)
legend.set_alpha(0.5)
print(ax.get_legend().get_alpha(), legend.axes is ax, line.axes is ax, title.figure is fig, ax.figure.get_figwidth())
