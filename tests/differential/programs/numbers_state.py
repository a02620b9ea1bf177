n = 0
values = []
while True:
    n += 1
    if n % 2:
        continue
    values.append(n)
    if n > 7:
        break
print(n, values)
lo, hi = min(values), max(values)
spread = hi - lo
flag = spread > 3 and n or None
print(spread, flag)
if flag:
    n = -n
elif spread:
    n = 0
else:
    n = 1
print(n)
bits = [v >> 1 for v in values]
mask = 0
for b in bits:
    mask |= 1 << b
print(bin(mask))
n ^= 3
mask &= ~1
print(n, mask, ~n)
ok = lo < 3 <= hi < 9 != 10
print(ok)
assert ok, "no"
z = (n if (m := mask % 7) > 2 else m, m)
print(z, m)
big = 10 ** 30 + n
print(big, 7 // -2, 7 % -3, 2 ** -1)
