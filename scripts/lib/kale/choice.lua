-- Which steps of a notebook run: all, from one on, or one alone; the others are taken from earlier runs.
-- Not for what is taken because nothing changed: that is the runner's cache.
--   local choose = choice.new(plan, keys, runs, { from = "train" })
local errors = require "errors"
local fs = require "fs"
local history = require "kale.history"

local M = {}

local function usage(message, ...) errors.raise { code = "Usage", message = message:format(...) } end

local function find_step(plan, name)
  local names = {}
  for i, step in ipairs(plan.steps) do
    if step.name == name then return step end
    names[i] = step.name
  end
  return usage("there is no step '%s'; there are %s", name, table.concat(names, ", "))
end

-- The steps that come after one, and itself. Steps stand in an order in which they can run.
local function followers(plan, first)
  local set = { [first.name] = true }
  for _, step in ipairs(plan.steps) do
    for _, name in ipairs(step.after) do
      if set[name] then set[step.name] = true end
    end
  end
  return set
end

-- The tasks that a run took from another one, whatever its own parameters were.
local function taken_in(run)
  local record, names = history.record(run), {}
  for _, task in ipairs(record and record.tasks or {}) do names[task.name] = task.taken end
  return names
end

-- The folder of the newest earlier run in which a step ended well; of one that took it only when there is no other.
-- known: what runs took, as far as it was read.
local function earlier(runs, key, known)
  local taken
  for _, path in ipairs(runs) do
    local folder = fs.join(path, key)
    if fs.exists(fs.join(folder, ".done")) then
      known[path] = known[path] or taken_in(path)
      if not known[path][key] then return folder end
      taken = taken or folder
    end
  end
  return taken
end

-- The parameters that decide what a step made: its own, and those of all steps before it.
local function parameters_of(plan, name)
  local wanted, found = { [name] = true }, {}
  for i = #plan.steps, 1, -1 do
    local step = plan.steps[i]
    for _, other in ipairs(wanted[step.name] and step.after or {}) do wanted[other] = true end
    for _, parameter in ipairs(wanted[step.name] and step.params or {}) do found[#found + 1] = parameter end
  end
  table.sort(found)
  return found
end

---What is to be said of a step that is taken from an earlier run: parameters that were others there.
---@param plan table of kale.plan
---@param name string of the step
---@param folder string of the step in that run
---@param params table<string, any> of this run
---@return string?
function M.differences(plan, name, folder, params)
  local record = history.record(fs.dirname(folder))
  local texts, last = {}, nil
  for _, parameter in ipairs(record and parameters_of(plan, name) or {}) do
    local was, is = record.params[parameter], params[parameter]
    if was ~= is and was ~= nil and is ~= nil and parameter ~= last then
      texts[#texts + 1] = ("%s was %s"):format(parameter, tostring(was))
      last = parameter
    end
  end
  if #texts == 0 then return nil end
  return ("taken from %s, where %s"):format(fs.basename(fs.dirname(folder)), table.concat(texts, ", "))
end

---@param plan table of kale.plan
---@param keys table<string, string> tasks by steps
---@param runs string[] folders of the notebook's earlier runs, the newest first
---@param wanted {from: string?, only: string?}
---@return (fun(task: string): string, string?)? choose for kfp.run; nil when everything runs
---@return table<string, string>? reused folders of what is taken, by step
---  raises "Usage" for a step that is not there, or that needs one which never ran
function M.new(plan, keys, runs, wanted)
  if not wanted.from and not wanted.only then return nil end
  if wanted.from and wanted.only then usage "either --from or --only" end
  local first = find_step(plan, wanted.from or wanted.only)
  local chosen = wanted.from and followers(plan, first) or { [first.name] = true }
  local choices, reused, known = {}, {}, {}
  for _, step in ipairs(plan.steps) do
    if chosen[step.name] then
      choices[keys[step.name]] = { "fresh" }
      for _, name in ipairs(step.after) do
        if not chosen[name] and not choices[keys[name]] then
          local folder = earlier(runs, keys[name], known)
          if not folder then usage("step '%s' needs '%s', which has not run here yet", step.name, name) end
          choices[keys[name]], reused[name] = { "reuse", folder }, folder
        end
      end
    end
  end
  return function(task)
    local choice = choices[task] or { "skip" }
    return choice[1], choice[2]
  end, reused
end

return M
