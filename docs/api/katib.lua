---@meta katib
-- Katib without a cluster: judges experiments, fills trial templates in, reads metrics, suggests values,
-- decides what comes next. Pure functions. Trials are API objects, or {name, state, value, assignments} for
-- short. katib.try.NAME returns nil and the error instead of raising.

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

return katib
