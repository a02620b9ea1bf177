rate = 3
offset = 1
def scale(x):
    return x * rate
def shift(x):
    return scale(x) + offset
def both(x):
    return shift(x), scale(x)
first = both(2)
rate = 4
second = both(2)
print(first, second)
table = [both(i) for i in range(3)]
def later():
    return missing_yet + 1
missing_yet = 9
third = later()
print(third, table)
