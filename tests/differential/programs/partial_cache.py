import functools
@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
tenth = fib(10)
print(tenth)
power = functools.partial(pow, 2)
eight = power(3)
square = functools.partial(lambda base, x, p: x ** p + base, 1, p=2)
nine = square(3)
print(eight, nine)
@functools.lru_cache
def slow(n, log=[]):
    log.append(n)
    return len(log)
a = slow(1)
b = slow(1)
c = slow(2)
print(a, b, c)
@functools.singledispatch
def show(x): return "any"
@show.register
def _(x: int): return "int"
@show.register(list)
def _(x): return "list of " + show(x[0])
print(show(1), show([1]), show("a"))
class Grid:
    @functools.cached_property
    def cells(self): return [1, 2]
grid = Grid()
grid.cells.append(3)
print(grid.cells, eight + nine)
