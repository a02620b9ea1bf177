"""What kfp.run makes of pipelines that the SDK compiled is what the SDK's local runner makes of them. TAP.

    build/sdk/bin/python tests/sdk/control_flow_test.py [CASE…]
"""
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback

from kfp import compiler, local

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KFHOST = os.path.join(ROOT, "build", "release", "kfhost")
RUN_IR = os.path.join(ROOT, "tests", "sdk", "run_ir.lua")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import more_pipelines  # noqa: E402
from pipelines import CASES  # noqa: E402

# What the cases with `differs` must come to here, where the SDK's runner is no oracle.
WANTED = {
    "retried_until_it_works": {"Output": 2},
    "retried_in_vain": {},
    "condition_on_a_quote": {"Output": "YES!"},
    "dictionary_between_steps": {"Output": 'a "quoted" {{$}} text'},
    "optional_inputs_left_out": {"Output": "None None"},
    **more_pipelines.WANTED,
}
# What kfp.validate says of a pipeline, though the SDK compiled it: a server refuses the one, leaves the other as it is.
FINDINGS = {
    "loop_over_artifacts": ["error: root.dag.tasks.for-loop-1.artifactIterator: artifact iterators are not implemented"],
    "container_with_joined_words": [
        "warning: deploymentSpec.executors.exec-joined.container.args[0]: Concat is never replaced by the server"
    ],
}
# What is refused before anything starts, and why.
REFUSED = {"condition_with_a_quote": "a string does not end in the expression"}


class Refused(Exception):
    """kfp.run raised: nothing was started."""


def run_here(path, params, root):
    done = subprocess.run(
        [KFHOST, RUN_IR, path, json.dumps(params), root, sys.executable], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Refused(f"kfhost ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def run_with_sdk(pipeline, params, root):
    """(state, outputs) of the SDK's runner."""
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
    try:
        task = pipeline(**params)
    except RuntimeError as error:
        if "finished with status" not in str(error):
            raise
        return "failed", {}
    return "succeeded", dict(task.outputs)


def check_refused(path, params, root, reason):
    try:
        result = run_here(path, params, root)
    except Refused as error:
        assert reason in str(error), error
        return
    raise AssertionError(f"it was run: {result}")


def check_case(name, scratch):
    pipeline, params, fails, differs = CASES[name]
    path = os.path.join(scratch, name + ".yaml")
    compiler.Compiler().compile(pipeline, path)
    if "folder" in (pipeline.component_spec.inputs or {}):
        params = dict(params, folder=tempfile.mkdtemp(dir=scratch))
    root = os.path.join(scratch, name)
    if name in REFUSED:
        return check_refused(path, params, root, REFUSED[name])
    ours = run_here(path, params, root)
    if differs:
        theirs = ("failed" if fails else "succeeded", WANTED[name])
    else:
        theirs = run_with_sdk(pipeline, params, os.path.join(scratch, name + ".sdk"))
    assert theirs[0] == ("failed" if fails else "succeeded"), f"the SDK's run {theirs[0]}"
    got = (ours["state"], ours["outputs"])
    assert ours["findings"] == FINDINGS.get(name, []), ours["findings"]
    assert got == theirs, f"kfhost has {got}, the SDK {theirs}; tasks: {ours['tasks']}"


def run_case(job):
    """(name, problem or None); in a process of its own, as the SDK's runner is global."""
    name, scratch = job
    logging.disable(logging.WARNING)
    with open(os.devnull, "w") as quiet:
        stdout, sys.stdout = sys.stdout, quiet
        try:
            check_case(name, scratch)
            return name, None
        except Exception:  # whatever it is, the next case goes on
            return name, traceback.format_exc()
        finally:
            sys.stdout = stdout


def main():
    names = sys.argv[1:] or list(CASES)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch, multiprocessing.Pool(2) as pool:
        for number, (name, problem) in enumerate(pool.imap(run_case, [(name, scratch) for name in names]), 1):
            print(f"{'not ' if problem else ''}ok {number} - {name.replace('_', ' ')}", flush=True)
            if problem:
                failed += 1
                print("  " + problem.replace("\n", "\n  "), flush=True)
    print(f"1..{len(names)}")
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
