"""The pipelines that kfhost compiles, in the hands of the KFP SDK. TAP.

For each example notebook: the SDK loads the compiled IR, its local runner runs it without a virtual
environment, and what comes out equals what `kfhost kale run` makes of the same notebook.

    build/sdk/bin/python tests/sdk/sdk_test.py
"""
import glob
import json
import logging
import os
import subprocess
import sys
import tempfile
import traceback

from kfp import components, local

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KFHOST = os.path.join(ROOT, "build", "release", "kfhost")
EXAMPLES = os.path.join(ROOT, "examples", "notebooks")
FOR_CHECK_ONLY = {"messy.ipynb"}
HEADER_KEYS = {"format", "python", "type", "sha256", "names"}

results = []


def test(description, function, *arguments):
    """Runs one test, prints its TAP line and gives what it returned, None when it failed."""
    try:
        value = function(*arguments)
        results.append(True)
        print(f"ok {len(results)} - {description}", flush=True)
        return value
    except Exception:  # whatever it is, the next test goes on
        results.append(False)
        print(f"not ok {len(results)} - {description}")
        print("  " + traceback.format_exc().replace("\n", "\n  "), flush=True)
        return None


def kfhost(*words):
    done = subprocess.run([KFHOST, *words], cwd=EXAMPLES, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"kfhost {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def compile_and_load(notebook, target):
    kfhost("kale", "compile", notebook, "-o", target)
    return components.load_component_from_file(target)


def run_here(notebook, runs):
    """What `kale run` says, with the interpreter that the SDK's steps get."""
    said = json.loads(kfhost("kale", "run", notebook, "--json", "--runs", runs, "--python", sys.executable))
    assert said["state"] == "succeeded", said
    return said


def run_with_sdk(component, pipeline_root):
    local.init(
        runner=local.SubprocessRunner(use_venv=False), pipeline_root=pipeline_root, raise_on_error=True
    )
    before = os.getcwd()
    os.chdir(EXAMPLES)
    try:
        component()
    finally:
        os.chdir(before)
    return pipeline_root


def header_of(path):
    """The header of a value's artifact; None for any other file."""
    with open(path, "rb") as file:
        line = file.readline(100_000)
    try:
        header = json.loads(line)
    except ValueError:
        return None
    return header if isinstance(header, dict) and HEADER_KEYS <= header.keys() else None


def values_below(directory):
    """{(artifact's name, names in it): hash of the payload} of all values that crossed."""
    values = {}
    for folder, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            header = header_of(path)
            if header:
                values.setdefault((name, tuple(header["names"])), set()).add(header["sha256"])
    return values


def metrics_below(pipeline_root):
    """The metrics that the SDK's runner collected from its steps."""
    metrics = {}
    for path in glob.glob(os.path.join(pipeline_root, "**", "executor_output.json"), recursive=True):
        with open(path) as file:
            artifacts = json.load(file).get("artifacts", {})
        for output in artifacts.values():
            for artifact in output["artifacts"]:
                if artifact.get("type", {}).get("schemaTitle") == "system.Metrics":
                    metrics.update(artifact.get("metadata", {}))
    return metrics


def assert_equal(got, want):
    assert got == want, f"the SDK has {got!r}, kfhost has {want!r}"


def assert_same_values(sdk_root, run_directory):
    ours = values_below(run_directory)
    assert ours, f"no value was found below {run_directory}"
    assert_equal(values_below(sdk_root), ours)


def test_notebook(notebook, scratch):
    name = os.path.basename(notebook)
    target = os.path.join(scratch, name + ".yaml")
    component = test(f"{name}: the SDK loads what kfhost compiled", compile_and_load, notebook, target)
    ours = test(f"{name}: kfhost runs it", run_here, notebook, os.path.join(scratch, name + ".runs"))
    if not component or not ours:
        return
    sdk_root = os.path.join(scratch, name + ".sdk")
    if test(f"{name}: the SDK's local runner runs it", run_with_sdk, component, sdk_root):
        test(f"{name}: both have the same metrics", assert_equal, metrics_below(sdk_root), ours["metrics"])
        test(f"{name}: both have the same values", assert_same_values, sdk_root, ours["directory"])


def main():
    logging.disable(logging.INFO)
    notebooks = sorted(glob.glob(os.path.join(EXAMPLES, "*.ipynb")))
    notebooks = [path for path in notebooks if os.path.basename(path) not in FOR_CHECK_ONLY]
    with tempfile.TemporaryDirectory() as scratch:
        for notebook in notebooks:
            test_notebook(notebook, scratch)
    if not notebooks:
        test("there are example notebooks", assert_equal, 0, "some")
    print(f"1..{len(results)}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
