"""Bars: what a local step costs beyond its command run bare: 20 ms, and half of what it costs with the SDK.

Both run a chain of the same steps, as whole processes: from the notebook here, from the compiled
pipeline there. The bare commands are those that the SDK ran, again in a new folder, one after the
other. Each takes its turn in every round, and the best of the rounds counts: other work on the
machine only ever adds time. The last line says what the SDK's runner adds once it is loaded.
"""
import json
import os
import subprocess
import sys
import tempfile

import chain
from measure import KFHOST, SDK_PYTHON, bar, finish, milliseconds, seconds

STEPS, ROUNDS = 40, 5
HERE = os.path.dirname(os.path.abspath(__file__))


def run_with_sdk(pipeline, root):
    """The seconds of the whole process; and what it says: the seconds of the run, its commands."""
    command = [SDK_PYTHON, os.path.join(HERE, "sdk_run.py"), pipeline, root]
    said = []
    elapsed = seconds(command, output=said)
    return elapsed, json.loads(said[0].splitlines()[-1])


def run_bare(commands, root, scratch):
    """The seconds of the commands that wrote below `root`, written again below a folder of its own."""
    fresh = tempfile.mkdtemp(dir=scratch)
    for folder, _, _ in os.walk(root):
        os.makedirs(os.path.join(fresh, os.path.relpath(folder, root)), exist_ok=True)
    return sum(seconds([word.replace(root, fresh) for word in command]) for command in commands)


def measure(notebook, pipeline, scratch):
    ours = seconds([KFHOST, "kale", "run", notebook, "--json", "--fresh", "--jobs", "1", "--python", SDK_PYTHON,
                    "--runs", os.path.join(scratch, "runs")])
    root = tempfile.mkdtemp(dir=scratch)
    sdk, said = run_with_sdk(pipeline, root)
    return ours, sdk, said["seconds"], run_bare(said["commands"], root, scratch)


with tempfile.TemporaryDirectory() as scratch:
    notebook, pipeline = (os.path.join(scratch, "chain." + kind) for kind in ("ipynb", "yaml"))
    chain.write(STEPS, notebook)
    seconds([KFHOST, "kale", "compile", notebook, "-o", pipeline])
    rounds = [measure(notebook, pipeline, scratch) for _ in range(ROUNDS)]

ours, sdk, sdk_loaded, bare = (min(column) / STEPS for column in zip(*rounds))
detail = f"a step: {milliseconds(ours)} here, {milliseconds(sdk)} SDK, {milliseconds(bare)} bare"
bar("overhead of a local step", detail, (ours - bare) * 1000, "<=", 20, " ms")
bar("overhead / that of the SDK", "", (ours - bare) / (sdk - bare), "<=", 0.5)
print(f"       the SDK's runner once it is loaded: {milliseconds(sdk_loaded - bare)} a step")
finish()
