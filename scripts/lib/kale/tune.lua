-- kale.tune: the Katib experiment that tunes a notebook: what is tuned, the trial's template, and following it.
-- Not for trials (kale.trial runs in their pods).
--   local experiment = tune.experiment(settings, uploaded, { namespace = "team-a", image = "site/kfhost:1" })

local errors = require "errors"
local hash = require "hash"
local json = require "json"
local katib = require "katib"
local task = require "task"

local M = {}

local LONGEST_NAME = 40 -- of an experiment; its trials add to it
local SAFE_CHOICE = "^[%w ._:/@%%+,=-]*$" -- a choice that survives substitution in JSON text
local TOKEN_DIRECTORY = "/var/run/secrets/kfhost/kfp"
local KINDS = { NUMBER_INTEGER = "int", NUMBER_DOUBLE = "double", STRING = "categorical", BOOLEAN = "categorical" }

local function usage(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- --- what is tuned ------------------------------------------------------------------------------------------

local function number_space(word, low, high, step)
  if not tonumber(low) or not tonumber(high) then
    usage("'%s' is no range: NAME=MIN..MAX or NAME=MIN..MAX/STEP", word)
  end
  return { min = low, max = high, step = step ~= "" and step or nil }
end

-- "lr=0.01..0.1", "depth=1..5/2", "kind=a,b,c" by the type that the pipeline declares.
local function parse_space(word, definitions)
  local name, text = word:match "^([^=]+)=(.*)$"
  if not name then usage("'%s' is not NAME=MIN..MAX or NAME=A,B,C", word) end
  local definition = definitions[name]
  if not definition then usage("the notebook has no parameter '%s'", name) end
  local kind = KINDS[definition.parameterType]
  local low, high, step = text:match "^(.-)%.%.([^/]*)/?(.*)$"
  if low and kind ~= "categorical" then
    return { name = name, parameterType = kind, feasibleSpace = number_space(word, low, high, step) }
  end
  local list = json.array {}
  for one in (text .. ","):gmatch "([^,]*)," do list[#list + 1] = one end
  return { name = name, parameterType = kind == "categorical" and kind or "discrete", feasibleSpace = { list = list } }
end

---The settings of an experiment: the notebook's katib_metadata, and over it what the command line says.
---@param compiled table of kale.submit.compile
---@param given {tune: string[]?, objective: string?, direction: string?, goal: number?, algorithm: string?,
---  trials: integer?, parallel: integer?}
---@return table settings {parameters, objective, algorithm, maxTrialCount, parallelTrialCount, maxFailedTrialCount}
function M.settings(compiled, given)
  local metadata = compiled.katib or {}
  local definitions = compiled.ir.root.inputDefinitions and compiled.ir.root.inputDefinitions.parameters or {}
  local parameters = metadata.parameters or json.array {}
  if given.tune and #given.tune > 0 then
    parameters = json.array {}
    for i, word in ipairs(given.tune) do parameters[i] = parse_space(word, definitions) end
  end
  if #parameters == 0 then
    usage "nothing is tuned: say --tune NAME=MIN..MAX, or write katib_metadata in the notebook"
  end
  local objective = metadata.objective or {}
  objective.objectiveMetricName = given.objective or objective.objectiveMetricName
  objective.type = given.direction or objective.type or "maximize"
  objective.goal = given.goal or objective.goal
  if not objective.objectiveMetricName then usage "which metric? say --objective NAME" end
  local algorithm = metadata.algorithm or {}
  algorithm.algorithmName = given.algorithm or algorithm.algorithmName or "random"
  return { parameters = parameters, objective = objective, algorithm = algorithm,
    maxTrialCount = given.trials or metadata.maxTrialCount or 12,
    parallelTrialCount = given.parallel or metadata.parallelTrialCount or 3,
    maxFailedTrialCount = metadata.maxFailedTrialCount or 3 }
end

-- --- the experiment -----------------------------------------------------------------------------------------

-- Choices with quotes, backslashes or line ends would break the JSON text that Katib substitutes in: they are tuned
-- as c0, c1, …, and the table of what they stand for travels in the environment.
local function coded(parameter)
  local list = parameter.feasibleSpace.list
  if parameter.parameterType ~= "categorical" or not list then return parameter, nil end
  local plain = true
  for _, one in ipairs(list) do plain = plain and tostring(one):find(SAFE_CHOICE) ~= nil end
  if plain then return parameter, nil end
  local codes, choices = json.array {}, {}
  for i, one in ipairs(list) do
    codes[i] = ("c%d"):format(i - 1)
    choices[codes[i]] = one
  end
  return { name = parameter.name, parameterType = "categorical", feasibleSpace = { list = codes } }, choices
end

local function trial_environment(settings, uploaded, options, definitions)
  local environment, carried, parameters = json.array {}, json.array {}, json.array {}
  for i, given in ipairs(settings.parameters) do
    local parameter, choices = coded(given)
    parameters[i] = parameter
    carried[i] = { name = parameter.name, choices = choices,
      type = definitions[parameter.name] and definitions[parameter.name].parameterType }
    environment[i] = { name = "KFHOST_P_" .. i, value = ("${trialParameters.%s}"):format(parameter.name) }
  end
  table.insert(environment, { name = "KFHOST_TRIAL", value = json.encode({ trial = "${trialParameters.trialName}",
    pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id, experiment = options.kfp_experiment,
    namespace = options.namespace, objective = settings.objective.objectiveMetricName, parameters = carried },
    { sort = true }) })
  if options.endpoint then
    table.insert(environment, { name = "KF_PIPELINES_ENDPOINT", value = options.endpoint })
  end
  return environment, parameters
end

local function pod_of(environment, options)
  local restricted = { allowPrivilegeEscalation = false, capabilities = { drop = { "ALL" } }, runAsNonRoot = true,
    seccompProfile = { type = "RuntimeDefault" } }
  return { metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } }, spec = {
    restartPolicy = "Never", serviceAccountName = options.service_account or "default-editor",
    terminationGracePeriodSeconds = 30,
    containers = { { name = "main", image = options.image, command = { "sh", "-c" },
      args = { "kfhost kale trial" }, env = environment, securityContext = restricted,
      lifecycle = { preStop = { exec = { command = { "sh", "-c", "kfhost kale trial --cancel" } } } },
      volumeMounts = { { name = "kfp-token", mountPath = TOKEN_DIRECTORY, readOnly = true } } } },
    volumes = { { name = "kfp-token", projected = { sources = { { serviceAccountToken = { path = "token",
      audience = "pipelines.kubeflow.org", expirationSeconds = 7200 } } } } } } } }
end

---The name of an experiment: with a short hash of the namespace, since Katib tells trials by the name alone.
---@param name string
---@param namespace string
---@return string # raises "Usage" when it is too long
function M.name(name, namespace)
  local whole = ("%s-%s"):format(name:lower():gsub("[^a-z0-9-]+", "-"):gsub("^[^a-z]+", ""):gsub("-+$", ""),
    hash.sha1(namespace):sub(1, 5))
  if #whole > LONGEST_NAME then
    usage("the name %s has %d characters, and Katib takes %d: give a shorter one with --name", whole, #whole,
      LONGEST_NAME)
  end
  return whole
end

---@param settings table of settings
---@param uploaded {pipeline_id: string, version_id: string}
---@param options {name: string, namespace: string, image: string, kfp_experiment: string, endpoint: string?,
---  service_account: string?, definitions: table?}
---@return table experiment
function M.experiment(settings, uploaded, options)
  local environment, parameters = trial_environment(settings, uploaded, options, options.definitions or {})
  local trial_parameters = json.array {}
  for i, parameter in ipairs(parameters) do
    trial_parameters[i] = { name = parameter.name, reference = parameter.name }
  end
  table.insert(trial_parameters, { name = "trialName", reference = "${trialSpec.Name}" })
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment",
    metadata = { name = M.name(options.name, options.namespace), namespace = options.namespace },
    spec = { objective = settings.objective, algorithm = settings.algorithm, parameters = parameters,
      maxTrialCount = settings.maxTrialCount, parallelTrialCount = settings.parallelTrialCount,
      maxFailedTrialCount = settings.maxFailedTrialCount,
      trialTemplate = { retain = true, primaryContainerName = "main", trialParameters = trial_parameters,
        trialSpec = { apiVersion = "batch/v1", kind = "Job",
          spec = { backoffLimit = 0, template = pod_of(environment, options) } } } } }
end

-- --- following it -------------------------------------------------------------------------------------------

local FINAL = { Succeeded = true, Failed = true }

---@return string? condition the final one that holds
local function final(experiment)
  for _, one in ipairs(experiment.status and experiment.status.conditions or {}) do
    if FINAL[one.type] and one.status == "True" then return one.type end
  end
  return nil
end

---Creates the experiment, refusing what Katib would refuse, and follows it to its end.
---@param client table of kube.connect
---@param experiment table
---@param on_change fun(experiment: table)?
---@return table experiment as it ended
function M.run(client, experiment, on_change)
  for _, finding in ipairs(katib.validate(experiment)) do
    if finding.severity == "error" then
      errors.raise { code = "Usage", message = ("%s: %s"):format(finding.path, finding.message) }
    end
  end
  local made = client:create(experiment)
  local shown
  while true do
    local now = client:get("experiments.v1beta1.kubeflow.org", made.metadata.name,
      { namespace = made.metadata.namespace })
    local text = json.encode(now.status or {}, { sort = true })
    if on_change and text ~= shown then on_change(now) end
    shown = text
    if final(now) then return now end
    task.sleep(0.5)
  end
end

---@param experiment table
---@return {trial: string, values: table<string, string>, metrics: table<string, string>}? best
function M.best(experiment)
  local optimal = experiment.status and experiment.status.currentOptimalTrial
  if not optimal then return nil end
  local best = { trial = optimal.bestTrialName, values = {}, metrics = {} }
  for _, one in ipairs(optimal.parameterAssignments or {}) do best.values[one.name] = one.value end
  for _, one in ipairs(optimal.observation and optimal.observation.metrics or {}) do
    best.metrics[one.name] = one.latest
  end
  return best
end

return M
