class Lazy:
    def __init__(self, make):
        self._make = make
        self._value = None
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return "no " + name
    @property
    def value(self):
        if self._value is None:
            self._value = self._make()
        return self._value
calls = []
def expensive():
    calls.append(1)
    return {"big": size}
size = 3
lazy = Lazy(expensive)
print(lazy.value, lazy.missing)
print(len(calls))
lazy.value["big"] = 9
print(lazy.value, calls)
class Track(dict):
    def __setitem__(self, k, v):
        calls.append(k)
        super().__setitem__(k, v)
    def __missing__(self, k):
        return "?" + k
t = Track(a=1)
t["b"] = 2
print(t["zz"], dict(t), calls)
class MyList(list):
    extra = None
ml = MyList([1, 2])
ml.extra = t
ml.append(3)
print(ml, ml.extra is t)
t["c"] = ml
print(t["c"].extra["b"], len(calls))
other = Lazy(lambda: size + 1)
size = 50
print(other.value)
