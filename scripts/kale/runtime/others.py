"""Objects that pickle knows nothing of and that can be made again: weak references, context variables, matches,
locks, closed files, views of mappings and of memory. One that holds something of its process cannot.
"""
import pickle
import sys
import types


# Objects that point at others without keeping them; what they point at is saved with them.

def new_reference(target, callback):
    import weakref
    return weakref.ref(target, callback) if target is not None else weakref.ref(set())


def reduce_proxy(value):
    import weakref
    return weakref.proxy, (value.__repr__.__self__,)


def weak_reducers(weakref):
    """A WeakSet goes as its members, a weak dictionary as an ordinary one."""
    known = {weakref.ref: lambda value: (new_reference, (value(), value.__callback__)),
             weakref.ProxyType: reduce_proxy, weakref.CallableProxyType: reduce_proxy}
    for kind, make in ((weakref.WeakSet, list), (weakref.WeakValueDictionary, dict),
                       (weakref.WeakKeyDictionary, dict)):
        known[kind] = lambda value, kind=kind, make=make: (kind, (make(value),))
    return known


def new_context_variable(name, has_default, default, is_set, value):
    import contextvars
    made = contextvars.ContextVar(name, default=default) if has_default else contextvars.ContextVar(name)
    if is_set:
        made.set(value)
    return made


def reduce_context_variable(value):
    import contextvars
    try:
        default = contextvars.Context().run(value.get)
        has_default = True
    except LookupError:
        default, has_default = None, False
    is_set = value in contextvars.copy_context()
    return new_context_variable, (value.name, has_default, default, is_set, value.get() if is_set else None)


# --- mappings and memory -----------------------------------------------------------------------------

def new_proxy(members):
    return types.MappingProxyType(members)


def new_view(mapping, method):
    """What keys(), values() and items() give, of the same dictionary."""
    import collections
    kind = collections.OrderedDict if isinstance(mapping, collections.OrderedDict) else dict
    return getattr(kind, method)(mapping)


def referent(value):
    """The mapping that a view or a proxy looks at."""
    import gc
    return gc.get_referents(value)[0]


def reduce_view(value):
    return new_view, (referent(value), type(value).__name__.split("_")[1])


def reduce_memory(value):
    whole = memoryview(value.obj)
    if (whole.nbytes, whole.format, whole.shape) != (value.nbytes, value.format, value.shape):
        raise pickle.PicklingError("a view of a part of memory")
    return memoryview, (value.obj,)


# --- matches, locks, files ---------------------------------------------------------------------------

def new_match(pattern, string, pos, endpos, span):
    for start in (pos, span[0]):
        for method in ("search", "match", "fullmatch"):
            found = getattr(pattern, method)(string, start, endpos)
            if found and found.span() == span:
                return found
    return pattern.fullmatch(string, *span)


def reduce_match(value):
    return new_match, (value.re, value.string, value.pos, value.endpos, value.span())


def new_lock(kind, is_locked):
    import threading
    made = getattr(threading, kind)()
    if is_locked:
        made.acquire()
    return made


def reduce_reentrant_lock(value):
    if " owner=0 " not in repr(value):
        raise pickle.PicklingError("a lock that a thread holds")
    return new_lock, ("RLock", False)


def new_closed_file(name, mode, encoding):
    import os
    text = {} if "b" in mode else {"encoding": encoding}
    made = open(os.devnull, mode.replace("x", "w"), **text)
    raw = getattr(made, "buffer", made)
    getattr(raw, "raw", raw).name = name
    if text:
        made.mode = mode
    made.close()
    return made


def reduce_file(value):
    if not value.closed:
        raise pickle.PicklingError("a file that is open")
    return new_closed_file, (value.name, value.mode, getattr(value, "encoding", None))


# --- all of them ---------------------------------------------------------------------------------------

def reducers():
    """How objects of each kind are taken apart, for the modules that are there."""
    import io
    import _thread
    known = {
        types.MappingProxyType: lambda value: (new_proxy, (referent(value),)),
        memoryview: reduce_memory,
        _thread.LockType: lambda value: (new_lock, ("Lock", value.locked())),
        _thread.RLock: reduce_reentrant_lock,
        io.TextIOWrapper: reduce_file, io.BufferedReader: reduce_file, io.BufferedWriter: reduce_file,
        io.BufferedRandom: reduce_file,
    }
    ordered = getattr(sys.modules.get("collections"), "OrderedDict", dict)()
    for mapping in ({}, ordered):
        for view in (mapping.keys(), mapping.values(), mapping.items()):
            known[type(view)] = reduce_view
    if "re" in sys.modules:
        known[sys.modules["re"].Match] = reduce_match
    if "weakref" in sys.modules:
        known.update(weak_reducers(sys.modules["weakref"]))
    if "contextvars" in sys.modules:
        known[sys.modules["contextvars"].ContextVar] = reduce_context_variable
    return known
