import asyncio
limit = 3
async def fetch(n):
    await asyncio.sleep(0)
    return n * limit
async def numbers(k):
    for i in range(k):
        yield await fetch(i)
class Session:
    opened = 0
    async def __aenter__(self):
        Session.opened += 1
        return self
    async def __aexit__(self, *a):
        return False
one = await fetch(2)
print(one)
async with Session() as session:
    inside = await asyncio.gather(fetch(1), fetch(2))
print(inside, Session.opened)
squares = [x async for x in numbers(4)]
print(squares)
limit = 10
async for value in numbers(2):
    last = value
print(last)
async def main():
    return sum([x async for x in numbers(3)])
total = await main()
print(total)
later = asyncio.run
print(Session.opened, total)
