"""Formats of libraries' own for their values; everything else is pickled.

Each: where its types are defined, which of them, and how a value becomes bytes and a value again. A library is
only imported when a value of it is there already.
"""
import io
import os
import sys


def through_file(extension, write):
    """The bytes of a file, or of the only file, that a library writes."""
    import tempfile
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "value" + extension)
        write(path)
        with open(path, "rb") as file:
            return file.read()


def from_file(extension, payload, read):
    import tempfile
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "value" + extension)
        with open(path, "wb") as file:
            file.write(payload)
        return read(path)


def through_folder(write):
    """The bytes of a folder that a library writes, as an archive."""
    import tarfile
    import tempfile
    file = io.BytesIO()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "value")
        write(path)
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(path, "value")
    return file.getvalue()


def from_folder(payload, read):
    import tarfile
    import tempfile
    with tempfile.TemporaryDirectory() as directory:
        with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
            archive.extractall(directory)
        return read(os.path.join(directory, "value"))


def save_npy(value):
    import numpy
    if value.dtype.hasobject:
        return None
    file = io.BytesIO()
    numpy.save(file, value, allow_pickle=False)
    return file.getvalue()


def load_npy(payload):
    import numpy
    return numpy.load(io.BytesIO(payload), allow_pickle=False)


def save_joblib(value):
    import joblib
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def load_joblib(payload):
    import joblib
    return joblib.load(io.BytesIO(payload))


def save_polars(value):
    file = io.BytesIO()
    value.write_ipc(file)
    return file.getvalue()


def load_polars(payload):
    import polars
    return polars.read_ipc(io.BytesIO(payload))


def save_arrow(value):
    import pyarrow
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, value.schema) as writer:
        writer.write_table(value)
    return sink.getvalue().to_pybytes()


def load_arrow(payload):
    import pyarrow.ipc
    return pyarrow.ipc.open_stream(payload).read_all()


def load_onnx(payload):
    import onnx
    return onnx.load_model_from_string(payload)


def load_booster(payload):
    import xgboost
    return xgboost.Booster(model_file=bytearray(payload))


def load_dmatrix(payload):
    import xgboost
    return from_file(".dmatrix", payload, xgboost.DMatrix)


def save_torch(value):
    import torch
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def load_torch(payload):
    import torch
    return torch.load(io.BytesIO(payload), weights_only=False)


def save_script(value):
    import torch
    file = io.BytesIO()
    torch.jit.save(value, file)
    return file.getvalue()


def load_script(payload):
    import torch
    return torch.jit.load(io.BytesIO(payload))


def load_keras(payload):
    import keras
    return from_file(".keras", payload, keras.models.load_model)


def save_old_keras(value):
    """Keras before its third version: a SavedModel, behind the name of the package that it is in."""
    package = "tf_keras" if type(value).__module__.startswith("tf_keras") else "tensorflow.keras"
    return package.encode() + b"\n" + through_folder(value.save)


def load_old_keras(payload):
    import importlib
    package, _, archive = payload.partition(b"\n")
    if package == b"tf_keras":
        return from_folder(archive, importlib.import_module("tf_keras").models.load_model)
    return from_folder(archive, importlib.import_module("tensorflow").keras.models.load_model)


def save_tensorflow(value):
    import tensorflow
    return through_folder(lambda path: tensorflow.saved_model.save(value, path))


def load_tensorflow(payload):
    import tensorflow
    return from_folder(payload, tensorflow.saved_model.load)


def is_network(value):
    return hasattr(value, "save") and hasattr(value, "layers")


def is_named(*names):
    return lambda value: type(value).__name__ in names


def is_any(_):
    return True


# name of the format -> where the types are defined, which of them, save, load
FORMATS = {
    "numpy.npy": (("numpy",), is_named("ndarray"), save_npy, load_npy),
    "sklearn.joblib": (("sklearn",), is_any, save_joblib, load_joblib),
    "polars.ipc": (("polars",), is_named("DataFrame"), save_polars, load_polars),
    "arrow.ipc": (("pyarrow",), is_named("Table"), save_arrow, load_arrow),
    "onnx": (("onnx", "onnx_ml_pb2"), is_named("ModelProto"), lambda value: value.SerializeToString(), load_onnx),
    "xgboost.json": (("xgboost",), is_named("Booster"), lambda value: bytes(value.save_raw("json")), load_booster),
    "xgboost.dmatrix": (("xgboost",), is_named("DMatrix"),
                        lambda value: through_file(".dmatrix", value.save_binary), load_dmatrix),
    "torch.script": (("torch.jit",), is_any, save_script, load_script),
    "torch.pt": (("torch",), lambda value: is_within(type(value).__module__, ("torch.nn",))
                 or type(value).__name__ == "Tensor", save_torch, load_torch),
    "keras": (("keras",), is_network, lambda value: through_file(".keras", value.save), load_keras),
    "tensorflow.keras": (("tf_keras", "tensorflow.python.keras", "tensorflow.keras"), is_network, save_old_keras,
                         load_old_keras),
    "tensorflow.savedmodel": (("tensorflow.python.saved_model", "tensorflow.python.trackable"), is_any,
                              save_tensorflow, load_tensorflow),
}


def is_within(module, places):
    return any(module == place or module.startswith(place + ".") for place in places)


def format_of(value):
    """The name of the format for a value, or None: pickle."""
    kind = type(value)
    for name, (places, is_meant, _, _) in FORMATS.items():
        if is_within(kind.__module__, places) and is_meant(value):
            return name
    return None


def save_format(name, value):
    """Bytes, or None when the library cannot: then the value is pickled."""
    try:
        return FORMATS[name][2](value)
    except Exception as error:
        print("%s cannot be saved as %s (%s): it is pickled" % (type(value).__name__, name, error), file=sys.stderr)
        return None


def load_format(name, payload):
    return FORMATS[name][3](payload)
