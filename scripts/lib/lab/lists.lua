-- lab.lists: lists, whole or by pages, now or as they were.
-- Not for watches (lab.watches), though both read the same options.
--   lists.list(ctx) -> response

local answer = require "lab.answer"
local go_json = require "lab.go_json"
local hash = require "hash"
local json = require "json"
local selectors = require "lab.selectors"
local status = require "lab.status"

local M = {}

local OPTIONS = { group = "meta.k8s.io", kind = "ListOptions" }

local function first(ctx, name)
  local values = ctx.query[name]
  return values and values[1] or ""
end
M.first = first

-- --- options --------------------------------------------------------------------------------------

---@param ctx lab.Context
---@param name string
---@return integer? raises BadRequest when it is no number
function M.integer(ctx, name)
  local text = first(ctx, name)
  if text == "" then return nil end
  local value = text:match "^[+-]?%d+$" and math.tointeger(tonumber(text))
  if not value then status.bad_request('strconv.ParseInt: parsing "%s": invalid syntax', text) end
  return value
end

local function check_match(ctx, match, version, watching)
  local causes = status.causes()
  local sends = first(ctx, "sendInitialEvents") ~= ""
  local field = "resourceVersionMatch"
  if sends and not watching then
    causes:forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
  elseif sends and match ~= "NotOlderThan" then
    causes:forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
  elseif match ~= "" then
    if watching and not sends then
      causes:forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    elseif not watching and version == "" then
      causes:forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    elseif not watching and first(ctx, "continue") ~= "" then
      causes:forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
    end
    if match ~= "Exact" and match ~= "NotOlderThan" then
      causes:unsupported(field, match, { "Exact", "NotOlderThan", "" })
    elseif match == "Exact" and version == "0" then
      causes:forbidden(field, 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    end
  end
  status.check(OPTIONS, "", causes)
end

---The version and the match that a list or a watch asks for.
---@return string version, string match
function M.version(ctx, watching)
  local version, match = first(ctx, "resourceVersion"), first(ctx, "resourceVersionMatch")
  check_match(ctx, match, version, watching)
  if version ~= "" and not version:match "^%d+$" then
    local text = ('strconv.ParseUint: parsing "%s": invalid syntax'):format(version)
    if watching then status.plain_500(text) end
    status.bad_request('resourceVersion: Invalid value: "%s": %s', version, text)
  end
  return version, match
end

-- --- pages ----------------------------------------------------------------------------------------

local function to_url(text) return (text:gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" })) end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- Go passes over bits of the last character that belong to no byte.
local function without_rest(text)
  local bits = ({ [2] = 4, [3] = 2 })[#text % 4]
  local at = bits and ALPHABET:find(text:sub(-1), 1, true)
  if not at then return text end
  at = (at - 1 >> bits << bits) + 1
  return text:sub(1, -2) .. ALPHABET:sub(at, at)
end

local function from_url(text)
  text = without_rest((text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })))
  return hash.unbase64(text .. ("="):rep(-#text % 4))
end

local function token(revision, key)
  return to_url(hash.base64(json.encode({ v = "meta.k8s.io/v1", rv = revision, start = key .. "\0" }, { sort = true })))
end

local function read_token(text)
  local decoded, bytes = pcall(from_url, text)
  if not decoded then
    status.bad_request("invalid continue token: continue key is not valid: illegal base64 data at input byte %d",
      (text:find "[^%w_-]" or #text) - 1)
  end
  local ok, value = pcall(json.decode, bytes)
  if not ok then
    status.bad_request("invalid continue token: continue key is not valid: %s", go_json.fault(bytes)
      or "it is no token of this server")
  end
  if type(value) ~= "table" or json.is_array(value) then
    status.bad_request("invalid continue token: continue key is not valid: json: cannot unmarshal %s into Go value of "
      .. "type storage.continueToken", require("lab.types").json_name(value))
  end
  if value.v ~= "meta.k8s.io/v1" then
    status.bad_request("invalid continue token: continue key is not valid: server does not recognize this encoded "
      .. "version %s", tostring(value.v))
  end
  if math.type(value.rv) ~= "integer" or value.rv == 0 then
    status.bad_request("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion "
      .. "(version meta.k8s.io/v1)")
  end
  if type(value.start) ~= "string" or value.start == "" then
    status.bad_request("invalid continue token: continue key is not valid: encoded start key empty (version "
      .. "meta.k8s.io/v1)")
  end
  return value.rv, value.start
end

local EXPIRED = "The provided continue parameter is too old to display a consistent list result. You can start a new "
  .. "list without the continue parameter, or use the continue token in this response to retrieve the remainder of "
  .. "the results. Continuing with the provided token results in an inconsistent list - objects that were created, "
  .. "modified, or deleted between the time the first chunk was returned and now may show up in the list."

-- The order of records as one text: that of the store's keys.
local function order_of(record) return (record.namespace and record.namespace .. "/" or "") .. record.name end

local function start_at(records, start)
  local low, high = 1, #records + 1
  while low < high do
    local middle = (low + high) // 2
    if order_of(records[middle]) < start then low = middle + 1 else high = middle end
  end
  return low
end

-- The records of a page, and the place after it.
local function page(records, from, limit, selection)
  local list, at = {}, from
  while at <= #records do
    local record = records[at]
    if selection.all or selection.matches(record) then
      if limit and #list == limit then break end
      list[#list + 1] = record
    end
    at = at + 1
    if limit and #list == limit then break end
  end
  return list, at
end

-- The records that a list starts from, the version it says, and the key that it goes on at.
local function snapshot(ctx, c, namespace)
  local current = ctx.cluster.store.revision
  local continue = first(ctx, "continue")
  local version, match = M.version(ctx, false)
  if continue ~= "" then
    local revision, start = read_token(continue)
    if version ~= "" and version ~= "0" then
      status.bad_request "specifying resource version is not allowed when using continue"
    end
    if revision == -1 then return c:records(namespace), current, start end
    if revision < c.compacted then status.expired(EXPIRED, token(-1, start:sub(1, -2))) end
    return c:records_at(revision, namespace), revision, start
  end
  local asked = version ~= "" and math.tointeger(tonumber(version)) or 0
  if asked > current then status.too_large_version(version, current) end
  if match == "Exact" or (match == "" and asked > 0 and M.integer(ctx, "limit")) then
    if asked < c.compacted then status.expired "The resourceVersion for the provided list is too old." end
    return c:records_at(asked, namespace), asked
  end
  return c:records(namespace), current
end

---@param ctx lab.Context
---@return table response
function M.list(ctx)
  local c = ctx.cluster:collection(ctx.resource)
  local namespace = ctx.route.namespace
  local limit = M.integer(ctx, "limit")
  -- Version 0 is served from a cache that knows no pages.
  if limit and limit <= 0 or first(ctx, "resourceVersion") == "0" and first(ctx, "continue") == "" then limit = nil end
  local selection = selectors.of(ctx)
  local records, revision, start = snapshot(ctx, c, namespace)
  local meta = { resourceVersion = ("%d"):format(revision) }
  if ctx.resource.custom and ctx.form.as ~= "Table" then meta.continue = "" end
  if selection.all and not limit and not start then return answer.list(ctx, records, meta) end
  local list, after = page(records, start and start_at(records, start) or 1, limit, selection)
  if after <= #records then
    meta.continue = token(revision, order_of(records[after - 1]))
    if selection.all then meta.remainingItemCount = #records - after + 1 end
  end
  return answer.list(ctx, list, meta)
end

return M
