handlers = {}
seen = []
def on(event):
    def register(fn):
        handlers.setdefault(event, []).append(fn)
        return fn
    return register
@on("start")
def hello(who):
    seen.append("hello " + who)
@on("start")
def shout(who):
    seen.append(who.upper() + punctuation)
punctuation = "!"
def fire(event, *args):
    for fn in handlers.get(event, []):
        fn(*args)
fire("start", "ann")
print(seen)
handlers["stop"] = [lambda: seen.append("bye")]
fire("stop")
print(seen, sorted(handlers))
punctuation = "?"
fire("start", "bob")
print(seen[-1], len(handlers["start"]))
def later(fn, *args):
    return lambda: fn(*args)
queued = [later(hello, "cat"), later(fire, "stop")]
for job in queued:
    job()
print(seen[-2:])
