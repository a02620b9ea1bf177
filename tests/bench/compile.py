"""Bar: compiling a notebook is 100 times faster than with Kale 2.3.0, as whole processes.

Kale must succeed, and the KFP SDK must load what kfhost made.
"""
import os
import tempfile

from measure import KALE, KFHOST, ROOT, SDK_PYTHON, bar, finish, median, milliseconds, seconds

NOTEBOOK = os.path.join(ROOT, "examples", "notebooks", "digits.ipynb")
LOAD = "import sys; from kfp import components; components.load_component_from_file(sys.argv[1])"

with tempfile.TemporaryDirectory() as scratch:
    target = os.path.join(scratch, "digits.yaml")
    seconds([KALE, "--nb", NOTEBOOK], cwd=scratch)  # fills the caches of Python and of the disk
    kale = median([KALE, "--nb", NOTEBOOK], 5, cwd=scratch)
    ours = median([KFHOST, "kale", "compile", NOTEBOOK, "-o", target], 50)
    seconds([SDK_PYTHON, "-c", LOAD, target])

bar("Kale's compile / ours", f"{milliseconds(kale)} and {milliseconds(ours)}", kale / ours, ">=", 100)
finish()
