-- kale.tune_report: what a tuned notebook's experiment came to, as one HTML file: the best trial, the objective by
-- trial, parallel coordinates, which parameter mattered, each trial's curve.
-- Not for a single run (kale.report).
--   fs.write(path, report.render(experiment, trials, { histories = { [name] = metrics } }))
local chart = require "graph.chart"
local page = require "kale.page"
local status = require "katib.status"
local times = require "kube.time"

local M = {}

local LONGEST_CURVES = 24 -- more would hide each other

-- --- what the trials came to --------------------------------------------------------------------------------

---@class kale.TuneRow
---@field name string
---@field state string
---@field values table<string, string>
---@field objective number?
---@field seconds number?
---@field metrics {name: string, latest: string}[]

local function seconds_between(from, to)
  local a, b = from and times.parse(from), to and times.parse(to)
  return a and b and b - a or nil
end

---The trials in the order of their beginning, with their real values.
---@param experiment table
---@param trials table[]
---@param choices table? real values by parameter and code
---@return kale.TuneRow[]
function M.rows(experiment, trials, choices)
  local rows = {}
  for i, trial in ipairs(trials) do
    local now = trial.status or {}
    rows[i] = { name = status.name(trial), state = status.state(trial),
      metrics = now.observation and now.observation.metrics or {},
      values = require "kale.trials".values(trial, choices), objective = tonumber(status.objective(experiment, trial)),
      seconds = seconds_between(now.startTime, type(now.completionTime) == "string" and now.completionTime or nil) }
  end
  return rows
end

local function is_better(experiment, a, b)
  if experiment.spec.objective.type == "minimize" then return a < b end
  return a > b
end

-- --- importance ---------------------------------------------------------------------------------------------

-- Groups of like values: words by themselves, numbers in up to five of like size.
local function groups_of(rows, name)
  local numeric, list = true, {}
  for _, row in ipairs(rows) do
    if row.objective and row.values[name] then
      numeric = numeric and tonumber(row.values[name]) ~= nil
      list[#list + 1] = row
    end
  end
  if numeric then table.sort(list, function(a, b) return tonumber(a.values[name]) < tonumber(b.values[name]) end) end
  local groups, distinct = {}, {}
  for _, row in ipairs(list) do distinct[row.values[name]] = true end
  local count = 0
  for _ in pairs(distinct) do count = count + 1 end
  local bins = math.max(2, math.min(5, #list // 2))
  for i, row in ipairs(list) do
    local key = (not numeric or count <= bins) and row.values[name] or math.ceil(i / #list * bins)
    groups[key] = groups[key] or {}
    table.insert(groups[key], row.objective)
  end
  return groups
end

local function mean(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum / #list
end

-- The part of the objective's variance that lies between groups of like values, less what chance would put there.
local function explained(rows, name)
  local groups, all, count = groups_of(rows, name), {}, 0
  for _, list in pairs(groups) do
    table.move(list, 1, #list, #all + 1, all)
    count = count + 1
  end
  if #all <= count or count < 2 then return 0 end
  local centre, between, total = mean(all), 0, 0
  for _, list in pairs(groups) do between = between + #list * (mean(list) - centre) ^ 2 end
  for _, value in ipairs(all) do total = total + (value - centre) ^ 2 end
  if total == 0 then return 0 end
  return math.max(0, 1 - (1 - between / total) * (#all - 1) / (#all - count))
end

---How much of the objective's variance each parameter explains by itself.
---@param rows kale.TuneRow[]
---@param names string[]
---@return {name: string, share: number}[] the greatest first
function M.importance(rows, names)
  local list = {}
  for i, name in ipairs(names) do list[i] = { name = name, share = explained(rows, name) } end
  table.sort(list, function(a, b) return a.share > b.share or a.share == b.share and a.name < b.name end)
  return list
end

-- --- sections -----------------------------------------------------------------------------------------------

local function parameter_names(experiment)
  local names = {}
  for i, one in ipairs(experiment.spec.parameters) do names[i] = one.name end
  return names
end

local function best_of(experiment, rows)
  local best
  for _, row in ipairs(rows) do
    if row.objective and (not best or is_better(experiment, row.objective, best.objective)) then best = row end
  end
  return best
end

-- A value as people read it: of a number with many digits the first.
local function brief(text)
  local number = tonumber(text)
  return #(text or "") > 9 and number and ("%.6g"):format(number) or text or ""
end

local function best_section(experiment, best)
  if not best then return page.section("Best trial", '<div class="soft">no trial has reported the objective</div>') end
  local rows = { { experiment.spec.objective.objectiveMetricName, chart.number(best.objective) } }
  for _, name in ipairs(parameter_names(experiment)) do rows[#rows + 1] = { name, brief(best.values[name]) } end
  for _, metric in ipairs(best.metrics) do
    local value = metric.name ~= experiment.spec.objective.objectiveMetricName and tonumber(metric.latest)
    if value then rows[#rows + 1] = { metric.name, chart.number(value) } end
  end
  return page.section("Best trial", ('<div class="soft">%s</div>'):format(page.escape(best.name))
    .. page.table({ "", "" }, rows))
end

local BEST, OTHERS = "#2e9e5b", "#a3acba"
local STATE_COLOURS = { Failed = "#d33d3d", EarlyStopped = "#d9a22f", MetricsUnavailable = "#d33d3d" }

local function curve_section(experiment, rows)
  local points, bests, best = {}, {}, nil
  local stopped = false
  for i, row in ipairs(rows) do
    if row.objective then
      stopped = stopped or row.state == "EarlyStopped"
      if not best or is_better(experiment, row.objective, best) then best = row.objective end
      points[#points + 1] = { i, row.objective, colour = STATE_COLOURS[row.state],
        title = ("%s: %s, %s"):format(row.name, chart.number(row.objective), row.state) }
      bests[#bests + 1] = { i, best }
    end
  end
  if #points == 0 then return "" end
  local name = experiment.spec.objective.objectiveMetricName
  return page.section("Objective by trial", chart.lines({ { name = "trial", points = points, dots = true },
    { name = "best so far", points = bests, steps = true },
    stopped and { name = "stopped early", points = {}, colour = STATE_COLOURS.EarlyStopped } or nil },
    { x = "trial", y = name, whole = true }))
end

local function parallel_section(experiment, rows)
  local names, low, high = parameter_names(experiment), math.huge, -math.huge
  for _, row in ipairs(rows) do
    if row.objective then low, high = math.min(low, row.objective), math.max(high, row.objective) end
  end
  local lines = {}
  for _, row in ipairs(rows) do
    if row.objective then
      local share = high > low and (row.objective - low) / (high - low) or 1
      if experiment.spec.objective.type == "minimize" and high > low then share = 1 - share end
      local values = {}
      for i, name in ipairs(names) do values[i] = row.values[name] end
      values[#names + 1] = row.objective
      lines[#lines + 1] = { values = values, share = share, title = row.name }
    end
  end
  if #lines == 0 then return "" end
  local axes, by_size = table.move(names, 1, #names, 1, {}), {}
  axes[#axes + 1] = experiment.spec.objective.objectiveMetricName
  for _, one in ipairs(experiment.spec.parameters) do
    by_size[one.name] = ((one.feasibleSpace or {}).distribution or ""):find "^log" ~= nil
  end
  return page.section("Parallel coordinates", chart.parallel(axes, lines, by_size))
end

local function importance_section(experiment, rows)
  return page.section("Importance of parameters", chart.bars(M.importance(rows, parameter_names(experiment)))
    .. '<div class="soft">the part of the objective\'s variance that a parameter explains by itself</div>')
end

local function trials_section(experiment, rows, best)
  local names = parameter_names(experiment)
  local header, lines = { "trial", "state", experiment.spec.objective.objectiveMetricName }, {}
  table.move(names, 1, #names, 4, header)
  header[#header + 1] = "seconds"
  for i, row in ipairs(rows) do
    -- All names begin with the experiment's.
    local line = { (row.name:gsub("^" .. experiment.metadata.name:gsub("%p", "%%%0") .. "%-", "")), row.state,
      row.objective and chart.number(row.objective) or "",
      class = row == best and "best" or row.state == "Failed" and "failed" or nil }
    for k, name in ipairs(names) do line[3 + k] = brief(row.values[name]) end
    line[#header] = row.seconds and ("%.0f"):format(row.seconds) or ""
    lines[i] = line
  end
  return page.section("Trials", ('<div class="wide brief">%s</div>'):format(page.table(header, lines)))
end

-- The objective within each trial, where it was reported more than once; the best trial's stands out.
local function histories_section(experiment, rows, histories, best)
  local name, list, top = experiment.spec.objective.objectiveMetricName, {}, nil
  for _, row in ipairs(rows) do
    local points = {}
    for _, metric in ipairs(histories and histories[row.name] or {}) do
      local value = tonumber(metric.value)
      if metric.name == name and value then points[#points + 1] = { #points + 1, value } end
    end
    local curve = { name = row.name, points = points, unnamed = true, colour = STATE_COLOURS[row.state] or OTHERS }
    if #points > 1 and row == best then
      curve.title, curve.name, curve.unnamed, curve.colour, top = row.name, "best trial", nil, BEST, curve
    elseif #points > 1 and #list < LONGEST_CURVES then list[#list + 1] = curve end
  end
  list[#list + 1] = top
  if #list == 0 then return "" end
  return page.section("Within the trials", chart.lines(list, { x = "report", y = name, whole = true }))
end

---@param experiment table
---@param trials table[]
---@param options {histories: table<string, table[]>?, choices: table?, notebook: string?}?
---@return string html
function M.render(experiment, trials, options)
  options = options or {}
  local rows = M.rows(experiment, trials, options.choices)
  local best = best_of(experiment, rows)
  local conditions = experiment.status and experiment.status.conditions or {}
  local last = conditions[#conditions] or { type = "Created", message = "" }
  return page.render(("%s: %s"):format(experiment.metadata.name, last.type), {
    ('<h1>%s <span class="%s">%s</span></h1><div class="soft">%s · %s %s by %s · %s</div>'):format(
      page.escape(experiment.metadata.name), last.type:lower(), last.type, page.escape(options.notebook or ""),
      page.escape(experiment.spec.objective.type), page.escape(experiment.spec.objective.objectiveMetricName),
      page.escape(experiment.spec.algorithm.algorithmName), page.escape(last.message or "")),
    best_section(experiment, best), curve_section(experiment, rows), parallel_section(experiment, rows),
    importance_section(experiment, rows), histories_section(experiment, rows, options.histories, best),
    trials_section(experiment, rows, best),
  })
end

return M
