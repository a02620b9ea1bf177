"""Compares what the driver recorded against a lab (conform.py --record) with what it had recorded against a real
server (tests/fixtures/wire): the same exchanges in the same order, the wire's numbers being places in that order.
"""
import json, os, re

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+]0000 UTC)")
MASKS = [(re.compile('"?%s"?' % UID.pattern), "UID"), (TIME, "TIME"),
         (re.compile(r'resourceVersion: "\d+"'), 'resourceVersion: "N"'),
         (re.compile(r"kube-api-access-\w{5}\b"), "kube-api-access-XXXXX"),
         (re.compile(r"https://127\.0\.0\.1:\d+"), "https://ADDRESS"), (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
         (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "IP"), (re.compile(r"\b([0-9A-F]{128}|[0-9A-F]{64})\b"), "HASH"),
         (re.compile(r"\b\d{2,}\b"), "N")]
# Members whose values are this server's own: only their kinds are compared.
OWN = {"uid", "resourceVersion", "continue", "token", "clusterIP", "caBundle", "ca.crt", "url", "remainingItemCount",
       "storageVersionHash", "kubernetes.io/description", "time", "selfLink"}
# Descriptions are prose of the real server that the lab does not repeat.
UNTOLD = {"description", "x-kubernetes-unions", "example"}
AGE = re.compile(r"^(\d+[smhd])+$|^<unknown>$|^<invalid>$")


def mask(text):
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return text


def kind(value):
    return {dict: "object", list: "array", str: "text", bool: "bool", type(None): "null"}.get(type(value), "number")


def owners(entries):
    """managedFields without times, in an order of their own; only those of the client."""
    rows = [(e.get("manager"), e.get("operation"), e.get("subresource"), e.get("apiVersion"),
             mask(json.dumps(e.get("fieldsV1"), sort_keys=True))) for e in entries]
    return sorted((r for r in rows if r[0] and not r[0].startswith("kube-")), key=str)


# Exchanges whose lists come in the order of a Go map.
IN_ANY_ORDER = {"auth 17", "crd 4"}
# Watches that the client closes at an event after which more may have been read.
CLOSED_EARLY = {"watch 8", "watch 9"}


def in_order(value):
    """A value whose lists are sorted, and its texts too, by their words."""
    if isinstance(value, dict):
        return {name: in_order(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted((in_order(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return " ".join(sorted(re.split(r"[ ,\[\]]+", value))) if isinstance(value, str) else value


class Comparison:
    """The differences of one exchange, each with its place."""

    def __init__(self, generated=()):
        self.found, self.generated = [], set(generated)

    def say(self, path, text):
        self.found.append("%s: %s" % (path, text))

    def text(self, path, a, b):
        if path.endswith(".name") and a in self.generated or "generateName" in path:
            return
        a, b = mask(a), mask(b)
        for name in self.generated:
            a = a.replace(name, "GENERATED")
        if a != b and not (".cells" in path and AGE.match(a) and AGE.match(b)):
            self.say(path, "%r, not %r" % (b[:300], a[:300]))

    def value(self, path, a, b):
        if kind(a) != kind(b):
            return self.say(path, "%s, not %s" % (json.dumps(b)[:200], json.dumps(a)[:200]))
        if isinstance(a, str):
            return self.text(path, a, b)
        if isinstance(a, list):
            if len(a) != len(b):
                return self.say(path, "%d items, not %d: %s" % (len(b), len(a), self.extra(a, b)))
            for i, (x, y) in enumerate(zip(a, b)):
                self.value("%s[%d]" % (path, i), x, y)
        elif isinstance(a, dict):
            self.members(path, a, b)
        elif isinstance(a, bool) or isinstance(b, bool):
            if a is not b:
                self.say(path, "%r, not %r" % (b, a))
        elif a != b and not (isinstance(a, (int, float)) and not isinstance(a, bool) and a > 999 and b > 999):
            self.say(path, "%r, not %r" % (b, a))

    @staticmethod
    def extra(a, b):
        def names(items):
            return {json.dumps(i.get("name") or i.get("metadata", {}).get("name") or i.get("type") or i, sort_keys=True)[:60]
                    if isinstance(i, dict) else json.dumps(i)[:60] for i in items}
        return "too much %s, missing %s" % (sorted(names(b) - names(a))[:12], sorted(names(a) - names(b))[:12])

    def members(self, path, a, b):
        for name in sorted(set(a) | set(b)):
            if name in UNTOLD:
                continue
            place = path + "." + name
            if name not in b:
                self.say(place, "missing: %s" % json.dumps(a[name])[:120])
            elif name not in a:
                self.say(place, "too much: %s" % json.dumps(b[name])[:120])
            elif name == "managedFields" and kind(a[name]) == "array":
                if owners(a[name]) != owners(b[name]):
                    self.say(place, "%s, not %s" % tuple(sorted(set(map(str, x)) - set(map(str, y)))
                                                        for x, y in ((owners(b[name]), owners(a[name])),
                                                                     (owners(a[name]), owners(b[name])))))
            elif name == "userInfo" and a[name].get("username") == "admin":  # each server has an administrator of its own
                self.value(place + ".groups", a[name].get("groups"), b[name].get("groups"))
            elif name in OWN:
                if kind(a[name]) != kind(b[name]):
                    self.say(place, "kind %s, not %s" % (kind(b[name]), kind(a[name])))
            else:
                self.value(place, a[name], b[name])

    def headers(self, a, b):
        theirs, ours = ({k.lower(): v for k, v in h.items()} for h in (a or {}, b or {}))
        for name, value in theirs.items():
            if name in ("transfer-encoding", "etag", "last-modified", "connection"):
                if name == "etag" and name not in ours:
                    self.say("header " + name, "missing")
                continue
            if name not in ours:
                self.say("header " + name, "missing: %s" % value)
            elif mask(str(value)) != mask(str(ours[name])):
                self.say("header " + name, "%r, not %r" % (ours[name], value))
        for name in ours:
            if name not in theirs and name in ("warning", "retry-after", "location", "etag", "www-authenticate"):
                self.say("header " + name, "too much: %r" % (ours[name],))

    def stream(self, a, b, may_be_shorter):
        ours = [e["line"] for e in b or []]
        theirs = [e["line"] for e in a]
        if may_be_shorter and ours:
            theirs = theirs[:len(ours)]
        if len(ours) != len(theirs):
            self.say("stream", "%d events, not %d: %s, not %s" % (len(ours), len(theirs), [e.get("type") for e in ours],
                                                                  [e.get("type") for e in theirs]))
        for i, (x, y) in enumerate(zip(theirs, ours)):
            self.value("event[%d]" % i, x, y)


def parsed(body):
    if isinstance(body, dict) and "$text" in body:
        try:
            return json.loads(body["$text"])
        except ValueError:
            return body["$text"]
    return body


def generated_names(value, found):
    if isinstance(value, dict):
        meta = value.get("metadata")
        if isinstance(meta, dict) and meta.get("generateName") and meta.get("name"):
            found.add(meta["name"])
        for inner in value.values():
            generated_names(inner, found)
    elif isinstance(value, list):
        for inner in value:
            generated_names(inner, found)


def without_others(name, body):
    """A deployment without what a controller writes in its own time, a definition without who installed it."""
    if isinstance(body, dict) and name.startswith("crd ") and body.get("kind") == "CustomResourceDefinition":
        body = json.loads(json.dumps(body))
        body["metadata"].pop("managedFields", None)
    if isinstance(body, dict) and body.get("kind") == "Deployment":
        body = json.loads(json.dumps(body))
        body.pop("status", None)
        for entry in body["metadata"].get("managedFields", []):
            if entry["manager"] == "before-first-apply":
                entry["fieldsV1"].pop("f:status", None)
        annotations = body["metadata"].get("annotations", {})
        annotations.pop("deployment.kubernetes.io/revision", None)
        if not annotations:
            body["metadata"].pop("annotations", None)
    return body


def compare(wire, ours):
    """The differences of one exchange, as texts."""
    names = set()
    for part in (wire["request"].get("body"), wire["response"].get("body"), ours["response"].get("body")):
        generated_names(part, names)
    c = Comparison(names)
    key = "%s %d" % (wire["group"], wire["seq"])
    called = wire["name"].endswith("as the server sends it")
    if called:
        c.value("review", parsed(wire["request"].get("body")), parsed(ours["request"].get("body")))
        # The lab asks for no compression on this machine.
        c.headers({k: v for k, v in wire["request"]["headers"].items()
                   if k.lower() not in ("content-length", "accept-encoding")}, ours["request"]["headers"])
        return c.found
    a, b = wire["response"], ours["response"]
    if a["status"] != b["status"]:
        c.say("status", "%s, not %s" % (b["status"], a["status"]))
    c.headers(a.get("headers"), b.get("headers"))
    if "stream" in a:
        c.stream(a["stream"], b.get("stream"), key in CLOSED_EARLY)
    else:
        bodies = [without_others(wire["name"], parsed(r.get("body"))) for r in (a, b)]
        if key in IN_ANY_ORDER:
            bodies = [in_order(body) for body in bodies]
        c.value("body", *bodies)
    return c.found


def groups(folder):
    """The exchanges of the recording by group; audit events are no exchanges."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json") and name != "manifest.json":
            for exchange in json.load(open(os.path.join(folder, name))):
                if "request" in exchange:
                    found.setdefault(exchange["group"], []).append(exchange)
    return found


def compare_all(wire_folder, our_folder):
    """For each group: how many exchanges, and the differences by number; None where ours was not reached."""
    table = {}
    for group, exchanges in groups(wire_folder).items():
        path = os.path.join(our_folder, group + ".json")
        ours = json.load(open(path)) if os.path.exists(path) else []
        by_name = {}
        for e in ours:
            by_name.setdefault(e["name"], []).append(e)
        rows = {}
        for e in exchanges:
            at = e["seq"]
            mine = ours[at] if at < len(ours) and ours[at]["name"] == e["name"] else None
            if mine is None and by_name.get(e["name"]):
                mine = min(by_name[e["name"]], key=lambda o: abs(o["seq"] - at))
            rows[at] = (e["name"], compare(e, mine) if mine else None)
        table[group] = rows
    return table


def decided():
    """Differences that are meant: {"group seq": reason}."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wire_decided.txt")
    rows = [line.split("\t") for line in open(path).read().splitlines() if line and not line.startswith("#")]
    return {row[0]: row[1] for row in rows}


def report(wire_folder, our_folder, out=print):
    """Prints the table of what is covered, and each difference; how many are as decided, and how many are not."""
    known = decided()
    good = bad = 0
    out("%-18s %9s %5s %8s" % ("group", "exchanges", "same", "decided"))
    lines, used = [], set()
    for group, rows in compare_all(wire_folder, our_folder).items():
        same = meant = 0
        for at, (name, found) in sorted(rows.items()):
            key = "%s %d" % (group, at)
            if found == []:
                same += 1
                if key in known:
                    lines.append("not ok - %s (%s) is the same, but wire_decided.txt says that it differs" % (key, name))
                    bad += 1
            elif key in known:
                meant += 1
                used.add(key)
                lines.append("# %s (%s): %s" % (key, name, known[key]))
            else:
                bad += 1
                lines.append("not ok - %s (%s): %s" % (key, name, "not reached" if found is None else found[0]))
                lines.extend("#   " + text[:600] for text in (found or [])[1:6])
        good += same + meant
        out("%-18s %9d %5d %8d" % (group, len(rows), same, meant))
    for line in lines:
        out(line)
    return good, bad
