"""katib.suggest beside the libraries of Katib's services: the same functions, seeds and number of trials.

compare.py KFHOST [--short] [--jobs N]      the short form: 5 seeds and two algorithms; prints TAP

What the rivals reach depends on their versions and the seed alone: each result is kept beside their environment, so
that a run that was interrupted goes on, and another one only runs ours.

Bars: by rank sum not worse at p < 0.01 anywhere; median regret at most 1.1 times the rival's (not asked of random,
which is luck on both sides, nor of so few seeds as the short form has); random loses to every model.
"""
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from functions import FUNCTIONS

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["tpe", "multivariate-tpe", "cmaes", "bayesianoptimization"]
TRIALS = 60
KEPT = os.path.join(sys.prefix, "regrets")


def p_worse(ours, theirs):
    """The chance that ranks as high as ours come from the same distribution (normal approximation)."""
    order = sorted([(v, 0) for v in ours] + [(v, 1) for v in theirs])
    rank_sum, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and order[end][0] == order[start][0]:
            end += 1
        rank_sum += sum((start + end + 1) / 2 for i in range(start, end) if order[i][1] == 0)
        start = end
    n, m = len(ours), len(theirs)
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    return 0.5 * math.erfc((rank_sum - n * (n + m + 1) / 2) / deviation / math.sqrt(2))


def regrets(command, algorithm, name, first, last):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    words = command + [algorithm, name, str(first), str(last), str(TRIALS)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def rival_regrets(command, algorithm, name, seeds):
    """One process a seed; what is known already is read."""
    versions = hashlib.sha256()
    for part in ("requirements.txt", "functions.py", "rivals.py"):
        with open(os.path.join(HERE, part), "rb") as file:
            versions.update(file.read())
    found = []
    for seed in range(1, seeds + 1):
        path = os.path.join(KEPT, f"{versions.hexdigest()[:16]}-{algorithm}-{name}-{seed}-{TRIALS}")
        if not os.path.exists(path):
            values = regrets(command, algorithm, name, seed, seed)
            os.makedirs(KEPT, exist_ok=True)
            with open(path + ".part", "w") as file:
                json.dump(values, file)
            os.replace(path + ".part", path)
        with open(path) as file:
            found += json.load(file)
    return found


def main():
    kfhost, short = sys.argv[1], "--short" in sys.argv
    jobs = int(sys.argv[sys.argv.index("--jobs") + 1]) if "--jobs" in sys.argv else 2
    algorithms = ["tpe", "multivariate-tpe"] if short else ["random"] + MODELS
    own = [kfhost, os.path.join(HERE, "ours.lua")]
    rival = [sys.executable, os.path.join(HERE, "rivals.py")]
    seeds = 5 if short else 30
    pairs = [(a, f) for a in algorithms for f in FUNCTIONS]
    with ThreadPoolExecutor(jobs) as pool:
        theirs = {p: pool.submit(rival_regrets, rival, *p, seeds) for p in pairs}
        ours = {p: pool.submit(regrets, own, *p, 1, seeds) for p in pairs + [("random", f) for f in FUNCTIONS]}
        theirs = {p: r.result() for p, r in theirs.items()}
        ours = {p: r.result() for p, r in ours.items()}
    failed = 0

    def check(holds, text):
        nonlocal failed
        failed += not holds
        print(f"{'ok' if holds else 'not ok'} - {text}")

    for a, f in pairs:
        mine, other = statistics.median(ours[a, f]), statistics.median(theirs[a, f])
        p = p_worse(ours[a, f], theirs[a, f])
        by_median = short or a == "random" or mine <= 1.1 * other
        check(p >= 0.01 and by_median, f"{a} on {f}: median regret {mine:.4g}, rival {other:.4g}, p(worse) {p:.3f}")
    for a in algorithms:
        for f in FUNCTIONS:
            if a != "random":
                lost = statistics.median(ours[a, f]) < statistics.median(ours["random", f])
                check(lost, f"random loses to {a} on {f}")
    sys.exit(failed > 0)


main()
