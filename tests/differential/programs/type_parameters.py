# python: 3.12
from dataclasses import dataclass
from collections.abc import Callable
class Base:
    size = 1
class Other(Base):
    size = 2
limit = 3
type Rows[T] = list[tuple[T, Other]]
type Late = dict[str, Later]
class Later:
    pass
def first[T: Base](xs: list[T], n: int = limit) -> T:
    return xs[min(n, len(xs) - 1)]
class Box[T: (int, str)]:
    kinds = [limit]
    def __init__(self, item: T):
        self.item = item
    def map[U](self, f: Callable[[T], U]) -> "Box[U]":
        return Box(f(self.item))
    Kind = list
    type Inner = Kind[T]
box = Box(4)
limit = 30
print(box.map(lambda x: x + limit).item, first([Base(), Other()]).size)
print(Rows.__value__.__args__[0].__args__[1] is Other, Late.__name__)
bound = first.__type_params__[0].__bound__
print(bound.__name__, [p.__name__ for p in Box.__type_params__])
@dataclass
class Pair[A, B]:
    a: A
    b: B
    def swap(self) -> "Pair[B, A]":
        return Pair(self.b, self.a)
def kept[F](f: F) -> F:
    kept.names.append(f.__name__)
    return f
kept.names = []
@kept
def doubled[T](x: T) -> tuple[T, T]:
    return x, x
type Name = Pair[int, Later]
pairs: list[Pair[int, str]] = [Pair(1, "x"), Pair("y", 2).swap()]
print([(p.a, p.b) for p in pairs], doubled(box.item), kept.names)
print(Box.Inner.__value__.__origin__, Name.__value__.__args__[1].__name__, Late.__value__.__args__[1] is Later, bound is Base)
