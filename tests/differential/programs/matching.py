from dataclasses import dataclass
@dataclass
class Point:
    x: int
    y: int
ORIGIN = Point(0, 0)
commands = ["go north", "quit", ("move", 1, 2), {"kind": "a", "n": 3, "z": 1}, Point(0, 5), [1, 2, 3]]
def describe(c):
    match c:
        case str() as s if s.startswith("go"):
            return "going " + s.split()[1]
        case "quit" | "exit":
            return "bye"
        case ("move", x, y):
            return f"move {x} {y}"
        case {"kind": kind, **rest}:
            return f"{kind} {sorted(rest)}"
        case Point(x=0, y=yy):
            return f"on axis {yy}"
        case [first, *others]:
            return f"{first} then {others}"
print([describe(c) for c in commands])
match commands[2]:
    case (verb, *arguments):
        size = len(arguments)
    case _:
        size = 0
print(verb, arguments, size)
match commands[4]:
    case Point(x=px, y=py):
        where = (px, py)
print(where)
extra = Point(*where)
print(extra == commands[4], ORIGIN)
match extra:
    case Point(0, q) if q > 100:
        big = True
    case _:
        big = False
print(big)
