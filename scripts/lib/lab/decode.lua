-- lab.decode: the body of a request as an object: media types, kinds, unknown and doubled fields.
-- Not for what the fields may hold (lab.rules) nor for custom schemas (lab.structural).
--   local object = decode.object(ctx, resource)

local errors = require "errors"
local go_json = require "lab.go_json"
local json = require "json"
local scan = require "lab.scan"
local status = require "lab.status"
local types = require "lab.types"
local yaml = require "yaml"

local M = {}

local MOST = 3145728 -- bytes of a body

local function media_of(ctx)
  local media = (ctx.headers["content-type"] or ""):match "^%s*([^;%s]*)":lower()
  return media ~= "" and media or "application/json"
end
M.media = media_of

---Raises RequestEntityTooLarge for a body above 3 MiB.
function M.check_size(ctx)
  if #(ctx.request.body or "") > MOST then
    status.raise(413, "RequestEntityTooLarge", ("Request entity too large: limit is %d"):format(MOST))
  end
end

-- What the server says of a text that is no JSON; where it just ends, with the text.
local function go_error(text)
  local fault = go_json.fault(text) or "it has a number that is too large"
  if fault ~= "unexpected end of JSON input" then return fault end
  return ("%s (%s)"):format(fault, text == "" and "<empty>" or text)
end

local function parse_json(ctx, text, kind)
  local ok, value = pcall(json.decode, text)
  if ok then return value end
  if not errors.is(value, "JSON") then error(value, 0) end
  local second, again = pcall(json.decode, text, { duplicates = "last" })
  if not second then
    status.bad_request("the object provided is unrecognized (must be of type %s): couldn't get version/kind; "
      .. "json parse error: %s", kind, go_error(text))
  end
  ctx.duplicates = scan.duplicates(text)
  return again
end

local function parse_yaml(text, kind)
  local ok, value = pcall(yaml.decode, text, { duplicates = "last" })
  if not ok then ok, value = pcall(yaml.decode, text) end
  if ok and type(value) == "table" then return value end
  status.bad_request("the object provided is unrecognized (must be of type %s): couldn't get version/kind; "
    .. "yaml: %s", kind, ok and "it is no object" or errors.text(value))
end

---A body as a table, whatever it says it is.
---@param ctx lab.Context
---@param kind string what it should be, for messages
---@return table
function M.table(ctx, kind)
  M.check_size(ctx)
  local media, text = media_of(ctx), ctx.request.body or ""
  local value
  if media == "application/json" then
    value = parse_json(ctx, text, kind)
  elseif media == "application/yaml" then
    value = parse_yaml(text, kind)
  elseif media == "application/vnd.kubernetes.protobuf" then
    value = require("lab.protobuf").decode(text)
  else
    status.raise(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types "
      .. "include: application/json, application/yaml, application/vnd.kubernetes.protobuf")
  end
  if type(value) ~= "table" or json.is_array(value) then
    status.bad_request("the object provided is unrecognized (must be of type %s): couldn't get version/kind; "
      .. "json parse error: json: cannot unmarshal %s into Go value of type struct", kind,
      types.json_name(value))
  end
  return value
end

-- --- kind and fields ------------------------------------------------------------------------------

-- An object of another version has no schema here: all that it holds is unknown.
local function warn_unknown(ctx, object)
  if ctx.validation == "Ignore" or ctx.validation == "Strict" then return end
  local names = {}
  for name in pairs(object) do
    if name ~= "apiVersion" and name ~= "kind" and name ~= "metadata" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do ctx.warnings[#ctx.warnings + 1] = ('unknown field "%s"'):format(name) end
end

local function check_kind(ctx, resource, object)
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local given, kind = object.apiVersion or version, object.kind or resource.kind
  if resource.custom then
    if given ~= version then
      warn_unknown(ctx, object)
      status.bad_request("the API version in the data (%s) does not match the expected API version (%s)", given,
        version)
    end
    if kind ~= resource.kind then
      status.bad_request("%s in version %q cannot be handled as a %s: converting (%s) to (%s): unknown conversion",
        kind, resource.version, resource.kind, kind, resource.kind)
    end
  elseif given ~= version and ctx.cluster.registry:of_kind(given, kind) == nil then
    status.bad_request('%s in version "%s" cannot be handled as a %s: no kind "%s" is registered for version "%s" '
      .. 'in scheme "pkg/runtime/scheme.go:111"', kind, given:match "[^/]*$", resource.kind, kind, given)
  elseif kind ~= resource.kind or given ~= version then
    local go = given:gsub("^.*/", "")
    local package = resource.group == "" and "core" or resource.group:match "^[^.]*"
    status.bad_request('%s in version "%s" cannot be handled as a %s: converting (%s.%s) to (%s.%s): unknown '
      .. "conversion", kind, go, resource.kind, go, kind, package, resource.kind)
  end
  object.apiVersion, object.kind = version, resource.kind
end

local function quoted(word, list)
  local texts = {}
  for i, path in ipairs(list) do texts[i] = ('%s field "%s"'):format(word, path) end
  return texts
end

---Refuses, warns of or passes over fields that are unknown or doubled, as the request asks.
---@param ctx lab.Context
---@param unknown string[] paths
---@param fail fun(text: string)? raises for Strict; default: a BadRequest about decoding
function M.report(ctx, unknown, fail)
  local texts = quoted("duplicate", ctx.duplicates or {})
  table.move(quoted("unknown", unknown), 1, #unknown, #texts + 1, texts)
  if #texts == 0 or ctx.validation == "Ignore" then return end
  if ctx.validation == "Strict" then
    local text = "strict decoding error: " .. table.concat(texts, ", ")
    if fail then fail(text) end
    local resource = ctx.resource
    status.bad_request('%s in version "%s" cannot be handled as a %s: %s', resource.kind, resource.version,
      resource.kind, text)
  end
  for _, text in ipairs(texts) do ctx.warnings[#ctx.warnings + 1] = text end
end

---Checks an object of a built-in kind against its type.
---@param ctx lab.Context
---@param resource lab.Resource
---@param object table
---@param fail fun(text: string)?
function M.typed(ctx, resource, object, fail)
  local unknown = types.check(resource, object)
  if #unknown > 1 and ctx.request.body then unknown = scan.in_order(ctx.request.body, unknown) end
  M.report(ctx, unknown, fail)
  return object
end

---The object that a request's body holds, of the resource's kind.
---@param ctx lab.Context
---@param resource lab.Resource
---@return table
function M.object(ctx, resource)
  local object = M.table(ctx, resource.kind)
  check_kind(ctx, resource, object)
  if resource.custom then
    if type(object.metadata) ~= "table" then object.metadata = json.object {} end
    return object
  end
  return M.typed(ctx, resource, object)
end

return M
