-- lab.escalation: nobody grants rights that he has not: checks of roles and bindings as they are written.
-- Not for whether a request is allowed (lab.rbac).
--   escalation.role(ctx, role)      escalation.binding(ctx, binding)      both raise Forbidden

local json = require "json"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local GROUP = "rbac.authorization.k8s.io"

local function list(value) return type(value) == "table" and value or {} end

local function has(names, wanted)
  for _, name in ipairs(names) do
    if name == wanted or name == "*" then return true end
  end
  return false
end

-- --- what covers what ---------------------------------------------------------------------------------------

-- The rights that a rule grants, each as small as can be.
local function parts_of(rule)
  local parts = {}
  for _, verb in ipairs(list(rule.verbs)) do
    for _, url in ipairs(list(rule.nonResourceURLs)) do parts[#parts + 1] = { verb = verb, url = url } end
    for _, group in ipairs(list(rule.apiGroups)) do
      for _, resource in ipairs(list(rule.resources)) do
        local names = list(rule.resourceNames)
        for i = 1, math.max(#names, 1) do
          parts[#parts + 1] = { verb = verb, group = group, resource = resource, name = names[i] }
        end
      end
    end
  end
  return parts
end

local function covers_url(urls, wanted)
  for _, url in ipairs(urls) do
    if url == wanted or url == "*" then return true end
    if url:sub(-1) == "*" and wanted:sub(1, #url - 1) == url:sub(1, -2) then return true end
  end
  return false
end

local function covers_resource(resources, wanted)
  if has(resources, wanted) then return true end
  local below = wanted:match "/(.*)$"
  return below ~= nil and has(resources, "*/" .. below)
end

local function covers_name(names, wanted)
  if #names == 0 then return true end
  for _, name in ipairs(names) do
    if name == wanted then return true end
  end
  return false
end

local function covers(rule, part)
  if not has(list(rule.verbs), part.verb) then return false end
  if part.url then return covers_url(list(rule.nonResourceURLs), part.url) end
  return has(list(rule.apiGroups), part.group) and covers_resource(list(rule.resources), part.resource)
    and covers_name(list(rule.resourceNames), part.name)
end

local function missing_of(owned, wanted)
  local missing = {}
  for _, rule in ipairs(wanted) do
    for _, part in ipairs(parts_of(rule)) do
      local covered = false
      for _, own in ipairs(owned) do covered = covered or covers(own, part) end
      if not covered then missing[#missing + 1] = part end
    end
  end
  return missing
end

-- --- what is said -------------------------------------------------------------------------------------------

local function go_list(names)
  local texts = {}
  for i, name in ipairs(names) do texts[i] = ("%q"):format(name) end
  return "[" .. table.concat(texts, " ") .. "]"
end

local function described(part, verbs)
  local texts = {}
  if part.group then texts[1] = "APIGroups:" .. go_list { part.group } end
  if part.resource then texts[#texts + 1] = "Resources:" .. go_list { part.resource } end
  if part.url then texts[#texts + 1] = "NonResourceURLs:" .. go_list { part.url } end
  if part.name then texts[#texts + 1] = "ResourceNames:" .. go_list { part.name } end
  texts[#texts + 1] = "Verbs:" .. go_list(verbs)
  return "{" .. table.concat(texts, ", ") .. "}"
end

-- What is missing, the verbs of one resource together.
local function text_of(missing)
  local simple, order, lines = {}, {}, {}
  for _, part in ipairs(missing) do
    if part.resource and not part.name then
      local key = part.group .. "\0" .. part.resource
      if not simple[key] then
        simple[key] = { part = part, verbs = {} }
        order[#order + 1] = simple[key]
      end
      table.insert(simple[key].verbs, part.verb)
    else
      lines[#lines + 1] = described(part, { part.verb })
    end
  end
  for _, entry in ipairs(order) do lines[#lines + 1] = described(entry.part, entry.verbs) end
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- --- the checks ---------------------------------------------------------------------------------------------

local function is_master(user)
  for _, group in ipairs(user.groups) do
    if group == "system:masters" then return true end
  end
  return false
end

local function refuse_unless_held(ctx, resource, name, namespace, rules)
  local owned, paths = ctx.cluster.rbac:rules(ctx.user, namespace or "")
  table.move(paths, 1, #paths, #owned + 1, owned)
  local missing = missing_of(owned, rules)
  if #missing == 0 then return end
  status.forbidden(resource, name,
    ("user %q (groups=%s) is attempting to grant RBAC permissions not currently held:\n%s"):format(ctx.user.name,
      go_list(ctx.user.groups), text_of(missing)))
end

local function may(ctx, verb, plural, name, namespace)
  return ctx.cluster.rbac:allows(ctx.user, { verb = verb, group = GROUP, resource = plural, name = name,
                                             namespace = namespace })
end

local EVERYTHING = { { apiGroups = { "*" }, resources = { "*" }, verbs = { "*" } },
                     { nonResourceURLs = { "*" }, verbs = { "*" } } }

---Checks a role that is made or changed.
---@param ctx lab.Context
---@param role table
function M.role(ctx, role)
  if ctx.request.internal or is_master(ctx.user) then return end
  local m, resource = role.metadata, ctx.resource
  local namespace = resource.namespaced and ctx.route.namespace or nil
  if may(ctx, "escalate", resource.plural, m.name, namespace) then return end
  local rules = role.rules ~= json.null and list(role.rules) or {}
  if role.aggregationRule then rules = EVERYTHING end
  refuse_unless_held(ctx, resource, m.name, namespace, rules)
end

local function rules_of(ctx, ref, namespace)
  local plural = ref.kind == "ClusterRole" and "clusterroles" or "roles"
  local record = ctx.cluster.store:collection(GROUP .. "/" .. plural):get(plural == "roles" and namespace or nil,
    ref.name)
  if not record then status.not_found({ group = GROUP, plural = plural }, ref.name) end
  local rules = store.view(record).rules
  return rules ~= json.null and list(rules) or {}
end

---Checks a binding that is made or changed.
---@param ctx lab.Context
---@param binding table
function M.binding(ctx, binding)
  if ctx.request.internal or is_master(ctx.user) then return end
  local ref = binding.roleRef or {}
  local namespace = ctx.resource.namespaced and ctx.route.namespace or nil
  local plural = ref.kind == "ClusterRole" and "clusterroles" or "roles"
  if may(ctx, "bind", plural, ref.name, namespace) then return end
  refuse_unless_held(ctx, ctx.resource, binding.metadata.name, namespace, rules_of(ctx, ref, namespace))
end

return M
