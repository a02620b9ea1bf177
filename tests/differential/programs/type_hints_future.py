from __future__ import annotations
from typing import TypeVar, Generic, NamedTuple, Protocol, TypedDict, NewType, Callable
T = TypeVar("T")
UserId = NewType("UserId", int)
class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item
    def map(self, f: Callable[[T], Unknown]) -> Box:
        return Box(f(self.item))
class Point(NamedTuple):
    x: int
    y: int = 0
    def norm(self) -> int:
        return self.x ** 2 + self.y ** 2
class Movie(TypedDict, total=False):
    name: str
    year: int
class Sized(Protocol):
    def size(self) -> int: ...
uid = UserId(7)
box: Box[int] = Box(3)
factor = 1
doubled = box.map(lambda v: v * factor)
factor = 2
print(uid, box.item)
doubled = box.map(lambda v: v * factor)
p = Point(3, 4)
print(doubled.item, p.norm(), p)
film: Movie = {"name": "m"}
film["year"] = 1999
print(film, Point.__annotations__)
def total(ps: list[Point]) -> int:
    return sum(q.norm() for q in ps)
print(total([p, Point(1)]), p._replace(x=0))
