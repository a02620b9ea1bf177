unit = "m"
class Plugin:
    def __init_subclass__(cls, key=None, **rest):
        super().__init_subclass__(**rest)
        cls.key = key or cls.__name__.lower()
    def label(self):
        return self.key + ":" + unit
class Fast(Plugin):
    pass
class Slow(Plugin, key="sl"):
    speed = 1
unit = "km"
plugins = [Fast, Slow]
print([p.key for p in plugins], Fast().label())
class Late(Fast, key="late"):
    pass
plugins.append(Late)
made = {p.key: p() for p in plugins}
print(sorted(made), made["late"].label())
unit = "mi"
print(made["sl"].label(), isinstance(made["late"], Fast))
class Tagged(type):
    def __new__(mcls, name, bases, ns):
        made = super().__new__(mcls, name, bases, ns)
        made.tag = name.upper()
        return made
    def shout(cls):
        return cls.tag + unit
class Model(metaclass=Tagged):
    rate = 2
class Small(Model):
    rate = 3
models = (Model, Small)
unit = "cm"
print([m.shout() for m in models], Small.tag)
rates = {m.tag: m.rate for m in models}
class Tiny(Small):
    rate = 4
rates[Tiny.tag] = Tiny.rate
print(rates, Tiny.shout(), Tiny.__mro__[1] is Small)
best = max(models + (Tiny,), key=lambda m: m.rate)
print(best.__name__, best().rate)
