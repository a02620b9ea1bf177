first, second = 1, 2
first, second = second, first
(a, b), [c, *d] = (3, 4), "xyz"
print(first, second, a, b, c, d)
data = {"k": (1, [2, 3])}
x, (y, z) = data["k"]
print(x, y, z)
head, *_, tail = range(5)
print(head, tail)
p = q = []
p.append(1)
print(q, p is q)
merged = {**data, "m": [*d, *p]}
print(merged)
q.append(2)
def spread(*args, key=None, **kw):
    return args, key, sorted(kw.items())
print(spread(*d, key=a, **{"b": b}))
m, n = divmod(17, 5)
swap = {m: n}
m, n = n, m
print(m, n, swap)
for i, (u, v) in enumerate([(1, 2), (3, 4)]):
    last = i * u * v
print(i, u, v, last, merged["m"], p)
a = b = c = 0
print(a, b, c, q)
