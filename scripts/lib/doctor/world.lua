-- doctor.world: the objects of a cluster as the checks look at them: by kind, by place, pods and templates alike.
-- Not for judging. Missing fields, and null, are nil.
--   local w = world.new(objects, { now = 0 }); for _, pod in ipairs(w.pods) do print(pod.where) end

local istio = require "istio"
local json = require "json"
local trim = require "doctor.trim"

local M = {}

---@class doctor.World
---@field objects table[]
---@field now number
---@field findings doctor.Finding[]
---@field version table? of the API server
---@field unread table<string, boolean>
---@field probe fun(url: string, authorities: string): string? why a server is not trusted; nil: it is, or who knows
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

local ENDS = { Succeeded = true, Failed = true, Complete = true }

---Whether nothing more happens with a pod, a job, a trial or an experiment.
---@param object table
---@param condition string? only this end counts, such as "Succeeded"
---@return boolean
function M.is_over(object, condition)
  if object.kind == "Pod" then return ENDS[M.get(object, "status", "phase") or ""] == true end
  for _, one in ipairs(M.list(M.get(object, "status", "conditions"))) do
    local ends = condition and one.type == condition or not condition and ENDS[one.type]
    if ends and one.status == "True" then return true end
  end
  return false
end

local function add_pod(self, object)
  local template = template_of(object)
  if type(template) ~= "table" or type(template.spec) ~= "table" then return end
  -- The API server sees to the shape of what is its own, not to templates within other kinds.
  local is_foreign = object.kind == "Experiment" or object.kind == "Notebook"
  local spec = is_foreign and trim.pod_spec(template.spec) or template.spec
  self.pods[#self.pods + 1] = {
    object = object, where = M.title(object), template = template, spec = spec,
    namespace = object.metadata.namespace or "default", labels = M.list(M.get(template, "metadata", "labels")),
    annotations = M.list(M.get(template, "metadata", "annotations")), is_template = object.kind ~= "Pod",
    is_over = M.is_over(object),
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

local function key_of(kind, namespace, name)
  return ("%s\0%s\0%s"):format(kind, namespace or "", name)
end

-- When an event was seen last, as text: RFC 3339 sorts by time.
local function moment_of(event)
  return M.get(event, "series", "lastObservedTime") or M.get(event, "lastTimestamp") or M.get(event, "eventTime")
    or M.get(event, "metadata", "creationTimestamp") or ""
end
M.moment_of = moment_of

local function add_event(self, event)
  local about = M.list(event.involvedObject)
  local key = key_of(about.kind, about.namespace, about.name)
  self.events[key] = self.events[key] or {}
  table.insert(self.events[key], event)
end

local function add(self, object)
  local kind, metadata = object.kind, object.metadata
  self.kinds[kind] = self.kinds[kind] or {}
  table.insert(self.kinds[kind], object)
  self.by_key[key_of(kind, metadata.namespace, metadata.name)] = object
  self.by_title[M.title(object)] = object
  if kind == "Namespace" then self.namespaces[metadata.name] = object end
  if kind == "Profile" then self.known_profiles[metadata.name] = object end
  if kind == "Event" then add_event(self, object) end
  add_pod(self, object)
end

---@param objects table[]
---@param options {now: number?, version: table?, unread: table<string, boolean>?,
---  probe: (fun(url: string, authorities: string): string?)?} unread: kinds of which not all could be read
---@return doctor.World
function M.new(objects, options)
  local self = setmetatable({
    objects = objects, now = options.now or os.time(), findings = {}, families = {}, pods = {}, kinds = {},
    namespaces = {}, by_key = {}, by_title = {}, events = {}, known_profiles = {}, version = options.version,
    unread = options.unread or {},
    probe = options.probe or function() end,
  }, world)
  for _, object in ipairs(objects) do add(self, object) end
  return self
end

---Whether all objects of a kind were read: only then something can be said to be missing.
---@param kind string
---@return boolean
function world:knows(kind)
  return not self.unread[kind]
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
  return self.by_key[key_of(kind, namespace, name)]
end

---The object behind a title ("Kind namespace/name"); the title where there is none.
---@param title string
---@return table|string
function world:titled(title)
  return self.by_title[title] or title
end

---The profiles, whose names are those of their namespaces.
---@return table<string, table> profile by name
function world:profiles()
  return self.known_profiles
end

---The labels of a namespace.
---@param name string
---@return table
function world:labels_of(name)
  return M.list(M.get(self.namespaces[name], "metadata", "labels"))
end

---Whether pods get sidecars: Istio's control plane, or its webhook, is there.
---@return boolean
function world:has_injector()
  if self:find("Deployment", "istio-system", "istiod") then return true end
  for _, configuration in ipairs(self:of "MutatingWebhookConfiguration") do
    if configuration.metadata.name:find("istio-sidecar-injector", 1, true) then return true end
  end
  return false
end

---Whether a pod of a profile has no sidecar, and will get none.
---@param pod table of `pods`
---@return boolean
function world:is_plain(pod)
  local namespace = self.known_profiles[pod.namespace] and self.namespaces[pod.namespace]
  if not namespace or pod.is_over then return false end
  for _, container in ipairs(M.containers(pod)) do
    if container.name == "istio-proxy" then return false end
  end
  return not pod.is_template and pod.object.kind == "Pod" or not istio.would_inject(namespace, pod.template)
end

local EXPERIMENT <const> = "katib.kubeflow.org/experiment"

local function owner_named(object, kind)
  for _, owner in ipairs(M.list(M.get(object, "metadata", "ownerReferences"))) do
    if owner.kind == kind then return owner.name end
  end
end

---The experiment that a trial, its job or its pod was made for; nil when it is not here.
---@param object table
---@return table?
function world:experiment_of(object)
  local namespace = object.metadata.namespace
  local name = M.get(object, "metadata", "labels", EXPERIMENT)
  local trial = owner_named(object, "Trial") or M.get(object, "metadata", "labels", "katib.kubeflow.org/trial")
  local found = not name and trial and self:find("Trial", namespace, trial)
  name = name or found and (owner_named(found, "Experiment") or M.get(found, "metadata", "labels", EXPERIMENT))
  return name and self:find("Experiment", namespace, name)
end

local function index_claims(self)
  local users = {}
  for _, pod in ipairs(self.pods) do
    local lives = not pod.is_template and not pod.is_over
    for _, volume in ipairs(lives and M.list(pod.spec.volumes) or {}) do
      local claim = M.get(volume, "persistentVolumeClaim", "claimName")
      local key = claim and pod.namespace .. "/" .. claim
      if key then
        users[key] = users[key] or {}
        table.insert(users[key], pod.object)
      end
    end
  end
  return users
end

---The pods that want a claim, and are not over.
---@return table[] pods
function world:users_of_claim(namespace, name)
  self.claims = self.claims or index_claims(self)
  return self.claims[("%s/%s"):format(namespace, name)] or {}
end

---The youngest event about an object whose reason and message fit.
---@param object table
---@param reason string a pattern
---@param message string? a pattern
---@return table?
function world:event(object, reason, message)
  local found
  for _, event in ipairs(self.events[key_of(object.kind, object.metadata.namespace, object.metadata.name)] or {}) do
    local fits = (event.reason or ""):find(reason) and (not message or (event.message or ""):find(message))
    if fits and (not found or moment_of(event) >= moment_of(found)) then found = event end
  end
  return found
end

-- The object that made this one: pods of one owner have the same fault.
local function owner_of(object)
  for _, owner in ipairs(M.list(M.get(object, "metadata", "ownerReferences"))) do
    if owner.controller == true then return ("%s %s"):format(owner.kind, owner.uid or owner.name), owner end
  end
end

---Adds a finding.
---@param code string
---@param severity "error"|"warning"
---@param object table|string what it is about
---@param finding {what: string, why: string, fix: string, manifest: string?}
function world:add(code, severity, object, finding)
  local is_object = type(object) == "table"
  local family = is_object and object.kind == "Pod" and owner_of(object)
  local key = family and code .. "\0" .. family
  local first = key and self.families[key]
  if first then
    first.more = first.more + 1
    return
  end
  self.findings[#self.findings + 1] = {
    code = code, severity = severity, where = is_object and M.title(object) or object,
    namespace = is_object and (object.kind == "Namespace" and object.metadata.name or object.metadata.namespace) or nil,
    what = finding.what, why = finding.why, fix = finding.fix, manifest = finding.manifest, more = 0,
  }
  if key then self.families[key] = self.findings[#self.findings] end
end

return M
