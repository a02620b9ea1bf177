-- doctor.trim: what the checks need of an object, so that a large cluster fits: no managed fields, no status of
-- containers, and of secrets nothing but certificates.
-- Not for what is shown to people (kube.mask).
--   objects[#objects + 1] = trim.object(object)

local M = {}

local METADATA = { "name", "namespace", "labels", "annotations", "ownerReferences", "deletionTimestamp", "finalizers",
  "creationTimestamp" }
local CONTAINER = { "name", "image", "command", "args", "env", "volumeMounts", "securityContext" }
local POD = { "nodeName", "securityContext", "hostNetwork", "hostPID", "hostIPC", "restartPolicy" }
local LAST_APPLIED <const> = "kubectl.kubernetes.io/last-applied-configuration"

local function pick(from, names, into)
  for _, name in ipairs(names) do into[name] = from[name] end
  return into
end

local function metadata_of(metadata)
  local kept = pick(metadata, METADATA, {})
  if type(kept.annotations) == "table" and kept.annotations[LAST_APPLIED] then
    local annotations = {}
    for key, value in pairs(kept.annotations) do
      if key ~= LAST_APPLIED then annotations[key] = value end
    end
    kept.annotations = annotations
  end
  return kept
end

-- Every pod has one, and it is for the API server.
local function is_of_api(volume)
  return type(volume.name) == "string" and volume.name:find "^kube%-api%-access%-" ~= nil
end

-- Of a list only what is of a type: what stands in the definitions of others may be anything.
local function only(of_type, list, unwanted)
  local kept = {}
  for _, one in ipairs(type(list) == "table" and list or {}) do
    if type(one) == of_type and not (unwanted and unwanted(one)) then kept[#kept + 1] = one end
  end
  return kept
end

local function with_paths(mounts)
  local kept = only("table", mounts, is_of_api)
  for index = #kept, 1, -1 do
    if type(kept[index].mountPath) ~= "string" or type(kept[index].name) ~= "string" then table.remove(kept, index) end
  end
  return kept
end

local function container_of(container)
  local kept = pick(container, CONTAINER, {})
  for _, field in ipairs { "command", "args" } do kept[field] = kept[field] and only("string", kept[field]) end
  kept.env, kept.volumeMounts = only("table", container.env), with_paths(container.volumeMounts)
  if type(kept.image) ~= "string" then kept.image = nil end
  return kept
end

local function containers_of(containers)
  local kept = only("table", containers)
  for index, container in ipairs(kept) do kept[index] = container_of(container) end
  return kept
end

local function pod_spec(spec)
  if type(spec) ~= "table" then return nil end
  local kept = pick(spec, POD, { volumes = only("table", spec.volumes, is_of_api) })
  for _, field in ipairs { "initContainers", "containers" } do kept[field] = containers_of(spec[field]) end
  return kept
end

local function template(of)
  if type(of) ~= "table" then return nil end
  return { metadata = of.metadata, spec = pod_spec(of.spec) }
end

-- --- by kind ------------------------------------------------------------------------------------------------

local function workload(object)
  local spec = type(object.spec) == "table" and object.spec or {}
  return { spec = { template = template(spec.template), replicas = spec.replicas }, status = object.status }
end

-- Of a pod's annotations only the mesh's say something.
local function of_mesh(annotations)
  local kept = {}
  for key, value in pairs(type(annotations) == "table" and annotations or {}) do
    if key:find("istio.io/", 1, true) then kept[key] = value end
  end
  return kept
end

local BY_KIND = {
  Pod = function(object)
    local status = type(object.status) == "table" and object.status or {}
    return { spec = pod_spec(object.spec), status = { phase = status.phase } }
  end,
  Secret = function(object)
    local certificate = type(object.data) == "table" and object.data["tls.crt"] or nil
    return { data = { ["tls.crt"] = certificate } }
  end,
  Event = function(object)
    return pick(object, { "involvedObject", "reason", "message", "lastTimestamp", "eventTime", "series" }, {})
  end,
  Deployment = workload, StatefulSet = workload, Job = workload, Notebook = workload,
}

local OTHERS = { "spec", "status", "data", "webhooks", "roleRef", "subjects", "provisioner", "volumeBindingMode",
  "parameters" }

---What the checks look at of a container, in the shape that it should have.
---@param container any
---@return table
function M.container(container)
  return container_of(type(container) == "table" and container or {})
end

---What the checks look at of a pod's spec, in the shape that it should have.
---@param spec any
---@return table?
function M.pod_spec(spec)
  return pod_spec(spec)
end

---A copy of an object with what the checks look at.
---@param object table as the API gave it
---@return table
function M.object(object)
  local by_kind = BY_KIND[object.kind]
  local kept = by_kind and by_kind(object) or pick(object, OTHERS, {})
  kept.kind, kept.apiVersion, kept.metadata = object.kind, object.apiVersion, metadata_of(object.metadata)
  if object.kind == "Pod" then kept.metadata.annotations = of_mesh(kept.metadata.annotations) end
  return kept
end

return M
