-- lab.rest: the verbs on single objects: get, create, update, delete, and deletion of collections.
-- Not for how patches compute their result (lab.patches), lists or watches.
--   rest.create(ctx) -> response

local answer = require "lab.answer"
local decode = require "lab.decode"
local lists = require "lab.lists"
local status = require "lab.status"
local store = require "lab.store"
local writes = require "lab.writes"

local M = {}

---@param ctx lab.Context
---@return lab.Record raises NotFound
function M.record(ctx)
  local r = ctx.route
  local namespace = ctx.resource.namespaced and r.namespace or nil
  local record = ctx.cluster:collection(ctx.resource):get(namespace, r.name)
  if not record then status.not_found(ctx.resource, r.name) end
  return record
end

function M.get(ctx)
  local version = lists.first(ctx, "resourceVersion")
  if version ~= "" then
    local asked = version:match "^%d+$" and math.tointeger(tonumber(version))
    if not asked then
      status.bad_request('resourceVersion: Invalid value: "%s": strconv.ParseUint: parsing "%s": invalid syntax',
        version, version)
    end
    if asked > ctx.cluster.store.revision then
      status.too_large_version(version, ctx.cluster.store.revision)
    end
  end
  return answer.object(ctx, 200, store.bytes(M.record(ctx)))
end

-- --- create ---------------------------------------------------------------------------------------

local function check_namespace(ctx, object)
  local r = ctx.route
  local meta = object.metadata
  if not ctx.resource.namespaced then
    if (meta.namespace or "") ~= "" then
      status.bad_request "the namespace of the provided object does not match the namespace sent on the request"
    end
    return
  end
  if (meta.namespace or "") == "" then
    meta.namespace = r.namespace
  elseif meta.namespace ~= r.namespace then
    status.bad_request "the namespace of the provided object does not match the namespace sent on the request"
  end
end

local function check_name(ctx, object)
  local name = object.metadata.name
  if name == nil or name == "" then
    object.metadata.name = ctx.route.name
  elseif name ~= ctx.route.name then
    status.bad_request("the name of the object (%s) does not match the name on the URL (%s)", name, ctx.route.name)
  end
end

---@param ctx lab.Context
---@return table response
function M.create(ctx)
  require("lab.options").write(ctx, "CreateOptions")
  if ctx.resource.custom and ctx.resource.custom.terminating then
    status.raise(405, "MethodNotAllowed", "create not allowed while custom resource definition is terminating", {})
  end
  local object = decode.object(ctx, ctx.resource)
  object.metadata = object.metadata or {}
  check_namespace(ctx, object)
  local bytes = writes.create(ctx, object)
  return answer.object(ctx, 201, bytes)
end

-- --- update and patch -----------------------------------------------------------------------------

-- The object that a request brings along, in the place of the one that its path names.
local function given(ctx)
  local object = decode.object(ctx, ctx.resource)
  object.metadata = object.metadata or {}
  check_name(ctx, object)
  check_namespace(ctx, object)
  return object
end

---@param ctx lab.Context
---@param subresource string?
---@return table response
function M.update(ctx, subresource)
  require("lab.options").write(ctx, "UpdateOptions")
  local first = given(ctx) -- what is wrong with it is told before whether there is one to replace
  local bytes = writes.update(ctx, { subresource = subresource, whole = true, make = function()
    local object = first or given(ctx)
    first = nil
    return object, true
  end })
  return answer.object(ctx, 200, bytes)
end

---@param ctx lab.Context
---@return table response
function M.patch(ctx)
  require("lab.options").write(ctx, "PatchOptions")
  local bytes, created = require("lab.patches").run(ctx)
  return answer.object(ctx, created and 201 or 200, bytes)
end

-- --- delete ---------------------------------------------------------------------------------------

-- Kinds whose deletion answers the object, not a Status.
local ANSWERS_OBJECT = {
  pods = true, persistentvolumeclaims = true, persistentvolumes = true, serviceaccounts = true, podtemplates = true,
  resourcequotas = true, services = true, ["storage.k8s.io/storageclasses"] = true,
  ["apiextensions.k8s.io/customresourcedefinitions"] = true,
  ["storage.k8s.io/csidrivers"] = true,
  ["storage.k8s.io/csinodes"] = true, ["storage.k8s.io/volumeattachments"] = true,
}

---@param ctx lab.Context
---@return table response
function M.delete(ctx)
  decode.check_size(ctx)
  local options = require("lab.options").delete(ctx)
  local record = M.record(ctx)
  local gone, last = require("lab.deletes").run(ctx, record, options)
  if gone and not ANSWERS_OBJECT[ctx.resource.stored] then return answer.deleted(ctx, ctx.resource, record) end
  return answer.object(ctx, 200, last)
end

---@param ctx lab.Context
---@return table response
function M.deletecollection(ctx)
  local options = require("lab.options").delete(ctx)
  local selection = require("lab.selectors").of(ctx)
  local deletes = require "lab.deletes"
  local list = {}
  for _, record in ipairs(ctx.cluster:collection(ctx.resource):records(ctx.route.namespace)) do
    if selection.all or selection.matches(record) then list[#list + 1] = record end
  end
  for _, record in ipairs(list) do
    local ok, problem = pcall(deletes.run, ctx, record, options)
    if not ok and not (status.is(problem) and problem.status == 404) then error(problem, 0) end
  end
  return answer.list(ctx, list, { resourceVersion = ("%d"):format(ctx.cluster.store.revision) })
end

M.view = store.view

return M
