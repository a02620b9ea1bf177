-- A batch/v1 Job as its Go type reads it: which members it has no place for.
-- Not for defaults or for what the API server refuses.
--   local job, path, value = job.convert(object)      --> path "/spec/bogus"
local go = require "katib.go"
local json = require "json"
local types = require "katib.types"

local M = {}

local KINDS = { s = "string", i = "int64", f = "float64", b = "bool" }

local function kind_of(value)
  if type(value) == "string" then return "string" end
  if type(value) == "boolean" then return "bool" end
  if type(value) == "number" then return math.type(value) == "integer" and "int64" or "float64" end
  return json.is_array(value) and "slice" or "map"
end

local function sorted(value)
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local convert

local function convert_struct(kind, value, path, found)
  local fields, result = types.fields(kind).by_name, {}
  for _, name in ipairs(sorted(value)) do
    local member, field = value[name], fields[name]
    local place = path .. "/" .. name:gsub("~", "~0"):gsub("/", "~1")
    if not field then
      if not found.path then found.path, found.value = place, member end
    elseif member ~= json.null then
      result[name] = convert(field.type, member, place, found)
    end
  end
  return result
end

local function convert_elements(element, value, path, found)
  local result = json.is_array(value) and json.array {} or {}
  for key, item in pairs(value) do
    local step = type(key) == "number" and key - 1 or key
    result[key] = convert(element, item, path .. "/" .. step, found)
  end
  return result
end

function convert(kind, value, path, found)
  local form, element = types.form(kind)
  local got = kind_of(value)
  local wanted = form == "struct" and "map" or form == "list" and "slice" or form == "map" and "map" or KINDS[form]
  if wanted == "slice" and got == "map" and next(value) == nil then got = "slice" end
  if wanted and got ~= wanted and not (wanted == "float64" and got == "int64") then
    if not found.wrong then found.wrong = ("cannot convert %s to %s"):format(got, wanted) end
    return nil
  end
  if form == "struct" then return convert_struct(kind, value, path, found) end
  if form == "list" or form == "map" then return convert_elements(element, value, path, found) end
  return value
end

---The problem of a Job in the words of the webhook, or nil.
---@param object table
---@return string?
function M.problem(object)
  local found = {}
  local job = convert("Job", object, "", found)
  if found.wrong then
    return ("unable to convert spec.TrialTemplate: %s to Job: %s"):format(go.value(object), found.wrong)
  end
  if not found.path then return nil end
  return ("unable to convert: %s - %s to Job, converted template: %s"):format(found.path, go.value(found.value),
    go.typed_json("Job", job))
end

return M
