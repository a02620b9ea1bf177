import contextlib
log = []
class Resource:
    def __init__(self, name):
        self.name = name
    def __enter__(self):
        log.append("open " + self.name)
        return self
    def __exit__(self, kind, value, tb):
        log.append("close " + self.name)
        return kind is ValueError
with Resource("a") as r, Resource("b") as s:
    joined = r.name + s.name
print(joined, log)
with Resource("c"):
    raise ValueError("swallowed")
@contextlib.contextmanager
def marked(label):
    log.append("<" + label)
    yield label.upper()
    log.append(label + ">")
with marked("z") as upper:
    body = upper * 2
print(body, log)
try:
    value = int("x")
except ValueError as error:
    value = -1
    reason = str(error)
else:
    reason = "none"
finally:
    log.append("done")
print(value, reason)
try:
    ok = int("7")
except ValueError:
    ok = None
print(ok, log[-1], r.name)
