-- lab.structural: schemas of custom resources: pruning, defaults, validation.
-- Not for whether a schema is structural (lab.rules.definitions) and not for rules in CEL (lab.expressions).
--   structural.prune(schema, object) -> paths that went      structural.default(schema, object)

local clock = require "lab.clock"
local json = require "json"
local meta = require "lab.meta"
local status = require "lab.status"

local M = {}

local function is_object(value) return type(value) == "table" and not json.is_array(value) end

local function join(path, name) return path == "" and name or path .. "." .. name end

-- --- pruning --------------------------------------------------------------------------------------

local ROOT = { apiVersion = true, kind = true, metadata = true }
local META = {
  name = 1, generateName = 1, namespace = 1, selfLink = 1, uid = 1, resourceVersion = 1, generation = 1,
  creationTimestamp = 1, deletionTimestamp = 1, deletionGracePeriodSeconds = 1, labels = 1, annotations = 1,
  ownerReferences = 1, finalizers = 1, managedFields = 1,
}

local prune

local function prune_members(schema, value, path, unknown, root)
  local properties = schema.properties or {}
  local extra = schema.additionalProperties
  local keeps = schema["x-kubernetes-preserve-unknown-fields"] == true
  for _, name in ipairs(meta.sorted_names(value)) do
    local inner = not (root and ROOT[name]) and properties[name]
    if root and ROOT[name] then -- luacheck: ignore 542
    elseif inner then
      prune(inner, value[name], join(path, name), unknown)
    elseif type(extra) == "table" then
      prune(extra, value[name], join(path, name), unknown)
    elseif extra ~= true and not keeps then
      unknown[#unknown + 1] = join(path, name)
      value[name] = nil
    end
  end
end

local function prune_embedded(value, path, unknown)
  if is_object(value.metadata) then
    for _, name in ipairs(meta.sorted_names(value.metadata)) do
      if not META[name] then
        unknown[#unknown + 1] = join(join(path, "metadata"), name)
        value.metadata[name] = nil
      end
    end
  end
end

prune = function(schema, value, path, unknown, root)
  if type(value) ~= "table" then return end
  if json.is_array(value) then
    local items = schema.items
    if type(items) == "table" then
      for i, one in ipairs(value) do prune(items, one, ("%s[%d]"):format(path, i - 1), unknown) end
    end
    return
  end
  local embedded = schema["x-kubernetes-embedded-resource"] == true
  if embedded then prune_embedded(value, path, unknown) end
  prune_members(schema, value, path, unknown, root or embedded)
end

---Drops what a schema does not know.
---@param schema table? without one everything stays
---@param object table
---@return string[] paths of what went
function M.prune(schema, object)
  local unknown = {}
  if is_object(object.metadata) then
    for _, name in ipairs(meta.sorted_names(object.metadata)) do
      if not META[name] then
        unknown[#unknown + 1] = "metadata." .. name
        object.metadata[name] = nil
      elseif object.metadata[name] == json.null then
        object.metadata[name] = nil
      end
    end
  end
  if schema then prune(schema, object, "", unknown, true) end
  return unknown
end

-- --- defaults -------------------------------------------------------------------------------------

local function copy(value)
  if type(value) ~= "table" then return value end
  return json.decode(json.encode(value))
end

---Fills in defaults, in place; a null where null may not be becomes the default.
---@param schema table?
---@param value any
function M.default(schema, value)
  if not schema or type(value) ~= "table" then return end
  if json.is_array(value) then
    if type(schema.items) == "table" then
      for _, one in ipairs(value) do M.default(schema.items, one) end
    end
    return
  end
  for name, inner in pairs(schema.properties or {}) do
    if value[name] == json.null and not inner.nullable and inner.default ~= nil then value[name] = nil end
    if value[name] == nil and inner.default ~= nil then value[name] = copy(inner.default) end
    M.default(inner, value[name])
  end
  if type(schema.additionalProperties) == "table" then
    for name, one in pairs(value) do
      if not (schema.properties and schema.properties[name]) then M.default(schema.additionalProperties, one) end
    end
  end
end

-- --- validation -----------------------------------------------------------------------------------

local function type_name(value)
  if value == json.null then return "null" end
  if type(value) == "table" then return json.is_array(value) and "array" or "object" end
  if math.type(value) == "integer" then return "integer" end
  return type(value)
end

local function has_type(value, wanted)
  local got = type_name(value)
  if got == wanted or wanted == "number" and got == "integer" then return true end
  return wanted == "integer" and got == "number" and value == math.floor(value)
end

local FORMATS = {
  ["date-time"] = function(text) return clock.parse(text) ~= nil end,
  date = function(text) return text:match "^%d%d%d%d%-%d%d%-%d%d$" ~= nil end,
  uuid = function(text) return text:match "^%x%x%x%x%x%x%x%x%-?%x%x%x%x%-?%x%x%x%x%-?%x%x%x%x%-?%x+$" ~= nil end,
  ipv4 = function(text) return text:match "^%d+%.%d+%.%d+%.%d+$" ~= nil end,
  byte = function(text) return text:match "^[A-Za-z0-9+/=\r\n]*$" ~= nil end,
  duration = function(text) return text:match "^[+-]?[%d.hmsuµnd ]+$" ~= nil end,
}

local patterns = {}

local function pattern_matches(pattern, text)
  local program = patterns[pattern]
  if program == nil then
    local ok, made = pcall(require("regex").compile, pattern)
    program = ok and made or false
    patterns[pattern] = program
  end
  return not program or program:matches(text)
end

local function count_characters(text) return utf8.len(text) or #text end

local function check_text(schema, value, path, causes)
  if schema.maxLength and count_characters(value) > schema.maxLength then causes:too_long(path, schema.maxLength) end
  if schema.minLength and count_characters(value) < schema.minLength then
    causes:invalid(path, value, ("%s in body should be at least %d chars long"):format(path, schema.minLength))
  end
  if schema.pattern and not pattern_matches(schema.pattern, value) then
    causes:invalid(path, value, ("%s in body should match '%s'"):format(path, schema.pattern))
  end
  local format = schema.format and FORMATS[schema.format]
  if format and not format(value) then
    causes[#causes + 1] = { reason = "FieldValueTypeInvalid", field = path, message =
      ("Invalid value: %s: %s in body must be of type %s: %s"):format(status.shown(value), path, schema.format,
        status.shown(value)) }
  end
end

local function number_text(value) return ("%.14g"):format(value) end

local function check_number(schema, value, path, causes)
  if schema.maximum and (value > schema.maximum or schema.exclusiveMaximum and value == schema.maximum) then
    causes:invalid(path, value, ("%s in body should be less than %s%s"):format(path,
      schema.exclusiveMaximum and "" or "or equal to ", number_text(schema.maximum)))
  end
  if schema.minimum and (value < schema.minimum or schema.exclusiveMinimum and value == schema.minimum) then
    causes:invalid(path, value, ("%s in body should be greater than %s%s"):format(path,
      schema.exclusiveMinimum and "" or "or equal to ", number_text(schema.minimum)))
  end
  if schema.multipleOf and value % schema.multipleOf ~= 0 then
    causes:invalid(path, value, ("%s in body should be a multiple of %s"):format(path, number_text(schema.multipleOf)))
  end
end

local function same_text(value) return type(value) == "table" and json.encode(value, { sort = true }) or value end

local function check_enum(schema, value, path, causes)
  local wanted = same_text(value)
  for _, one in ipairs(schema.enum) do
    if same_text(one) == wanted then return end
  end
  causes:unsupported(path, value, schema.enum)
end

local validate

local function check_array(schema, value, path, causes)
  if schema.maxItems and #value > schema.maxItems then causes:too_many(path, #value, schema.maxItems) end
  if schema.minItems and #value < schema.minItems then
    causes:invalid(path, #value, ("%s in body should have at least %d items"):format(path, schema.minItems))
  end
  if type(schema.items) == "table" then
    for i, one in ipairs(value) do validate(schema.items, one, ("%s[%d]"):format(path, i - 1), causes) end
  end
end

local function check_members(schema, value, path, causes, root)
  for _, name in ipairs(schema.required or {}) do
    if value[name] == nil then causes:required(join(path, name)) end
  end
  local count = 0
  for _, name in ipairs(meta.sorted_names(value)) do
    count = count + 1
    local inner = not (root and ROOT[name]) and schema.properties and schema.properties[name]
    if root and ROOT[name] then -- luacheck: ignore 542
    elseif inner then
      validate(inner, value[name], join(path, name), causes)
    elseif type(schema.additionalProperties) == "table" then
      validate(schema.additionalProperties, value[name], join(path, name), causes)
    end
  end
  if schema.maxProperties and count > schema.maxProperties then causes:too_many(path, count, schema.maxProperties) end
  if schema.minProperties and count < schema.minProperties then
    causes:invalid(path, value, ("%s in body should have at least %d properties"):format(path, schema.minProperties))
  end
end

local function fits(schema, value, path)
  local found = status.causes()
  validate(schema, value, path, found)
  return #found == 0
end

local function check_combined(schema, value, path, causes)
  for _, one in ipairs(schema.allOf or {}) do validate(one, value, path, causes) end
  for name, said in pairs { anyOf = "must validate at least one schema (anyOf)",
                            oneOf = "must validate one and only one schema (oneOf)" } do
    if schema[name] then
      local count = 0
      for _, one in ipairs(schema[name]) do
        if fits(one, value, path) then count = count + 1 end
      end
      if count == 0 or name == "oneOf" and count > 1 then
        local found = count == 0 and ". Found none valid" or (". Found %d valid alternatives"):format(count)
        local more = name == "oneOf" and found
        causes:invalid(path, value, ('"%s" %s%s'):format(path, said, more or ""))
      end
    end
  end
  if schema["not"] and fits(schema["not"], value, path) then
    causes:invalid(path, value, ('"%s" must not validate the schema (not)'):format(path))
  end
end

local function check_type(schema, value, path, causes)
  if schema["x-kubernetes-int-or-string"] then
    if type(value) == "string" or math.type(value) == "integer" then return true end
    causes:wrong_type(path, type_name(value),
      ('%s in body must be of type integer,string: "%s"'):format(path, type_name(value)))
    return false
  end
  if not schema.type or has_type(value, schema.type) then return true end
  causes:wrong_type(path, type_name(value),
    ('%s in body must be of type %s: "%s"'):format(path, schema.type, type_name(value)))
  return false
end

validate = function(schema, value, path, causes, root)
  if value == json.null and (schema.nullable or not schema.type) then return end
  if not check_type(schema, value, path, causes) then return end
  if schema.enum then check_enum(schema, value, path, causes) end
  if type(value) == "string" then
    check_text(schema, value, path, causes)
  elseif type(value) == "number" then
    check_number(schema, value, path, causes)
  elseif type(value) == "table" and json.is_array(value) then
    check_array(schema, value, path, causes)
  elseif type(value) == "table" then
    check_members(schema, value, path, causes, root)
  end
  check_combined(schema, value, path, causes)
end

-- --- lists that are sets or maps ------------------------------------------------------------------

local function key_of(item, keys)
  local key = json.object {}
  for _, name in ipairs(keys) do key[name] = type(item) == "table" and item[name] or nil end
  return key
end

local function check_lists(schema, value, path, causes)
  if type(value) ~= "table" then return end
  if not json.is_array(value) then
    for name, one in pairs(value) do
      local inner = schema.properties and schema.properties[name]
        or type(schema.additionalProperties) == "table" and schema.additionalProperties
      if inner then check_lists(inner, one, join(path, name), causes) end
    end
    return
  end
  local kind = schema["x-kubernetes-list-type"]
  local keys = schema["x-kubernetes-list-map-keys"]
  local seen = {}
  for i, item in ipairs(value) do
    if kind == "set" or kind == "map" then
      local key = kind == "set" and item or key_of(item, keys)
      local text = same_text(key)
      if seen[text] then causes:duplicate(("%s[%d]"):format(path, i - 1), key) end
      seen[text] = true
    end
    if type(schema.items) == "table" then check_lists(schema.items, item, ("%s[%d]"):format(path, i - 1), causes) end
  end
end

---Checks an object against its schema.
---@param schema table?
---@param object table
---@param causes lab.Causes
function M.validate(schema, object, causes)
  if not schema then return end
  validate(schema, object, "", causes, true)
  check_lists(schema, object, "", causes)
end

return M
