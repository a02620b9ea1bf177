import functools
import operator
rate = 2
def tax(amount, *, by):
    return amount * by + rate
low = functools.partial(tax, by=1)
high = functools.partial(low, by=10)
rate = 5
print(low(1), high(1), high.func is tax)
@functools.singledispatch
def size(x):
    return rate
@size.register
def _(x: list):
    return len(x) * rate
class Thing:
    weight = 3
    @functools.singledispatchmethod
    def eat(self, food):
        return "?"
    @eat.register
    def _(self, food: int):
        return food * rate + self.weight
    @eat.register(str)
    def _(self, food):
        return food * self.weight
@size.register(Thing)
def _(x):
    return x.weight + rate
thing = Thing()
rate = 7
print(size(1), size([1, 2]), size(thing))
thing.weight = 1
print(thing.eat(2), thing.eat("ab"), thing.eat(None), size(thing))
@functools.cache
def slow(n):
    return n * 10
values = [slow(n) for n in (1, 2, 1)]
print(values, slow.cache_info().hits)
class Lazy:
    @functools.cached_property
    def data(self):
        return [rate]
lazy = Lazy()
rate = 9
print(lazy.data)
rate = 1
lazy.data.append(rate)
print(lazy.data, vars(lazy))
compose = functools.reduce(lambda f, g: lambda x: g(f(x)), [low, operator.neg, str])
rate = 100
print(compose(1))
by_name = sorted([{"n": 2}, {"n": 1}], key=operator.itemgetter("n"))
method = thing.eat
print(by_name, method(1), operator.methodcaller("eat", 3)(thing))
@functools.total_ordering
class Version:
    def __init__(self, n):
        self.n = n
    def __eq__(self, other):
        return self.n == other.n
    def __lt__(self, other):
        return self.n < other.n + rate * 0
newest = max(Version(1), Version(3), Version(2))
print(newest.n, Version(1) <= newest)
