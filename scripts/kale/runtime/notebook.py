"""Runs cells as a notebook does: displays, figures, magics and shell lines.

With IPython installed, its shell does the magics; without it a small one stands in.
"""
import ast
import io
import os
import sys

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


def bundle_html(value):
    """The richest text of a _repr_mimebundle_."""
    bundle = getattr(value, "_repr_mimebundle_", None)
    if bundle is None or isinstance(value, type):
        return None
    try:
        found = bundle()
    except Exception:
        return None
    found = found[0] if isinstance(found, tuple) else found
    return found.get("text/html") if isinstance(found, dict) else None


def rich_html(value):
    html = bundle_html(value)
    if html is not None:
        return html
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


def plain_text(value, has_other=False):
    """What stands in the log for a value; one that has another form need not have this one."""
    for method in ("_repr_markdown_", "_repr_latex_"):  # these are text
        function = getattr(value, method, None)
        if function is not None and not isinstance(value, type) and type(value).__repr__ is object.__repr__:
            try:
                text = function()
            except Exception:
                continue
            if isinstance(text, str):
                return text
    try:
        return repr(value)
    except Exception:
        if not has_other:
            raise
        return "<%s>" % type(value).__name__


class Notebook:
    """Runs cells as a notebook does."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.report = Report()
        self.cell = 0
        self.results = ["", "", ""]  # what was displayed last, before, and before that
        self.futures = 0  # flags of future statements: they hold for the cells after theirs

    def display(self, *values, **_):
        for value in values:
            own = getattr(value, "_ipython_display_", None)
            if own is not None and not isinstance(value, type):
                own()
                continue
            html = rich_html(value)
            text = plain_text(value, html is not None)
            print(text)  # the log has everything as text, as far as it has one
            self.report.add(self.cell, html if html is not None else "<pre>%s</pre>" % escape(text))

    def figures(self):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            file = io.BytesIO()
            figure = pyplot.figure(number)
            figure.savefig(file, format="png", bbox_inches="tight")
            print("%s: the figure is in the report" % figure)
            self.report.add(self.cell, image_html(file.getvalue(), "png"))
        pyplot.close("all")

    def execute(self, code):
        import inspect
        result = eval(code, self.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            import asyncio
            result = asyncio.run(result)
        return result

    def note_futures(self, code):
        import __future__
        for name in __future__.all_feature_names:
            self.futures |= code.co_flags & getattr(__future__, name).compiler_flag

    def remember(self, value):
        """_, __ and ___, unless the notebook uses these names itself."""
        import builtins
        names = ("_", "__", "___")
        own = hasattr(builtins, "_") or any(self.namespace.get(name, known) is not known
                                            for name, known in zip(names, self.results))
        self.results = [value] + self.results[:2]
        if not own:
            self.namespace.update(zip(names, self.results))

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
        flags = getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0) | self.futures
        last = None
        if shows and tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        code = compile(tree, name, "exec", flags, dont_inherit=True)
        if code.co_flags & 0x1fe0000:
            self.note_futures(code)
        self.execute(code)
        if last is not None:
            value = self.execute(compile(last, name, "eval", flags, dont_inherit=True))
            if value is not None:
                self.display(value)
                self.remember(value)
        if shows:
            self.figures()


class Shell:
    """What get_ipython() gives: IPython's shell where there is one, and what every step can do without."""

    QUIET = {"matplotlib", "load_ext", "reload_ext", "autoreload", "config", "precision", "pylab", "xmode", "colors",
             "reset", "logstart", "logoff", "doctest_mode", "gui", "alias"}

    def __init__(self, namespace, notebook):
        self.user_ns, self.notebook = namespace, notebook
        self.real = None

    def __getattr__(self, name):
        real = self.ipython()
        if real is None:
            raise AttributeError("get_ipython().%s needs IPython, which is not installed here" % name)
        return getattr(real, name)

    def ipython(self):
        if self.real is None:
            try:
                from IPython.core.interactiveshell import InteractiveShell
                from traitlets.config import Config
            except ImportError:
                return None
            config = Config()
            config.HistoryManager.enabled = False
            self.real = InteractiveShell.instance(config=config, user_module=sys.modules["__main__"],
                                                  user_ns=self.user_ns)
            self.stay_in_front()
        return self.real

    def stay_in_front(self):
        """IPython puts itself, and what it keeps of cells, where the cells find it: this shell goes on there."""
        import builtins
        for name in ("get_ipython", "In", "Out", "_", "__", "___", "_i", "_ii", "_iii"):
            self.user_ns.pop(name, None)
        builtins.get_ipython, builtins.display = lambda: self, self.notebook.display

    def expand(self, command):
        """{name} and $name of Python in a command, as IPython puts them in."""
        import re

        def value(match):
            text = match.group(1) or match.group(2)
            if text is None:
                return "$"
            try:
                return str(eval(text, self.user_ns))
            except Exception:
                return match.group(0)
        return re.sub(r"\$\$|\{([^{}]+)\}|(?<!\\)\$([A-Za-z_]\w*)", value, command)

    def system(self, command):
        import subprocess
        sys.stdout.flush()
        code = subprocess.call(self.expand(command), shell=True, executable="/bin/sh")
        self.user_ns["_exit_code"] = code
        if code != 0:
            print("the command ended with %d: %s" % (code, command), file=sys.stderr)

    def getoutput(self, command):
        import subprocess
        done = subprocess.run(self.expand(command), shell=True, stdout=subprocess.PIPE, universal_newlines=True)
        return done.stdout.splitlines()

    def script(self, program, text, out=False, err=False, check=True):
        """Runs a program on a text; what it writes is given back where it is asked for, as out, err or both."""
        import shlex
        import subprocess
        sys.stdout.flush()
        done = subprocess.run(shlex.split(program), input=text, universal_newlines=True,
                              stdout=subprocess.PIPE if out else None, stderr=subprocess.PIPE if err else None)
        if check and done.returncode != 0:
            raise StepError("the script of this cell ended with %d" % done.returncode)
        return (done.stdout, done.stderr) if out and err else done.stdout if out else done.stderr

    def writefile(self, line, text):
        words = line.split()
        append = "-a" in words or "--append" in words
        path = [word for word in words if not word.startswith("-")][0].strip("'\"")
        with open(path, "a" if append else "w") as file:
            file.write(text if text.endswith("\n") else text + "\n")
        print("%s %s" % ("Appending to" if append else "Writing", path))

    def show(self, kind, text):
        self.notebook.report.add(self.notebook.cell, text if kind in ("html", "svg") else "<pre>%s</pre>" % escape(text))

    def start_capture(self):
        self.captured = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return Captured(sys.stdout, sys.stderr)

    def end_capture(self):
        sys.stdout, sys.stderr = self.captured

    def timed(self, label, function):
        import time
        started = time.perf_counter()
        value = function()
        print("%s: %.3g s" % (label, time.perf_counter() - started))
        return value

    def run_line_magic(self, name, line):
        own = getattr(self, "magic_" + name, None)
        if own is not None:
            return own(line)
        if name in self.QUIET:
            return None
        real = self.ipython()
        if real is not None:
            return real.run_line_magic(name, line)
        print("%%%s is left out: IPython is not installed here" % name, file=sys.stderr)
        return None

    def run_cell_magic(self, name, line, text):
        real = self.ipython()
        if real is None:
            raise StepError("%%%%%s needs IPython, which is not installed here" % name)
        return real.run_cell_magic(name, line, text)

    def magic_cd(self, line):
        os.chdir(os.path.expanduser(self.expand(line.strip().strip("'\"")) or "~"))
        print(os.getcwd())

    def magic_pwd(self, line):
        return os.getcwd()

    def magic_env(self, line):
        line = line.strip()
        if not line:
            return dict(os.environ)
        if "=" not in line and " " not in line:
            return os.environ.get(line)
        key, _, value = line.partition("=" if "=" in line else " ")
        os.environ[key.strip()] = self.expand(value.strip())
        return None

    magic_set_env = magic_env

    def magic_pip(self, line):
        self.system("%s -m pip %s" % (sys.executable, line))

    def magic_who(self, line):
        names = sorted(name for name in self.user_ns if not name.startswith("_"))
        print("   ".join(names))

    magic_whos = magic_who_ls = magic_who

    def magic_run(self, line):
        import shlex
        words = [word for word in shlex.split(self.expand(line)) if not word.startswith("-")]
        arguments, sys.argv = sys.argv, words
        try:
            with open(words[0]) as file:
                exec(compile(file.read(), words[0], "exec"), self.user_ns)
        finally:
            sys.argv = arguments


class Captured:
    """What %%capture NAME gives."""

    def __init__(self, stdout, stderr):
        self.streams = stdout, stderr

    @property
    def stdout(self):
        return self.streams[0].getvalue()

    @property
    def stderr(self):
        return self.streams[1].getvalue()

    def show(self):
        print(self.stdout, end="")

    __call__ = show

    def __str__(self):
        return self.stdout


def use_ipython_display(notebook):
    """IPython's display(), where cells import it, writes into the report."""
    try:
        import IPython.display
        from IPython.core import display_functions
    except ImportError:
        return
    IPython.display.display = display_functions.display = notebook.display
