-- lab.kfp.body: request bodies as protobuf's JSON decoder takes them: both spellings of names, strict types,
-- and its words for what is wrong.
-- Not for pipeline specs, which are free JSON here.
--   local run = body.decode(request.body, body.RUN)

local failure = require "lab.kfp.failure"
local json = require "json"

local M = {}

local STATES = "RUNTIME_STATE_UNSPECIFIED PENDING RUNNING SUCCEEDED SKIPPED FAILED CANCELING CANCELED PAUSED"
local STORAGE = "STORAGE_STATE_UNSPECIFIED AVAILABLE ARCHIVED"
local MODES = "MODE_UNSPECIFIED ENABLE DISABLE"

-- The fields of a group, as `oneof`.
local function one_of(group, ...)
  local fields = {}
  for _, name in ipairs { ... } do fields[name] = "kubeflow.pipelines.backend.api.v2beta1." .. group end
  return fields
end

-- Field -> type: string, bool, int64, time, struct (any object), map (of texts), any, enum:…, a message, or a list of
-- messages ({ list_of = message }).
-- A field in `oneof` excludes the others of its group.
M.EXPERIMENT = { experiment_id = "string", display_name = "string", description = "string", created_at = "time",
  namespace = "string", storage_state = "enum:" .. STORAGE, last_run_created_at = "time" }
M.URL = { pipeline_url = "string" }
M.PIPELINE = { pipeline_id = "string", display_name = "string", name = "string", description = "string",
  created_at = "time", namespace = "string", error = "any", tags = "map" }
M.VERSION = { pipeline_id = "string", pipeline_version_id = "string", display_name = "string", name = "string",
  description = "string", created_at = "time", package_url = M.URL, code_source_url = "string",
  pipeline_spec = "struct", error = "any", tags = "map" }
M.CREATE_PIPELINE = { pipeline = M.PIPELINE, pipeline_version = M.VERSION }
M.REFERENCE = { pipeline_id = "string", pipeline_version_id = "string" }
M.RUNTIME = { parameters = "struct", pipeline_root = "string" }
M.RUN = { experiment_id = "string", run_id = "string", display_name = "string",
  storage_state = "enum:" .. STORAGE, description = "string", pipeline_version_id = "string",
  pipeline_spec = "struct", pipeline_version_reference = M.REFERENCE, runtime_config = M.RUNTIME,
  service_account = "string", created_at = "time", scheduled_at = "time", finished_at = "time",
  state = "enum:" .. STATES, error = "any", run_details = "any", recurring_run_id = "string", state_history = "any",
  plugins_input = "struct", plugins_output = "struct",
  oneof = one_of("Run.pipeline_source", "pipeline_version_id", "pipeline_spec", "pipeline_version_reference") }
M.CRON = { start_time = "time", end_time = "time", cron = "string" }
M.PERIODIC = { start_time = "time", end_time = "time", interval_second = "int64" }
M.TRIGGER = { cron_schedule = M.CRON, periodic_schedule = M.PERIODIC,
  oneof = one_of("Trigger.trigger", "cron_schedule", "periodic_schedule") }
M.RECURRING = { recurring_run_id = "string", display_name = "string", description = "string",
  pipeline_version_id = "string", pipeline_spec = "struct", pipeline_version_reference = M.REFERENCE,
  runtime_config = M.RUNTIME, service_account = "string", max_concurrency = "int64", trigger = M.TRIGGER,
  mode = "enum:" .. MODES, created_at = "time", updated_at = "time", status = "any", error = "any",
  no_catchup = "bool", namespace = "string", experiment_id = "string", plugins_input = "struct",
  oneof = one_of("RecurringRun.pipeline_source", "pipeline_version_id", "pipeline_spec",
    "pipeline_version_reference") }

local function camel(name)
  return (name:gsub("_(%l)", string.upper))
end

-- Where a member stands in the text, as the decoder says it; near enough where a name comes twice.
local function place(text, key, of_value)
  local quoted = json.encode(key)
  local first, last = text:find(quoted, 1, true)
  if not first then return "line 1:1" end
  local at = first
  if of_value then at = text:find("%S", (text:find(":", last, true) or last) + 1) or at end
  local line, start = 1, 0
  for newline in text:gmatch "()\n" do
    if newline >= at then break end
    line, start = line + 1, newline
  end
  return ("line %d:%d"):format(line, at - start)
end

local function shown(value)
  if type(value) == "table" then return json.is_array(value) and "[" or "{" end
  return json.encode(value)
end

local function wrong(text, key, name, kind, value)
  local said = type(value) == "table" and "syntax error (%s): unexpected token %s" or
    "(%s): invalid value for " .. kind .. " field " .. name .. ": %s"
  failure.decoder("proto: " .. said:format(place(text, key, true), shown(value)))
end

local function is_time(value)
  return type(value) == "string" and value:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[%d.]*[Z+-]" ~= nil
end

local checks = {}

function checks.string(value) return type(value) == "string" end
function checks.bool(value) return type(value) == "boolean" end
function checks.int64(value)
  if math.type(value) == "integer" then return true end
  if type(value) == "string" then return math.tointeger(tonumber(value)) ~= nil end
  return type(value) == "number" and math.tointeger(value) ~= nil
end

-- Free JSON has doubles for numbers: whole ones above 2^53 lose what a double cannot hold.
local function as_doubles(value)
  if type(value) == "table" then
    for key, inner in pairs(value) do value[key] = as_doubles(inner) end
  elseif math.type(value) == "integer" then
    return math.tointeger(value + 0.0) or value + 0.0
  end
  return value
end

local decode_message

local function decode_list(text, key, name, message, value)
  if not json.is_array(value) and (type(value) ~= "table" or next(value)) then
    wrong(text, key, camel(name), "list", value)
  end
  local list = json.array {}
  for i, one in ipairs(value) do
    if type(one) ~= "table" or json.is_array(one) then wrong(text, key, camel(name), "message", one) end
    list[i] = decode_message(text, one, message)
  end
  return list
end

local function decode_field(text, key, name, kind, value)
  if value == json.null then return nil end
  if type(kind) == "table" and kind.list_of then return decode_list(text, key, name, kind.list_of, value) end
  if type(kind) == "table" then
    if type(value) ~= "table" or json.is_array(value) then wrong(text, key, camel(name), "message", value) end
    return decode_message(text, value, kind)
  end
  local values = kind:match "^enum:(.*)$"
  if values then
    if type(value) == "string" and (" " .. values .. " "):find(" " .. value .. " ", 1, true) then return value end
    wrong(text, key, camel(name), "enum", value)
  end
  if kind == "struct" or kind == "map" then
    if type(value) ~= "table" or json.is_array(value) and next(value) then
      failure.decoder(("proto: syntax error (%s): unexpected token %s"):format(place(text, key, true), shown(value)))
    end
    return kind == "struct" and as_doubles(value) or value
  end
  if kind == "time" then
    if is_time(value) then return value end
    failure.decoder(("proto: (%s): invalid google.protobuf.Timestamp value %s"):format(place(text, key, true),
      shown(value)))
  end
  if kind ~= "any" and not checks[kind](value) then wrong(text, key, camel(name), kind, value) end
  if kind == "int64" then return math.tointeger(tonumber(value)) end
  return value
end

function decode_message(text, given, message)
  local decoded, groups = {}, {}
  for key, value in pairs(given) do
    local name = message[key] and key or key:gsub("%u", function(letter) return "_" .. letter:lower() end)
    local kind = message[name]
    if not kind or name == "oneof" then
      failure.decoder(("proto: (%s): unknown field %s"):format(place(text, key), json.encode(key)))
    end
    local group = message.oneof and message.oneof[name]
    if group and value ~= json.null then
      if groups[group] then
        failure.decoder(("proto: (%s): error parsing %s, oneof %s is already set"):format(place(text, key),
          json.encode(key), group))
      end
      groups[group] = true
    end
    decoded[name] = decode_field(text, key, name, kind, value)
  end
  return decoded
end

---@param text string
---@param message table a description of fields
---@return table decoded by the snake_case names; refuses as the gateway does
function M.decode(text, message)
  if text == "" then return {} end
  local value, problem = json.try.decode(text, { duplicates = "last" })
  if problem then
    if problem.offset and problem.offset >= #text then failure.decoder "unexpected EOF" end
    failure.decoder(("proto: syntax error (line 1:%d): %s"):format((problem.offset or 0) + 1, problem.message))
  end
  if type(value) ~= "table" or json.is_array(value) and (next(value) or text:find "^%s*%[") then
    failure.decoder(("proto: syntax error (line 1:1): unexpected token %s"):format(shown(value)))
  end
  return decode_message(text, value, message)
end

return M
