-- lab.katib.collector: what a metrics collector does in a trial's pod: waits for the training to end, reads its file,
-- reports to the database; stops the training early when its rules say so.
-- Not a program: a lab runs it as a task of its own (lab.node.builtin), since pods there share no processes.
--   builtin = "lab.katib.collector" in lab/images.lua
--
-- Exit codes as the real one's: 0 reported; 1 the training left no mark, or what it says cannot be read.

local errors = require "errors"
local fs = require "fs"
local katib = require "katib"
local pod = require "pod"
local task = require "task"

local M = {}

local PAUSE = 0.1 -- between looks at the file, while there are rules
local GRACE = 60 -- seconds for a stopped training to end
local TERM = 15

-- --- its arguments ------------------------------------------------------------------------------------------

local function parse(words)
  local options = { rules = {} }
  for i = 1, #words, 2 do
    local name, value = words[i], words[i + 1]
    if name == "-stop-rule" then
      local metric, limit, comparison, start = value:match "^(.*);(.*);(.*);(%d+)$"
      options.rules[#options.rules + 1] = { name = metric, value = tonumber(limit), comparison = comparison,
        left = tonumber(start) > 0 and tonumber(start) or nil }
    else
      options[name:sub(2)] = value
    end
  end
  options.names = {}
  for name in (options.m or ""):gmatch "[^;]+" do options.names[#options.names + 1] = name end
  if options.f then
    options.filters = {}
    for filter in options.f:gmatch "[^;]+" do options.filters[#options.filters + 1] = filter end
  end
  return options
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

-- --- the training -------------------------------------------------------------------------------------------

-- The process of the container whose command leaves the mark; else the first other one.
local function find_main(context)
  local first
  for _, container in ipairs(context.pod.spec.containers) do
    local process = context.processes[container.name]
    if container.name ~= context.container.name then
      if not process then return nil end
      first = first or process
      if ((container.args or {})[1] or ""):find("echo completed > ", 1, true) then return process end
    end
  end
  return first
end

local function wait_for_main(context)
  while true do
    local main = find_main(context)
    if main then return main end
    task.sleep(0.02)
  end
end

-- The mark that the wrapper left: a file named by its process, which is gone by now.
local function read_mark(context)
  for _, name in ipairs(fs.list(context.directory)) do
    if name:find "^%d+%.pid$" then return fs.read(fs.join(context.directory, name)):match "^[^\n]*" end
  end
  return nil
end

local function stop(context, main)
  context.say "Training container is early stopped"
  fs.write(fs.join(context.directory, ("%d.pid"):format(main:shell_pid())), "early-stopped")
  local children = main:children()
  if #children ~= 1 then
    context.say(("the training has %d processes below its shell, and one can be ended"):format(#children))
    return false
  end
  pod.kill(children[1], TERM)
  main:wait(GRACE)
  return true
end

-- Reads new lines until a rule stops the training or it ends by itself. Returns whether it was stopped.
local function watch(main, options, path)
  local seen, best = 0, {}
  while not main.finished do
    local text = fs.exists(path) and fs.read(path) or ""
    local last = text:match "^.*()\n" or 0
    if last > seen then
      local new = text:sub(seen + 1, last)
      seen = last
      if apply(new, options, best) then return true end
    end
    main:wait(PAUSE)
  end
  return false
end

-- --- the report ---------------------------------------------------------------------------------------------

local function report(context, options, path)
  local text = fs.exists(path) and fs.read(path) or ""
  for line in text:gmatch "[^\n]+" do context.say(line) end
  local metrics = katib.metrics(text, options.names, { filters = options.filters, format = options.format })
  context.katib.database:report(options.t, metrics)
  context.katib:reported(options.t)
end

local function wait_for_all(context, main, options)
  main:wait()
  if options.w == "false" then return end
  for name, process in pairs(context.processes) do
    if name ~= context.container.name and not process.builtin then process:wait() end
  end
end

local function collect(context, options)
  local main = wait_for_main(context)
  local path = fs.join(context.directory, (options.path or ""):match "[^/]*$")
  if #options.rules > 0 and watch(main, options, path) then
    if not stop(context, main) then return 1 end
    report(context, options, path)
    context.katib:stop_trial(options.t)
    return 0
  end
  wait_for_all(context, main, options)
  local said = read_mark(context)
  if said ~= "completed" and said ~= "early-stopped" then
    context.say "Failed to wait for worker container: the training left no mark in its directory"
    return 1
  end
  report(context, options, path)
  return 0
end

---Collects until the training has ended.
---@param context {cluster: table, pod: table, container: table, directories: table, processes: table,
---  say: fun(line: string)}
---@return integer code of the container
function M.run(context)
  context.katib = context.cluster.katib
  context.directory = context.directories["metrics-volume"]
  local options = parse(context.container.args or {})
  if not context.katib or not context.directory or not options.t then
    context.say "this lab has no Katib, or this pod no metrics volume"
    return 1
  end
  local ok, code = pcall(collect, context, options)
  if ok then return code end
  if errors.is(code, "Cancelled") then error(code, 0) end
  context.say(errors.text(code))
  return 1
end

return M
