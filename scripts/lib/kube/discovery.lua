-- kube.discovery: which kinds a server has, and which of them a name means.
-- Not for their fields (kube.schema).
--   local d = discovery.new(fetch); d:resolve "deploy" -> { plural = "deployments", group = "apps", … }

local builtin = require "kube.builtin"
local documents = require "kube.documents"
local errors = require "errors"

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

-- --- what the documents say ----------------------------------------------------------------------------

-- The resources of one group and version, whose subresources are entries of their own.
local function add_resources(list, document)
  local group, version = document.groupVersion:match "^(.-)/?([^/]+)$"
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

---@param found kube.Discovery
---@return kube.Resource[]
local function resources_of(found)
  local list = {}
  for _, version in ipairs(documents.versions(found)) do
    if found.lists[version] then add_resources(list, found.lists[version]) end
  end
  return list
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
  local found = not anew and documents.read(self.path)
  if not found then
    found = documents.fetch(self.fetch)
    documents.write(self.path, found)
    self.fetched = self.fetched + 1
  end
  self.list = resources_of(found)
  return self.list
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
  local path = server and documents.path(server) or nil
  return setmetatable({ fetch = fetch, path = path, names = {}, fetched = 0 }, discovery)
end

return M
