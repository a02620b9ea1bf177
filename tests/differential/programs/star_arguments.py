defaults = {"alpha": 1, "beta": [2]}
def build(**options):
    settings = dict(defaults, **options)
    return settings
one = build()
two = build(alpha=5)
two["beta"].append(3)
print(one, defaults)
def call(fn, *args, **kwargs):
    log.append((fn.__name__, len(args), sorted(kwargs)))
    return fn(*args, **kwargs)
log = []
three = call(build, gamma=True)
print(log, three["gamma"])
params = [("a", 1), ("b", 2)]
def kw_only(*, a, b=0):
    return a - b
print(kw_only(**dict(params)), call(kw_only, a=3))
def pos_only(x, y, /, z):
    return x, y, z
print(pos_only(1, 2, z=3))
args = [1, 2]
args += (3,)
print(pos_only(*args))
defaults["alpha"] = 100
print(build()["alpha"], two["alpha"], len(log))
