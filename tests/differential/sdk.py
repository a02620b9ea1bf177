"""A seeded tenth of the differential test's cases, compiled as files and run by the KFP SDK's local runner. TAP.

    build/sdk/bin/python tests/differential/sdk.py [--seed N] [--sample N] [--generated N]
"""
import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile

from kfp import components, local

import differential

PROGRAMS_ALONE = {"random_state", "environment_state"}  # what they do stays in a process


def notebook_of(case):
    cells = []
    for block in case["blocks"]:
        for number in range(block["first"], block["last"] + 1):
            tags = []
            if number == block["first"]:
                tags = [block["tag"]] if "tag" in block else ["step:" + block["step"]]
                tags += ["prev:" + name for name in block["prev"]]
            cells.append({"cell_type": "code", "metadata": {"tags": tags}, "outputs": [],
                          "source": case["statements"][number - 1]})
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def run_case(case, directory):
    """The values that the last step shows, as the SDK's runner has them."""
    notebook, pipeline, shown = (os.path.join(directory, name) for name in ("n.ipynb", "p.yaml", "shown"))
    with open(notebook, "w") as file:
        json.dump(notebook_of(case), file)
    command = [differential.KFHOST, "kale", "compile", notebook, "-o", pipeline]
    done = subprocess.run(command + (["--infer"] if case["infer"] else []), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    os.environ["KF_SHOW"] = shown
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=os.path.join(directory, "root"),
               raise_on_error=True)
    components.load_component_from_file(pipeline)()
    with open(shown) as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default="1")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--generated", type=int, default=200)
    arguments = parser.parse_args()
    arguments.shapes, arguments.only = 20, None
    logging.disable(logging.ERROR)
    os.environ["PYTHONPATH"] = differential.HERE
    programs = [p for p in differential.read_programs(arguments)
                if not p.header.get("needs") and p.name not in PROGRAMS_ALONE]
    worker = differential.Worker([])
    for program in programs:
        program.prepare(worker)
    worker.close()
    by_name = {program.name: program for program in programs}
    whole = argparse.Namespace(seed=arguments.seed, shapes=20, sample=None)
    cases = differential.Run(whole).cases(programs)
    cases = random.Random(arguments.seed).sample(cases, arguments.sample or len(cases) // 10)
    passed = failed = 0
    for case, compiled in zip(cases, differential.compile_cases(cases)):
        case["blocks"] = compiled["blocks"]
        program = by_name[case["id"].rsplit("/", 1)[0]]
        if compiled.get("tasks") is None or any(d["code"] in differential.TELLING for d in compiled["diagnostics"]):
            continue
        wrong = None
        with tempfile.TemporaryDirectory() as directory:
            try:
                shown = run_case(case, directory)
                if not differential.plain(program.expected).endswith(differential.plain(shown)):
                    wrong = differential.difference(program.expected[-len(shown):], shown)
            except Exception as error:  # the case is named, the next one goes on
                wrong = str(error)
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print("%s %d - %s" % ("not ok" if wrong else "ok", passed + failed, case["id"]), flush=True)
        if wrong:
            print("  " + wrong.replace("\n", "\n  "))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
