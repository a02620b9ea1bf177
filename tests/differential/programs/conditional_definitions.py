import sys
try:
    import numpy_that_is_missing as np
except ImportError:
    np = None
if sys.version_info >= (3, 0):
    def text(x):
        return "t:" + str(x)
else:
    def text(x):
        return x
try:
    from json import loads as parse
except ImportError:
    parse = eval
mode = "fast"
if mode == "fast":
    step = 2
    class Runner:
        def go(self):
            return text(step)
else:
    step = 1
    Runner = None
runner = Runner()
print(runner.go(), np)
print(parse('{"a": [1, 2]}'))
if np is None:
    def mean(xs):
        return sum(xs) / len(xs)
print(mean([1, 2, 3]))
step = 5
print(runner.go())
for name in ("a", "b"):
    exec_order = name
    if name == "b":
        def tail():
            return exec_order + mode
print(tail())
mode = "slow"
print(tail(), name)
