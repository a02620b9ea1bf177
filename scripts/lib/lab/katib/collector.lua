-- lab.katib.collector: the program of Katib's metrics collectors: waits for the training of its pod to end, reads its
-- file, reports to the database; stops the training early when its rules say so.
-- Not Katib's own: it takes the same arguments, finds the training as that does, and ends with the same codes.
--   file-metricscollector -t demo-x1 -m "acc;loss" -o-type maximize -s-db HOST:PORT -path /var/log/katib/metrics.log
--
-- Exit codes: 0 reported; 255 the training left no mark, or what it says cannot be read or reported.

local errors = require "errors"
local fs = require "fs"
local katib = require "katib"
local processes = require "lab.katib.processes"
local task = require "task"

local M = {}

local PAUSE = 0.1 -- between looks at the file and at the processes
local GRACE = 60 -- seconds for a stopped training to end
local STOPPED, COMPLETED = "early-stopped", "completed"
local FATAL = 255

-- --- its arguments ------------------------------------------------------------------------------------------

local function split(text)
  local list = {}
  for part in (text or ""):gmatch "[^;]+" do list[#list + 1] = part end
  return list
end

local function rule_of(text)
  local metric, limit, comparison, start = text:match "^(.*);(.*);(.*);(%d+)$"
  if not metric then error("Invalid Early Stopping rule: " .. text, 0) end
  return { name = metric, value = tonumber(limit), comparison = comparison,
    left = tonumber(start) > 0 and tonumber(start) or nil }
end

-- As Go's flags: one dash or two, the value behind a "=" or as the next word.
local function parse(words)
  local options, rules, i = {}, {}, 1
  while i <= #words do
    local name, value = words[i]:match "^%-%-?([^=]+)=?(.*)$"
    if not name then break end
    if not words[i]:find("=", 1, true) then i, value = i + 1, words[i + 1] or "" end
    if name == "stop-rule" then rules[#rules + 1] = rule_of(value) else options[name] = value end
    i = i + 1
  end
  options.rules, options.names = rules, split(options.m)
  options.filters = options.f and options.f ~= "" and split(options.f) or nil
  options.waits_for_all = (options.w or "true"):lower() == "true"
  return options
end

local function say(letter, format, ...)
  io.stderr:write(letter, os.date "!%m%d %H:%M:%S ", format:format(...), "\n")
end

-- --- stopping early -----------------------------------------------------------------------------------------

local HITS = {
  equal = function(a, b) return a == b end, less = function(a, b) return a < b end,
  greater = function(a, b) return a > b end,
}

-- Of the objective its best value counts; a rule with a start step is looked at once, at that step.
local function meets(rule, value, options, best)
  if rule.name == options.names[1] then
    local sign = options["o-type"] == "minimize" and -1 or 1
    if not best.value or sign * value > sign * best.value then best.value = value end
    value = best.value
  end
  if rule.left then
    rule.left = rule.left - 1
    if rule.left ~= 0 then return false end
  end
  return HITS[rule.comparison](value, rule.value)
end

-- Takes the rules out that new lines meet; true when none is left.
local function apply(text, options, best)
  local metrics = katib.metrics(text, options.names, { filters = options.filters, format = options.format })
  for _, one in ipairs(metrics) do
    local value = tonumber(one.value)
    for i = #options.rules, 1, -1 do
      if value and options.rules[i].name == one.name and meets(options.rules[i], value, options, best) then
        table.remove(options.rules, i)
      end
    end
  end
  return #options.rules == 0
end

-- --- the report ---------------------------------------------------------------------------------------------

-- A pod without a network of its own reaches services through a proxy.
local function proxy() return os.getenv "http_proxy" end

-- What the training wrote; text of an error when that cannot be had.
local function read_metrics(options)
  if options.reads_events then
    return katib.events(options.path, options.names, function(problem) say("W", "%s", problem) end)
  end
  local text, problem = fs.try.read(options.path)
  if not text then error("Failed to collect logs: " .. problem.message, 0) end
  return (katib.metrics(text, options.names, { filters = options.filters, format = options.format }))
end

local function report(options)
  local metrics = read_metrics(options)
  require "katib.database".connect(options["s-db"], { proxy = proxy() }):report(options.t, metrics)
  say("I", "Metrics reported: %d", #metrics)
end

local function tell_stopped(options)
  local client <close> = require "grpc".connect { address = options["s-earlystop"], proxy = proxy() }
  local Stop = require "grpc.proto".message { trial_name = { 1, "string" } }
  client:call("/api.v1.beta1.EarlyStopping/SetTrialStatus", Stop:encode { trial_name = options.t }, { timeout = "60s" })
  say("I", "Trial status is successfully updated")
end

-- --- the training -------------------------------------------------------------------------------------------

local function mark_path(options, main) return fs.join(options.directory, ("%d.pid"):format(main.pid)) end

local function wait_until(seconds, done)
  local deadline = task.now() + seconds
  while not done() and task.now() < deadline do task.sleep(PAUSE) end
end

local function stop(options, main)
  say("I", "Training container is early stopped")
  fs.write(mark_path(options, main), STOPPED)
  local children = main:children()
  if #children ~= 1 then
    error(("Multiple children processes are not supported. Children processes: %d"):format(#children), 0)
  end
  processes.terminate(children[1])
  report(options)
  wait_until(GRACE, function() return not main:is_running() end)
  tell_stopped(options)
end

-- New whole lines of the file since the last look.
local function reader(path)
  local seen = 0
  return function()
    local text = fs.try.read(path) or ""
    local last = text:match "^.*()\n" or 0
    local new = text:sub(seen + 1, last)
    seen = math.max(seen, last)
    return new
  end
end

-- Prints what comes until the training ends, or a rule stops it. Returns whether one did.
local function follow(options, main)
  local has_rules, best = #options.rules > 0, {}
  local more = options.reads_events and function() return "" end or reader(options.path)
  local running
  repeat
    running = main ~= nil and main:is_running()
    local new = more()
    for line in new:gmatch "[^\n]+" do say("I", "%s", line) end
    if has_rules and new ~= "" and apply(new, options, best) and running then return true end
    if running then task.sleep(PAUSE) end
  until not running
  return false
end

-- A training that was over before it was looked for is known by the mark that it left.
local function was_completed(directory)
  for _, name in ipairs(fs.try.list(directory) or {}) do
    local text = name:find "%.pid$" and fs.try.read(fs.join(directory, name))
    if text and text:match "^%s*(.-)%s*$" == COMPLETED then return true end
  end
  return false
end

local function check_mark(options, main)
  local path = mark_path(options, main)
  local text, problem = fs.try.read(path)
  if not text then
    error(("Failed to wait for worker container: training container is failed. Unable to read file %s for pid %d, "
      .. "error: %s"):format(path, main.pid, problem.message), 0)
  end
  local said = text:match "^%s*(.-)%s*$"
  if said ~= COMPLETED and said ~= STOPPED then
    error(("Failed to wait for worker container: unable to find marker: completed in file: %s with contents: %s for "
      .. "pid: %d"):format(path, text, main.pid), 0)
  end
end

local function wait_for(all)
  for _, one in ipairs(all) do
    while one:is_running() do task.sleep(PAUSE) end
  end
end

local function collect(options)
  say("I", "Trial Name: %s", options.t or "")
  local main, all, marked = processes.find(options.directory)
  if not marked and was_completed(options.directory) then
    main = nil
  elseif not main then
    error("Failed to wait for worker container: unable to find main pid from the process list", 0)
  end
  if follow(options, main) then return stop(options, main) end
  if main then check_mark(options, main) end
  if options.waits_for_all then wait_for(all) end
  report(options)
end

---@param words string[] of the command line; the collector of event files is a Python program: main.py comes first
---@return integer exit code
function M.main(words)
  local ok, problem = pcall(function()
    local reads_events = words[1] == "main.py"
    local options = parse(reads_events and { table.unpack(words, 2) } or words)
    options.reads_events = reads_events
    options.path = options.path or ""
    options.directory = reads_events and options.path:gsub("(.)/+$", "%1") or fs.dirname(options.path)
    collect(options)
  end)
  if ok then return 0 end
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  say("F", "%s", errors.text(problem))
  return FATAL
end

return M
