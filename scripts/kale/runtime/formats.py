"""Formats of libraries' own for their values; everything else is pickled.

Each: the type's modules and name, and how a value becomes bytes and a value again. A library is only
imported when a value of it is there already.
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


def load_keras(payload):
    import keras
    return from_file(".keras", payload, keras.models.load_model)


# name of the format -> first words of the type's module, its name (None: any), save, load
FORMATS = {
    "numpy.npy": (("numpy",), "ndarray", save_npy, load_npy),
    "sklearn.joblib": (("sklearn",), None, save_joblib, load_joblib),
    "polars.ipc": (("polars",), "DataFrame", save_polars, load_polars),
    "arrow.ipc": (("pyarrow",), "Table", save_arrow, load_arrow),
    "onnx": (("onnx", "onnx_ml_pb2"), "ModelProto", lambda value: value.SerializeToString(), load_onnx),
    "xgboost.json": (("xgboost",), "Booster", lambda value: bytes(value.save_raw("json")), load_booster),
    "xgboost.dmatrix": (("xgboost",), "DMatrix",
                        lambda value: through_file(".dmatrix", value.save_binary), load_dmatrix),
    "torch.pt": (("torch",), None, save_torch, load_torch),
    "keras": (("keras",), None, lambda value: through_file(".keras", value.save), load_keras),
}


def format_of(value):
    """The name of the format for a value, or None: pickle."""
    kind = type(value)
    words = kind.__module__.split(".")
    for name, (modules, wanted, _, _) in FORMATS.items():
        if words[0] in modules and (wanted is None or kind.__name__ == wanted):
            if name == "torch.pt" and words[1:2] != ["nn"] and kind.__name__ not in ("Tensor", "Parameter"):
                return None
            if name == "keras" and not (hasattr(value, "save") and hasattr(value, "layers")):
                return None
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
