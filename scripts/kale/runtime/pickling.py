"""How values become bytes and values again: functions, classes and modules of a notebook included.

Definitions of the notebook that can be made again go by reference; the artifact's header brings their
source. All others go by value: code, defaults, closure and the globals that they read.
"""
import io
import pickle
import sys
import types


def main_module():
    return sys.modules["__main__"]


# --- functions, by value ---------------------------------------------------------------------------

def new_cell():
    return types.CellType()


def set_cell(cell, contents):
    cell.cell_contents = contents[0]


def reduce_cell(cell):
    try:
        contents = [cell.cell_contents]
    except ValueError:  # not filled yet
        return new_cell, ()
    return new_cell, (), contents, None, None, set_cell


def new_function(code, name, cells, module="__main__"):
    """A function of this step's __main__, or of a module."""
    import marshal
    return types.FunctionType(marshal.loads(code), import_module(module).__dict__, name, None, cells)


def set_function(function, state):
    function.__defaults__, function.__kwdefaults__, function.__qualname__, attributes, function.__doc__ = state[:5]
    function.__annotations__, function.__module__ = state[5:7]
    function.__dict__.update(attributes)


def reduce_function(function):
    import marshal
    annotations = {}
    try:
        annotations = dict(function.__annotations__)
    except Exception:  # evaluated late by Python 3.14, and not to be had
        pass
    state = (function.__defaults__, function.__kwdefaults__, function.__qualname__, function.__dict__,
             function.__doc__, annotations, function.__module__)
    arguments = (marshal.dumps(function.__code__), function.__name__, function.__closure__)
    if function.__globals__ is not main_module().__dict__:
        arguments += (function.__globals__["__name__"],)
    return new_function, arguments, state, None, None, set_function


# --- classes, by value -------------------------------------------------------------------------------

CLASSES = {}  # identity -> class: one that comes twice is one class
IDENTITIES = {}  # class -> identity
UNCOPIED = ("__dict__", "__weakref__", "_abc_impl", "__doc__", "__module__")


def without_hook(cls, **arguments):
    """What stands for an __init_subclass__ that has run for the class where it was made."""


def bare_class(metaclass, name, bases, body):
    """A class as its metaclass and bases made it once: their code in the notebook does not run again."""
    make = next(kind for kind in metaclass.__mro__ if kind.__module__ != "__main__")
    hooks = {base: vars(base)["__init_subclass__"] for top in bases for base in top.__mro__
             if base.__module__ == "__main__" and "__init_subclass__" in vars(base)}
    try:
        for base in hooks:
            type.__setattr__(base, "__init_subclass__", classmethod(without_hook))
        return make.__new__(metaclass, name, bases, body)
    finally:
        for base, hook in hooks.items():
            type.__setattr__(base, "__init_subclass__", hook)


def new_class(identity, metaclass, name, bases, slots):
    if identity not in CLASSES:
        body = {"__module__": "__main__"}
        if slots is not None:
            body["__slots__"] = slots
        CLASSES[identity] = bare_class(metaclass, name, bases, body)
        IDENTITIES[CLASSES[identity]] = identity
    return CLASSES[identity]


def set_class(made, state):
    for name, value in state.items():
        try:
            type.__setattr__(made, name, value)
        except (AttributeError, TypeError):  # what the class made for itself
            pass


def reduce_class(value, step):
    import enum
    if issubclass(value, enum.Enum):
        raise pickle.PicklingError("the enumeration '%s' cannot be made again elsewhere" % value.__qualname__)
    identity = IDENTITIES.setdefault(value, "%s %s %d" % (step, value.__qualname__, len(IDENTITIES)))
    CLASSES.setdefault(identity, value)
    slots = value.__dict__.get("__slots__")
    hidden = UNCOPIED + tuple([slots] if isinstance(slots, str) else slots or ())
    state = {k: v for k, v in value.__dict__.items()
             if k not in hidden and not isinstance(v, (types.GetSetDescriptorType, types.MemberDescriptorType))}
    state["__qualname__"], state["__doc__"] = value.__qualname__, value.__doc__
    return new_class, (identity, type(value), value.__name__, value.__bases__, slots), state, None, None, set_class


# --- other objects ---------------------------------------------------------------------------------------

def new_exception(kind, arguments):
    return kind.__new__(kind, *arguments)


def set_exception(exception, state):
    attributes, exception.__cause__, exception.__context__, exception.__suppress_context__ = state
    exception.__dict__.update(attributes)


def new_container(kind):
    return kind.__new__(kind)


def set_container(container, state):
    """The items as they were, whatever the class does when one is set."""
    items, attributes = state
    if isinstance(items, dict):
        dict.update(container, items)
    else:
        list.extend(container, items)
    container.__dict__.update(attributes)


def set_attributes(value, state):
    """What pickle does with a state, without asking the object for anything."""
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    object.__getattribute__(value, "__dict__").update(attributes or {})
    for name, member in (slots or {}).items():
        object.__setattr__(value, name, member)


def is_plain(kind):
    """Whether a class of the notebook leaves pickling as it is."""
    return (kind.__module__ == "__main__" and kind.__reduce_ex__ is object.__reduce_ex__
            and kind.__reduce__ is object.__reduce__ and not hasattr(kind, "__getnewargs__")
            and not hasattr(kind, "__getnewargs_ex__") and not hasattr(kind, "__setstate__")
            and getattr(kind, "__getstate__", None) is getattr(object, "__getstate__", None))


def new_code(code):
    import marshal
    return marshal.loads(code)


def new_cached(function, parameters):
    import functools
    return functools.lru_cache(**parameters)(function)


def import_module(name):
    import importlib
    return importlib.import_module(name)


def is_hidden(function):
    """Whether a function of a module cannot be found there by its name: what a decorator of a library made."""
    found = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not function and "__name__" in function.__globals__ and function.__globals__["__name__"] in sys.modules


def names_in(code, found):
    """The global names that code reads, that of functions in it included."""
    found.update(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names_in(constant, found)
    return found


class Pickler(pickle.Pickler):
    def __init__(self, file, step="", definitions=(), shared=()):
        super().__init__(file, protocol=4)
        self.arrays = Arrays(shared)
        self.step, self.definitions = step, definitions
        self.has_code = False
        self.used = {}  # definitions that a reader has to make again
        self.named = set()  # globals that functions and classes in the value read

    def by_reference(self, value):
        """Whether a function or class is what a definition of the notebook makes."""
        name = getattr(value, "__qualname__", getattr(value, "__name__", "")).split(".")[0]
        if name not in self.definitions:
            return False
        found = main_module()
        for part in getattr(value, "__qualname__", name).split("."):
            found = getattr(found, part, None)
        if found is not value:
            return False
        self.used[name] = True
        return True

    def note_names(self, value):
        if isinstance(value, types.FunctionType):
            names_in(value.__code__, self.named)
            return
        for member in list(vars(value).values()):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(function, types.FunctionType):
                names_in(function.__code__, self.named)

    def reducer_override(self, value):
        kind = type(value)
        if kind is types.FunctionType:
            if value.__globals__ is not main_module().__dict__:
                self.has_code = self.has_code or is_hidden(value)
                return reduce_function(value) if is_hidden(value) else NotImplemented
            self.note_names(value)
            if self.by_reference(value):
                return NotImplemented
            self.has_code = True
            return reduce_function(value)
        if isinstance(value, type):
            if value.__module__ != "__main__":
                return NotImplemented
            self.note_names(value)
            if self.by_reference(value):
                return NotImplemented
            self.has_code = True
            return reduce_class(value, self.step)
        if kind.__name__ == "ndarray" and kind.__module__ == "numpy":
            return self.arrays.reduce(value)
        if kind.__name__ in ("Tensor", "Parameter") and kind.__module__.startswith("torch"):
            return self.arrays.reduce_tensor(value)
        if kind.__module__.startswith("pandas."):
            self.arrays.note_pandas(value)
        if kind in OTHERS:
            return OTHERS[kind](self, value)
        if kind.__module__ == "typing" and kind.__name__ in NAMED:
            return self.reduce_named(value)
        if isinstance(value, (dict, list)) and kind not in (dict, list) and is_plain(kind):
            items = dict(dict.items(value)) if isinstance(value, dict) else list(list.__iter__(value))
            return new_container, (kind,), (items, getattr(value, "__dict__", {})), None, None, set_container
        if hasattr(kind, "__getattr__") and is_plain(kind) and not hasattr(kind, "__slots__"):
            made = object.__reduce_ex__(value, 4)  # a __getattr__ may ask for what is not there yet
            return made if made[2] is None else made + (None,) * (5 - len(made)) + (set_attributes,)
        if isinstance(value, BaseException) and kind.__reduce__ is BaseException.__reduce__:
            state = (value.__dict__, value.__cause__, value.__context__, value.__suppress_context__)
            return new_exception, (kind, value.args), state, None, None, set_exception
        return NotImplemented

    def reduce_code(self, value):
        import marshal
        self.has_code = True
        names_in(value, self.named)
        return new_code, (marshal.dumps(value),)

    def reduce_cached(self, value):
        if self.by_reference(value):
            return NotImplemented
        return new_cached, (value.__wrapped__, value.cache_parameters())

    def reduce_named(self, value):
        if value.__module__ == "__main__" and self.by_reference(value):
            return NotImplemented
        return (type(value), (value.__name__,)) if is_type_parameter(value) else NotImplemented


NAMED = {"TypeVar", "NewType", "ParamSpec", "TypeVarTuple", "TypeAliasType"}  # of typing: they go by name


def is_type_parameter(value):
    """Whether a type variable is that of a generic function or class, def f[T](): it has no name of its own."""
    return (type(value).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple")
            and getattr(sys.modules.get(value.__module__), value.__name__, None) is not value)


def lru_cache_type():
    import functools
    return type(functools.lru_cache(lambda: None))


OTHERS = {
    types.CellType: lambda pickler, value: reduce_cell(value),
    types.ModuleType: lambda pickler, value: (import_module, (value.__name__,)),
    property: lambda pickler, value: (property, (value.fget, value.fset, value.fdel, value.__doc__)),
    staticmethod: lambda pickler, value: (staticmethod, (value.__func__,)),
    classmethod: lambda pickler, value: (classmethod, (value.__func__,)),
    lru_cache_type(): Pickler.reduce_cached,
    types.CodeType: Pickler.reduce_code,
}


def reduce_constant(pickler, value):
    """What dataclasses compares by identity."""
    import dataclasses
    for name in ("_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR", "MISSING", "_HAS_DEFAULT_FACTORY", "KW_ONLY"):
        if getattr(dataclasses, name, None) is value:
            return getattr, (dataclasses, name)
    return NotImplemented


def add_libraries():
    """Objects of modules that are there."""
    for kind, reduce in reducers().items():
        OTHERS[kind] = lambda pickler, value, reduce=reduce: reduce(value)
    dataclasses = sys.modules.get("dataclasses")
    for name in ("_FIELD", "MISSING", "_HAS_DEFAULT_FACTORY"):
        if hasattr(dataclasses, name):
            OTHERS[type(getattr(dataclasses, name))] = reduce_constant


class Unpickler(pickle.Unpickler):
    """Makes definitions of the notebook when a value asks for them."""

    def __init__(self, file, make):
        super().__init__(file)
        self.make = make

    def find_class(self, module, name):
        if module == "kfhost_step":  # the program's own functions, whatever it is called here
            if name not in globals():
                load_shell()
            return globals()[name]
        if module == "__main__" and name.split(".")[0] not in main_module().__dict__:
            self.make(name.split(".")[0])
        return super().find_class(module, name)


def dump(value, step, definitions, shared=()):
    """The pickler that wrote the value, and its bytes; shared: memory of arrays that they go on sharing."""
    add_libraries()
    file = io.BytesIO()
    pickler = Pickler(file, step, definitions, shared)
    pickler.dump(value)
    return pickler, file
