-- What is known to go wrong between Katib, Istio and Kubeflow (F1 to F12 of our notes), as far as a policy answers for
-- it: each test is named by the finding.
local test = require "test"
local istio = require "istio"
local json = require "json"
local policy = require "policy"
local trial = require "policy.trial"

local PROFILE = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {
  ["app.kubernetes.io/part-of"] = "kubeflow-profile", ["istio-injection"] = "enabled" } } }

local function job(metadata)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t-1", namespace = "team-a",
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "t-1", uid = "u" } } },
    spec = { template = { metadata = metadata, spec = { containers = { { name = "main", image = "x" } } } } } }
end

local function katib_config(text)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "kubeflow" },
    data = { ["katib-config.yaml"] = text } }
end

-- The pod template of a trial, as a way leaves it.
local function template(config, objects, metadata)
  local set = policy.load("trial-sidecar", { config = config })
  set:know { PROFILE, table.unpack(objects or {}) }
  local answer = trial.apply(set, job(metadata))
  set:close()
  return answer.object.spec.template, answer
end

local function is_native(of) return of.metadata.annotations["sidecar.istio.io/nativeSidecar"] == "true" end

local COLLECTORS = "runtime:\n  metricsCollectors:\n    - {kind: StdOut, image: x%s}\n    - {kind: File, image: x%s}\n"
local MAIN = ", waitAllProcesses: false"

test("F1: a native sidecar comes only where no collector waits for it", function()
  for _, case in ipairs { { "", "", false }, { MAIN, "", false }, { MAIN, MAIN, true } } do
    local config_map = katib_config(COLLECTORS:format(case[1], case[2]))
    local given = template({ way = "c" }, { config_map })
    test.equal(given.metadata.annotations ~= nil and is_native(given), case[3])
  end
end)

test("F1, F2: the wrapped collector waits for the training alone, and ends the proxy itself", function()
  local set = policy.load("trial-sidecar", { config = { way = "d" } })
  local pod = trial.apply(set, { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" },
    spec = { containers = { { name = "istio-proxy" }, { name = "metrics-logger-and-collector",
      image = "katib/file-metrics-collector", args = { "-t", "t", "-w", "true", "-format", "TEXT" } } } } }).object
  local collector = pod.spec.containers[2]
  test.same(collector.args, { "-t", "t", "-w", "false", "-format", "TEXT" })
  test.equal(collector.command[3]:find("15020/quitquitquit", 1, true) ~= nil, true)
  set:close()
end)

test("F3: the opt-out is a label, which wins over any annotation; what opts in does so for Istio", function()
  for _, annotation in ipairs { "true", "false" } do
    local metadata = { annotations = { ["sidecar.istio.io/inject"] = annotation } }
    local without = template({}, {}, metadata)
    local pod = { metadata = without.metadata, spec = without.spec }
    test.equal((istio.would_inject(PROFILE, pod)), false)
    local with = template({ way = "d" }, {}, metadata)
    test.equal((istio.would_inject(PROFILE, { metadata = with.metadata, spec = with.spec })), true)
  end
end)

local GUARD = { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy",
  metadata = { name = "ml-pipeline", namespace = "kubeflow" }, spec = {
    selector = { matchLabels = { app = "ml-pipeline" } }, rules = {
      { when = { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } } } } } }
local STRICT = { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication",
  metadata = { name = "default", namespace = "kubeflow" }, spec = { mtls = { mode = "STRICT" } } }

test("F4, F11: without a sidecar a trial reaches Pipelines as Kubeflow guards it, not in a strict mesh", function()
  local _, answer = template({ way = "auto" }, { GUARD })
  test.equal(answer.object.spec.template.metadata.labels["sidecar.istio.io/inject"], "false")
  _, answer = template({ way = "auto" }, { GUARD, STRICT })
  test.equal(answer.object.spec.template.metadata.labels["sidecar.istio.io/inject"], "true")
end)

test("F5: a pod whose collector lost its wrapper is refused, not left to hang", function()
  local set = policy.load("trial-sidecar", { config = { way = "d" } })
  set:know { PROFILE }
  local review = trial.review_of(set, { apiVersion = "v1", kind = "Pod", metadata = { name = "p",
    namespace = "team-a" }, spec = { containers = { { name = "istio-proxy" },
    { name = "metrics-logger-and-collector" } } } })
  local response = set:answer(review, { kind = "validate" }).response
  test.equal(response.allowed, false)
  test.equal(response.status.message:find("must come after Katib's", 1, true) ~= nil, true)
  local configurations = require "policy.webhooks".configurations(set.description, { name = "kfhost-policy",
    namespace = "kfhost-system", client = function() return {} end })
  test.equal(configurations[1].metadata.name < "istio-sidecar-injector", true)
  test.equal(configurations[2].metadata.name > "katib.kubeflow.org", true)
  test.equal(configurations[2].metadata.name > "poddefaults-webhook-mutating-webhook-configuration", true)
  set:close()
end)

test("F10: what we mount is in no PodDefault's way, and the proxy gets nothing of it", function()
  local given = template({ way = "a" }, {}, nil)
  local token = "/var/run/secrets/kubeflow/pipelines"
  test.equal(given.spec.volumes[1].name ~= "volume-kf-pipeline-token", true)
  test.equal(given.spec.containers[1].volumeMounts[1].mountPath ~= token, true)
  -- where kfp-access mounts the token itself, it is what the PodDefault says: the same name, the same value
  local set = policy.load "kfp-access"
  set:know { PROFILE }
  local pod = trial.apply(set, { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a",
    labels = { ["access-ml-pipeline"] = "true" } }, spec = { containers = { { name = "main" } } } }).object
  test.same(pod.spec.volumes, { { name = "volume-kf-pipeline-token", projected = { sources = { {
    serviceAccountToken = { path = "token", expirationSeconds = 7200, audience = "pipelines.kubeflow.org" } } } } } })
  test.same(pod.spec.containers[1].volumeMounts, { { name = "volume-kf-pipeline-token", mountPath = token,
    readOnly = true } })
  set:close()
end)

-- An experiment that the guard refuses; the text of the refusal.
local function refusal(change, objects)
  local experiment = { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment",
    metadata = { name = "tune", namespace = "team-a" },
    spec = { objective = { type = "maximize", objectiveMetricName = "accuracy" },
      algorithm = { algorithmName = "random" }, parallelTrialCount = 1, maxTrialCount = 2, maxFailedTrialCount = 1,
      parameters = { { name = "lr", parameterType = "double", feasibleSpace = { min = "0.1", max = "0.5" } } },
      trialTemplate = { primaryContainerName = "main", trialParameters = { { name = "lr", reference = "lr" } },
        trialSpec = { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = { restartPolicy = "Never",
          containers = { { name = "main", image = "python", command = { "python", "train.py" },
            args = { "--lr=${trialParameters.lr}" } } } } } } } } } }
  change(experiment)
  local set = policy.load "experiment-guard"
  set:know(objects or {})
  local answer = trial.apply(set, experiment)
  set:close()
  return not answer.allowed and answer.message or table.concat(answer.warnings, "\n")
end

local function refuses(text, change, objects)
  local said = refusal(change, objects)
  if not said:find(text, 1, true) then error(("'%s' is not in '%s'"):format(text, said), 2) end
end

test("F6: a name that another namespace's experiment has is refused", function()
  refuses("namespace team-b", function() end, { { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment",
    metadata = { name = "tune", namespace = "team-b" }, spec = json.object {} } })
end)

test("F7: a misspelt field is named, with the one that was meant", function()
  refuses("did you mean parallelTrialCount", function(e) e.spec.paralelTrialCount = 2 end)
end)

test("F8: names that are too long for what Katib makes of them", function()
  refuses("metadata.name", function(e) e.metadata.name = ("x"):rep(41) end)
end)

test("F9: quotes that are lost, and a shell that is alone", function()
  refuses("its quoting is lost", function(e)
    e.spec.trialTemplate.trialSpec.spec.template.spec.containers[1].args[2] = "two words"
  end)
end)

test("F12: settings that the algorithm itself cannot bear", function()
  refuses("bounds above 0", function(e)
    e.spec.algorithm.algorithmName = "bayesianoptimization"
    e.spec.parameters[1].feasibleSpace = { min = "-1", max = "1" }
  end)
end)
