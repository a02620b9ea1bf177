data = [3, 1, 4, 1, 5, 9, 2, 6]
if (n := len(data)) > 5:
    message = f"long {n}"
print(message)
while (head := data.pop(0)) != 4:
    print("skip", head)
values = [y := 1, y**2, y**3]
print(values, y)
def use(v=(k := 10)):
    return v + k
print(use(), k)
k = 20
print(use(1))
total = (a := 2) + (b := a * 3)
print(total, a, b, head)
best = max((score := v) for v in data)
print(best, data, n)
