"""Values that leave and enter a step, as artifacts: a header line, then the payload.

The header: format, python, type (pickle, pickle+code, absent, or a name of FORMATS), sha256, names,
and the definitions that the payload needs.
"""
import hashlib
import io
import json
import os
import sys
import types

FORMAT = 1
MINOR = "%d.%d" % sys.version_info[:2]


class StepError(Exception):
    """Something that is said to people without a traceback."""


# --- where artifacts are ---------------------------------------------------------------------------

MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/", "oci://": "/oci/", "file://": ""}


def local_path(uri):
    for scheme, mount in MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri[len(scheme):]
    return uri


def artifact_of(executor_input, direction, key):
    return executor_input[direction]["artifacts"][key]["artifacts"][0]


def write_file(path, *pieces):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


# --- definitions of the notebook -----------------------------------------------------------------------

class Definitions:
    """What can be made again: {name: {"cell", "line", "source", "needs"}}, and making it."""

    def __init__(self, known, run):
        self.known, self.run, self.making = known, run, set()

    def __contains__(self, name):
        return name in self.known

    def closure(self, names):
        found, queue = {}, list(names)
        while queue:
            name = queue.pop()
            if name in self.known and name not in found:
                found[name] = self.known[name]
                queue += self.known[name]["needs"]
        return found

    def add(self, definitions):
        for name, definition in definitions.items():
            self.known.setdefault(name, definition)

    def make(self, name):
        definition = self.known.get(name)
        if definition is None:
            raise StepError("the value needs '%s', which is not defined in this step" % name)
        if name in self.making:
            return
        self.making.add(name)
        for needed in definition["needs"]:
            if needed not in main_module().__dict__ and needed in self.known:
                self.make(needed)
        self.run(definition)
        self.making.discard(name)


# --- saving -------------------------------------------------------------------------------------------

IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), type, tuple, frozenset,
             types.BuiltinFunctionType, types.ModuleType, range, types.CodeType)


def shared_objects(pickler):
    """Ids of the objects in a pickle that could be changed in place."""
    found = {key for key, (_, value) in pickler.memo.copy().items() if not isinstance(value, IMMUTABLE)}
    return found | set(pickler.arrays.roots)


def group_names(names, reached):
    """Names whose values reach a common object, together; in the order of names."""
    groups = []
    for name in names:
        touching = [group for group in groups if group[1] & reached[name]]
        merged = ([name], set(reached[name]))
        for group in touching:
            groups.remove(group)
            merged = (group[0] + merged[0], merged[1] | group[1])
        groups.append(merged)
    return [sorted(group[0]) for group in groups]


class Saver:
    def __init__(self, spec, executor_input, namespace, definitions):
        self.values = {value["name"]: value for value in spec["values_out"]}
        self.step, self.executor_input = spec["step"], executor_input
        self.namespace, self.definitions = namespace, definitions

    def made(self, names):
        return ", ".join("'%s'%s" % (name, " (made in cell %s)" % self.values[name]["cell"]
                                     if self.values[name].get("cell") else "") for name in names)

    def dump(self, values, names, shared=()):
        try:
            return dump(values, self.step, self.definitions, shared)
        except Exception as error:
            raise StepError("%s cannot be handed to another step: %s: %s" % (self.made(names), type(error).__name__,
                                                                             error))

    def filling(self, names, named):
        """The globals that functions in values read, for where they are missing: those that every
        taker of the values has anyway are left out."""
        known = set(self.values[names[0]].get("with", ())).union(names)
        known.intersection_update(*[set(self.values[name].get("with", ())).union(names) for name in names])
        found, queue = {}, sorted(named)
        while queue:
            name = queue.pop()
            if name in found or name in known or name not in self.namespace:
                continue
            try:
                pickler, _ = dump(self.namespace[name], self.step, self.definitions)
            except Exception:  # whoever really needs it will miss it by name
                continue
            found[name] = self.namespace[name]
            queue += sorted(pickler.named)
        return found

    def write(self, names, header, payload):
        header.update({"format": FORMAT, "python": MINOR, "sha256": hashlib.sha256(payload).hexdigest(), "names": names})
        line = json.dumps(header, sort_keys=True).encode() + b"\n"
        for name in names:
            uri = artifact_of(self.executor_input, "outputs", self.values[name]["artifact"])["uri"]
            try:
                write_file(local_path(uri), line, payload)
            except OSError as error:
                raise StepError("%s cannot be saved, %d bytes: %s" % (self.made([name]), len(payload), error))

    def save_native(self, name, kind):
        value = self.namespace[name]
        payload = save_format(kind, value)
        if payload is None:
            return False
        self.write([name], {"type": kind}, payload)
        return True

    def save_pickle(self, names, pickler, file):
        header = {"type": "pickle"}
        filling = self.filling(names, pickler.named) if pickler.named else {}
        if filling:
            pickler.dump(filling)
            header["filling"] = sorted(filling)
        if pickler.has_code:
            header["type"] = "pickle+code"
        needed = self.definitions.closure(pickler.used)
        if needed:
            header["definitions"] = needed
        self.write(names, header, file.getvalue())

    def save(self):
        there = sorted(name for name in self.values if name in self.namespace)
        for name in self.values:
            if name not in self.namespace:
                self.write([name], {"type": "absent"}, b"")
        dumps, reached = {}, {}
        for name in there:
            holder = {name: self.namespace[name]}
            try:
                dumps[name] = self.dump(holder, [name])
            except StepError:  # there are values that only their library can save
                kind = format_of(self.namespace[name])
                if not kind or not self.save_native(name, kind):
                    raise
                continue
            reached[name] = shared_objects(dumps[name][0]) - {id(holder)}
        if Arrays.mixed([pickler.arrays for pickler, _ in dumps.values()]):
            print("an array and a tensor share memory here: in another step they are two", file=sys.stderr)
        for names in group_names([name for name in there if name in dumps], reached):
            pickler, file = dumps[names[0]]
            alone = len(names) == 1 and not pickler.named and not pickler.arrays.has_gradients
            kind = format_of(self.namespace[names[0]]) if alone else None
            if kind and self.save_native(names[0], kind):
                continue
            shared = Arrays.shared_by(dumps[name][0].arrays for name in names)
            if len(names) > 1 or shared:
                pickler, file = self.dump({name: self.namespace[name] for name in names}, names, shared)
            self.save_pickle(names, pickler, file)


# --- loading ------------------------------------------------------------------------------------------

def read_artifact(path, name):
    try:
        with open(path, "rb") as file:
            header, payload = json.loads(file.readline()), file.read()
    except (OSError, ValueError) as error:
        raise StepError("'%s' cannot be read from %s: %s" % (name, path, error))
    if header.get("format") != FORMAT:
        raise StepError("'%s' has format %s, this step reads %s" % (name, header.get("format"), FORMAT))
    if hashlib.sha256(payload).hexdigest() != header["sha256"]:
        raise StepError("'%s' is damaged: %s is not what was saved" % (name, path))
    if header["type"] == "pickle+code" and header["python"] != MINOR:
        raise StepError("'%s' holds a function of Python %s and cannot be loaded by Python %s"
                        % (name, header["python"], MINOR))
    return header, payload


def load_group(header, payload, definitions):
    """The values of an artifact by name, and what fills gaps."""
    definitions.add(header.get("definitions", {}))
    if header["type"] == "absent":
        return {}, {}
    if header["type"] in FORMATS:
        return {header["names"][0]: load_format(header["type"], payload)}, {}
    reader = Unpickler(io.BytesIO(payload), definitions.make)
    values = reader.load()
    return values, reader.load() if header.get("filling") else {}


def load_values(spec, executor_input, namespace, definitions):
    loaded, fillings = {}, []
    for value in spec["values_in"]:
        name = value["name"]
        path = local_path(artifact_of(executor_input, "inputs", value["artifact"])["uri"])
        header, payload = read_artifact(path, name)
        key = (header["sha256"], tuple(header["names"]))
        if key not in loaded:
            try:
                loaded[key], filling = load_group(header, payload, definitions)
            except StepError:
                raise
            except Exception as error:
                raise StepError("'%s' cannot be loaded: %s: %s" % (name, type(error).__name__, error))
            fillings.append(filling)
        if name in loaded[key]:
            namespace[name] = loaded[key][name]
        else:
            namespace.pop(name, None)
    given = {value["name"] for value in spec["values_in"]} | set(spec.get("stores", ()))
    for filling in fillings:
        for name, value in filling.items():
            if name not in given:
                namespace.setdefault(name, value)
