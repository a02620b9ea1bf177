"""Values of libraries cross in their own formats, and IPython is used where it is. TAP.

    build/libraries/bin/python tests/libraries/libraries_test.py
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KFHOST = os.path.join(ROOT, "build", "release", "kfhost")

# what makes the value, what a later step prints of it, its format, what is printed
VALUES = {
    "a NumPy array": ("import numpy as np\nv = np.arange(6, dtype='f4').reshape(2, 3)",
                      "print(v.dtype, v.sum(), v.shape)", "numpy.npy", "float32 15.0 (2, 3)\n"),
    "a NumPy array of objects": ("import numpy as np\nv = np.array([{'a': 1}, None], dtype=object)",
                                 "print(v[0], v.dtype)", "pickle", "{'a': 1} object\n"),
    "a pandas frame": ("import pandas as pd\nv = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
                       "print(v.dtypes.to_dict(), v.b.isna().sum())", "pickle",
                       "{'a': dtype('int64'), 'b': dtype('O')} 1\n"),
    "a scikit-learn model": ("from sklearn.linear_model import LinearRegression\n"
                             "v = LinearRegression().fit([[0], [1]], [1, 3])",
                             "print(v.predict([[2]]).round(3))", "sklearn.joblib", "[5.]\n"),
    "a scikit-learn model that holds a function": (
        "from sklearn.preprocessing import FunctionTransformer\nk = 3\n"
        "def times(x):\n    return [[c * k for c in r] for r in x]\n"
        "v = FunctionTransformer(times)", "print(v.transform([[2]]))", "pickle", "[[6]]\n"),
    "a polars frame": ("import polars as pl\nv = pl.DataFrame({'a': [1, 2]})", "print(v['a'].sum(), v.schema['a'])",
                       "polars.ipc", "3 Int64\n"),
    "an Arrow table": ("import pyarrow as pa\nv = pa.table({'a': [1, None]})",
                       "print(v.num_rows, v.column('a').null_count)", "arrow.ipc", "2 1\n"),
    "a pandas series with an index of times": (
        "import pandas as pd\nv = pd.Series([1.5, None], index=pd.to_datetime(['2020-01-01', '2020-01-02']), name='s')",
        "print(v.name, v.index[1].day, v.isna().sum())", "pickle", "s 2 1\n"),
    "a polars query": ("import polars as pl\nv = pl.LazyFrame({'a': [1, 2]}).filter(pl.col('a') > 1)",
                       "print(v.collect()['a'].to_list())", "pickle", "[2]\n"),
    "an Arrow array": ("import pyarrow as pa\nv = pa.array([[1], None])", "print(v.type, v.null_count)", "pickle",
                       "list<item: int64> 1\n"),
    "an ONNX model": ("from onnx import helper, TensorProto as T\n"
                      "x, y = (helper.make_tensor_value_info(n, T.FLOAT, [1]) for n in 'xy')\n"
                      "node = helper.make_node('Abs', ['x'], ['y'])\n"
                      "v = helper.make_model(helper.make_graph([node], 'g', [x], [y]))",
                      "print(v.graph.node[0].op_type)", "onnx", "Abs\n"),
    "a figure": ("import matplotlib.pyplot as plt\nv, axes = plt.subplots()\nlines = axes.plot([1, 2])",
                 "print(len(v.axes))", "pickle", "1\n"),
}

# what shares memory, step by step, and what all steps print: the same as in one process
SHARED = {
    "a slice of an array": [
        "import numpy as np\na = np.arange(6)", "v = a[2:5]", "v[0] = 20\na[3] = 30", "print(a, v)", "a += 1", "print(v)",
    ],
    "reversed, strided and transposed views": [
        "import numpy as np\na = np.arange(12, dtype='i2').reshape(3, 4, order='F')\nr, s, t = a[::-1], a[:, ::2], a.T",
        "r[0, 0] = 50\ns[1] = -1\nt[3, 2] = 9", "print(a.tolist(), r.tolist(), s.tolist(), t.tolist(), r.base is not None)",
    ],
    "views within one value": [
        "import numpy as np\na = np.zeros(4)\nbox = {'all': a, 'head': a[:2]}\ndel a", "box['head'][1] = 5",
        "print(box['all'].tolist())",
    ],
    "a view that is alone": [
        "import numpy as np\nbig = np.zeros(1000)\nv = big[10:12]\ndel big", "print(v.sum(), len(v))",
    ],
    "a field of a record array, and a view that may not be written": [
        "import numpy as np\na = np.zeros(2, dtype=[('x', 'i4'), ('y', 'f8')])\nx = a['x']\nw = np.broadcast_to(a['y'], (2, 2))",
        "x[1] = 7", "print(a.tolist(), w.flags.writeable)",
    ],
    "a column of a frame": [
        "import pandas as pd, warnings\nwarnings.simplefilter('ignore')\ndf = pd.DataFrame({'a': [1, 2], 'b': [3.0, 4.0]})",
        "s = df['a']\nm = df[['b']]", "import warnings\nwarnings.simplefilter('ignore')\ns.iloc[0] = 9\nm.iloc[0, 0] = 0",
        "print(df.to_dict('list'), s.tolist(), m.b.tolist())",
    ],
    "a column of a frame that copies when it is written": [
        "import pandas as pd\npd.options.mode.copy_on_write = True\ndf = pd.DataFrame({'a': [1, 2]})\ns = df['a']\n"
        "print(len(df))", "import pandas as pd\npd.options.mode.copy_on_write = True\ns.iloc[0] = 9",
        "print(df.to_dict('list'), s.tolist())",
    ],
    "a figure and its axes": [
        "import matplotlib.pyplot as plt\nfig, axes = plt.subplots(1, 2)", "axes[0].set_title('one')\nx = fig.suptitle('all')",
        "line, = axes[1].plot([1, 2])", "line.set_ydata([3, 4])",
        "print(fig.axes[0] is axes[0], fig.axes[1].lines[0].get_ydata(), axes[0].get_title(), x is fig._suptitle)",
    ],
    "rows of a matrix in objects": [
        "import numpy as np\nclass Part:\n    def __init__(self, rows): self.rows = rows",
        "m = np.zeros((3, 2))\nparts = [Part(m[i]) for i in range(3)]", "parts[1].rows[:] = 4", "print(m.tolist())",
    ],
}

results = []


def test(description, function, *arguments):
    try:
        function(*arguments)
        problem = None
    except Exception as error:  # whatever it is, the next test goes on
        problem = "%s: %s" % (type(error).__name__, error)
    results.append(problem is None)
    print("%s %d - %s" % ("not ok" if problem else "ok", len(results), description), flush=True)
    if problem:
        print("  " + problem.replace("\n", "\n  "))


def run(directory, *cells):
    """What the steps s0, s1 … of these cells print, and where the run is."""
    made = []
    for number, source in enumerate(cells):
        tags = ["step:s%d" % number] + (["prev:s%d" % (number - 1)] if number else [])
        made.append({"cell_type": "code", "metadata": {"tags": tags}, "outputs": [], "source": source})
    path = os.path.join(directory, "n.ipynb")
    with open(path, "w") as file:
        json.dump({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}, file)
    done = subprocess.run([KFHOST, "kale", "run", path, "--json", "--fresh", "--python", sys.executable],
                          capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["state"] == "succeeded", done.stderr
    logs = []
    for number in range(len(cells)):
        with open(os.path.join(said["directory"], "s%d" % number, "log.txt")) as file:
            logs.append(file.read())
    return logs, said["directory"]


def formats_below(directory):
    """The formats of all artifacts of a run, by name."""
    found = {}
    for path in glob.glob(os.path.join(directory, "**", "v"), recursive=True):
        with open(path, "rb") as file:
            found["v"] = json.loads(file.readline())["type"]
    return found


def check_value(source, use, kind, printed):
    with tempfile.TemporaryDirectory() as directory:
        logs, where = run(directory, source, use)
        assert logs[1].endswith(printed), "%r is printed" % logs[1]  # TensorFlow says more before it
        assert formats_below(where) == {"v": kind}, formats_below(where)


def check_shared(*cells):
    with tempfile.TemporaryDirectory() as directory:
        logs, _ = run(directory, *cells)
        linear = subprocess.run([sys.executable, "-c", "\n".join(cells)], capture_output=True, text=True, check=True)
        text = "".join(line for log in logs for line in log.splitlines(True) if "the figure is in the report" not in line)
        assert text == linear.stdout, "in steps %r, in one process %r" % (text, linear.stdout)


def check_ipython():
    with tempfile.TemporaryDirectory() as directory:
        logs, where = run(directory, "x = 2\n%alias_magic t timeit\nfrom IPython.display import display, HTML\n"
                          "display(HTML('<b>bold</b>'))\n"
                          "print(get_ipython().user_ns['x'], type(get_ipython().ast_node_interactivity))")
        assert logs[0].splitlines()[-1] == "2 <class 'str'>", logs[0]
        html = ""
        for path in glob.glob(os.path.join(where, "**", "report"), recursive=True):
            with open(path) as file:
                html += file.read()
        assert "<b>bold</b>" in html, html


def check_ipython_beside():
    """Magics of IPython's own and those that every step has, in one step."""
    with tempfile.TemporaryDirectory() as directory:
        logs, _ = run(directory, "%load_ext autoreload\n%alias_magic t timeit\nx = 2\n%env KF_A=b\nfiles = !echo {x}\n"
                      "!echo $x\nx + 1", "%config InlineBackend.figure_format = 'retina'\nprint(x, files)\n"
                      "get_ipython().system('echo sys')\n%who_ls")
        assert "\n2\n3\n" in "\n" + logs[0], logs[0]
        assert logs[1].startswith("2 ['2']\nsys\n"), logs[1]


def check_cells_after_ipython():
    with tempfile.TemporaryDirectory() as directory:
        sources = ["%alias_magic t timeit", "%%bash\necho bash", "%%writefile a.txt\ntext", "%%capture out\nprint(7)",
                   "print(out.stdout, open('a.txt').read())", "5", "_ + 1"]
        cells = [{"cell_type": "code", "metadata": {"tags": [] if n else ["step:s0"]}, "outputs": [], "source": s}
                 for n, s in enumerate(sources)]
        path = os.path.join(directory, "n.ipynb")
        with open(path, "w") as file:
            json.dump({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}, file)
        done = subprocess.run([KFHOST, "kale", "run", path, "--json", "--python", sys.executable],
                              capture_output=True, text=True)
        said = json.loads(done.stdout)
        assert said["state"] == "succeeded", done.stderr
        with open(os.path.join(said["directory"], "s0", "log.txt")) as file:
            text = file.read()
        assert text.endswith("bash\nWriting a.txt\n7\n text\n\n5\n6\n"), text


def main():
    for name, value in VALUES.items():
        test(name + " crosses", check_value, *value)
    for name, cells in SHARED.items():
        test("in steps as in one process: " + name, check_shared, *cells)
    test("IPython is used where it is installed", check_ipython)
    test("magics of IPython and of every step work side by side", check_ipython_beside)
    test("cell magics and _ work after one of IPython's", check_cells_after_ipython)
    print("1..%d" % len(results))
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
