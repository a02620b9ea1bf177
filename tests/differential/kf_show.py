"""Says what values are, down to shared objects: two runs that show the same have the same values."""
import os
import types


def code_text(code):
    constants = [code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return "code(%s, %s, %s)" % (code.co_names, code.co_varnames, constants)


class Shower:
    def __init__(self):
        self.seen = {}
        self.kept = []

    def text(self, value):
        if isinstance(value, (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))):
            return "%s:%r" % (type(value).__name__, value) if type(value).__module__ != "builtins" else repr(value)
        if isinstance(value, types.ModuleType):
            return "module " + value.__name__
        if id(value) in self.seen:
            return "#%d" % self.seen[id(value)]
        if not isinstance(value, (tuple, frozenset, range, type)):
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)
        return self.new(value)

    def new(self, value):
        kind = type(value).__name__
        if isinstance(value, type):
            members = sorted(k for k in vars(value) if not k.startswith("__"))
            return "class %s(%s) %s" % (value.__qualname__, value.__module__, members)
        if isinstance(value, types.FunctionType) and value.__globals__.get("__name__") != "__main__":
            return "function " + value.__qualname__
        if isinstance(value, types.FunctionType):
            cells = [self.text(c.cell_contents) for c in value.__closure__ or ()]
            return "function %s %s %s %s" % (value.__name__, code_text(value.__code__), cells,
                                             self.text(value.__defaults__))
        if isinstance(value, dict):
            items = ", ".join("%s: %s" % (self.text(k), self.text(v)) for k, v in value.items())
            return "%s{%s}" % (kind, items)
        if isinstance(value, (set, frozenset)):
            return "%s{%s}" % (kind, ", ".join(sorted(self.text(v) for v in value)))
        if isinstance(value, (list, tuple)) or kind == "deque":
            return "%s[%s]" % (kind, ", ".join(self.text(v) for v in value))
        if type(value).__module__.split(".")[0] in ("numpy", "pandas", "polars", "pyarrow", "decimal", "datetime"):
            return "%s %r" % (kind, value)
        if type(value).__module__.startswith(("matplotlib.", "mpl_toolkits.")):
            return kind
        if hasattr(value, "__dict__"):
            return "%s(%s)" % (kind, self.text({k: v for k, v in vars(value).items() if k != "cache_parameters"}))
        if hasattr(type(value), "__slots__"):
            slots = [(s, getattr(value, s, None)) for s in type(value).__slots__]
            return "%s(%s)" % (kind, ", ".join("%s=%s" % (s, self.text(v)) for s, v in slots))
        return "%s %s" % (kind, "" if " at 0x" in repr(value) else repr(value))


def show(**values):
    """Prints the values, and writes them into the file that KF_SHOW names."""
    lines = ["%s = %s" % (name, Shower().text(value)) for name, value in values.items()]
    print("\n".join(lines))
    if os.environ.get("KF_SHOW"):
        with open(os.environ["KF_SHOW"], "w") as file:
            file.write("\n".join(lines) + "\n")
