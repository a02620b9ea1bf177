values = [3, 1, 2]
print(max(values), sum(values))
original = max
def max(*a):
    return "mine %r" % (original(*a),)
print(max(values))
list_ = list(map(str, values))
sum = sum(values)
print(sum)
del max
print(max(values))
id = 5
input = {"a": id}
print(input, id + 1)
type_of = type(input).__name__
print(type_of, len(list_))
def len_twice(x):
    return len(x) * 2
print(len_twice(values))
open_count = [len_twice([]), sum]
print(open_count)
