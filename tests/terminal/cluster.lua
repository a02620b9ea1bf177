-- A lab with what the screens show: pods in every state, claims, a stateful set, a run, an experiment, policies.
-- Not for looking (screen.lua). Nobody schedules the pods whose state is given: they stay as they were made.
--   local cluster <close> = dofile("tests/terminal/cluster.lua").start(home)

local fs = require "fs"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"

local M = {}

-- --- objects ----------------------------------------------------------------------------------------------

-- A pod that stays as it is.
function M.pod(name, status, more)
  more = more or {}
  return { apiVersion = "v1", kind = "Pod",
    metadata = { name = name, namespace = more.namespace or "default", labels = more.labels },
    spec = { schedulerName = "nobody", containers = { { name = "main", image = more.image or "busybox",
      envFrom = more.from and { { configMapRef = { name = more.from } } } or nil } },
      volumes = more.claim and { { name = "data", persistentVolumeClaim = { claimName = more.claim } } } or nil },
    status = status }
end

---The status of a pod whose container is in a state.
function M.state(phase, ready, restarts, state)
  return { phase = phase, podIP = phase == "Running" and "10.1.2.3" or nil, containerStatuses = { { name = "main",
    image = "busybox", imageID = "", ready = ready, restartCount = restarts, state = state } } }
end

local RUNNING = { running = { startedAt = "2026-01-01T00:00:00Z" } }

local function config_map(name)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = "default" },
    data = { k = "old" } }
end

local function running_pod(name, command, labels)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "tools", labels = labels }, spec = {
    terminationGracePeriodSeconds = 0, containers = { { name = "main", image = "busybox",
      command = { "sh", "-c", command } } } } }
end

local OBJECTS = {
  { apiVersion = "v1", kind = "Namespace", metadata = { name = "tools" } },
  { apiVersion = "v1", kind = "Namespace", metadata = { name = "shop", labels = { ["istio-injection"] = "enabled" } } },
  config_map "alpha-1", config_map "alpha-2", config_map "beta",
  running_pod("shell", "exec sleep 1000"),
  running_pod("talker-1", "echo hello; echo error: disk is full; exec sleep 1000", { app = "talker" }),
  running_pod("talker-2", "echo hello; echo all is well; exec sleep 1000", { app = "talker" }),
  { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "default" },
    spec = { accessModes = { "ReadWriteMany" }, storageClassName = "nfs",
      resources = { requests = { storage = "10Gi" } } } },
  M.pod("web-7d9c5b8f4d-k8s2m", M.state("Running", true, 0, RUNNING), { labels = { app = "web" } }),
  M.pod("web-7d9c5b8f4d-x2x7q", M.state("Running", true, 2, RUNNING), { labels = { app = "web" } }),
  M.pod("report-28400640-q9zj4", M.state("Succeeded", false, 0,
    { terminated = { exitCode = 0, reason = "Completed" } }), { labels = { app = "report" } }),
  M.pod("worker-0", M.state("Running", false, 12, { waiting = { reason = "CrashLoopBackOff",
    message = "back-off 5m0s restarting failed container=main" } }), { labels = { app = "worker" } }),
  M.pod("broken", M.state("Pending", false, 0, { waiting = { reason = "ImagePullBackOff",
    message = 'Back-off pulling image "registry.example/none"' } }),
    { image = "registry.example/none", claim = "data", from = "settings" }),
  { apiVersion = "v1", kind = "Event", metadata = { name = "broken.1", namespace = "default" }, type = "Warning",
    reason = "Failed", message = 'Failed to pull image "registry.example/none": not found',
    involvedObject = { kind = "Pod", name = "broken", namespace = "default" } },
  M.pod("client", M.state("Running", true, 0, RUNNING), { namespace = "shop" }),
  { apiVersion = "v1", kind = "Service", metadata = { name = "api", namespace = "shop" },
    spec = { selector = { app = "api" }, ports = { { port = 80 } } } },
}

-- --- kinds that a Kubeflow brings ---------------------------------------------------------------------------

local function crd(group, version, kind, plural)
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = plural .. "." .. group }, spec = { group = group, scope = "Namespaced",
      names = { kind = kind, plural = plural, singular = kind:lower(), listKind = kind .. "List" },
      versions = { { name = version, served = true, storage = true, schema = { openAPIV3Schema = {
        type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } }
end

local KINDS = {
  crd("argoproj.io", "v1alpha1", "Workflow", "workflows"),
  crd("kubeflow.org", "v1beta1", "Experiment", "experiments"), crd("kubeflow.org", "v1beta1", "Trial", "trials"),
  crd("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
  crd("security.istio.io", "v1", "PeerAuthentication", "peerauthentications"),
  crd("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
}

local function node(name, kind, phase, children)
  return { name = "train-x7." .. name, displayName = name, type = kind, phase = phase, children = children }
end

local function trial(number, value, rate)
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Trial",
    metadata = { name = ("tune-%02d"):format(number), namespace = "default",
      labels = { ["katib.kubeflow.org/experiment"] = "tune" } },
    spec = { parameterAssignments = { { name = "rate", value = rate }, { name = "layers", value = "3" } } },
    status = { conditions = { { type = value and "Succeeded" or "Running", status = "True" } },
      observation = value and { metrics = { { name = "accuracy", latest = value } } } or nil } }
end

local KUBEFLOW = {
  { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow", metadata = { name = "train-x7", namespace = "default" },
    status = { phase = "Running", nodes = {
      ["train-x7"] = { name = "train-x7", type = "DAG", phase = "Running", children = { "load" } },
      load = node("load", "Pod", "Succeeded", { "prepare" }),
      prepare = node("prepare", "Pod", "Succeeded", { "train", "check" }),
      train = node("train", "Pod", "Running", { "report" }), check = node("check", "Pod", "Failed", { "report" }),
      report = node("report", "Pod", "Omitted"),
    } } },
  { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", metadata = { name = "tune", namespace = "default" },
    spec = { objective = { type = "maximize", objectiveMetricName = "accuracy" } },
    status = { conditions = { { type = "Running", status = "True" } } } },
  trial(1, "0.61", "0.1"), trial(2, "0.72", "0.03"), trial(3, "0.55", "0.3"), trial(4, "0.81", "0.01"),
  trial(5, "0.84", "0.012"), trial(6, "0.79", "0.02"), trial(7, "0.91", "0.008"), trial(8, nil, "0.007"),
  { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy", metadata = { name = "only-gate",
    namespace = "shop" }, spec = { selector = { matchLabels = { app = "api" } }, action = "ALLOW", rules = { { from = {
      { source = { principals = { "cluster.local/ns/gate/sa/gate" } } } } } } } },
}

-- --- the lab -------------------------------------------------------------------------------------------------

local cluster = {}
cluster.__index = cluster

---Makes an object, with its status where it has one.
function cluster:make(object)
  local status = object.status
  local made = self.client:create(object)
  if status and object.kind == "Pod" then
    made.status = json.object(status)
    made = self.client:update(made, { subresource = "status", kind = "pods" })
  end
  return made
end

---Gives the kinds and objects of a Kubeflow.
function cluster:kubeflow()
  for _, object in ipairs(KINDS) do self.client:create(object) end
  for _, object in ipairs(KINDS) do
    self.client:wait { kind = "customresourcedefinitions", name = object.metadata.name,
      condition = "Established", timeout = "30s" }
  end
  for _, object in ipairs(KUBEFLOW) do self.client:create(object) end
end

---Waits until a pod of the tools runs.
function cluster:running(name)
  self.client:wait { kind = "pods", name = name, namespace = "tools", jsonpath = "{.status.phase}",
    value = "Running", timeout = "60s" }
end

---A second kubeconfig, whose context is called otherwise, in a home of its own.
function cluster:called(context)
  local home = require("test").tmpdir()
  local yaml = require "yaml"
  local config = yaml.decode(fs.read(self.home .. "/kubeconfig"))
  config.contexts[1].name, config["current-context"] = context, context
  fs.write(home .. "/kubeconfig", yaml.encode(config))
  return home
end

cluster.__close = function(self)
  self.lab:stop()
  self.lab:wait()
end

-- An editor reads keys from the terminal, which only who has it in the foreground may.
local EDITOR = [[#!/bin/sh
printf 'new value: '
read value </dev/tty
sed -i "s/k: .*/k: $value/" "$1"
]]

---@param home string an empty folder: kubeconfig, editor, history
function M.start(home)
  local lab = proc.spawn { host.executable(), "lab", "up", "--json", "--kubeconfig", home .. "/kubeconfig" }
  local said = json.decode(lab:read_line())
  local client = kube.connect { kubeconfig = said.kubeconfig, log = function() end }
  local self = setmetatable({ lab = lab, client = client, home = home }, cluster)
  for _, object in ipairs(OBJECTS) do self:make(object) end
  fs.write(home .. "/editor", EDITOR, { mode = 493 })
  return self
end

return M
