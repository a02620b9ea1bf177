-- trial-sidecar: how the pods of Katib's trials meet Istio, so that they reach Kubeflow Pipelines and end.
--
-- A trial's pod that gets a sidecar never ends by itself: the sidecar runs on, the metrics collector waits for
-- every process, and the Job waits for both. There are four ways out (setting `way`):
--   a  no sidecar; the pod shows its own token to Pipelines, which admits it without one
--   b  a native sidecar, and the training pushes its metrics itself: only where the experiment's collector is Push
--   c  a native sidecar, and the collector does not wait for all processes: only where katib-config says so, or with
--      manage_katib_config, which makes it say so
--   d  a classic sidecar, held until it is ready; the collector is wrapped, waits for the training alone, and tells the
--      sidecar to quit when it has ended
-- `auto` needs nothing where the namespace is ambient; else it is a, where Istio's policies let a pod without a sidecar
-- reach Pipelines; else b, c or d, the first that holds. A trial for which b or c does not hold gets a, and is told so.
--
-- Two passes: labels come early, before Istio decides; the collector exists only after Katib, so its wrapper
-- comes late. Both are idempotent: a pass that finds its work done changes nothing.

local policy = require "policy"
local workload = require "katib.workload"
local wrapper = require "katib.wrapper"

local settings = policy.config {
  way = { type = "string", enum = { "a", "b", "c", "d", "auto" }, default = "a", doc = "see above" },
  service_account = { type = "string", default = "default-editor", doc = "what trials run as" },
  collectors = { type = "list", default = { "metrics-logger-and-collector", "metrics-collector" },
    doc = "names of Katib's containers" },
  programs = { type = "map", default = { ["file-metrics-collector"] = "./file-metricscollector",
    ["tfevent-metrics-collector"] = "python main.py" },
    doc = "part of a collector's image -> what it starts, which the wrapper has to start instead (way d)" },
  wrapper = { type = "string", enum = { "sh", "kfhost" }, default = "sh",
    doc = "what runs the wrapper: the image's own shell, or kfhost where it has none (way d)" },
  kfhost_image = { type = "string", default = "kfhost", doc = "an image with kfhost, from which it is copied" },
  kubeflow_namespace = { type = "string", default = "kubeflow", doc = "where Pipelines and katib-config are" },
  manage_katib_config = { type = "bool", default = false,
    doc = "write waitAllProcesses: false into katib-config (way c)" },
}

-- Only what the way has to know is followed.
local reads, writes = { "namespaces" }, {}
if settings.way == "b" or settings.way == "auto" then
  table.move({ "trials.kubeflow.org", "experiments.kubeflow.org" }, 1, 2, #reads + 1, reads)
end
if settings.way == "c" or settings.way == "auto" then reads[#reads + 1] = "configmaps" end
if settings.way == "auto" then
  table.move({ "peerauthentications.security.istio.io", "authorizationpolicies.security.istio.io" }, 1, 2,
    #reads + 1, reads)
end
if settings.way == "c" and settings.manage_katib_config then
  writes = { { resource = "configmaps", verbs = { "patch" } } }
end
policy.grant { reads = reads, writes = writes }

local INJECT = "sidecar.istio.io/inject"
local NATIVE = "sidecar.istio.io/nativeSidecar"
local PROXY_CONFIG = "proxy.istio.io/config"
local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }

-- --- which way -----------------------------------------------------------------------------------------------

-- The experiment that a trial is of, by its name: EXPERIMENT-SUFFIX.
local function experiment_of(req, trial_name)
  local found
  for _, one in ipairs(req:find("experiments.kubeflow.org", { namespace = req.namespace })) do
    local name = one.metadata.name
    local fits = trial_name:sub(1, #name + 1) == name .. "-"
    if fits and not (found and #found.metadata.name > #name) then found = one end
  end
  return found
end

-- Whether the trial pushes its metrics itself; nil when it is not known. Its job comes at once after it, and may be
-- here first: then its experiment is asked.
local function pushes(req)
  local name = workload.trial_of(req.object).name
  local trial = req:lookup("trials.kubeflow.org", req.namespace, name)
  local experiment = not trial and experiment_of(req, name)
  if not trial and not experiment then return nil end
  local spec = (trial or experiment).spec
  local collector = ((trial and spec.metricsCollector or spec.metricsCollectorSpec) or {}).collector
  return collector ~= nil and collector.kind == "Push"
end

local CONFIG = "katib-config.yaml"

-- The collectors as Katib before 0.16 had them: JSON, by kind.
local function older_collectors(data)
  local ok, by_kind = pcall(require "json".decode, data["metrics-collector-sidecar"] or "")
  local list = {}
  for _, collector in pairs(ok and type(by_kind) == "table" and by_kind or {}) do list[#list + 1] = collector end
  return #list > 0 and list or nil
end

-- The collectors of katib-config, and all that it says; nil when it cannot be read.
local function collectors_in(config_map)
  local text = config_map and config_map.data and config_map.data[CONFIG]
  if config_map and config_map.data and not text then return older_collectors(config_map.data) end
  local ok, config = pcall(require "yaml".decode, text or "")
  local runtime = ok and type(config) == "table" and config.runtime
  local collectors = type(runtime) == "table" and runtime.metricsCollectors
  if not collectors then return nil end
  return collectors, config
end

local function waits_for_main(config_map)
  local collectors = collectors_in(config_map)
  for _, collector in ipairs(collectors or {}) do
    if collector.waitAllProcesses ~= false then return false end
  end
  return collectors ~= nil
end

local function katib_config(req)
  return req:lookup("configmaps", req.config.kubeflow_namespace, "katib-config")
end

local function is_ambient(req)
  local namespace = req:lookup("namespaces", nil, req.namespace)
  local labels = namespace and namespace.metadata.labels or {}
  return labels["istio.io/dataplane-mode"] == "ambient"
end

-- Whether Pipelines hears a pod that has no sidecar, and so no identity in the mesh.
local function reaches_plainly(req)
  local objects = req:find("peerauthentications.security.istio.io", { namespace = "*" })
  for _, one in ipairs(req:find("authorizationpolicies.security.istio.io", { namespace = "*" })) do
    objects[#objects + 1] = one
  end
  local workload_of = { namespace = req.config.kubeflow_namespace, labels = { app = "ml-pipeline" },
    ports = { [8888] = "http" } }
  return require "istio".allowed(objects, workload_of, { source = {}, method = "GET", port = 8888, protocol = "http",
    host = "ml-pipeline." .. req.config.kubeflow_namespace, path = "/apis/v2beta1/runs", headers = {} }) ~= false
end

local conditions = {
  a = function() return true end,
  b = function(req)
    local answer = pushes(req)
    if answer == nil then return nil, ("trial %s is not known here yet"):format(workload.trial_of(req.object).name) end
    return answer, "the experiment's collector is not Push"
  end,
  c = function(req)
    return waits_for_main(katib_config(req)) or req.config.manage_katib_config,
      "katib-config does not say waitAllProcesses: false"
  end,
  d = function() return true end,
}

-- Without a sidecar where Pipelines hears that; then native or, with what the collector says, classic. What a served
-- host does not know yet it will know when it is asked again; elsewhere nothing more will be known.
local function way_by_itself(req)
  if is_ambient(req) then return "ambient" end
  if reaches_plainly(req) then return "a" end
  local pushed, unknown = conditions.b(req)
  if pushed then return "b" end
  if conditions.c(req) then return "c" end
  if pushed == nil and req.cache_age then return nil, unknown end
  return "d"
end

-- The way of a trial; nil and what is not known yet: its job, owned by it, may be here before it.
local function way_for(req)
  local way = req.config.way
  if way == "auto" then return way_by_itself(req) end
  local holds, why = conditions[way](req)
  if holds then return way end
  if holds == nil then return nil, why end
  req:warn("way %s does not hold (%s): this trial gets no sidecar", way, why)
  return "a"
end

-- --- early: labels ---------------------------------------------------------------------------------------------

-- What a pod already says of its proxy stays; it is YAML.
local function hold(template)
  local there = template.metadata and template.metadata.annotations and template.metadata.annotations[PROXY_CONFIG]
  local config = there and require "yaml".decode(there) or {}
  if config.holdApplicationUntilProxyStarts then return end
  config.holdApplicationUntilProxyStarts = true
  workload.set(template, "annotations", PROXY_CONFIG, require "json".encode(config, { sort = true }))
end

local ways = {}

function ways.a(template)
  workload.set(template, "labels", INJECT, "false")
  workload.add_token(template)
end

function ways.b(template)
  workload.set(template, "labels", INJECT, "true")
  workload.set(template, "annotations", NATIVE, "true")
end

ways.c = ways.b

function ways.d(template)
  workload.set(template, "annotations", INJECT, "true")
  workload.set(template, "labels", INJECT, "true")
  workload.set(template, "annotations", NATIVE, "false")
  hold(template)
end

policy.mutate {
  name = "trial-labels",
  doc = "says on the pod template of a trial whether Istio's sidecar comes, and gives the pod its account and token",
  match = { resource = workload.RESOURCES, operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    if not workload.trial_of(req.object) then return end
    local way, unknown = way_for(req)
    if not way then
      return req:deny { message = unknown .. ": try again", code = 503, reason = "ServiceUnavailable" }
    end
    req:audit("way", way)
    if way == "ambient" then return end
    for _, template in ipairs(workload.templates(req.object)) do
      ways[way](template)
      template.spec.serviceAccountName = req.config.service_account
    end
  end,
}

-- --- late: the wrapped collector (way d) --------------------------------------------------------------------

-- The collectors of a pod that has a classic sidecar.
local function collectors_of(pod, config)
  local found = {}
  if not workload.named(pod.spec.containers, "istio-proxy") then return found end
  for _, name in ipairs(config.collectors) do found[#found + 1] = workload.named(pod.spec.containers, name) end
  return found
end

local function may_be_d(config)
  return config.way == "d" or config.way == "auto"
end

policy.mutate {
  name = "trial-collector",
  doc = "wraps the metrics collector of a trial that has a classic sidecar, so that the pod can end",
  position = "late",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    if not may_be_d(req.config) then return end
    for _, collector in ipairs(collectors_of(req.object, req.config)) do
      if not wrapper.is_wrapped(collector) then wrapper.wrap(req.object.spec, collector, req.config) end
    end
  end,
}

policy.validate {
  name = "trial-collector-held",
  doc = "a trial's pod with a classic sidecar is refused while its collector is not wrapped: it would never end",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "allow",
  check = function(req)
    if not may_be_d(req.config) then return end
    for _, collector in ipairs(collectors_of(req.object, req.config)) do
      if not wrapper.is_wrapped(collector) then
        return req:deny("container %s would wait for the sidecar for ever: its wrapper was lost, the webhook "
          .. "configuration of trial-collector must come after Katib's", collector.name)
      end
    end
  end,
}

-- --- katib-config (way c) -----------------------------------------------------------------------------------

if settings.way == "c" then
  policy.watch {
    name = "katib-config-for-trials",
    doc = "says when katib-config lets collectors wait for all processes, or puts it right where that is allowed",
    resource = "configmaps",
    namespaces = { names = { settings.kubeflow_namespace } },
    reconcile = function(config_map, ctx)
      if config_map.metadata.name ~= "katib-config" or waits_for_main(config_map) then return end
      local collectors, config = collectors_in(config_map)
      if not (ctx.config.manage_katib_config and config) then
        return ctx:event(config_map, "Warning", "CollectorsWaitForAll", "way c needs waitAllProcesses: false for each "
          .. "metrics collector; until then trials get no sidecar")
      end
      for _, collector in ipairs(collectors) do collector.waitAllProcesses = false end
      ctx:patch(config_map, { data = { [CONFIG] = require "yaml".encode(config) } }, { type = "merge" })
      ctx:event(config_map, "Normal", "CollectorsWaitForMain", "waitAllProcesses: false for each metrics collector")
    end,
  }
end

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

local STARTED = "/var/log/katib/" .. wrapper.MARK

local function pod(collector_command, image, args)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = { containers = {
    { name = "main", image = "kfhost" }, { name = "istio-proxy", image = "proxyv2" },
    { name = "metrics-logger-and-collector", image = image or "katib/file-metrics-collector",
      args = args or { "-t", "t-1" }, command = collector_command } } } }
end

policy.test { name = "way d: the collector starts its program, keeps its arguments, waits for the training",
  config = { way = "d" }, object = pod(),
  expect = { allowed = true, object = { spec = { containers = { {}, {}, { args = { "-t", "t-1", "-w", "false" },
    command = { "sh", "-c", wrapper.SHELL, wrapper.MARK, STARTED, "./file-metricscollector" } } } } } } }

policy.test { name = "way d: a collector that is wrapped stays as it is", config = { way = "d" },
  object = pod({ "sh", "-c", wrapper.SHELL, wrapper.MARK, STARTED, "./file-metricscollector" }, nil, { "-w", "false" }),
  expect = { allowed = true, patch = {} } }

policy.test { name = "way d: the collector of event files starts its own program", config = { way = "d" },
  object = pod(nil, "site/tfevent-metrics-collector:v0.19.0", { "-w", "true" }),
  expect = { object = { spec = { containers = { {}, {}, { args = { "-w", "false" },
    command = { "sh", "-c", wrapper.SHELL, wrapper.MARK, STARTED, "python", "main.py" } } } } } } }

policy.test { name = "way d: an image without a shell gets kfhost, copied into the pod", object = pod(),
  config = { way = "d", wrapper = "kfhost", kfhost_image = "site/kfhost:1" },
  expect = { object = { spec = { volumes = { { name = wrapper.MARK } },
    initContainers = { { name = wrapper.MARK, image = "site/kfhost:1",
      command = { "kfhost", "-e", wrapper.COPY, wrapper.PLACE } } },
    containers = { {}, {}, { volumeMounts = { { name = wrapper.MARK, mountPath = wrapper.PLACE } },
      command = { wrapper.PLACE .. "/loader", "--library-path", wrapper.PLACE, wrapper.PLACE .. "/kfhost", "-e",
        wrapper.LUA, wrapper.MARK, STARTED, "./file-metricscollector" } } } } } } }

local events = pod(nil, "site/tfevent-metrics-collector:v0.19.0")
events.spec.containers[3].name = "metrics-collector"
policy.test { name = "way d: collectors have two names", config = { way = "d" }, object = events,
  expect = { object = { spec = { containers = { {}, {}, { command = { "sh", "-c", wrapper.SHELL, wrapper.MARK, STARTED,
    "python", "main.py" } } } } } } }

policy.test { name = "way d: a pod with a native sidecar is left alone", config = { way = "d" },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = {
    initContainers = { { name = "istio-proxy", restartPolicy = "Always" } },
    containers = { { name = "metrics-logger-and-collector" } } } }, expect = { allowed = true, patch = {} } }

policy.test { name = "way d: what the pod says of its proxy stays, and it is held", config = { way = "d" },
  object = job { annotations = { [PROXY_CONFIG] = "concurrency: 1\n" } },
  expect = { object = { spec = { template = { metadata = { annotations = { [NATIVE] = "false",
    [PROXY_CONFIG] = '{"concurrency":1,"holdApplicationUntilProxyStarts":true}' } } } } } } }

local held = pod()
held.spec.containers[1].command = { "sh", "-c" }
held.spec.containers[1].args = { "train 1>/tmp/m/metrics.log 2>&1 && echo completed > /tmp/m/$$$$.pid" }
policy.test { name = "way d: a training begins after the collector, which would not find it when it was over",
  config = { way = "d" }, object = held, expect = { object = { spec = { containers = {
    { args = { "until [ -e /tmp/m/kfhost-collector ]; do sleep 0.2; done; "
      .. "train 1>/tmp/m/metrics.log 2>&1 && echo completed > /tmp/m/$$$$.pid" } }, {},
    { command = { "sh", "-c", wrapper.SHELL, wrapper.MARK, "/tmp/m/kfhost-collector",
      "./file-metricscollector" } } } } } } }

-- b, c and auto: what has to hold.

local function trial(kind)
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", metadata = { name = "t-1", namespace = "team-a" },
    spec = { metricsCollector = { collector = { kind = kind } } } }
end

local function katib_says(line)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "kubeflow" },
    data = { [CONFIG] = "runtime:\n  metricsCollectors:\n    - kind: StdOut\n      image: x\n" .. line } }
end
local MAIN_ALONE = "      waitAllProcesses: false\n"

local STRICT = { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication",
  metadata = { name = "default", namespace = "istio-system" }, spec = { mtls = { mode = "STRICT" } } }

local function way(name, config, objects, metadata)
  policy.test { name = name, config = config, objects = objects, object = job(),
    expect = { object = { spec = { template = { metadata = metadata } } } } }
end
local WITHOUT, WITH = { labels = { [INJECT] = "false" } }, { labels = { [INJECT] = "true" },
  annotations = { [NATIVE] = "true" } }

way("way b: a native sidecar where the experiment pushes", { way = "b" }, { trial "Push" }, WITH)
way("way b: no sidecar where it does not", { way = "b" }, { trial "StdOut" }, WITHOUT)
policy.test { name = "way b: where the trial is not known yet, Katib is to try again", config = { way = "b" },
  object = job(), expect = { allowed = false, message = "trial t%-1 is not known here yet: try again" } }
local function experiment(name, kind)
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", metadata = { name = name, namespace = "team-a" },
    spec = { metricsCollectorSpec = { collector = { kind = kind } } } }
end
way("way b: then its experiment is asked", { way = "b" }, { experiment("t", "Push") }, WITH)
way("way b: not another one, whose name is like it", { way = "b" }, { experiment("t", "StdOut"), experiment("t-1",
  "Push") }, WITHOUT)
way("way c: a native sidecar where katib-config says so", { way = "c" }, { katib_says(MAIN_ALONE) }, WITH)
way("way c: no sidecar where it does not", { way = "c" }, { katib_says "" }, WITHOUT)
way("way c: nor where there is none", { way = "c" }, {}, WITHOUT)
way("way c: also as an older katib-config says it", { way = "c" }, { { apiVersion = "v1", kind = "ConfigMap",
  metadata = { name = "katib-config", namespace = "kubeflow" }, data = { ["metrics-collector-sidecar"] =
    '{"StdOut": {"image": "x", "waitAllProcesses": false}}' } } }, WITH)
way("way c: a native sidecar where we make it say so", { way = "c", manage_katib_config = true }, {}, WITH)
way("auto: a where Pipelines hears plain requests", { way = "auto" }, {}, WITHOUT)
way("auto: b where it does not and the experiment pushes", { way = "auto" }, { STRICT, trial "Push" }, WITH)
way("auto: c where katib-config says so", { way = "auto" }, { STRICT, katib_says(MAIN_ALONE) }, WITH)
way("auto: d where nothing else holds", { way = "auto" }, { STRICT, katib_says "" },
  { labels = { [INJECT] = "true" }, annotations = { [NATIVE] = "false" } })
way("auto: d where nothing is known of katib-config", { way = "auto" }, { STRICT },
  { labels = { [INJECT] = "true" }, annotations = { [NATIVE] = "false" } })

policy.test { name = "a way that does not hold is told", config = { way = "b" }, objects = { trial "StdOut" },
  object = job(), expect = { warnings = "collector is not Push" } }

policy.test { name = "way a: a pod is left alone", object = pod(), expect = { allowed = true, patch = {} } }

local function replicated(kind, field)
  return { apiVersion = "kubeflow.org/v1", kind = kind, metadata = job().metadata, spec = { [field] = {
    Master = { template = { spec = { containers = { { name = "main" } } } } },
    Worker = { template = { spec = { containers = { { name = "main" } } } } } } } }
end
local SERVED = { metadata = WITHOUT, spec = { serviceAccountName = "default-editor",
  volumes = { { name = workload.TOKEN.volume } } } }
for kind, field in pairs { PyTorchJob = "pytorchReplicaSpecs", TFJob = "tfReplicaSpecs", MPIJob = "mpiReplicaSpecs" } do
  policy.test { name = ("each role of a %s is served"):format(kind), object = replicated(kind, field),
    expect = { object = { spec = { [field] = { Master = { template = SERVED }, Worker = { template = SERVED } } } } } }
end

local function train_job(overrides)
  return { apiVersion = "trainer.kubeflow.org/v1alpha1", kind = "TrainJob", metadata = job().metadata,
    spec = { runtimeRef = { name = "torch" }, podTemplateOverrides = overrides } }
end
local OVERRIDE = { targetJobs = { { name = "node" } }, metadata = WITHOUT, spec = {
  serviceAccountName = "default-editor", volumes = { { name = workload.TOKEN.volume } },
  containers = { { name = "node", volumeMounts = { { name = workload.TOKEN.volume } } } } } }
policy.test { name = "a TrainJob is served by an override of its runtime's template", object = train_job(),
  expect = { object = { spec = { podTemplateOverrides = { OVERRIDE } } } } }
policy.test { name = "an override that a TrainJob has is used", object = train_job {
  { targetJobs = { { name = "node" } }, spec = { containers = { { name = "node" } } } } },
  expect = { object = { spec = { podTemplateOverrides = { OVERRIDE } } } } }

if settings.way == "c" then
  local ASKED = { watch = "katib-config-for-trials", object = katib_says "" }
  policy.test { name = "katib-config that lets collectors wait for all is told", watch = ASKED.watch,
    object = ASKED.object, config = { way = "c" },
    expect = { writes = { { verb = "event", reason = "CollectorsWaitForAll" } } } }

  for text, what in pairs { ["init: {}"] = "that has no collectors", ["a: [1"] = "that cannot be read" } do
    local unknown = katib_says ""
    unknown.data[CONFIG] = text
    policy.test { name = "a katib-config " .. what .. " is told as well", watch = ASKED.watch, object = unknown,
      config = { way = "c", manage_katib_config = true },
      expect = { writes = { { verb = "event", reason = "CollectorsWaitForAll" } } } }
  end

  policy.test { name = "or put right, where that is allowed", watch = ASKED.watch, object = ASKED.object,
    config = { way = "c", manage_katib_config = true }, expect = { writes = { { verb = "patch", patch = { data = {
      [CONFIG] = "runtime:\n  metricsCollectors:\n  - image: x\n    kind: StdOut\n    waitAllProcesses: false\n" } } },
      { verb = "event", reason = "CollectorsWaitForMain" } } } }
end
