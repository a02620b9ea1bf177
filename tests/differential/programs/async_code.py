import asyncio
delay = 0
async def fetch(n):
    await asyncio.sleep(delay)
    return n * 2
async def gather(ns):
    return await asyncio.gather(*(fetch(n) for n in ns))
first = asyncio.run(gather([1, 2, 3]))
print(first)
async def numbers(k):
    for i in range(k):
        yield i
async def collect():
    return [i async for i in numbers(4) if i % 2 == 0]
evens = await collect()
print(evens)
class Gate:
    async def __aenter__(self):
        return "in"
    async def __aexit__(self, *a):
        return False
async with Gate() as state:
    inside = state + "side"
print(inside)
total = 0
async for i in numbers(3):
    total += i
print(total, await fetch(21))
