# counted: yes
class Counter:
    total = 0
    made = []
    def __init__(self, name):
        Counter.total += 1
        Counter.made.append(name)
        self.name = name
    @classmethod
    def reset(cls):
        cls.total = 0
a = Counter("a")
b = Counter("b")
print(Counter.total, Counter.made)
c = Counter("c")
print(Counter.total, c.name)
Counter.reset()
print(Counter.total, Counter.made)
d = Counter("d")
Counter.label = "set"
print(Counter.total, Counter.label)
names = [x.name for x in (a, b, c, d)]
print(names, Counter.made)
def fresh():
    return Counter("f")
e = fresh()
print(e.name, Counter.total)
