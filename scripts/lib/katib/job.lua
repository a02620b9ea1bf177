-- A batch/v1 Job as its Go type reads it: which members it has no place for.
-- Not for defaults or for what the API server refuses.
--   local job, path, value = job.convert(object)      --> path "/spec/bogus"
local go = require "katib.go"
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local types = require "katib.types"

local M = {}

local function set(words)
  local found = {}
  for word in words:gmatch "%S+" do found[word] = true end
  return found
end

-- Fields that are pointers in Go keep an empty value; others leave it out, and that is a difference.
local POINTERS = set [[suspend shareProcessNamespace automountServiceAccountToken enableServiceLinks hostUsers
  setHostnameAsFQDN runAsNonRoot privileged allowPrivilegeEscalation readOnlyRootFilesystem optional controller
  blockOwnerDeletion manualSelector hostProcess storageClassName runtimeClassName hostnameOverride
  Container.restartPolicy
  runAsUserName gmsaCredentialSpecName gmsaCredentialSpec cachingMode procMount localhostProfile preemptionPolicy
  podReplacementPolicy completionMode managedBy service mountPropagation recursiveReadOnly fsGroupChangePolicy
  nodeAffinityPolicy nodeTaintsPolicy seLinuxChangePolicy supplementalGroupsPolicy]]
local PLAIN_NUMBERS = set [[generation hostPort initialDelaySeconds timeoutSeconds periodSeconds successThreshold
  failureThreshold]]
local LONG = set [[generation deletionGracePeriodSeconds activeDeadlineSeconds terminationGracePeriodSeconds
  tolerationSeconds expirationSeconds runAsUser runAsGroup fsGroup supplementalGroups]]
local MOST = 0x7fffffff -- of a short number

local NUMBER = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
local IN_JSON = { int64 = "number", float64 = "number", bool = "bool", map = "object", slice = "array" }

local function kind_of(value)
  if type(value) == "string" then return "string" end
  if type(value) == "boolean" then return "bool" end
  if type(value) == "number" then return math.type(value) == "integer" and "int64" or "float64" end
  return json.is_array(value) and "slice" or "map"
end

-- --- texts and numbers -------------------------------------------------------------------------------

local simple = {}

function simple.s(value, got)
  if got == "string" then return value end
  return nil, got == "int64" and "cannot convert int64 to string" or "unrecognized type: string"
end

function simple.b(value, got)
  if got == "bool" then return value end
  return nil, "unrecognized type: bool"
end

function simple.i(value, got, name)
  local target = LONG[name] and "int64" or "int32"
  if got == "int64" or got == "float64" and value == math.floor(value) then return value end
  return nil, got == "float64" and "cannot convert float64 to " .. target or "unrecognized type: " .. target
end

function simple.f(value, got)
  if got == "int64" or got == "float64" then return value end
  return nil, "unrecognized type: float64"
end

function simple.q(value, got)
  local text = got == "string" and value or (got == "int64" or got == "float64") and json.encode(value) or ""
  local canonical = require "kube".try.quantity(text)
  if not canonical or text:match "^%s*$" then return nil, NUMBER end
  return tostring(canonical)
end

function simple.x(value, got)
  if got == "string" then return value end
  if IN_JSON[got] ~= "number" then
    return nil, ("json: cannot unmarshal %s into Go value of type int32"):format(IN_JSON[got])
  end
  if value == math.floor(value) and math.abs(value) <= MOST then return math.tointeger(value) end
  return nil, ("json: cannot unmarshal number %s into Go value of type int32"):format(json.encode(value))
end

function simple.t(value, got)
  if got ~= "string" then
    return nil, ("json: cannot unmarshal %s into Go value of type string"):format(IN_JSON[got])
  end
  if require "kube.time".parse(value) then return value end
  return nil, ("parsing time %s as \"2006-01-02T15:04:05Z07:00\": cannot parse %s as \"2006\""):format(go.quote(value),
    go.quote(value))
end

-- --- what is made of others ----------------------------------------------------------------------------

local convert

local function is_empty(value) return value == "" or value == 0 or value == false end

-- Whether what was converted is written otherwise than it was given.
local function differs(kind, field, given, made)
  local form = types.form(field.type)
  if given == json.null then return true end
  if form == "q" then return type(given) ~= "string" or given ~= made end
  if form == "list" or form == "map" then return field.optional and next(given) == nil end
  if form == "i" and not LONG[field.name] and math.abs(given) > MOST then return true end
  if form == "i" then return given == 0 and PLAIN_NUMBERS[field.name] ~= nil end
  return field.optional and is_empty(given) and not (POINTERS[field.name] or POINTERS[kind .. "." .. field.name])
end

local function note(found, path, value)
  if not found.path then found.path, found.value = path, value end
end

local function convert_struct(kind, value, path, found)
  local fields, result = types.fields(kind).by_name, {}
  for _, name in ipairs(sorted_keys(value)) do
    local member, field = value[name], fields[name]
    local place = path .. "/" .. name:gsub("~", "~0"):gsub("/", "~1")
    if not field then
      note(found, place, member)
    else
      local made
      if member ~= json.null then made = convert(field.type, member, place, found, name) end
      if not found.wrong and differs(kind, field, member, made) then note(found, place, member) end
      result[name] = made
    end
  end
  return result
end

-- Quantities of resources may be written in any way.
local function convert_elements(element, value, path, found, name)
  local result = json.is_array(value) and json.array {} or {}
  for _, key in ipairs(sorted_keys(value)) do
    local step = type(key) == "number" and key - 1 or key
    if value[key] ~= json.null then
      result[key] = convert(element, value[key], path .. "/" .. step, found, name)
    end
  end
  return result
end

local FORMS = { struct = { "map", "struct from: " }, list = { "slice", "slice from " }, map = { "map", "map from " } }

function convert(kind, value, path, found, name)
  local form, element = types.form(kind)
  local got, wanted = kind_of(value), FORMS[form]
  if wanted then
    if got ~= wanted[1] then
      found.wrong = found.wrong or ("cannot restore %s%s"):format(wanted[2], got)
      return nil
    end
    if form == "struct" then return convert_struct(kind, value, path, found) end
    return convert_elements(element, value, path, found, name)
  end
  if not simple[form] then return value end
  local made, wrong = simple[form](value, got, name)
  if wrong then found.wrong = found.wrong or wrong end
  return made
end

-- Numbers that were read as floats before they are printed.
local function shown(value)
  return math.type(value) == "integer" and go.value(value + 0.0) or go.value(value)
end

---The problem of a Job in the words of the webhook, or nil.
---@param object table
---@return string?
function M.problem(object)
  local found = {}
  local job = convert("Job", object, "", found, "")
  if found.wrong then
    return ("unable to convert spec.TrialTemplate: %s to Job: %s"):format(go.value(object), found.wrong)
  end
  if not found.path then return nil end
  return ("unable to convert: %s - %s to Job, converted template: %s"):format(found.path, shown(found.value),
    go.typed_json("Job", job))
end

return M
