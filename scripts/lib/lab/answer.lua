-- lab.answer: responses in the form that the client accepts: an object, a list, a Status.
-- Not for choosing the form (lab.negotiate), nor for the rows of tables (lab.tables).
--   answer.object(ctx, 200, record)

local json = require "json"
local status = require "lab.status"
local store = require "lab.store"
local yaml = require "yaml"

local M = {}

local MEDIA = { json = "application/json", yaml = "application/yaml" }

local sorted = { sort = true }
local indented = { sort = true, indent = 2 }

-- A Warning header's text: what is not printable ASCII goes as it is, quotes are escaped.
local function warning_header(text)
  text = text:gsub("[%c]", " "):gsub('[\\"]', "\\%0")
  return '299 - "' .. text .. '"'
end

local function with_warnings(ctx, headers)
  local warnings = ctx.warnings
  if not warnings or #warnings == 0 then return headers end
  local lines, seen, total = {}, {}, 0
  for _, text in ipairs(warnings) do
    if not seen[text] and total < 4096 then
      seen[text] = true
      if #text > 256 and #warnings > 16 then text = text:sub(1, 256) end
      total = total + #text
      lines[#lines + 1] = warning_header(text)
    end
  end
  headers["Warning"] = lines
  return headers
end

---@param ctx lab.Context
---@param code integer
---@param text string JSON
---@return table response
function M.json_text(ctx, code, text)
  local form = ctx.form
  local media = MEDIA.json
  if form and form.yaml then
    text, media = yaml.encode(json.decode(text), sorted), MEDIA.yaml
  elseif form and form.pretty then
    text = json.encode(json.decode(text), indented) .. "\n"
  end
  local headers = { ["Content-Type"] = media, ["Cache-Control"] = "no-cache, private" }
  return { status = code, headers = with_warnings(ctx, headers), body = text }
end

---@param ctx lab.Context
---@param code integer
---@param value table
---@return table response
function M.value(ctx, code, value)
  return M.json_text(ctx, code, json.encode(value, sorted))
end

---@return table response of plain text
function M.text(code, text)
  return { status = code, body = text, headers = {
    ["Content-Type"] = "text/plain; charset=utf-8", ["Cache-Control"] = "no-cache, private",
    ["X-Content-Type-Options"] = "nosniff",
  } }
end

---The answer to a failed request.
---@param ctx lab.Context
---@param problem lab.Status
function M.failure(ctx, problem)
  local response = M.json_text(ctx, problem.status, json.encode(problem.body, sorted))
  if problem.status == 403 then response.headers["X-Content-Type-Options"] = "nosniff" end
  for name, value in pairs(problem.headers or {}) do response.headers[name] = value end
  return response
end

-- --- objects --------------------------------------------------------------------------------------

local function head_of(resource)
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  return ('{"kind":"%s","apiVersion":"%s",'):format(resource.kind, version)
end

---The text of an object: its stored bytes with kind and apiVersion before them.
---@param resource lab.Resource
---@param bytes string
---@return string
function M.whole(resource, bytes)
  local head = resource.head
  if not head then
    head = head_of(resource)
    resource.head = head
  end
  if resource.convert_out then
    bytes = json.encode(resource.convert_out(json.decode(bytes)), sorted)
  end
  if bytes == "{}" then return head:sub(1, -2) .. "}" end
  return head .. bytes:sub(2)
end

---Only the metadata of an object, as text.
function M.partial(bytes)
  local object = json.decode(bytes)
  return json.encode({ kind = "PartialObjectMetadata", apiVersion = "meta.k8s.io/v1", metadata = object.metadata },
    sorted)
end

---An object as the client wants to see it.
---@param ctx lab.Context
---@param code integer
---@param bytes string of the store
---@param resource lab.Resource? that of the request
function M.object(ctx, code, bytes, resource)
  resource = resource or ctx.resource
  local as = ctx.form.as
  if as == "Table" then
    local tables = require "lab.tables"
    local meta = json.decode(bytes).metadata
    return M.json_text(ctx, code, tables.text(ctx, resource, { store.of(bytes) },
      { resourceVersion = meta.resourceVersion }, true))
  elseif as == "PartialObjectMetadata" then
    return M.json_text(ctx, code, M.partial(bytes))
  end
  return M.json_text(ctx, code, M.whole(resource, bytes))
end

---An object that is not from the store; its metadata is answered as it is.
function M.made(ctx, code, object, resource)
  return M.object(ctx, code, store.encode(object), resource)
end

-- --- lists ----------------------------------------------------------------------------------------

local function items_text(resource, records)
  local list = {}
  if resource.custom or resource.convert_out then
    for i, record in ipairs(records) do list[i] = M.whole(resource, store.bytes(record)) end
  else
    for i, record in ipairs(records) do list[i] = store.bytes(record) end
  end
  return table.concat(list, ",")
end

local function partial_items(records)
  local list = {}
  for i, record in ipairs(records) do
    list[i] = M.partial(store.bytes(record))
  end
  return table.concat(list, ",")
end

local LARGE, PIECE = 1048576, 131072 -- bytes of a list that goes in pieces, and of a piece

local function size_of(records)
  local size = 0
  for _, record in ipairs(records) do size = size + store.size(record) end
  return size
end

-- A large list is written piece by piece, so that it is never there as a whole.
local function in_pieces(ctx, resource, head, records)
  local wraps = resource.custom or resource.convert_out
  return {
    status = 200,
    headers = with_warnings(ctx, { ["Content-Type"] = MEDIA.json, ["Cache-Control"] = "no-cache, private" }),
    stream = function(writer)
      local parts, size = { head }, 0
      for i, record in ipairs(records) do
        if i > 1 then parts[#parts + 1] = "," end
        if wraps then
          parts[#parts + 1] = M.whole(resource, store.bytes(record))
        else
          store.add_bytes(parts, record)
        end
        size = size + store.size(record)
        if size > PIECE then
          writer:write(parts)
          parts, size = {}, 0
        end
      end
      parts[#parts + 1] = "]}"
      writer:write(parts)
    end,
  }
end

---A list as the client wants to see it.
---@param ctx lab.Context
---@param records lab.Record[]
---@param meta {resourceVersion: string, continue: string?, remainingItemCount: integer?}
function M.list(ctx, records, meta)
  local resource = ctx.resource
  local as = ctx.form.as
  if as == "Table" then
    return M.json_text(ctx, 200, require("lab.tables").text(ctx, resource, records, meta, true))
  end
  local meta_text = json.encode(json.object(meta), sorted)
  if as == "PartialObjectMetadataList" or as == "PartialObjectMetadata" then
    return M.json_text(ctx, 200,
      ('{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":%s,"items":[%s]}'):format(
        meta_text, partial_items(records)))
  end
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local head = ('{"kind":"%s","apiVersion":"%s","metadata":%s,"items":['):format(
    resource.list_kind or resource.kind .. "List", version, meta_text)
  if ctx.request.exchange and not ctx.form.yaml and not ctx.form.pretty and size_of(records) > LARGE then
    return in_pieces(ctx, resource, head, records)
  end
  return M.json_text(ctx, 200, head .. items_text(resource, records) .. "]}")
end

---Status Success about an object that has gone.
function M.deleted(ctx, resource, record)
  return M.value(ctx, 200, status.success {
    name = record.name, group = resource.group ~= "" and resource.group or nil, kind = resource.plural,
    uid = record.uid,
  })
end

return M
