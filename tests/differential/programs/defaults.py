base = 10
def grow(x, by=base, seen=[]):
    seen.append(x)
    return x + by, len(seen)
print(grow(1))
base = 20
print(grow(2))
def make(items=None, *, size: int = base, **rest) -> dict:
    return {"items": items or [], "size": size, **rest}
first = make()
second = make([1], size=3, extra=True)
print(first, second)
shared = [0]
def push(x, into=shared):
    into.append(x)
    return into
push(1)
print(shared)
result = push(2)
shared.append(3)
print(result, push.__defaults__)
