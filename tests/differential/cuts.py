"""How a program's statements are cut into steps: pairs, singles, and seeded shapes of fan-out and join."""
import random


def block(step, first, last, prev):
    return {"step": step, "first": first, "last": last, "prev": prev}


def chain(ends):
    """Steps in a row; `ends` are the numbers of their last statements."""
    blocks, first = [], 1
    for number, end in enumerate(ends):
        blocks.append(block("s%d" % number, first, end, ["s%d" % (number - 1)] if number else []))
        first = end + 1
    return blocks


def pairs(count):
    return [chain([cut, count]) for cut in range(1, count)]


def singles(count):
    return chain(range(1, count + 1))


def setup_tags(statements):
    """How many leading statements are imports, and how many after them define functions."""
    imports = 0
    while imports < len(statements) and statements[imports].lstrip().startswith(("import ", "from ")):
        imports += 1
    functions = imports
    while functions < len(statements) and statements[functions].startswith("def "):
        functions += 1
    return imports, functions


def shape(statements, seed):
    """A random partition: some steps in a row, some side by side, joined later."""
    rng = random.Random(seed)
    count, blocks, start = len(statements), [], 1
    imports, functions = setup_tags(statements)
    if rng.random() < 0.5 and 0 < imports < count - 2:
        blocks.append({"tag": "imports", "first": 1, "last": imports, "prev": []})
        start = imports + 1
        if rng.random() < 0.5 and functions > imports and functions < count - 2:
            blocks.append({"tag": "functions", "first": start, "last": functions, "prev": []})
            start = functions + 1
    size = rng.randint(2, min(7, count - start + 1)) if count - start >= 2 else 1
    ends = sorted(rng.sample(range(start, count), size - 1)) + [count]
    names, first = [], start
    wide = rng.random() * 0.7 + 0.3
    for number, end in enumerate(ends):
        prev = []
        if names:
            prev = [names[-1]] if rng.random() > wide else rng.sample(names, rng.randint(0, min(2, len(names))))
        if end == count:
            inner = {name for b in blocks for name in b["prev"]}
            prev = sorted(set(prev) | {name for name in names if name not in inner})
        blocks.append(block("s%d" % number, first, end, prev))
        names.append("s%d" % number)
        first = end + 1
    return blocks


def all_cuts(statements, seed, shapes):
    """(name, blocks, how) of all cuts of a program; how: "" as it is, "repair": edges that the findings
    ask for are added, "infer": edges follow data."""
    count = len(statements)
    for number, blocks in enumerate(pairs(count), 1):
        yield "cut%d" % number, blocks, ""
    yield "singles", singles(count), ""
    for number in range(shapes):
        blocks = shape(statements, "%s %d" % (seed, number))
        infer = number % 4 == 3
        for b in blocks if infer else ():
            b["prev"] = []
        yield "shape%d" % number, blocks, "infer" if infer else "repair"
