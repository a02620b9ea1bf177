-- policy.inside.objects: the objects that reviews may look at: what the controller published, or a test gave.
-- Not for writes; not for live reads: what is here may be some seconds old.
--   objects.put(object)   objects.get("pods", "", "team-a", "x")   objects.age()

local json = require "json"
local resources = require "policy.inside.resources"

local M = {}

local tables = {} -- "plural.group" -> { ["ns/name"] = object or JSON text }
local KEPT = 4 << 20 -- bytes of texts whose objects are kept; of more they are made again when the collector took them
local kept, kept_bytes = {}, 0 -- text -> object
local made = setmetatable({}, { __mode = "v" }) -- text -> object

local function table_of(plural, group)
  local key = plural .. "." .. group
  tables[key] = tables[key] or {}
  return tables[key]
end

local function key_of(namespace, name)
  return (namespace or "") .. "/" .. name
end

local function forget(text)
  if type(text) ~= "string" then return end
  if kept[text] then kept_bytes = kept_bytes - #text end
  kept[text], made[text] = nil, nil
end

local function decoded(list, key)
  local text = list[key]
  if type(text) ~= "string" then return text end
  local object = kept[text] or made[text]
  if object then return object end
  object = json.decode(text)
  if kept_bytes + #text <= KEPT then
    kept[text], kept_bytes = object, kept_bytes + #text
  else
    made[text] = object
  end
  return object
end

---Forgets everything.
function M.clear()
  tables, kept, kept_bytes = {}, {}, 0
end

---@param object table with apiVersion, kind and metadata; without a name it is passed over
function M.put(object)
  if type(object.metadata) ~= "table" or type(object.metadata.name) ~= "string" then return end
  local resource = resources.of_kind(object.apiVersion, object.kind)
  local metadata = object.metadata
  table_of(resource.plural, resource.group)[key_of(resource.namespaced and metadata.namespace, metadata.name)] = object
end

---Takes a change that was published.
---@param change {plural: string, group: string, namespace: string?, name: string, text: string?} without text: gone
function M.publish(change)
  local list, key = table_of(change.plural, change.group), key_of(change.namespace, change.name)
  forget(list[key])
  list[key] = change.text
end

---@return table? object
function M.get(plural, group, namespace, name)
  return decoded(table_of(plural, group), key_of(namespace, name))
end

---@return function iterator over the objects of a resource, in the order of their names
function M.each(plural, group)
  local list = table_of(plural, group)
  local keys = {}
  for key in pairs(list) do keys[#keys + 1] = key end
  table.sort(keys)
  local i = 0
  return function()
    i = i + 1
    return keys[i] and decoded(list, keys[i])
  end
end

return M
