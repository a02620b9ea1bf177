-- katib.workload: the pod templates of the kinds that trials are made of, and small edits of them that change nothing
-- when they are made twice.
-- Not for rendering trials (katib.render).
--   for _, template in ipairs(workload.templates(job)) do workload.set(template, "labels", "a", "b") end

local sorted_keys = require "kfhost.keys".sorted

local M = {}

-- Resources of the kinds that Katib's trialResources name.
M.RESOURCES = "jobs.batch | pytorchjobs.kubeflow.org | tfjobs.kubeflow.org | mpijobs.kubeflow.org | "
  .. "xgboostjobs.kubeflow.org | trainjobs.trainer.kubeflow.org"

local REPLICA_SPECS = { PyTorchJob = "pytorchReplicaSpecs", TFJob = "tfReplicaSpecs", MPIJob = "mpiReplicaSpecs",
  XGBoostJob = "xgbReplicaSpecs" }

-- The token of Pipelines that a pod shows: where no PodDefault puts one, so that none can conflict.
M.TOKEN = { volume = "kfhost-kfp-token", directory = "/var/run/secrets/kfhost/kfp",
  audience = "pipelines.kubeflow.org" }

---@param object table
---@return table? owner the Trial that an object is made for
function M.trial_of(object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.kind == "Trial" then return owner end
  end
  return nil
end

-- A TrainJob has no template of its own: an override of its runtime's stands for it, as far as it reaches.
local function override_of(job)
  job.spec.podTemplateOverrides = job.spec.podTemplateOverrides or {}
  for _, override in ipairs(job.spec.podTemplateOverrides) do
    local target = override.targetJobs and override.targetJobs[1]
    if target and target.name == "node" and #override.targetJobs == 1 then return override end
  end
  local override = { targetJobs = { { name = "node" } }, spec = { containers = { { name = "node" } } } }
  table.insert(job.spec.podTemplateOverrides, override)
  return override
end

---The pod templates of a workload, to be edited; of a TrainJob the override that is made for it.
---@param object table
---@return table[] templates with `spec`
function M.templates(object)
  if object.kind == "Job" then return { object.spec.template } end
  if object.kind == "TrainJob" then
    local override = override_of(object)
    override.spec = override.spec or {}
    return { override }
  end
  local templates, specs = {}, object.spec[REPLICA_SPECS[object.kind]] or {}
  for i, role in ipairs(sorted_keys(specs)) do templates[i] = specs[role].template end
  return templates
end

---@param template table
---@param field "labels"|"annotations"
---@param key string
---@param value string
function M.set(template, field, key, value)
  template.metadata = template.metadata or {}
  template.metadata[field] = template.metadata[field] or {}
  template.metadata[field][key] = value
end

---@param list table[]?
---@param name string
---@return table? one the entry of that name
function M.named(list, name)
  for _, one in ipairs(list or {}) do
    if one.name == name then return one end
  end
  return nil
end

local function has_mount(container, directory)
  for _, mount in ipairs(container.volumeMounts or {}) do
    if mount.mountPath == directory then return true end
  end
  return false
end

---Gives the pods of a template their own token for Pipelines.
---@param template table
function M.add_token(template)
  local spec, token = template.spec, M.TOKEN
  spec.volumes = spec.volumes or {}
  if not M.named(spec.volumes, token.volume) then
    table.insert(spec.volumes, { name = token.volume, projected = { sources = { { serviceAccountToken = {
      path = "token", audience = token.audience, expirationSeconds = 7200 } } } } })
  end
  for _, container in ipairs(spec.containers or {}) do
    if not has_mount(container, token.directory) then
      container.volumeMounts = container.volumeMounts or {}
      table.insert(container.volumeMounts, { name = token.volume, mountPath = token.directory, readOnly = true })
    end
  end
end

return M
