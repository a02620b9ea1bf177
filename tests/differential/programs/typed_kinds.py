import dataclasses
import enum
import typing
from typing import Generic, NamedTuple, Protocol, TypedDict, TypeVar, runtime_checkable
T = TypeVar("T")
scale = 2
class Point(NamedTuple):
    x: int
    y: int = 0
    def far(self):
        return (self.x + self.y) * scale
class Options(TypedDict, total=False):
    name: str
    size: int
@runtime_checkable
class Sized(Protocol):
    def size(self) -> int: ...
class Stack(Generic[T]):
    def __init__(self, *items: T):
        self.items = list(items)
    def push(self, item: T) -> "Stack[T]":
        self.items.append(item)
        return self
    def size(self) -> int:
        return len(self.items) * scale
class Named(Stack[T]):
    name = "named"
point = Point(3)
scale = 10
print(point.far(), point._replace(y=4), isinstance(Stack(1), Sized))
options: Options = {"name": "a"}
options["size"] = 3
stack = Named[int](1, 2)
stack.push(3)
scale = 1
print(stack.size(), stack.items, typing.get_type_hints(Options))
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 5
    @property
    def scaled(self):
        return self.value * scale
class Color(enum.Flag):
    RED = enum.auto()
    BLUE = enum.auto()
@dataclasses.dataclass(order=True)
class Task:
    level: Level
    name: str = dataclasses.field(compare=False, default="task")
    parts: list = dataclasses.field(default_factory=list)
    def cost(self):
        return self.level.scaled + len(self.parts)
tasks = [Task(Level.HIGH), Task(Level.LOW, "first", [1])]
scale = 3
print(sorted(tasks)[0].name, [t.cost() for t in tasks])
purple = Color.RED | Color.BLUE
tasks[0].parts.append(purple)
print(tasks[0].cost(), Color.RED in purple, Level(5) is tasks[0].level)
table: "dict[Level, list[Task]]" = {Level.LOW: tasks[1:]}
table[Level.LOW][0].parts.append(2)
print(tasks[1].parts, dataclasses.replace(tasks[1], name="b"))
Pair = NamedTuple("Pair", [("a", int), ("b", str)])
pair = Pair(1, "z")
print(pair, Pair._fields, Named.__mro__[1].__name__)
