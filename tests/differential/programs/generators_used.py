def squares(n):
    for i in range(n):
        yield i * i
def evens(source):
    yield from (x for x in source if x % 2 == 0)
limit = 6
taken = list(evens(squares(limit)))
print(taken)
total = sum(x for x in squares(4))
first, *others = squares(3)
print(total, first, others)
pairs = dict(zip("abc", squares(3)))
print(pairs)
def running(xs, start=0):
    acc = start
    for x in xs:
        acc += x
        yield acc
sums = [*running(taken)]
largest = max(running(taken, start=10))
print(sums, largest)
def batches(xs, size=2):
    it = iter(xs)
    while chunk := [x for _, x in zip(range(size), it)]:
        yield chunk
grouped = list(batches(sums))
print(grouped, limit)
