-- Which steps of a notebook run: all, from one on, or one alone; the others are taken from earlier runs.
-- Not for what is taken because nothing changed: that is the runner's cache.
--   local choose = choice.new(plan, keys, runs, { from = "train" })
local errors = require "errors"
local fs = require "fs"

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

-- The folder of the newest earlier run in which a step ended well.
local function earlier(runs, key)
  for _, path in ipairs(runs) do
    local folder = fs.join(path, key)
    if fs.exists(fs.join(folder, ".done")) then return folder end
  end
  return nil
end

---@param plan table of kale.plan
---@param keys table<string, string> tasks by steps
---@param runs string[] folders of the notebook's earlier runs, the newest first
---@param wanted {from: string?, only: string?}
---@return (fun(task: string): string, string?)? choose for kfp.run; nil when everything runs
---  raises "Usage" for a step that is not there, or that needs one which never ran
function M.new(plan, keys, runs, wanted)
  if not wanted.from and not wanted.only then return nil end
  if wanted.from and wanted.only then usage "either --from or --only" end
  local first = find_step(plan, wanted.from or wanted.only)
  local chosen = wanted.from and followers(plan, first) or { [first.name] = true }
  local choices = {}
  for _, step in ipairs(plan.steps) do
    if chosen[step.name] then
      choices[keys[step.name]] = { "fresh" }
      for _, name in ipairs(step.after) do
        if not chosen[name] and not choices[keys[name]] then
          local folder = earlier(runs, keys[name])
          if not folder then usage("step '%s' needs '%s', which has not run here yet", step.name, name) end
          choices[keys[name]] = { "reuse", folder }
        end
      end
    end
  end
  return function(task)
    local choice = choices[task] or { "skip" }
    return choice[1], choice[2]
  end
end

return M
