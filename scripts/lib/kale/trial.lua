-- kale.trial: what the pod of a Katib trial does: one run of the pipeline with the trial's parameters, its metrics
-- as lines for the collector, and the right exit code.
-- Not for making trials (Katib does) nor for experiments (kale tune).
--   os.exit(trial.run(kfp.connect {}, trial.read(os.getenv), io.stdout))

local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local starts = require "kfp.client.start"
local task = require "task"

local M = {}

M.ANNOTATION = "kubeflow-kale.org/kfp-run-uuid" -- by which Katib's interface links a trial to its run
M.CODES = { succeeded = 0, failed = 1, usage = 2, refused = 3, no_objective = 4, budget = 5, cancelled = 143 }

local NAMESPACE = "6ba7b811-9dad-11d1-80b4-00c04fd430c8" -- of UUIDs that are made from names
local FIRST_PAUSE, LONGEST_PAUSE = 0.25, 1.5 -- seconds between looks: a metric is relayed within two
local BUDGET = 600 -- seconds of failure without a break
local START = 60 -- seconds in which the mesh in front may still say no
local CLEARING = 5 -- seconds to end the run after a signal
local OBJECTIVE_WAIT = 30 -- seconds after the end in which the objective may still come

-- --- what the pod was given -------------------------------------------------------------------------------

local function usage(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

local FLAGS = { ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false }

-- Environment values are texts; the trial says what they stand for. A choice that Katib could not carry is tuned as
-- c0, c1, …, and its table gives the real value.
local function value_of(parameter, text)
  if parameter.choices then
    local value = parameter.choices[text]
    if value == nil then usage("parameter %s: there is no choice '%s'", parameter.name, text) end
    return value
  end
  local kind = parameter.type or "STRING"
  if kind == "STRING" or kind == "AUTO" then return text end
  if kind == "BOOLEAN" then
    local value = FLAGS[text:lower()]
    if value == nil then usage("parameter %s: '%s' is neither true nor false", parameter.name, text) end
    return value
  end
  local number = tonumber(text)
  if not number or number - number ~= 0 then usage("parameter %s: '%s' is no number", parameter.name, text) end
  if kind ~= "NUMBER_INTEGER" then return number end
  return math.tointeger(number) or usage("parameter %s: '%s' is no whole number", parameter.name, text)
end

local function parameters_of(trial)
  local list = trial.parameters or {}
  if type(list) ~= "table" then usage "KFHOST_TRIAL: its parameters are no list" end
  for _, parameter in ipairs(list) do
    if type(parameter) ~= "table" or type(parameter.name) ~= "string" then
      usage "KFHOST_TRIAL: a parameter has no name"
    end
  end
  return list
end

---Reads KFHOST_TRIAL and KFHOST_P_1, KFHOST_P_2, …
---@param environment fun(name: string): string?
---@return table trial {trial, uid, pipeline_id, pipeline_version_id, experiment, namespace, objective, values};
---  without a version the newest is taken; what is of type AUTO becomes what the pipeline says; raises "Usage"
function M.read(environment)
  local text = environment "KFHOST_TRIAL"
  if not text then usage "KFHOST_TRIAL is not set: this command runs in the pod of a trial" end
  local trial, problem = json.try.decode(text)
  if problem then usage("KFHOST_TRIAL is no JSON: %s", problem.message) end
  if type(trial) ~= "table" or json.is_array(trial) then usage "KFHOST_TRIAL is no JSON object" end
  for _, field in ipairs { "trial", "pipeline_id", "experiment" } do
    if type(trial[field]) ~= "string" or trial[field] == "" then usage("KFHOST_TRIAL has no %s", field) end
  end
  trial.values = json.object {}
  for i, parameter in ipairs(parameters_of(trial)) do
    local value = environment("KFHOST_P_" .. i)
    if not value then usage("KFHOST_P_%d (%s) is not set", i, parameter.name) end
    trial.values[parameter.name] = value_of(parameter, value)
  end
  return trial
end

---The id of a trial's run: the same each time, so that a trial that starts again finds its run. It is made of the
---trial's uid, since Katib makes a trial that is deleted again, under its old name; of its name where the uid is not
---known.
---@param trial table
---@return string uuid
function M.run_id(trial)
  return hash.uuid5(NAMESPACE, trial.uid or ("%s/%s"):format(trial.namespace or "", trial.trial))
end

---The ids that the run of a trial may have: that of its uid, and that of its name.
---@param object table a Trial
---@return string[]
function M.run_ids(object)
  local metadata, ids = object.metadata, {}
  if metadata.uid then ids[1] = M.run_id { uid = metadata.uid } end
  ids[#ids + 1] = M.run_id { trial = metadata.name, namespace = metadata.namespace }
  return ids
end

-- --- readiness --------------------------------------------------------------------------------------------

local AILING = { Internal = true } -- of a server whose database is away: a run that is there stays there

-- Whether it may be better in a moment: so may a page of a proxy, which is its last word for others.
local function passes(problem, since)
  return starts.is_passing(problem, since) or problem.code == "Protocol"
    or problem.code == "Login" and task.now() - since < START
end

-- Asks until it is answered; what is final is raised, and so is "Budget" after ten minutes of failure.
local function patient(ask, more)
  local since, pause = task.now(), FIRST_PAUSE
  while true do
    local ok, value = pcall(ask)
    if ok then return value end
    if not errors.is(value) or not (passes(value, since) or more and more[value.code]) then error(value, 0) end
    if task.now() - since > BUDGET then
      errors.raise { code = "Budget", message = "Pipelines did not answer for ten minutes", cause = value }
    end
    task.sleep(pause)
    -- Whoever does not listen is not burdened by being asked: the run is to start as soon as it is back.
    pause = value.code == "Connection" and FIRST_PAUSE or math.min(pause * 2, LONGEST_PAUSE)
  end
end

-- --- which trial it is --------------------------------------------------------------------------------------

---Finds the uid of a trial that was only told its name: Katib fills in a trial's name and namespace, never its uid.
---Where the pod's account may not read trials, and where no cluster answers for a minute, the name has to do.
---@param trial table gets its uid
---@param kube table? a client of the cluster
---@return table trial
function M.identify(trial, kube)
  local since = task.now()
  while kube and not trial.uid do
    local found, problem = errors.try(kube):get("trials.v1beta1.kubeflow.org", trial.trial,
      { namespace = trial.namespace, timeout = "10s" })
    if found then trial.uid = found.metadata.uid end
    if problem and problem.code == "Cancelled" then error(problem, 0) end
    local is_late = problem and (starts.is_passing(problem, since) or (problem.status or 0) >= 500)
    if not is_late or task.now() - since > START then return trial end
    task.sleep(FIRST_PAUSE)
  end
  return trial
end

---The same for who ends the run of a trial: by then the trial itself may be gone, and what its pod has kept counts.
---@param trial table gets its uid
---@param kube table? a client of the cluster
---@param memory string the file that `run` wrote
---@return table trial
function M.recall(trial, kube, memory)
  trial.uid = trial.uid or fs.try.read(memory)
  return M.identify(trial, kube)
end

-- --- the run ----------------------------------------------------------------------------------------------

-- The version that the trial names; its authorised answer shows that Pipelines is ready.
local function version_of(k, trial)
  local id = trial.pipeline_version_id
  if id and id ~= "" then return k.versions:get(id, { pipeline_id = trial.pipeline_id }) end
  local newest = k.versions:page({ pipeline_id = trial.pipeline_id, sort_by = "created_at desc", page_size = 1 })[1]
  if newest then return newest end
  errors.raise { code = "NotFound", message = ("pipeline %s has no version"):format(trial.pipeline_id) }
end

-- Older programs give every value as a text: what it stands for is said by the pipeline.
local function set_types(trial, version)
  local spec = version.pipeline_spec or {}
  local root = (spec.pipeline_spec or spec).root or {}
  local definitions = root.inputDefinitions and root.inputDefinitions.parameters or {}
  for _, parameter in ipairs(trial.parameters or {}) do
    local definition = parameter.type == "AUTO" and definitions[parameter.name]
    if definition then
      trial.values[parameter.name] = value_of({ name = parameter.name, type = definition.parameterType },
        trial.values[parameter.name])
    end
  end
end

---Writes into trial and workflow which run is theirs, where that is allowed.
---@param kube table a client of the cluster
---@param namespace string
---@param name string of the trial
---@param run_id string
function M.annotate(kube, namespace, name, run_id)
  local change = { metadata = { annotations = { [M.ANNOTATION] = run_id } } }
  local function annotate(kind, object)
    errors.try(kube):patch(kind, object.name, change, { namespace = object.namespace, type = "merge", timeout = "10s" })
  end
  annotate("trials.v1beta1.kubeflow.org", { name = name, namespace = namespace })
  for _, one in ipairs(starts.workflows(kube, namespace, run_id)) do annotate("workflows.argoproj.io", one.metadata) end
end

local function start(k, trial, options)
  local version = patient(function() return version_of(k, trial) end)
  set_types(trial, version)
  local experiment = patient(function() return k.experiments:ensure(trial.experiment) end)
  return patient(function()
    return k.runs:start({ run_id = M.run_id(trial), experiment_id = experiment.experiment_id,
      display_name = trial.trial, description = ("trial %s of experiment %s"):format(trial.trial, trial.experiment),
      pipeline_version_reference = { pipeline_id = trial.pipeline_id,
        pipeline_version_id = version.pipeline_version_id },
      runtime_config = { parameters = trial.values } }, { kube = options.kube, namespace = trial.namespace })
  end)
end

local function is_finite(value)
  return type(value) == "number" and value == value and value ~= math.huge and value ~= -math.huge
end

-- The time of a metric: its own, else now; never before that of the one before it, since Katib sorts by time.
local function time_of(metric, seen)
  local text = metric.time or os.date "!%Y-%m-%dT%H:%M:%SZ"
  local moment = require "kube.time".parse(text)
  if not moment or seen.moment and moment < seen.moment then return seen.time or os.date "!%Y-%m-%dT%H:%M:%SZ" end
  seen.moment, seen.time = moment, text
  return text
end

-- Writes what is new among the metrics, a line each: a time, then name=value.
local function relay(k, run_id, seen, out)
  local ok, metrics, source = pcall(k.runs.metrics, k.runs, run_id, seen.places)
  if not ok then
    if errors.is(metrics, "Cancelled") then error(metrics, 0) end
    return
  end
  if #metrics > 0 and source ~= seen.source then
    io.stderr:write(("kale trial: metrics from %s\n"):format(source))
    seen.source, seen.count = source, 0
  end
  for i = seen.count + 1, #metrics do
    local one = metrics[i]
    if is_finite(one.value) then
      out:write(("%s %s=%s\n"):format(time_of(one, seen), one.name, json.encode(one.value)))
      seen.names[one.name] = true
    end
  end
  seen.count = math.max(seen.count, #metrics)
  out:flush()
end

local TERMINAL = { SUCCEEDED = true, FAILED = true, SKIPPED = true, CANCELED = true }

local function follow(k, run, seen, out)
  local pause = FIRST_PAUSE
  while true do
    local now = patient(function() return k.runs:get(run.run_id) end, AILING)
    relay(k, run.run_id, seen, out)
    if TERMINAL[now.state] then return now end
    task.sleep(pause)
    pause = math.min(pause * 1.5, LONGEST_PAUSE)
  end
end

-- The objective may come a little after the end of the run.
local function has_objective(k, trial, run, seen, out, wait)
  local deadline = task.now() + wait
  while trial.objective and not seen.names[trial.objective] do
    local left = deadline - task.now()
    if left <= 0 then return false end
    task.sleep(math.min(left, LONGEST_PAUSE))
    relay(k, run.run_id, seen, out)
  end
  return true
end

---Runs a trial to its end.
---@param k table of kfp.connect
---@param trial table of read
---@param out file metrics go there
---@param options {objective_wait: number|string|nil, kube: (fun(): table?)?, metadata: string|function|nil,
---  memory: string?}?
---  objective_wait: how long after the end the objective may still come, 30 s; kube: a client of the cluster, if there
---  is one; metadata: where the metadata store is; memory: a file that keeps the trial's uid for `recall`
---@return integer code of the process
function M.run(k, trial, out, options)
  options = options or {}
  local wait = task.seconds(options.objective_wait or OBJECTIVE_WAIT)
  local seen = { count = 0, names = {}, places = { namespace = trial.namespace, metadata = options.metadata } }
  local ok, run = pcall(function()
    M.identify(trial, options.kube and options.kube())
    if options.memory and trial.uid then fs.try.write(options.memory, trial.uid) end
    return start(k, trial, options)
  end)
  if ok then
    seen.places.kube = options.kube and options.kube()
    local kube = seen.places.kube
    local told = kube and task.spawn(M.annotate, kube, trial.namespace, trial.trial, run.run_id)
    ok, run = pcall(follow, k, run, seen, out)
    if told then
      told:cancel()
      pcall(told.wait, told)
    end
  end
  if not ok then
    if not errors.is(run) then error(run, 0) end
    if run.code == "Cancelled" then
      task.last(M.cancel, k, trial, CLEARING) -- nothing can wait any more in here
      return M.CODES.cancelled
    end
    io.stderr:write("kale trial: ", errors.text(run), "\n")
    return run.code == "Budget" and M.CODES.budget or M.CODES.refused
  end
  if run.state ~= "SUCCEEDED" then
    io.stderr:write(("kale trial: run %s ended %s\n"):format(run.run_id, run.state))
    return M.CODES.failed
  end
  if has_objective(k, trial, run, seen, out, wait) then return M.CODES.succeeded end
  io.stderr:write(("kale trial: run %s succeeded, but told no finite number for the objective %s\n"):format(run.run_id,
    trial.objective))
  return M.CODES.no_objective
end

-- What the server answers when there is nothing to end: no such run, one that ends already, one that is over.
local ENDED = { NotFound = true, InvalidArgument = true, Internal = true }

---Ends the run of a trial, if there is one that is under way.
---@param k table
---@param trial table
---@param patience number? seconds in which it is tried again when Pipelines do not answer, or know of no run that may
---  have been asked for a moment ago
---@return integer code
function M.cancel(k, trial, patience)
  local deadline = task.now() + (patience or 0)
  while true do
    local _, problem = errors.try(k.runs):terminate(M.run_id(trial))
    local again = problem and (passes(problem, -math.huge) or problem.code == "NotFound")
    if not again or task.now() + FIRST_PAUSE > deadline then
      return (problem == nil or ENDED[problem.code]) and 0 or 1
    end
    task.sleep(FIRST_PAUSE)
  end
end

return M
