import functools
import time
history = []
factor = 2
def times(n=None, *, note=history):
    def wrap(fn):
        count = 0
        @functools.wraps(fn)
        def inner(*args):
            nonlocal count
            count += 1
            note.append((fn.__name__, count))
            return fn(*args) * (n or factor)
        inner.count = lambda: count
        return inner
    return wrap
@times(3)
def plus(a, b):
    return a + b
@times()
def minus(a, b):
    return a - b
print(plus(1, 2), minus(5, 1))
factor = 10
print(minus(5, 1), plus.count(), minus.count())
class Counted:
    def __init__(self, fn):
        functools.update_wrapper(self, fn)
        self.fn, self.calls = fn, 0
    def __call__(self, *args):
        self.calls += 1
        return self.fn(*args)
@Counted
def greet(name):
    return "hi " + name * factor
print(greet("a"), greet.calls)
factor = 1
more = [greet(x) for x in "bc"]
print(more, greet.calls, history)
def once(fn):
    done = []
    def inner():
        if not done:
            done.append(fn())
        return done[0]
    return inner
@once
def setting():
    history.append("made")
    return factor
print(setting(), setting())
factor = 5
print(setting(), history[-1], plus.__name__, plus.__wrapped__(1, 1))
def with_default(x, seen={}, stamp=time.time):
    seen[x] = seen.get(x, 0) + 1
    return dict(seen), stamp() > 0
print(with_default("k"))
print(with_default("k"), with_default("l"))
last = with_default("k")[0]
print(last, len(history))
