-- lab.admission.matching: whether a webhook or a policy is meant by a request: rules, selectors, conditions.
-- Not for calling it.
--   matching.rules(rules, attributes)

local expressions = require "lab.expressions"
local json = require "json"
local match = require "lab.match"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local function has(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted or one == "*" then return true end
  end
  return false
end

local function covers_resource(list, plural, subresource)
  for _, one in ipairs(list or {}) do
    local resource, sub = one:match "^([^/]*)/?(.*)$"
    local named = resource == "*" or resource == plural
    if named and (subresource and (sub == "*" or sub == subresource) or not subresource and (sub == "" or one == "*/*"))
    then
      return true
    end
  end
  return false
end

local function covers_version(rule, a, policy)
  if has(rule.apiVersions, a.resource.version) then return true end
  return policy == "Equivalent" and a.resource.custom ~= nil
end

---@param rules table[]?
---@param a lab.AdmissionAttributes
---@param policy "Equivalent"|"Exact"|nil
---@return boolean
function M.rules(rules, a, policy)
  local scope = a.namespace and a.resource.namespaced and "Namespaced" or "Cluster"
  for _, rule in ipairs(rules or {}) do
    if has(rule.operations, a.operation) and has(rule.apiGroups, a.resource.group) and covers_version(rule, a, policy)
      and covers_resource(rule.resources, a.resource.plural, a.subresource)
      and (rule.scope == nil or rule.scope == "*" or rule.scope == scope)
      and (not rule.resourceNames or #rule.resourceNames == 0 or has(rule.resourceNames, a.name)) then
      return true
    end
  end
  return false
end

local function is_everything(selector) return selector == nil or next(selector) == nil end

---@param ctx lab.Context
---@param selector table?
---@param a lab.AdmissionAttributes
---@return boolean whether the namespace of a request is selected
function M.namespace(ctx, selector, a)
  if is_everything(selector) then return true end
  if a.resource.stored == "namespaces" then
    local object = a.operation == "DELETE" and a.old or a.object
    return match.selects(selector, object and object.metadata.labels)
  end
  if not a.namespace then return true end
  local record = ctx.cluster.store:collection("namespaces"):get(nil, a.namespace)
  return record ~= nil and match.selects(selector, record.labels)
end

---@return boolean whether the object of a request, or what it was, is selected
function M.object(selector, a)
  if is_everything(selector) then return true end
  for _, object in ipairs { a.object or false, a.old or false } do
    if object and object.metadata and match.selects(selector, object.metadata.labels or {}) then return true end
  end
  return false
end

---The part of a review that says what is asked.
---@param ctx lab.Context
---@param a lab.AdmissionAttributes
---@return table request
function M.request(ctx, a)
  local r = a.resource
  local kind = a.kind or { group = r.group, version = r.version, kind = r.kind }
  local resource = { group = r.group, version = r.version, resource = r.plural }
  local user = ctx.user
  return {
    uid = require("lab.ids").uid(), kind = kind, resource = resource, subResource = a.subresource,
    requestKind = kind, requestResource = resource, requestSubResource = a.subresource,
    name = ctx.route.verb ~= "deletecollection" and (a.name or "") ~= "" and a.name or nil,
    namespace = a.resource.stored == "namespaces" and a.name or a.namespace, operation = a.operation,
    userInfo = { username = user.name, uid = user.uid, groups = json.array(user.groups), extra = user.extra },
    object = a.object or json.null, oldObject = a.old or json.null, dryRun = a.dry_run or false,
    options = a.options or json.null,
  }
end

---The values that conditions may speak of.
function M.values(ctx, a, request)
  local namespace
  if a.namespace then
    local record = ctx.cluster.store:collection("namespaces"):get(nil, a.namespace)
    namespace = record and store.view(record)
  end
  return { object = a.object or json.null, oldObject = a.old or json.null, request = request,
           namespaceObject = namespace or json.null, params = json.null }
end

---Whether all conditions hold.
---@param conditions table[]?
---@param values table
---@return boolean? holds nil when one failed
---@return string? problem
function M.conditions(conditions, values)
  local failed
  for _, condition in ipairs(conditions or {}) do
    local value, problem = expressions.eval(condition.expression, values)
    if value == false then return false end
    if value ~= true then failed = failed or ("%s: %s"):format(condition.name, problem or "it is no boolean") end
  end
  if failed then return nil, failed end
  return true
end

M.status = status

return M
