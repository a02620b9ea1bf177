numbers = [1, 2, 3, 4, 5, 6]
it = iter(numbers)
one = next(it)
two = next(it)
print(one, two)
total = 0
for x in it:
    total += x
    if x == 4:
        break
print(total)
left = list(it)
print(left)
pairs = zip(numbers, "abcdef")
first_pair = next(pairs)
print(first_pair)
rest = dict(pairs)
print(rest)
counted = enumerate("xyz", start=1)
skip = next(counted)
print(skip, list(counted))
del it, pairs, counted
