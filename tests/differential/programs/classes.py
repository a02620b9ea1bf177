import math
unit = "m"
class Shape:
    sides = 0
    def __init__(self, name):
        self.name = name
    def area(self):
        return 0
    def label(self):
        return "%s %.2f %s" % (self.name, self.area(), unit)
class Square(Shape):
    sides = 4
    def __init__(self, width):
        super().__init__("square")
        self.width = width
    def area(self):
        return self.width ** 2
class Circle(Shape):
    def area(self):
        return math.pi * self.radius ** 2
small = Square(2)
round_one = Circle("circle")
round_one.radius = 1
shapes = [small, round_one]
print([s.label() for s in shapes])
small.width = 3
unit = "km"
labels = {s.name: s.label() for s in shapes}
print(labels)
Shape.sides = 7
counts = [s.sides for s in shapes]
print(counts)
