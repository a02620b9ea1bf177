import itertools
numbers = [5, 6, 7, 8]
walk = iter(numbers)
first = next(walk)
print(first)
numbers.append(9)
second = next(walk)
print(second)
backwards = reversed([1, 2, 3])
top = next(backwards)
pairs = enumerate("xyz", 1)
one = next(pairs)
print(top, one)
counter = itertools.count(10, 5)
a, b = next(counter), next(counter)
print(a, b)
cycle = itertools.cycle("ab")
turns = [next(cycle) for _ in range(3)]
print(turns)
rest = list(walk)
print(rest, next(backwards))
left, right = itertools.tee(iter(range(4)))
print(next(left), list(right))
print(next(left), next(counter), next(cycle), list(pairs))
class Countdown:
    def __init__(self, n):
        self.n = n
    def __iter__(self):
        return self
    def __next__(self):
        if self.n <= 0:
            raise StopIteration
        self.n -= 1
        return self.n
down = Countdown(5)
print(next(down))
for value in down:
    if value == 2:
        break
print(value, list(down), next(down, "end"))
doubled = map(str, numbers)
head = next(doubled)
chosen = filter(None, [0, 1, 2])
print(head, next(chosen))
print(list(doubled), list(chosen))
