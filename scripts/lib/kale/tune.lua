-- kale.tune: the Katib experiment that tunes a notebook: what is tuned, the trial's template, and following it.
-- Not for trials (kale.trial runs in their pods).
--   local experiment = tune.experiment(settings, uploaded, { namespace = "team-a", image = "site/kfhost:1" })

local errors = require "errors"
local hash = require "hash"
local json = require "json"
local katib = require "katib"
local task = require "task"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local MARK = "kubeflow-kale.org/asked-for" -- tells an experiment of ours from others of its name
local LATE = 2 -- seconds in which a request that was cut off may still be heard
local LONGEST_NAME = 40 -- of an experiment; its trials add to it
local SAFE_CHOICE = "^[%w ._:/@%%+,=-]*$" -- a choice that survives substitution in JSON text
local TOKEN_DIRECTORY = "/var/run/secrets/kfhost/kfp"
local NOBODY = 65532 -- images of steps are root's mostly, whom the kubelet refuses where runAsNonRoot is said
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

local function space_of(word, definitions)
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

local function is_whole(text) return math.tointeger(tonumber(text)) ~= nil end

-- Each value of a space is one that the pipeline takes: the trials would fail otherwise, one after the other.
local function check_space(parameter, definitions)
  local name, space = parameter.name, parameter.feasibleSpace or {}
  local definition = definitions[name or ""]
  if not definition then usage("the notebook has no parameter '%s'", tostring(name)) end
  for _, one in ipairs(space.list or {}) do
    require "kale.run".parameters({ ("%s=%s"):format(name, one) }, definitions)
  end
  if space.list then return end
  if definition.parameterType == "BOOLEAN" then usage("parameter '%s' is true or false: give a list of these", name) end
  if definition.parameterType == "NUMBER_INTEGER" and parameter.parameterType == "double"
    and not (is_whole(space.min) and is_whole(space.step)) then
    usage("parameter '%s' is an integer: its space is of type int, not double", name)
  end
end

---A parameter and its space: "lr=0.01..0.1", "depth=1..5/2", "kind=a,b,c", by the type that the pipeline declares.
---@param word string
---@param definitions table of the pipeline's parameters
---@return table parameter of an experiment # raises "Usage"
function M.parse_space(word, definitions)
  local parameter = space_of(word, definitions)
  check_space(parameter, definitions)
  return parameter
end

-- Settings of the algorithm, as words; they go before those of the same name in the notebook.
local function add_settings(algorithm, words)
  local list = json.array {}
  for i, word in ipairs(words) do
    local name, value = word:match "^([^=]+)=(.*)$"
    if not name then usage("'%s' is no setting: NAME=VALUE", word) end
    list[i] = { name = name, value = value }
  end
  for _, known in ipairs(algorithm.algorithmSettings or {}) do
    local is_given = false
    for _, one in ipairs(list) do is_given = is_given or one.name == known.name end
    if not is_given then list[#list + 1] = known end
  end
  if #list > 0 then algorithm.algorithmSettings = list end
end

-- The objective is one of the notebook's metrics; the others are collected besides it.
local function check_objective(objective, metrics)
  local name, others, known = objective.objectiveMetricName, json.array {}, false
  if not name then
    local hint = metrics and #metrics > 0 and (" (%s)"):format(table.concat(metrics, ", ")) or ""
    usage("which metric? say --objective NAME%s", hint)
  end
  for _, metric in ipairs(metrics or {}) do
    if metric == name then known = true else others[#others + 1] = metric end
  end
  if metrics and not known then
    usage("the notebook has no metric '%s': %s", name, #metrics > 0 and "it has " .. table.concat(metrics, ", ")
      or "tag the cell that prints them pipeline-metrics")
  end
  if not objective.additionalMetricNames and #others > 0 then objective.additionalMetricNames = others end
end

---The settings of an experiment: the notebook's katib_metadata, and over it what the command line says.
---@param compiled table of kale.submit.compile
---@param given {tune: string[]?, objective: string?, direction: string?, goal: number?, algorithm: string?,
---  settings: string[]?, trials: integer?, parallel: integer?, median_stop: boolean?}
---@return table settings {parameters, objective, algorithm, maxTrialCount, parallelTrialCount, maxFailedTrialCount}
function M.settings(compiled, given)
  local metadata = compiled.katib or {}
  local definitions = compiled.ir.root.inputDefinitions and compiled.ir.root.inputDefinitions.parameters or {}
  local parameters = metadata.parameters or json.array {}
  if given.tune and #given.tune > 0 then
    parameters = json.array {}
    for i, word in ipairs(given.tune) do parameters[i] = M.parse_space(word, definitions) end
  end
  if #parameters == 0 then
    usage "nothing is tuned: say --tune NAME=MIN..MAX, or write katib_metadata in the notebook"
  end
  for _, parameter in ipairs(parameters) do check_space(parameter, definitions) end -- those of the notebook
  local objective = metadata.objective or {}
  objective.objectiveMetricName = given.objective or objective.objectiveMetricName
  objective.type = given.direction or objective.type or "maximize"
  objective.goal = given.goal or objective.goal
  check_objective(objective, compiled.metrics)
  local algorithm = metadata.algorithm or {}
  if given.algorithm and given.algorithm ~= algorithm.algorithmName then algorithm = {} end -- settings of another
  algorithm.algorithmName = given.algorithm or algorithm.algorithmName or "random"
  add_settings(algorithm, given.settings or {})
  local stopping, most = metadata.earlyStopping, given.trials or metadata.maxTrialCount or 12
  if given.median_stop then stopping = { algorithmName = "medianstop" } end
  return { parameters = parameters, objective = objective, algorithm = algorithm, earlyStopping = stopping,
    maxTrialCount = most,
    parallelTrialCount = given.parallel or math.min(metadata.parallelTrialCount or 3, most),
    maxFailedTrialCount = math.min(metadata.maxFailedTrialCount or 3, most) }
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

---What the codes of choices stand for.
---@param settings table of settings
---@return table<string, table<string, string>> values by parameter and code
function M.choices(settings)
  local all = {}
  for _, parameter in ipairs(settings.parameters) do
    local _, choices = coded(parameter)
    all[parameter.name] = choices
  end
  return all
end

-- The kubelet reads $(NAME) and $$ in values of the environment, and Katib ${…}: dollar signs of ours are spelled out.
-- Only the trial's name is left for Katib to fill in.
local function told(trial)
  local text = json.encode(trial, { sort = true }):gsub("%$", "\\u0024")
  return (text:gsub('"trial":""', '"trial":"${trialParameters.trialName}"'))
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
  table.insert(environment, { name = "KFHOST_TRIAL", value = told { trial = "", pipeline_id = uploaded.pipeline_id,
    pipeline_version_id = uploaded.version_id, experiment = options.kfp_experiment, namespace = options.namespace,
    objective = settings.objective.objectiveMetricName, parameters = carried } })
  if options.endpoint then
    table.insert(environment, { name = "KF_PIPELINES_ENDPOINT", value = options.endpoint })
  end
  return environment, parameters
end

-- What runs in the pod: kfhost of its image, or a program for Python that travels in the environment. There is no exec
-- before it: Katib appends to the words, and what stands behind an exec would never run.
local function program_of(environment, options)
  if options.runner ~= "python" then
    return { image = options.image, run = "kfhost kale trial", stop = "kfhost kale trial --cancel" }
  end
  local text = require "bundle".text "kale/runtime/trial.py"
  table.insert(environment, { name = "KFHOST_RUNNER", value = text })
  return { image = options.step_image, user = NOBODY, run = 'python3 -u -c "$KFHOST_RUNNER"',
    stop = 'python3 -c "$KFHOST_RUNNER" --cancel' }
end

---The image of a pipeline's steps.
---@param ir table
---@return string? image
function M.step_image(ir)
  local executors = (ir.deploymentSpec or {}).executors or {}
  for _, name in ipairs(sorted_keys(executors)) do
    local container = executors[name].container
    if container and container.image then return container.image end
  end
  return nil
end

local function pod_of(environment, options)
  local program = program_of(environment, options)
  local restricted = { allowPrivilegeEscalation = false, capabilities = { drop = { "ALL" } }, runAsNonRoot = true,
    runAsUser = program.user, seccompProfile = { type = "RuntimeDefault" } }
  return { metadata = { labels = { ["sidecar.istio.io/inject"] = "false" } }, spec = {
    restartPolicy = "Never", serviceAccountName = options.service_account or "default-editor",
    terminationGracePeriodSeconds = 30,
    containers = { { name = "main", image = program.image, command = { "sh", "-c" },
      args = { program.run }, env = environment, securityContext = restricted,
      lifecycle = { preStop = { exec = { command = { "sh", "-c", program.stop } } } },
      volumeMounts = { { name = "kfp-token", mountPath = TOKEN_DIRECTORY, readOnly = true } } } },
    volumes = { { name = "kfp-token", projected = { sources = { { serviceAccountToken = { path = "token",
      audience = "pipelines.kubeflow.org", expirationSeconds = 7200 } } } } } } } }
end

local NUMBER = [[([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)]]

-- Katib's own filter knows letters, digits, _, | and -; metrics that are called otherwise bring theirs.
local function collector_of(objective)
  local plain = true
  for _, name in ipairs { objective.objectiveMetricName, table.unpack(objective.additionalMetricNames or {}) } do
    plain = plain and not name:find "[^%w_|-]"
  end
  if plain then return nil end
  return { collector = { kind = "StdOut" }, source = { filter = { metricsFormat = {
    [[([^\s=]+)\s*=\s*]] .. NUMBER } } } }
end

---The name of an experiment: with a short hash of the namespace, since Katib tells trials by the name alone.
---@param name string
---@param namespace string
---@return string # raises "Usage" when it is too long
function M.name(name, namespace)
  local legal = name:lower():gsub("[^a-z0-9-]+", "-"):gsub("^[^a-z]+", ""):gsub("-+$", "")
  if legal == "" then usage("'%s' has no letter: give the experiment a --name that begins with one", name) end
  local whole = ("%s-%s"):format(legal, hash.sha1(namespace):sub(1, 5))
  if #whole > LONGEST_NAME then
    usage("the name %s has %d characters, and Katib takes %d: give a shorter one with --name", whole, #whole,
      LONGEST_NAME)
  end
  return whole
end

---@param settings table of settings
---@param uploaded {pipeline_id: string, version_id: string}
---@param options {name: string, namespace: string, image: string, kfp_experiment: string, endpoint: string?,
---  service_account: string?, definitions: table?, resumable: boolean?, runner: "kfhost"|"python"|nil,
---  step_image: string?}
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
      metricsCollectorSpec = collector_of(settings.objective),
      earlyStopping = settings.earlyStopping, resumePolicy = options.resumable and "LongRunning" or nil,
      maxTrialCount = settings.maxTrialCount, parallelTrialCount = settings.parallelTrialCount,
      maxFailedTrialCount = settings.maxFailedTrialCount,
      trialTemplate = { retain = true, primaryContainerName = "main", trialParameters = trial_parameters,
        trialSpec = { apiVersion = "batch/v1", kind = "Job",
          spec = { backoffLimit = 0, template = pod_of(environment, options) } } } } }
end

-- --- beginning it -------------------------------------------------------------------------------------------

---Where the trials find Pipelines, if not by the name of its service: an address of the cluster's own network. One
---that is this machine's, a port-forward's or the gateway's says nothing about where pods should go.
---@param endpoint string? as given for the command itself
---@return string? endpoint
function M.endpoint_of_trials(endpoint)
  local host = endpoint and endpoint:gsub("^%a+://", ""):match "^[^:/]+"
  return host and (host:find "%.svc$" or host:find "%.svc%.") and endpoint or nil
end

local ACCOUNTS = { [true] = { "default-editor", "pipeline-runner" }, [false] = { "pipeline-runner", "default-editor" } }

---The account of the trials' pods: that of a profile, or the one that an installation for a single user has.
---@param client table of kube.connect
---@param k table of kfp.connect
---@param namespace string
---@return string name # raises "Usage" when there is none, for then no pod would ever start
function M.account(client, k, namespace)
  local health = errors.try(k):health()
  local candidates = ACCOUNTS[not (health and health.multi_user == false)]
  for _, name in ipairs(candidates) do
    local _, problem = client.try:get("serviceaccounts", name, { namespace = namespace })
    if problem and problem.code == "Cancelled" then error(problem, 0) end
    if not problem then return name end
    if problem.code ~= "NotFound" then return candidates[1] end -- it may not be looked at
  end
  usage("namespace %s has no service account %s: trials' pods would never start; is it a profile's namespace?\n"
    .. "give another --namespace or --service-account", namespace, table.concat(candidates, " or "))
end

-- Experiments everywhere, as far as rights reach: Katib tells trials apart by the experiment's name alone.
local function others(client, namespace)
  for _, place in ipairs { "*", namespace } do
    local list, problem = client.try:list("experiments.v1beta1.kubeflow.org", { namespace = place })
    if list then return list end
    if problem.code == "Cancelled" then error(problem, 0) end
  end
end

local function taken(name)
  usage("there is an experiment %s already: --resume follows it, --name NAME makes another", name)
end

local function refuse_taken(experiment, others_there)
  for _, other in ipairs(others_there or {}) do
    local theirs = other.metadata
    if theirs.name == experiment.metadata.name and theirs.namespace == experiment.metadata.namespace then
      taken(theirs.name)
    end
  end
end

---Refuses what Katib would refuse, and what could not work.
---@param client table? of kube.connect; without one no other experiment is looked at
---@param experiment table
---@return table[] warnings # raises "Usage" with what is wrong
function M.check(client, experiment)
  local wrong, warnings = {}, {}
  local there = client and others(client, experiment.metadata.namespace) or nil
  local namespace = client and client.try:get("namespaces", experiment.metadata.namespace)
  for _, finding in ipairs(katib.validate(experiment, { others = there, namespace = namespace })) do
    local list = finding.severity == "error" and wrong or warnings
    list[#list + 1] = ("%s: %s"):format(finding.path, finding.message)
  end
  if #wrong > 0 then usage("%s", table.concat(wrong, "\n")) end
  refuse_taken(experiment, there)
  return warnings
end

---Creates the experiment.
---@param client table of kube.connect
---@param experiment table gets a mark, by which it is known again
---@return table experiment # raises "Usage" when there is one of that name
function M.create(client, experiment)
  experiment.metadata.annotations = { [MARK] = hash.random_hex(8) }
  local made, problem = client.try:create(experiment)
  if made then return made end
  if problem.code == "AlreadyExists" then taken(experiment.metadata.name) end
  error(problem, 0)
end

---Whether an experiment was made although the request for it was cut off: the server may be at it still.
---@param client table of kube.connect
---@param experiment table as it was given to `create`
---@return boolean
function M.was_made(client, experiment)
  local deadline = task.now() + LATE
  repeat
    local found = client.try:get("experiments.v1beta1.kubeflow.org", experiment.metadata.name,
      { namespace = experiment.metadata.namespace })
    if found then return (found.metadata.annotations or {})[MARK] == experiment.metadata.annotations[MARK] end
    task.sleep(0.2)
  until task.now() > deadline
  return false
end

---Goes on with an experiment that is there: it is followed, or lets more trials come.
---@param client table of kube.connect
---@param experiment table as it would be made now
---@return table experiment # raises "Usage" when there is none, or it cannot go on
function M.resume(client, experiment)
  local name, namespace = experiment.metadata.name, experiment.metadata.namespace
  local k = require "katib.client".connect { client = client, namespace = namespace }
  local found = k.try:get(name)
  if not found then usage("there is no experiment %s in %s to go on with", name, namespace) end
  local over
  for _, one in ipairs(found.status and found.status.conditions or {}) do
    if one.status == "True" and (one.type == "Succeeded" or one.type == "Failed") then over = one end
  end
  local most = experiment.spec.maxTrialCount
  if not over or most <= (found.status.trials or 0) then return found end
  local resumed, problem = k.try:resume(name, most)
  if resumed then return resumed end
  usage("experiment %s has ended (%s) and cannot go on: %s\nmake it with --resumable, or give a --name", name,
    over.reason, problem.message)
end

---@param experiment table
---@param choices table? real values by parameter and code
---@return {trial: string, values: table<string, string>, metrics: table<string, string>}? best
function M.best(experiment, choices)
  local optimal = experiment.status and experiment.status.currentOptimalTrial
  if not optimal or (optimal.bestTrialName or "") == "" then return nil end
  local best = { trial = optimal.bestTrialName, values = {}, metrics = {} }
  for _, one in ipairs(optimal.parameterAssignments or {}) do
    local known = choices and choices[one.name]
    best.values[one.name] = known and known[one.value] or one.value
  end
  local strategies = {}
  for _, one in ipairs(experiment.spec.objective.metricStrategies or {}) do strategies[one.name] = one.value end
  for _, one in ipairs(optimal.observation and optimal.observation.metrics or {}) do
    best.metrics[one.name] = one[strategies[one.name] or "latest"] or one.latest
  end
  return best
end

return M
