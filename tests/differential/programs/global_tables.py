LIMITS = {"small": 1, "large": 10}
ORDER = ("small", "large")
current = ORDER[0]
def limit(name=None):
    return LIMITS[name or current]
print(limit(), limit("large"))
current = "large"
print(limit())
def set_limit(name, value):
    LIMITS[name] = value
def switch(name):
    global current
    current = name
set_limit("huge", 100)
switch("huge")
print(limit(), current)
queue = []
def push(item):
    queue.append(item)
    if len(queue) > limit("small"):
        flush()
def flush():
    global flushed
    flushed = flushed + len(queue)
    queue.clear()
flushed = 0
push("a")
push("b")
print(flushed, queue)
for item in "cde":
    push(item)
print(flushed, queue, item)
LIMITS["small"] = 99
push("z")
print(queue, flushed, current)
