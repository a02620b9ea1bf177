xs = [1]
ys = xs
xs += [2]
print(ys)
n = 1
n += 1
n *= 10
print(n)
text = "a"
text += "b"
m = {1, 2}
m |= {3}
m -= {1}
print(text, m)
grid = [[0] * 2 for _ in range(2)]
grid[0][1] += 5
row = grid[1]
row += [9]
print(grid)
class Acc:
    def __init__(self):
        self.v = 0
    def __iadd__(self, o):
        self.v += o
        return self
acc = Acc()
same = acc
acc += 4
print(same.v, same is acc)
n //= 3
print(n, xs, ys is xs)
