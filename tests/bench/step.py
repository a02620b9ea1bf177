"""Bars: what a local step costs beyond its command run bare: 20 ms, and half of what the SDK's runner adds.

A long and a short chain of the same steps are run; the difference is the price of the steps alone,
without start and compile. The bare commands are those that the SDK ran, one after the other.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

import chain
from measure import KFHOST, SDK_PYTHON, bar, finish, milliseconds, seconds

SHORT, LONG, ROUNDS = 1, 21, 3
HERE = os.path.dirname(os.path.abspath(__file__))


def sdk_run(pipeline, root):
    done = subprocess.run([SDK_PYTHON, os.path.join(HERE, "sdk_run.py"), pipeline, root],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(length, scratch):
    """The seconds that a chain takes here, in the SDK's runner, and as bare commands."""
    notebook, pipeline = (os.path.join(scratch, f"chain-{length}.{kind}") for kind in ("ipynb", "yaml"))
    chain.write(length, notebook)
    seconds([KFHOST, "kale", "compile", notebook, "-o", pipeline])
    runs = os.path.join(scratch, "runs")
    ours = seconds([KFHOST, "kale", "run", notebook, "--json", "--runs", runs, "--jobs", "1",
                    "--python", SDK_PYTHON])
    with tempfile.TemporaryDirectory() as root:
        sdk = sdk_run(pipeline, root)
        bare = sum(seconds(command) for command in sdk["commands"])
    return ours, sdk["seconds"], bare


def per_step(scratch):
    long, short = measure(LONG, scratch), measure(SHORT, scratch)
    return [(a - b) / (LONG - SHORT) for a, b in zip(long, short)]


with tempfile.TemporaryDirectory() as scratch:
    rounds = [per_step(scratch) for _ in range(ROUNDS)]

ours, sdk, bare = (statistics.median(column) for column in zip(*rounds))
detail = f"a step: {milliseconds(ours)} here, {milliseconds(sdk)} SDK, {milliseconds(bare)} bare"
bar("overhead of a local step", detail, (ours - bare) * 1000, "<=", 20, " ms")
bar("overhead / that of the SDK", "", (ours - bare) / (sdk - bare), "<=", 0.5)
finish()
