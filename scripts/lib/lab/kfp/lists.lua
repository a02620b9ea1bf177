-- lab.kfp.lists: sorting, filters and pages of KFP's lists. A token alone carries sort and filter.
-- Not for Kubernetes' lists (lab.lists).
--   local page, total, token = lists.page(rows, query, lists.RUN)

local failure = require "lab.kfp.failure"
local hash = require "hash"
local json = require "json"

local M = {}

local BEFORE = "Failed to create list options"
local DEFAULT_SIZE, MOST = 20, 200

-- What may be sorted and filtered by: name in a query -> member of the row.
local function fields(text)
  local map = {}
  for name, member in text:gmatch "([%w_]+)=([%w_]+)" do map[name] = member end
  return map
end

M.EXPERIMENT = { type = "Experiment", fields = fields [[id=experiment_id experiment_id=experiment_id name=display_name
  display_name=display_name created_at=created_at last_run_created_at=last_run_created_at description=description
  namespace=namespace storage_state=storage_state]] }
M.PIPELINE = { type = "Pipeline", tags = true, fields = fields [[id=pipeline_id pipeline_id=pipeline_id name=name
  display_name=display_name created_at=created_at description=description namespace=namespace]] }
M.VERSION = { type = "PipelineVersion", tags = true, fields = fields [[id=pipeline_version_id
  pipeline_version_id=pipeline_version_id name=name display_name=display_name created_at=created_at status=status
  description=description]] }
M.RUN = { type = "Run", metrics = true, fields = fields [[id=run_id run_id=run_id name=display_name
  display_name=display_name created_at=created_at finished_at=finished_at description=description
  scheduled_at=scheduled_at storage_state=storage_state status=state state=state experiment_id=experiment_id
  recurring_run_id=recurring_run_id namespace=namespace]] }
M.RECURRING = { type = "Job", fields = fields [[id=recurring_run_id recurring_run_id=recurring_run_id
  name=display_name display_name=display_name created_at=created_at updated_at=updated_at description=description]] }

-- --- sorting ----------------------------------------------------------------------------------------------

local function parse_sort(text, kind)
  text = (text or ""):lower()
  if not text:find "%S" then return { field = "created_at", name = "created_at", descending = false } end
  local words = {}
  for word in text:gmatch "%S+" do words[#words + 1] = word end
  if #words > 2 or words[2] and words[2] ~= "asc" and words[2] ~= "desc" then
    failure.invalid(BEFORE, ('Received invalid sort by format "%s". Supported format: "field_name", "field_name desc", '
      .. 'or "field_name asc"'):format(text))
  end
  local metric = kind.metrics and words[1]:match "^metric:(.*)$"
  if metric then failure.invalid(BEFORE, ('cannot sort by field "%s" on type "%s"'):format(metric, kind.type)) end
  local field = kind.fields[words[1]]
  if not field then
    failure.invalid(BEFORE, ('Invalid sorting field: "%s" on listable type %s'):format(words[1], kind.type))
  end
  return { field = field, name = words[1], descending = words[2] == "desc" }
end

local function key_of(row)
  return row.run_id or row.recurring_run_id or row.pipeline_version_id or row.pipeline_id or row.experiment_id
end

local function sort(rows, by)
  table.sort(rows, function(a, b)
    local x, y = tostring(a[by.field] or ""), tostring(b[by.field] or "")
    if x == y then x, y = key_of(a), key_of(b) end
    if by.descending then return x > y end
    return x < y
  end)
end

-- --- filters ----------------------------------------------------------------------------------------------

local OPERATIONS = { "EQUALS", "NOT_EQUALS", "GREATER_THAN", [5] = "GREATER_THAN_EQUALS", [6] = "LESS_THAN",
  [7] = "LESS_THAN_EQUALS", [8] = "IN", [9] = "IS_SUBSTRING" }
local NAMES = {}
for _, name in pairs(OPERATIONS) do NAMES[name] = name end
local VALUES = { int_value = "scalar", long_value = "scalar", string_value = "scalar", timestamp_value = "scalar",
  int_values = "list", long_values = "list", string_values = "list" }

local tests = {
  EQUALS = function(a, b) return a == b end,
  NOT_EQUALS = function(a, b) return a ~= b end,
  GREATER_THAN = function(a, b) return a > b end,
  GREATER_THAN_EQUALS = function(a, b) return a >= b end,
  LESS_THAN = function(a, b) return a < b end,
  LESS_THAN_EQUALS = function(a, b) return a <= b end,
  IS_SUBSTRING = function(a, b) return a:lower():find(b:lower(), 1, true) ~= nil end,
  IN = function(a, list)
    for _, one in ipairs(list) do
      if a == one then return true end
    end
    return false
  end,
}

local function unparsable(text, problem)
  failure.invalid(BEFORE, ("failed to parse valid filter from %s: proto: %s"):format(json.encode(text), problem))
end

local function snake(name)
  return (name:gsub("%u", function(letter) return "_" .. letter:lower() end))
end

local function unknown(text, key)
  local at = text:find(json.encode(key), 1, true) or 1
  unparsable(text, ("(line 1:%d): unknown field %s"):format(at, json.encode(key)))
end

local function member_of(key, kind)
  local tag = kind.tags and key:match "^tags%.(.+)$"
  if tag then return function(row) return row.tags and row.tags[tag] or "" end end
  local field = kind.fields[key]
  if not field then
    failure.invalid(BEFORE, ('no support for filtering on unrecognized field "%s"'):format(key))
  end
  return function(row) return tostring(row[field] or "") end
end

local function value_of(predicate, operation)
  for name, shape in pairs(VALUES) do
    local value = predicate[name]
    if value ~= nil then
      local kind = name:match "^(%a+)_"
      if kind == "timestamp" or kind == "string" and shape == "scalar" then kind = "string" end
      if operation == "IN" and shape == "scalar" then
        failure.invalid(BEFORE, "cannot use IN operator with scalar type " .. kind)
      end
      if operation ~= "IN" and shape == "list" then
        failure.invalid(BEFORE, ("cannot use scalar operator with array type %s"):format(kind))
      end
      if operation == "IS_SUBSTRING" and name ~= "string_value" then
        failure.invalid(BEFORE, ("cannot use non string value type string with operator %s"):format(tostring(value)))
      end
      if shape == "scalar" then return tostring(value) end
      local list = {}
      for i, one in ipairs(value.values or {}) do list[i] = tostring(one) end
      return list
    end
  end
  return failure.invalid(BEFORE, "no value was given for the predicate")
end

local PREDICATE = { operation = true, key = true }

local function unexpected(text, value)
  unparsable(text, "syntax error (line 1:1): unexpected token " .. json.encode(value))
end

local function is_scalar(value) return value == json.null or type(value) ~= "table" end

local function is_map(value) return type(value) == "table" and not json.is_array(value) end

-- Whether a field of a predicate has the form of its type.
local function check_form(text, name, value)
  local fits = is_scalar(value)
  if name == "key" then fits = type(value) == "string"
  elseif VALUES[name] == "list" then
    fits = is_map(value) and (value.values == nil or json.is_array(value.values))
    for _, one in ipairs(fits and value.values or {}) do fits = fits and is_scalar(one) end
  end
  if not fits then unexpected(text, value) end
end

local function parse_predicate(text, given, kind)
  local predicate = {}
  if not is_map(given) then unexpected(text, given) end
  for key, value in pairs(given) do
    local name = snake(key)
    if not PREDICATE[name] and not VALUES[name] then unknown(text, key) end
    if value ~= json.null then
      check_form(text, name, value)
      predicate[name] = value
    end
  end
  local operation = OPERATIONS[predicate.operation] or NAMES[predicate.operation]
  if predicate.operation ~= nil and not operation then
    local at = text:find(json.encode(predicate.operation), 1, true) or 1
    unparsable(text, ("(line 1:%d): invalid value for enum field operation: %s"):format(at,
      json.encode(predicate.operation)))
  end
  if not operation then
    local short = "Error using Filter.Predicate.Operation with go_client.Predicate_Operation"
    failure.raise(3, short, BEFORE .. ": UnknownApiVersionError: " .. short)
  end
  local read, wanted = member_of(predicate.key or "", kind), value_of(predicate, operation)
  return function(row) return tests[operation](read(row), wanted) end
end

local function parse_filter(text, kind)
  if not text or text == "" then return {} end
  local given, problem = json.try.decode(text)
  if problem then unparsable(text, "unexpected EOF") end
  if not is_map(given) then unexpected(text, given) end
  if given.predicates ~= nil and not json.is_array(given.predicates) then unexpected(text, given.predicates) end
  for key in pairs(given) do
    if key ~= "predicates" then unknown(text, key) end
  end
  local predicates = {}
  for i, one in ipairs(given.predicates or {}) do predicates[i] = parse_predicate(text, one, kind) end
  return predicates
end

-- --- pages ------------------------------------------------------------------------------------------------

local function size_of(text)
  if not text or text == "" then return DEFAULT_SIZE end
  local size = math.tointeger(tonumber(text))
  if not size then
    failure.decoder(('parsing field "page_size": strconv.ParseInt: parsing "%s": invalid syntax'):format(text))
  end
  if size < 0 then failure.invalid(BEFORE, "The page size should be greater than 0. Got " .. size) end
  return size == 0 and DEFAULT_SIZE or math.min(size, MOST)
end

local function read_token(text)
  if not text or text == "" then return nil end
  local bytes = hash.try.unbase64(text)
  local token = bytes and json.try.decode(bytes)
  if type(token) ~= "table" then
    failure.raise(3, "Invalid page token", BEFORE .. ": InvalidInputError: Invalid page token: illegal base64 data "
      .. "at input byte " .. ((text:find "[^%w+/=]" or 4) - 1))
  end
  local whole = type(token.sort) == "string" and type(token.filter or "") == "string"
    and math.type(token.at or 0) == "integer"
  return whole and token or nil
end

local function same_request(token, query)
  local sort_by, filter = (query.sort_by or ""):lower(), query.filter or ""
  if (sort_by == "" or sort_by == token.sort) and (filter == "" or filter == token.filter) then return end
  failure.invalid(BEFORE, "page token does not match the supplied sort by and/or filtering criteria. Either specify "
    .. "the same criteria or leave the latter empty if page token is specified")
end

local function fits(row, predicates)
  for _, predicate in ipairs(predicates) do
    if not predicate(row) then return false end
  end
  return true
end

---@param rows table[] all that there is
---@param query table<string, string> page_size, page_token, sort_by, filter
---@param kind table RUN and so on
---@return table[] page
---@return integer total
---@return string? token of the next page
function M.page(rows, query, kind)
  local size, token = size_of(query.page_size), read_token(query.page_token)
  if token then same_request(token, query) end
  local sort_text = token and token.sort or (query.sort_by or ""):lower()
  local filter_text = token and token.filter or query.filter or ""
  local by, predicates = parse_sort(sort_text, kind), parse_filter(filter_text, kind)
  local found = {}
  for _, row in ipairs(rows) do
    if fits(row, predicates) then found[#found + 1] = row end
  end
  sort(found, by)
  local first = token and token.at or 0
  local page = table.move(found, first + 1, math.min(first + size, #found), 1, {})
  local more = first + size < #found
  local next_token = more and hash.base64(json.encode({ sort = sort_text, filter = filter_text, at = first + size },
    { sort = true })) or nil
  return page, #found, next_token
end

return M
