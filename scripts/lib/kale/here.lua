-- What a notebook asks of a cluster that this machine has not, told before a local run, each at its cell.
-- Not for what is wrong with the notebook: see kale.plan.
--   local list = here.findings(plan, { secrets = secrets.new { db = "db.env" } })
local diagnostics = require "kale.diagnostics"
local fs = require "fs"
local mounts = require "kfp.mounts"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local function missing_secrets(step, secrets, report)
  for _, variable in ipairs(sorted_keys(step.options.secrets)) do
    local secret = step.options.secrets[variable]
    local values = secrets[secret.name]
    if values and not values[secret.key] then
      report("secret-key", { cell = step.cells[1], name = secret.name, key = secret.key, variable = variable })
    elseif not values and not os.getenv(variable) then
      report("secret-not-here", { cell = step.cells[1], name = secret.name, key = secret.key, variable = variable })
    end
  end
end

-- The paths at which a step finds volumes.
local function volume_paths(plan, step)
  local paths = {}
  for path in pairs(step.options.volumes) do paths[path] = true end
  for _, volume in ipairs(plan.metadata.mounts or {}) do paths[volume.path] = true end
  return sorted_keys(paths)
end

-- Tags that only a cluster can follow, by the field of the step's options.
local CLUSTER = { limits = "limit", requests = "request", node = "node", labels = "label", annotations = "annotation" }

local function without_effect(step)
  local words = {}
  for _, field in ipairs(sorted_keys(CLUSTER)) do
    for _, key in ipairs(sorted_keys(step.options[field])) do words[#words + 1] = CLUSTER[field] .. ":" .. key end
  end
  return words
end

---@param plan table of kale.plan
---@param options {secrets: table<string, table<string, string>>?, mounts: boolean?} secrets: of kfp.secrets; mounts:
---  whether processes can have mounts of their own, asked of the kernel without it
---@return kale.Diagnostic[]
function M.findings(plan, options)
  local found, seen, words = {}, {}, {}
  local function report(code, fields)
    local d = diagnostics.new(code, fields)
    if seen[d.message] then return end
    found[#found + 1], seen[d.message] = d, true
  end
  for _, step in ipairs(plan.steps) do
    missing_secrets(step, options.secrets or {}, report)
    for _, path in ipairs(volume_paths(plan, step)) do
      local possible, why = options.mounts, "the kernel refuses"
      if possible == nil then possible, why = mounts.are_possible() end
      if not possible then report("volume-not-here", { cell = step.cells[1], path = path, why = why }) end
    end
    for _, word in ipairs(without_effect(step)) do words[word] = true end
  end
  if plan.metadata.security then words["security_context"] = true end
  if next(words) then report("only-in-cluster", { words = table.concat(sorted_keys(words), ", ") }) end
  return found
end

---Reads words NAME=VALUE of a command line, and makes relative paths whole.
---@param words string[]?
---@param usage fun(format: string, ...) raises
---@return table<string, string>? # nil when there are none
function M.paths(words, usage)
  local paths
  for _, word in ipairs(words or {}) do
    local name, path = word:match "^([^=]+)=(.+)$"
    if not name then usage("'%s' is not NAME=PATH", word) end
    paths = paths or {}
    paths[name] = path:sub(1, 1) == "/" and path or fs.join(fs.cwd(), path)
  end
  return paths
end

return M
