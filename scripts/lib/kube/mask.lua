-- kube.mask: shows an object, or what a write changes in it, without its secrets.
-- Not for what is sent: only copies are masked.
--   print(mask.difference(before, after))

local diff = require "diff"
local json = require "json"
local yaml = require "yaml"

local M = {}

local HIDDEN <const> = "(hidden)"
local WORDS = { "token", "password", "passwd", "secret", "credential", "apikey", "api_key", "private" }

local function is_telling(name)
  name = name:lower()
  for _, word in ipairs(WORDS) do
    if name:find(word, 1, true) then return true end
  end
  return false
end

-- A hash tells equal from unequal, and nothing else.
local function hide(value, salt)
  if value == json.null then return value end
  local text = type(value) == "string" and value or json.encode(value, { sort = true })
  return HIDDEN .. " " .. require("hash").sha256(salt .. text):sub(1, 8)
end

local function hide_all(map, salt)
  if type(map) ~= "table" then return hide(map, salt) end
  local copy = json.object {}
  for key, value in pairs(map) do copy[key] = hide(value, salt) end
  return copy
end

local function masked(value, salt)
  if type(value) ~= "table" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for key, field in pairs(value) do
    if type(key) == "string" and is_telling(key) and type(field) == "string" then copy[key] = hide(field, salt)
    else copy[key] = masked(field, salt) end
  end
  -- env: the name says whether the value is secret
  if type(copy.name) == "string" and type(copy.value) == "string" and is_telling(copy.name) then
    copy.value = hide(value.value, salt)
  end
  return copy
end

local SALT = require("hash").random_hex(8) -- so that hashes of different runs tell nothing of each other

---A copy of an object that may be shown.
---@param object table
---@param kind string? where the object does not say it
---@return table
function M.object(object, kind)
  local copy = masked(object, SALT)
  kind = object.kind or kind
  if kind == "Secret" or kind == "secrets" then
    for _, field in ipairs { "data", "stringData" } do
      if object[field] ~= nil then copy[field] = hide_all(object[field], SALT) end
    end
  end
  local metadata = copy.metadata
  if type(metadata) == "table" then
    metadata.managedFields = nil
    if type(metadata.annotations) == "table" then
      local applied = "kubectl.kubernetes.io/last-applied-configuration"
      if metadata.annotations[applied] then metadata.annotations[applied] = HIDDEN end
    end
  end
  return copy
end

local function text(object, kind)
  if object == nil then return "" end
  if type(object) ~= "table" then return HIDDEN .. "\n" end
  return yaml.encode(M.object(object, kind))
end

---What a write changes, line by line, secrets masked.
---@param before table?
---@param after table?
---@param kind string?
---@return string
function M.difference(before, after, kind)
  return diff.unified(text(before, kind), text(after, kind), { from = "is", to = "will be" })
end

-- What a patch will make of an object; nil when only the server can tell.
local function after_patch(before, request)
  local body, media = json.try.decode(request.body or ""), request.content_type
  if type(body) ~= "table" then return nil end
  local patch = require("kube").patch
  if media == "application/merge-patch+json" then return (patch.try.merge(before, body)) end
  if media == "application/json-patch+json" then return (patch.try.json(before, body)) end
  return nil
end

---What a request is about to do, for the one who approves it.
---@param client table
---@param request table
---@return string
function M.preview(client, request)
  local body = request.body and json.try.decode(request.body)
  local kind = request.resource
  local before
  if request.name and not request.subresource and request.method ~= "POST" then
    before = client.try:get(request.kind or request.resource, request.name, { namespace = request.namespace })
  end
  if request.method == "DELETE" then return text(before, kind):gsub("^", "- "):gsub("\n(.)", "\n- %1") end
  if request.method == "PATCH" then
    local after = before and after_patch(before, request)
    if after then return M.difference(before, after, kind) end
    return "patch:\n" .. (kind == "secrets" and HIDDEN or text(body, kind))
  end
  return M.difference(before, body, kind)
end

return M
