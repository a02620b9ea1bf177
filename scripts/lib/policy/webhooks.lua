-- policy.webhooks: the webhook configurations of a set of policies: an entry and a path for each policy.
-- Not for registering them.
--   webhooks.configurations(set.description, { name = "kfhost-policy", client = function(path) … end })

local json = require "json"
local match = require "policy.inside.match"
local resources = require "policy.inside.resources"

local M = {}

M.DOMAIN = ".policy.kfhost.io" -- of the names of webhooks

local HOME = "kfhost-system" -- where a release runs unless told otherwise
local NAME_LABEL = "kubernetes.io/metadata.name"

local function rule_of(one)
  local rules = {}
  for name in one.resource:gmatch "[^|%s]+" do
    local parsed = resources.parse(name)
    local resource = parsed.plural .. (parsed.subresource and "/" .. parsed.subresource or "")
    rules[#rules + 1] = { apiGroups = { parsed.group or "*" }, apiVersions = { "*" }, resources = { resource },
      operations = one.operations or { "CREATE", "UPDATE" }, scope = "*" }
  end
  return rules
end

local function sorted(list)
  local copy = { table.unpack(list) }
  table.sort(copy)
  return copy
end

local OPERATORS = { ["in"] = "In", ["="] = "In", ["=="] = "In", notin = "NotIn", ["!="] = "NotIn",
  exists = "Exists", ["!"] = "DoesNotExist" }

-- The requirements of a selector in kubectl's syntax, as the API has them. It has no < and >: these are
-- asked by the host alone.
local function expressions(text)
  local list = json.array {}
  for _, requirement in ipairs(require "kube".selector(text):requirements()) do
    local operator = OPERATORS[requirement.operator]
    local takes_values = operator == "In" or operator == "NotIn"
    list[#list + 1] = operator and { key = requirement.key, operator = operator,
      values = takes_values and requirement.values or nil }
  end
  return list
end

local function namespace_selector(one, own_namespace)
  local spec = one.namespaces or {}
  local list = {}
  if spec.names then
    list[1] = { key = NAME_LABEL, operator = "In", values = sorted(spec.names) }
  else
    local left_out = { own_namespace, table.unpack(spec.exclude or {}) }
    for name in pairs(match.protected) do left_out[#left_out + 1] = name end
    list[1] = { key = NAME_LABEL, operator = "NotIn", values = sorted(left_out) }
  end
  if spec.label then
    for _, expression in ipairs(expressions(spec.label)) do list[#list + 1] = expression end
  end
  return { matchExpressions = list }
end

-- Secrets are sent to those who name them only.
local function takes_secrets_unnamed(rules)
  local all, named = false, false
  for _, rule in ipairs(rules) do
    local group = rule.apiGroups[1]
    all = all or rule.resources[1] == "*" and (group == "*" or group == "")
    named = named or rule.resources[1] == "secrets"
  end
  return all and not named
end

-- Selectors and conditions narrow what the API server sends. Where an entry stands for several matches, only what all
-- of them ask for can stand here: the host decides then. The server's conditions know no namespaceObject.
local function narrow(entry, list, own_namespace)
  local conditions = {}
  entry.namespaceSelector = namespace_selector(list[1], own_namespace)
  if takes_secrets_unnamed(entry.rules) then
    conditions[1] = { name = "no-secrets", expression = "request.resource.resource != 'secrets'" }
  end
  local one = #list == 1 and list[1] or {}
  if one.label then entry.objectSelector = { matchExpressions = expressions(one.label) } end
  if one.when and not one.when:find("namespaceObject", 1, true) then
    conditions[#conditions + 1] = { name = "when", expression = one.when }
  end
  entry.matchConditions = #conditions > 0 and conditions or nil
end

local function seconds_for(policy)
  return math.max(1, math.min(30, math.ceil(policy.timeout + 1)))
end

-- What a policy's entries have in common is told by the policy; each has a path, which says what was selected.
local function entry_of(policy, list, number, options)
  local rules = {}
  for _, one in ipairs(list) do
    for _, rule in ipairs(rule_of(one)) do rules[#rules + 1] = rule end
  end
  local entry = {
    name = (number and number .. "." or "") .. policy.name .. M.DOMAIN,
    clientConfig = options.client(("/%s/%s%s"):format(policy.kind, policy.name, number and "/" .. number or "")),
    rules = rules,
    failurePolicy = policy.on_error == "fail" and "Fail" or "Ignore",
    matchPolicy = "Equivalent",
    sideEffects = "None",
    timeoutSeconds = seconds_for(policy),
    admissionReviewVersions = { "v1" },
  }
  if policy.kind == "mutate" then entry.reinvocationPolicy = "IfNeeded" end
  narrow(entry, list, options.namespace)
  return entry
end

-- One entry for each policy, but where its matches ask different things of namespaces: a selector for each of these.
local function add_entries(entries, policy, options)
  local groups = match.groups(policy.match)
  for number, group in ipairs(groups) do
    local list = {}
    for i, index in ipairs(group) do list[i] = policy.match[index] end
    entries[#entries + 1] = entry_of(policy, list, #groups > 1 and number or nil, options)
  end
end

-- The configurations that a release may have, in their order.
local PLACES = {
  { group = "early", kind = "MutatingWebhookConfiguration", prefix = "a-kfhost-" },
  { group = "late", kind = "MutatingWebhookConfiguration", prefix = "zz-kfhost-" },
  { group = "validate", kind = "ValidatingWebhookConfiguration", prefix = "kfhost-" },
}

---What a release's objects without a namespace are called: two releases of one name may be in two namespaces.
---@param release string
---@param namespace string where it runs
---@return string
function M.cluster_name(release, namespace)
  return namespace == HOME and release or ("%s.%s"):format(release, namespace) -- no release has a dot in its name
end

---@param release string
---@param namespace string where it runs
---@return {kind: string, name: string, group: string}[] places all the configurations that it may have
function M.places(release, namespace)
  local short, list = M.cluster_name(release, namespace):gsub("^kfhost%-", ""), {}
  for i, place in ipairs(PLACES) do
    list[i] = { kind = place.kind, name = place.prefix .. short, group = place.group }
  end
  return list
end

---@param place {kind: string, name: string}
---@param entries table[]?
---@return table configuration
function M.configuration(place, entries)
  return { apiVersion = "admissionregistration.k8s.io/v1", kind = place.kind, metadata = { name = place.name,
    labels = { ["app.kubernetes.io/managed-by"] = "kfhost" } }, webhooks = entries }
end

---@param description table of a policy.Set
---@param options {name: string, namespace: string, client: fun(path: string): table} client: the clientConfig of a path
---@return table[] configurations none of them without an entry
function M.configurations(description, options)
  local groups = { early = {}, late = {}, validate = {} }
  for _, policy in ipairs(description.policies) do
    local group = policy.kind == "mutate" and policy.position or "validate"
    add_entries(groups[group], policy, options)
  end
  local list = {}
  for _, place in ipairs(M.places(options.name, options.namespace)) do
    local entries = groups[place.group]
    if #entries > 0 then list[#list + 1] = M.configuration(place, entries) end
  end
  return list
end

return M
