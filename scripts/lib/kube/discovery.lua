-- kube.discovery: which kinds a server has, and which of them a name means.
-- Not for their fields (kube.schema).
--   local d = discovery.new(fetch); d:resolve "deploy" -> { plural = "deployments", group = "apps", … }

local builtin = require "kube.builtin"
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local task = require "task"

local M = {}

---@class kube.Resource
---@field group string "" for the core group
---@field version string
---@field kind string
---@field plural string
---@field singular string
---@field short string[]
---@field namespaced boolean
---@field verbs string[]?
---@field subresources table<string, boolean>

local AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
  .. "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
local MAX_AGE <const> = 6 * 3600 -- seconds that what is on disk is believed, as with kubectl

-- --- the server's answers ------------------------------------------------------------------------------

local function add_aggregated(list, document)
  for _, group in ipairs(document.items or {}) do
    local group_name = group.metadata and group.metadata.name or ""
    for _, version in ipairs(group.versions or {}) do
      for _, entry in ipairs(version.resources or {}) do
        local subresources = {}
        for _, sub in ipairs(entry.subresources or {}) do subresources[sub.subresource] = true end
        list[#list + 1] = {
          group = group_name, version = version.version, kind = entry.responseKind.kind, plural = entry.resource,
          singular = entry.singularResource or "", short = entry.shortNames or {}, verbs = entry.verbs,
          namespaced = entry.scope == "Namespaced", subresources = subresources,
        }
      end
    end
  end
end

-- The resources of one group and version, whose subresources are entries of their own.
local function add_resource_list(list, document)
  local group, version = (document.groupVersion or ""):match "^(.-)/?([^/]+)$"
  local by_plural = {}
  for _, entry in ipairs(document.resources or {}) do
    local plural, sub = entry.name:match "^([^/]+)/(.+)$"
    if sub then
      if by_plural[plural] then by_plural[plural].subresources[sub] = true end
    else
      local made = {
        group = group, version = version, kind = entry.kind, plural = entry.name, singular = entry.singularName or "",
        short = entry.shortNames or {}, verbs = entry.verbs, namespaced = entry.namespaced, subresources = {},
      }
      by_plural[entry.name] = made
      list[#list + 1] = made
    end
  end
end

-- Versions of a group, the preferred one first.
local function versions_of(group)
  local list = {}
  local preferred = group.preferredVersion and group.preferredVersion.groupVersion
  if preferred then list[1] = preferred end
  for _, version in ipairs(group.versions or {}) do
    if version.groupVersion ~= preferred then list[#list + 1] = version.groupVersion end
  end
  return list
end

-- A group whose server is down (an aggregated API) must not hide the others.
local function fetch_resource_lists(fetch, paths)
  local jobs = {}
  for index, path in ipairs(paths) do
    jobs[index] = function()
      local ok, document = pcall(fetch, path, "application/json")
      if ok then return document end
      if not errors.is(document) or document.code == "Cancelled" then error(document, 0) end
      return {}
    end
  end
  return task.all(jobs)
end

local function load_groups(fetch, list, document)
  local paths = {}
  for _, group in ipairs(document.groups or {}) do
    for _, version in ipairs(versions_of(group)) do paths[#paths + 1] = "/apis/" .. version end
  end
  for _, version in ipairs(document.versions or {}) do paths[#paths + 1] = "/api/" .. version end
  for _, found in ipairs(fetch_resource_lists(fetch, paths)) do add_resource_list(list, found) end
end

---Asks the server for all its kinds.
---@param fetch fun(path: string, accept: string): table the decoded answer; raises
---@return kube.Resource[]
function M.fetch(fetch)
  local list = {}
  for _, path in ipairs { "/api", "/apis" } do
    local document = fetch(path, AGGREGATED)
    if document.kind == "APIGroupDiscoveryList" then add_aggregated(list, document)
    else load_groups(fetch, list, document) end
  end
  return list
end

-- --- the cache on disk -----------------------------------------------------------------------------------

local function cache_path(server)
  local folder = os.getenv "KUBECACHEDIR" or (os.getenv "HOME" and os.getenv "HOME" .. "/.kube/cache")
  if not folder then return nil end
  local host = server:gsub("^https?://", ""):gsub("[^%w.-]", "_")
  return ("%s/discovery/%s/kfhost.json"):format(folder, host)
end

local function read_cache(path)
  local stat = path and fs.stat(path)
  if not stat or os.time() - stat.mtime > MAX_AGE then return nil end
  local text = fs.try.read(path)
  local list = text and json.try.decode(text)
  return type(list) == "table" and list or nil
end

-- A cache that cannot be written is no cache, and no error.
local function write_cache(path, list)
  if not path then return end
  if fs.try.mkdir(fs.dirname(path), { parents = true, mode = 448 }) == nil and not fs.exists(fs.dirname(path)) then
    return
  end
  fs.try.write(path, json.encode(list), { mode = 384 })
end

-- --- names --------------------------------------------------------------------------------------------------

local function has(list, word)
  for _, element in ipairs(list) do
    if element == word then return true end
  end
  return false
end

local function is_called(resource, word)
  return resource.plural == word or resource.singular == word or resource.kind:lower() == word
    or has(resource.short, word)
end

-- "deployments.v1.apps" may be a name with version and group, or with a group "v1.apps".
local function readings(name)
  local word, rest = name:match "^([^.]+)%.(.*)$"
  if not word then return { { word = name:lower() } } end
  local version, group = rest:match "^([^.]+)%.?(.*)$"
  local list = { { word = word:lower(), group = rest } }
  if version then list[2] = { word = word:lower(), version = version, group = group } end
  return list
end

local function find(list, reading)
  for _, resource in ipairs(list) do
    if is_called(resource, reading.word) and (not reading.group or resource.group == reading.group)
      and (not reading.version or resource.version == reading.version) then
      return resource
    end
  end
end

-- "apps/v1/Deployment", "v1/Pod": how patches name a type.
local function find_type(list, name)
  local group, version, kind = name:match "^([^/]*)/([^/]+)/([^/]+)$"
  if not kind then
    group, version, kind = "", name:match "^([^/]+)/([^/]+)$"
  end
  if not kind then return nil end
  for _, resource in ipairs(list) do
    if resource.group == group and resource.version == version
      and (resource.kind == kind or resource.plural == kind) then
      return resource
    end
  end
end

local function find_name(list, name)
  if name:find "/" then return find_type(list, name) end
  for _, reading in ipairs(readings(name)) do
    local resource = find(list, reading)
    if resource then return resource end
  end
end

local discovery = {}
discovery.__index = discovery

-- What the server said, from memory or disk; `anew` asks again.
function discovery:all(anew)
  if self.list and not anew then return self.list end
  local list = not anew and read_cache(self.path)
  if not list then
    list = M.fetch(self.fetch)
    write_cache(self.path, list)
    self.fetched = self.fetched + 1
  end
  self.list = list
  return list
end

-- Known kinds, then what is remembered of the server, then what it says now.
function discovery:look(finder, name)
  local found = finder(builtin.resources(), name)
  if found then return found end
  local asked_before = self.fetched
  found = finder(self:all(), name)
  if found or self.fetched ~= asked_before then return found end
  return finder(self:all(true), name) -- a kind may have come since
end

local function near_names(list, word)
  local names, seen = {}, {}
  for _, resources in ipairs { builtin.resources(), list } do
    for _, resource in ipairs(resources) do
      for _, name in ipairs { resource.plural, resource.singular, table.unpack(resource.short) } do
        if name ~= "" and not seen[name] then
          seen[name] = true
          names[#names + 1] = name
        end
      end
    end
  end
  return require("cli.words").near(word:lower(), names)
end

---The resource that a name means: plural, singular, short name, kind, plural.group, plural.version.group.
---@param name string
---@return kube.Resource
---raises {code="NotFound"} with names that are near
function discovery:resolve(name)
  if type(name) ~= "string" or name == "" then error("a kind is expected, such as \"pods\"", 3) end
  local kept = self.names[name]
  if kept then return kept end
  local found = self:look(find_name, name)
  if found then
    self.names[name] = found
    return found
  end
  local near = near_names(self.list or {}, name)
  errors.raise {
    code = "NotFound", resource = name,
    message = ("the server has no kind '%s'"):format(name)
      .. (#near > 0 and " (did you mean " .. table.concat(near, " or ") .. "?)" or ""),
  }
end

---The resource of an object.
---@param api_version string "apps/v1"
---@param kind string "Deployment"
---@return kube.Resource; raises {code="NotFound"}
function discovery:of(api_version, kind)
  return self:resolve(api_version .. "/" .. kind)
end

---@param fetch fun(path: string, accept: string): table
---@param server string? whose answers are kept on disk
---@return table
function M.new(fetch, server)
  local path = server and cache_path(server) or nil
  return setmetatable({ fetch = fetch, path = path, names = {}, fetched = 0 }, discovery)
end

return M
