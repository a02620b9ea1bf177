import itertools
import functools
counter = itertools.count(10)
calls = 0
def tick(n=1):
    global calls
    calls += n
    return calls
first = next(counter)
tick()
second = next(counter)
ids = [tick(2) for _ in range(3)]
def tagged(f):
    tagged.count += 1
    return f
tagged.count = 0
@tagged
def one(): return 1
@tagged
def two(): return one() + 1
print(tagged.count, two())
after = calls
third = next(counter)
print(first, second, third, after, calls)
tick(10)
print(calls)
