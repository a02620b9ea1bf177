import contextlib
import io
import os
out = io.StringIO()
redirect = contextlib.redirect_stdout(out)
redirect.__enter__()
print("into the text")
redirect.__exit__(None, None, None)
print(repr(out.getvalue()))
folder = "kf-contexts"
os.makedirs(folder, exist_ok=True)
path = os.path.join(folder, "a.txt")
with open(path, "w") as file:
    file.write("1\n2\n3\n")
print(file.closed, os.path.basename(file.name))
@contextlib.contextmanager
def level(name, log=[]):
    log.append("+" + name)
    try:
        yield log
    finally:
        log.append("-" + name)
with level("one") as seen:
    seen.append("in")
print(seen)
with level("two"):
    inside = list(seen)
print(inside, len(seen))
class Timer:
    depth = 0
    def __enter__(self):
        self.depth += 1
        return self
    def __exit__(self, *error):
        self.depth -= 1
        return error[0] is ValueError
timer = Timer()
with timer as t:
    raise ValueError("swallowed")
print(timer.depth, t is timer)
timer.__enter__()
print(timer.depth)
timer.__exit__(None, None, None)
stack = contextlib.ExitStack()
stack.callback(seen.append, "closed")
print(seen[-1])
stack.close()
print(seen[-1], timer.depth)
with contextlib.suppress(KeyError):
    {}["x"]
with open(path) as lines, contextlib.closing(io.StringIO("z")) as other:
    both = lines.readline() + other.read()
print(repr(both))
os.remove(path)
os.rmdir(folder)
