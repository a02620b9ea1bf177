def counter(start):
    count = start
    def step(by=1):
        nonlocal count
        count += by
        return count
    return step
ticks = counter(10)
other = counter(0)
print(ticks(), ticks(5))
bag = []
def keep(x):
    bag.append(x)
    return len(bag)
print(keep("a"), keep("b"))
adders = [lambda x, n=n: x + n for n in range(3)]
print([f(10) for f in adders])
factor = 7
times = lambda x: x * factor
print(times(2), other(3))
factor = 8
print(times(2), ticks())
import functools
double_up = functools.partial(max, 3)
print(double_up(2), bag)
