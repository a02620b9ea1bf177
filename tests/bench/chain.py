"""Writes synthetic notebooks: chains of small steps that use data of the step before and of the first.

    python3 tests/bench/chain.py 400 > chain.ipynb
"""
import json
import sys

HELPER = "def helper(value):\n    return value + 1\n"


def cell(tags, source, number):
    return {
        "cell_type": "code", "execution_count": None, "id": f"cell-{number}", "metadata": {"tags": tags},
        "outputs": [], "source": source.splitlines(keepends=True),
    }


def chain(length):
    """A notebook of `length` steps: step i calls the helper with the value of step i-1 and of step 0."""
    cells = [cell(["functions"], HELPER, 0), cell(["step:s0"], "base = 1\nv0 = helper(base)\n", 1)]
    for i in range(1, length):
        source = f"v{i} = helper(v{i - 1}) + base\n"
        cells.append(cell([f"step:s{i}", f"prev:s{i - 1}"], source, i + 1))
    metadata = {"kubeflow_notebook": {"pipeline_name": "chain", "experiment_name": "bench"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write(length, path):
    with open(path, "w") as file:
        json.dump(chain(length), file)


if __name__ == "__main__":
    json.dump(chain(int(sys.argv[1])), sys.stdout)
