import queue
import re
import threading
text = "order 12, order 345"
pattern = re.compile(r"order (?P<n>\d+)")
first = pattern.search(text)
print(first.group("n"), first.span())
every = list(pattern.finditer(text))
print([m["n"] for m in every], every[1].start())
whole = re.fullmatch(r"(a|ab)(c|bcd)?", "abcd")
print(whole.groups(), whole.re is not None)
lock = threading.Lock()
with lock:
    inside = lock.locked()
print(inside, lock.locked())
jobs = queue.Queue()
for n in (1, 2, 3):
    jobs.put(n)
print(jobs.get(), jobs.qsize())
ready = threading.Event()
ready.set()
print(ready.is_set())
class Account:
    def __init__(self):
        self.lock, self.sum = threading.RLock(), 0
    def add(self, n):
        with self.lock:
            self.sum += n
        return self.sum
account = Account()
account.add(5)
workers = [threading.Thread(target=account.add, args=(n,)) for n in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
del workers, worker
print(account.sum, jobs.get())
with open("lines.txt", "w") as lines:
    lines.write("a\nb\n")
print(lines.closed, lines.name, lines.mode)
memory = bytearray(b"abcdef")
view = memoryview(memory)
memory[0] = 90
print(bytes(view), view.nbytes)
ready.clear()
print(ready.wait(0), first.string == text, jobs.empty())
