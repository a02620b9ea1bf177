"""The differential test: programs cut into steps in many ways against the same program in one process. TAP.

Equal are the values of all names and the output; where they differ, a diagnostic of the compiler has
to name a step's cell or name, or the step has to fail and say which value cannot cross.

    python3 tests/differential/differential.py [--seed N] [--sample N] [--generated N] [--only PATTERN] [-v]
"""
import argparse
import ast
import fnmatch
import glob
import json
import os
import random
import re
import subprocess
import sys
import threading

from cuts import all_cuts
from generate import generate

HERE = os.path.dirname(os.path.abspath(__file__))
KFHOST = os.path.join(HERE, "..", "..", "build", "release", "kfhost")
# Findings that say that a run may differ.
TELLING = {
    "two-producers", "missing-edge", "undefined-name", "lost-change", "state-stays", "not-saved", "effects-repeated",
    "star-import", "class-state", "dynamic-names",
}


def statements_of(text):
    """The source of each top-level statement, comments before it left out."""
    lines, result = text.splitlines(keepends=True), []
    for node in ast.parse(text).body:
        first = min([node.lineno] + [d.lineno for d in getattr(node, "decorator_list", [])])
        result.append("".join(lines[first - 1:node.end_lineno]).rstrip("\n"))
    return result


class Worker:
    """A warm interpreter in another process."""

    def __init__(self, modules):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "worker.py"), *modules],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the worker ended")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Program:
    def __init__(self, name, text):
        self.name, self.text = name, text
        header = [line[1:].split(":", 1) for line in text.splitlines() if line.startswith("# ") and ":" in line]
        self.header = {key.strip(): value.strip() for key, value in header}
        self.statements, self.expected = [], None

    def prepare(self, worker):
        """Adds the statement that shows all names, and runs all in one process."""
        self.statements = statements_of(self.text)
        names = worker.ask(do="names", statements=self.statements)
        assert names["code"] == 0, "%s does not run in one process:\n%s" % (self.name, names["error"])
        kept = [name for name in names["error"].split() if name.isidentifier()]
        hidden = set(self.header.get("hide", "").split())
        shown = ", ".join("%s=%s" % (name, name) for name in kept if name not in hidden)
        self.statements.append("import kf_show; kf_show.show(%s)" % shown)
        said = worker.ask(do="linear", statements=self.statements)
        assert said["code"] == 0, "%s does not run in one process:\n%s" % (self.name, said["error"])
        self.expected = said["output"]


def compile_cases(cases):
    """What kfhost makes of the cases, in one process."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([KFHOST, os.path.join(HERE, "compile.lua")], input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("kfhost: " + done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def judge(program, compiled, answer):
    """None when the case is right, else what is wrong with it."""
    telling = [d for d in compiled["diagnostics"] if d["code"] in TELLING]
    errors = [d for d in compiled["diagnostics"] if d["severity"] == "error"]
    if errors:
        known = {"two-producers", "missing-edge"}
        if {d["code"] for d in telling} & {"star-import", "dynamic-names"}:
            known.add("undefined-name")  # the name may come from there
        wrong = [d for d in errors if d["code"] not in known]
        return "refused: " + wrong[0]["message"] if wrong else None
    if answer["code"] != 0:
        if "cannot be handed to another step" in answer["error"] and program.header.get("stays"):
            return None
        return None if telling else "step %s failed:\n%s" % (answer["step"], answer["error"])
    if not same(answer["output"], program.expected) and not telling:
        return "differs:\n" + difference(program.expected, answer["output"])
    return None


def plain(text):
    """Output without addresses."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x", text)


def same(one, other):
    return plain(one) == plain(other)


def difference(want, got):
    want, got = plain(want).splitlines(), plain(got).splitlines()
    for number in range(max(len(want), len(got))):
        one = want[number] if number < len(want) else "(end)"
        two = got[number] if number < len(got) else "(end)"
        if one != two:
            return "  want %s\n  got  %s" % (one[:400], two[:400])
    return ""


def describe(case):
    lines = []
    for b in case["blocks"]:
        lines.append("  # %s %s" % (b.get("step") or b["tag"], b["prev"]))
        lines += ["    " + text.replace("\n", "\n    ") for text in case["statements"][b["first"] - 1:b["last"]]]
    return "\n".join(lines)


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        self.failures = {}
        self.counts = {"equal": 0, "named": 0, "refused": 0}
        self.lock = threading.Lock()

    def cases(self, programs):
        cases = []
        for program in programs:
            for name, blocks, how in all_cuts(program.statements, self.arguments.seed, self.arguments.shapes):
                cases.append({"id": "%s/%s" % (program.name, name), "statements": program.statements,
                              "blocks": blocks, "repair": how == "repair", "infer": how == "infer"})
        if self.arguments.sample:
            cases = random.Random(self.arguments.seed).sample(cases, min(self.arguments.sample, len(cases)))
        return cases

    def check(self, worker, program, case, compiled):
        answer = {"code": 0, "output": ""}
        if compiled.get("tasks") is not None:
            answer = worker.ask(do="tasks", tasks=compiled["tasks"])
        wrong = judge(program, compiled, answer)
        with self.lock:
            if wrong:
                self.failures.setdefault(program.name, []).append((case, compiled, wrong))
            elif compiled.get("tasks") is None:
                self.counts["refused"] += 1
            else:
                self.counts["equal" if same(answer["output"], program.expected) else "named"] += 1

    def drain(self, modules, work):
        worker = Worker(modules)
        try:
            while True:
                with self.lock:
                    if not work:
                        return
                    item = work.pop()
                self.check(worker, *item)
        finally:
            worker.close()

    def run(self, programs, modules):
        by_name = {program.name: program for program in programs}
        cases = self.cases(programs)
        work = []
        for case, compiled in zip(cases, compile_cases(cases)):
            case["blocks"] = compiled["blocks"]
            work.append((by_name[case["id"].rsplit("/", 1)[0]], case, compiled))
        threads = [threading.Thread(target=self.drain, args=(modules, work)) for _ in range(self.arguments.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(cases)


def read_programs(arguments):
    programs = []
    for path in sorted(glob.glob(os.path.join(HERE, "programs", "*.py"))):
        with open(path) as file:
            programs.append(Program(os.path.basename(path)[:-3], file.read()))
    for number in range(arguments.generated):
        seed = "%s-%d" % (arguments.seed, number)
        programs.append(Program("generated-" + seed, generate(seed)))
    if arguments.only:
        programs = [p for p in programs if fnmatch.fnmatch(p.name, arguments.only)]
    return [p for p in programs
            if tuple(map(int, p.header.get("python", "3.8").split("."))) <= sys.version_info[:2]
            and can_import(p.header.get("needs", "").split())]


def can_import(names):
    import importlib.util
    return all(importlib.util.find_spec(name) for name in names)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default="1")
    parser.add_argument("--sample", type=int, help="so many cases of all")
    parser.add_argument("--generated", type=int, default=200)
    parser.add_argument("--shapes", type=int, default=20)
    parser.add_argument("--only", help="programs whose name matches")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", action="store_true", dest="verbose")
    arguments = parser.parse_args()
    programs = read_programs(arguments)
    modules = sorted({m for p in programs for m in p.header.get("needs", "").split()})
    worker = Worker(modules)
    for program in programs:
        program.prepare(worker)
    worker.close()
    run = Run(arguments)
    total = run.run(programs, modules)
    for number, program in enumerate(programs, 1):
        wrong = run.failures.get(program.name, [])
        print("%s %d - %s%s" % ("not ok" if wrong else "ok", number, program.name,
                                " (%d cuts)" % len(wrong) if wrong else ""))
        for case, compiled, text in (wrong if arguments.verbose else wrong[:1]):
            said = ["%s: %s" % (d["code"], d["message"]) for d in compiled["diagnostics"]]
            print("  %s: %s" % (case["id"], text))
            print("\n".join("  said " + line for line in said))
            print(describe(case))
    print("# %d cases: %s" % (total, ", ".join("%d %s" % (n, k) for k, n in run.counts.items())))
    failed = len(run.failures)
    print("%d passed, %d failed" % (len(programs) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
