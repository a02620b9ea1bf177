-- lab.rules.workloads: what makes pods: deployments, replica sets, stateful and daemon sets, jobs, cron jobs.
-- Not for the controllers that act on them.
--   return { ["apps/deployments"] = … }

local json = require "json"
local match = require "lab.match"
local meta = require "lab.meta"
local podcheck = require "lab.rules.podcheck"
local podwarnings = require "lab.rules.podwarnings"
local podspec = require "lab.rules.podspec"
local writes = require "lab.writes"

local M = {}

local function or_default(object, name, value)
  if object[name] == nil then object[name] = value end
end

local function default_template(template)
  if not template then return end
  template.metadata = template.metadata or json.object {}
  template.spec = template.spec or {}
  podspec.default(template.spec)
end

local function no_status(object) object.status = json.object {} end

-- A pod template, in an object's spec.
local function check_template(template, field, causes, policies)
  template = template or {}
  if template.metadata and template.metadata.labels then
    meta.check_labels(template.metadata.labels, field .. ".metadata.labels", causes)
  end
  podcheck.spec(template.spec, field .. ".spec", causes)
  local policy = template.spec and template.spec.restartPolicy
  if policies and policy and not policies[policy] then
    local list = {}
    for _, name in ipairs { "Always", "OnFailure", "Never" } do
      if policies[name] then list[#list + 1] = name end
    end
    causes:unsupported(field .. ".spec.restartPolicy", policy, list)
  end
end

local ALWAYS = { Always = true }

local function check_selector(spec, causes)
  if not spec.selector then
    causes:required("spec.selector")
    return
  end
  if next(spec.selector) == nil then
    causes:invalid("spec.selector", spec.selector, "empty selector is invalid for deployment")
  end
  local labels = spec.template and spec.template.metadata and spec.template.metadata.labels
  if not match.selects(spec.selector, labels) then
    causes:invalid("spec.template.metadata.labels", labels or {}, "`selector` does not match template `labels`")
  end
end

local function check_replicas(spec, causes)
  if (spec.replicas or 0) < 0 then
    causes:invalid("spec.replicas", spec.replicas, "must be greater than or equal to 0")
  end
end

local function check_same_selector(object, old, causes)
  if not writes.same(object.spec.selector, old.spec.selector) then
    causes:invalid("spec.selector", object.spec.selector, "field is immutable")
  end
end

-- --- deployments ----------------------------------------------------------------------------------

local deployments = { prepare_create = no_status }

function deployments.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "replicas", 1)
  or_default(spec, "strategy", {})
  or_default(spec.strategy, "type", "RollingUpdate")
  if spec.strategy.type == "RollingUpdate" then
    or_default(spec.strategy, "rollingUpdate", {})
    or_default(spec.strategy.rollingUpdate, "maxUnavailable", "25%")
    or_default(spec.strategy.rollingUpdate, "maxSurge", "25%")
  end
  or_default(spec, "revisionHistoryLimit", 10)
  or_default(spec, "progressDeadlineSeconds", 600)
  default_template(spec.template)
end

function deployments.validate(object, causes)
  local spec = object.spec
  check_selector(spec, causes)
  check_template(spec.template, "spec.template", causes, ALWAYS)
  check_replicas(spec, causes)
  local kind = spec.strategy.type
  if kind ~= "RollingUpdate" and kind ~= "Recreate" then
    causes:unsupported("spec.strategy.type", kind, { "Recreate", "RollingUpdate" })
  elseif kind == "Recreate" and spec.strategy.rollingUpdate then
    causes:forbidden("spec.strategy.rollingUpdate",
      "may not be specified when strategy `type` is '" .. kind .. "'")
  end
end

function deployments.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  deployments.validate(object, causes)
  check_same_selector(object, old, causes)
end

-- --- replica sets and replication controllers -----------------------------------------------------

local replicasets = { field_list = { "status.replicas" } }

function replicasets.prepare_create(object) object.status = { replicas = 0 } end

function replicasets.fields(object)
  return { ["status.replicas"] = tostring(object.status and object.status.replicas or 0) }
end

function replicasets.default(object)
  object.spec = object.spec or {}
  or_default(object.spec, "replicas", 1)
  default_template(object.spec.template)
end

function replicasets.validate(object, causes)
  check_selector(object.spec, causes)
  check_template(object.spec.template, "spec.template", causes, ALWAYS)
  check_replicas(object.spec, causes)
end

function replicasets.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  replicasets.validate(object, causes)
  check_same_selector(object, old, causes)
end

local controllers = { prepare_create = replicasets.prepare_create }

function controllers.default(object)
  replicasets.default(object)
  local template = object.spec.template
  local labels = template and template.metadata and template.metadata.labels
  if labels and not object.spec.selector then object.spec.selector = json.decode(json.encode(labels)) end
end

-- --- stateful sets, daemon sets -------------------------------------------------------------------

local statefulsets = {}

function statefulsets.prepare_create(object) object.status = { replicas = 0, availableReplicas = 0 } end

function statefulsets.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "replicas", 1)
  or_default(spec, "podManagementPolicy", "OrderedReady")
  or_default(spec, "updateStrategy", {})
  or_default(spec.updateStrategy, "type", "RollingUpdate")
  if spec.updateStrategy.type == "RollingUpdate" then
    or_default(spec.updateStrategy, "rollingUpdate", {})
    or_default(spec.updateStrategy.rollingUpdate, "partition", 0)
  end
  or_default(spec, "revisionHistoryLimit", 10)
  or_default(spec, "persistentVolumeClaimRetentionPolicy", { whenDeleted = "Retain", whenScaled = "Retain" })
  for _, claim in ipairs(spec.volumeClaimTemplates or {}) do
    claim.kind, claim.apiVersion = "PersistentVolumeClaim", "v1"
    or_default(claim.spec, "volumeMode", "Filesystem")
    claim.status = { phase = "Pending" }
  end
  default_template(spec.template)
end

-- The claims of a stateful set are volumes of its pods.
local function with_claims(spec)
  if not spec.volumeClaimTemplates or not spec.template or not spec.template.spec then return spec.template end
  local template = json.decode(json.encode(spec.template))
  template.spec.volumes = template.spec.volumes or json.array {}
  for _, claim in ipairs(spec.volumeClaimTemplates) do
    local name = (claim.metadata or {}).name
    table.insert(template.spec.volumes, { name = name, persistentVolumeClaim = { claimName = name } })
  end
  return template
end

function statefulsets.validate(object, causes)
  check_selector(object.spec, causes)
  check_template(with_claims(object.spec), "spec.template", causes, ALWAYS)
  check_replicas(object.spec, causes)
end

function statefulsets.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  statefulsets.validate(object, causes)
  local may = { "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
                "persistentVolumeClaimRetentionPolicy" }
  local copy = json.decode(json.encode(object.spec))
  for _, name in ipairs(may) do copy[name] = old.spec[name] end
  if not writes.same(copy, old.spec) then
    causes:forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
      .. "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
      .. "forbidden")
  end
end

local daemonsets = {}

function daemonsets.prepare_create(object)
  object.status = { currentNumberScheduled = 0, numberMisscheduled = 0, desiredNumberScheduled = 0, numberReady = 0 }
end

function daemonsets.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "updateStrategy", {})
  or_default(spec.updateStrategy, "type", "RollingUpdate")
  if spec.updateStrategy.type == "RollingUpdate" then
    or_default(spec.updateStrategy, "rollingUpdate", {})
    or_default(spec.updateStrategy.rollingUpdate, "maxUnavailable", 1)
    or_default(spec.updateStrategy.rollingUpdate, "maxSurge", 0)
  end
  or_default(spec, "revisionHistoryLimit", 10)
  default_template(spec.template)
end

function daemonsets.validate(object, causes)
  check_selector(object.spec, causes)
  check_template(object.spec.template, "spec.template", causes, ALWAYS)
end

function daemonsets.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  daemonsets.validate(object, causes)
  check_same_selector(object, old, causes)
end

-- --- jobs -----------------------------------------------------------------------------------------

local jobs = { prepare_create = nil, field_list = { "status.successful" } }

function jobs.fields(object)
  return { ["status.successful"] = tostring(object.status and object.status.succeeded or 0) }
end

function jobs.default(object)
  local spec = object.spec or {}
  object.spec = spec
  if spec.completions == nil and spec.parallelism == nil then spec.completions, spec.parallelism = 1, 1 end
  or_default(spec, "parallelism", 1)
  if spec.backoffLimit == nil then
    spec.backoffLimit = spec.backoffLimitPerIndex and 2147483647 or 6
  end
  or_default(spec, "completionMode", "NonIndexed")
  or_default(spec, "suspend", false)
  or_default(spec, "podReplacementPolicy", spec.podFailurePolicy and "Failed" or "TerminatingOrFailed")
  or_default(spec, "manualSelector", false)
  default_template(spec.template)
end

function jobs.prepare_create(object)
  object.status = json.object {}
  local spec, m = object.spec, object.metadata
  if spec.manualSelector then return end
  spec.template = spec.template or { metadata = json.object {}, spec = {} }
  spec.template.metadata = spec.template.metadata or json.object {}
  local labels = spec.template.metadata.labels or {}
  spec.template.metadata.labels = labels
  for _, prefix in ipairs { "", "batch.kubernetes.io/" } do
    labels[prefix .. "controller-uid"] = m.uid
    labels[prefix .. "job-name"] = m.name
  end
  if not object.metadata.labels then object.metadata.labels = json.decode(json.encode(labels)) end
  spec.selector = spec.selector or { matchLabels = { ["batch.kubernetes.io/controller-uid"] = m.uid } }
end

local NOT_ALWAYS = { OnFailure = true, Never = true }

local function check_numbers(spec, causes)
  for _, name in ipairs { "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds",
                          "ttlSecondsAfterFinished" } do
    if (spec[name] or 0) < 0 then
      causes:invalid("spec." .. name, spec[name], "must be greater than or equal to 0")
    end
  end
end

-- What is only for pods with numbers, and what goes together.
local function check_policies(spec, causes)
  if spec.completionMode ~= "Indexed" then
    for _, name in ipairs { "backoffLimitPerIndex", "successPolicy" } do
      if spec[name] ~= nil then causes:invalid("spec." .. name, spec[name], "requires indexed completion mode") end
    end
  end
  if spec.maxFailedIndexes and not spec.backoffLimitPerIndex then
    causes:required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified")
  elseif spec.maxFailedIndexes and spec.completions and spec.maxFailedIndexes > spec.completions then
    causes:invalid("spec.maxFailedIndexes", spec.maxFailedIndexes, "must be less than or equal to completions")
  end
  local waits = { Failed = true, TerminatingOrFailed = not spec.podFailurePolicy or nil }
  if not waits[spec.podReplacementPolicy] then
    causes:unsupported("spec.podReplacementPolicy", spec.podReplacementPolicy,
      spec.podFailurePolicy and { "Failed" } or { "Failed", "TerminatingOrFailed" })
  end
  local restart = spec.template and spec.template.spec and spec.template.spec.restartPolicy
  if spec.podFailurePolicy and restart ~= "Never" then
    causes:invalid("spec.template.spec.restartPolicy", restart,
      'only "Never" is supported when podFailurePolicy is specified')
  end
end

function jobs.validate(object, causes)
  local spec = object.spec
  check_numbers(spec, causes)
  check_policies(spec, causes)
  if spec.completionMode ~= "NonIndexed" and spec.completionMode ~= "Indexed" then
    causes:unsupported("spec.completionMode", spec.completionMode, { "Indexed", "NonIndexed" })
  elseif spec.completionMode == "Indexed" and not spec.completions then
    causes:required("spec.completions", "when completion mode is Indexed")
  end
  local template = spec.template or {}
  local policy = template.spec and template.spec.restartPolicy
  podcheck.spec(template.spec, "spec.template.spec", causes)
  if policy and not NOT_ALWAYS[policy] then
    if policy == "Always" then
      causes:required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    end
  end
  local labels = template.metadata and template.metadata.labels
  if spec.selector and not match.selects(spec.selector, labels) then
    causes:invalid("spec.template.metadata.labels", labels or {}, "`selector` does not match template `labels`")
  end
end

local FROZEN = { "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy" }

function jobs.validate_update(object, old, causes, _, subresource)
  if subresource == "status" then return end
  jobs.validate(object, causes)
  local spec, before = object.spec, old.spec
  check_same_selector(object, old, causes)
  local template = spec.template
  if before.suspend and not (old.status and old.status.startTime) then
    -- A suspended job that has not started may have its scheduling changed.
    template = json.decode(json.encode(template))
    for _, name in ipairs { "nodeSelector", "tolerations", "affinity", "schedulingGates" } do
      template.spec[name] = before.template.spec[name]
    end
    template.metadata = before.template.metadata
  end
  if not writes.same(template, before.template) then
    causes:invalid("spec.template", spec.template, "field is immutable")
  end
  if spec.completions ~= before.completions then
    if spec.completionMode ~= "Indexed" then
      causes:invalid("spec.completions", spec.completions, "field is immutable")
    elseif spec.completions and spec.completions ~= spec.parallelism then
      causes:invalid("spec.completions", spec.completions, "can only be modified in tandem with spec.parallelism")
    end
  end
  for _, name in ipairs(FROZEN) do
    if not writes.same(spec[name], before[name]) then
      causes:invalid("spec." .. name, spec[name], "field is immutable")
    end
  end
end

-- --- cron jobs ------------------------------------------------------------------------------------

local cronjobs = { prepare_create = no_status }

function cronjobs.default(object)
  local spec = object.spec or {}
  object.spec = spec
  or_default(spec, "concurrencyPolicy", "Allow")
  or_default(spec, "suspend", false)
  or_default(spec, "successfulJobsHistoryLimit", 3)
  or_default(spec, "failedJobsHistoryLimit", 1)
  if spec.jobTemplate then
    spec.jobTemplate.metadata = spec.jobTemplate.metadata or json.object {}
    default_template(spec.jobTemplate.spec and spec.jobTemplate.spec.template)
  end
end

function cronjobs.validate(object, causes)
  local spec = object.spec
  if (spec.schedule or "") == "" then causes:required("spec.schedule") end
  local policies = { Allow = true, Forbid = true, Replace = true }
  if not policies[spec.concurrencyPolicy] then
    causes:unsupported("spec.concurrencyPolicy", spec.concurrencyPolicy, { "Allow", "Forbid", "Replace" })
  end
  local template = spec.jobTemplate and spec.jobTemplate.spec and spec.jobTemplate.spec.template
  check_template(template, "spec.jobTemplate.spec.template", causes, NOT_ALWAYS)
end

M["apps/deployments"], M["apps/replicasets"], M.replicationcontrollers = deployments, replicasets, controllers
M["apps/statefulsets"], M["apps/daemonsets"] = statefulsets, daemonsets
M["batch/jobs"], M["batch/cronjobs"] = jobs, cronjobs

-- Templates are warned of as pods are.
for _, rules in ipairs { deployments, replicasets, statefulsets, daemonsets, jobs } do
  rules.warn = function(object, warnings)
    if object.spec.template then podwarnings.add(object.spec.template, "spec.template.", warnings) end
  end
end

function cronjobs.warn(object, warnings)
  local template = object.spec.jobTemplate and object.spec.jobTemplate.spec and object.spec.jobTemplate.spec.template
  if template then podwarnings.add(template, "spec.jobTemplate.spec.template.", warnings) end
end

return M
