-- doctor: what is wrong with a Kubeflow, from the objects that its cluster has; each finding with its remedy.
-- Not for asking the cluster (doctor.collect), nor for printing (doctor.report). Nothing here writes anything.
--   for _, finding in ipairs(doctor.examine(objects, { now = os.time() })) do print(finding.what) end

local world = require "doctor.world"

local M = {}

---@class doctor.Finding
---@field code string
---@field severity "error"|"warning"
---@field what string what is wrong, with what was seen
---@field where string "Kind namespace/name"
---@field why string why it matters
---@field fix string a command, a policy of ours, or a change of a manifest

-- The rooms of checks: each is a table of functions of the world.
local ROOMS = { "doctor.cluster", "doctor.kfp", "doctor.mesh", "doctor.webhooks", "doctor.katib", "doctor.storage",
  "doctor.namespaces" }

local SEVERITY = { error = 1, warning = 2 }

local function is_before(a, b)
  if a.severity ~= b.severity then return SEVERITY[a.severity] < SEVERITY[b.severity] end
  if a.code ~= b.code then return a.code < b.code end
  if a.where ~= b.where then return a.where < b.where end
  return a.what < b.what
end

-- What several checks, or several objects of one owner, say in the same words is said once.
local function unique(findings)
  local kept, seen = {}, {}
  for _, finding in ipairs(findings) do
    local key = finding.code .. "\0" .. finding.where .. "\0" .. finding.what
    if not seen[key] then kept[#kept + 1] = finding end
    seen[key] = true
  end
  return kept
end

---What is wrong.
---@param objects table[] of one cluster
---@param options {now: number?, namespace: string?, version: table?, refused: table[]?}? now: seconds since 1970;
---  namespace: only what concerns it; version: what /version answers; refused: kinds that could not be read
---@return doctor.Finding[] sorted: errors first
function M.examine(objects, options)
  options = options or {}
  local seen = world.new(objects, options)
  for _, room in ipairs(ROOMS) do
    for _, check in pairs(require(room)) do check(seen) end
  end
  local findings = {}
  for _, finding in ipairs(seen.findings) do
    local elsewhere = options.namespace and finding.namespace and finding.namespace ~= options.namespace
    if not elsewhere then findings[#findings + 1] = finding end
  end
  table.sort(findings, is_before)
  return unique(findings)
end

return M
