-- lab.crd: custom resources: what a definition makes of the registry, and the checks of its objects.
-- Not for checks of definitions themselves (lab.rules.definitions).
--   cluster.crds:install(definition)      cluster.crds:remove(definition)

local expressions = require "lab.expressions"
local json = require "json"
local kinds = require "lab.kinds"
local status = require "lab.status"
local store = require "lab.store"
local structural = require "lab.structural"

local M = {}

---@class lab.Definitions
local crds = {}
crds.__index = crds

---@param cluster lab.Cluster
---@return lab.Definitions
function M.new(cluster)
  local self = setmetatable({ cluster = cluster, installed = {}, emptying = {} }, crds)
  cluster.store:listen(function(collection, event)
    if event.removed and self.emptying[collection] then self:look(collection) end
  end)
  return self
end

local function subresources_of(version, group)
  local list, given = {}, version.subresources or {}
  if given.status then
    list.status = { verbs = { "get", "patch", "update" }, kind = "", group = group, version = version.name }
  end
  if given.scale then
    list.scale = { verbs = { "get", "patch", "update" }, kind = "Scale", group = "autoscaling", version = "v1" }
  end
  return list
end

local function has_rules(schema)
  if type(schema) ~= "table" then return false end
  if schema["x-kubernetes-validations"] then return true end
  for _, inner in pairs(schema) do
    if type(inner) == "table" and has_rules(inner) then return true end
  end
  return false
end

local VERBS = { "delete", "deletecollection", "get", "list", "patch", "create", "update", "watch" }

local function resource_of(definition, version)
  local spec = definition.spec
  local names = spec.names
  local schema = version.schema and version.schema.openAPIV3Schema
  local selectable = {}
  for _, field in ipairs(version.selectableFields or {}) do
    selectable[field.jsonPath:gsub("^%.", "")] = field.jsonPath
  end
  local may = {}
  for _, verb in ipairs(VERBS) do may[verb] = true end
  local resource = {
    group = spec.group, version = version.name, plural = names.plural, kind = names.kind,
    singular = names.singular or names.kind:lower(), list_kind = names.listKind,
    namespaced = spec.scope == "Namespaced",
    verbs = VERBS, may = may, short = names.shortNames, categories = names.categories, generation = true,
    subresources = subresources_of(version, spec.group), stored = spec.group .. "/" .. names.plural,
    status = (version.subresources and version.subresources.status) ~= nil,
    custom = {
      schema = schema, columns = version.additionalPrinterColumns, selectable = selectable, definition = definition,
      scale = version.subresources and version.subresources.scale, rules = has_rules(schema),
    },
  }
  if resource.subresources.status then resource.subresources.status.kind = names.kind end
  return resource
end

---Serves what a definition describes.
---@param definition table
function crds:install(definition)
  self:uninstall(definition.metadata.name)
  local list = {}
  for _, version in ipairs(definition.spec.versions) do
    if version.served then
      local resource = resource_of(definition, version)
      self.cluster.registry:add(resource)
      list[#list + 1] = resource
    end
  end
  self.installed[definition.metadata.name] = list
end

---@param name string of the definition
function crds:uninstall(name)
  for _, resource in ipairs(self.installed[name] or {}) do self.cluster.registry:remove(resource) end
  self.installed[name] = nil
end


-- --- objects --------------------------------------------------------------------------------------

local function at_path(object, path)
  local value = object
  for name in path:gmatch "[^.]+" do
    if type(value) ~= "table" then return nil end
    value = value[name]
  end
  return value
end

---Values of the fields that selectors may ask for.
function crds.fields(_, resource, object)
  local fields
  for name, path in pairs(resource.custom.selectable) do
    fields = fields or {}
    local value = at_path(object, path)
    fields[name] = value ~= nil and value ~= json.null and tostring(value) or ""
  end
  return fields
end

-- --- rules in CEL ---------------------------------------------------------------------------------

local REASONS = {
  FieldValueForbidden = "forbidden", FieldValueRequired = "required", FieldValueDuplicate = "duplicate",
}

local function message_of(rule, values)
  if rule.messageExpression then
    local text = expressions.eval(rule.messageExpression, values)
    if type(text) == "string" and text ~= "" then return text end
  end
  return rule.message or ("failed rule: " .. rule.rule)
end

local function check_rule(rule, value, old, path, causes)
  local transition = rule.rule:find "oldSelf" ~= nil
  if transition and old == nil and not rule.optionalOldSelf then return end
  local values = { self = value, oldSelf = old }
  local result, problem = expressions.eval(rule.rule, values)
  if result == true then return end
  local field = path == "" and "<nil>" or path
  if rule.fieldPath then field = (path == "" and "" or path) .. rule.fieldPath end
  field = field:gsub("^%.", "")
  if problem then
    causes[#causes + 1] = { reason = "FieldValueInvalid", field = field,
                            message = ("Invalid value: rule evaluation error: %s"):format(problem) }
    return
  end
  local text = message_of(rule, values)
  local reason = REASONS[rule.reason]
  if reason == "forbidden" then
    causes:forbidden(field, text)
  elseif reason == "required" then
    causes:required(field, text)
  else
    causes[#causes + 1] = { reason = "FieldValueInvalid", field = field, message = "Invalid value: " .. text }
  end
end

-- The item of the old list that is the same one, by the keys of the list.
local function old_item(schema, item, old)
  if type(old) ~= "table" or schema["x-kubernetes-list-type"] ~= "map" then return nil end
  for _, one in ipairs(old) do
    local same = true
    for _, key in ipairs(schema["x-kubernetes-list-map-keys"] or {}) do same = same and one[key] == item[key] end
    if same then return one end
  end
end

local function check_rules(schema, value, old, path, causes)
  if value == nil or value == json.null then return end
  if old == json.null then old = nil end
  for _, rule in ipairs(schema["x-kubernetes-validations"] or {}) do check_rule(rule, value, old, path, causes) end
  if type(value) ~= "table" then return end
  if json.is_array(value) then
    if type(schema.items) == "table" then
      for i, item in ipairs(value) do
        check_rules(schema.items, item, old_item(schema, item, old), ("%s[%d]"):format(path, i - 1), causes)
      end
    end
    return
  end
  local before = type(old) == "table" and old or {}
  for name, inner in pairs(schema.properties or {}) do
    check_rules(inner, value[name], before[name], path == "" and name or path .. "." .. name, causes)
  end
  if type(schema.additionalProperties) == "table" then
    for name, one in pairs(value) do
      if not (schema.properties or {})[name] then
        check_rules(schema.additionalProperties, one, before[name], ("%s[%s]"):format(path, name), causes)
      end
    end
  end
end

-- Once what a schema says of structure is broken, its rules are not asked.
local function structure_broken(causes)
  for _, cause in ipairs(causes) do
    if cause.reason == "FieldValueRequired" or cause.reason == "FieldValueTypeInvalid"
      or cause.reason == "FieldValueDuplicate" or cause.reason == "FieldValueTooLong"
      or cause.reason == "FieldValueTooMany" then
      return true
    end
  end
  return false
end

---Checks a custom object against its schema and the rules in it.
---@param resource lab.Resource
---@param object table
---@param old table?
---@param causes lab.Causes
function crds.validate(_, resource, object, old, causes)
  local custom = resource.custom
  local before = #causes
  structural.validate(custom.schema, object, causes)
  if not custom.rules then return end
  if #causes > before then
    if structure_broken(causes) then
      causes:invalid("<nil>", nil, "some validation rules were not checked because the object was invalid; correct the "
        .. "existing errors to complete validation")
    end
    return
  end
  check_rules(custom.schema, object, old, "", causes)
end

-- --- definitions ----------------------------------------------------------------------------------

local CRD = "apiextensions.k8s.io/customresourcedefinitions"

local function condition(cluster, kind, value, reason, message)
  return { type = kind, status = value, reason = reason, message = message, lastTransitionTime = cluster:time() }
end

---Accepts the names of a new definition, and serves it.
---@param name string
function crds:establish(name)
  local cluster = self.cluster
  local c = cluster.store:collection(CRD)
  local record = c:get(nil, name)
  if not record then return end
  local definition = store.object(record)
  self:install(definition)
  local s = definition.status or {}
  s.acceptedNames = definition.spec.names
  if type(s.conditions) ~= "table" then s.conditions = json.array {} end
  local subresources = require "lab.subresources"
  subresources.set_condition(s.conditions,
    condition(cluster, "NamesAccepted", "True", "NoConflicts", "no conflicts found"))
  subresources.set_condition(s.conditions,
    condition(cluster, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted"))
  definition.status = s
  cluster.store:write(c, record, definition)
end

-- --- deletion -------------------------------------------------------------------------------------

---Says in a definition that it is going.
---@param definition table
function crds:terminating(definition)
  local s = definition.status or json.object {}
  definition.status = s
  if type(s.conditions) ~= "table" then s.conditions = json.array {} end
  require("lab.subresources").set_condition(s.conditions, condition(self.cluster, "Terminating", "True",
    "InstanceDeletionPending", "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"))
  for _, resource in ipairs(self.installed[definition.metadata.name] or {}) do resource.custom.terminating = true end
end

---Removes the objects of a definition that is going, and it when they are gone; those with finalizers are waited for.
---@param name string
function crds:empty(name)
  local cluster = self.cluster
  local definitions = cluster.store:collection(CRD)
  local record = definitions:get(nil, name)
  if not record then return end
  local definition = store.view(record)
  local stored = definition.spec.group .. "/" .. definition.spec.names.plural
  local c = cluster.store:collection(stored)
  for _, one in ipairs(c:records()) do
    if store.mentions(one, '"finalizers"') then
      require("lab.inside").delete(cluster, stored, one.namespace, one.name)
    else
      cluster.store:remove(c, one)
    end
  end
  if c.count > 0 then
    self.emptying[stored] = name
    return
  end
  self.emptying[stored] = nil
  cluster.store:remove(definitions, definitions:get(nil, name))
  self:uninstall(name)
end

-- The last object of a definition that is going may be gone now.
function crds:look(stored)
  local name = self.emptying[stored]
  if name and self.cluster.store:collection(stored).count == 0 then self:empty(name) end
end

M.status, M.kinds = status, kinds

return M
