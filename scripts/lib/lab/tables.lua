-- lab.tables: objects as rows of a table, as kubectl prints them.
-- Not for drawing tables.
--   tables.text(ctx, resource, records, meta, with_columns) -> JSON of a Table

local answer = require "lab.answer"
local clock = require "lab.clock"
local hash = require "hash"
local json = require "json"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local AGE = "The time since the object was made."
local NAME = "The name of the object."

local kinds = {} -- stored -> {columns, cells}
M.kinds = kinds

---Registers how a kind is shown.
---@param stored string
---@param columns table[] {name, priority?, type?, description?}
---@param cells fun(object: table, now: number): any[]
---@param conditions nil|fun(object: table): string? JSON of what the row is in
function M.define(stored, columns, cells, conditions)
  kinds[stored] = { columns = columns, cells = cells, conditions = conditions }
end

-- --- ages ---------------------------------------------------------------------------------------------

local MARK = hash.random_hex(8) -- around a time in a row that is kept: no cell has it by itself
local LATER = {} -- a "now" that leaves ages open

---How long ago a time was, as a cell.
function M.since(text, now)
  local time = clock.parse(text)
  if not time then return "<unknown>" end
  return now == LATER and ("%s%d%s"):format(MARK, time, MARK) or clock.age(now - time)
end

-- Rows of kinds of which there are many, whose cells change with the object and its age only: record -> JSON.
local KEPT = { pods = true }
local kept = setmetatable({}, { __mode = "k" })

-- The cells of a record, and what its row is in.
local function row_of(kind, object, now)
  local conditions = kind.conditions and kind.conditions(object)
  return ('{"cells":%s,%s"object":'):format(json.encode(json.array(kind.cells(object, now))),
    conditions and '"conditions":' .. conditions .. "," or "")
end

local function kept_row(kind, record, now)
  local row = kept[record]
  if not row then
    row = row_of(kind, store.object(record), LATER)
    kept[record] = row
  end
  return (row:gsub(MARK .. "(%-?%d+)" .. MARK, function(time) return clock.age(now - tonumber(time)) end))
end

-- --- columns --------------------------------------------------------------------------------------

local function definition(column)
  local usual = column[1] == "Name" and NAME or column[1] == "Age" and AGE or column[1]
  return { name = column[1], type = column.type or "string", format = column[1] == "Name" and "name" or "",
           description = column.description or usual, priority = column.priority or 0 }
end

local function simple_cells(object, now)
  return { object.metadata.name, M.since(object.metadata.creationTimestamp, now) }
end

local SIMPLE = { columns = { { "Name" }, { "Age" } }, cells = simple_cells }

local CREATED = { columns = { { "Name" }, { "Created At", type = "date" } },
                  cells = function(object) return { object.metadata.name, object.metadata.creationTimestamp } end }

-- --- custom resources -----------------------------------------------------------------------------

local function convert(value, kind)
  if value == nil then return json.null end
  if kind == "integer" then return math.tointeger(value) or json.null end
  if kind == "number" then return type(value) == "number" and value or json.null end
  if kind == "boolean" then return type(value) == "boolean" and value or json.null end
  if type(value) == "table" then return json.encode(value, { sort = true }) end
  if type(value) == "number" or type(value) == "boolean" then return tostring(value) end
  return value
end

local function custom_cell(column, object, now)
  local ok, _, found = pcall(require("kube").jsonpath, "{" .. column.jsonPath .. "}", object)
  if not ok then return json.null end
  local value = found[1]
  if value == json.null then value = nil end
  if column.type == "date" then
    if value == nil then return json.null end
    return M.since(value, now)
  end
  return convert(value, column.type)
end

local function of_custom(resource)
  local printers = resource.custom.columns
  if not printers or #printers == 0 then
    return SIMPLE
  end
  local columns = { { "Name" } }
  for i, column in ipairs(printers) do
    columns[i + 1] = { column.name, type = column.type, priority = column.priority,
                       description = column.description or ("Custom resource definition column (in JSONPath format): "
                         .. column.jsonPath), format = column.format }
  end
  return { columns = columns, cells = function(object, now)
    local cells = { object.metadata.name }
    for i, column in ipairs(printers) do cells[i + 1] = custom_cell(column, object, now) end
    return cells
  end }
end

local function kind_of(resource)
  if resource.custom then
    resource.custom.table = resource.custom.table or of_custom(resource)
    return resource.custom.table
  end
  if not kinds.pods then require "lab.columns" end
  return kinds[resource.stored] or SIMPLE
end

M.CREATED, M.SIMPLE = CREATED, SIMPLE

-- --- tables ---------------------------------------------------------------------------------------

local INCLUDE = { Metadata = true, Object = true, None = true }

local function include_of(ctx)
  local given = ctx.query.includeObject and ctx.query.includeObject[1] or ""
  if given == "" then return "Metadata" end
  if not INCLUDE[given] then
    status.bad_request("Unable to convert to Table as requested: includeObject: Invalid value: \"%s\": must be "
      .. "'Metadata', 'Object', 'None', or empty", given)
  end
  return given
end

local function object_text(include, resource, record, object)
  if include == "None" then return "null" end
  if include == "Object" then return answer.whole(resource, store.bytes(record)) end
  return json.encode({ kind = "PartialObjectMetadata", apiVersion = "meta.k8s.io/v1", metadata = object.metadata },
    { sort = true })
end

---A Table of records.
---@param ctx lab.Context
---@param resource lab.Resource
---@param records lab.Record[]
---@param meta table
---@param with_columns boolean
---@return string JSON
function M.text(ctx, resource, records, meta, with_columns)
  local include = include_of(ctx)
  local kind = kind_of(resource)
  local now = ctx.cluster:now()
  local rows = {}
  local keeps = KEPT[resource.stored] and include ~= "Metadata"
  for i, record in ipairs(records) do
    local object = not keeps and store.object(record) or nil
    local row = keeps and kept_row(kind, record, now) or row_of(kind, object, now)
    rows[i] = row .. object_text(include, resource, record, object) .. "}"
  end
  local columns = "null"
  if with_columns then
    local list = {}
    for i, column in ipairs(kind.columns) do
      list[i] = definition(column)
      list[i].format = column.format or list[i].format
    end
    columns = json.encode(json.array(list), { sort = true })
  end
  return ('{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":%s,"columnDefinitions":%s,"rows":%s}'):format(
    json.encode(json.object(meta), { sort = true }), columns,
    #rows == 0 and kind.columns == CREATED.columns and "null" or "[" .. table.concat(rows, ",") .. "]")
end

return M
