"""Small pipelines that the SDK compiles: each kind of control flow, of inputs and of outputs.

Each function tagged with @case is a pipeline; its keyword `params` are the arguments of the run, and
`fails` says that the run ends in failure.
"""
import functools
from typing import Dict, List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Metrics, Model, Output, OutputPath

component = functools.partial(dsl.component, install_kfp_package=False, base_image="python:3.11")
CASES = {}


def case(params=None, fails=False, differs=None):
    """Notes a pipeline function as a case. differs: why the SDK's runner is no oracle for it."""

    def note(function):
        name = function.__name__
        CASES[name] = (dsl.pipeline(name=name.replace("_", "-"))(function), params or {}, fails, differs)
        return function

    return note


# --- components ------------------------------------------------------------------------------------


@component()
def add(a: int, b: int = 1) -> int:
    return a + b


@component()
def shout(text: str, mark: str = "!") -> str:
    return text.upper() + mark


@component()
def describe(i: int, f: float, s: str, b: bool, xs: list, d: dict) -> str:
    return repr((i, f, s, b, xs, sorted(d.items())))


@component()
def numbers(n: int) -> List[int]:
    return list(range(n))


@component()
def total(values: List[int]) -> int:
    return int(sum(values))  # the SDK makes floats of numbers in lists, a cluster does not


@component()
def join(values: List[str]) -> str:
    return ",".join(values)


@component()
def flip(heads: bool) -> str:
    return "heads" if heads else "tails"


@component()
def fail(text: str) -> str:
    raise RuntimeError(text)


@component()
def several(a: int) -> NamedTuple("Several", [("double", int), ("text", str), ("half", float)]):
    from collections import namedtuple

    return namedtuple("Several", ["double", "text", "half"])(2 * a, f"<{a}>", a / 2)


@component()
def write(text: str, data: Output[Dataset]):
    data.metadata["length"] = len(text)
    with open(data.path, "w") as file:
        file.write(text)


@component()
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read() + "/" + str(int(data.metadata.get("length", 0)))


@component()
def read_all(parts: Input[List[Dataset]]) -> str:
    return "+".join(open(part.path).read() for part in parts)


@component()
def measure(value: float, metrics: Output[Metrics]) -> float:
    metrics.log_metric("loss", value)
    metrics.log_metric("half", value / 2)
    return value


@component()
def train(n: int, model: Output[Model], notes: Output[Markdown]) -> str:
    model.metadata["n"] = n
    with open(model.path, "w") as file:
        file.write("m" * n)
    with open(notes.path, "w") as file:
        file.write("# notes")
    return model.name


@component()
def to_path(text: str, target: OutputPath(str)):
    with open(target, "w") as file:
        file.write(text * 2)


@component()
def maybe(text: Optional[str] = None, n: Optional[int] = None) -> str:
    return f"{text!r} {n!r}"


@component()
def has_data(data: Optional[Input[Artifact]] = None) -> bool:
    return data is not None


@component()
def rows() -> List[Dict[str, int]]:
    return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@component()
def settings() -> Dict[str, str]:
    return {"colour": "red", "it's": 'a "quoted" {' + "{$}} text"}


@component()
def status_of(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@component()
def flaky(folder: str, needed: int) -> int:
    import os

    tries = len(os.listdir(folder))
    open(os.path.join(folder, str(tries)), "w").close()
    if tries < needed:
        raise SystemExit(3)
    return tries


# --- plain graphs ----------------------------------------------------------------------------------


@case()
def chain() -> int:
    first = add(a=1, b=2)
    second = add(a=first.output, b=10)
    return add(a=second.output).output


@case(params={"n": 7})
def diamond(n: int = 3) -> int:
    left = add(a=n, b=1)
    right = add(a=n, b=2)
    return add(a=left.output, b=right.output).output


@case()
def types_of_constants() -> str:
    return describe(i=-3, f=2.5, s='it\'s "q" {{x}}\n', b=False, xs=[0.5, "a", ["b"]], d={"k": [1.5], "j": True}).output


@case(params={"i": 4, "f": 3.5, "s": "x", "b": True, "xs": [1.5, ["c"]], "d": {"a": {"b": "e"}}})
def types_of_parameters(i: int, f: float, s: str, b: bool, xs: list, d: dict) -> str:
    return describe(i=i, f=f, s=s, b=b, xs=xs, d=d).output


@case()
def defaults_of_every_type(i: int = 1, f: float = 2.5, s: str = "d", b: bool = True, xs: list = ["a"], d: dict = {}) -> str:
    return describe(i=i, f=f, s=s, b=b, xs=xs, d=d).output


@case()
def several_outputs() -> NamedTuple("Outputs", [("x", int), ("y", str), ("z", float)]):
    task = several(a=3)
    outputs = NamedTuple("Outputs", [("x", int), ("y", str), ("z", float)])
    return outputs(x=add(a=task.outputs["double"]).output, y=task.outputs["text"], z=task.outputs["half"])


@case()
def texts_with_inputs(name: str = "you") -> str:
    task = shout(text="a")
    return shout(text=f"{name} and {task.output} and {name}", mark="").output


@case()
def order_without_data() -> int:
    first = add(a=1)
    second = add(a=2).after(first)
    return add(a=3).after(second, first).output


@case()
def artifact_between_steps() -> str:
    return read(data=write(text="hello").outputs["data"]).output


@case()
def metrics_of_a_step() -> float:
    return measure(value=0.5).outputs["Output"]


@case()
def model_with_metadata() -> str:
    return train(n=4).outputs["Output"]


@case()
def parameter_by_path() -> str:
    return shout(text=to_path(text="ab").outputs["target"]).output


@case(differs="the SDK's runner makes int(None) of an optional number")
def optional_inputs_left_out() -> str:
    return maybe().output


@case()
def optional_inputs_given() -> str:
    return maybe(text="t", n=0).output


@case()
def optional_artifact_left_out() -> bool:
    return has_data().output


@case(differs="the SDK's runner replaces placeholders in users' values")
def dictionary_between_steps() -> str:
    @component()
    def pick(d: Dict[str, str], key: str) -> str:
        return d[key]

    return pick(d=settings().output, key="it's").output


@case()
def importer_with_metadata(uri: str = "/tmp/somewhere") -> str:
    @component()
    def where(data: Input[Dataset]) -> str:
        return data.uri + " " + str(sorted(data.metadata.items()))

    task = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"k": "v"}, reimport=False)
    return where(data=task.output).output


# --- conditions ------------------------------------------------------------------------------------


@case(params={"heads": True})
def condition_true(heads: bool) -> str:
    coin = flip(heads=heads)
    with dsl.If(coin.output == "heads"):
        shout(text="heads it is")
    return coin.output


@case(params={"heads": False})
def condition_false(heads: bool) -> str:
    coin = flip(heads=heads)
    with dsl.If(coin.output == "heads"):
        shout(text="heads it is")
    return coin.output


@case(params={"n": 5})
def branches_of_numbers(n: int) -> str:
    task = add(a=n, b=0)
    with dsl.If(task.output > 10):
        big = shout(text="big")
    with dsl.Elif(task.output >= 5):
        middle = shout(text="middle")
    with dsl.Else():
        small = shout(text="small")
    return dsl.OneOf(big.output, middle.output, small.output)


@case(params={"n": 1})
def last_branch(n: int) -> str:
    with dsl.If(n == 10):
        big = shout(text="big")
    with dsl.Elif(n > 5):
        middle = shout(text="middle")
    with dsl.Else():
        small = shout(text="small")
    return dsl.OneOf(big.output, middle.output, small.output)


@case()
def nested_conditions() -> int:
    first = add(a=1)
    with dsl.If(first.output == 2):
        second = add(a=first.output)
        with dsl.If(second.output < 3):
            add(a=100)
        with dsl.If(second.output != 4):
            add(a=second.output)
    return first.output


@case(params={"ok": True})
def condition_on_a_boolean(ok: bool) -> int:
    with dsl.If(ok == True):  # noqa: E712
        yes = add(a=1)
    with dsl.Else():
        no = add(a=2)
    return dsl.OneOf(yes.output, no.output)


@case(params={"x": 0.25})
def condition_on_a_float(x: float) -> str:
    with dsl.If(x < 0.5):
        low = shout(text="low")
    with dsl.Else():
        high = shout(text="high")
    return dsl.OneOf(low.output, high.output)


# --- loops -----------------------------------------------------------------------------------------


@case()
def loop_over_constants() -> int:
    with dsl.ParallelFor([1, 2, 3]) as item:
        task = add(a=item, b=10)
    return total(values=dsl.Collected(task.output)).output


@case()
def loop_over_an_output() -> int:
    with dsl.ParallelFor(numbers(n=4).output) as item:
        task = add(a=item)
    return total(values=dsl.Collected(task.output)).output


@case(params={"names": ["a", "b"]})
def loop_over_a_parameter(names: List[str]) -> str:
    with dsl.ParallelFor(names, parallelism=1) as name:
        task = shout(text=name)
    return join(values=dsl.Collected(task.output)).output


@case()
def loop_over_records() -> int:
    with dsl.ParallelFor([{"a": 1, "b": 2}, {"a": 3, "b": 4}]) as item:
        task = add(a=item.a, b=item.b)
    return total(values=dsl.Collected(task.output)).output


@case()
def loop_over_records_of_an_output() -> int:
    with dsl.ParallelFor(rows().output) as item:
        task = add(a=item.a, b=item.b)
    return total(values=dsl.Collected(task.output)).output


@case()
def artifacts_of_a_loop() -> str:
    with dsl.ParallelFor(["x", "yy"]) as text:
        task = write(text=text)
    return read_all(parts=dsl.Collected(task.outputs["data"])).output


@case()
def condition_in_a_loop() -> str:
    with dsl.ParallelFor([1, 2, 3]) as item:
        task = add(a=item)
        with dsl.If(task.output > 2):
            shout(text="more")
    return shout(text="end").output


@case()
def loop_in_a_loop() -> int:
    outside = add(a=5)
    with dsl.ParallelFor([1, 2]) as i:
        with dsl.ParallelFor([10, 20]) as j:
            add(a=i, b=j)
        add(a=i, b=outside.output)
    return outside.output


@case()
def loop_over_nothing() -> int:
    with dsl.ParallelFor(numbers(n=0).output) as item:
        add(a=item)
    return add(a=1).output


# --- pipelines in pipelines ------------------------------------------------------------------------


@dsl.pipeline(name="inner")
def inner(a: int, b: int = 5) -> int:
    first = add(a=a, b=b)
    return add(a=first.output, b=b).output


@dsl.pipeline(name="outer-of-inner")
def outer(a: int) -> int:
    return inner(a=inner(a=a).output, b=1).output


@case(params={"n": 2})
def pipeline_in_a_pipeline(n: int) -> int:
    return add(a=inner(a=n).output).output


@case()
def three_levels() -> int:
    return outer(a=1).output


@case()
def pipeline_in_a_loop() -> int:
    with dsl.ParallelFor([1, 2]) as item:
        task = inner(a=item)
    return total(values=dsl.Collected(task.output)).output


@dsl.pipeline(name="makes-data")
def makes_data(text: str) -> Dataset:
    return write(text=f"{text}!").outputs["data"]


@case()
def artifact_of_an_inner_pipeline() -> str:
    return read(data=makes_data(text="deep").output).output


# --- failures --------------------------------------------------------------------------------------


@case(fails=True)
def a_step_that_fails() -> str:
    return shout(text=fail(text="no").output).output


@case()
def exit_after_success() -> str:
    end = status_of()
    with dsl.ExitHandler(end, name="body"):
        add(a=1)
    return shout(text="x").output


@case(fails=True)
def exit_after_failure() -> str:
    end = status_of()
    with dsl.ExitHandler(end, name="body"):
        fail(text="no")
    return shout(text="x").output


@case(fails=True)
def upstream_failure_ignored() -> str:
    broken = fail(text="no")
    return shout(text="still", mark="?").after(broken).ignore_upstream_failure().output


@case(params={"needed": 2}, differs="a folder counts the attempts")
def retried_until_it_works(folder: str, needed: int) -> int:
    return flaky(folder=folder, needed=needed).set_retry(num_retries=3, backoff_duration="0s").output


@case(params={"needed": 9}, fails=True, differs="a folder counts the attempts")
def retried_in_vain(folder: str, needed: int) -> int:
    return flaky(folder=folder, needed=needed).set_retry(num_retries=1, backoff_duration="0s").output


@case(differs="the SDK's compiler writes a condition that nobody can read")
def condition_with_a_quote() -> str:
    task = shout(text="it's", mark="")
    with dsl.If(task.output == "IT'S"):
        yes = shout(text="yes")
    with dsl.Else():
        no = shout(text="no")
    return dsl.OneOf(yes.output, no.output)


@case(params={"s": "it's"}, differs="the SDK's runner takes a condition that it cannot read for false")
def condition_on_a_quote(s: str) -> str:
    task = shout(text=s, mark="")
    with dsl.If(task.output != "x"):
        yes = shout(text="yes")
    with dsl.Else():
        no = shout(text="no")
    return dsl.OneOf(yes.output, no.output)
