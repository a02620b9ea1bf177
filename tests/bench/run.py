"""Bars: a whole run on this machine is faster than with the SDK's local runner, on all examples and on chains.

Both run the same compiled notebook, as whole processes, with the same interpreter and every step anew. The steps of the
examples do real work, which costs the same; the chains do next to none. Kale 2.3.0 has no local run: its pipelines install
Kale and the SDK with pip in every step.
"""
import glob
import os
import tempfile

import chain
from measure import KFHOST, ROOT, SDK_PYTHON, bar, finish, milliseconds, seconds

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = sorted(glob.glob(os.path.join(ROOT, "examples", "notebooks", "*.ipynb")))
BROKEN = {"messy.ipynb"}  # on purpose
CHAINS = (10, 50, 200)


def run_both(notebook, scratch):
    pipeline = os.path.join(scratch, "pipeline.yaml")
    seconds([KFHOST, "kale", "compile", notebook, "-o", pipeline])
    folder = os.path.dirname(notebook)
    ours = seconds([KFHOST, "kale", "run", notebook, "--json", "--fresh", "--python", SDK_PYTHON, "--runs",
                    os.path.join(scratch, "runs")])
    root = tempfile.mkdtemp(dir=scratch)
    return ours, seconds([SDK_PYTHON, os.path.join(HERE, "sdk_run.py"), pipeline, root], cwd=folder)


with tempfile.TemporaryDirectory() as scratch:
    for notebook in EXAMPLES:
        name = os.path.basename(notebook)
        if name in BROKEN:
            continue
        ours, sdk = run_both(notebook, scratch)
        bar(f"the SDK's run / ours, {name[:-len('.ipynb')]}", f"{milliseconds(sdk)} and {milliseconds(ours)}", sdk / ours,
            ">=", 1)
    steps = {}
    for length in CHAINS:
        notebook = os.path.join(scratch, f"chain-{length}.ipynb")
        chain.write(length, notebook)
        ours, sdk = run_both(notebook, scratch)
        steps[length] = ours / length
        bar(f"the SDK's run / ours, {length} steps", f"{milliseconds(sdk)} and {milliseconds(ours)}", sdk / ours, ">=", 1)

bar("a step of 200 / a step of 10", f"{milliseconds(steps[200])} and {milliseconds(steps[10])}", steps[200] / steps[10],
    "<=", 1.5)
finish()
