"""Every option of a step, as kfhost writes it and as the KFP SDK writes it: the same fields. TAP.

The SDK builds the same step with its own calls; both documents are also read strictly into the messages of protobuf
that a KFP server reads them into.

    build/sdk/bin/python tests/sdk/options_test.py
"""
import os
import subprocess
import sys
import tempfile

import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp.kubernetes import kubernetes_executor_config_pb2 as executor_pb
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KFHOST = os.path.join(ROOT, "build", "release", "kfhost")

TAGS = """
step:a image:my/image:1 limit:cpu:2 request:cpu:500m limit:memory:4Gi request:memory:1G limit:nvidia.com/gpu:2
retry:3:10s:1.5 timeout:90s cache:disabled report:disabled env:MODE:fast packages:polars==1.0,requests
secret:db:password:DB_PASSWORD secret:db:user:DB_USER volume:data:/data node:disk:ssd label:team:x
annotation:example.com/note:y
""".split()

NOTEBOOK = f"""# ---
# jupyter:
#   kubeflow_notebook:
#     pipeline_name: options
#     pipeline_description: all of them
#     timeout: 3600
#     volume_access_mode: rwo
#     storage_class_name: fast
#     security_context: {{enabled: true, run_as_user: 1000}}
#     volumes:
#       - {{name: shared, type: pvc, mount_point: /shared, expose_as_env_var: true}}
#       - {{name: new, type: new_pvc, size: 5, size_type: Gi, mount_point: /new}}
# ---

# %% [{" ".join(TAGS)}]
x = 1

# %% [step:b prev:a]
y = 2
"""


@dsl.component(base_image="my/image:1")
def a():
    pass


@dsl.component(base_image="python:3.12")
def b():
    pass


@dsl.pipeline(name="options", description="all of them")
def pipeline():
    new = kubernetes.CreatePVC(pvc_name_suffix="-new", access_modes=["ReadWriteOnce"], size="5Gi",
                               storage_class_name="fast")
    first, second = a(), b()
    second.after(first)
    first.set_cpu_limit("2").set_cpu_request("500m").set_memory_limit("4Gi").set_memory_request("1G")
    first.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    first.set_retry(3, "10s", 1.5, "3600s").set_caching_options(False)
    for task in (first, second):
        task.set_env_variable("KALE_VOLUME_SHARED", "/shared")
        kubernetes.mount_pvc(task, pvc_name=new.outputs["name"], mount_path="/new")
        kubernetes.mount_pvc(task, pvc_name="shared", mount_path="/shared")
        kubernetes.set_security_context(task, run_as_user=1000, run_as_group=0, run_as_non_root=True)
    first.set_env_variable("MODE", "fast")
    kubernetes.use_secret_as_env(first, "db", {"password": "DB_PASSWORD"})
    kubernetes.use_secret_as_env(first, "db", {"user": "DB_USER"})
    kubernetes.mount_pvc(first, pvc_name="data", mount_path="/data")
    kubernetes.add_node_selector(first, "disk", "ssd")
    kubernetes.add_pod_label(first, "team", "x")
    kubernetes.add_pod_annotation(first, "example.com/note", "y")
    kubernetes.set_timeout(first, 90)


def documents(path):
    with open(path) as file:
        return list(yaml.safe_load_all(file))


def message_of(config):
    """The configuration of an executor as its message, which takes no field that it does not know; and back."""
    message = json_format.ParseDict(config, executor_pb.KubernetesExecutorConfig())
    return json_format.MessageToDict(message)


class Pipeline:
    def __init__(self, path):
        self.spec, self.platform = documents(path)
        json_format.ParseDict(self.spec, spec_pb.PipelineSpec())
        json_format.ParseDict(self.platform, spec_pb.PlatformSpec())
        kubernetes_part = self.platform["platforms"]["kubernetes"]
        self.configs = {name: message_of(config)
                        for name, config in kubernetes_part["deploymentSpec"]["executors"].items()}
        self.limits = kubernetes_part.get("pipelineConfig", {})

    def container(self, name):
        return self.spec["deploymentSpec"]["executors"]["exec-" + name]["container"]

    def environment(self, name):
        return {pair["name"]: pair["value"] for pair in self.container(name).get("env", [])
                if not pair["name"].startswith("KFHOST_")}

    def task(self, name):
        return self.spec["root"]["dag"]["tasks"][name]

    def config(self, name):
        """What is mounted, without the name of the task that makes a claim; the rest as it is."""
        config = dict(self.configs["exec-" + name])
        mounts = []
        for mount in config.pop("pvcMount"):
            made = "taskOutputParameter" in mount["pvcNameParameter"]
            mounts.append((mount["mountPath"], "made" if made else mount["pvcNameParameter"]))
        config["mounts"] = sorted(mounts, key=lambda pair: pair[0])
        config["secretAsEnv"] = sorted(config.get("secretAsEnv", []), key=str)
        return config

    def claim(self):
        for name, task in self.spec["root"]["dag"]["tasks"].items():
            if self.container(name)["image"] == "argostub/createpvc":
                return {key: value["runtimeValue"]["constant"] for key, value in task["inputs"]["parameters"].items()}
        return None


CASES = {
    "image": lambda p: [p.container(name)["image"] for name in "ab"],
    "CPU, memory and GPU": lambda p: [p.container(name).get("resources") for name in "ab"],
    "environment": lambda p: [p.environment(name) for name in "ab"],
    "retry": lambda p: [p.task(name).get("retryPolicy") for name in "ab"],
    "cache": lambda p: [p.task(name)["cachingOptions"] for name in "ab"],
    "timeout": lambda p: [p.config(name).get("activeDeadlineSeconds") for name in "ab"],
    "secrets": lambda p: [p.config(name)["secretAsEnv"] for name in "ab"],
    "volumes": lambda p: [p.config(name)["mounts"] for name in "ab"],
    "a volume that is made": lambda p: p.claim(),
    "nodes": lambda p: [p.config(name).get("nodeSelector") for name in "ab"],
    "labels and annotations": lambda p: [p.config(name).get("podMetadata") for name in "ab"],
    "security context": lambda p: [p.config(name).get("securityContext") for name in "ab"],
    "all of the platform's part": lambda p: [p.config(name) for name in "ab"],
    "name and description": lambda p: {key: p.spec["pipelineInfo"][key] for key in ("name", "description")},
}


def main():
    results = []

    def say(name, problem):
        results.append(problem is None)
        print(f"{'not ok' if problem else 'ok'} {len(results)} - {name}" + (f"\n  {problem}" if problem else ""))

    with tempfile.TemporaryDirectory() as scratch:
        notebook, ours, sdk = (os.path.join(scratch, name) for name in ("options.py", "ours.yaml", "sdk.yaml"))
        with open(notebook, "w") as file:
            file.write(NOTEBOOK)
        subprocess.run([KFHOST, "kale", "compile", notebook, "-o", ours], check=True)
        compiler.Compiler().compile(pipeline, sdk)
        here, there = Pipeline(ours), Pipeline(sdk)
        for name, read in CASES.items():
            got, want = read(here), read(there)
            assert want, name  # the SDK wrote something to compare with
            say(f"{name}: as the SDK writes it", None if got == want else f"kfhost has {got}, the SDK {want}")
        # The SDK has no call for these.
        deadline = here.limits.get("activeDeadlineSeconds")
        say("the pipeline's timeout is there", None if deadline == 3600 else deadline)
        packages = {pair["name"]: pair["value"] for pair in here.container("a")["env"]}.get("KFHOST_PACKAGES")
        say("packages are there", None if packages == "polars==1.0 requests" else packages)
        say("a report is left out", None if "outputDefinitions" not in here.spec["components"]["comp-a"] else "no")
    print(f"1..{len(results)}\n{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
