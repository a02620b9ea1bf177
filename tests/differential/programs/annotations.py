from typing import List, Dict, Optional
count: int = 3
names: List[str] = ["a", "b"]
later: Optional[int]
Number = int
def scale(x: Number, by: "float" = 2.0) -> float:
    return x * by
class Point:
    x: int = 0
    y: "int" = 0
    tags: List[str]
    def moved(self, dx: Number) -> "Point":
        p = Point()
        p.x = self.x + dx
        return p
origin = Point()
step: Dict[str, float] = {"x": scale(count)}
moved = origin.moved(4)
print(moved.x, step, names)
later = 5
print(later, Point.__annotations__["x"])
count += later
print(count, scale(count, by=3))
