a = 1
b = [1, 2, 3]
c = {"x": 1, "y": 2}
tmp = a + 1
del b[0]
print(b)
del c["x"]
print(c, tmp)
del tmp
d = b
d.append(4)
print(b, d)
del d
class Box:
    pass
box = Box()
box.size = 3
box.name = "n"
del box.name
print(vars(box))
try:
    print(tmp)
except NameError as e:
    print("gone", e)
tmp = "again"
print(tmp, a)
