-- lab.rbac: who may do what: roles, bindings, and why.
-- Not for who somebody is (lab.auth).
--   cluster.rbac:allows(user, { verb = "get", group = "", resource = "pods", namespace = "a" }) -> boolean, reason

local status = require "lab.status"
local store = require "lab.store"

local M = {}

local GROUP = "rbac.authorization.k8s.io/"

---@class lab.Rbac
local rbac = {}
rbac.__index = rbac

---@param cluster lab.Cluster
---@return lab.Rbac
function M.new(cluster)
  local self = setmetatable({ cluster = cluster, index = nil }, rbac)
  cluster.store:listen(function(collection)
    if collection:sub(1, #GROUP) == GROUP then self.index = nil end
  end)
  return self
end

-- --- the index: bindings by subject ---------------------------------------------------------------

local function subject_key(subject, namespace)
  if subject.kind == "ServiceAccount" then
    return ("User system:serviceaccount:%s:%s"):format(subject.namespace or namespace or "", subject.name)
  end
  return subject.kind .. " " .. subject.name
end

local function add_binding(index, binding, kind)
  local m = binding.metadata
  for _, subject in ipairs(binding.subjects or {}) do
    local key = subject_key(subject, m.namespace)
    local list = index[key] or {}
    index[key] = list
    list[#list + 1] = {
      namespace = m.namespace, role = binding.roleRef, subject = subject,
      text = ('%s "%s" of %s "%s" to %s "%s"'):format(kind, m.namespace and m.name .. "/" .. m.namespace or m.name,
        binding.roleRef.kind, binding.roleRef.name, subject.kind,
        subject.kind == "ServiceAccount" and subject.name .. "/" .. (subject.namespace or "") or subject.name),
    }
  end
end

local function index_of(self)
  if not self.index then
    local index = {}
    local s = self.cluster.store
    for _, record in ipairs(s:collection(GROUP .. "clusterrolebindings"):records()) do
      add_binding(index, store.view(record), "ClusterRoleBinding")
    end
    for _, record in ipairs(s:collection(GROUP .. "rolebindings"):records()) do
      add_binding(index, store.view(record), "RoleBinding")
    end
    self.index = index
  end
  return self.index
end

local function rules_of(self, entry)
  local s = self.cluster.store
  local record
  if entry.role.kind == "Role" then
    record = s:collection(GROUP .. "roles"):get(entry.namespace, entry.role.name)
  else
    record = s:collection(GROUP .. "clusterroles"):get(nil, entry.role.name)
  end
  local rules = record and store.view(record).rules
  return type(rules) == "table" and rules or {}
end

-- Calls visit(rules, entry) for every binding of a user that counts in a namespace.
local function each_binding(self, user, namespace, visit)
  local index = index_of(self)
  local keys = { "User " .. user.name }
  for i, group in ipairs(user.groups) do keys[i + 1] = "Group " .. group end
  for _, key in ipairs(keys) do
    for _, entry in ipairs(index[key] or {}) do
      if not entry.namespace or entry.namespace == namespace then
        local result = visit(rules_of(self, entry), entry)
        if result then return result end
      end
    end
  end
end

-- --- one rule -------------------------------------------------------------------------------------

local function has(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted or one == "*" then return true end
  end
  return false
end

local function covers_resource(rule, resource, subresource)
  local whole = subresource and resource .. "/" .. subresource or resource
  for _, one in ipairs(rule.resources or {}) do
    if one == "*" or one == whole or (subresource and one == "*/" .. subresource) then return true end
  end
  return false
end

local function covers_name(rule, name)
  if not rule.resourceNames or #rule.resourceNames == 0 then return true end
  for _, one in ipairs(rule.resourceNames) do
    if one == name then return true end
  end
  return false
end

local function covers_path(rule, path)
  for _, one in ipairs(rule.nonResourceURLs or {}) do
    if one == "*" or one == path or one:sub(-1) == "*" and path:sub(1, #one - 1) == one:sub(1, -2) then return true end
  end
  return false
end

---@class lab.Attributes what somebody wants to do
---@field verb string
---@field group string?
---@field resource string?
---@field subresource string?
---@field name string?
---@field namespace string?
---@field path string? instead of a resource

local function covers(rule, a)
  if not has(rule.verbs, a.verb) then return false end
  if a.path then return covers_path(rule, a.path) end
  return has(rule.apiGroups, a.group) and covers_resource(rule, a.resource, a.subresource) and covers_name(rule, a.name)
end

---@param user {name: string, groups: string[]}
---@param a lab.Attributes
---@return boolean allowed
---@return string? reason
function rbac:allows(user, a)
  for _, group in ipairs(user.groups) do
    if group == "system:masters" then return true, "" end
  end
  local reason = each_binding(self, user, a.namespace, function(rules, entry)
    for _, rule in ipairs(rules) do
      if covers(rule, a) then return "RBAC: allowed by " .. entry.text end
    end
  end)
  return reason ~= nil, reason
end

---The rules that hold for a user in a namespace.
---@return table[] resource_rules, table[] path_rules
function rbac:rules(user, namespace)
  local resources, paths = {}, {}
  for _, group in ipairs(user.groups) do
    if group == "system:masters" then
      resources[1] = { verbs = { "*" }, apiGroups = { "*" }, resources = { "*" } }
      paths[1] = { verbs = { "*" }, nonResourceURLs = { "*" } }
    end
  end
  each_binding(self, user, namespace, function(rules)
    for _, rule in ipairs(rules) do
      if rule.nonResourceURLs then
        paths[#paths + 1] = { verbs = rule.verbs, nonResourceURLs = rule.nonResourceURLs }
      else
        resources[#resources + 1] = { verbs = rule.verbs, apiGroups = rule.apiGroups, resources = rule.resources,
                                      resourceNames = rule.resourceNames }
      end
    end
  end)
  return resources, paths
end

-- --- requests -------------------------------------------------------------------------------------

local function attributes_of(ctx)
  local r = ctx.route
  if not r.resource then return { verb = ctx.request.method == "HEAD" and "get" or r.verb, path = r.path } end
  return { verb = r.verb or "", group = r.group, resource = r.plural, subresource = r.subresource,
           name = r.name, namespace = r.namespace }
end

---Raises Forbidden about a request.
---@param ctx lab.Context
---@param user table
---@param verb string
function M.refuse(ctx, user, verb)
  local r = ctx.route
  if not r.resource then
    status.raise(403, "Forbidden", ('forbidden: User "%s" cannot %s path "%s"'):format(user.name, verb, r.path), {})
  end
  local where = r.namespace and r.plural ~= "namespaces" and ('in the namespace "%s"'):format(r.namespace)
    or "at the cluster scope"
  if r.plural == "namespaces" and r.namespace then where = ('in the namespace "%s"'):format(r.namespace) end
  local resource = r.subresource and r.plural .. "/" .. r.subresource or r.plural
  status.forbidden({ group = r.group, plural = r.plural }, r.name,
    ('User "%s" cannot %s resource "%s" in API group "%s" %s'):format(user.name, verb, resource, r.group, where))
end
rbac.refuse = M.refuse

---Raises Forbidden when the request's user may not do what it asks.
---@param ctx lab.Context
function rbac:check(ctx)
  if ctx.request.internal then return end
  local a = attributes_of(ctx)
  if a.path and (a.path == "/healthz" or a.path == "/livez" or a.path == "/readyz") then return end
  if not self:allows(ctx.user, a) then M.refuse(ctx, ctx.user, a.verb) end
end

-- --- aggregation ----------------------------------------------------------------------------------

---The rules of a cluster role that is made of others.
---@param role table with aggregationRule
---@return table[] rules
function rbac:aggregate(role)
  local match = require "lab.match"
  local rules = {}
  for _, record in ipairs(self.cluster.store:collection(GROUP .. "clusterroles"):records()) do
    if record.name ~= role.metadata.name then
      for _, selector in ipairs(role.aggregationRule.clusterRoleSelectors or {}) do
        if match.selects(selector, record.labels) then
          local more = store.view(record).rules
          for _, rule in ipairs(type(more) == "table" and more or {}) do rules[#rules + 1] = rule end
          break
        end
      end
    end
  end
  return rules
end

return M
