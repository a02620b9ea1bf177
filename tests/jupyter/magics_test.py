"""Magics and shell lines in steps beside the same cells in IPython: what they print is the same. TAP.

    build/jupyter/bin/python tests/jupyter/magics_test.py build/release/kfhost

Each notebook runs with an interpreter that has no IPython: as one step; where its values are to cross, too, also as
a step for each cell. Some run with IPython in the step as well.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

KFHOST = os.path.abspath(sys.argv[1])
PYTHON = "/usr/bin/python3"

# name -> cells. "+": also a step for each cell.
CASES = {
    "lines of a command are a list with more ways to look at it +": [
        "files = !printf 'b 2\\na 1\\n'",
        "print(files, type(files).__name__, [files.n, files.s, files.l, files.p, files.nlstr, files.spstr, files.list])",
        "print(files.grep('a'), files.grep('A', prune=True), files.grep('2', field=1), files.grep(lambda x: 'b' in x))",
        "print(files.fields(0), files.fields(1, 0), files.fields(), files.sort(), files.sort(1, nums=True))",
        "print(files.get_nlstr(), files.get_spstr(), files.get_list(), files.paths, files.fields(7))"],
    "what a command writes to its other stream is there, too": ["x = !echo out; echo err >&2", "print(list(x))"],
    "%timeit -o gives what it measured +": [
        "t = %timeit -o -q -n 2 -r 3 1+1",
        "print(t.loops, t.repeat, len(t.all_runs), len(t.timings), t.best > 0, t.worst >= t.best, type(t).__name__)",
        "print(t.average > 0, t.stdev >= 0, sorted(vars(t)))"],
    "%timeit leaves no names": ["x = 1\n%timeit -n1 -r1 x = 2\nprint(x)"],
    "%timeit runs as often as it says": ["n=[]\n%timeit -n 3 -r 2 n.append(1)\nprint(len(n))"],
    "%%timeit": ["%%timeit -n 2 -r 2 s = 'setup'\nz = s\nfor i in range(2):\n    z += '''\nx'''\n", "print('z' in dir())"],
    "%timeit in a block": ["for i in range(2):\n    %timeit -n 1 -r 1 i+1\nprint('done')"],
    "%timeit in a function": ["def f():\n    t = %timeit -o -q -n1 -r1 1\n    return t.loops\nprint(f())"],
    "%time +": ["%time y = 5\nprint(y)", "z = %time y+1", "print(z)", "%time y + z"],
    "%time of several statements": ["%time x = 1; y = 2\nprint(x, y)"],
    "%%time +": ["%%time\nq = 3\nq+1", "print(q)"],
    "%prun": ["def g(): return 3\n%prun -q r = g()", "print(r)"],
    "%env and %set_env": [
        "%env KF_A=1", "%env KF_B 2", "%set_env KF_C=x y",
        "import os\nprint(os.environ['KF_A'], os.environ['KF_B'], os.environ['KF_C'])",
        "a = %env KF_A\nd = %env\nprint(a, type(d).__name__, 'KF_B' in d)",
        "v=7\n%env KF_D=$v{v+1}\nprint(os.environ['KF_D'])"],
    "%cd, %pwd, %pushd and %popd": [
        "import os\nhere = os.getcwd()\nos.makedirs('sub/deep')\n%cd -q sub\nprint(os.getcwd()[len(here):])",
        "%cd -q -\nprint(os.getcwd() == here)\np = %pwd\nprint(p == here)",
        "%pushd sub\n%cd -q deep\n%popd\nprint(os.getcwd() == here)"],
    "%%capture +": [
        "%%capture out\nimport sys\nprint('a')\nprint('b', file=sys.stderr)\ndisplay(3)",
        "print([out.stdout, out.stderr, str(out), len(out.outputs)])", "out.outputs[0].display()"],
    "%%capture without one of the streams": [
        "%%capture out --no-stderr\nprint('a')\n", "print([out.stdout, out.stderr])",
        "%%capture --no-stdout out\nprint('seen')\n", "print([out.stdout])"],
    "%%capture without a name": ["%%capture\nprint('hidden')\nx = 1", "print(x)"],
    "%%writefile": [
        "name='n.txt'", "%%writefile $name\nline {x}\n", "%%writefile -a n.txt\nmore", "print(open('n.txt').read())",
        "%%file n.txt\nagain", "%cat n.txt", "%%writefile \"with space.txt\"\nx",
        "print(open('with space.txt').read())"],
    "%run of a file": [
        "%%writefile helper.py\nimport sys\ndef twice(x): return 2*x\nV = sys.argv[1:]\nprint(__name__)",
        "%run helper.py a 'b c'\nprint(twice(4), V)", "%run -n helper\nprint(V)"],
    "%run -i sees the names of the notebook": ["%%writefile h.py\nW = base + 1", "base = 4\n%run -i h.py\nprint(W)"],
    "%run of a notebook": [
        "import json\njson.dump({'nbformat':4,'nbformat_minor':5,'metadata':{},'cells':[{'id':'a','cell_type':'code',"
        "'metadata':{},'source':['K = 5\\n','print(K)'],'outputs':[],'execution_count':None}]}, open('o.ipynb','w'))",
        "%run o.ipynb\nprint(K)"],
    "%who and %who_ls": [
        "a=1\nb='x'\nnames = %who_ls\nprint(names)\nprint(get_ipython().run_line_magic('who_ls','int'))\n%who\n%who str"],
    "%%bash and what it writes +": ["%%bash --out o --err e\necho hi\necho no >&2", "print([o, e])"],
    "%%bash takes values +": ["word = 'wo rd'", "%%bash -s \"$word\" {len(word)}\necho $1 $2"],
    "%%perl, %%python3, %%script and %%sh": [
        "%%perl\nprint \"p\\n\"", "%%python3\nprint('child')", "%%script bash\necho via", "%%sh\necho sh"],
    "%sx, !! and %%sx": ["x = %sx printf 'a\\nb'\nprint(x)", "!!echo hi", "%system echo there", "%%sx\necho m\necho l"],
    "commands as magics": ["!touch q.txt\n%ls q.txt\nx = %ls q.txt\nprint(x)",
                           "%mkdir dd\n%rmdir dd\n%cp q.txt r.txt\n%mv r.txt s.txt\n%rm s.txt\n%ls q*"],
    "%alias": ["%alias hello echo hello\n%hello world"],
    "%reset -f and %reset_selective": ["x=1; ya=2; yb=3\n%reset_selective -f ^y\nprint('ya' in globals(), x)",
                                       "x=1\n%reset -f\nprint('x' in globals())"],
    "magics that say nothing": [
        "%load_ext autoreload\n%autoreload 2\n%config InlineBackend.figure_format='retina'\n%colors nocolor\n"
        "print('ok')"],
    "the shell itself": [
        "get_ipython().run_line_magic('env', 'KK=2')\nget_ipython().system('echo $KK')",
        "x = get_ipython().getoutput('echo a')\nprint(x)",
        "get_ipython().run_cell_magic('capture', 'o', 'print(1)\\nvv = 2')\nprint(o.stdout, vv)",
        "get_ipython().run_cell_magic('bash', '', 'echo cell\\n')",
        "get_ipython().run_cell_magic('time', '', 'tt = 5\\n')\nprint(tt)"],
    "shell lines in blocks and functions": [
        "for i in range(2):\n    !echo {i} $i\n    x = !echo {i+5}\n    print(x)",
        "def f(a):\n    y = !echo {a}\n    return y\nprint(f(3))"],
    "lines that go on": ["!echo a \\\n  b\nx = !echo c \\\n d\nprint(x)"],
    "names in shell lines +": ["words = ['a', 'b']\nclass K: v = 3\n", "!echo {' '.join(words)} $words '$words' $K.v",
                               "x = !echo {words[1:]}\nprint(x)", "folder = 'sub'\n!mkdir -p {folder}\n!ls -d $folder"],
    "a line with a name that is nowhere stays as it is": [
        "x = 5\n!echo {x} {nowhere}\n!echo $x $NOWHERE_\n!echo '$x' $$x {{x}}",
        "!echo 'a b' | awk '{print $2}'"],
}
WITH_IPYTHON = ("lines of a command", "%time", "%%capture +", "shell lines in blocks", "commands as magics")

REFERENCE = r'''
import json, os, sys, tempfile
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
cases = json.load(sys.stdin)
for name, cells in cases.items():
    os.chdir(tempfile.mkdtemp())
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    config.TerminalInteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    print("\n=== " + name, flush=True)
    for cell in cells:
        shell.run_cell(cell)
        sys.stdout.flush()
    print("\n===", flush=True)
'''

number = failed = 0


def result(name, good, seen=""):
    global number, failed
    number += 1
    failed += not good
    print("%sok %d - %s" % ("" if good else "not ", number, name))
    if not good:
        print("".join("  # %s\n" % line for line in str(seen).splitlines()[:30]), end="")


def plain(text):
    """Without the numbers of cells, times, folders and colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"(?m)^Out\[\d+\]: ", "", text)
    text = re.sub(r"(?m)^(CPU times|Wall time): .*", r"\1", text)
    text = re.sub(r"(?m)^[\d.]+ .?s .*per loop", "TIME per loop", text)
    return re.sub(r"/tmp/[\w]+", "DIR", text).strip()


def reference():
    done = subprocess.run([sys.executable, "-c", REFERENCE], input=json.dumps(CASES), capture_output=True, text=True)
    return {name: plain(text) for name, text in re.findall(r"(?s)\n=== ([^\n]+)\n(.*?)\n===\n", done.stdout)}, done.stderr


def run(cells, python, apart):
    folder = tempfile.mkdtemp()
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    for i, source in enumerate(cells):
        tags = ["step:s%d" % i] + (["prev:s%d" % (i - 1)] if i else []) if apart or i == 0 else []
        notebook["cells"].append({"cell_type": "code", "metadata": {"tags": tags}, "source": source})
    path = os.path.join(folder, "a.ipynb")
    with open(path, "w") as file:
        json.dump(notebook, file)
    done = subprocess.run([KFHOST, "kale", "run", path, "--json", "--python", python], capture_output=True, text=True)
    said = json.loads(done.stdout)
    if said["state"] != "succeeded":
        return done.stderr
    texts = [open(os.path.join(said["directory"], step["name"], "log.txt")).read() for step in said["steps"]]
    return plain("".join(texts))


def main():
    wanted, errors = reference()
    result("IPython runs the cells", len(wanted) == len(CASES), errors)
    for name, cells in CASES.items():
        for python, apart in ((PYTHON, False), (PYTHON, True), (sys.executable, False)):
            if apart and not name.endswith("+") or python != PYTHON and not name.startswith(WITH_IPYTHON):
                continue
            seen = run(cells, python, apart)
            where = ", a step for each cell" if apart else ", IPython in the step" if python != PYTHON else ""
            result(name.rstrip(" +") + where, seen == wanted.get(name), "%s\n--- IPython:\n%s" % (seen, wanted.get(name)))
    print("%d passed, %d failed" % (number - failed, failed))
    return failed > 0


sys.exit(main())
