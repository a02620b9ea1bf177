class Vector:
    def __init__(self, *xs):
        self.xs = list(xs)
    def __isub__(self, n):
        self.xs = [x - n for x in self.xs]
        return self
    def __iadd__(self, other):
        self.xs += other
        return self
weights = [Vector(1, 2), Vector(3)]
def descend(ws, rate=1):
    for w in ws:
        w -= rate
descend(weights)
print([w.xs for w in weights])
for w in weights:
    w -= 10
print([v.xs for v in weights])
state = {"weights": weights, "step": 0}
def train(st, n):
    for _ in range(n):
        descend(st["weights"])
        st["step"] += 1
    return st
out = train(state, 2)
print(weights[0].xs, out["step"])
def grow(v, more):
    v += more
grow(weights[1], [7])
print(weights[1].xs)
numbers = [1, 2, 3]
for n in numbers:
    n += 1
print(n, numbers)
def count(n):
    n += 1
    return n
base = 4
print(count(base), base)
rows = [[1], [2]]
for row in rows:
    row += [0]
print(rows, row is rows[1])
class Bus:
    def __init__(self):
        self.listeners = []
    def on(self, f):
        self.listeners.append(f)
        return f
bus = Bus()
heard = []
@bus.on
def listen(x):
    heard.append(x * base)
@bus.on
def also(x):
    heard.append(-x)
base = 5
for f in bus.listeners:
    f(3)
print(heard, len(bus.listeners))
