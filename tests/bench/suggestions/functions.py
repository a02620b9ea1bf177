"""The functions of functions.lua for the rivals: search space, cost, minimum."""
import math

A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
ALPHA = [1.0, 1.2, 3.0, 3.2]


def branin(v):
    a = v["x2"] - 5.1 / (4 * math.pi ** 2) * v["x1"] ** 2 + 5 / math.pi * v["x1"] - 6
    return a * a + 10 * (1 - 1 / (8 * math.pi)) * math.cos(v["x1"]) + 10


def hartmann6(v):
    inner = [sum(A[i][j] * (v[f"x{j + 1}"] - P[i][j] * 1e-4) ** 2 for j in range(6)) for i in range(4)]
    return -sum(ALPHA[i] * math.exp(-inner[i]) for i in range(4))


def rosenbrock4(v):
    x = [v[f"x{i}"] for i in range(1, 5)]
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(3))


def ackley10(v):
    x = [v[f"x{i}"] for i in range(1, 11)]
    return (-20 * math.exp(-0.2 * math.sqrt(sum(t * t for t in x) / 10))
            - math.exp(sum(math.cos(2 * math.pi * t) for t in x) / 10) + 20 + math.e)


PENALTY = {"sgd": 0.3, "adam": 0.0, "rmsprop": 0.15, "adagrad": 0.5}


def mixed(v):
    best = -1.2 if v["optimizer"] == "sgd" else -2.7
    return (PENALTY[v["optimizer"]] + 0.25 * (math.log10(v["rate"]) - best) ** 2 + 0.02 * (v["depth"] - 7) ** 2
            + 0.1 * abs(math.log2(float(v["batch"])) - 6) + 2 * (v["dropout"] - 0.35) ** 2)


def box(count, low, high):
    return {f"x{i + 1}": ("double", low, high) for i in range(count)}


# name: (space, cost, minimum)
FUNCTIONS = {
    "branin": ({"x1": ("double", -5, 10), "x2": ("double", 0, 15)}, branin, 0.39788735772973816),
    "hartmann6": (box(6, 0, 1), hartmann6, -3.3223680114155147),
    "rosenbrock4": (box(4, -2, 2.5), rosenbrock4, 0.0),
    "ackley10": (box(10, -20, 35), ackley10, 0.0),
    "mixed": ({"rate": ("log", 1e-5, 1), "depth": ("int", 1, 12),
               "optimizer": ("list", ["sgd", "adam", "rmsprop", "adagrad"]),
               "batch": ("list", ["16", "32", "64", "128", "256"]), "dropout": ("double", 0, 0.9)}, mixed, 0.0),
}
