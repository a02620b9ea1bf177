-- lab.controllers.ephemeral: a claim for each ephemeral volume of a pod, named POD-VOLUME and gone with the pod.
-- Not for the volumes behind claims (lab.controllers.volumes).
--   require "lab.controllers.ephemeral".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local json = require "json"
local pod_claims = require "lab.pod_claims"
local store = require "lab.store"

local M = {}

local CLAIM, MANAGER = "persistentvolumeclaims", "kube-controller-manager"

local function make(cluster, pod, volume)
  local namespace, name = pod.metadata.namespace, pod_claims.name(pod, volume)
  if inside.view(cluster, CLAIM, namespace, name) then return end -- whose it is, the scheduler asks
  local template = json.decode(json.encode(volume.ephemeral.volumeClaimTemplate))
  local given = template.metadata or {}
  local made, problem = inside.create(cluster, CLAIM, { spec = template.spec, metadata = { name = name,
    namespace = namespace, labels = given.labels, annotations = given.annotations,
    ownerReferences = { inside.owner(cluster, "pods", pod) } } }, MANAGER)
  if not made and problem.status ~= 409 then error(problem, 0) end
end

local function look(cluster, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local pod = inside.view(cluster, "pods", namespace, name)
  if not pod or pod.metadata.deletionTimestamp then return end
  for _, volume in ipairs(pod.spec.volumes or {}) do
    if volume.ephemeral then make(cluster, pod, volume) end
  end
end

---@param cluster lab.Cluster
---@return lab.Controller
function M.start(cluster)
  return base.new(cluster, {
    name = "ephemeral",
    on = function(collection, event, add)
      local is_new = collection == "pods" and not event.removed and not event.previous
      if is_new and store.mentions(event.record, '"ephemeral"') then add(event.record.key) end
    end,
    look = function(key) look(cluster, key) end,
  })
end

return M
