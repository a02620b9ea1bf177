-- lab.patches: the patch types: what a patch makes of an object, and server-side apply.
-- Not for the algorithms: JSON, merge and strategic patches are kube.patch, ownership is lab.managed.
--   local bytes, created = patches.run(ctx)

local decode = require "lab.decode"
local errors = require "errors"
local json = require "json"
local kube = require "kube"
local managed = require "lab.managed"
local status = require "lab.status"
local writes = require "lab.writes"
local yaml = require "yaml"

local M = {}

local KINDS = {
  ["application/json-patch+json"] = "json", ["application/merge-patch+json"] = "merge",
  ["application/strategic-merge-patch+json"] = "strategic", ["application/apply-patch+yaml"] = "apply",
}

local CUSTOM_TYPES = "the body of the request was in an unknown format - accepted media types include: "
  .. "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"

local function kind_of(ctx)
  local kind = KINDS[decode.media(ctx)]
  if kind == "strategic" and ctx.resource.custom then status.raise(415, "UnsupportedMediaType", CUSTOM_TYPES) end
  if not kind then status.raise(415, "UnsupportedMediaType", "415: Unsupported Media Type", {}) end
  return kind
end

local function parse(ctx, kind)
  local ok, value = pcall(json.decode, ctx.request.body or "", { duplicates = "last" })
  if not ok then
    status.bad_request(kind == "json" and "json patch: it is no JSON" or "invalid JSON patch")
  end
  if kind == "json" and not json.is_array(value) then
    status.bad_request "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
  end
  if kind ~= "json" and (type(value) ~= "table" or json.is_array(value)) then
    status.bad_request "invalid JSON patch"
  end
  return value
end

local APPLY = {
  json = function(document, patch)
    local ok, result = pcall(kube.patch.json, document, patch)
    if ok then return result end
    if errors.is(result) then status.unprocessable() end
    error(result, 0)
  end,
  merge = function(document, patch) return kube.patch.merge(document, patch) end,
  strategic = function(document, patch)
    local ok, result = pcall(kube.patch.strategic, document, patch, document.apiVersion .. "/" .. document.kind)
    if ok then return result end
    if errors.is(result) then status.plain_500(result.message) end
    error(result, 0)
  end,
}

-- What a strict patch to unknown fields is answered with.
local function strict_failure(document)
  return function(text)
    local causes = status.causes()
    causes:invalid("patch", document, text)
    local raised = status.invalid_status({ group = "", kind = "" }, "", causes)
    raised.body.details = { causes = raised.body.details.causes }
    error(raised, 0)
  end
end

local function check_name(document, name)
  local meta = type(document) == "table" and document.metadata
  if type(meta) ~= "table" then status.bad_request "an object needs metadata" end
  if meta.name ~= name then
    status.bad_request("the name of the object (%s) does not match the name on the URL (%s)", tostring(meta.name), name)
  end
end

---A function that makes the patched object of the old one.
---@param ctx lab.Context
---@param kind string
---@return fun(old: table): table, boolean
local function maker(ctx, kind)
  local patch = parse(ctx, kind)
  return function(old)
    local document = APPLY[kind](old, patch)
    check_name(document, old.metadata.name)
    document.kind, document.apiVersion = old.kind, old.apiVersion
    if not ctx.resource.custom then
      local whole = ctx.validation == "Strict" and json.encode(document, { sort = true })
      decode.typed(ctx, ctx.resource, document, strict_failure(whole))
    end
    return document, true
  end
end

-- --- apply ----------------------------------------------------------------------------------------

local function check_apply(ctx)
  local given = ctx.query.fieldManager and ctx.query.fieldManager[1] or ""
  if given == "" then
    local causes = status.causes()
    causes:required("fieldManager", "is required for apply patch")
    status.check({ group = "meta.k8s.io", kind = "PatchOptions" }, "", causes)
  end
end

local function read_applied(ctx)
  local resource = ctx.resource
  local ok, object = pcall(yaml.decode, ctx.request.body or "")
  if not ok or type(object) ~= "table" then
    status.bad_request("error decoding YAML: %s", ok and "it is no object" or errors.text(object))
  end
  if (object.kind or "") == "" or (object.apiVersion or "") == "" then
    status.bad_request("invalid object type: /, Kind=%s", object.kind or "")
  end
  local version = resource.group == "" and resource.version or resource.group .. "/" .. resource.version
  if object.kind ~= resource.kind or object.apiVersion ~= version then
    status.bad_request("invalid object type: %s, Kind=%s", object.apiVersion, object.kind)
  end
  object.metadata = type(object.metadata) == "table" and object.metadata or json.object {}
  if object.metadata.managedFields ~= nil then status.bad_request "metadata.managedFields must be nil" end
  object.metadata.name = object.metadata.name or ctx.route.name
  check_name(object, ctx.route.name)
  if resource.namespaced then object.metadata.namespace = object.metadata.namespace or ctx.route.namespace end
  return object
end

-- An applied object must fit its type as it stands: nothing is dropped from it.
local function check_declared(ctx, object)
  local resource = ctx.resource
  if resource.custom then return end
  local unknown = require("lab.types").check(resource, object, true)
  if #unknown == 0 then return end
  local where = resource.namespaced and object.metadata.namespace .. "/" .. object.metadata.name
    or "/" .. object.metadata.name
  local texts = {}
  for i, path in ipairs(unknown) do texts[i] = ("%s: field not declared in schema"):format("." .. path) end
  status.plain_500(("failed to create typed patch object (%s; %s, Kind=%s): %s"):format(where, object.apiVersion,
    object.kind, #texts == 1 and texts[1] or "errors:\n  " .. table.concat(texts, "\n  ")))
end

local function apply(ctx, options)
  check_apply(ctx)
  local force = require("lab.route").is_on(ctx.query, "force")
  local applied = read_applied(ctx)
  local resource = ctx.resource
  check_declared(ctx, applied)
  local namespace = resource.namespaced and ctx.route.namespace or nil
  ctx.applying = true
  if not ctx.cluster:collection(resource):get(namespace, ctx.route.name) then
    if options.subresource then status.not_found(resource, ctx.route.name) end
    local object = managed.apply(ctx, resource, nil, applied, force)
    object.metadata.resourceVersion = nil
    if not resource.custom then decode.typed(ctx, resource, object) end
    return writes.create(ctx, object), true
  end
  return writes.update(ctx, { subresource = options.subresource, applied = true, make = function(old)
    local object = managed.apply(ctx, resource, old, applied, force, options.subresource)
    if not resource.custom then decode.typed(ctx, resource, object) end
    return object, true
  end })
end

---Runs the patch that a request carries.
---@param ctx lab.Context
---@param options {subresource: string?}?
---@return string bytes
---@return boolean? created
function M.run(ctx, options)
  decode.check_size(ctx)
  options = options or {}
  local kind = kind_of(ctx)
  if kind == "apply" then return apply(ctx, options) end
  return writes.update(ctx, { subresource = options.subresource, make = maker(ctx, kind) })
end

M.kind_of, M.parse, M.APPLY = kind_of, parse, APPLY

return M
