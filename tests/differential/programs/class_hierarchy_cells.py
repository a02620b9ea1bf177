from abc import ABC, abstractmethod
class Shape(ABC):
    registry = {}
    def __init_subclass__(cls, **kw):
        super().__init_subclass__(**kw)
        Shape.registry[cls.__name__] = cls
    @abstractmethod
    def area(self): ...
class Square(Shape):
    def __init__(self, a): self.a = a
    def area(self): return self.a ** 2
class Cube(Square):
    def area(self): return 6 * super().area()
shapes = [Square(2), Cube(3)]
total = sum(s.area() for s in shapes)
print(total, sorted(Shape.registry))
class Tall(Cube):
    scale = 2
    def area(self): return self.scale * super().area()
tall = Tall(1)
shapes.append(tall)
names = [type(s).__name__ for s in shapes]
print(names, Shape.registry.keys() - {"Tall"})
is_square = isinstance(tall, Square)
areas = {type(s).__name__: s.area() for s in shapes}
print(is_square, areas, len(Shape.registry))
