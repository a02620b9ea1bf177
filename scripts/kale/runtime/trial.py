# What the pod of a Katib trial runs where there is no kfhost: one run of the pipeline with the trial's parameters, its
# metrics as lines for the collector, and the exit codes of `kfhost kale trial`. Python's standard library only.
import datetime
import http.client
import json
import math
import os
import re
import signal
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

DONE, FAILED, USAGE, REFUSED, NO_OBJECTIVE, BUDGET_SPENT, CANCELLED = 0, 1, 2, 3, 4, 5, 143
TOKEN = "/var/run/secrets/kfhost/kfp/token"
TERMINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 1.5
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
SYSTEM = "kubeflow"
ANNOTATION = "kubeflow-kale.org/kfp-run-uuid"
BUDGET, START = 600.0, 60.0
FLAGS = {"true": True, "1": True, "false": False, "0": False}
OBJECTIVE_WAIT = float(os.environ.get("KFHOST_OBJECTIVE_WAIT", "30"))


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


class Interrupted(Exception):
    pass


def fail(message, code):
    print("kale trial: " + message, file=sys.stderr)
    sys.exit(code)


def read_trial(environment):
    try:
        trial = json.loads(environment["KFHOST_TRIAL"])
    except KeyError:
        fail("KFHOST_TRIAL is not set: this command runs in the pod of a trial", USAGE)
    except ValueError as error:
        fail("KFHOST_TRIAL is no JSON: %s" % error, USAGE)
    if not isinstance(trial, dict):
        fail("KFHOST_TRIAL is no JSON object", USAGE)
    for field in ("trial", "pipeline_id", "experiment"):
        if not isinstance(trial.get(field), str) or not trial[field]:
            fail("KFHOST_TRIAL has no " + field, USAGE)
    trial["values"] = {}
    for number, parameter in enumerate(parameters_of(trial), 1):
        text = environment.get("KFHOST_P_%d" % number)
        if text is None:
            fail("KFHOST_P_%d (%s) is not set" % (number, parameter["name"]), USAGE)
        trial["values"][parameter["name"]] = value_of(parameter, text)
    return trial


def parameters_of(trial):
    given = trial.get("parameters") or []
    if not isinstance(given, list):
        fail("KFHOST_TRIAL: its parameters are no list", USAGE)
    for parameter in given:
        if not isinstance(parameter, dict) or not isinstance(parameter.get("name"), str):
            fail("KFHOST_TRIAL: a parameter has no name", USAGE)
    return given


# Katib writes whole numbers of a double's space as 2.0.
def number_of(text, is_whole):
    value = float(text)
    if not math.isfinite(value) or is_whole and value != int(value):
        raise ValueError(text)
    if not is_whole:
        return value
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else int(value)


def value_of(parameter, text):
    choices, kind = parameter.get("choices"), parameter.get("type") or "STRING"
    if choices:
        if text not in choices:
            fail("parameter %s: there is no choice '%s'" % (parameter["name"], text), USAGE)
        return choices[text]
    try:
        return {"STRING": str, "AUTO": str, "BOOLEAN": lambda word: FLAGS[word.lower()],
                "NUMBER_INTEGER": lambda word: number_of(word, True),
                "NUMBER_DOUBLE": lambda word: number_of(word, False)}[kind](text)
    except ValueError:
        whole = "whole " if kind == "NUMBER_INTEGER" else ""
        fail("parameter %s: '%s' is no %snumber" % (parameter["name"], text, whole), USAGE)
    except KeyError:
        fail("parameter %s: '%s' is neither true nor false" % (parameter["name"], text), USAGE)


def run_id(trial):
    name = trial.get("uid") or "%s/%s" % (trial.get("namespace") or "", trial["trial"])
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


# Katib fills in a trial's name, never its uid, and makes a trial that is deleted again, under its old name. Where the
# account may not read trials, and where no cluster answers for a minute, the name has to do. The uid is kept for who
# ends the run: by then the trial itself may be gone.
def identify(trial, recalled=False):
    memory = os.path.join(tempfile.gettempdir(), "kfhost-%s.uid" % trial["trial"])
    if recalled and not trial.get("uid") and os.path.exists(memory):
        with open(memory) as kept:
            trial["uid"] = kept.read()
    cluster, since, found = Cluster(trial.get("namespace") or ""), time.monotonic(), trial.get("uid")
    while not found:
        found = cluster.uid(trial["trial"])
        if found == "" or found is None and time.monotonic() - since > START:
            return
        if found is None:
            time.sleep(FIRST_PAUSE)
    trial["uid"] = found
    try:
        with open(memory, "w") as kept:
            kept.write(found)
    except OSError:
        pass


class Pipelines:
    def __init__(self):
        endpoint = os.environ.get("KF_PIPELINES_ENDPOINT") or "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
        self.endpoint = (endpoint if "://" in endpoint else "http://" + endpoint).rstrip("/")

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.endpoint + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if os.path.exists(TOKEN):  # read again each time: it is renewed
            with open(TOKEN) as token:
                request.add_header("Authorization", "Bearer " + token.read().strip())
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode("utf-8", "replace"))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Refused(0, str(error))

    # A page of a proxy in front is no answer, and may be gone in a moment.
    def ask(self, path, method="GET", body=None):
        text = self.call(method, path, body)
        try:
            return json.loads(text or "{}")
        except ValueError:
            raise Refused(0, "no JSON came back: " + text[:80])


# The cluster that the pod is in, as far as its account may see it: what cannot be had is done without.
class Cluster:
    def __init__(self, namespace):
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
        self.there = bool(host) and os.path.exists(ACCOUNT + "token")
        self.endpoint, self.namespace = "https://%s:%s" % (host, port), namespace

    def send(self, method, path, body=None):
        request = urllib.request.Request(self.endpoint + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/merge-patch+json")
        with open(ACCOUNT + "token") as token:
            request.add_header("Authorization", "Bearer " + token.read().strip())
        context = ssl.create_default_context(cafile=ACCOUNT + "ca.crt")
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return response.read().decode("utf-8", "replace")

    def call(self, method, path, body=None):
        try:
            return self.send(method, path, body) if self.there else ""
        except (OSError, ValueError, http.client.HTTPException):
            return ""

    # None: an answer may come in a moment. Empty: it is not there, or not to be seen.
    def uid(self, trial):
        if not self.there:
            return ""
        path = "/apis/kubeflow.org/v1beta1/namespaces/%s/trials/%s" % (self.namespace, trial)
        try:
            return json.loads(self.send("GET", path))["metadata"]["uid"]
        except urllib.error.HTTPError as problem:
            return None if problem.code == 429 or problem.code >= 500 else ""
        except KeyError:
            return ""
        except (OSError, ValueError, http.client.HTTPException):
            return None

    # Where Pipelines knows no users, its workflows are in its own namespace.
    def items(self, group, kind, run):
        for namespace in dict.fromkeys((self.namespace, SYSTEM)):
            path = "%s/namespaces/%s/%s" % (group, namespace, kind)
            found = json.loads(self.call("GET", path + "?labelSelector=pipeline/runid=" + run) or "{}").get("items")
            if found:
                return [(path + "/" + one["metadata"]["name"], one["metadata"]) for one in found]
        return []

    # Their paths, the oldest first.
    def workflows(self, run):
        found = self.items("/apis/argoproj.io/v1alpha1", "workflows", run)
        return [path for path, metadata in sorted(found, key=lambda one: one[1]["creationTimestamp"])]

    # A second attempt makes a second workflow even where the run is refused: the first one stays.
    def remove_younger(self, run):
        for path in self.workflows(run)[1:]:
            self.call("DELETE", path)

    # Trial and workflow say which run they belong to.
    def annotate(self, trial, run):
        change = {"metadata": {"annotations": {ANNOTATION: run}}}
        self.call("PATCH", "/apis/kubeflow.org/v1beta1/namespaces/%s/trials/%s" % (self.namespace, trial), change)
        for path in self.workflows(run):
            self.call("PATCH", path, change)

    def logs(self, run):
        for path, _ in self.items("/api/v1", "pods", run):
            yield self.call("GET", path + "/log?container=main")


def passes(problem, since):
    if problem.status in (0, 429, 502, 503, 504):
        return True
    early = problem.status == 401 or problem.status == 403 and not problem.message.lstrip().startswith("{")
    return early and time.monotonic() - since < START


# A server whose database is away answers 500: a run that is there stays there (more).
def patient(ask, more=()):
    since, pause = time.monotonic(), FIRST_PAUSE
    while True:
        try:
            return ask()
        except Refused as problem:
            if problem.status not in more and not passes(problem, since):
                raise
            if time.monotonic() - since > BUDGET:
                fail("Pipelines did not answer for ten minutes: " + problem.message, BUDGET_SPENT)
            listening = problem.status != 0
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE) if listening else FIRST_PAUSE


def find_experiment(k, trial):
    wanted = {"predicates": [{"key": "display_name", "operation": "EQUALS", "string_value": trial["experiment"]}]}
    query = "?namespace=%s&filter=%s" % (trial.get("namespace") or "", urllib.request.quote(json.dumps(wanted)))
    found = k.ask("/apis/v2beta1/experiments" + query).get("experiments") or []
    if found:
        return found[0]["experiment_id"]
    body = {"display_name": trial["experiment"], "namespace": trial.get("namespace") or ""}
    try:
        return k.ask("/apis/v2beta1/experiments", "POST", body)["experiment_id"]
    except Refused as problem:
        if problem.status != 409:
            raise
    return find_experiment(k, trial)


# A run of that id is taken for ours. The server makes a second workflow of the same id, so that it is asked first,
# and a request whose answer was lost is not sent again before the run has had ten seconds to be seen, a minute where
# its workflow is there already.
def start(k, cluster, body, sent):
    path, run = "/apis/v2beta1/runs/" + body["run_id"], body["run_id"]
    while True:
        try:
            found = k.ask(path)
            if sent["posts"] > 1 or sent["duplicate"]:
                cluster.remove_younger(run)
            return found
        except Refused as problem:
            if problem.status != 404:
                raise
        past = time.monotonic() - sent["at"]
        if past > 60 or past > 10 and not (sent["posts"] and cluster.workflows(run)):
            sent["posts"], sent["at"] = sent["posts"] + 1, time.monotonic()
            try:
                made = k.ask("/apis/v2beta1/runs", "POST", body)
                if sent["posts"] > 1:
                    cluster.remove_younger(run)
                return made
            except Refused as problem:
                sent["duplicate"] = "Duplicate entry" in problem.message
                if problem.status in (401, 403, 429):  # for certain it was not taken
                    sent["at"], sent["posts"] = -math.inf, sent["posts"] - 1
                    raise
                if not sent["duplicate"] and problem.status not in (0, 502, 503, 504):
                    raise
        time.sleep(FIRST_PAUSE)


def tasks_of(run):
    for task in (run.get("run_details") or {}).get("task_details") or []:
        node = task.get("pod_name") or next((c["pod_name"] for c in task.get("child_tasks") or [] if c.get("pod_name")), "")
        if node:
            yield node


def node_logs(k, run):
    for node in tasks_of(run):
        try:
            yield k.call("GET", "/apis/v1alpha1/runs/%s/nodes/%s/log" % (run["run_id"], node))
        except Refused:
            continue


def lines_of(texts):
    found = []
    for text in texts:
        for line in re.findall(r"KFHOST-METRIC (\{.*\})", text):
            try:
                found.append(json.loads(line))
            except ValueError:
                pass
    return found


# The server's logs, or those of the run's pods: the id of a node is not the name of its pod.
def metrics_of(k, cluster, run):
    return lines_of(node_logs(k, run)) or lines_of(cluster.logs(run["run_id"]))


# The time of a metric: its own, else now; never before that of the one before it, since Katib sorts by time.
def time_of(metric, seen):
    now = datetime.datetime.now(datetime.timezone.utc)
    text = metric.get("time") or now.strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        moment = datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        moment, text = now.timestamp(), now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if moment < seen.get("moment", moment):
        return seen["time"]
    seen["moment"], seen["time"] = moment, text
    return text


def relay(k, run, seen):
    metrics = metrics_of(k, seen["cluster"], run)
    for metric in metrics[seen["count"]:]:
        value = metric.get("value")
        if isinstance(value, (int, float)) and math.isfinite(value):
            is_whole = value == int(value) and abs(value) < 2 ** 53
            text = json.dumps(int(value) if is_whole else value)
            print("%s %s=%s" % (time_of(metric, seen), metric["name"], text), flush=True)
            seen["names"].add(metric["name"])
    seen["count"] = max(seen["count"], len(metrics))


def follow(k, run, seen):
    pause, path = FIRST_PAUSE, "/apis/v2beta1/runs/" + run["run_id"]
    while True:
        now = patient(lambda: k.ask(path), (500,))
        relay(k, now, seen)
        if now.get("state") in TERMINAL:
            return now
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def has_objective(k, trial, run, seen):
    deadline = time.monotonic() + OBJECTIVE_WAIT
    while trial.get("objective") and trial["objective"] not in seen["names"]:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, LONGEST_PAUSE))
        relay(k, run, seen)
    return True


def cancel(k, trial, patience=0.0):
    deadline = time.monotonic() + patience
    while True:
        try:
            k.call("POST", "/apis/v2beta1/runs/%s:terminate" % run_id(trial))
            return DONE
        except Refused as problem:
            again = problem.status in (0, 404, 429, 502, 503, 504)
            if not again or time.monotonic() + FIRST_PAUSE > deadline:
                return DONE if problem.status in (400, 404, 500) else FAILED
        time.sleep(FIRST_PAUSE)


# The version that the trial names, or the newest. Its authorised answer shows that Pipelines is ready.
def find_version(k, trial):
    path = "/apis/v2beta1/pipelines/%s/versions" % trial["pipeline_id"]
    if trial.get("pipeline_version_id"):
        return k.ask("%s/%s" % (path, trial["pipeline_version_id"]))
    found = k.ask(path + "?sort_by=created_at%20desc&page_size=1").get("pipeline_versions")
    if not found:
        raise Refused(404, "pipeline %s has no version" % trial["pipeline_id"])
    return found[0]


# Older programs give every value as a text: what it stands for is said by the pipeline.
def set_types(trial, version):
    spec = version.get("pipeline_spec") or {}
    root = (spec.get("pipeline_spec") or spec).get("root") or {}
    definitions = (root.get("inputDefinitions") or {}).get("parameters") or {}
    for parameter in trial.get("parameters") or []:
        name = parameter["name"]
        if parameter.get("type") == "AUTO" and name in definitions:
            declared = {"name": name, "type": definitions[name].get("parameterType")}
            trial["values"][name] = value_of(declared, trial["values"][name])


def run_trial(k, trial):
    cluster = Cluster(trial.get("namespace") or "")
    seen = {"count": 0, "names": set(), "cluster": cluster}
    version = patient(lambda: find_version(k, trial))
    set_types(trial, version)
    experiment = patient(lambda: find_experiment(k, trial))
    body = {"run_id": run_id(trial), "experiment_id": experiment, "display_name": trial["trial"],
            "description": "trial %s of experiment %s" % (trial["trial"], trial["experiment"]),
            "pipeline_version_reference": {"pipeline_id": trial["pipeline_id"],
                                           "pipeline_version_id": version["pipeline_version_id"]},
            "runtime_config": {"parameters": trial["values"]}}
    sent = {"at": -math.inf, "posts": 0, "duplicate": False}
    run = patient(lambda: start(k, cluster, body, sent))
    cluster.annotate(trial["trial"], run["run_id"])
    run = follow(k, run, seen)
    if run["state"] != "SUCCEEDED":
        fail("run %s ended %s" % (run["run_id"], run["state"]), FAILED)
    if not has_objective(k, trial, run, seen):
        fail("run %s succeeded, but told no finite number for the objective %s" % (run["run_id"], trial["objective"]),
             NO_OBJECTIVE)
    return DONE


def interrupt(*_):
    raise Interrupted


def main(words):
    trial, k = read_trial(os.environ), Pipelines()
    if "--cancel" in words:
        identify(trial, recalled=True)
        return cancel(k, trial)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        identify(trial)
        return run_trial(k, trial)
    except Interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        cancel(k, trial, 5.0)
        return CANCELLED
    except Refused as problem:
        fail("%s: %s" % (problem.status, problem.message.strip()), REFUSED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
