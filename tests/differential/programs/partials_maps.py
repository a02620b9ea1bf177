import functools
import operator
from functools import partial, reduce
base = 2
def power(exp, x):
    return x ** exp
square = partial(power, 2)
cube = functools.partial(power, 3)
print(square(3), cube(2))
values = list(map(square, range(4)))
big = list(filter(lambda v: v > base, values))
print(values, big)
total = reduce(operator.add, values, base)
print(total)
base = 5
print(list(filter(lambda v: v > base, values)))
getter = operator.itemgetter("k")
rows = [{"k": 3}, {"k": 1}]
rows.sort(key=getter)
print(rows)
@functools.total_ordering
class V:
    def __init__(self, n):
        self.n = n
    def __eq__(self, o):
        return self.n == o.n
    def __lt__(self, o):
        return self.n < o.n
vs = [V(3), V(1)]
print(max(vs).n, V(1) >= V(0))
pick = functools.partial(getattr, vs[0])
print(pick("n"))
vs[0].n = 8
print(pick("n"), square.args)
