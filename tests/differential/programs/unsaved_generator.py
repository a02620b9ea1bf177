# stays: yes
source = [1, 2, 3, 4]
stream = (x * 2 for x in source)
first = next(stream)
print(first)
second = next(stream)
rest = list(stream)
print(second, rest)
def letters():
    for c in "abc":
        yield c
gen = letters()
a = next(gen)
b = next(gen)
print(a, b)
remaining = "".join(gen)
print(remaining)
del stream, gen
done = True
print(done)
