"""The regrets of hyperopt, Optuna and scikit-optimize: rivals.py ALGORITHM FUNCTION FIRST_SEED LAST_SEED TRIALS.

The library is the one that Katib's service for the algorithm uses (for cmaes: Optuna's, as goptuna's is the same
method); the settings are the defaults of that service.
"""
import json
import logging
import math
import sys
import warnings

from functions import FUNCTIONS

warnings.filterwarnings("ignore")


def with_hyperopt(algorithm, space, cost, seed, trials):
    import numpy as np
    from hyperopt import fmin, hp, rand, tpe
    logging.getLogger("hyperopt").setLevel(logging.ERROR)
    kinds = {"double": lambda n, s: hp.uniform(n, s[1], s[2]),
             "log": lambda n, s: hp.loguniform(n, math.log(s[1]), math.log(s[2])),
             "int": lambda n, s: hp.uniformint(n, s[1], s[2]), "list": lambda n, s: hp.choice(n, s[1])}
    domain = {name: kinds[spec[0]](name, spec) for name, spec in space.items()}
    values = []

    def objective(v):
        values.append(cost(v))
        return values[-1]

    fmin(objective, domain, algo=(tpe if algorithm == "tpe" else rand).suggest, max_evals=trials,
         rstate=np.random.default_rng(seed), show_progressbar=False, verbose=False)
    return min(values)


def with_optuna(algorithm, space, cost, seed, trials):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if algorithm == "cmaes":
        sampler = optuna.samplers.CmaEsSampler(seed=seed)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)

    def objective(trial):
        v = {}
        for name, s in space.items():
            if s[0] == "list":
                v[name] = trial.suggest_categorical(name, s[1])
            elif s[0] == "int":
                v[name] = trial.suggest_int(name, s[1], s[2])
            else:
                v[name] = trial.suggest_float(name, s[1], s[2], log=s[0] == "log")
        return cost(v)

    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study.best_value


def with_skopt(_, space, cost, seed, trials):
    import skopt
    kinds = {"double": lambda s: skopt.space.Real(s[1], s[2]),
             "log": lambda s: skopt.space.Real(s[1], s[2], "log-uniform"),
             "int": lambda s: skopt.space.Integer(s[1], s[2]), "list": lambda s: skopt.space.Categorical(s[1])}
    optimizer = skopt.Optimizer([kinds[s[0]](s) for s in space.values()], base_estimator="GP", random_state=seed)
    lowest = math.inf
    for _ in range(trials):
        point = optimizer.ask()
        value = float(cost(dict(zip(space, point))))
        lowest = min(lowest, value)
        optimizer.tell(point, value)
    return lowest


RIVALS = {"random": with_hyperopt, "tpe": with_hyperopt, "multivariate-tpe": with_optuna, "cmaes": with_optuna,
          "bayesianoptimization": with_skopt}


def main():
    algorithm, name, first, last, trials = sys.argv[1:]
    space, cost, optimum = FUNCTIONS[name]
    print(json.dumps([RIVALS[algorithm](algorithm, space, cost, seed, int(trials)) - optimum
                      for seed in range(int(first), int(last) + 1)]))


main()
