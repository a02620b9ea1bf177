# stays: yes
# hide: gen stack buffer
from contextlib import contextmanager, ExitStack, suppress, redirect_stdout
import io
events = []
@contextmanager
def stage(name):
    events.append("in " + name)
    try:
        yield name.upper()
    finally:
        events.append("out " + name)
with stage("a") as a:
    with stage("b") as b:
        both = a + b
print(both, events)
with ExitStack() as stack:
    opened = [stack.enter_context(stage(n)) for n in "xyz"]
print(opened, len(events))
with suppress(ZeroDivisionError):
    broken = 1 / 0
made = "broken" in globals()
buffer = io.StringIO()
with redirect_stdout(buffer):
    print("inside")
said = buffer.getvalue()
print(repr(said), made)
def walk(tree):
    for node in tree:
        if isinstance(node, list):
            yield from walk(node)
        else:
            yield node
flat = list(walk([1, [2, [3]], 4]))
def running():
    total = 0
    while True:
        x = yield total
        if x is None:
            return
        total += x
gen = running()
next(gen)
sums = [gen.send(i) for i in flat]
print(sums, events[-1])
gen.close()
