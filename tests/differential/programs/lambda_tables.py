import functools
import operator
offset = 10
ops = {"add": lambda a, b: a + b + offset, "mul": operator.mul, "sub": lambda a, b=offset: a - b}
added = ops["add"](1, 2)
offset = 100
again = ops["add"](1, 2)
print(added, again)
ops["neg"] = lambda a, _: -a
results = {k: f(3, 4) for k, f in ops.items()}
print(results)
compose = lambda *fs: functools.reduce(lambda f, g: lambda x: g(f(x)), fs)
pipeline = compose(lambda x: x + 1, lambda x: x * offset)
value = pipeline(1)
print(value)
offset = 1000
print(pipeline(1), ops["sub"](50))
key = functools.cmp_to_key(lambda a, b: (a > b) - (a < b))
ordered = sorted([3, 1, 2], key=key)
print(ordered)
handlers = [lambda i=i: i * offset for i in range(3)]
print([h() for h in handlers])
