"""Bars of the Kubernetes client: 10,000 pods of about 4.5 kB each from a server of ours, with rivals beside it.

Rivals that are not there (kubectl, Go, the Python client in build/kube) are left out; which kubectl it was is said.
"""
import os
import re
import shutil
import subprocess
import sys
import time

from measure import KFHOST, ROOT, bar, finish

HERE = os.path.join(ROOT, "tests", "bench", "kube")
PYTHON = os.path.join(ROOT, "build", "kube", "bin", "python")
INFORMER = os.path.join(ROOT, "build", "kube-informer")
PODS, EVENTS, ROUNDS = 10000, 40000, 5


def run(*command, env=None):
    """Wall time, peak memory in MB, output and CPU time of a whole process, which must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env={**os.environ, **(env or {})})
    output = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {child.returncode}")
    elapsed = time.perf_counter() - started
    return elapsed, usage.ru_maxrss * 1024 / 1e6, output.strip(), usage.ru_utime + usage.ru_stime


def best(*command, rounds=ROUNDS, env=None):
    """The quickest of several runs, the least peak, and the least CPU time."""
    runs = [run(*command, env=env) for _ in range(rounds)]
    return min(r[0] for r in runs), min(r[1] for r in runs), runs[0][2], min(r[3] for r in runs)


def script(name, *arguments):
    return [KFHOST, os.path.join(HERE, name + ".lua"), *arguments]


class Server:
    """Our server with pods; managed: whether a third of them is managedFields."""

    def __init__(self, managed):
        self.process = subprocess.Popen(script("server", str(PODS), "with" if managed else "without", str(EVENTS)),
                                        stdout=subprocess.PIPE, text=True)
        port, size, each = self.process.stdout.readline().split()
        self.url = f"http://127.0.0.1:{port}"
        self.detail = f"{int(size) / 1e6:.1f} MB, {each} bytes a pod, {'with' if managed else 'without'} managedFields"

    def __enter__(self):
        print(f"-- {PODS} pods, {self.detail}", flush=True)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def rival(name, measured, detail=""):
    seconds, megabytes, _, cpu = measured
    print(f"       {name:33} {seconds:9.3f} s, {megabytes:.0f} MB, CPU {cpu:.2f} s  {detail}", flush=True)


def curl(url):
    return best("curl", "-s", "-H", "User-Agent: bench", "-o", "/dev/null", url + "/api/v1/pods")[0]


def build_informer():
    if not shutil.which("go"):
        return False
    return subprocess.run(["go", "build", "-o", INFORMER, "."], cwd=HERE).returncode == 0


def tables(server):
    seconds, memory, rows, cpu = best(*script("table", server.url))
    assert rows == str(PODS)
    bar("table of all pods", f"whole process, CPU {cpu:.2f} s", seconds, "<=", 0.2, " s")
    bar("table of all pods, peak", "", memory, "<=", 25, " MB")
    if shutil.which("kubectl"):
        version = run("kubectl", "version", "--client")[2]
        said = re.search(r"v\d+\.\d+\.\d+\S*", version)
        detail = said.group(0).rstrip('",') if said else version
        for output in ((), ("-o", "name")):
            rival(" ".join(("kubectl get pods -A", *output)),
                  best("kubectl", "--server", server.url, "get", "pods", "-A", *output, rounds=1), detail)


def lists(server):
    seconds, memory, count, cpu = best(*script("list", server.url))
    assert count == str(PODS)
    bar("list into Lua", f"{memory:.0f} MB, CPU {cpu:.2f} s", seconds, "<=", 1.2, " s")
    rival("the same by lua-cjson", best(*script("list_cjson", server.url), rounds=3), "numbers as floats")
    if os.path.exists(PYTHON):
        rival("the same by the Python client", best(PYTHON, os.path.join(HERE, "list.py"), server.url, rounds=1))
    decode, encode = (float(word) for word in run(*script("json", server.url))[2].split())
    bar("JSON decode of it / lua-cjson", "", decode, ">=", 1.35)
    bar("JSON encode of it / lua-cjson", "", encode, ">=", 1.0)


def informers(server, with_rivals):
    plain = curl(server.url)
    seconds, memory, count, cpu = best(*script("informer", server.url))
    assert count == str(PODS)
    bar("informer in sync beyond curl", f"{seconds:.3f} s, curl {plain:.3f} s, CPU {cpu:.2f} s", seconds - plain,
        "<=", 0.45, " s")
    bar("informer, peak", "", memory, "<=", 60, " MB")
    if with_rivals and build_informer():
        for kind in ("dynamic", "typed"):
            rival(f"client-go informer, {kind}", best(INFORMER, kind, server.url, rounds=2))


def events(server):
    runs = [run(*script("events", server.url, str(EVENTS)))[2].split() for _ in range(3)]
    cpu = min(float(microseconds) for _, microseconds in runs)
    bar("watch events a second, handled", f"each decoded for a handler, CPU {cpu:.1f} us an event",
        max(float(rate) for rate, _ in runs), ">=", 20000)


with Server(managed=True) as server:
    tables(server)
    lists(server)
    informers(server, with_rivals=True)
    events(server)
with Server(managed=False) as server:
    informers(server, with_rivals=False)
finish()
