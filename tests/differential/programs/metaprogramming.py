fields = ["a", "b"]
Record = type("Record", (), {f: i for i, f in enumerate(fields)})
rec = Record()
print(rec.a, rec.b)
setattr(rec, "c", 3)
print(vars(rec), getattr(rec, "b"))
def add_method(cls):
    cls.describe = lambda self: sorted(vars(self))
    return cls
@add_method
class Thing:
    def __init__(self):
        self.x = 1
        self.y = 2
t = Thing()
print(t.describe())
def make_class(name, **attrs):
    return type(name, (Thing,), attrs)
Sub = make_class("Sub", z=9)
s = Sub()
print(s.z, s.describe(), isinstance(s, Thing))
code = compile("q = 6 * 7", "<c>", "exec")
space = {}
exec(code, space)
print(space["q"])
answer = eval("q + 1", {"q": 1})
print(answer)
s.w = 5
print(s.describe(), callable(Sub), Sub.__mro__[1] is Thing)
