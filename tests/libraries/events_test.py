"""Event files written by tensorboardX and by TensorBoard (whose writer is PyTorch's, too), read by katib.events and by
TensorBoard's own reader, as Katib's collector uses it: the same metrics, also of files that are damaged.

events_test.py KFHOST
"""
import glob
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from datetime import datetime, timezone

import numpy as np
import tensorboardX
from tensorboard.backend.event_processing.plugin_event_accumulator import TENSORS, EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

logging.disable(logging.CRITICAL)
KFHOST = sys.argv[1]
READ = """
local problems = {}
local names, directory = require "json".decode(arg[1]), arg[2]
local found = katib.events(directory, names, function(text) problems[#problems + 1] = text end)
print(require "json".encode { found = found, problems = require "json".array(problems) })
"""
NAMES = ["acc", "loss", "train/acc", "test/loss", "x"]
TYPES = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool"]


def ours(directory, names):
    code = 'local katib, arg = require "katib", {...}\n' + READ
    done = subprocess.run([KFHOST, "-e", code, "--", json.dumps(names), directory], capture_output=True, text=True,
                          check=True)
    said = json.loads(done.stdout)
    return [(m["name"], m["value"], m["timestamp"]) for m in said["found"]], said["problems"]


def scalar_text(tensor):
    """The number in the fewest digits, whatever this numpy's choice between 1e+08 and 100000000.0 is."""
    array = tensor_util.make_ndarray(tensor.tensor_proto)
    if array.size != 1 or array.dtype.kind not in "fiub":
        return None
    value = array.reshape(())[()]
    if array.dtype.kind != "f" or not np.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(float(value)) < 1e16:
        return np.format_float_positional(value, unique=True, trim="0")
    return np.format_float_scientific(value, unique=True, trim="-", exp_digits=2)


def theirs(directory, names):
    """What Katib's collector reports: tags that begin with a metric's name, in files whose folder fits."""
    found = []
    for path in sorted(glob.glob(directory + "/**/*tfevents*", recursive=True)):
        accumulator = EventAccumulator(path, size_guidance={TENSORS: 0})
        accumulator.Reload()
        for tag in accumulator.Tags()[TENSORS]:
            for name in names:
                folder = os.path.dirname(name) if "/" in name else os.path.dirname(path)
                if tag.startswith(name.split("/")[-1]) and os.path.dirname(path).endswith(folder):
                    for event in accumulator.Tensors(tag):
                        time = datetime.fromtimestamp(event.wall_time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
                        if scalar_text(event) is not None:
                            found.append((name, scalar_text(event), time))
    if not any(name == names[0] for name, _, _ in found):
        return [(names[0], "unavailable", "0001-01-01T00:00:00Z")]
    return found


def number(random_):
    return random_.choice([0.0, -0.0, 1.0, 0.1, 1e-5, 123456789.0, 1e16, -3.25e-8, float("nan"), float("inf"),
                           -float("inf"), random_.uniform(-1, 1), random_.uniform(-1, 1) * 10 ** random_.randint(-30, 30)])


def with_tensorboardx(directory, random_):
    writer = tensorboardX.SummaryWriter(directory)
    for step in range(random_.randint(1, 20)):
        for tag in random_.sample(["acc", "loss", "accuracy", "lossy", "other"], 3):
            writer.add_scalar(tag, number(random_), step, walltime=1.7e9 + step + random_.random())
    writer.add_histogram("acc/weights", np.arange(10.0), 1)
    writer.add_text("loss-note", "a note")
    writer.close()


def tensor_value(random_):
    kind = random_.choice(TYPES)
    value = random_.randint(0, 1) if kind == "bool" else random_.randint(0, 100) if "int" in kind else number(random_)
    with np.errstate(over="ignore"):
        array = np.array(value).astype(kind)
    if random_.random() < 0.1:
        array = np.array([array, array])  # no scalar
    proto = tensor_util.make_tensor_proto(array)
    if array.size == 1 and random_.random() < 0.5:
        proto = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=array.tobytes())
    return proto


def with_tensorboard(directory, random_):
    writer = EventFileWriter(directory)
    for step in range(random_.randint(1, 20)):
        values = [Summary.Value(tag=tag, tensor=tensor_value(random_)) if random_.random() < 0.7
                  else Summary.Value(tag=tag, simple_value=number(random_))
                  for tag in random_.sample(["acc", "loss", "x", "accuracy"], 2)]
        writer.add_event(Event(wall_time=1.7e9 + step * 1.3, step=step, summary=Summary(value=values)))
        if random_.random() < 0.1:  # the training was started anew
            again = random_.randint(0, step)
            writer.add_event(Event(wall_time=1.7e9 + step, step=again, session_log=SessionLog(status=SessionLog.START)))
    writer.close()


def damage(path, random_):
    with open(path, "r+b") as file:
        size = os.path.getsize(path)
        at = random_.randrange(size)
        if random_.random() < 0.5:
            file.truncate(at)
        else:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << random_.randrange(8))]))


def same(seed, damaged):
    random_ = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        for folder in random_.sample(["", "train", "test", "run/test"], 2):
            random_.choice([with_tensorboardx, with_tensorboard])(os.path.join(root, folder), random_)
        with open(os.path.join(root, "7.pid"), "w") as file:
            file.write("completed\n")
        if damaged:
            damage(random_.choice(glob.glob(root + "/**/*tfevents*", recursive=True)), random_)
        names = random_.sample(NAMES, random_.randint(1, 4))
        found, problems = ours(root, names)
        wanted = theirs(root, names)
        first = next(((a, b) for a, b in zip(found, wanted) if a != b), (len(found), len(wanted)))
        assert found == wanted, f"seed {seed}: ours and theirs: {first}"
        if not damaged:
            assert problems == [], problems
        return problems


def main():
    results, told = [], 0
    for damaged in False, True:
        for seed in range(60):
            name = f"event files, seed {seed}" + (", damaged" if damaged else "")
            try:
                told += len(same(seed, damaged))
                results.append(True)
            except (AssertionError, subprocess.CalledProcessError) as problem:
                results.append(False)
                print("#", getattr(problem, "stderr", problem))
            print("ok" if results[-1] else "not ok", len(results), "-", name)
    results.append(told >= 50)
    print("ok" if told >= 50 else "not ok", len(results), "- damage is located:", told)
    print(f"1..{len(results)}\n{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
