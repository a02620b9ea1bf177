-- policy.rights: the RBAC rules that a set of policies declares: the union of reads and writes, nothing guessed.
-- Not for checking a call: the sandbox refuses what is not declared.
--   rights.rules(set.description) -> {{apiGroups=, resources=, verbs=}, …}

local json = require "json"
local resources = require "policy.inside.resources"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

local READ_VERBS = { "list", "watch" } -- what is followed; nothing is read by itself

-- Names, where given, narrow the right to objects of these names: for `bind` above all.
local function add(grants, text, verbs, names)
  local parsed = resources.parse(text)
  local name = parsed.plural .. (parsed.subresource and "/" .. parsed.subresource or "")
  local key = ("%s %s %s"):format(parsed.group or "", name, names and table.concat(names, " ") or "")
  grants[key] = grants[key] or { group = parsed.group or "", resource = name, verbs = {}, names = names }
  for _, verb in ipairs(verbs) do grants[key].verbs[verb] = true end
end

local function add_all(set, list)
  for _, text in ipairs(list) do set[text] = true end
end

---What reviews may look at: what is declared, and the labels of namespaces, for which a match may ask, and the bypass.
---@param description table of a policy.Set
---@return string[] resources sorted, each once
function M.reads(description)
  local set = {}
  if #description.policies > 0 then set.namespaces = true end
  for _, file in ipairs(description.files) do add_all(set, file.grants.reads) end
  return sorted_keys(set)
end

---What only the controller follows, for its watches and schedules.
---@param description table of a policy.Set
---@return string[] resources sorted, each once, none of those that reviews may look at
function M.follows(description)
  local set = {}
  for _, file in ipairs(description.files) do add_all(set, file.grants.follows) end
  for _, watch in ipairs(description.watches) do
    set[watch.resource] = true
    if type(watch.namespaces) == "table" and watch.namespaces.label then set.namespaces = true end
  end
  for _, text in ipairs(M.reads(description)) do set[text] = nil end
  return sorted_keys(set)
end

---@param description table of a policy.Set
---@return table[] rules of a ClusterRole, sorted
function M.rules(description)
  local grants = {}
  for _, text in ipairs(M.reads(description)) do add(grants, text, READ_VERBS) end
  for _, text in ipairs(M.follows(description)) do add(grants, text, READ_VERBS) end
  for _, watch in ipairs(description.watches) do
    if watch.finalize then add(grants, watch.resource, { "patch" }) end
  end
  for _, file in ipairs(description.files) do
    for _, write in ipairs(file.grants.writes) do add(grants, write.resource, write.verbs, write.names) end
  end
  if #description.watches > 0 or #description.schedules > 0 then add(grants, "events", { "create", "patch" }) end
  local rules = json.array {}
  for _, key in ipairs(sorted_keys(grants)) do
    local grant = grants[key]
    local verbs = sorted_keys(grant.verbs)
    rules[#rules + 1] = { apiGroups = { grant.group }, resources = { grant.resource }, resourceNames = grant.names,
      verbs = verbs }
  end
  return rules
end

return M
