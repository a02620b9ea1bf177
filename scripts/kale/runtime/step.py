"""Runs one step of a notebook's pipeline: Python 3.8 or newer, standard library only.

main(spec, executor_input) defines what the step needs (spec["setup"]), loads the values that come
in, runs the step's cells as a notebook would, and saves the values that go out. What is rarely
needed is imported late, as every step pays for the start. The files of this folder are one program:
others.py, pickling.py, arrays.py, formats.py, values.py, notebook.py, environment.py and this one, in this order,
with that of outputs.py, measuring.py and shell.py, where a cell of the pipeline asks for it, as a text that is compiled
when it is needed.
"""
import builtins
import json
import os
import sys
import types


def new_main():
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        module.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = module
    return module.__dict__


def bind_parameters(spec, executor_input, namespace):
    values = executor_input.get("inputs", {}).get("parameterValues", {})
    types_by_name = {"int": int, "float": float, "str": str, "bool": bool}
    for parameter in spec["params"]:
        value = values[parameter["key"]]
        if parameter.get("optional") and value in ("", None):
            namespace[parameter["name"]] = None
        else:
            namespace[parameter["name"]] = types_by_name[parameter["type"]](value)


def read_metrics(spec, namespace):
    import datetime
    import math
    metrics = {}
    for metric in spec["metrics"]:
        name = metric["name"]
        try:
            value = float(namespace[name])
        except (KeyError, TypeError, ValueError):
            raise StepError("the metric '%s' is no number: %r" % (name, namespace.get(name)))
        if not math.isfinite(value):
            print("the metric '%s' is %s and is left out" % (name, value), file=sys.stderr)
            continue
        metrics[metric["key"]] = value
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        print("KFHOST-METRIC " + json.dumps({"name": name, "value": value, "step": spec["step"], "time": now}))
    return metrics


def write_outputs(executor_input, metrics, html):
    outputs = executor_input.get("outputs", {})
    artifacts = {}
    for key, entry in outputs.get("artifacts", {}).items():
        artifact = dict(entry["artifacts"][0])
        path = local_path(artifact["uri"])
        if key == "metrics":
            artifact["metadata"] = metrics
            write_file(path, json.dumps(metrics, sort_keys=True).encode())
        elif key == "report":
            write_file(path, ('<!doctype html><meta charset="utf-8">' + html).encode())
        artifacts[key] = {"artifacts": [{k: artifact[k] for k in ("name", "uri", "type", "metadata") if k in artifact}]}
    if outputs.get("outputFile"):
        write_file(outputs["outputFile"], json.dumps({"artifacts": artifacts}).encode())


def leave_out_own(told, seen):
    import traceback
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if frame.filename != "<kfhost step>"])
    for inner in [told.__cause__, told.__context__] + list(getattr(told, "exceptions", None) or ()):
        leave_out_own(inner, seen)


def tell(error):
    """The traceback of the notebook's own frames."""
    import traceback
    if isinstance(error, StepError):
        print("error: %s" % error, file=sys.stderr)
        return
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    leave_out_own(told, set())
    print("".join(told.format()), end="", file=sys.stderr)


def definitions_of(spec, notebook):
    """What of this step's own code and setup other steps can make again."""
    known = {}
    lines = {piece["cell"]: piece["source"].split("\n") for piece in spec["code"]}
    for d in spec.get("definitions", ()):
        source = "\n".join(lines[d["cell"]][d["line"] - 1:d["last_line"]]) + "\n"
        known[d["name"]] = {"cell": d["cell"], "line": d["line"], "source": source, "needs": d["needs"]}
    for piece in spec["setup"]:
        for name in piece.get("names", ()):
            known.setdefault(name, {"cell": piece["cell"], "line": piece["line"], "source": piece["source"],
                                    "needs": piece["needs"]})
    return Definitions(known, lambda definition: notebook.run(definition, False))


def run_cells(spec, notebook):
    try:
        for piece in spec["code"]:
            notebook.run(piece, True)
    except SystemExit as exit:
        if exit.code not in (None, 0):
            raise
        print("exit() ends this step; what it has made is handed on", file=sys.stderr)


def run_step(spec, executor_input):
    change_directory()
    install_packages()
    namespace = new_main()
    notebook = Notebook(namespace)
    builtins.display = notebook.display
    if SHELL:
        builtins.get_ipython = lambda: shell_of(notebook)
    if any("IPython" in piece["source"] for piece in spec["setup"] + spec["code"]):
        use_ipython_display(notebook)
    definitions = definitions_of(spec, notebook)
    bind_parameters(spec, executor_input, namespace)
    for piece in spec["setup"]:
        notebook.run(piece, False)
    load_values(spec, executor_input, namespace, definitions)
    run_cells(spec, notebook)
    metrics = read_metrics(spec, namespace)
    Saver(spec, executor_input, namespace, definitions).save()
    write_outputs(executor_input, metrics, notebook.report.text())


def main(spec, executor_input):
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.stdout.reconfigure(line_buffering=True)
    try:
        run_step(spec, executor_input)
    except SystemExit as exit:
        if exit.code not in (None, 0):
            raise
    except BaseException as error:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        tell(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
