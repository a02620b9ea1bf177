-- lab.openapi: OpenAPI of what is served: version 3 (an index, and a document for each group and version), and 2.
-- Not for validation. Documents hold what kubectl's apply and explain read, and no descriptions of fields.
--   openapi.run(ctx) -> response

local answer = require "lab.answer"
local hash = require "hash"
local json = require "json"
local schema = require "kube.schema"

local M = {}

-- --- names ----------------------------------------------------------------------------------------

local PREFIX = {
  meta = "io.k8s.apimachinery.pkg.apis.meta.", apiextensions = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.",
}

local function long_name(name)
  local package, rest = name:match "^([^.]+)%.(.*)$"
  return (PREFIX[package] or "io.k8s.api." .. package .. ".") .. rest
end

local function ref(name) return { ["$ref"] = "#/components/schemas/" .. long_name(name) } end

-- --- types ----------------------------------------------------------------------------------------

local QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
local INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
local TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
local MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"

local function named(name) return { ["$ref"] = "#/components/schemas/" .. name } end

local SCALARS = {
  string = function() return { type = "string" } end,
  boolean = function() return { type = "boolean" } end,
  int32 = function() return { type = "integer", format = "int32" } end,
  int64 = function() return { type = "integer", format = "int64" } end,
  float = function() return { type = "number", format = "double" } end,
  bytes = function() return { type = "string", format = "byte" } end,
  duration = function() return { type = "string" } end,
  any = function() return { type = "object" } end,
  quantity = function() return named(QUANTITY) end,
  int_or_string = function() return named(INT_OR_STRING) end,
  time = function() return named(TIME) end,
  micro_time = function() return named(MICRO_TIME) end,
}

local SHARED = {
  [QUANTITY] = { oneOf = json.array { { type = "string" }, { type = "number" } } },
  [INT_OR_STRING] = { format = "int-or-string", oneOf = json.array { { type = "integer" }, { type = "string" } } },
  [TIME] = { type = "string", format = "date-time" }, [MICRO_TIME] = { type = "string", format = "date-time" },
}

local property

-- The type of a field without its notes.
local function plain(field, used)
  if field.type == "struct" then
    used[field.name] = true
    return ref(field.name)
  elseif field.type == "list" then
    return { type = "array", items = property(field.of, used) }
  elseif field.type == "map" then
    return { type = "object", additionalProperties = property(field.of, used) }
  end
  return (SCALARS[field.type] or SCALARS.any)()
end

property = function(field, used)
  local value = plain(field, used)
  if value["$ref"] then value = { allOf = json.array { value } } end
  if field.type == "struct" then value.default = json.object {} end
  if field.list then
    value["x-kubernetes-list-type"] = field.list
    if field.list == "map" then value["x-kubernetes-list-map-keys"] = json.array(field.keys) end
  end
  if field.atomic and field.type ~= "list" then value["x-kubernetes-map-type"] = "atomic" end
  value["x-kubernetes-patch-merge-key"] = field.merge_key
  value["x-kubernetes-patch-strategy"] = field.patch_strategy
  return value
end

local function struct(type_name, used)
  local known = schema.type(type_name)
  local properties, required = json.object {}, json.array {}
  for _, name in ipairs(known.order) do
    properties[name] = property(known.fields[name], used)
    if known.fields[name].required then required[#required + 1] = name end
  end
  return { type = "object", properties = properties, required = #required > 0 and required or nil,
           ["x-kubernetes-map-type"] = known.atomic and "atomic" or nil }
end

-- Adds a type, and all that it is made of, to the schemas.
local function add_type(schemas, type_name)
  local queue = { type_name }
  while #queue > 0 do
    local name = table.remove(queue)
    local long = long_name(name)
    if not schemas[long] then
      local used = {}
      schemas[long] = struct(name, used)
      for inner in pairs(used) do queue[#queue + 1] = inner end
    end
  end
  return schemas[long_name(type_name)]
end

-- --- paths ----------------------------------------------------------------------------------------

local function parameter(name, kind) return { name = name, ["in"] = "query", schema = { type = kind or "string" } } end

local LIST = { "labelSelector", "fieldSelector", "limit", "continue", "watch", "resourceVersion" }
local WRITE = { "dryRun", "fieldManager", "fieldValidation" }

local ACTIONS = {
  { verb = "list", method = "get", parameters = LIST }, { verb = "create", method = "post", parameters = WRITE },
  { verb = "deletecollection", method = "delete", parameters = LIST },
  { verb = "get", method = "get", named = true, parameters = {} },
  { verb = "update", method = "put", named = true, parameters = WRITE },
  { verb = "patch", method = "patch", named = true,
    parameters = { "dryRun", "fieldManager", "fieldValidation", "force" } },
  { verb = "delete", method = "delete", named = true, parameters = { "dryRun" } },
}

local SAID = { create = "post", update = "put", list = "list", get = "get", patch = "patch", delete = "delete",
               deletecollection = "deletecollection" }

local function operation(action, gvk, schema_name)
  local parameters = json.array {}
  for i, name in ipairs(action.parameters) do parameters[i] = parameter(name) end
  return {
    parameters = parameters, ["x-kubernetes-action"] = SAID[action.verb], ["x-kubernetes-group-version-kind"] = gvk,
    responses = { ["200"] = { description = "OK", content = { ["application/json"] = {
      schema = named(schema_name) } } } },
  }
end

local function add_paths(paths, resource, gvk, schema_name)
  local head = resource.group == "" and "/api/" .. resource.version
    or ("/apis/%s/%s"):format(resource.group, resource.version)
  local base = head .. (resource.namespaced and "/namespaces/{namespace}/" or "/") .. resource.plural
  for _, action in ipairs(ACTIONS) do
    if resource.may[action.verb] then
      local path = action.named and base .. "/{name}" or base
      paths[path] = paths[path] or {}
      paths[path][action.method] = operation(action, gvk, schema_name)
    end
  end
end

-- --- documents ------------------------------------------------------------------------------------

local function gvk_of(resource) return { group = resource.group, version = resource.version, kind = resource.kind } end

local function custom_name(resource)
  local parts = {}
  for part in resource.group:gmatch "[^.]+" do table.insert(parts, 1, part) end
  return ("%s.%s.%s"):format(table.concat(parts, "."), resource.version, resource.kind)
end

local function copy(value) return json.decode(json.encode(value)) end

local function add_custom(schemas, resource)
  local name = custom_name(resource)
  local value = copy(resource.custom.schema or { type = "object" })
  value.properties = value.properties or json.object {}
  value.properties.apiVersion = { type = "string" }
  value.properties.kind = { type = "string" }
  add_type(schemas, "meta.v1.ObjectMeta")
  value.properties.metadata = { allOf = json.array { ref "meta.v1.ObjectMeta" } }
  value["x-kubernetes-group-version-kind"] = json.array { gvk_of(resource) }
  schemas[name] = value
  return name
end

local function document(registry, group_name, version_name)
  local group = registry.groups[group_name]
  local version = group and group.versions[version_name]
  if not version then return nil end
  local paths, schemas = json.object {}, json.object {}
  for _, plural in ipairs(version.order) do
    local resource = version.resources[plural]
    local gv = group_name == "" and version_name or group_name .. "/" .. version_name
    local type_name = schema.kind(gv .. "/" .. resource.kind)
    local name
    if resource.custom then
      name = add_custom(schemas, resource)
    elseif type_name then
      name = long_name(type_name)
      add_type(schemas, type_name)["x-kubernetes-group-version-kind"] = json.array { gvk_of(resource) }
    end
    if name then add_paths(paths, resource, gvk_of(resource), name) end
  end
  for name, value in pairs(SHARED) do schemas[name] = value end
  return {
    openapi = "3.0.0", info = { title = "Kubernetes", version = "1.37" }, paths = paths,
    components = { schemas = schemas },
  }
end

-- A text that changes when the document does.
local function mark_of(group_name, version)
  local parts = { "2", group_name, version.name }
  for _, plural in ipairs(version.order) do
    local custom = version.resources[plural].custom
    parts[#parts + 1] = plural
    if custom then
      parts[#parts + 1] = ("%s.%s"):format(custom.definition.metadata.uid, custom.definition.metadata.generation)
    end
  end
  return hash.sha256(table.concat(parts, "\0")):upper()
end

local function index(ctx)
  local registry = ctx.cluster.registry
  local paths = json.object {}
  for _, group in ipairs(registry.order) do
    for _, version in ipairs(group.order) do
      local name = group.name == "" and "api/" .. version.name or ("apis/%s/%s"):format(group.name, version.name)
      local mark = mark_of(group.name, version)
      paths[name] = { serverRelativeURL = ("/openapi/v3/%s?hash=%s"):format(name, mark) }
    end
  end
  local response = answer.value(ctx, 200, { paths = paths })
  response.headers["Content-Type"] = "text/plain; charset=utf-8"
  return response
end

-- --- version 2 ------------------------------------------------------------------------------------

local V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

-- As protobuf the document says only that it is one (swagger: "2.0"). kubectl wants it before it checks a file of
-- kind List, and passes over kinds that it does not find there; all else it reads from version 3.
local V2_MESSAGE = "\x0a\x032.0"

-- A document of version 3 with its references as version 2 has them.
local function to_v2(value)
  if type(value) ~= "table" then return value end
  local name = value["$ref"]
  if type(name) == "string" then return { ["$ref"] = name:gsub("^#/components/schemas/", "#/definitions/") } end
  -- Version 2 has no allOf around a reference, and says int-or-string by a format.
  if value.allOf and #value.allOf == 1 then return to_v2(value.allOf[1]) end
  local out = json.is_array(value) and json.array {} or json.object {}
  for key, inner in pairs(value) do
    if key == "oneOf" then out.type = "string" else out[key] = to_v2(inner) end
  end
  return out
end

local function v2_document(registry)
  local definitions = json.object {}
  for _, group in ipairs(registry.order) do
    for _, version in ipairs(group.order) do
      for name, value in pairs(document(registry, group.name, version.name).components.schemas) do
        if not definitions[name] or value["x-kubernetes-group-version-kind"] then definitions[name] = to_v2(value) end
      end
    end
  end
  return { swagger = "2.0", info = { title = "Kubernetes", version = "v1.37.2" }, paths = json.object {},
           definitions = definitions }
end

local function v2(ctx)
  local accept = ctx.headers.accept or ""
  local headers = { Vary = "Accept", ["Cache-Control"] = "no-cache, private", ["Content-Type"] = "application/json" }
  if accept:find("proto-openapi.spec.v2", 1, true) then
    headers["Content-Type"] = V2_PROTOBUF
    return { status = 200, headers = headers, body = V2_MESSAGE }
  end
  return { status = 200, headers = headers, body = json.encode(v2_document(ctx.cluster.registry), { sort = true }) }
end

---@param ctx lab.Context
---@return table response
function M.run(ctx)
  local path = ctx.route.path
  if path == "/openapi/v2" then return v2(ctx) end
  if path == "/openapi/v3" or path == "/openapi/v3/" then return index(ctx) end
  local group, version = path:match "^/openapi/v3/apis/([^/]+)/([^/]+)$"
  if not group then group, version = "", path:match "^/openapi/v3/api/([^/]+)$" end
  local found = group and version and document(ctx.cluster.registry, group, version)
  if not found then return answer.text(404, "404 page not found\n") end
  local response = answer.value(ctx, 200, found)
  local mark = mark_of(group, ctx.cluster.registry.groups[group].versions[version])
  response.headers.Etag, response.headers.Vary = '"' .. mark .. '"', "Accept"
  if ctx.query.hash then
    if ctx.query.hash[1] ~= mark then
      return { status = 301, headers = { Location = ("%s?hash=%s"):format(path, mark) } }
    end
    response.headers["Cache-Control"] = "public, immutable"
  end
  if ctx.headers["if-none-match"] == '"' .. mark .. '"' then return { status = 304, headers = response.headers } end
  return response
end

return M
