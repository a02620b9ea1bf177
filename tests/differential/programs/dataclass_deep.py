from dataclasses import dataclass, field, replace, asdict
from typing import List, Optional
DEFAULT_RATE = 0.1
@dataclass
class Layer:
    size: int
    rate: float = DEFAULT_RATE
    children: List["Layer"] = field(default_factory=list)
    parent: Optional["Layer"] = field(default=None, repr=False, compare=False)
    def add(self, size):
        child = Layer(size, self.rate / 2, parent=self)
        self.children.append(child)
        return child
@dataclass(frozen=True)
class Config:
    name: str
    layers: tuple = ()
root = Layer(8)
left = root.add(4)
right = root.add(2)
leaf = left.add(1)
print(leaf.parent is left, leaf.rate, root)
config = Config("net", (8, 4))
other = replace(config, name="copy")
print(config, other, config == Config("net", (8, 4)), hash(config) == hash(Config("net", (8, 4))))
leaf.size = 7
print(root.children[0].children[0].size, left.parent.size)
DEFAULT_RATE = 0.9
print(Layer(1).rate, DEFAULT_RATE)
sizes = []
def visit(l):
    sizes.append(l.size)
    for c in l.children:
        visit(c)
visit(root)
print(sizes)
