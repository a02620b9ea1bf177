-- lab.rules.definitions: definitions of custom resources: defaults, what makes a schema structural.
-- Not for what is done with their objects (lab.crd).
--   return { ["apiextensions.k8s.io/customresourcedefinitions"] = … }

local json = require "json"
local meta = require "lab.meta"

local definitions = {}

function definitions.default(object)
  local spec = object.spec or {}
  object.spec = spec
  spec.conversion = spec.conversion or { strategy = "None" }
  local names = spec.names or {}
  spec.names = names
  if names.kind then
    names.singular = names.singular or names.kind:lower()
    names.listKind = names.listKind or names.kind .. "List"
  end
end

function definitions.prepare_create(object)
  local stored
  for _, version in ipairs(object.spec.versions or {}) do
    if version.storage then stored = version.name end
  end
  object.status = {
    conditions = json.null, acceptedNames = { plural = "", kind = "" }, storedVersions = json.array { stored },
  }
end

-- A second version that stores is remembered beside the first.
function definitions.prepare_update(object, old, _, subresource)
  if subresource == "status" then return end
  object.status = json.decode(json.encode(old.status or json.object {}))
  for _, version in ipairs(object.spec.versions or {}) do
    if version.storage then
      local known = false
      for _, name in ipairs(object.status.storedVersions or {}) do known = known or name == version.name end
      if not known then
        object.status.storedVersions = object.status.storedVersions or json.array {}
        table.insert(object.status.storedVersions, version.name)
      end
    end
  end
end

-- --- schemas --------------------------------------------------------------------------------------

local function child(path, name) return ("%s.properties[%s]"):format(path, name) end

local function check_schema(schema, path, causes, root)
  if type(schema) ~= "table" then return end
  local free = schema["x-kubernetes-int-or-string"] or schema["x-kubernetes-preserve-unknown-fields"]
  if root and schema.type ~= "object" then
    if schema.type == nil then
      causes:required(path .. ".type", "must not be empty at the root")
    else
      causes:invalid(path .. ".type", schema.type, "must be object at the root")
    end
  elseif not root and (schema.type or "") == "" and not free then
    causes:required(path .. ".type", "must not be empty for specified "
      .. (path:find "%.items$" and "array items" or "object fields"))
  end
  if schema.type == "array" and not schema.items then causes:required(path .. ".items", "must be specified") end
  if schema["x-kubernetes-list-type"] == "map" and #(schema["x-kubernetes-list-map-keys"] or {}) == 0 then
    causes:required(path .. ".x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
  end
  if schema.properties and type(schema.additionalProperties) == "table" then
    causes:forbidden(path .. ".additionalProperties", "additionalProperties and properties are mutual exclusive")
  end
  for _, name in ipairs(meta.sorted_names(schema.properties or {})) do
    if not (root and (name == "metadata" or name == "kind" or name == "apiVersion")) then
      check_schema(schema.properties[name], child(path, name), causes)
    end
  end
  if type(schema.items) == "table" then check_schema(schema.items, path .. ".items", causes) end
  if type(schema.additionalProperties) == "table" then
    check_schema(schema.additionalProperties, path .. ".additionalProperties", causes)
  end
end

-- One version's schema is reported where the old form of a definition had the only one.
local function check_versions(spec, causes)
  local storing, seen = 0, {}
  local versions = spec.versions or {}
  for i, version in ipairs(versions) do
    local at = ("spec.versions[%d]"):format(i - 1)
    if version.storage then storing = storing + 1 end
    if seen[version.name] then causes:invalid(at .. ".name", version.name, "must be unique") end
    seen[version.name or ""] = true
    for _, fault in ipairs(meta.label_1035_faults(version.name or "")) do
      causes:invalid(at .. ".name", version.name or "", fault)
    end
    local schema = version.schema and version.schema.openAPIV3Schema
    local place = #versions == 1 and "spec.validation.openAPIV3Schema" or at .. ".schema.openAPIV3Schema"
    if not schema then
      causes:required(at .. ".schema.openAPIV3Schema", "schemas are required")
    else
      check_schema(schema, place, causes, true)
    end
  end
  if storing ~= 1 then
    causes:invalid("spec.versions", json.array {}, "must have exactly one version marked as storage version")
  end
end

local function check_names(spec, causes)
  local names = spec.names
  for _, name in ipairs { "plural", "singular", "kind", "listKind" } do
    local value = names[name] or ""
    if value == "" then
      causes:required("spec.names." .. name)
    else
      local text = (name == "kind" or name == "listKind") and value:lower() or value
      for _, fault in ipairs(meta.label_1035_faults(text)) do causes:invalid("spec.names." .. name, value, fault) end
    end
  end
  if names.kind and names.kind == names.listKind then
    causes:invalid("spec.names.listKind", names.listKind, "kind and listKind may not be the same")
  end
end

function definitions.validate(object, causes)
  local spec = object.spec
  local wanted = ("%s.%s"):format(spec.names.plural or "", spec.group or "")
  if object.metadata.name ~= wanted then
    causes:invalid("metadata.name", object.metadata.name, 'must be spec.names.plural+"."+spec.group')
  end
  if (spec.group or "") == "" then
    causes:required "spec.group"
  elseif not spec.group:find(".", 1, true) then
    causes:invalid("spec.group", spec.group, "should be a domain with at least one dot")
  end
  if spec.scope ~= "Namespaced" and spec.scope ~= "Cluster" then
    causes:unsupported("spec.scope", spec.scope or "", { "Cluster", "Namespaced" })
  end
  check_versions(spec, causes)
  check_names(spec, causes)
end

function definitions.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  definitions.validate(object, causes)
  for _, name in ipairs { "group", "scope" } do
    if object.spec[name] ~= old.spec[name] then
      causes:invalid("spec." .. name, object.spec[name], "field is immutable")
    end
  end
end

local CLEANUP = "customresourcecleanup.apiextensions.k8s.io"

-- A definition goes when its objects have gone.
function definitions.finalizers(object, list)
  if not object.metadata.deletionTimestamp then list[#list + 1] = CLEANUP end
end

function definitions.on_delete(object, ctx) ctx.cluster.crds:terminating(object) end

function definitions.after_mark(object, ctx) ctx.cluster.crds:empty(object.metadata.name) end

function definitions.after(ctx, object, old)
  local cluster = ctx.cluster
  if not object then
    cluster.crds:uninstall(old.metadata.name)
    return
  end
  if object.metadata.deletionTimestamp then return end
  if not old then
    cluster.crds:establish(object.metadata.name)
  elseif old.metadata.generation ~= object.metadata.generation then
    cluster.crds:install(object)
  end
end

return { ["apiextensions.k8s.io/customresourcedefinitions"] = definitions }
