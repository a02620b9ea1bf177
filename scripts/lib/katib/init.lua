-- Katib: judges experiments, fills trial templates in, reads metrics, suggests, decides; and the client of one.
-- All but the client are pure functions: the same arguments, the same answer.
--   for _, finding in ipairs(katib.validate(experiment)) do print(finding.path, finding.message) end
local argument = require "kfhost.argument"
local errors = require "errors"

local M = {}

local function wrong(path, message)
  errors.raise { code = "Experiment", path = path, message = message }
end

local function check_shape(kind, value, place)
  local path, message = require "katib.types".misshapen(kind, value, place)
  if path then wrong(path, message) end
end

local function check_metadata(experiment)
  local metadata = experiment.metadata
  if type(metadata or {}) ~= "table" then wrong("metadata", "an object is expected here") end
  for _, field in ipairs { "name", "namespace" } do
    if metadata and type(metadata[field] or "") ~= "string" then
      wrong("metadata." .. field, "a text is expected here")
    end
  end
end

-- The experiment that a function was given: a table that has the shape of one, and the parts that are needed.
local function check_experiment(name, experiment, ...)
  if type(experiment) ~= "table" then argument.refuse(name, 1, "table", experiment, 3) end
  if type(experiment.spec) ~= "table" then wrong("spec", "an experiment has a spec") end
  check_metadata(experiment)
  check_shape("ExperimentSpec", experiment.spec, "spec")
  for _, part in ipairs { ... } do
    if not experiment.spec[part] then wrong("spec." .. part, "the experiment has none") end
  end
end

local function check_trials(name, trials)
  if type(trials) ~= "table" then argument.refuse(name, 2, "table", trials, 3) end
  check_shape("[TrialGiven]", trials, "trials")
end

---@class katib.Finding
---@field path string
---@field message string
---@field severity "error"|"warning"
---@field stage "webhook"|"run" webhook: the real one refuses it; run: it lets it pass and it fails, or surprises, later

---The experiment as Katib's webhook stores it: with defaults, without fields that it does not know.
---@param experiment table
---@return table
function M.default(experiment)
  argument.check("katib.default", 1, experiment, "table")
  return (require "katib.defaults".experiment(experiment))
end

-- What makes the defaulting webhook refuse; it says one thing only, and no path.
local function refused_early(experiment, found)
  local go = require "katib.go"
  local spec = (experiment.spec.trialTemplate or {}).trialSpec
  local message = found.wrong[1] and found.wrong[1].message
  if not message and spec and (type(spec.kind) ~= "string" or spec.kind == "") then
    message = ("Object 'Kind' is missing in '%s'"):format(go.json(spec))
  end
  if not message then return nil end
  local path = found.wrong[1] and found.wrong[1].path or "spec.trialTemplate.trialSpec"
  return { {
    path = path, message = message, severity = "error", stage = "webhook", whole = true, webhook = "defaulter",
  } }
end

---Judges an experiment: first what the webhooks refuse, in their words, then what only we find.
---@param experiment table as written
---@param options {old: table?, config: table?, config_maps: table?, others: table[]?, namespace: table?}?
---  old: before an update; config: what katib-config names; others: experiments of the cluster
---@return katib.Finding[]
function M.validate(experiment, options)
  argument.check("katib.validate", 1, experiment, "table")
  argument.check("katib.validate", 2, options, "table", "nil")
  check_metadata(experiment)
  options = options or {}
  local complete, found = require "katib.defaults".experiment(experiment)
  local findings = refused_early(complete, found)
  if not findings then
    local old = options.old and M.default(options.old)
    findings = require "katib.webhook".validate(complete, {
      old = old, config = options.config, config_maps = options.config_maps,
    })
  end
  local ours = require "katib.lint".check(complete, found, options)
  table.move(ours, 1, #ours, #findings + 1, findings)
  return findings
end

---The text with which the API server refuses the experiment, or nil when it lets it pass.
---@param findings katib.Finding[] of katib.validate
---@return string?
function M.denial(findings)
  local refused, by = {}, "validator"
  for _, finding in ipairs(findings) do
    if finding.stage == "webhook" then refused[#refused + 1] = finding end
    by = finding.webhook or by
  end
  if #refused == 0 then return nil end
  return ('admission webhook "%s.experiment.katib.kubeflow.org" denied the request: %s'):format(by,
    require "katib.webhook".denial(refused))
end

---Fills the experiment's trial template in.
---@param experiment table
---@param options {trial: string, assignments: {name: string, value: string}[], namespace: string?, config_maps: table?}
---@return table object # raises "Template"
function M.render(experiment, options)
  check_experiment("katib.render", experiment, "trialTemplate")
  argument.check("katib.render", 2, options, "table")
  check_shape("[Assignment]", options.assignments or {}, "assignments")
  return require "katib.render".render(experiment, options)
end

---Whether a success or failure condition (a GJSON path) holds for an object.
---@param expression string
---@param object table
---@return boolean holds, table? first what made it hold # raises "Condition" for what is not understood
function M.condition(expression, object)
  argument.check("katib.condition", 1, expression, "string")
  return require "katib.gjson".condition(expression, object)
end

---The metrics in a log, as Katib's collector finds them. Without the first name: one entry "unavailable".
---@param text string
---@param names string[] the objective first
---@param options {filters: string[]?, format: "TEXT"|"JSON"|nil}?
---@return {name: string, value: string, timestamp: string}[] metrics, boolean unavailable # raises "Metrics", "Regex"
function M.metrics(text, names, options)
  argument.check("katib.metrics", 1, text, "string")
  argument.check("katib.metrics", 2, names, "table")
  argument.check("katib.metrics", 3, options, "table", "nil")
  if options and type(options.filters or {}) ~= "table" then
    argument.refuse("katib.metrics", 3, "list of filters", options.filters, 2)
  end
  return require "katib.metrics".parse(text, names, options)
end

---The metrics in the event files of TensorFlow below a directory, as Katib's collector for those finds them.
---@param directory string
---@param names string[] the objective first; "folder/name" where the file's folder matters
---@param on_problem fun(text: string)? hears of each file that cannot be read to its end
---@return {name: string, value: string, timestamp: string}[] metrics, boolean unavailable
function M.events(directory, names, on_problem)
  argument.check("katib.events", 1, directory, "string")
  argument.check("katib.events", 2, names, "table")
  return require "katib.events".metrics(directory, names, on_problem)
end

---What metrics become in a trial's status.
---@param metrics {name: string, value: string, timestamp: string}[]
---@param names string[]
---@return {name: string, min: string, max: string, latest: string}[]
function M.observation(metrics, names)
  return require "katib.metrics".observation(metrics, names)
end

---The best of the trials (API objects, or {name, state, value, assignments}).
---@param experiment table
---@param trials table[]
---@return {name: string, value: number?, assignments: table[], metrics: table[]}? # nil when none has a value
function M.best(experiment, trials)
  check_experiment("katib.best", experiment, "objective")
  check_trials("katib.best", trials)
  return require "katib.status".best(experiment, trials)
end

---What the controller does next: how many trials to create or delete, or why the experiment is over.
---@param experiment table
---@param trials table[]
---@return {condition: string, reason: string, message: string, create: integer, delete: integer, counts: table}
function M.next(experiment, trials)
  check_experiment("katib.next", experiment, "objective")
  check_trials("katib.next", trials)
  return require "katib.status".next(experiment, trials)
end

---The next values to try. Algorithms: random, grid, sobol, tpe, multivariate-tpe, cmaes, bayesianoptimization,
---hyperband. The state is plain data; without one, the trials count as those that were suggested.
---@param experiment table
---@param trials table[]
---@param n integer
---@param options {seed: integer?, state: table?}?
---@return {name: string, value: string}[][] suggestions, table state # raises "Space", "Unsupported"
function M.suggest(experiment, trials, n, options)
  check_experiment("katib.suggest", experiment)
  check_trials("katib.suggest", trials)
  if not math.tointeger(n) or n < 0 then argument.refuse("katib.suggest", 3, "count", n, 2) end
  argument.check("katib.suggest", 4, options, "table", "nil")
  return require "katib.suggest".suggest(experiment, trials, n, options)
end

---The early-stopping rules for the next trial.
---@param experiment table
---@param trials table[] each with history = {{name, value, timestamp}…}
---@return {name: string, value: string, comparison: string, startStep: integer}[]
function M.stop_rules(experiment, trials)
  check_experiment("katib.stop_rules", experiment)
  check_trials("katib.stop_rules", trials)
  return require "katib.status".stop_rules(experiment, trials)
end

---Experiments in a cluster; see katib.client.
---@param options {client: table?, context: string?, namespace: string?, database: string|function|nil,
---  ui: string|table|nil}?
---@return table client
function M.connect(options)
  return require "katib.client".connect(options)
end

M.try = errors.try(M)

return M
