words = ["apple", "bee", "cat", "apple"]
x = 5
squares = [x * x for x in range(4)]
lengths = {w: len(w) for w in words}
unique = {w[0] for w in words}
print(x, squares, lengths, sorted(unique))
total = sum(x for x in squares if x > 0)
nested = [[y for y in range(x)] for x in range(3)]
flat = [z for row in nested for z in row]
first_long = next(w for w in words if len(w) > 3)
if any((hit := w) == "cat" for w in words):
    print("found", hit)
last = [acc := 0] + [acc := acc + v for v in squares]
print(last, acc, total)
pairs = [(a, b) for a in words for b in range(2) if len(a) > b + 2]
print(pairs, flat, first_long, x)
