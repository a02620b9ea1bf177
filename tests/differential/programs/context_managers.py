# hide: f buffer folder path
# stays: yes
import contextlib
import io
import os
import tempfile
events = []
@contextlib.contextmanager
def step(name):
    events.append(f"> {name}")
    try:
        yield len(events)
    finally:
        events.append(f"< {name}")
with step("one") as number:
    inner = number * 10
print(inner, events)
buffer = io.StringIO()
with contextlib.redirect_stdout(buffer):
    print("captured")
caught = buffer.getvalue()
print(repr(caught))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "f.txt")
    with open(path, "w") as f:
        f.write("data\n" * 3)
    with open(path) as f:
        lines = f.readlines()
print(len(lines), os.path.exists(path) is False)
with contextlib.suppress(KeyError, ValueError):
    {}["x"]
    events.append("never")
class Timer:
    def __enter__(self):
        events.append("timer")
        return self
    def __exit__(self, *exc):
        self.done = True
with Timer() as t, step("two"):
    pass
print(t.done, events[-1], number)
hidden = events.pop()
print(hidden, len(events))
