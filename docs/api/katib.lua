---@meta katib
-- Katib: judges experiments, fills trial templates in, reads metrics, suggests values, decides what comes next;
-- and the client of one. All else are pure functions. Trials are API objects, or {name, state, value, assignments}
-- for short. katib.try.NAME returns nil and the error instead of raising.

local katib = {}

---@class katib.Finding
---@field path string
---@field message string
---@field severity "error"|"warning"
---@field stage "webhook"|"run" webhook: the real one refuses it, in these words; run: only we find it

---Judges an experiment as written. Options: old (before an update), config (what katib-config names:
---suggestions, early_stoppings, collectors, kinds), config_maps (data by "namespace/name"), others (experiments
---of the cluster), namespace (the Namespace object).
---@param experiment table
---@param options table?
---@return katib.Finding[]
function katib.validate(experiment, options) end
---@param findings katib.Finding[]
---@return string? # the text with which the API server refuses it
function katib.denial(findings) end
---@param experiment table
---@return table # with defaults, without fields that Katib does not know
function katib.default(experiment) end

---@param experiment table
---@param options {trial: string, assignments: {name: string, value: string}[], namespace: string?, config_maps: table?}
---@return table object of the trial # raises "Template"
function katib.render(experiment, options) end

---@param expression string a GJSON path
---@param object table
---@return boolean holds, table? first what made it hold # raises "Condition"
function katib.condition(expression, object) end

---@param text string
---@param names string[] the objective first
---@param options {filters: string[]?, format: "TEXT"|"JSON"|nil}?
---@return {name: string, value: string, timestamp: string}[] metrics, boolean unavailable # raises "Metrics", "Regex"
function katib.metrics(text, names, options) end
---The metrics in the event files of TensorFlow below a directory. What cannot be read to its end counts as far as that.
---@param directory string
---@param names string[] the objective first; "folder/name" where the file's folder matters
---@param on_problem fun(text: string)? hears of each file with an error, with the byte where it is
---@return {name: string, value: string, timestamp: string}[] metrics, boolean unavailable
function katib.events(directory, names, on_problem) end
---@param metrics {name: string, value: string, timestamp: string}[]
---@param names string[]
---@return {name: string, min: string, max: string, latest: string}[]
function katib.observation(metrics, names) end

---@param experiment table
---@param trials table[]
---@return {name: string, value: number?, assignments: table[], metrics: table[]}? # nil when none has a value
function katib.best(experiment, trials) end
---@param experiment table
---@param trials table[]
---@return {condition: string, reason: string, message: string, create: integer, delete: integer, counts: table}
function katib.next(experiment, trials) end
---The next values to try: by random, grid, sobol, tpe, multivariate-tpe, cmaes, bayesianoptimization (GP) or
---hyperband. The state is plain data (JSON); without one, all trials count as suggested. Fewer than n come only
---when the algorithm is at its end.
---@param experiment table
---@param trials table[] in the order in which they were made
---@param n integer
---@param options {seed: integer?, state: table?}? the seed: the setting random_state, or 0
---@return {name: string, value: string}[][] suggestions, table state # raises "Space", "Unsupported"
function katib.suggest(experiment, trials, n, options) end
---@param experiment table
---@param trials table[] each with history = {{name, value, timestamp}, …}
---@return {name: string, value: string, comparison: string, startStep: integer}[] of medianstop
function katib.stop_rules(experiment, trials) end

---@class katib.Client
local Client = {}
---@param name string
---@return table
function Client:get(name) end
---@return table[]
function Client:list() end
---Creates an experiment, unless something is wrong with it.
---@param experiment table
---@param options {unchecked: boolean?, everywhere: boolean?}? everywhere: look for the name in all namespaces, too
---@return table experiment, katib.Finding[] warnings # raises "Experiment" with `findings`
function Client:create(experiment, options) end
---@param name string
---@param options table? see kube
function Client:delete(name, options) end
---@param name string
---@param most integer the new maxTrialCount
---@return table # raises "Experiment" when Katib would not restart it
function Client:resume(name, most) end
---Ends an experiment soon: one more trial begins, those that run come to their end.
---@param name string
---@return table
function Client:stop(name) end
---@param name string
---@return table[] rows {name, state, values, metrics, objective, started, ended, trial}, oldest first
function Client:trials(name) end
---@param trial string
---@param metric string?
---@return {name: string, value: string, timestamp: string}[] from the database manager, or the web interface, which
---  shows one value a second
function Client:history(trial, metric) end
---@param name string
---@param options {timeout: number|string|nil, on_change: fun(rows: table[], experiment: table)?}?
---@return table experiment, {type: string, reason: string, message: string} condition # raises "Timeout"
function Client:wait(name, options) end

---Experiments in a cluster.
---@param options {client: table?, context: string?, namespace: string?, database: string|function|nil,
---  ui: string|table|nil}? client: of kube.connect; database: "host:port" of the database manager; ui: from outside the
---  cluster, the address of Kubeflow before "/katib/", or a table with it as `endpoint` and what kfp.connect takes to
---  log in: token_file | token | cookie | user | dex
---@return katib.Client
function katib.connect(options) end

return katib
