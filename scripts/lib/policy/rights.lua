-- policy.rights: the RBAC rules that a set of policies declares: the union of reads and writes, nothing guessed.
-- Not for checking a call: the sandbox refuses what is not declared.
--   rights.rules(set.description) -> {{apiGroups=, resources=, verbs=}, …}

local resources = require "policy.inside.resources"

local M = {}

local READ_VERBS = { "get", "list", "watch" }

local function add(grants, text, verbs)
  local parsed = resources.parse(text)
  local name = parsed.plural .. (parsed.subresource and "/" .. parsed.subresource or "")
  local key = (parsed.group or "") .. " " .. name
  grants[key] = grants[key] or { group = parsed.group or "", resource = name, verbs = {} }
  for _, verb in ipairs(verbs) do grants[key].verbs[verb] = true end
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- Namespaces' labels are read where a match asks for them; watches read what they follow.
local function implied_reads(description)
  local reads = {}
  for _, policy in ipairs(description.policies) do
    for _, match in ipairs(policy.match) do
      if match.namespaces and match.namespaces.label then reads[#reads + 1] = "namespaces" end
    end
  end
  for _, watch in ipairs(description.watches) do reads[#reads + 1] = watch.resource end
  return reads
end

---What reviews may look at and the controller follows.
---@param description table of a policy.Set
---@return string[] resources sorted, each once
function M.reads(description)
  local set = {}
  for _, text in ipairs(implied_reads(description)) do set[text] = true end
  for _, file in ipairs(description.files) do
    for _, text in ipairs(file.grants.reads) do set[text] = true end
  end
  return sorted_keys(set)
end

---What only the controller follows, for its watches and schedules.
---@param description table of a policy.Set
---@return string[] resources sorted, each once, none of those that reviews may look at
function M.follows(description)
  local set = {}
  for _, file in ipairs(description.files) do
    for _, text in ipairs(file.grants.follows) do set[text] = true end
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
    for _, write in ipairs(file.grants.writes) do add(grants, write.resource, write.verbs) end
  end
  if #description.watches > 0 or #description.schedules > 0 then add(grants, "events", { "create", "patch" }) end
  local rules = {}
  for _, key in ipairs(sorted_keys(grants)) do
    local grant = grants[key]
    local verbs = sorted_keys(grant.verbs)
    rules[#rules + 1] = { apiGroups = { grant.group }, resources = { grant.resource }, verbs = verbs }
  end
  return rules
end

return M
