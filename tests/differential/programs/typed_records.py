from dataclasses import dataclass, field, replace, asdict
from enum import Enum, Flag, auto
from typing import NamedTuple, Protocol, runtime_checkable, TypedDict, Generic, TypeVar, Optional
T = TypeVar("T")
class Level(Enum):
    LOW = 1
    HIGH = 2
    @classmethod
    def of(cls, n): return cls.HIGH if n > LIMIT else cls.LOW
LIMIT = 5
class Mode(Flag):
    READ = auto()
    WRITE = auto()
class Point(NamedTuple):
    x: int
    y: int = 0
    def norm(self): return abs(self.x) + abs(self.y)
@dataclass(order=True)
class Job:
    level: Level = field(compare=False)
    name: str = "job"
    tags: list = field(default_factory=list)
class Row(TypedDict, total=False):
    a: int
@runtime_checkable
class Named(Protocol):
    name: str
class Box(Generic[T]):
    def __init__(self, item: T): self.item = item
job = Job(Level.of(9), tags=["a"])
other = replace(job, name="x")
other.tags.append("b")
print(job, asdict(other)["tags"], isinstance(job, Named))
row: Row = {"a": 1}
point = Point(3)._replace(y=-4)
box = Box[int](point)
print(point.norm(), box.item == point, Mode.READ | Mode.WRITE)
LIMIT = 50
by_level = {Level.of(9): [job], Level.of(99): [other]}
print({k.name: [j.name for j in v] for k, v in by_level.items()})
both = Mode.READ | Mode.WRITE
print(both & Mode.WRITE is Mode.WRITE or bool(both & Mode.WRITE), max([job, other]).name)
