import json
import math as m
import collections
import importlib
tools = {"json": json, "math": m}
text = tools["json"].dumps({"b": 1, "a": [True, None]}, sort_keys=True)
print(text)
root = tools["math"].sqrt
value = root(49)
print(value)
mod = importlib.import_module("string")
letters = mod.ascii_lowercase[:3]
print(letters)
alias = collections
counter = alias.Counter(letters)
print(counter)
def use(module, name):
    return getattr(module, name)
pi = use(m, "pi")
print(round(pi, 3))
functions = [m.floor, m.ceil, str.upper, len]
applied = [f("x") if f in (str.upper, len) else f(2.5) for f in functions]
print(applied)
from os import path, sep as separator
print(path.join("a", "b") == "a" + separator + "b")
kinds = [int, str, dict, collections.OrderedDict]
made = [k() for k in kinds]
print(made, type(made[3]) is collections.OrderedDict)
