-- What Istio refuses about one object: the rules in its CRDs and those of its webhook.
-- Not for how objects fit together: see analyze.
--   for _, finding in ipairs(validate.validate(policy)) do print(finding.path, finding.message) end
local M = {}

---@class istio.Checker
---@field findings table[]
local Checker = {}
Checker.__index = Checker

function Checker:error(path, message, ...)
  self:add("error", path, message, ...)
end

function Checker:warning(path, message, ...)
  self:add("warning", path, message, ...)
end

function Checker:add(severity, path, message, ...)
  local text = select("#", ...) > 0 and message:format(...) or message
  self.findings[#self.findings + 1] = { path = path, message = text, severity = severity }
end

-- --- what kinds share ----------------------------------------------------------------------------------------

local function is_list(value)
  return type(value) == "table"
end

---At most one of the ways to choose workloads; no wildcards and no empty keys in labels.
function Checker:targeting(spec)
  local ways = 0
  for _, way in ipairs { "selector", "targetRef", "targetRefs" } do
    if spec[way] ~= nil and (way ~= "targetRefs" or #spec[way] > 0) then ways = ways + 1 end
  end
  if ways > 1 then self:error("spec", "only one of targetRefs or selector can be set") end
  self:labels("spec.selector.matchLabels", (spec.selector or {}).matchLabels)
  for i, target in ipairs(spec.targetRefs or (spec.targetRef and { spec.targetRef }) or {}) do
    local path = ("spec.targetRefs[%d]"):format(i - 1)
    if (target.name or "") == "" then self:error(path .. ".name", "a target needs a name") end
    if target.namespace and target.namespace ~= "" then
      self:error(path .. ".namespace", "cross namespace referencing is not currently supported")
    end
  end
  if #(spec.targetRefs or {}) > 16 then self:error("spec.targetRefs", "at most 16 targets") end
end

function Checker:labels(path, labels)
  for key, value in pairs(labels or {}) do
    if key == "" then self:error(path, "key must not be empty") end
    if tostring(key):find("*", 1, true) or tostring(value):find("*", 1, true) then
      self:error(path, "wildcard not allowed in label match")
    end
    if #tostring(value) > 63 then self:error(path, "value must be at most 63 characters") end
  end
end

function Checker:one_of(path, value, choices)
  if value == nil or value == "" then return end
  for _, choice in ipairs(choices) do
    if value == choice then return end
  end
  self:error(path, "%s is none of %s", tostring(value), table.concat(choices, ", "))
end

---@param path string
---@param port any
---@return boolean
function Checker:port(path, port)
  local number = math.tointeger(tonumber(port))
  if number and number >= 1 and number <= 65535 then return true end
  self:error(path, "port number %s must be in the range 1..65535", tostring(port))
  return false
end

-- --- all kinds ---------------------------------------------------------------------------------------------------

local KINDS = {
  AuthorizationPolicy = "istio.validate.authorization", PeerAuthentication = "istio.validate.authentication",
  RequestAuthentication = "istio.validate.authentication", DestinationRule = "istio.validate.networking",
  Sidecar = "istio.validate.networking", EnvoyFilter = "istio.validate.networking",
}

---Judges an object; kinds that are not known here have no findings.
---@param object table
---@return {path: string, message: string, severity: "error"|"warning"}[]
function M.validate(object)
  local checker = setmetatable({ findings = {} }, Checker)
  local module = KINDS[object.kind]
  if module and tostring(object.apiVersion):find "istio%.io/" then
    local spec = object.spec
    if spec ~= nil and not is_list(spec) then checker:error("spec", "must be an object")
    else require(module)[object.kind](checker, spec or {}, object) end
  end
  return checker.findings
end

return M
