class Meta(type):
    def __new__(mcls, name, bases, ns):
        made = super().__new__(mcls, name, bases, ns)
        made.tag = name.lower()
        return made
class Base(metaclass=Meta):
    pass
class Leaf(Base):
    __slots__ = ("v",)
    def __init__(self, v):
        self.v = v
class Money:
    __slots__ = ["amount", "code"]
    def __init__(self, amount, code="EUR"):
        self.amount, self.code = amount, code
    def __eq__(self, other):
        return (self.amount, self.code) == (other.amount, other.code)
    def __hash__(self):
        return hash((self.amount, self.code))
leaf = Leaf(3)
print(leaf.v, Leaf.tag, Base.tag)
a, b = Money(1), Money(1)
print(a == b, len({a, b}))
purse = {a: "first"}
b.amount = 2
print(purse[Money(1)], b.amount)
wallet = [a, b]
a.code = "USD"
print([(m.amount, m.code) for m in wallet])
leaf.v += 1
print(leaf.v, isinstance(leaf, Base), type(type(leaf)).__name__)
