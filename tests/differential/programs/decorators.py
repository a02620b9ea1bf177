import functools
calls = []
def traced(fn):
    @functools.wraps(fn)
    def inner(*args):
        calls.append(fn.__name__)
        return fn(*args)
    return inner
@traced
def add(a, b):
    return a + b
@traced
def twice(a):
    return add(a, a)
print(add(1, 2), twice(4))
print(calls)
registry = {}
def register(name):
    def wrap(fn):
        registry[name] = fn
        return fn
    return wrap
@register("one")
def handler_one():
    return "first"
@register("two")
def handler_two():
    return "second " + handler_one()
print({k: v() for k, v in registry.items()})
@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
print(fib(20))
calls.clear()
print(twice(1), calls)
