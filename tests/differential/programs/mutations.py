xs = []
for i in range(3):
    xs.append(i)
print(xs, i)
view = xs
def grow(target, n):
    target.extend(range(n))
grow(xs, 2)
print(view)
groups = {}
groups.setdefault("a", []).append(1)
inner = groups["a"]
inner.append(2)
print(groups)
pair = (xs, groups)
pair[0].append(99)
print(xs[-1], len(view))
class Node:
    def __init__(self, v):
        self.v, self.next = v, None
head = Node(1)
tail = Node(2)
head.next = tail
tail.v = 5
print(head.next.v)
tail.next = head
print(head.next.next.v, head.next is tail)
xs.sort(reverse=True)
xs[0:2] = ["s"]
print(view, inner)
