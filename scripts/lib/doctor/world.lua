-- doctor.world: the objects of a cluster as the checks look at them: by kind, by place, pods and templates alike.
-- Not for judging. Missing fields, and null, are nil.
--   local w = world.new(objects, { now = 0 }); for _, pod in ipairs(w.pods) do print(pod.where) end

local json = require "json"

local M = {}

---@class doctor.World
---@field objects table[]
---@field now number
---@field findings doctor.Finding[]
---@field version table? of the API server
---@field refused {kind: string, message: string}[]
---@field pods {where: string, object: table, template: table, spec: table, namespace: string, labels: table}[]
local world = {}
world.__index = world

---The value behind names; nil where something is missing or null.
---@param value any
---@param ... string|integer
function M.get(value, ...)
  for index = 1, select("#", ...) do
    if type(value) ~= "table" then return nil end
    value = value[select(index, ...)]
  end
  if value == json.null then return nil end
  return value
end

---A list, or an empty one.
---@return table
function M.list(value)
  return type(value) == "table" and value or {}
end

---@param object table
---@return string "Kind namespace/name"
function M.title(object)
  local metadata = object.metadata
  return ("%s %s%s"):format(object.kind, metadata.namespace and metadata.namespace .. "/" or "", metadata.name)
end

---Whether a label selector chooses labels; an absent one chooses nothing, an empty one all.
---@param selector table?
---@param labels table
---@return boolean
function M.selects(selector, labels)
  if type(selector) ~= "table" then return false end
  for key, value in pairs(M.list(selector.matchLabels)) do
    if labels[key] ~= value then return false end
  end
  for _, requirement in ipairs(M.list(selector.matchExpressions)) do
    local value, found = labels[requirement.key], false
    for _, wanted in ipairs(M.list(requirement.values)) do found = found or wanted == value end
    local holds = ({ In = found, NotIn = not found, Exists = value ~= nil, DoesNotExist = value == nil })
      [requirement.operator]
    if not holds then return false end
  end
  return true
end

-- --- pods and their templates ------------------------------------------------------------------------

local WORKLOADS = { Deployment = true, StatefulSet = true, DaemonSet = true, Job = true, Notebook = true }

local function template_of(object)
  if object.kind == "Pod" then return object end
  if WORKLOADS[object.kind] then return M.get(object, "spec", "template") end
  if object.kind == "CronJob" then return M.get(object, "spec", "jobTemplate", "spec", "template") end
  if object.kind == "Experiment" then
    return M.get(object, "spec", "trialTemplate", "trialSpec", "spec", "template")
  end
end

local function is_owned(object)
  for _, owner in ipairs(M.list(object.metadata.ownerReferences)) do
    if owner.controller then return true end
  end
  return false
end

local function add_pod(self, object)
  local template = template_of(object)
  if type(template) ~= "table" or type(template.spec) ~= "table" then return end
  self.pods[#self.pods + 1] = {
    object = object, where = M.title(object), template = template, spec = template.spec,
    namespace = object.metadata.namespace or "default", labels = M.list(M.get(template, "metadata", "labels")),
    annotations = M.list(M.get(template, "metadata", "annotations")), is_template = object.kind ~= "Pod",
    owned = is_owned(object),
  }
end

---All containers of a pod.
---@return table[]
function M.containers(pod)
  local all = {}
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(M.list(pod.spec[field])) do all[#all + 1] = container end
  end
  return all
end

-- --- the world -----------------------------------------------------------------------------------------

---@param objects table[]
---@param options {now: number?, version: table?, refused: table[]?}
---@return doctor.World
function M.new(objects, options)
  local self = setmetatable({
    objects = objects, now = options.now or os.time(), findings = {}, pods = {}, kinds = {}, namespaces = {},
    version = options.version, refused = options.refused or {},
  }, world)
  for _, object in ipairs(objects) do
    local kind = object.kind
    self.kinds[kind] = self.kinds[kind] or {}
    table.insert(self.kinds[kind], object)
    if kind == "Namespace" then self.namespaces[object.metadata.name] = object end
    add_pod(self, object)
  end
  return self
end

---The objects of a kind.
---@param kind string
---@return table[]
function world:of(kind)
  return self.kinds[kind] or {}
end

---@param kind string
---@param namespace string?
---@param name string
---@return table?
function world:find(kind, namespace, name)
  for _, object in ipairs(self:of(kind)) do
    if object.metadata.name == name and object.metadata.namespace == namespace then return object end
  end
end

---The names of the namespaces that belong to a Profile.
---@return table<string, table> profile by name
function world:profiles()
  local found = {}
  for _, profile in ipairs(self:of "Profile") do found[profile.metadata.name] = profile end
  return found
end

---The labels of a namespace.
---@param name string
---@return table
function world:labels_of(name)
  return M.list(M.get(self.namespaces[name], "metadata", "labels"))
end

---The youngest event about an object whose reason and message fit.
---@param object table
---@param reason string a pattern
---@param message string? a pattern
---@return table?
function world:event(object, reason, message)
  for _, event in ipairs(self:of "Event") do
    local about = M.list(event.involvedObject)
    if about.name == object.metadata.name and about.kind == object.kind
      and about.namespace == object.metadata.namespace and (event.reason or ""):find(reason)
      and (not message or (event.message or ""):find(message)) then
      return event
    end
  end
end

---Adds a finding.
---@param code string
---@param severity "error"|"warning"
---@param object table|string what it is about
---@param finding {what: string, why: string, fix: string}
function world:add(code, severity, object, finding)
  local is_object = type(object) == "table"
  self.findings[#self.findings + 1] = {
    code = code, severity = severity, where = is_object and M.title(object) or object,
    namespace = is_object and (object.kind == "Namespace" and object.metadata.name or object.metadata.namespace) or nil,
    what = finding.what, why = finding.why, fix = finding.fix,
  }
end

return M
