"""A seeded tenth of the differential test's cases, compiled as files and run by the KFP SDK's local runner. TAP.

    build/sdk/bin/python tests/differential/sdk.py [--seed N] [--sample N] [--generated N] [--jobs N]
"""
import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile

from kfp import components, local

import differential


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


def judge(program, case, compiled):
    """"equal", "named" (a finding says that it may differ), "refused", or what is wrong."""
    if compiled.get("tasks") is None:
        return "refused"
    telling = any(d["code"] in differential.TELLING for d in compiled["diagnostics"])
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                shown = run_case(case, directory)
        except Exception as error:  # the case is named, the next one goes on
            return "named" if telling else "failed: %s" % error
        finally:
            os.chdir("/")
    if differential.plain(program.expected).endswith(differential.plain(shown)):
        return "equal"
    return "named" if telling else "differs: " + differential.difference(program.expected[-len(shown):], shown)


def read_programs(arguments):
    """Those whose libraries the SDK's environment has, with what they show in one process."""
    arguments.shapes, arguments.only = 20, None
    programs = [p for p in differential.read_programs(arguments) if not p.header.get("needs")]
    worker = differential.Worker([])
    for program in programs:
        program.prepare(worker)
    worker.close()
    return programs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default="1")
    parser.add_argument("--sample", type=int, help="so many cases instead of a tenth of all")
    parser.add_argument("--generated", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    os.environ["PYTHONPATH"] = differential.HERE
    programs = read_programs(arguments)
    by_name = {program.name: program for program in programs}
    whole = argparse.Namespace(seed=arguments.seed, shapes=20, sample=None)
    cases = differential.Run(whole).cases(programs)
    cases = random.Random(arguments.seed).sample(cases, arguments.sample or len(cases) // 10)
    work = []
    for case, compiled in zip(cases, differential.compile_cases(cases)):
        case["blocks"] = compiled["blocks"]
        work.append((by_name[case["id"].rsplit("/", 1)[0]], case, compiled))
    counts, wrong = {"equal": 0, "named": 0, "refused": 0}, 0
    with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
        for number, answer in enumerate(pool.imap(judge_work, work), 1):
            is_right = answer in counts
            counts[answer if is_right else "equal"] += is_right
            wrong += not is_right
            print("%s %d - %s" % ("ok" if is_right else "not ok", number, work[number - 1][1]["id"]), flush=True)
            if not is_right:
                print("  " + answer.replace("\n", "\n  "))
    print("# %d cases: %s" % (len(work), ", ".join("%d %s" % (n, k) for k, n in counts.items())))
    print("%d passed, %d failed" % (len(work) - wrong, wrong))
    return 1 if wrong or not counts["equal"] else 0


def judge_work(item):
    return judge(*item)


if __name__ == "__main__":
    sys.exit(main())
