class Base:
    known = []
    def __init_subclass__(cls, **rest):
        super().__init_subclass__(**rest)
        cls.known.append(cls.__name__)
class One(Base):
    pass
print(Base.known)
class Two(Base):
    pass
print(One.known, len(Base.known))
class Meta(type):
    registry = {}
    def __init__(cls, name, bases, ns):
        super().__init__(name, bases, ns)
        Meta.registry[name] = cls
class A(metaclass=Meta):
    def go(self):
        return "a"
class B(A):
    def go(self):
        return "b" + super().go()
print(sorted(Meta.registry))
things = [kind() for kind in Meta.registry.values()]
print([t.go() for t in things])
handlers = {}
def handles(name):
    def wrap(cls):
        handlers[name] = cls
        return cls
    return wrap
@handles("x")
class X:
    size = 1
@handles("y")
class Y(X):
    size = 2
print({k: v.size for k, v in handlers.items()})
total = sum(handlers[k]().size for k in sorted(handlers))
print(total, len(Base.known), list(Meta.registry))
