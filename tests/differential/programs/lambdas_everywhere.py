offset = 1
ops = {"inc": lambda x: x + offset, "dbl": lambda x: x * 2}
print(ops["inc"](1))
chain = [ops["inc"], ops["dbl"], lambda x: -x]
def run(v, fs=None):
    for f in fs or chain:
        v = f(v)
    return v
print(run(3))
offset = 100
print(run(3), run(1, [ops["dbl"]]))
compose = lambda f, g: lambda x: g(f(x))
both = compose(ops["inc"], ops["dbl"])
print(both(0))
offset = 7
print(both(0))
pairs = sorted([(2, "b"), (1, "c")], key=lambda p: p[1])
best = max(pairs, key=lambda p: (p[0], offset))
print(pairs, best)
make = lambda n: [lambda: n + offset, lambda: n - offset]
plus, minus = make(10)
print(plus(), minus())
offset += 1
print(plus(), minus(), (lambda *a, **k: (a, k))(1, z=offset))
default = lambda x, y=offset: x + y
offset = 0
print(default(1))
