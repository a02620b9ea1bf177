-- lab.rules.access: roles and bindings.
-- Not for deciding by them (lab.rbac).
--   return { ["rbac.authorization.k8s.io/roles"] = … }

local escalation = require "lab.escalation"
local json = require "json"
local store = require "lab.store"
local writes = require "lab.writes"

local GROUP = "rbac.authorization.k8s.io"

local bindings = {}

function bindings.default(object)
  for _, subject in ipairs(object.subjects or {}) do
    if (subject.apiGroup or "") == "" and (subject.kind == "User" or subject.kind == "Group") then
      subject.apiGroup = GROUP
    end
  end
  if object.roleRef and (object.roleRef.apiGroup or "") == "" then object.roleRef.apiGroup = GROUP end
end

function bindings.validate(object, causes)
  local ref = object.roleRef or {}
  local kinds = object.kind == "ClusterRoleBinding" and { "ClusterRole" } or { "Role", "ClusterRole" }
  if ref.apiGroup ~= GROUP then causes:unsupported("roleRef.apiGroup", ref.apiGroup or "", { GROUP }) end
  local known = false
  for _, kind in ipairs(kinds) do known = known or kind == ref.kind end
  if not known then causes:unsupported("roleRef.kind", ref.kind or "", kinds) end
  if (ref.name or "") == "" then causes:required "roleRef.name" end
  for i, subject in ipairs(object.subjects or {}) do
    local at = ("subjects[%d]"):format(i - 1)
    if (subject.name or "") == "" then causes:required(at .. ".name") end
    if subject.kind == "ServiceAccount" then
      if object.kind == "ClusterRoleBinding" and (subject.namespace or "") == "" then
        causes:required(at .. ".namespace")
      end
    elseif subject.kind ~= "User" and subject.kind ~= "Group" then
      causes:unsupported(at .. ".kind", subject.kind or "", { "ServiceAccount", "User", "Group" })
    end
  end
end

function bindings.validate_update(object, old, causes)
  if not writes.same(object.roleRef, old.roleRef) then
    causes:invalid("roleRef", object.roleRef, "cannot change roleRef")
  end
  bindings.validate(object, causes)
end

function bindings.prepare_create(object, ctx) escalation.binding(ctx, object) end

function bindings.prepare_update(object, old, ctx)
  if not writes.same(object.subjects, old.subjects) then escalation.binding(ctx, object) end
end

local roles = {}

function roles.default(object)
  if object.rules == nil then object.rules = json.null end
end

function roles.validate(object, causes)
  for i, rule in ipairs(object.rules ~= json.null and object.rules or {}) do
    local at = ("rules[%d]"):format(i - 1)
    if #(rule.verbs or {}) == 0 then causes:required(at .. ".verbs", "verbs must contain at least one value") end
    local urls = rule.nonResourceURLs and #rule.nonResourceURLs > 0
    if urls then
      if object.kind == "Role" then
        causes:invalid(at .. ".nonResourceURLs", rule.nonResourceURLs,
          "namespaced rules cannot apply to non-resource URLs")
      end
    else
      if #(rule.apiGroups or {}) == 0 then
        causes:required(at .. ".apiGroups", "resource rules must supply at least one api group")
      end
      if #(rule.resources or {}) == 0 then
        causes:required(at .. ".resources", "resource rules must supply at least one resource")
      end
    end
  end
end

function roles.prepare_create(object, ctx) escalation.role(ctx, object) end

function roles.prepare_update(object, old, ctx)
  if writes.same(object.rules, old.rules) and writes.same(object.aggregationRule, old.aggregationRule) then return end
  escalation.role(ctx, object)
end

-- Roles that are made of others are made anew when one of those changes.
local cluster_roles = { default = roles.default, validate = roles.validate, prepare_update = roles.prepare_update }

function cluster_roles.prepare_create(object, ctx)
  escalation.role(ctx, object)
  if object.aggregationRule then object.rules = json.array(ctx.cluster.rbac:aggregate(object)) end
end

function cluster_roles.after(ctx)
  local cluster = ctx.cluster
  if cluster.aggregating then return end
  cluster.aggregating = true
  local c = cluster.store:collection(GROUP .. "/clusterroles")
  local resource = cluster.registry:find(GROUP, "v1", "clusterroles")
  for _, record in ipairs(c:records()) do
    if store.mentions(record, '"aggregationRule"') then
      local role = store.object(record)
      local rules = json.array(cluster.rbac:aggregate(role))
      if not writes.same(rules, role.rules) then
        role.rules = rules
        writes.commit(ctx, resource, record, role)
      end
    end
  end
  cluster.aggregating = nil
end

return {
  [GROUP .. "/roles"] = roles, [GROUP .. "/clusterroles"] = cluster_roles,
  [GROUP .. "/rolebindings"] = bindings, [GROUP .. "/clusterrolebindings"] = bindings,
}
