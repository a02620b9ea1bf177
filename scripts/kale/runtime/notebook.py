"""Runs cells as a notebook does: displays and figures. Magics and shell lines are in shell.py."""
import ast
import io
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


def markdown_html(text):
    return '<pre class="markdown">%s</pre>' % escape(text)


# By the name of a method, and by that of a kind in a bundle.
RICH = (("_repr_html_", "text/html", lambda text: text), ("_repr_svg_", "image/svg+xml", lambda text: text),
        ("_repr_png_", "image/png", lambda data: image_html(data, "png")),
        ("_repr_jpeg_", "image/jpeg", lambda data: image_html(data, "jpeg")),
        ("_repr_markdown_", "text/markdown", markdown_html),
        ("_repr_latex_", "text/latex", lambda text: "<pre>%s</pre>" % escape(text)))


def method_of(value, name):
    """A method of an object, unless it is a class, or answers to every name, or fails when it is asked."""
    if isinstance(value, type):
        return None
    try:
        if getattr(value, "_ipython_canary_method_should_not_exist_", None) is not None:
            return None
        found = getattr(value, name, None)
    except Exception:
        return None
    return found if callable(found) else None


def bundle_html(value):
    """The richest of what a _repr_mimebundle_ gives."""
    bundle = method_of(value, "_repr_mimebundle_")
    if bundle is None:
        return None
    try:
        found = bundle()
        found = found[0] if isinstance(found, tuple) else found
        for _, kind, wrap in RICH if isinstance(found, dict) else ():
            if found.get(kind) is not None:
                return wrap(found[kind])
    except Exception:
        pass
    return None


def rich_html(value):
    html = bundle_html(value)
    if html is not None:
        return html
    for method, _, wrap in RICH:
        function = method_of(value, method)
        if function is None:
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
        function = method_of(value, method) if type(value).__repr__ is object.__repr__ else None
        if function is not None:
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
        self.captured = None  # what %%capture takes of what is displayed
        self.float_format = None  # of %precision
        self.results = ["", "", ""]  # what was displayed last, before, and before that
        self.futures = 0  # flags of future statements: they hold for the cells after theirs

    def display(self, *values, **_):
        for value in values:
            own = method_of(value, "_ipython_display_")
            if own is not None:
                own()
                continue
            html = rich_html(value)
            text = plain_text(value, html is not None)
            if self.float_format and type(value) is float:
                text = self.float_format % value
            if self.captured is not None:
                self.captured.append(CapturedOutput(text, html))
                continue
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
        displays = shows and tree.body and not source.rstrip().endswith(";")
        timed = displays and isinstance(tree.body[-1], ast.With)
        if displays and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        code = compile(tree, name, "exec", flags, dont_inherit=True)
        if code.co_flags & 0x1fe0000:
            self.note_futures(code)
        self.execute(code)
        value = None
        if last is not None:
            value = self.execute(compile(last, name, "eval", flags, dont_inherit=True))
        if len(SHELL) > 1 and shows:
            kept = SHELL[1].end_cell()
            value = kept if timed else value
        if value is not None:
            self.display(value)
            self.remember(value)
        if shows:
            self.figures()


SHELL = []  # the program with shell.py, until it is needed; then the shell


def shell_of(notebook):
    """What get_ipython() gives; most steps need none, and its program is not even compiled."""
    load_shell()
    if len(SHELL) == 1:
        SHELL.append(Shell(notebook.namespace, notebook))
    return SHELL[1]


def load_shell():
    if isinstance(SHELL[0], str):
        program, SHELL[0] = SHELL[0], None
        exec(compile(program, "<kfhost step>", "exec"), globals())


def use_ipython_display(notebook):
    """IPython's display(), where cells import it, writes into the report."""
    try:
        import IPython.display
        from IPython.core import display_functions
    except ImportError:
        return
    IPython.display.display = display_functions.display = notebook.display
