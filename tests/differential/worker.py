"""A warm interpreter that runs steps: forks for each, and runs the real runtime program in the child."""
import base64
import json
import os
import shutil
import signal
import sys
import tempfile
import types
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
RUNTIME = os.path.join(HERE, "..", "..", "scripts", "kale", "runtime")
SECONDS = 30


def joined(*names):
    texts = []
    for name in names:
        with open(os.path.join(RUNTIME, name + ".py")) as file:
            texts.append(file.read())
    return "\n\n".join(texts)


def load_runtime():
    program = joined("others", "pickling", "arrays", "formats", "values", "notebook", "environment", "step")
    program += "\n\nSHELL.append(%r)" % joined("outputs", "measuring", "shell")
    module = sys.modules["kfhost_step"] = types.ModuleType("kfhost_step")
    exec(compile(program, "<kfhost step>", "exec"), module.__dict__)
    return module


def in_child(function, directory):
    """Runs the function in a fork; its exit code, output and error output."""
    out, err = (os.path.join(directory, name) for name in ("stdout", "stderr"))
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            for number, path in ((1, out), (2, err)):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(descriptor, number)
            function()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
    status = os.waitpid(pid, 0)[1]
    texts = []
    for path in (out, err):
        with open(path, errors="replace") as file:
            texts.append(file.read())
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), texts[0], texts[1]


def run_linear(statements):
    """All cells in one process, as a notebook shows them; independent of the runtime program."""
    import ast
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=__builtins__, __annotations__={})  # as Python has them there
    sys.modules["__main__"] = module
    namespace = module.__dict__
    import __future__
    import inspect
    import linecache
    futures = [ast.PyCF_ALLOW_TOP_LEVEL_AWAIT]  # as IPython: a future statement holds for the cells after it

    def execute(code):
        for name in __future__.all_feature_names:
            futures[0] |= code.co_flags & getattr(__future__, name).compiler_flag
        result = eval(code, namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            import asyncio
            result = asyncio.run(result)
        return result
    for number, source in enumerate(statements, 1):
        name = "cell %d" % number
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        tree = ast.parse(source, name)
        last = tree.body.pop().value if isinstance(tree.body[-1], ast.Expr) else None
        execute(compile(tree, name, "exec", futures[0], True))
        if last is not None:
            value = execute(compile(ast.Expression(last), name, "eval", futures[0], True))
            if value is not None:
                print(repr(value))


def names_after(statements):
    """What run_linear leaves in the namespace, one name a line, into the file of errors."""
    run_linear(statements)
    namespace = sys.modules["__main__"].__dict__
    for name, value in namespace.items():
        if not name.startswith("_") and not isinstance(value, types.ModuleType):
            print(name, file=sys.stderr)


def executor_input(task, places, directory):
    inputs = {}
    for key, (producer, output) in task["inputs"].items():
        inputs[key] = {"artifacts": [{"name": key, "uri": places[producer, output]}]}
    outputs = {}
    for key in task["outputs"]:
        path = places[task["key"], key] = os.path.join(directory, task["key"], key)
        outputs[key] = {"artifacts": [{"name": key, "uri": path, "type": {"schemaTitle": "system.Dataset"}}]}
    return {"inputs": {"artifacts": inputs, "parameterValues": task.get("params", {})},
            "outputs": {"artifacts": outputs}}


def run_tasks(runtime, tasks, directory):
    places, output = {}, []
    for task in tasks:
        given = executor_input(task, places, directory)
        spec = json.loads(zlib.decompress(base64.b64decode(task["spec"])))
        code, out, err = in_child(lambda: runtime.main(spec, given), directory)
        output.append(out)
        if code != 0:
            return {"code": code, "output": "".join(output), "error": err, "step": task["key"]}
    return {"code": 0, "output": "".join(output), "error": ""}


def handle(runtime, request):
    directory = tempfile.mkdtemp(prefix="differential-")
    os.chdir(directory)
    try:
        if request["do"] == "names":
            code, out, err = in_child(lambda: names_after(request["statements"]), directory)
            return {"code": code, "output": out, "error": err}
        if request["do"] == "linear":
            code, out, err = in_child(lambda: run_linear(request["statements"]), directory)
            return {"code": code, "output": out, "error": err}
        return run_tasks(runtime, request["tasks"], directory)
    finally:
        os.chdir("/")
        shutil.rmtree(directory, ignore_errors=True)


def main():
    os.environ["MPLBACKEND"] = "Agg"
    sys.path.insert(0, HERE)
    runtime = load_runtime()
    for module in sys.argv[1:]:
        __import__(module)
    for line in sys.stdin:
        request = json.loads(line)
        answer = handle(runtime, request)
        answer["id"] = request.get("id")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
