-- kfp.secrets: what stands here for a cluster's secrets: folders, files of NAME=VALUE lines, manifests, tables.
-- Not for where they go: environment (kfp.executor) and files (kfp.mounts).
--   local known = secrets.new { db = "db.env" }; print(known:get("db", "password"))
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"

local M = {}

local function fail(path, message, ...)
  errors.raise { code = "Usage", message = ("%s: %s"):format(path, message:format(...)), path = path }
end

local function of_folder(path)
  local values = {}
  for _, name in ipairs(fs.list(path)) do
    local stat = name:sub(1, 1) ~= "." and fs.try.stat(fs.join(path, name))
    if stat and stat.type == "file" then values[name] = fs.read(fs.join(path, name)) end
  end
  return values
end

local function unquoted(text)
  return text:match "^\"(.*)\"$" or text:match "^'(.*)'$" or text
end

local function of_lines(path, text)
  local values, number = {}, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    if line:find "%S" and not line:find "^%s*#" then
      local key, value = line:match "^%s*([%w._-]+)%s*=%s*(.-)%s*$"
      if not key then key, value = line:match "^%s*export%s+([%w._-]+)=(.-)%s*$" end
      if not key then fail(path, "line %d is not KEY=VALUE", number) end
      values[key] = unquoted(value)
    end
  end
  return values
end

-- A manifest may hold several; the one of the name counts.
local function of_manifest(path, text, name)
  for _, document in ipairs(require "yaml".decode_all(text)) do
    local is_named = type(document) == "table" and type(document.metadata) == "table"
      and document.metadata.name == name
    if is_named and (document.kind == "Secret" or document.kind == "ConfigMap") then
      local values = {}
      for key, value in pairs(document.data or {}) do
        values[key] = document.kind == "Secret" and hash.unbase64(value) or value
      end
      for key, value in pairs(document.stringData or {}) do values[key] = value end
      return values
    end
  end
  return fail(path, "it has no Secret or ConfigMap '%s'", name)
end

---What a secret of a name holds.
---@param name string
---@param source string|table<string, string> a folder with a file per key, a file of KEY=VALUE lines, a manifest
---  (.yaml, .yml, .json), or the values
---@return table<string, string> # raises "Usage", "YAML", or the errno's name
function M.read(name, source)
  if type(source) == "table" then return source end
  if fs.stat(source) == nil then fail(source, "there is neither a file nor a folder for the secret '%s'", name) end
  if fs.stat(source).type == "directory" then return of_folder(source) end
  local text = fs.read(source)
  if source:find "%.ya?ml$" or source:find "%.json$" then return of_manifest(source, text, name) end
  return of_lines(source, text)
end

---@param sources table<string, string|table<string, string>>? by name, as for read
---@return table<string, table<string, string>> values by name and key
function M.new(sources)
  local known = {}
  for name, source in pairs(sources or {}) do known[name] = M.read(name, source) end
  return known
end

return M
