"""What the bench programs share: timing whole processes, and saying whether a bar is held."""
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KFHOST = os.path.join(ROOT, "build", "release", "kfhost")
SDK_PYTHON = os.path.join(ROOT, "build", "sdk", "bin", "python")
KALE = os.path.join(ROOT, "build", "kale", "bin", "kale")

missed = 0


def timed(command, cwd=None):
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True)
    return done, time.perf_counter() - started


def attempt(command, cwd=None):
    """The wall time of a whole process; None when it does not succeed."""
    done, elapsed = timed(command, cwd)
    return elapsed if done.returncode == 0 else None


def seconds(command, cwd=None, output=None):
    """The wall time of a whole process, which must succeed; its output is appended to a list."""
    done, elapsed = timed(command, cwd)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()}")
    if output is not None:
        output.append(done.stdout.decode())
    return elapsed


def median(command, runs, cwd=None):
    return statistics.median(seconds(command, cwd) for _ in range(runs))


def alternating_medians(first, second, runs):
    """The median times of two commands that take turns, so that both see the same machine."""
    times = ([], [])
    for _ in range(runs):
        times[0].append(seconds(first))
        times[1].append(seconds(second))
    return statistics.median(times[0]), statistics.median(times[1])


def milliseconds(value):
    return f"{value * 1000:.2f} ms"


def bar(name, detail, value, relation, bound, unit=""):
    """Prints one line of the table and remembers a bar that is missed."""
    global missed
    held = value <= bound if relation == "<=" else value >= bound
    missed += not held
    mark = "held" if held else "MISSED"
    print(f"{mark:7}{name:40}{value:10.3f} {relation} {bound:g}{unit:4}  {detail}", flush=True)


def finish():
    sys.exit(1 if missed else 0)
