"""What Optuna's grid sampler gives, called as Katib's service calls it, for the spaces on standard input."""
import itertools
import json
import sys

import numpy as np
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def values(parameter):
    kind, space = parameter["parameterType"], parameter["feasibleSpace"]
    if kind == "int":
        return range(int(space["min"]), int(space["max"]) + 1, int(space.get("step", 1)))
    if kind == "double":
        low, high, step = (float(space[k]) for k in ("min", "max", "step"))
        grid = np.arange(low, high + step, step)
        return grid[:-1] if grid[-1] > high else grid
    return space["list"]


def distribution(parameter):
    kind, space = parameter["parameterType"], parameter["feasibleSpace"]
    if kind == "int":
        return optuna.distributions.IntDistribution(int(space["min"]), int(space["max"]), step=int(space.get("step", 1)))
    if kind == "double":
        low, high, step = (float(space[k]) for k in ("min", "max", "step"))
        return optuna.distributions.FloatDistribution(low, high, step=step)
    return optuna.distributions.CategoricalDistribution(space["list"])


def main():
    cases = json.load(sys.stdin)
    for case in cases:
        grid = {p["name"]: values(p) for p in case["parameters"]}
        size = len(list(itertools.product(*grid.values())))
        seed = int(case["random_state"]) if "random_state" in case else None
        study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid, seed=seed))
        spaces = {p["name"]: distribution(p) for p in case["parameters"]}
        case["points"] = [{k: str(v) for k, v in study.ask(spaces).params.items()} for _ in range(min(size, 80))]
    json.dump(cases, sys.stdout)


main()
