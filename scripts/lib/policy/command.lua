-- policy.command: what the commands of `kfhost policy` share: options, settings, objects from files.
-- Not for reviews.
--   local set = command.load(args); for _, object in ipairs(command.objects(args.objects)) do … end

local errors = require "errors"
local files = require "policy.files"
local fs = require "fs"
local json = require "json"
local policy = require "policy"
local yaml = require "yaml"

local M = {}

local OWN_NAMESPACE = "kfhost-system" -- where manifests puts the host: no policy is about it, unless one names it

M.CONFIG = { "--config FILE", "settings as YAML: {STEM: {KEY: value}}, STEM the policy file's stem" }

-- What a text says; nothing, or comments alone, is an empty map.
local function decoded(text)
  local value = yaml.decode(text)
  if value == nil or value == json.null then return {} end
  return value
end

-- KEY_file stands for a long KEY in a YAML file of its own, beside the settings.
local function with_files(config, directory)
  local resolved = {}
  for key, value in pairs(config) do
    local name = type(key) == "string" and type(value) == "string" and key:match "^(.+)_file$"
    if name then
      local path = value:sub(1, 1) == "/" and value or fs.join(directory, value)
      resolved[name] = decoded(fs.read(path))
    else
      resolved[key] = value
    end
  end
  return resolved
end

---@param path string? of a YAML file
---@return table<string, table> configs settings by stem, those of further files in their place; raises "Config"
function M.configs(path)
  if not path then return {} end
  local configs = decoded(fs.read(files.place(path)))
  if type(configs) ~= "table" then
    errors.raise { code = "Config", message = "settings are a map of maps: {STEM: {KEY: value}}", path = path }
  end
  for stem, config in pairs(configs) do
    if config == json.null then config = {} end
    if type(stem) ~= "string" or type(config) ~= "table" then
      local message = ("the settings of '%s' are no map"):format(tostring(stem))
      errors.raise { code = "Config", path = path, message = message }
    end
    configs[stem] = with_files(config, path:match "^(.*)/" or ".")
  end
  return configs
end

local function check_stems(configs, set, path)
  local known = {}
  for _, file in ipairs(set.description.files) do known[file.stem] = true end
  for stem in pairs(configs) do
    if not known[stem] then
      errors.raise { code = "Config", path = path, message = ("settings for '%s', which is not loaded"):format(stem) }
    end
  end
end

---@param args {file: string[], config: string?}
---@param options {bypass_groups: string[]?, own_namespace: string?, files: table[]?, configs: table?}? files, configs:
---  what was read before, instead of reading it
---@return policy.Set
function M.load(args, options)
  options = options or {}
  local configs = options.configs or M.configs(args.config)
  local set = policy.load(args.file, { configs = configs, files = options.files, bypass_groups = options.bypass_groups,
    own_namespace = options.own_namespace or OWN_NAMESPACE })
  check_stems(configs, set, args.config)
  return set
end

---A client for the cluster that the command line or the environment names; it does not tell of each write.
---@return table client
function M.connect()
  return require "kube".connect { manager = "kfhost-policy", log = function(record)
    if record.level == "warning" then require "kube.log".to_stderr(record) end
  end }
end

-- Lists stand for their items; those of an API server's own lists know their kind by the list only.
local function add(objects, document, list)
  if type(document) ~= "table" then return end
  if type(document.kind) == "string" and document.kind:find "List$" and type(document.items) == "table" then
    for _, item in ipairs(document.items) do add(objects, item, document) end
    return
  end
  if list and list.kind ~= "List" then
    document.apiVersion = document.apiVersion or list.apiVersion
    document.kind = document.kind or list.kind:gsub("List$", "")
  end
  objects[#objects + 1] = document
end

local function is_object(document)
  return type(document) == "table" and type(document.apiVersion) == "string" and type(document.kind) == "string"
end

local function is_none(value)
  return value == nil or value == json.null
end

-- What is wrong with an object's metadata; nil when nothing is. YAML reads some words as something else (`y` is true):
-- that is found here, not later in a policy.
local function fault_of(metadata)
  if is_none(metadata) then return nil end
  if type(metadata) ~= "table" then return "metadata is no map" end
  for _, field in ipairs { "name", "namespace", "generateName" } do
    local value = metadata[field]
    if not is_none(value) and type(value) ~= "string" then
      return ("metadata.%s is the %s %s, not a text: quote it"):format(field, type(value), tostring(value))
    end
  end
end

local function check(objects, path)
  for number, object in ipairs(objects) do
    local fault = fault_of(object.metadata)
    if fault then
      errors.raise { code = "Object", path = path, message = ("object %d, %s: %s"):format(number, object.kind, fault) }
    end
  end
end

---@param text string YAML (JSON is YAML), several documents
---@param path string for messages
---@return table[] objects raises "Object" for a document that is no object
function M.parse(text, path)
  local objects = {}
  for number, document in ipairs(yaml.decode_all(text)) do
    if type(document) == "table" then
      local from = #objects
      add(objects, document)
      for i = from + 1, #objects do
        if not is_object(objects[i]) then
          local message = ("document %d has no apiVersion or kind"):format(number)
          if objects[i] ~= document then message = ("an item of %s"):format(message) end
          errors.raise { code = "Object", path = path, message = message }
        end
      end
    end
  end
  check(objects, path)
  return objects
end

---@param paths string[] files or "-"; none: standard input
---@return table[] objects
function M.objects(paths)
  local objects = {}
  if #paths == 0 then paths = { "-" } end
  for _, path in ipairs(paths) do
    local text = path == "-" and io.read "a" or fs.read(path)
    for _, object in ipairs(M.parse(text, path)) do objects[#objects + 1] = object end
  end
  return objects
end

---What a kind has in the cluster, page by page; a kind that the server does not know has nothing.
---@param client table of kube.connect
---@param kind string
---@param namespace string? all without it
---@param visit fun(object: table)
function M.each(client, kind, namespace, visit)
  local ok, problem = pcall(function()
    for object in client:each(kind, { namespace = namespace or "*" }) do
      object.apiVersion, object.kind = object.apiVersion, object.kind -- an item knows them by its list only
      visit(object)
    end
  end)
  if ok then return end
  local unknown = errors.is(problem) and (problem.status == 404 or problem.code == "NotFound")
  if not unknown then error(problem, 0) end
end

---@param object table
---@return string name such as "Job team-a/train"
function M.name_of(object)
  local metadata = object.metadata or {}
  local name = metadata.name or metadata.generateName or "(no name)"
  return ("%s %s%s"):format(object.kind, metadata.namespace and metadata.namespace .. "/" or "", name)
end

return M
