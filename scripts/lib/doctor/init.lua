-- doctor: what is wrong with a Kubeflow, from the objects that its cluster has; each finding with its remedy.
-- Not for asking the cluster (doctor.collect), nor for printing (doctor.report). Nothing here writes anything.
--   for _, finding in ipairs(doctor.examine(objects, { now = os.time() })) do print(finding.what) end

local errors = require "errors"
local world = require "doctor.world"

local M = {}

---@class doctor.Finding
---@field code string
---@field severity "error"|"warning"
---@field what string what is wrong, with what was seen
---@field where string "Kind namespace/name"
---@field why string why it matters
---@field fix string what helps; commands and policies of ours stand in backquotes
---@field manifest string? YAML to apply

-- The rooms of checks: each is a table of functions of the world.
local ROOMS = { "doctor.cluster", "doctor.kfp", "doctor.mesh", "doctor.poddefaults", "doctor.webhooks",
  "doctor.katib", "doctor.storage", "doctor.namespaces" }

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
    if finding.more > 0 then
      finding.what = ("%s (and so %d more of its owner)"):format(finding.what, finding.more)
    end
    finding.more = nil
    local key = finding.code .. "\0" .. finding.where .. "\0" .. finding.what
    if not seen[key] then kept[#kept + 1] = finding end
    seen[key] = true
  end
  return kept
end

-- An object that is not as its kind should be spoils one check, not all.
local function run(name, check, seen, broken)
  local ok, problem = pcall(check, seen)
  if ok then return end
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  broken[#broken + 1] = { what = "check " .. name, code = "Check", reason = errors.text(problem) }
end

---What is wrong.
---@param objects table[] of one cluster
---@param options {now: number?, namespace: string?, version: table?, unread: table<string, boolean>?,
---  probe: function?}? now: seconds since 1970; namespace: only what concerns it; version: what /version answers;
---  unread: kinds that could not be read, so that nothing of them is taken for missing; probe: see doctor.probe
---@return doctor.Finding[] sorted: errors first
---@return {what: string, code: string, reason: string}[] checks that an object of a strange shape broke
function M.examine(objects, options)
  options = options or {}
  local seen, broken = world.new(objects, options), {}
  for _, room in ipairs(ROOMS) do
    for name, check in pairs(require(room)) do run(room .. "." .. name, check, seen, broken) end
  end
  local findings = {}
  for _, finding in ipairs(seen.findings) do
    local elsewhere = options.namespace and finding.namespace and finding.namespace ~= options.namespace
    if not elsewhere then findings[#findings + 1] = finding end
  end
  table.sort(findings, is_before)
  return unique(findings), broken
end

---@class doctor.Report
---@field findings doctor.Finding[]
---@field not_checked {what: string, reason: string, code: string}[] what could not be looked at
---@field nothing boolean? not one kind could be looked at
---@field not_installed string[] parts of Kubeflow that this cluster has not
---@field about table server, version and user

---Looks at a cluster. It only reads, and asks who it is.
---@param client table
---@param options {namespace: string?, timeout: number|string|nil, on_kind: function?}? see doctor.collect
---@return doctor.Report
function M.visit(client, options)
  options = options or {}
  local collect = require "doctor.collect"
  local seen = collect.all(client, options)
  local about = collect.about(client, options.timeout)
  local unread = {}
  for _, entry in ipairs(seen.not_checked) do
    unread[entry.kind], entry.kind = true, nil
  end
  local findings, broken = M.examine(seen.objects, { namespace = options.namespace, version = about.version,
    unread = unread, probe = require("doctor.probe").new(client.server) })
  table.move(broken, 1, #broken, #seen.not_checked + 1, seen.not_checked)
  return { findings = findings, not_checked = seen.not_checked, not_installed = seen.not_installed, about = about,
    nothing = seen.nothing }
end

return M
