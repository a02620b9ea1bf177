matrix = [[0, 0], [0, 0]]
row = matrix[0]
col = [r[0] for r in matrix]
row[1] = 5
print(matrix, col)
index = {"first": row, "all": matrix}
index["first"].append(7)
print(row, len(matrix[0]))
cache = {}
def remember(key, value):
    cache[key] = value
    return value
kept = remember("r", row)
kept[0] = -1
print(matrix, cache)
class Holder:
    def __init__(self, content):
        self.content = content
    def swap(self, other):
        self.content, other.content = other.content, self.content
h1, h2 = Holder(row), Holder(matrix[1])
h1.swap(h2)
h1.content.append("h")
print(matrix, h2.content is row)
copy = list(matrix)
copy.append("c")
copy[0].append("deep")
print(len(matrix), matrix[0][-1], row[-1])
