from collections import deque
class Stack:
    def __init__(self, items=()):
        self._items = list(items)
    def push(self, x):
        self._items.append(x)
        return self
    def pop(self):
        return self._items.pop()
    def __len__(self):
        return len(self._items)
    def __iter__(self):
        return iter(self._items)
stack = Stack("ab")
stack.push("c").push("d")
top = stack.pop()
print(top, len(stack))
alias = stack
alias.push("e")
print(list(stack))
queue = deque(stack)
queue.rotate(1)
queue.appendleft(top)
print(queue)
backlog = [stack, queue]
backlog[0].push("z")
moved = backlog[1].popleft()
print(list(alias), moved)
def drain(s):
    out = []
    while len(s):
        out.append(s.pop())
    return out
drained = drain(stack)
print(drained, len(alias), queue)
