import asyncio
import dataclasses
base = 1
@dataclasses.dataclass
class Move:
    dx: int
    dy: int = 0
def describe(thing):
    match thing:
        case Move(dx=0, dy=0):
            return "still"
        case Move(dx, dy) if dx == dy:
            return f"diagonal {dx * base}"
        case {"kind": kind, **rest}:
            return f"{kind} {sorted(rest)} {base}"
        case [first, *others]:
            return f"list {first} {len(others)}"
        case str() | bytes() as text:
            return f"text {len(text)}"
        case _:
            return "other"
print(describe(Move(0)), describe(Move(2, 2)))
base = 5
things = [Move(3, 3), {"kind": "k", "a": 1}, [1, 2], "abc", 4.5]
print([describe(t) for t in things])
match things[1]:
    case {"kind": kind}:
        label = kind + "!"
    case _:
        label = ""
print(kind, label)
async def fetch(n):
    await asyncio.sleep(0)
    return n * base
async def stream(n):
    for i in range(n):
        yield await fetch(i)
async def gather(n):
    found = [x async for x in stream(n)]
    more = await asyncio.gather(*(fetch(x) for x in found))
    return found, more
result = asyncio.run(gather(3))
print(result)
base = 2
print(asyncio.run(gather(2)))
value = await fetch(21)
print(value)
class Session:
    async def __aenter__(self):
        self.open = base
        return self
    async def __aexit__(self, *error):
        self.open = 0
async def use():
    async with Session() as session:
        inside = session.open
    return inside, session.open, session
inside, after, session = await use()
print(inside, after, session.open)
queue = [fetch, gather]
base = 3
print(await queue[0](1), len(queue))
