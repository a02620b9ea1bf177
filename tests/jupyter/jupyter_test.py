"""The extension for Jupyter in a real kernel: notebooks are executed by nbclient, their outputs looked at. TAP.

    build/jupyter/bin/python tests/jupyter/jupyter_test.py build/release/kfhost
"""

import os
import shutil
import subprocess
import sys
import tempfile

os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this Python, whatever others the user has

import nbclient
import nbformat

KFHOST = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
number = failed = 0


def result(name, good, seen=""):
    global number, failed
    number += 1
    if good:
        print("ok %d - %s" % (number, name))
        return
    failed += 1
    print("not ok %d - %s" % (number, name))
    print("".join("  # %s\n" % line for line in str(seen).splitlines()[:20]), end="")


def execute(folder, *cells):
    """The outputs of each cell of a notebook of those cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True,
                                     resources={"metadata": {"path": folder}})
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def data(outputs, kind):
    return "".join(output["data"].get(kind, "") for output in outputs if "data" in output)


def stream(outputs):
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def error(outputs):
    return "".join(output["evalue"] for output in outputs if output["output_type"] == "error")


def main():
    folder = tempfile.mkdtemp()
    site = os.path.join(folder, "site")
    for name in ("digits.ipynb", "digits.txt", "messy.ipynb", "tuning.ipynb"):
        shutil.copy(os.path.join(ROOT, "examples", "notebooks", name), folder)
    done = subprocess.run([KFHOST, "kale", "jupyter", site], capture_output=True, text=True)
    result("the extension is installed by a command", done.returncode == 0 and os.path.exists(site + "/kfhost.py"), done)
    os.environ.update(KFHOST=KFHOST, PYTHONPATH=site, JPY_SESSION_NAME=os.path.join(folder, "digits.ipynb"))

    outputs = execute(folder, "%load_ext kfhost", "%kale check", "%kale check messy.ipynb",
                      "%kale run digits.ipynb --runs runs", "sorted(kale_result['metrics'])", "%kale", "%kale run no.ipynb",
                      "%kale tune tuning.ipynb --lab --trials 2 --parallel 2", "kale_result['state']")
    result("it is loaded", outputs[0] == [], outputs[0])
    result("check draws the graph of this notebook", "<svg" in data(outputs[1], "image/svg+xml")
           and "perceptron" in data(outputs[1], "image/svg+xml"), outputs[1])
    messy = data(outputs[2], "text/html")
    result("check lists what is wrong, with its place", "metadata-unknown" in messy and "cell " in messy, outputs[2])
    result("run shows the steps while they run", "perceptron" in stream(outputs[3]), outputs[3])
    page = data(outputs[3], "text/html")
    result("run ends with the report, in the cell", page.startswith("<iframe srcdoc=") and "&lt;svg" in page, page[:400])
    result("what it gave can be used", data(outputs[4], "text/plain") == "['accuracy', 'mistakes_left']", outputs[4])
    result("a line without a command says what there is", "usage: %kale check|run" in error(outputs[5]), outputs[5])
    result("a notebook that is not there is an error", error(outputs[6]) != "", outputs[6])

    page = data(outputs[7], "text/html")
    result("tune says how it goes on, and ends with the curves", "trials 2 of 2" in stream(outputs[7])
           and "Objective by trial" in page and "&lt;svg" in page, outputs[7])
    result("and what it gave can be used", data(outputs[8], "text/plain") == "'Succeeded'", outputs[8])

    del os.environ["JPY_SESSION_NAME"]
    outputs = execute(folder, "%load_ext kfhost", "%kale check")
    result("without a path it asks which notebook", "which notebook?" in error(outputs[1]), outputs[1])
    print("1..%d" % number)
    shutil.rmtree(folder)
    return 1 if failed else 0


sys.exit(main())
