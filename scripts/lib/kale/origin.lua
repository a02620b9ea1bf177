-- kale.origin: which cell of the notebook a place in a compiled pipeline comes from.
-- Not for pipelines that were made otherwise: they have no cells.
--   origin.of(ir)("root.dag.tasks.train.inputs") --> { step = "train", cell = 4, line = 1 }

local hash = require "hash"
local inflate = require "kale.inflate"
local json = require "json"

local M = {}

-- What a step's program knows of itself: the words after its point. A pipeline may be broken anywhere.
local function specification(ir, name)
  local ok, spec = pcall(function()
    local words = ir.deploymentSpec.executors[name].container.args
    return json.decode(inflate.zlib(hash.unbase64(table.concat(words, "", 2):match "%.(.*)$")))
  end)
  return ok and type(spec) == "table" and spec.step and spec or nil
end

local function place_of(spec)
  local first = (spec.code or {})[1] or (spec.setup or {})[1]
  return first and { step = spec.step, cell = first.cell, line = first.line } or nil
end

-- Names of executors by those of components, and of components by those of tasks.
local function executor_of(ir, path)
  local executor = path:match "^deploymentSpec%.executors%.([^.%[]+)"
  if executor then return executor end
  local component = path:match "^components%.([^.%[]+)"
  local task = path:match "%.?tasks%.([^.%[]+)"
  if task then
    local holder = component and (ir.components or {})[component] or ir.root
    local found = holder and holder.dag and holder.dag.tasks and holder.dag.tasks[task]
    component = found and found.componentRef and found.componentRef.name
  end
  local known = component and (ir.components or {})[component]
  return known and known.executorLabel
end

---Finds places.
---@param ir table a pipeline
---@return fun(path: string): {step: string, cell: integer, line: integer}?
function M.of(ir)
  local known = {}
  return function(path)
    local ok, name = pcall(executor_of, ir, path)
    if not ok or type(name) ~= "string" then return nil end
    if known[name] == nil then
      local spec = specification(ir, name)
      known[name] = spec and place_of(spec) or false
    end
    return known[name] or nil
  end
end

return M
