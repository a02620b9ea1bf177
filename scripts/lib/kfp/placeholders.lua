-- The placeholders {{$…}} of a container's words, and Concat and IfPresent.
-- Not for conditions: see kfp.expression.
--   placeholders.words({ "{{$.inputs.parameters['x']}}" }, input, names)
local errors = require "errors"
local json = require "json"

local M = {}

local MOUNTS = {
  ["gs://"] = "/gcs/", ["s3://"] = "/s3/", ["minio://"] = "/minio/", ["oci://"] = "/oci/", ["file://"] = "",
}

---Where an artifact's file is for a step.
---@param uri string
---@return string
function M.local_path(uri)
  for scheme, mount in pairs(MOUNTS) do
    if uri:sub(1, #scheme) == scheme then return mount .. uri:sub(#scheme + 1) end
  end
  return uri
end

local function as_text(value)
  if type(value) == "string" then return value end
  return value == nil and "" or json.encode(value, { sort = true })
end

local function of_artifact(entry, rest)
  local artifact = entry.artifacts[1]
  if not artifact then return "" end
  if rest == "" or rest == "uri" then return artifact.uri end
  if rest == "path" then return artifact.custom_path or M.local_path(artifact.uri) end
  if rest == "name" then return artifact.name end
  if rest == "metadata" then return as_text(artifact.metadata or json.object {}) end
  local key = rest:match "^metadata%[['\"](.-)['\"]%]$"
  return key and as_text((artifact.metadata or {})[key]) or nil
end

-- Whether a task has such an input, given or left out. Where the task is not known, it may.
local function may_have(t, name)
  if not t then return true end
  local declared = (t.component.inputDefinitions or {}).parameters or {}
  return declared[name] ~= nil or ((t.entry.inputs or {}).parameters or {})[name] ~= nil
end

local function value_of(path, input, names)
  if path == "" then return json.encode(input, { sort = true }) end
  local direction, group, name, rest = path:match "^%.(%a+)%.(%a+)%[['\"](.-)['\"]%]%.?(.*)$"
  if not direction then return names[path:sub(2)] end
  if direction == "inputs" and group == "parameters" then
    local value = input.inputs.parameterValues[name]
    return (value ~= nil or may_have(names[1], name)) and as_text(value) or nil
  end
  if direction == "outputs" and group == "parameters" then
    local parameter = input.outputs.parameters[name]
    return parameter and parameter.outputFile
  end
  local entry = group == "artifacts" and input[direction] and input[direction].artifacts[name]
  if entry then return of_artifact(entry, rest) end
  -- An input that may be left out, and was.
  return direction == "inputs" and group == "artifacts" and "" or nil
end

---A text with its placeholders replaced.
---@param word string
---@param input table the executor input
---@param names table<string, string> what {{$.name}} stands for; [1]: the task, whose inputs may be left out
---@return string # raises "Pipeline" for a placeholder that means nothing
function M.fill(word, input, names)
  if not word:find("{{$", 1, true) then return word end
  return (word:gsub("{{%$(.-)}}", function(path)
    local value = value_of(path, input, names)
    if value == nil then
      errors.raise { code = "Pipeline", message = ("there is no placeholder {{$%s}}"):format(path) }
    end
    return value
  end))
end

local resolve

local structures = {}

function structures.Concat(items, input, names)
  local pieces = {}
  for _, item in ipairs(items) do
    for _, piece in ipairs(resolve(item, input, names)) do pieces[#pieces + 1] = piece end
  end
  return { table.concat(pieces) }
end

function structures.IfPresent(entry, input, names)
  local name = entry.InputName
  local there = input.inputs.parameterValues[name] ~= nil or input.inputs.artifacts[name] ~= nil
  local branch = there and entry.Then or entry.Else
  if branch == nil then return {} end
  local words = {}
  for _, item in ipairs(type(branch) == "table" and (json.is_array(branch) or branch[1]) and branch or { branch }) do
    for _, word in ipairs(resolve(item, input, names)) do words[#words + 1] = word end
  end
  return words
end

-- The words that one word, or one structure in it, becomes.
function resolve(item, input, names)
  if type(item) == "string" then
    local structure = item:find '^{"Concat":' or item:find '^{"IfPresent":'
    local decoded = structure and json.try.decode(item, { duplicates = "last" })
    if not decoded then return { M.fill(item, input, names) } end
    item = decoded
  end
  for kind, read in pairs(structures) do
    if type(item) == "table" and item[kind] then return read(item[kind], input, names) end
  end
  return { as_text(item) }
end

---All words of a container, with their placeholders replaced.
---@param lists string[][] command and arguments
---@param input table the executor input
---@param names table<string, string>
---@return string[] # raises "Pipeline"
function M.words(lists, input, names)
  local words = {}
  for _, list in ipairs(lists) do
    for _, item in ipairs(list) do
      for _, word in ipairs(resolve(item, input, names)) do words[#words + 1] = word end
    end
  end
  return words
end

return M
