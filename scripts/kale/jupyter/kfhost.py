"""kfhost in a notebook: `%load_ext kfhost`, then `%kale check`, `%kale run` and `%kale tune`.

Each line runs `kfhost kale …` on this notebook (or the one that is named) as it was last saved. What it prints
appears while it runs; the cell's output is the pipeline's graph, the findings, or the report with its curves.
"""

import html
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

COMMANDS = ("check", "run", "tune", "show", "compile", "submit")
FRAME = '<iframe srcdoc="%s" style="width: 100%%; height: 36rem; border: 1px solid #ccc"></iframe>'
COLOURS = {"error": "#c53030", "warning": "#b7791f"}


class KaleError(Exception):
    """What kfhost said; shown without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


def program():
    """The kfhost to run: $KFHOST, or the one on PATH."""
    found = os.environ.get("KFHOST") or shutil.which("kfhost")
    if not found:
        raise KaleError("kfhost is not on PATH; set KFHOST to its path")
    return found


def own_notebook(shell):
    """The file of the notebook that runs this, as Jupyter or an editor tells it; None when nobody does."""
    for path in (shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if path and os.path.exists(path):
            return path
    return None


def split(shell, line):
    """Command, notebook and further words of a line such as "run other.ipynb --param n=3"."""
    words = shlex.split(line)
    if not words or words[0] not in COMMANDS:
        raise KaleError("usage: %%kale %s [NOTEBOOK] [OPTIONS]" % "|".join(COMMANDS))
    rest = words[1:]
    if rest and rest[0].endswith((".ipynb", ".py")):
        return words[0], rest[0], rest[1:]
    path = own_notebook(shell)
    if not path:
        raise KaleError("which notebook? Jupyter does not tell its path here: %%kale %s NOTEBOOK.ipynb" % words[0])
    return words[0], path, rest


def run(words, say):
    """Runs kfhost; hands each line of its errors to say, and returns its exit code and its output."""
    process = subprocess.Popen([program(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        for line in process.stderr:
            say(line)
        output = process.stdout.read()
    except KeyboardInterrupt:  # the stop button: kfhost ends what it has begun
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise KaleError("stopped") from None
    return process.wait(), output


def quiet(_):
    """Takes a line and shows it nowhere."""


def last_object(output):
    """The JSON object of the last line, or nothing."""
    lines = output.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def show(content, kind):
    from IPython.display import HTML, SVG, display

    display(SVG(content) if kind == "svg" else HTML(content))


def show_graph(path, more):
    code, picture = run(["kale", "show", path, "--svg", "-", *more], quiet)
    if code == 0 and picture.lstrip().startswith("<svg"):
        show(picture, "svg")


def show_page(path):
    with open(path, encoding="utf-8") as page:
        show(FRAME % html.escape(page.read(), quote=True), "html")


def finding(one):
    place = ", ".join("%s %s" % (name, one[name]) for name in ("cell", "line", "column") if one.get(name))
    hint = "<br><em>%s</em>" % html.escape(one["hint"]) if one.get("hint") else ""
    return '<tr><td style="color: %s">%s</td><td>%s</td><td style="text-align: left">%s%s</td><td>%s</td></tr>' % (
        COLOURS.get(one["severity"], "inherit"), one["severity"], html.escape(place or "notebook"),
        html.escape(one["message"]), hint, html.escape(one["code"]))


def check(path, more):
    code, output = run(["kale", "check", path, "--json", *more], quiet)
    try:
        findings = json.loads(output)
    except ValueError:
        raise KaleError(output.strip() or "kfhost kale check ended with %d" % code) from None
    if findings:
        show("<table>%s</table>" % "".join(finding(one) for one in findings), "html")
    if not any(one["severity"] == "error" for one in findings):
        show_graph(path, [])
    return findings


def with_report(command, path, more):
    code, output = run(["kale", command, path, "--json", "--plain", *more], sys.stdout.write)
    result = last_object(output)
    report = result.get("report") or os.path.join(result.get("directory", ""), "report.html")
    if os.path.exists(report):
        show_page(report)
    if code != 0:
        raise KaleError(result.get("message") or "kfhost kale %s ended with %d" % (command, code))
    return result


def kale(shell, line):
    """What `%kale LINE` does; returns what a further cell can use."""
    command, path, more = split(shell, line)
    if command == "check":
        return check(path, more)
    if command in ("run", "tune", "submit"):
        return with_report(command, path, more)
    if command == "show":
        return show_graph(path, more)
    code, output = run(["kale", command, path, *more], sys.stderr.write)
    if code != 0:
        raise KaleError("kfhost kale %s ended with %d" % (command, code))
    print(output, end="")
    return None


def load_ipython_extension(shell):
    """Called by %load_ext."""

    def magic(line):
        result = kale(shell, line)
        shell.user_ns["kale_result"] = result  # not the cell's value: its output is the picture

    shell.register_magic_function(magic, "line", "kale")
