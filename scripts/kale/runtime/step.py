"""Runs one step of a notebook's pipeline: Python 3.8 or newer, standard library only.

main(spec, executor_input) defines what the step needs (spec["setup"]), loads the values that come
in, runs the step's cells as a notebook would, and saves the values that go out. What is rarely
needed is imported late, as every step pays for the start.
"""
import ast
import builtins
import hashlib
import io
import json
import os
import pickle
import sys
import types

FORMAT = 1
MINOR = "%d.%d" % sys.version_info[:2]


class StepError(Exception):
    """Something that is said to people without a traceback."""


# --- where artifacts are ---------------------------------------------------------------------------

MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/", "oci://": "/oci/", "file://": ""}


def local_path(uri):
    for scheme, mount in MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri[len(scheme):]
    return uri


def artifact_of(executor_input, direction, key):
    return executor_input[direction]["artifacts"][key]["artifacts"][0]


def write_file(path, *pieces):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


# --- values -------------------------------------------------------------------------------------------

IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), type, tuple, frozenset,
             types.BuiltinFunctionType, types.ModuleType, range, types.CodeType)


def new_function(code, name, cells):
    """A function of this step's __main__; its cells are filled by set_function."""
    import marshal
    closure = tuple(types.CellType() for _ in range(cells))
    return types.FunctionType(marshal.loads(code), main_module().__dict__, name, None, closure)


def set_function(function, state):
    defaults, keyword_defaults, qualname, attributes, cells, doc = state
    function.__defaults__ = defaults
    function.__kwdefaults__ = keyword_defaults
    function.__qualname__ = qualname
    function.__doc__ = doc
    function.__dict__.update(attributes)
    for cell, contents in zip(function.__closure__ or (), cells):
        if contents:
            cell.cell_contents = contents[0]


def cell_contents(cell):
    try:
        return [cell.cell_contents]
    except ValueError:  # not filled yet
        return []


class Pickler(pickle.Pickler):
    """Functions of the notebook go by value: their code, defaults and closure."""

    def __init__(self, file):
        super().__init__(file, protocol=4)
        self.has_code = False

    def reducer_override(self, value):
        if type(value) is not types.FunctionType or value.__globals__ is not main_module().__dict__:
            return NotImplemented
        import marshal
        self.has_code = True
        cells = [cell_contents(cell) for cell in value.__closure__ or ()]
        state = (value.__defaults__, value.__kwdefaults__, value.__qualname__, value.__dict__, cells, value.__doc__)
        arguments = (marshal.dumps(value.__code__), value.__name__, len(cells))
        return new_function, arguments, state, None, None, set_function


def dump(values, what):
    file = io.BytesIO()
    pickler = Pickler(file)
    try:
        pickler.dump(values)
    except Exception as error:
        raise StepError("%s cannot be handed to another step: %s: %s" % (what, type(error).__name__, error))
    return pickler, file.getvalue()


def shared_objects(pickler):
    """Ids of the objects in a pickle that could be changed in place."""
    return {key for key, (_, value) in pickler.memo.copy().items() if not isinstance(value, IMMUTABLE)}


def group_names(names, reached):
    """Names whose values reach a common object, together; in the order of names."""
    groups = []
    for name in names:
        touching = [group for group in groups if group[1] & reached[name]]
        merged = ([name], set(reached[name]))
        for group in touching:
            groups.remove(group)
            merged = (group[0] + merged[0], merged[1] | group[1])
        groups.append(merged)
    return [sorted(group[0]) for group in groups]


def save_values(spec, executor_input, namespace):
    keys = {value["name"]: value["artifact"] for value in spec["values_out"]}
    picklers, payloads, reached = {}, {}, {}
    for name in keys:
        if name not in namespace:
            raise StepError("'%s' is wanted by a later step, but this step did not make it" % name)
        holder = {name: namespace[name]}
        picklers[name], payloads[name] = dump(holder, "'%s'" % name)
        reached[name] = shared_objects(picklers[name]) - {id(holder)}
    for names in group_names(sorted(keys), reached):
        pickler, payload = picklers[names[0]], payloads[names[0]]
        if len(names) > 1:
            pickler, payload = dump({name: namespace[name] for name in names}, ", ".join(names))
        header = {"format": FORMAT, "python": MINOR, "type": "pickle+code" if pickler.has_code else "pickle",
                  "sha256": hashlib.sha256(payload).hexdigest(), "names": names}
        line = json.dumps(header, sort_keys=True).encode() + b"\n"
        for name in names:
            write_file(local_path(artifact_of(executor_input, "outputs", keys[name])["uri"]), line, payload)


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except AttributeError:
            if module != "__main__":
                raise
            raise StepError("the value needs '%s', which is not defined in this step" % name)


def read_artifact(path, name):
    try:
        with open(path, "rb") as file:
            header, payload = json.loads(file.readline()), file.read()
    except (OSError, ValueError) as error:
        raise StepError("'%s' cannot be read from %s: %s" % (name, path, error))
    if header.get("format") != FORMAT:
        raise StepError("'%s' has format %s, this step reads %s" % (name, header.get("format"), FORMAT))
    if hashlib.sha256(payload).hexdigest() != header["sha256"]:
        raise StepError("'%s' is damaged: %s is not what was saved" % (name, path))
    if header["type"] == "pickle+code" and header["python"] != MINOR:
        raise StepError("'%s' holds a function of Python %s and cannot be loaded by Python %s"
                        % (name, header["python"], MINOR))
    return header, payload


def load_values(spec, executor_input, namespace):
    loaded = {}
    for value in spec["values_in"]:
        name = value["name"]
        path = local_path(artifact_of(executor_input, "inputs", value["artifact"])["uri"])
        header, payload = read_artifact(path, name)
        group = loaded.get(header["sha256"])
        if group is None:
            try:
                group = loaded[header["sha256"]] = Unpickler(io.BytesIO(payload)).load()
            except StepError:
                raise
            except Exception as error:
                raise StepError("'%s' cannot be loaded: %s: %s" % (name, type(error).__name__, error))
        namespace[name] = group[name]


# --- the report -----------------------------------------------------------------------------------------

class Report:
    """What the cells display, as HTML."""

    def __init__(self):
        self.pieces = []

    def add(self, cell, html):
        self.pieces.append('<div class="output" data-cell="%s">%s</div>' % (cell, html))

    def text(self):
        return "".join(self.pieces)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def image_html(data, kind):
    import base64
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    return '<img src="data:image/%s;base64,%s">' % (kind, data)


RICH = (("_repr_html_", lambda text: text), ("_repr_svg_", lambda text: text),
        ("_repr_png_", lambda data: image_html(data, "png")), ("_repr_jpeg_", lambda data: image_html(data, "jpeg")),
        ("_repr_markdown_", lambda text: "<pre>%s</pre>" % escape(text)),
        ("_repr_latex_", lambda text: "<pre>%s</pre>" % escape(text)))


def rich_html(value):
    for method, wrap in RICH:
        function = getattr(value, method, None)
        if function is None or isinstance(value, type):
            continue
        try:
            result = function()
        except Exception:  # as IPython: the next form is tried
            continue
        if isinstance(result, tuple):
            result = result[0]
        if result is not None:
            return wrap(result)
    return None


class Notebook:
    """Runs cells as a notebook does."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.report = Report()
        self.cell = 0

    def display(self, *values, **_):
        for value in values:
            html = rich_html(value)
            if html is None:
                print(repr(value))
                html = "<pre>%s</pre>" % escape(repr(value))
            self.report.add(self.cell, html)

    def figures(self):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            file = io.BytesIO()
            pyplot.figure(number).savefig(file, format="png", bbox_inches="tight")
            self.report.add(self.cell, image_html(file.getvalue(), "png"))
        pyplot.close("all")

    def execute(self, code):
        import inspect
        result = eval(code, self.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            import asyncio
            result = asyncio.run(result)
        return result

    def run(self, piece, shows):
        import linecache
        self.cell = piece["cell"]
        name = "cell %s" % piece["cell"]
        source = "\n" * (piece["line"] - 1) + piece["source"]
        known = linecache.cache.get(name)
        lines = source.splitlines(True)
        if known is None or shows or len(known[2]) < len(lines):
            linecache.cache[name] = (len(source), None, lines, name)
        tree = ast.parse(source, name)
        flags = getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)
        last = None
        if shows and tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        self.execute(compile(tree, name, "exec", flags, dont_inherit=True))
        if last is not None:
            value = self.execute(compile(last, name, "eval", flags, dont_inherit=True))
            if value is not None:
                self.namespace["_"] = value
                self.display(value)
        if shows:
            self.figures()


class Shell:
    """As much of IPython's shell as translated magics and shell lines ask for."""

    def __init__(self, namespace):
        self.user_ns = namespace

    def system(self, command):
        import subprocess
        sys.stdout.flush()
        code = subprocess.call(command.format(**self.user_ns) if "{" in command else command, shell=True)
        if code != 0:
            print("the command ended with %d: %s" % (code, command), file=sys.stderr)

    def getoutput(self, command):
        import subprocess
        return subprocess.run(command, shell=True, stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines()

    def writefile(self, path, text):
        with open(path.strip(), "w") as file:
            file.write(text)

    def run_line_magic(self, name, line):
        if name == "cd":
            os.chdir(os.path.expanduser(line.strip() or "~"))
        elif name == "pwd":
            return os.getcwd()
        elif name in ("env", "set_env") and line.strip():
            key, _, value = line.strip().replace(" ", "=", 1).partition("=")
            os.environ[key] = value.strip()
        elif name == "env":
            return dict(os.environ)
        elif name == "pip":
            self.system("%s -m pip %s" % (sys.executable, line))
        return None


# --- the step -------------------------------------------------------------------------------------------

def main_module():
    return sys.modules["__main__"]


def new_main():
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
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


def tell(error):
    """The traceback of the notebook's own frames."""
    import traceback
    if isinstance(error, StepError):
        print("error: %s" % error, file=sys.stderr)
        return
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == "<kfhost step>":
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def is_there(requirement):
    """Whether a package is installed, in the wanted version when that is a plain ==."""
    import re
    from importlib import metadata
    match = re.match(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:==\s*([A-Za-z0-9.+!_-]+))?$", requirement)
    if not match:
        return False
    try:
        return match.group(2) in (None, metadata.version(match.group(1)))
    except metadata.PackageNotFoundError:
        return False


def install_packages():
    """What the step's packages tags name and the image lacks, into a folder of this process."""
    missing = [word for word in os.environ.get("KFHOST_PACKAGES", "").split() if not is_there(word)]
    if not missing:
        return
    import subprocess
    import tempfile
    folder = tempfile.mkdtemp(prefix="packages-")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--target", folder, *missing]
    if subprocess.call(command) != 0:
        raise StepError("the packages %s cannot be installed" % ", ".join(missing))
    sys.path.insert(0, folder)


def change_directory():
    folder = os.environ.get("KFHOST_WORKING_DIR")
    if folder and os.path.isdir(folder):
        os.chdir(folder)


def run_step(spec, executor_input):
    change_directory()
    install_packages()
    namespace = new_main()
    notebook = Notebook(namespace)
    shell = Shell(namespace)
    builtins.display = notebook.display
    builtins.get_ipython = lambda: shell
    for piece in spec["setup"]:
        notebook.run(piece, False)
    bind_parameters(spec, executor_input, namespace)
    load_values(spec, executor_input, namespace)
    for piece in spec["code"]:
        notebook.run(piece, True)
    metrics = read_metrics(spec, namespace)
    save_values(spec, executor_input, namespace)
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
        tell(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
