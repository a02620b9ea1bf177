limit = 3
class Bounded:
    def __set_name__(self, owner, name):
        self.name = "_" + name
    def __get__(self, obj, owner=None):
        return self if obj is None else getattr(obj, self.name, 0)
    def __set__(self, obj, value):
        setattr(obj, self.name, min(value, limit))
class Computed:
    def __init__(self, function):
        self.function = function
    def __get__(self, obj, owner=None):
        return self.function(obj) + limit
class Box:
    w = Bounded()
    h = Bounded()
    def __init__(self, w, h):
        self.w, self.h = w, h
    @Computed
    def size(self):
        return self.w * self.h
box = Box(2, 10)
print(box.w, box.h, box.size)
limit = 7
box.h = 10
print(box.h, box.size)
other = Box(9, 9)
limit = 1
print(other.w, other.size, vars(other))
class Lazy:
    def __init__(self, make):
        self.make, self.count = make, 0
    def __get__(self, obj, owner=None):
        self.count += 1
        return self.make() * self.count
def start():
    return limit * 10
class Config:
    value = Lazy(start)
config = Config()
print(config.value)
limit = 4
print(config.value, Config.__dict__["value"].count)
class Slotted:
    __slots__ = ("a", "__weakref__")
    half = property(lambda self: self.a / limit)
slotted = Slotted()
slotted.a = 8
limit = 2
print(slotted.half, Slotted.a.__get__(slotted))
read = Slotted.half.fget
print(read(slotted), type(Box.__dict__["w"]).__name__)
