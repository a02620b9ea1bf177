registry = []
class Plugin:
    def __init_subclass__(cls, name=None, **kw):
        super().__init_subclass__(**kw)
        cls.plugin_name = name or cls.__name__
class A(Plugin, name="alpha"):
    pass
class B(A):
    value = 3
    double = value * 2
    table = {k: k * 2 for k in range(2)}
    def get(self):
        return self.double
    class Inner:
        level = "inner"
        def show(self):
            return self.level
    alias = Inner
print(A.plugin_name, B.plugin_name, B().get())
inner = B.Inner()
print(inner.show(), B.alias is B.Inner)
b = B()
b.double = 50
print(b.get(), B().get(), B.table)
class WithDesc:
    class Field:
        def __set_name__(self, owner, name):
            self.name = "_" + name
        def __get__(self, obj, kind):
            return getattr(obj, self.name, None)
        def __set__(self, obj, value):
            setattr(obj, self.name, value * 2)
    x = Field()
    y = Field()
d = WithDesc()
d.x = 4
print(d.x, d.y, vars(d))
objects = [b, d, inner]
d.y = 1
print(objects[1].y, type(objects[2]).__qualname__)
mixin = type("Mixin", (), {"hi": lambda self: "hi"})
print(mixin().hi())
