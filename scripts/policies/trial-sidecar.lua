-- trial-sidecar: how the pods of Katib's trials meet Istio, so that they reach Kubeflow Pipelines and end.
--
-- A trial's pod that gets a sidecar never ends by itself: the sidecar runs on, the metrics collector waits for
-- every process, and the Job waits for both. There are four ways out (setting `way`):
--   a  no sidecar; the pod shows its own token to Pipelines, which admits it without one
--   b  a native sidecar, and the training pushes its metrics itself (the experiment's collector is Push)
--   c  a native sidecar, and the collector does not wait for all processes (katib-config says so)
--   d  a classic sidecar; the collector is wrapped and tells the sidecar to quit when it has ended
-- `auto` is a where the namespace is not ambient; nothing is needed where it is.
--
-- Two passes: labels come early, before Istio decides; the collector exists only after Katib, so its wrapper
-- comes late. Both are idempotent: a pass that finds its work done changes nothing.

local policy = require "policy"

policy.config {
  way = { type = "string", enum = { "a", "b", "c", "d", "auto" }, default = "a", doc = "see above" },
  service_account = { type = "string", default = "default-editor", doc = "what trials run as" },
  collectors = { type = "map", default = { ["metrics-logger-and-collector"] = "./file-metricscollector" },
    doc = "container name -> the program of its image, which the wrapper starts (way d)" },
}

policy.grant { reads = { "namespaces" } }

local INJECT = "sidecar.istio.io/inject"
local NATIVE = "sidecar.istio.io/nativeSidecar"
local PROXY_CONFIG = "proxy.istio.io/config"
local TOKEN = { volume = "kfhost-kfp-token", directory = "/var/run/secrets/kfhost/kfp" }
local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }

-- --- the pod templates of the kinds that trials are made of ---------------------------------------------------

local REPLICA_SPECS = { PyTorchJob = "pytorchReplicaSpecs", TFJob = "tfReplicaSpecs", MPIJob = "mpiReplicaSpecs",
  XGBoostJob = "xgbReplicaSpecs" }

-- Lists the templates; a TrainJob has none of its own: its overrides are made into one.
local function templates_of(object)
  local spec = object.spec or {}
  if object.kind == "Job" then return { spec.template } end
  local templates = {}
  for _, replica in pairs(spec[REPLICA_SPECS[object.kind]] or {}) do templates[#templates + 1] = replica.template end
  return templates
end

local function is_trials(object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.kind == "Trial" then return true end
  end
  return false
end

local function set_metadata(template, field, key, value)
  template.metadata = template.metadata or {}
  template.metadata[field] = template.metadata[field] or {}
  template.metadata[field][key] = value
end

local function named(list, name)
  for _, one in ipairs(list or {}) do
    if one.name == name then return one end
  end
  return nil
end

local function mounted(container, directory)
  for _, mount in ipairs(container.volumeMounts or {}) do
    if mount.mountPath == directory then return true end
  end
  return false
end

-- The pod's own token for Pipelines. It stands where no PodDefault puts one, so that none can conflict.
local function add_token(template)
  local spec = template.spec
  spec.volumes = spec.volumes or {}
  if not named(spec.volumes, TOKEN.volume) then
    table.insert(spec.volumes, { name = TOKEN.volume, projected = { sources = { { serviceAccountToken = {
      path = "token", audience = "pipelines.kubeflow.org", expirationSeconds = 7200 } } } } })
  end
  for _, container in ipairs(spec.containers or {}) do
    if not mounted(container, TOKEN.directory) then
      container.volumeMounts = container.volumeMounts or {}
      table.insert(container.volumeMounts, { name = TOKEN.volume, mountPath = TOKEN.directory, readOnly = true })
    end
  end
end

local ways = {}

function ways.a(template)
  set_metadata(template, "labels", INJECT, "false")
  add_token(template)
end

function ways.b(template)
  set_metadata(template, "labels", INJECT, "true")
  set_metadata(template, "annotations", NATIVE, "true")
end

ways.c = ways.b

function ways.d(template)
  set_metadata(template, "annotations", INJECT, "true")
  set_metadata(template, "labels", INJECT, "true")
  set_metadata(template, "annotations", NATIVE, "false")
  set_metadata(template, "annotations", PROXY_CONFIG, '{"holdApplicationUntilProxyStarts":true}')
end

local function is_ambient(req)
  local namespace = req:lookup("namespaces", nil, req.namespace)
  local labels = namespace and namespace.metadata.labels or {}
  return labels["istio.io/dataplane-mode"] == "ambient"
end

-- A TrainJob's pods get their metadata from an override.
local function override_of(job)
  job.spec.podTemplateOverrides = job.spec.podTemplateOverrides or {}
  local overrides = job.spec.podTemplateOverrides
  for _, override in ipairs(overrides) do
    if override.metadata and override.metadata.labels and override.metadata.labels[INJECT] then return override end
  end
  local override = { targetJobs = { { name = "node" } }, spec = {} }
  overrides[#overrides + 1] = override
  return override
end

policy.mutate {
  name = "trial-labels",
  doc = "says on the pod template of a trial whether Istio's sidecar comes, and gives the pod its account and token",
  match = { resource = "jobs.batch | pytorchjobs.kubeflow.org | tfjobs.kubeflow.org | mpijobs.kubeflow.org | "
    .. "trainjobs.trainer.kubeflow.org", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    local job, way = req.object, req.config.way
    if not is_trials(job) then return end
    if way == "auto" then
      if is_ambient(req) then return req:audit("way", "ambient") end
      way = "a"
    end
    req:audit("way", way)
    if job.kind == "TrainJob" then
      set_metadata(override_of(job), "labels", INJECT, way == "a" and "false" or "true")
      return
    end
    for _, template in ipairs(templates_of(job)) do
      ways[way](template)
      template.spec.serviceAccountName = req.config.service_account
    end
  end,
}

-- --- way d: the wrapped collector -----------------------------------------------------------------------------

-- Runs the collector, keeps its exit code, and asks the sidecar to quit, whatever comes of that. Nothing here
-- writes to the termination log: it stays the collector's own.
local WRAPPER = [[
"$@"
code=$?
quit=http://127.0.0.1:15020/quitquitquit
{ wget -q -T 5 -O - --post-data= "$quit" || curl -fsS -m 5 -X POST "$quit"; } >/dev/null 2>&1
exit $code
]]
local MARK = "kfhost-collector"

local function is_wrapped(container)
  return container.command and container.command[4] == MARK
end

local function wrap(container, program)
  local command = { "sh", "-c", WRAPPER, MARK }
  for _, word in ipairs(container.command or { program }) do command[#command + 1] = word end
  container.command = command
end

policy.mutate {
  name = "trial-collector",
  doc = "wraps the metrics collector of a trial that has a classic sidecar, so that the pod can end",
  position = "late",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    if req.config.way ~= "d" then return end
    local spec = req.object.spec
    if not named(spec.containers, "istio-proxy") then return end
    for name, program in pairs(req.config.collectors) do
      local collector = named(spec.containers, name)
      if collector and not is_wrapped(collector) then wrap(collector, program) end
    end
  end,
}

policy.validate {
  name = "trial-collector-held",
  doc = "a trial's pod with a classic sidecar is refused while its collector is not wrapped: it would never end",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "allow",
  check = function(req)
    if req.config.way ~= "d" then return end
    local spec = req.object.spec
    if not named(spec.containers, "istio-proxy") then return end
    for name in pairs(req.config.collectors) do
      local collector = named(spec.containers, name)
      if collector and not is_wrapped(collector) then
        return req:deny("container %s would wait for the sidecar for ever: its wrapper was lost, the webhook "
          .. "configuration of trial-collector must come after Katib's", name)
      end
    end
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function job(template_metadata)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t-1", namespace = "team-a",
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "t-1", uid = "u" } } },
    spec = { template = { metadata = template_metadata, spec = { serviceAccountName = "pipeline-runner",
      containers = { { name = "main", image = "kfhost" } } } } } }
end

policy.test { name = "way a: no sidecar, the profile's account, a token of its own", object = job(),
  expect = { allowed = true, object = { spec = { template = {
    metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } },
    spec = { serviceAccountName = "default-editor",
      volumes = { { name = "kfhost-kfp-token", projected = { sources = { { serviceAccountToken = {
        path = "token", audience = "pipelines.kubeflow.org", expirationSeconds = 7200 } } } } } },
      containers = { { volumeMounts = { { name = "kfhost-kfp-token",
        mountPath = "/var/run/secrets/kfhost/kfp", readOnly = true } } } } } } } } } }

policy.test { name = "way d: an older Kale's annotation is turned round", config = { way = "d" },
  object = job { annotations = { ["sidecar.istio.io/inject"] = "false" } },
  expect = { object = { spec = { template = { spec = { serviceAccountName = "default-editor" }, metadata = {
    annotations = { ["sidecar.istio.io/inject"] = "true" },
    labels = { ["sidecar.istio.io/inject"] = "true" } } } } } } }

policy.test { name = "a job that is no trial's is left alone", expect = { allowed = true, patch = {} },
  object = { apiVersion = "batch/v1", kind = "Job", metadata = { name = "own", namespace = "team-a" },
    spec = { template = { spec = { containers = {} } } } } }

policy.test { name = "an ambient namespace needs nothing", config = { way = "auto" }, object = job(),
  objects = { { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {
    ["app.kubernetes.io/part-of"] = "kubeflow-profile", ["istio.io/dataplane-mode"] = "ambient" } } } },
  expect = { allowed = true, patch = {} } }

policy.test { name = "each role of a PyTorchJob is labelled",
  object = { apiVersion = "kubeflow.org/v1", kind = "PyTorchJob", metadata = { name = "t-1", namespace = "team-a",
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "t-1", uid = "u" } } },
    spec = { pytorchReplicaSpecs = { Master = { template = { spec = { containers = {} } } },
      Worker = { template = { spec = { containers = {} } } } } } },
  expect = { object = { spec = { pytorchReplicaSpecs = {
    Master = { template = { metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } } } },
    Worker = { template = { metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } } } } } } } } }

local function pod(collector_command)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = { containers = {
    { name = "main", image = "kfhost" }, { name = "istio-proxy", image = "proxyv2" },
    { name = "metrics-logger-and-collector", image = "file-metrics-collector", args = { "-t", "t-1" },
      command = collector_command } } } }
end

policy.test { name = "way d: the collector starts its own program and keeps its arguments", config = { way = "d" },
  object = pod(), expect = { allowed = true, object = { spec = { containers = { {}, {}, { args = { "-t", "t-1" },
    command = { "sh", "-c", WRAPPER, "kfhost-collector", "./file-metricscollector" } } } } } } }

policy.test { name = "way d: a collector that is wrapped stays as it is", config = { way = "d" },
  object = pod { "sh", "-c", WRAPPER, "kfhost-collector", "./file-metricscollector" },
  expect = { allowed = true, patch = {} } }

policy.test { name = "way a: a pod is left alone", object = pod(), expect = { allowed = true, patch = {} } }
