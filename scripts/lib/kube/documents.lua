-- kube.documents: what a server says of its groups and kinds, and the copy of it on disk that kubectl shares:
-- ~/.kube/cache/discovery/HOST_PORT/servergroups.json and GROUP/VERSION/serverresources.json.
-- Not for what the names mean (kube.discovery).
--   local found = documents.read(path) or documents.fetch(fetch)

local errors = require "errors"
local fs = require "fs"
local json = require "json"
local task = require "task"

local M = {}

---@class kube.Discovery
---@field groups table the APIGroupList, the core group among them
---@field lists table<string, table> APIResourceLists by group and version ("apps/v1", "v1")

local AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
  .. "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
local MAX_AGE <const> = 6 * 3600 -- seconds that what is on disk is believed, as with kubectl

-- --- the server's answers ------------------------------------------------------------------------------

local function group_version(group, version)
  return group == "" and version or group .. "/" .. version
end

local function group_named(found, name)
  for _, group in ipairs(found.groups.groups) do
    if group.name == name then return group end
  end
  local group = { name = name, versions = json.array {} }
  table.insert(found.groups.groups, group)
  return group
end

-- The first version of a group is the preferred one.
local function add_version(found, name, version)
  local group, full = group_named(found, name), group_version(name, version)
  for _, known in ipairs(group.versions) do
    if known.groupVersion == full then return end
  end
  table.insert(group.versions, { groupVersion = full, version = version })
  group.preferredVersion = group.versions[1]
end

-- The entry of a resource or subresource; its kind's group and version are said where they are others.
local function entry_of(name, from, namespaced, group, version)
  local kind = from.responseKind or {}
  local elsewhere = kind.group ~= group or kind.version ~= version
  return {
    name = name, singularName = from.singularResource or "", namespaced = namespaced, kind = kind.kind or "",
    group = elsewhere and kind.group or nil, version = elsewhere and kind.version or nil,
    verbs = json.array(from.verbs or {}), shortNames = from.shortNames, categories = from.categories,
  }
end

local function list_of(found, version)
  local list = found.lists[version]
  if not list then
    list = { kind = "APIResourceList", apiVersion = "v1", groupVersion = version, resources = json.array {} }
    found.lists[version] = list
  end
  return list.resources
end

local function add_resources(found, group, version)
  local list = list_of(found, group_version(group, version.version))
  for _, resource in ipairs(version.resources or {}) do
    local namespaced = resource.scope == "Namespaced"
    list[#list + 1] = entry_of(resource.resource, resource, namespaced, group, version.version)
    for _, sub in ipairs(resource.subresources or {}) do
      list[#list + 1] = entry_of(resource.resource .. "/" .. sub.subresource, sub, namespaced, group, version.version)
    end
  end
end

local function add_aggregated(found, document)
  for _, group in ipairs(document.items or {}) do
    local name = group.metadata and group.metadata.name or ""
    for _, version in ipairs(group.versions or {}) do
      add_version(found, name, version.version)
      add_resources(found, name, version)
    end
  end
end

-- A group whose server is down (an aggregated API) must not hide the others.
local function add_lists(found, fetch, paths)
  local jobs = {}
  for index, path in ipairs(paths) do
    jobs[index] = function()
      local ok, document = pcall(fetch, path, "application/json")
      if ok then return document end
      if not errors.is(document) or document.code == "Cancelled" then error(document, 0) end
      return {}
    end
  end
  for _, document in ipairs(task.all(jobs)) do
    if type(document.groupVersion) == "string" then found.lists[document.groupVersion] = document end
  end
end

local function add_legacy(found, fetch, document)
  local paths = {}
  for _, group in ipairs(document.groups or {}) do
    table.insert(found.groups.groups, group)
    for _, version in ipairs(group.versions or {}) do paths[#paths + 1] = "/apis/" .. version.groupVersion end
  end
  for _, version in ipairs(document.versions or {}) do paths[#paths + 1] = "/api/" .. version end
  for _, version in ipairs(document.versions or {}) do add_version(found, "", version) end
  add_lists(found, fetch, paths)
end

---Asks the server for all its kinds.
---@param fetch fun(path: string, accept: string): table the decoded answer; raises
---@return kube.Discovery
function M.fetch(fetch)
  local found = { groups = { kind = "APIGroupList", apiVersion = "v1", groups = json.array {} }, lists = {} }
  for _, path in ipairs { "/api", "/apis" } do
    local document = fetch(path, AGGREGATED)
    if document.kind == "APIGroupDiscoveryList" then add_aggregated(found, document)
    else add_legacy(found, fetch, document) end
  end
  return found
end

---All groups and versions in the server's order, of each group the preferred version first.
---@param found kube.Discovery
---@return string[] "v1", "apps/v1", …
function M.versions(found)
  local list = {}
  for _, group in ipairs(found.groups.groups or {}) do
    local preferred = group.preferredVersion and group.preferredVersion.groupVersion
    if preferred then list[#list + 1] = preferred end
    for _, version in ipairs(group.versions or {}) do
      if version.groupVersion ~= preferred then list[#list + 1] = version.groupVersion end
    end
  end
  return list
end

-- --- on disk -----------------------------------------------------------------------------------------------

---The folder of a server's documents, named as kubectl names it.
---@param server string its URL
---@return string? path
function M.path(server)
  local folder = os.getenv "KUBECACHEDIR" or (os.getenv "HOME" and os.getenv "HOME" .. "/.kube/cache")
  if not folder or folder == "" then return nil end
  local host = server:gsub("https://", "", 1):gsub("http://", "", 1):gsub("[^%w_/.()]", "_"):gsub("%.%.", "__")
  return ("%s/discovery/%s"):format(folder, host)
end

local function list_path(folder, version)
  return ("%s/%s/serverresources.json"):format(folder, version:gsub("%.%.", "__"))
end

local function read(path, kind)
  local stat = fs.stat(path)
  if not stat or os.time() - stat.mtime > MAX_AGE then return nil end
  local text = fs.try.read(path)
  local document = text and json.try.decode(text, { duplicates = "last" })
  return type(document) == "table" and document.kind == kind and document or nil
end

---What is on disk, when all of it is there and not older than six hours.
---@param folder string?
---@return kube.Discovery?
function M.read(folder)
  local groups = folder and read(folder .. "/servergroups.json", "APIGroupList")
  if not groups then return nil end
  local found = { groups = groups, lists = {} }
  for _, version in ipairs(M.versions(found)) do
    found.lists[version] = read(list_path(folder, version), "APIResourceList")
    if not found.lists[version] then return nil end
  end
  return found
end

-- kubectl may read at the same time: a file is there whole, or not.
local function write(path, document)
  fs.try.mkdir(fs.dirname(path), { parents = true, mode = tonumber("750", 8) })
  local _, problem = fs.try.write(path, json.encode(document, { sort = true }) .. "\n", { mode = tonumber("660", 8) })
  return problem == nil
end

---Keeps the documents on disk. A cache that cannot be written is no cache, and no error.
---@param folder string?
---@param found kube.Discovery
function M.write(folder, found)
  if not folder then return end
  for version, list in pairs(found.lists) do
    if not write(list_path(folder, version), list) then return end
  end
  write(folder .. "/servergroups.json", found.groups)
end

---Forgets what is on disk of a server: another one answers at its address now.
---@param server string its URL
function M.forget(server)
  local folder = M.path(server)
  if folder then fs.try.remove(folder, { recursive = true }) end
end

return M
