rate = 2
offset = 1
class Shape:
    def area(self):
        return self.side() * rate
    def side(self):
        return offset
class Square(Shape):
    def side(self):
        return 3 + offset
square = Square()
rate = 5
print(square.area())
class Cube(Square):
    def area(self):
        return super().area() * 10
cube = Cube()
offset = 7
print(cube.area(), square.area())
def scaled(x, by=lambda v: v * rate):
    return by(x)
rate = 11
print(scaled(2))
def helper(x):
    return x + offset
class Table:
    actions = {"help": helper, "scale": scaled}
    def run(self, name, x):
        return self.actions[name](x)
table = Table()
offset = 100
print(table.run("help", 1), table.run("scale", 1))
class Mixin:
    def both(self):
        return (rate, offset)
class Mixed(Mixin, Table):
    pass
mixed = Mixed()
rate, offset = 0, 1
print(mixed.both(), mixed.run("scale", 5), Cube().area())
