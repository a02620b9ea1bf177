"""More pipelines: collected outputs at all depths, artifacts in loops and branches, containers, exit tasks, platforms.

They are added to the CASES of pipelines.py.
"""
from typing import Dict, List, NamedTuple, Optional

from kfp import dsl, kubernetes
from kfp.dsl import (Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output, OutputPath)

from pipelines import (add, case, component, join, makes_data, numbers, read, read_all, shout, status_of, total, write)

# --- components ------------------------------------------------------------------------------------


@component()
def flatten(values: List[List[int]]) -> int:
    return sum(sum(inner) for inner in values)


@component()
def size_of(values: list) -> str:
    return repr(values)


@component()
def dataset(name: str) -> Dataset:
    data = Dataset(uri=dsl.get_uri(suffix=name), metadata={"letter": name})
    with open(data.path, "w") as file:
        file.write(name)
    return data


@component()
def letter_of(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read() + data.metadata.get("letter", "?")


@component()
def pair(text: str) -> NamedTuple("Pair", [("data", Dataset), ("length", int)]):
    data = Dataset(uri=dsl.get_uri("own"), metadata={"text": text})
    with open(data.path, "w") as file:
        file.write(text)
    return (data, len(text))


@component()
def elsewhere(data: Output[Dataset]):
    import os

    place = os.path.join(os.path.dirname(data.path), "deep", "file.txt")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w") as file:
        file.write("from elsewhere")
    data.custom_path = place


@component()
def confusion(metrics: Output[Metrics], matrix: Output[ClassificationMetrics]) -> str:
    metrics.log_metric("accuracy", 0.5)
    metrics.log_metric("loss", 2)
    matrix.log_confusion_matrix(["cat", "dog"], [[1, 2], [3, 4]])
    return "done"


@component()
def metadata_of(metrics: Input[Metrics], matrix: Input[ClassificationMetrics]) -> str:
    rows = [row["row"] for row in matrix.metadata["confusionMatrix"]["rows"]]
    return f"{metrics.metadata['accuracy']} {metrics.metadata['loss']} {rows}"


@component()
def many_optional(a: int = 1, b: Optional[str] = None, c: Optional[list] = None, d: Optional[dict] = None,
                  e: bool = False, f: Optional[float] = None) -> str:
    return repr((a, b, c, d, e, f))


@component()
def names_of_the_run(job: str, resource: str, uuid: str, task: str, task_uuid: str) -> str:
    assert resource.startswith(job + "-"), resource
    assert len(resource) > len(job) + 1 and uuid and task_uuid, (resource, uuid, task_uuid)
    assert "{{" not in job + resource + uuid + task + task_uuid
    return job + " " + task


@component()
def variable(name: str) -> str:
    import os

    return os.environ.get(name, "none")


@dsl.component(base_image="python:3.11", packages_to_install=["typing-extensions"])
def with_packages() -> str:
    import typing_extensions

    return typing_extensions.__name__


@component()
def nothing_given(config: dsl.TaskConfig) -> str:
    return repr((config.node_selector, config.tolerations))


@component()
def kinds_of(data: Input[Dataset]) -> str:
    return f"{data.uri} {data.metadata['kind']} {data.metadata['fix']}"


@component()
def describe_all(a: int, text: str, xs: list, d: dict, ok: bool) -> str:
    return repr((a, text, xs, d, ok))


@dsl.container_component
def say(word: str, count: int, out: OutputPath(str)):
    return dsl.ContainerSpec(image="alpine:3", command=["sh", "-c", 'mkdir -p "$(dirname "$2")"; printf "%s" "$0$1" > "$2"'],
                             args=[word, count, out])


@dsl.container_component
def joined(word: str, out: OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine:3", command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; printf "%s" "$0" > "$1"'],
        args=[dsl.ConcatPlaceholder(["<", word, ">", dsl.ConcatPlaceholder(["(", word, ")"])]), out])


@dsl.container_component
def perhaps(out: OutputPath(str), word: Optional[str] = None):
    return dsl.ContainerSpec(
        image="alpine:3", command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf "%s|" "$@" > "$0"'],
        args=[out, "--first", dsl.IfPresentPlaceholder(
            input_name="word", then=["--word", word], else_=["--no-word", dsl.ConcatPlaceholder(["a", "b"])])])


@dsl.container_component
def artifact_out(text: str, data: Output[Dataset]):
    return dsl.ContainerSpec(image="alpine:3", command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; printf "%s" "$0" > "$1"'],
                             args=[text, data.path])


@dsl.container_component
def artifact_in(data: Input[Dataset], out: OutputPath(str)):
    return dsl.ContainerSpec(image="alpine:3", command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; cat "$0" > "$1"'],
                             args=[data.path, out])


NO_CONTAINERS = "the SDK's runner of processes takes no containers"

# --- collected outputs ------------------------------------------------------------------------------


@case(differs="the SDK's runner flattens what two loops collect")
def collected_over_two_loops() -> int:
    with dsl.ParallelFor([1, 2]) as i:
        with dsl.ParallelFor([10, 20]) as j:
            task = add(a=i, b=j)
    return flatten(values=dsl.Collected(task.output)).output


@case()
def collected_within_a_round() -> int:
    with dsl.ParallelFor([1, 2]) as i:
        with dsl.ParallelFor([10, 20]) as j:
            task = add(a=i, b=j)
        inner = total(values=dsl.Collected(task.output))
    return total(values=dsl.Collected(inner.output)).output


@case(params={"threshold": 2}, differs="the SDK's runner collects nothing of a branch in a loop")
def collected_from_a_branch(threshold: int = 2) -> str:
    with dsl.ParallelFor([1, 2, 3]) as item:
        with dsl.If(item >= threshold):
            task = add(a=item, b=item)
    return size_of(values=dsl.Collected(task.output)).output


@case()
def consumer_in_a_branch() -> str:
    with dsl.ParallelFor([1, 2, 3]) as item:
        task = add(a=item)
    first = add(a=1)
    with dsl.If(first.output == 2):
        sum_of = total(values=dsl.Collected(task.output))
    with dsl.Else():
        other = add(a=100)
    return shout(text="end").output


@dsl.pipeline
def producer() -> List[int]:
    with dsl.ParallelFor([1, 2, 3]) as item:
        task = add(a=item)
    return dsl.Collected(task.output)


@dsl.pipeline
def consumer(values: List[int]) -> int:
    return total(values=values).output


@case()
def pipelines_that_make_and_take_a_collection() -> int:
    return consumer(values=producer().output).output


@case()
def a_collection_is_returned() -> List[int]:
    with dsl.ParallelFor([3, 1, 2]) as item:
        task = add(a=item, b=0)
    return dsl.Collected(task.output)


@case(differs="the SDK's runner stumbles over lists in lists")
def artifacts_collected_over_two_loops() -> str:
    with dsl.ParallelFor(["a", "b"]):
        with dsl.ParallelFor(["x", "yy"]) as text:
            task = write(text=text)
    return read_all(parts=dsl.Collected(task.outputs["data"])).output


@dsl.pipeline
def datasets() -> List[Dataset]:
    with dsl.ParallelFor(["a", "b", "c"]) as name:
        made = dataset(name=name)
    return dsl.Collected(made.output)


@case()
def loop_over_artifacts() -> str:
    with dsl.ParallelFor(items=datasets().output) as data:
        task = letter_of(data=data)
    return join(values=dsl.Collected(task.output)).output


@case()
def loop_over_dictionaries_with_lists() -> int:
    with dsl.ParallelFor([{"xs": [1, 2]}, {"xs": [3]}]) as item:
        task = total(values=item.xs)
    return total(values=dsl.Collected(task.output)).output


@case()
def loop_after_a_loop() -> int:
    with dsl.ParallelFor([1, 2]) as i:
        first = add(a=i)
    with dsl.ParallelFor([1, 2]) as j:
        second = add(a=j).after(first)
    return total(values=dsl.Collected(second.output)).output


# --- branches ------------------------------------------------------------------------------------------


@case(params={"heads": False}, differs="the SDK's runner counts the branches, not what they made")
def artifact_of_one_branch(heads: bool) -> str:
    with dsl.If(heads == True):  # noqa: E712
        yes = write(text="heads")
    with dsl.Else():
        no = write(text="tails")
    return read(data=dsl.OneOf(yes.outputs["data"], no.outputs["data"])).output


@case(params={"n": 7})
def branches_in_branches(n: int) -> str:
    with dsl.If(n > 5):
        with dsl.If(n == 7):
            seven = shout(text="seven")
        with dsl.Else():
            more = shout(text="more")
        big = shout(text=dsl.OneOf(seven.output, more.output))
    with dsl.Else():
        small = shout(text="small")
    return dsl.OneOf(big.output, small.output)


@case(params={"n": 2})
def one_of_in_a_loop(n: int) -> str:
    with dsl.ParallelFor([1, 2, 3]) as item:
        with dsl.If(item == n):
            same = shout(text="same")
        with dsl.Else():
            other = shout(text="other")
        task = shout(text=dsl.OneOf(same.output, other.output))
    return join(values=dsl.Collected(task.output)).output


# --- exit tasks -------------------------------------------------------------------------------------------


@dsl.pipeline
def cleanup(text: str = "bye"):
    shout(text=text)


@case()
def pipeline_as_exit_task() -> str:
    before = shout(text="work")
    with dsl.ExitHandler(cleanup(text="clean")):
        shout(text="more work")
    return before.output


@case(params={"text": "t"})
def exit_task_with_inputs(text: str) -> str:
    before = shout(text=text)
    with dsl.ExitHandler(shout(text=text, mark="?")):
        add(a=1)
    return before.output


@case()
def two_exit_handlers() -> int:
    first = add(a=1)
    with dsl.ExitHandler(shout(text="one")):
        add(a=first.output)
    with dsl.ExitHandler(status_of()):
        add(a=first.output)
    return first.output


# --- artifacts ----------------------------------------------------------------------------------------------


@case()
def artifacts_returned_by_functions() -> str:
    made = pair(text="four")
    return join(values=["x"]).after(read(data=made.outputs["data"])).output


@case(differs="the SDK's runner does not look at the path")
def artifact_at_a_path_of_its_own() -> str:
    return read(data=elsewhere().outputs["data"]).output


@case(differs="the SDK makes floats of numbers in structures, a cluster does not")
def metrics_go_on() -> str:
    task = confusion()
    return metadata_of(metrics=task.outputs["metrics"], matrix=task.outputs["matrix"]).output


@case(params={"place": "/tmp/data.csv", "kind": "csv"}, differs="as metrics_go_on")
def importer_with_values(place: str, kind: str = "csv") -> str:
    imported = dsl.importer(artifact_uri=place, artifact_class=Dataset, metadata={"kind": kind, "fix": [kind, 1]})
    return kinds_of(data=imported.output).output


@dsl.pipeline
def returns_both(text: str) -> NamedTuple("Both", [("data", Dataset), ("text", str)]):
    made = makes_data(text=text)
    outputs = NamedTuple("Both", [("data", Dataset), ("text", str)])
    return outputs(made.output, shout(text=text).output)


@case()
def artifact_and_value_of_an_inner_pipeline() -> str:
    both = returns_both(text="in")
    return join(values=["y"]).after(read(data=both.outputs["data"])).output


# --- inputs -----------------------------------------------------------------------------------------------------


@case(differs="the SDK's runner wants a value for an optional input of the root")
def all_inputs_left_out(c: Optional[list] = None) -> str:
    return many_optional(c=c).output


@case(differs="as metrics_go_on")
def all_inputs_given() -> str:
    return many_optional(a=2, b="x", c=[1, "two", {"three": 3.5}], d={"k": [True, "n"]}, e=True, f=1.5).output


@dsl.pipeline
def with_defaults(a: int = 3, text: str = "inner", xs: list = [1, 2], d: dict = {"k": "v"}, ok: bool = True) -> str:
    return describe_all(a=a, text=text, xs=xs, d=d, ok=ok).output


@case(differs="as metrics_go_on")
def defaults_of_an_inner_pipeline() -> str:
    return with_defaults(text="outer").output


@case(params={"name": "{}", "other": "%s {{x}}"})
def texts_that_look_like_formats(name: str, other: str) -> str:
    return shout(text=f"{name} and {other}", mark="{0}").output


@case(params={"name": "it's"})
def outputs_within_lists_and_records(name: str) -> str:
    task = shout(text=name)
    return describe_all(a=1, text="t", xs=[name, [task.output], "x"], d={"n": {"m": task.output}}, ok=True).output


@case(differs="the SDK's runner knows the names in steps only")
def names_of_run_and_task() -> str:
    return names_of_the_run(
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        uuid=dsl.PIPELINE_JOB_ID_PLACEHOLDER, task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_uuid=dsl.PIPELINE_TASK_ID_PLACEHOLDER).output


@case()
def variables_of_the_container() -> str:
    task = variable(name="KFHOST_TEST_COLOUR")
    task.set_env_variable("KFHOST_TEST_COLOUR", "blue")
    task.set_cpu_limit("1").set_memory_limit("1G").set_display_name("Shown").set_caching_options(False)
    return task.output


@case()
def packages_that_are_there() -> str:
    return with_packages().output


@case()
def step_with_settings_of_the_platform() -> int:
    task = add(a=1)
    kubernetes.set_timeout(task, 60)
    kubernetes.add_node_selector(task, "disk", "ssd")
    kubernetes.add_toleration(task, key="k", operator="Equal", value="v", effect="NoSchedule", toleration_seconds=10)
    return task.output


@case()
def task_configuration() -> str:
    return nothing_given().output


@dsl.component(base_image="python:3.11", install_kfp_package=False, task_config_passthroughs=[
    dsl.TaskConfigField.RESOURCES, dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR, dsl.TaskConfigField.KUBERNETES_AFFINITY,
    dsl.TaskConfigField.ENV,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.KUBERNETES_VOLUMES, apply_to_task=True)])
def handed_on(config: dsl.TaskConfig) -> dict:
    import os

    return {"env": config.env, "own": os.environ.get("MODE", "none"), "resources": config.resources,
            "volumes": config.volumes, "mounts": config.volume_mounts, "node": config.node_selector,
            "tolerations": config.tolerations, "affinity": config.affinity}


@case(params={"image": "python:3.11", "size": "1Gi"})
def settings_that_are_values(image: str, size: str, count: str = "1", kind: str = "nvidia.com/gpu") -> int:
    task = add(a=1).set_container_image(image).set_cpu_limit(count).set_memory_request(size)
    task.set_accelerator_type(kind).set_accelerator_limit(count).set_cpu_request(count).set_memory_limit(size)
    return task.output


@case(params={"count": "2"}, differs="the SDK's runner hands nothing on")
def configuration_of_a_task_that_hands_it_on(count: str) -> dict:
    task = handed_on()
    task.set_cpu_limit("1").set_memory_request("20Gi").set_accelerator_type("nvidia.com/gpu")
    task.set_accelerator_limit(count)
    task.set_env_variable("MODE", "fast")
    kubernetes.use_secret_as_env(task, secret_name="db", secret_key_to_env={"password": "PASSWORD"}, optional=True)
    kubernetes.use_field_path_as_env(task, env_name="POD", field_path="metadata.name")
    kubernetes.add_node_selector(task, "disk", "ssd")
    kubernetes.add_toleration(task, key="k", operator="Exists", effect="NoSchedule")
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "zone", "operator": "In", "values": ["a"]}])
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "big", "operator": "Exists"}], weight=5)
    kubernetes.mount_pvc(task, pvc_name="data", mount_path="/data")
    return task.output


# --- containers ----------------------------------------------------------------------------------------------------


@case(params={"word": "it's "}, differs=NO_CONTAINERS)
def container_with_words(word: str) -> str:
    return say(word=word, count=3).outputs["out"]


@case(params={"word": "w"}, differs=NO_CONTAINERS)
def container_with_joined_words(word: str) -> str:
    return joined(word=word).outputs["out"]


@case(differs=NO_CONTAINERS)
def container_with_a_word_left_out() -> str:
    return perhaps().outputs["out"]


@case(differs=NO_CONTAINERS)
def container_with_a_word_given() -> str:
    return perhaps(word="x y").outputs["out"]


@case(differs=NO_CONTAINERS)
def artifacts_between_containers() -> str:
    return artifact_in(data=artifact_out(text="from a container").outputs["data"]).outputs["out"]


WANTED = {
    "collected_over_two_loops": {"Output": 66},
    "artifacts_collected_over_two_loops": {"Output": "x+yy+x+yy"},
    "artifact_of_one_branch": {"Output": "tails/5"},
    "artifact_at_a_path_of_its_own": {"Output": "from elsewhere/0"},
    "metrics_go_on": {"Output": "0.5 2 [[1, 2], [3, 4]]"},
    "importer_with_values": {"Output": "/tmp/data.csv csv ['csv', 1]"},
    "all_inputs_given": {"Output": "(2, 'x', [1, 'two', {'three': 3.5}], {'k': [True, 'n']}, True, 1.5)"},
    "defaults_of_an_inner_pipeline": {"Output": "(3, 'outer', [1, 2], {'k': 'v'}, True)"},
    "collected_from_a_branch": {"Output": "[4, 6]"},
    "all_inputs_left_out": {"Output": "(1, None, None, None, False, None)"},
    "names_of_run_and_task": {"Output": "names-of-run-and-task names-of-the-run"},
    "container_with_words": {"Output": "it's 3"},
    "container_with_joined_words": {"Output": "<w>(w)"},
    "container_with_a_word_left_out": {"Output": "--first|--no-word|ab|"},
    "container_with_a_word_given": {"Output": "--first|--word|x y|"},
    "artifacts_between_containers": {"Output": "from a container"},
    "configuration_of_a_task_that_hands_it_on": {"Output": {
        "env": [{"name": "MODE", "value": "fast"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password", "optional": True}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "own": "none",
        "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "2"}, "requests": {"memory": "20Gi"}},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "mounts": [{"name": "data", "mountPath": "/data"}],
        "node": {"disk": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "preference": {"matchExpressions": [{"key": "big", "operator": "Exists"}]}}]}},
    }},
}
