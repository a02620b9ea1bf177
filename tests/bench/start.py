"""Bar: a script's first line runs in at most half the time of an empty Python."""
import os
import tempfile

from measure import KFHOST, alternating_medians, bar, finish, milliseconds

RUNS = 200

with tempfile.TemporaryDirectory() as scratch:
    script = os.path.join(scratch, "first_line.lua")
    with open(script, "w") as file:
        file.write("print 'first line'\n")
    ours, python = alternating_medians([KFHOST, script], ["/usr/bin/python3", "-c", "pass"], RUNS)

bar("start / empty Python", f"{milliseconds(ours)} and {milliseconds(python)}, {RUNS} runs each",
    ours / python, "<=", 0.5)
finish()
