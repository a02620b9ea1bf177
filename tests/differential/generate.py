"""Programs made from a seed: each statement makes or uses numbers, lists, dicts, functions, closures and
instances that earlier statements made, so that constructs meet as producers and as consumers.
"""
import random


class Maker:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.names = {"int": [], "list": [], "dict": [], "function": [], "closure": [], "class": [], "object": [],
                      "text": [], "grid": [], "registry": []}
        self.lines, self.count = [], 0

    # --- names ---

    def new(self, kind):
        """A new name of the kind; now and then one that is there already."""
        if self.names[kind] and kind in ("int", "text", "list") and self.rng.random() < 0.25:
            return self.rng.choice(self.names[kind])
        self.count += 1
        name = "%s%d" % (kind[0], self.count)
        self.names[kind].append(name)
        return name

    def old(self, kind):
        """A name of the kind, made first when there is none."""
        if not self.names[kind]:
            getattr(self, "make_" + kind)()
        return self.rng.choice(self.names[kind])

    def add(self, text):
        self.lines.append(text)

    def number(self):
        return str(self.rng.randint(0, 9))

    def value(self):
        """An expression for a number."""
        return self.rng.choice([
            self.number, lambda: self.old("int"), lambda: "sum(%s)" % self.old("list"),
            lambda: "len(%s)" % self.old("dict"), lambda: "%s(%s)" % (self.old("function"), self.number()),
            lambda: "%s.total()" % self.old("object"), lambda: "(%s if %s else %s)" % (
                self.old("int"), self.old("list"), self.number()),
        ])()

    # --- producers ---

    def make_int(self):
        value = self.number() if not self.names["int"] else self.value()
        self.add("%s = %s" % (self.new("int"), value))

    def make_text(self):
        value = self.number() if not self.names["int"] else self.old("int")
        self.add("%s = f'{%s}:{%s!r}'" % (self.new("text"), value, value))

    def make_list(self):
        items = ", ".join(self.number() for _ in range(self.rng.randint(1, 4)))
        self.add("%s = [%s]" % (self.new("list"), items))

    def make_dict(self):
        self.add("%s = {'a': %s, 'b': %s}" % (self.new("dict"), self.number(), self.number()))

    def make_grid(self):
        self.add("%s = [[%s], [%s, 1]]" % (self.new("grid"), self.number(), self.number()))

    def make_function(self):
        free, items = self.old("int"), self.old("list")
        helper = self.rng.choice(self.names["function"] or ["abs"])
        name = self.new("function")
        body = self.rng.choice([
            "    return x + %s" % free,
            "    return %s(x) + %s" % (helper, free),
            "    global %s\n    %s += 1\n    return x + %s" % (free, free, free),
            "    %s.append(x)\n    return len(%s)" % (items, items),
            "    return sum(%s * x for %s in %s)" % ("x", free, items),
            "    def inner():\n        return x + %s\n    return inner()" % free,
            "    try:\n        return x // %s\n    except ZeroDivisionError as e:\n        return -1" % free,
        ])
        head = self.rng.choice(["x", "x, by=%s" % free, "x, *rest, key=None", "x, seen=[]", "x: int = 1"])
        if "seen" in head:
            body = "    seen.append(x)\n" + body
        self.add("def %s(%s):\n%s" % (name, head, body))

    def make_closure(self):
        free = self.old("int")
        maker, name = self.new("function"), self.new("closure")
        self.add("def %s(x):\n    n = [x]\n    def step(by=1):\n        n[0] += by + %s\n        return n[0]\n"
                 "    return step if x != 'plain' else 0" % (maker, free))
        self.names["function"].remove(maker)
        self.add("%s = %s(%s)" % (name, maker, self.number()))

    def make_class(self):
        free = self.old("int")
        base = self.rng.choice(self.names["class"]) if self.names["class"] and self.rng.random() < 0.4 else "object"
        name = self.new("class").upper()
        self.names["class"][-1] = name
        start = "        super().__init__(items)\n" if base != "object" else ""
        self.add("class %s(%s):\n    unit = %s\n    def __init__(self, items=()):\n%s        self.items = list(items)\n"
                 "    def add(self, x):\n        self.items.append(x)\n        return self\n"
                 "    def total(self):\n        return sum(self.items) + %s + self.unit"
                 % (name, base, self.number(), start, free))

    def make_object(self):
        source = self.rng.choice(["()", self.old("list"), "[%s]" % self.old("int")])
        kind = self.old("class")
        self.add("%s = %s(%s)" % (self.new("object"), kind, source))

    def make_registry(self):
        name = self.new("registry")
        self.add("%s = {}" % name)
        decorator = self.new("function")
        self.names["function"].remove(decorator)
        self.add("def %s(f):\n    %s[f.__name__] = f\n    return f" % (decorator, name))
        free, made = self.old("int"), self.new("function")
        self.add("@%s\ndef %s(x=1):\n    return x - %s" % (decorator, made, free))

    # --- consumers and changes ---

    def change_list(self):
        items = self.old("list")
        self.add(self.rng.choice(["%s.append(%s)", "%s[0] = %s", "%s += [%s]", "%s.insert(0, %s)"]) % (items, self.value()))

    def alias(self):
        kind = self.rng.choice(["list", "dict", "object", "grid"])
        source = self.old(kind)
        self.count += 1
        name = "%s%d" % (kind[0], self.count)
        self.add("%s = %s" % (name, source))
        self.names[kind].append(name)

    def change_dict(self):
        self.add(self.rng.choice(["%s['a'] = %s", "%s.update(c=%s)", "%s.setdefault('z', %s)", "%s['b'] += %s"])
                 % (self.old("dict"), self.value()))

    def change_grid(self):
        grid = self.old("grid")
        self.count += 1
        row = "l%d" % self.count
        self.add("%s = %s[0]" % (row, grid))
        self.add("%s.append(%s)" % (row, self.value()))
        self.names["list"].append(row)

    def change_object(self):
        self.add("%s.add(%s)" % (self.old("object"), self.value()))

    def change_int(self):
        self.add("%s %s %s" % (self.old("int"), self.rng.choice(["+=", "-=", "="]), self.value()))

    def call_closure(self):
        self.add("print(%s())" % self.old("closure"))

    def call_registry(self):
        self.add("print([f(1) for f in %s.values()])" % self.old("registry"))

    def loop(self):
        self.count += 1
        target, items = self.old("int"), self.old("list")
        self.add("for i%d in %s[:5]:\n    if i%d > %s:\n        %s = i%d\n        break"
                 % (self.count, items, self.count, self.number(), target, self.count))

    def branch(self):
        target = self.old("int")
        self.add("if %s > %s:\n    %s = %s\nelse:\n    pass" % (self.value(), self.number(), target, self.value()))

    def attempt(self):
        target = self.old("int")
        self.add("try:\n    %s = %s // %s\nexcept ZeroDivisionError as problem:\n    %s = str(problem) and 0"
                 % (target, self.value(), self.value(), target))

    def walrus(self):
        one, other = self.value(), self.value()
        self.add("print((%s := %s) + %s)" % (self.new("int"), one, other))

    def comprehension(self):
        items, free = self.old("list"), self.old("int")
        self.add("%s = [%s + v for v in %s if v != %s]" % (self.new("list"), free, items, self.number()))

    def shadowing(self):
        free = self.old("int")
        self.add("print([%s for %s in range(2)], (lambda %s: %s)(3))" % (free, free, free, free))

    def unpack(self):
        one, other = self.old("int"), self.old("int")
        self.add("%s, %s = %s, %s" % (one, other, self.value(), self.value()))

    def delete(self):
        items = self.old("list")
        self.add("del %s[1:]" % items)

    def match(self):
        target = self.old("int")
        self.add("match %s:\n    case [first, *_]:\n        %s = first\n    case _:\n        %s = -1"
                 % (self.old("list"), target, target))

    def show(self):
        kind = self.rng.choice(["int", "list", "dict", "text", "grid"])
        self.add("print(%s, %s)" % (self.old(kind), self.value()))

    def higher_order(self):
        self.add("print(list(map(%s, %s[:3])))" % (self.old("function"), self.old("list")))

    def keep_function(self):
        self.add("%s['f'] = %s" % (self.old("registry"), self.old("function")))

    def lambda_list(self):
        free = self.old("int")
        name = self.new("registry")
        self.add("%s = {'l': lambda x=2: x * %s}" % (name, free))


STATEMENTS = [name for name in vars(Maker) if not name.startswith("_") and name not in ("new", "old", "add", "number", "value")]


def generate(seed, statements=18):
    """The text of a program with at least so many statements."""
    maker = Maker(seed)
    while len(maker.lines) < statements:
        getattr(maker, maker.rng.choice(STATEMENTS))()
    maker.add("print(%s)" % ", ".join(maker.names["int"] + maker.names["list"]))
    return "# python: 3.10\n" + "\n".join(maker.lines) + "\n"
