-- lab.registry: which resources there are, and how discovery describes them, in both its forms.
-- Not for what may be done with them.
--   local r = registry.new(); r:find("apps", "v1", "deployments") -> lab.Resource?

local hash = require "hash"
local json = require "json"
local kinds = require "lab.kinds"

local M = {}

---@class lab.Registry
local registry = {}
registry.__index = registry

---@return lab.Registry with the built-in kinds
function M.new()
  local self = setmetatable({ order = {}, groups = {}, kept = {} }, registry)
  for _, group in ipairs(kinds.groups) do
    for _, row in ipairs(group.rows) do self:add(kinds.resource(group, row)) end
  end
  return self
end

---@param resource lab.Resource
function registry:add(resource)
  local group = self.groups[resource.group]
  if not group then
    group = { name = resource.group, versions = {}, order = {} }
    self.groups[resource.group] = group
    self.order[#self.order + 1] = group
  end
  local version = group.versions[resource.version]
  if not version then
    version = { name = resource.version, resources = {}, order = {} }
    group.versions[resource.version] = version
    group.order[#group.order + 1] = version
    table.sort(group.order, function(a, b) return M.version_before(a.name, b.name) end)
  end
  if not version.resources[resource.plural] then version.order[#version.order + 1] = resource.plural end
  version.resources[resource.plural] = resource
  table.sort(version.order)
  self.kept = {}
end

local function remove_from(list, wanted)
  for at, value in ipairs(list) do
    if value == wanted then return table.remove(list, at) end
  end
end

---@param resource lab.Resource
function registry:remove(resource)
  local group = self.groups[resource.group]
  local version = group and group.versions[resource.version]
  if not version or not version.resources[resource.plural] then return end
  version.resources[resource.plural] = nil
  remove_from(version.order, resource.plural)
  if #version.order == 0 then
    group.versions[resource.version] = nil
    remove_from(group.order, version)
  end
  if #group.order == 0 then
    self.groups[resource.group] = nil
    remove_from(self.order, group)
  end
  self.kept = {}
end

---@return lab.Resource?
function registry:find(group, version, plural)
  local g = self.groups[group]
  local v = g and g.versions[version]
  return v and v.resources[plural]
end

---A resource by its group and plural, in its preferred version.
---@return lab.Resource?
function registry:any(group, plural)
  local g = self.groups[group]
  for _, version in ipairs(g and g.order or {}) do
    if version.resources[plural] then return version.resources[plural] end
  end
end

---A resource by apiVersion and kind.
---@return lab.Resource?
function registry:of_kind(api_version, kind)
  local group, version = api_version:match "^(.*)/(.*)$"
  if not group then group, version = "", api_version end
  local g = self.groups[group]
  local v = g and g.versions[version]
  for _, plural in ipairs(v and v.order or {}) do
    if v.resources[plural].kind == kind then return v.resources[plural] end
  end
end

-- Versions by age: v2 before v1 before v1beta1 before v1alpha3 before what has no such name.
local function rank(name)
  local major, stage, minor = name:match "^v(%d+)(%a*)(%d*)$"
  if not major then return 0, 0, 0 end
  local stages = { [""] = 3, beta = 2, alpha = 1 }
  return stages[stage] or 0, tonumber(major), tonumber(minor) or 0
end

---@return boolean whether version a is preferred to version b
function M.version_before(a, b)
  local a1, a2, a3 = rank(a)
  local b1, b2, b3 = rank(b)
  if a1 ~= b1 then return a1 > b1 end
  if a2 ~= b2 then return a2 > b2 end
  if a3 ~= b3 then return a3 > b3 end
  return a < b
end

-- --- discovery, the old form ----------------------------------------------------------------------

local function group_version(group, version) return group == "" and version or group .. "/" .. version end
M.group_version = group_version

---@return table APIGroup
function registry.group_document(_, group)
  local versions = {}
  for i, version in ipairs(group.order) do
    versions[i] = { groupVersion = group_version(group.name, version.name), version = version.name }
  end
  return { name = group.name, versions = json.array(versions), preferredVersion = versions[1] }
end

local function version_hash(resource)
  return hash.base64((hash.sha256(resource.stored):sub(1, 16):gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end)))
end

local function add_rows(rows, resource)
  rows[#rows + 1] = {
    name = resource.plural, singularName = resource.singular, namespaced = resource.namespaced,
    kind = resource.kind, verbs = json.array(resource.verbs), shortNames = resource.short,
    categories = resource.categories,
    storageVersionHash = resource.may.get and version_hash(resource) or nil,
  }
  local names = {}
  for name in pairs(resource.subresources) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local sub = resource.subresources[name]
    rows[#rows + 1] = {
      name = resource.plural .. "/" .. name, singularName = "", namespaced = resource.namespaced,
      group = sub.group ~= "" and sub.group ~= resource.group and sub.group or nil,
      version = sub.group ~= "" and sub.group ~= resource.group and sub.version or nil,
      kind = sub.kind, verbs = json.array(sub.verbs),
    }
  end
end

---@return table? APIResourceList
function registry:resource_list(group_name, version_name)
  local group = self.groups[group_name]
  local version = group and group.versions[version_name]
  if not version then return nil end
  local rows = {}
  for _, plural in ipairs(version.order) do add_rows(rows, version.resources[plural]) end
  return { kind = "APIResourceList", apiVersion = group_name ~= "" and "v1" or nil,
           groupVersion = group_version(group_name, version_name), resources = json.array(rows) }
end

---@return table APIGroupList
function registry:group_list()
  local list = {}
  for _, group in ipairs(self.order) do
    if group.name ~= "" then list[#list + 1] = self:group_document(group) end
  end
  return { kind = "APIGroupList", apiVersion = "v1", groups = json.array(list) }
end

-- --- discovery, the aggregated form ---------------------------------------------------------------

local function response_kind(resource, kind, group, version)
  if not resource.custom and group == "" then return { group = "", version = "", kind = kind } end
  return { group = group, version = version, kind = kind }
end

local function aggregated_resource(resource)
  local subs, names = {}, {}
  for name in pairs(resource.subresources) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local sub = resource.subresources[name]
    subs[i] = { subresource = name, responseKind = response_kind(resource, sub.kind, sub.group, sub.version),
                verbs = json.array(sub.verbs) }
  end
  return {
    resource = resource.plural, scope = resource.namespaced and "Namespaced" or "Cluster",
    responseKind = resource.custom
      and { group = resource.group, version = resource.version, kind = resource.kind }
      or { group = "", version = "", kind = resource.kind },
    singularResource = resource.singular, verbs = json.array(resource.verbs), shortNames = resource.short,
    categories = resource.categories, subresources = #subs > 0 and json.array(subs) or nil,
  }
end

local function aggregated_group(group)
  local versions = {}
  for i, version in ipairs(group.order) do
    local rows = {}
    for j, plural in ipairs(version.order) do rows[j] = aggregated_resource(version.resources[plural]) end
    versions[i] = { version = version.name, resources = json.array(rows), freshness = "Current" }
  end
  return { metadata = group.name ~= "" and { name = group.name } or json.object {}, versions = json.array(versions) }
end

---@param core boolean of /api, else of /apis
---@return string body, string etag
function registry:aggregated(core)
  local kept = self.kept[core]
  if not kept then
    local items = {}
    for _, group in ipairs(self.order) do
      if (group.name == "") == core then items[#items + 1] = aggregated_group(group) end
    end
    local body = json.encode({ kind = "APIGroupDiscoveryList", apiVersion = "apidiscovery.k8s.io/v2",
                               metadata = json.object {}, items = json.array(items) }, { sort = true })
    kept = { body, '"' .. hash.sha256(body):upper() .. '"' }
    self.kept[core] = kept
  end
  return kept[1], kept[2]
end

return M
