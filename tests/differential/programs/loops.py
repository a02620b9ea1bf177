total = 0
for i in range(4):
    if i == 2:
        continue
    total += i
else:
    finished = True
print(i, total, finished)
n = 10
while n > 3:
    n -= 2
    if n == 4:
        half = n
        break
else:
    half = None
print(n, half)
best = None
for name, score in [("a", 1), ("b", 5), ("c", 3)]:
    if best is None or score > best[1]:
        best = (name, score)
print(best, name)
flag = False
if total > 100:
    flag = True
    hidden = 1
print(flag)
for k, (p, *q) in {"x": (1, 2, 3)}.items():
    rest = q
print(k, p, rest)
for empty in []:
    never = 1
empty = "set after all"
print(empty, total, best[0])
