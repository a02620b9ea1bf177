-- policy.serve.paths: what a set of policies answers for: "validate/NAME" with the number of its webhook entries.
-- Not for what the API server is told (policy.webhooks).
--   paths.of(set.description) -> { ["validate/tags"] = 1 }     paths.serves(known, "/validate/tags/1") -> true

local json = require "json"
local match = require "policy.inside.match"
local workers = require "workers"

local M = {}

---@param description table of a policy.Set
---@return table<string, integer> paths an object for JSON
function M.of(description)
  local paths = json.object {}
  for _, policy in ipairs(description.policies) do
    paths[policy.kind .. "/" .. policy.name] = #match.groups(policy.match)
  end
  return paths
end

---@param path string of a webhook, such as "/validate/tags/2"
---@return string policy "validate/tags"
---@return integer? entry 2
function M.parse(path)
  local policy, entry = path:match "^/(%l+/[^/]+)/(%d+)$"
  return policy or path:match "^/(%l+/[^/]+)$" or path:sub(2), math.tointeger(entry)
end

---@param paths table<string, integer>
---@param path string
---@return boolean
function M.serves(paths, path)
  local policy, entry = M.parse(path)
  return paths[policy] ~= nil and (entry or 1) <= paths[policy]
end

-- --- what was answered here before -----------------------------------------------------------------------------------

local function read()
  local text, version = workers.read "paths"
  return text and json.decode(text) or json.object {}, version or 0
end

---Notes what the processes of this host answer for from now on; what they did before stays known.
---@param paths table<string, integer>
---@return boolean first whether nothing was answered here before
function M.publish(paths)
  local known, version = read()
  for policy, entries in pairs(paths) do known[policy] = math.max(entries, known[policy] or 0) end
  workers.publish("paths", json.encode(known, { sort = true }))
  return version == 0
end

---What is asked for here although the files have it no more: until the API server has learned of that, it asks.
---@param description table of a policy.Set
---@return fun(path: string): string?, string? kind and policy of such a path
function M.retired(description)
  local own, known, version = M.of(description), {}, 0
  return function(path)
    if workers.version "paths" ~= version then known, version = read() end
    if M.serves(own, path) or not M.serves(known, path) then return nil end
    return M.parse(path):match "^(%l+)/(.*)$"
  end
end

return M
