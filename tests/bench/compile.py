"""Bars: compiling a notebook is 100 times faster than with Kale 2.3.0, and than the same pipeline with the KFP SDK.

Whole processes, for every example notebook that Kale takes, and for chains of steps. Kale must succeed, and the SDK
must load what kfhost made. Kale's time grows with about the cube of the steps, so it gets short chains only.
"""
import glob
import os
import tempfile

import chain
from measure import KALE, KFHOST, ROOT, SDK_PYTHON, attempt, bar, finish, median, milliseconds, seconds

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = sorted(glob.glob(os.path.join(ROOT, "examples", "notebooks", "*.ipynb")))
BROKEN = {"messy"}  # on purpose
KALE_CHAINS, SDK_CHAINS = (10, 50), (10, 50, 200, 400, 800)
LOAD = "import sys; from kfp import components\nfor path in sys.argv[1:]: components.load_component_from_file(path)"


def compile_here(notebook, target, runs=9):
    return median([KFHOST, "kale", "compile", notebook, "-o", target], runs)


with tempfile.TemporaryDirectory() as scratch:
    made, left_out = [], []
    seconds([KALE, "--help"])  # fills the caches of Python and of the disk
    notebooks = {os.path.basename(path)[:-len(".ipynb")]: path for path in EXAMPLES}
    for length in KALE_CHAINS:
        notebooks[f"chain of {length}"] = os.path.join(scratch, f"chain-{length}.ipynb")
        chain.write(length, notebooks[f"chain of {length}"])
    for name, notebook in notebooks.items():
        if name in BROKEN:
            continue
        target = os.path.join(scratch, name.replace(" ", "-") + ".yaml")
        ours = compile_here(notebook, target)
        made.append(target)
        kale = attempt([KALE, "--nb", notebook], cwd=scratch)
        if kale is None:
            left_out.append(name)
            continue
        bar(f"Kale's compile / ours, {name}", f"{milliseconds(kale)} and {milliseconds(ours)}", kale / ours, ">=", 100)
    for length in SDK_CHAINS:
        notebook, target = (os.path.join(scratch, f"sdk-{length}.{kind}") for kind in ("ipynb", "yaml"))
        chain.write(length, notebook)
        ours = compile_here(notebook, target, 3)
        sdk = seconds([SDK_PYTHON, os.path.join(HERE, "sdk_chain.py"), str(length), os.path.join(scratch, "of-sdk.yaml")])
        bar(f"the SDK's compile / ours, {length} steps", f"{milliseconds(sdk)} and {milliseconds(ours)}", sdk / ours,
            ">=", 5)
    seconds([SDK_PYTHON, "-c", LOAD, *made])

print(f"       the SDK loads all {len(made)}; Kale refuses {', '.join(left_out) or 'none'}")
finish()
