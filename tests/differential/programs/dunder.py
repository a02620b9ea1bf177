import sys
mode = __name__
print(__name__)
if __name__ == "__main__":
    started = True
def main():
    return "running " + mode
if __name__ == "__main__":
    result = main()
print(result, started)
class Thing:
    """A thing."""
    def where(self):
        return type(self).__module__
print(Thing().where(), Thing.__doc__)
here = sys.modules["__main__"].__name__
print(here)
things = [Thing() for _ in range(2)]
print([t.__class__.__qualname__ for t in things])
def caller():
    return globals()["mode"], "result" in globals()
print(caller())
lookup = {"f": main}
print(lookup["f"]())
