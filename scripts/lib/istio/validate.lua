-- What Istio refuses about one object: the rules in its CRDs and those of its webhook.
-- Not for how objects fit together: see analyze.
--   for _, finding in ipairs(validate.validate(policy)) do print(finding.path, finding.message) end
local errors = require "errors"
local json = require "json"

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

-- What a policy may be about: kinds by their group.
local TARGETS = {
  ["gateway.networking.k8s.io"] = { Gateway = true, GatewayClass = true, HTTPRoute = true, GRPCRoute = true },
  ["networking.istio.io"] = { ServiceEntry = true }, [""] = { Service = true }, core = { Service = true },
}

local function check_target(self, path, target)
  if (target.name or "") == "" then self:error(path .. ".name", "a target needs a name") end
  if (target.namespace or "") ~= "" then
    self:error(path .. ".namespace", "cross namespace referencing is not currently supported")
  end
  local kinds = TARGETS[target.group or ""]
  if not (kinds and kinds[target.kind or ""]) then
    self:error(path, "targetRef is not supported for %s of group '%s'", tostring(target.kind), target.group or "")
  end
end

---At most one of the ways to choose workloads; no wildcards and no empty keys in labels.
function Checker:targeting(spec)
  local ways = 0
  for _, way in ipairs { "selector", "targetRef", "targetRefs" } do
    if spec[way] ~= nil and (way ~= "targetRefs" or #spec[way] > 0) then ways = ways + 1 end
  end
  if ways > 1 then self:error("spec", "only one of targetRefs or selector can be set") end
  self:selector("spec.selector", spec.selector, "matchLabels")
  if spec.targetRef then check_target(self, "spec.targetRef", spec.targetRef) end
  for i, target in ipairs(spec.targetRefs or {}) do
    check_target(self, ("spec.targetRefs[%d]"):format(i - 1), target)
  end
  if #(spec.targetRefs or {}) > 16 then self:error("spec.targetRefs", "at most 16 targets") end
end

---A selector that selects nothing in particular is most likely a mistake.
---@param path string
---@param selector table?
---@param field "matchLabels"|"labels"
function Checker:selector(path, selector, field)
  if not selector then return end
  if next(selector[field] or {}) == nil then
    self:warning(path, "a selector without labels: it holds for all workloads of the namespace")
  end
  self:labels(path .. "." .. field, selector[field])
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
  Sidecar = "istio.validate.sidecar", EnvoyFilter = "istio.validate.envoy",
}

-- A copy without what is null; a list has no place for that.
local function without_nulls(checker, value, path)
  if type(value) ~= "table" then return value end
  local is_array, out = json.is_array(value) or #value > 0, {}
  for key, inner in pairs(value) do
    local place = ("%s.%s"):format(path, tostring(key))
    if is_array then place = ("%s[%s]"):format(path, math.type(key) and key - 1 or key) end
    if inner ~= json.null then out[key] = without_nulls(checker, inner, place)
    elseif is_array then checker:error(place, "must be an object, not null") end
  end
  if not is_array then return out end
  local list = {} -- the rest is looked at all the same
  for index = 1, #value do list[#list + 1] = out[index] end
  return list
end

-- A rule that stumbles over a value of another type than the kind has there.
local function check(checker, rule, spec, object)
  local ok, problem = pcall(rule, checker, spec, object)
  if ok then return end
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  local field = tostring(problem):match "field '([%w_]+)'" or tostring(problem):match "local '([%w_]+)'"
  checker:error("spec", "a value is of another type than %s have%s", object.kind, field and (": " .. field) or "")
end

---Judges an object; kinds that are not known here have no findings.
---@param object table
---@return {path: string, message: string, severity: "error"|"warning"}[]
function M.validate(object)
  local checker = setmetatable({ findings = {} }, Checker)
  local module = KINDS[object.kind]
  if module and tostring(object.apiVersion):find "istio%.io/" then
    local spec = object.spec
    if spec ~= nil and not is_list(spec) then checker:error("spec", "must be an object")
    else check(checker, require(module)[object.kind], without_nulls(checker, spec or {}, "spec"), object) end
  end
  return checker.findings
end

return M
