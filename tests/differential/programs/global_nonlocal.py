counter = 0
history = []
def bump(by=1):
    global counter
    counter += by
    history.append(counter)
bump()
bump(5)
print(counter, history)
def setup():
    global created, helper
    created = "yes"
    def helper():
        return created.upper()
setup()
print(created, helper())
def outer():
    level = 1
    def middle():
        nonlocal level
        level += 1
        def inner():
            return level + counter
        return inner
    return middle()
probe = outer()
print(probe())
counter = 100
print(probe())
def reset():
    global counter
    counter = 0
reset()
print(counter, history)
