-- repl.explain: what a kind is and what a field of it means, from the program's own types or the server's schema.
-- Not for objects. Each function gets the session first.
--   explain.explain(session, "pods.spec.containers")

local errors = require "errors"
local show = require "repl.show"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- --- the program's own types -----------------------------------------------------------------------------

local function type_text(field)
  if field.type == "list" then return "[]" .. type_text(field.of or { type = "any" }) end
  if field.type == "map" then return "map[string]" .. type_text(field.of or { type = "any" }) end
  return field.name and field.name:match "[^.]+$" or field.type
end

-- The fields of a built-in type as {name, type, required, note}.
local function built_in_fields(found)
  local rows = {}
  for index, name in ipairs(found.order) do
    local field = found.fields[name]
    local note = field.required and "required" or ""
    if field.keys then note = note .. " key " .. table.concat(field.keys, ",") end
    if field.default then note = note .. " default " .. field.default end
    rows[index] = { "  " .. name, type_text(field), (note:gsub("^ ", "")) }
  end
  return rows
end

local function struct_of(field)
  while field and (field.type == "list" or field.type == "map") do field = field.of end
  return field and field.name
end

local function built_in(resource, path)
  local schema = require "kube.schema"
  local prefix = resource.group == "" and "" or resource.group .. "/"
  local name = schema.kind(prefix .. resource.version .. "/" .. resource.kind)
  if not name then return nil end
  local found, field = schema.type(name), nil
  for index, part in ipairs(path) do
    field = found and found.fields[part]
    if not field then
      local near = require("cli.words").near(part, found and found.order or {})
      fail("%s has no field '%s'%s", table.concat({ resource.kind, table.unpack(path, 1, index - 1) }, "."), part,
        #near > 0 and " (did you mean " .. table.concat(near, " or ") .. "?)" or "")
    end
    local inner = struct_of(field)
    found = inner and schema.type(inner) or nil
  end
  return { type = field and type_text(field) or resource.kind, rows = found and built_in_fields(found) or {} }
end

-- --- the server's schema ---------------------------------------------------------------------------------

-- A reference into the document becomes what it refers to.
local function resolved(document, schema)
  for _ = 1, 5 do
    local one = schema.allOf and #schema.allOf == 1 and schema.allOf[1] or schema
    local name = (one["$ref"] or ""):match "#/components/schemas/(.+)$"
    if not name then return one end
    local description = schema.description
    schema = document.components.schemas[name]
    if description and not schema.description then schema.description = description end
  end
  return schema
end

local function openapi_type(document, schema)
  schema = resolved(document, schema)
  if schema.type == "array" then return "[]" .. openapi_type(document, schema.items or {}) end
  local map = type(schema.additionalProperties) == "table"
  if map then return "map[string]" .. openapi_type(document, schema.additionalProperties) end
  return schema.type or "object"
end

local function inner_schema(document, schema)
  schema = resolved(document, schema)
  if schema.type == "array" then return inner_schema(document, schema.items or {}) end
  if type(schema.additionalProperties) == "table" then return inner_schema(document, schema.additionalProperties) end
  return schema
end

local function find_kind(document, resource)
  for _, schema in pairs(document.components and document.components.schemas or {}) do
    for _, gvk in ipairs(schema["x-kubernetes-group-version-kind"] or {}) do
      if gvk.kind == resource.kind and gvk.group == resource.group and gvk.version == resource.version then
        return schema
      end
    end
  end
end

local function openapi_fields(document, schema)
  local rows, required = {}, {}
  for _, name in ipairs(schema.required or {}) do required[name] = true end
  for name, property in pairs(schema.properties or {}) do
    local description = (resolved(document, property).description or property.description or ""):match "^[^\n]*"
    local note = required[name] and (description == "" and "required" or "required. ") or ""
    rows[#rows + 1] = { "  " .. name, openapi_type(document, property), note .. description }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return rows
end

-- The server's document for a group and version, asked for once.
local function document_of(self, resource)
  local prefix = resource.group == "" and "api/" or "apis/" .. resource.group .. "/"
  local path = "/openapi/v3/" .. prefix .. resource.version
  self.documents = self.documents or {}
  if self.documents[path] == nil then
    local response = self:client().try:request("GET", path, { timeout = 10 })
    self.documents[path] = response and response.status == 200 and require("json").decode(response.body) or false
  end
  return self.documents[path]
end

local function from_server(self, resource, path)
  local document = document_of(self, resource)
  if not document then return nil end
  local schema = find_kind(document, resource)
  if not schema then return nil end
  local place = schema
  for index, part in ipairs(path) do
    place = inner_schema(document, place)
    place = place.properties and place.properties[part]
      or fail("%s has no field '%s'", table.concat({ resource.kind, table.unpack(path, 1, index - 1) }, "."), part)
  end
  local inner = inner_schema(document, place)
  local top = resolved(document, place)
  return { type = openapi_type(document, place), description = top.description, enum = top.enum,
    default = top.default, rows = openapi_fields(document, inner) }
end

-- The program's own types, with what the server says about them.
local function described(found, told)
  if not (found and told) then return found or told end
  local notes = {}
  for _, row in ipairs(told.rows) do notes[row[1]] = row[3] end
  for _, row in ipairs(found.rows) do
    local note = notes[row[1]]
    if note and #note > #row[3] then row[3] = note end
  end
  found.description, found.enum, found.default = told.description, told.enum, told.default
  return found
end

-- --- kinds -------------------------------------------------------------------------------------------------

local function head(resource)
  local group = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  local place = resource.namespaced and "in a namespace" or "of the cluster"
  local lines = { ("%s  %s, %s"):format(resource.kind, group, place) }
  local names = { resource.plural, resource.singular ~= "" and resource.singular or nil }
  for _, short in ipairs(resource.short or {}) do names[#names + 1] = short end
  lines[2] = "names: " .. table.concat(names, ", ")
  if resource.verbs and #resource.verbs > 0 then lines[3] = "verbs: " .. table.concat(resource.verbs, ", ") end
  return table.concat(lines, "\n") .. "\n"
end

---What a kind is, or what a field of it means: explain "pods.spec.containers".
function M.explain(self, topic)
  if not topic then return require("repl.basics").help(self) end
  if self.vocabulary.words[topic] and not self.vocabulary.words[topic].kind then
    return require("repl.basics").help(self, topic)
  end
  local parts = {}
  for part in topic:gmatch "[^.]+" do parts[#parts + 1] = part end
  local kind = table.remove(parts, 1) or fail "?KIND or ?KIND.FIELD"
  local resource = self:client():resource(self.vocabulary.words[kind] and self.vocabulary.words[kind].kind or kind)
  local known = built_in(resource, parts)
  local ok, told = pcall(from_server, self, resource, parts)
  if not ok and (not known or errors.is(told, "Cancelled")) then error(told, 0) end
  local found = described(known, ok and told or nil)
  local text = #parts == 0 and head(resource) or ("%s.%s  %s\n"):format(resource.kind, table.concat(parts, "."),
    found and found.type or "")
  if not found then return show.as_text({}, text .. "its schema is not known\n") end
  return show.as_text({ kind_name = resource.kind }, function(_, given)
    local about = found.description and show.wrapped(found.description, given.columns or 100) .. "\n" or ""
    if found.enum then about = about .. "one of: " .. table.concat(found.enum, ", ") .. "\n" end
    if type(found.default) ~= "table" and found.default ~= nil then
      about = ("%sdefault: %s\n"):format(about, found.default)
    end
    local fields = #found.rows > 0 and "fields:\n" .. show.grid({}, found.rows, { lines = false,
      columns = given.columns or 118 }) or ""
    return text .. about .. fields
  end)
end

return M
