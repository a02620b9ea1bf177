-- vsphere-rwo: claims that ask for ReadWriteMany, where vSphere's block volumes cannot give it.
--
-- A claim is judged in this order:
--   1. it names its own volume, selects one, or has the class "": left as it is;
--   2. its class can serve ReadWriteMany (rwx_classes): left as it is;
--   3. a class for such claims is configured (rwx_class): the claim is moved there;
--   4. its namespace opted in (label co_schedule_label): it becomes ReadWriteOnce, and the pods that use it
--      are kept on one node (the policies below);
--   5. else it is refused, and the message says what can be done.
--
-- What is done at a claim's creation stays in the cluster's object: a GitOps tool that compares it with its
-- source will report the class (3) or the access mode (4) as drift; tell it to leave these fields out.

local policy = require "policy"
local kube = require "kube"

policy.config {
  rwx_class = { type = "string", doc = "the storage class that serves ReadWriteMany (NFS, vSAN file shares)" },
  rwx_classes = { type = "list", default = {}, doc = "further classes that serve it: their claims are left alone" },
  co_schedule_label = { type = "string", default = "storage.kfhost.io/co-schedule",
    doc = "the namespace label (\"true\") that opts in to ReadWriteOnce with pods on one node" },
}

policy.grant { reads = { "namespaces", "persistentvolumeclaims", "resourcequotas" } }

local LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class" -- still wins over spec.storageClassName
local ORIGINAL_MODES = "storage.kfhost.io/original-access-modes"
local GATE = "storage.kfhost.io/co-schedule"
local CLAIM_LABEL = "claim.storage.kfhost.io/"

local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }

local function annotations_of(object)
  return object.metadata and object.metadata.annotations or {}
end

local function class_of(claim)
  return annotations_of(claim)[LEGACY_CLASS] or claim.spec.storageClassName
end

local function is_static(claim)
  local spec = claim.spec
  return (spec.volumeName or "") ~= "" or spec.selector ~= nil or class_of(claim) == ""
end

local function opted_in(req)
  local namespace = req:lookup("namespaces", nil, req.namespace)
  local labels = namespace and namespace.metadata.labels or {}
  return labels[req.config.co_schedule_label] == "true"
end

-- --- 3. another class -----------------------------------------------------------------------------------

local function storage_of(claim)
  local resources = claim.spec.resources
  local size = resources and resources.requests and resources.requests.storage
  local ok, quantity = pcall(kube.quantity, size)
  return ok and quantity or nil
end

-- Which limit of a quota the claim would break in the class it is moved to; nil when none.
local function broken_quota(req, class)
  local size = storage_of(req.object)
  local prefix = class .. ".storageclass.storage.k8s.io/"
  for _, quota in ipairs(req:find("resourcequotas")) do
    local hard = quota.status and quota.status.hard or quota.spec.hard or {}
    local used = quota.status and quota.status.used or {}
    local function over(name, more)
      if hard[name] == nil or more == nil then return false end
      return kube.quantity(used[name] or "0") + more > kube.quantity(hard[name])
    end
    for name, more in pairs { ["requests.storage"] = size or kube.quantity("0"),
      ["persistentvolumeclaims"] = kube.quantity("1") } do
      if over(prefix .. name, more) then return quota.metadata.name, prefix .. name end
    end
  end
  return nil
end

local function move_to_class(req, class)
  local claim = req.object
  local quota, name = broken_quota(req, class)
  if quota then
    return req:deny("ReadWriteMany is served here by class %s, but quota %s leaves no room (%s): ask for less, "
      .. "or have the quota raised", class, quota, name)
  end
  claim.spec.storageClassName = class
  local annotations = annotations_of(claim)
  if annotations[LEGACY_CLASS] then annotations[LEGACY_CLASS] = class end
  req:warn("ReadWriteMany is served by class %s", class)
end

-- --- 4. one node ----------------------------------------------------------------------------------------

local function make_single(req)
  local claim = req.object
  local modes, seen = {}, {}
  for _, mode in ipairs(claim.spec.accessModes) do
    local kept = mode == "ReadWriteMany" and "ReadWriteOnce" or mode
    if not seen[kept] then modes[#modes + 1] = kept end
    seen[kept] = true
  end
  claim.metadata.annotations = claim.metadata.annotations or {}
  claim.metadata.annotations[ORIGINAL_MODES] = table.concat(claim.spec.accessModes, ",")
  claim.spec.accessModes = modes
  req:warn("this claim is ReadWriteOnce here: the pods that use it run on one node")
end

-- A claim's spec can be changed while it is made, and its class once more while it has none.
local function can_be_changed(req)
  return req.operation == "CREATE" or class_of(req.old) == nil
end

policy.mutate {
  name = "claims-on-vsphere",
  doc = "moves ReadWriteMany claims to a class that can, or makes them ReadWriteOnce where that was asked for",
  match = { resource = "persistentvolumeclaims", operations = { "CREATE", "UPDATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    local claim, config = req.object, req.config
    if not req.contains(claim.spec.accessModes, "ReadWriteMany") then return end
    if is_static(claim) or not can_be_changed(req) then return end
    local class = class_of(claim)
    if req.contains(config.rwx_classes, class) or (class and class == config.rwx_class) then return end
    if config.rwx_class then return move_to_class(req, config.rwx_class) end
    if req.operation == "UPDATE" then return end
    if opted_in(req) then return make_single(req) end
    return req:deny("vSphere block volumes (class %s) cannot be ReadWriteMany. Ask for ReadWriteOnce; or have the "
      .. "site set rwx_class to a class of file volumes; or label the namespace %s=true, and the pods of a claim "
      .. "share one node", class or "of the cluster's default", config.co_schedule_label)
  end,
}

-- --- the pods of a claim that became ReadWriteOnce --------------------------------------------------------

-- Names of the claims that a pod uses and that were made ReadWriteOnce, or are not known yet.
local function shared_claims(req)
  local names = {}
  for _, volume in ipairs(req.object.spec.volumes or {}) do
    local name = volume.persistentVolumeClaim and volume.persistentVolumeClaim.claimName
    if name then
      local claim = req:lookup("persistentvolumeclaims", req.namespace, name)
      if not claim or annotations_of(claim)[ORIGINAL_MODES] then names[#names + 1] = name end
    end
  end
  return names
end

-- A label's name part has 63 characters; longer claim names keep their end, which differs most.
local function label_of(claim)
  local part = #claim > 63 and claim:sub(-63):gsub("^[^%w]+", "") or claim
  return CLAIM_LABEL .. part
end

local function has_named(list, name)
  for _, one in ipairs(list) do
    if one.name == name then return true end
  end
  return false
end

local function affinity_terms(pod)
  pod.spec.affinity = pod.spec.affinity or {}
  local affinity = pod.spec.affinity
  affinity.podAffinity = affinity.podAffinity or {}
  local required = "requiredDuringSchedulingIgnoredDuringExecution"
  affinity.podAffinity[required] = affinity.podAffinity[required] or {}
  return affinity.podAffinity[required]
end

local function has_term(terms, label)
  for _, term in ipairs(terms) do
    local labels = term.labelSelector and term.labelSelector.matchLabels or {}
    if labels[label] then return true end
  end
  return false
end

policy.mutate {
  name = "pods-beside-their-claim",
  doc = "keeps the pods that share a claim on one node: a gate until the node is known, a label and an affinity",
  match = { resource = "pods", operations = { "CREATE" }, namespaces = PROFILES },
  on_error = "fail",
  apply = function(req)
    local pod = req.object
    if not opted_in(req) then return end
    local claims = shared_claims(req)
    if #claims == 0 then return end
    pod.metadata.labels = pod.metadata.labels or {}
    for _, claim in ipairs(claims) do
      local label = label_of(claim)
      pod.metadata.labels[label] = "true"
      local terms = affinity_terms(pod)
      if not has_term(terms, label) then
        terms[#terms + 1] = { labelSelector = { matchLabels = { [label] = "true" } },
          topologyKey = "kubernetes.io/hostname" }
      end
    end
    pod.spec.schedulingGates = pod.spec.schedulingGates or {}
    if not has_named(pod.spec.schedulingGates, GATE) then
      table.insert(pod.spec.schedulingGates, { name = GATE })
    end
  end,
}

-- --- tests --------------------------------------------------------------------------------------------------

local function claim(fields)
  local spec = { accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "3Gi" } } }
  for field, value in pairs(fields or {}) do spec[field] = value end
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a" },
    spec = spec }
end

local function namespace(labels)
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = labels } }
end

local PROFILE = namespace { ["app.kubernetes.io/part-of"] = "kubeflow-profile" }
local OPTED_IN = namespace { ["app.kubernetes.io/part-of"] = "kubeflow-profile",
  ["storage.kfhost.io/co-schedule"] = "true" }

policy.test { name = "a claim that many may write is moved to the configured class", object = claim(),
  config = { rwx_class = "nfs" }, objects = { PROFILE },
  expect = { allowed = true, patch = { { op = "add", path = "/spec/storageClassName", value = "nfs" } } } }

policy.test { name = "a claim without a size passes", config = { rwx_class = "nfs" }, objects = { PROFILE },
  object = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a" },
    spec = { accessModes = { "ReadWriteMany" } } },
  expect = { allowed = true, object = { spec = { storageClassName = "nfs" } } } }

policy.test { name = "a claim that one may write is left alone", objects = { PROFILE },
  object = claim { accessModes = { "ReadWriteOnce" } }, config = { rwx_class = "nfs" },
  expect = { allowed = true, patch = {} } }

policy.test { name = "a claim of a named volume is left alone", object = claim { volumeName = "pv-1" },
  config = { rwx_class = "nfs" }, objects = { PROFILE }, expect = { allowed = true, patch = {} } }

policy.test { name = "a claim with a selector is left alone",
  object = claim { selector = { matchLabels = { a = "b" } } },
  config = { rwx_class = "nfs" }, objects = { PROFILE }, expect = { allowed = true, patch = {} } }

policy.test { name = "a claim of class \"\" is left alone", object = claim { storageClassName = "" },
  config = { rwx_class = "nfs" }, objects = { PROFILE }, expect = { allowed = true, patch = {} } }

policy.test { name = "a claim whose class can serve it is left alone", object = claim { storageClassName = "files" },
  config = { rwx_class = "nfs", rwx_classes = { "files" } }, objects = { PROFILE },
  expect = { allowed = true, patch = {} } }

policy.test { name = "the legacy annotation, which wins, is moved too", config = { rwx_class = "nfs" },
  objects = { PROFILE },
  object = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a",
    annotations = { ["volume.beta.kubernetes.io/storage-class"] = "block" } },
    spec = { accessModes = { "ReadWriteMany" } } },
  expect = { object = { spec = { storageClassName = "nfs" },
    metadata = { annotations = { ["volume.beta.kubernetes.io/storage-class"] = "nfs" } } } } }

policy.test { name = "an update of a claim that has its class is left alone",
  old = claim { storageClassName = "block" }, object = claim { storageClassName = "block" },
  config = { rwx_class = "nfs" }, objects = { PROFILE }, expect = { allowed = true, patch = {} } }

policy.test { name = "an update of a claim without a class is moved", old = claim(), object = claim(),
  config = { rwx_class = "nfs" }, objects = { PROFILE },
  expect = { object = { spec = { storageClassName = "nfs" } } } }

policy.test { name = "the quota of the class it is moved to is asked first", object = claim(),
  config = { rwx_class = "nfs" },
  objects = { PROFILE, { apiVersion = "v1", kind = "ResourceQuota", metadata = { name = "files", namespace = "team-a" },
    status = { hard = { ["nfs.storageclass.storage.k8s.io/requests.storage"] = "5Gi" },
      used = { ["nfs.storageclass.storage.k8s.io/requests.storage"] = "2560Mi" } } } },
  expect = { allowed = false, message = "quota files leaves no room" } }

policy.test { name = "without a class and without the label it is refused with the fix", object = claim(),
  objects = { PROFILE }, expect = { allowed = false, code = 403, message = "label the namespace" } }

policy.test { name = "in a namespace that opted in it becomes ReadWriteOnce", object = claim(), objects = { OPTED_IN },
  expect = { allowed = true, warnings = "one node", object = { spec = { accessModes = { "ReadWriteOnce" } },
    metadata = { annotations = { ["storage.kfhost.io/original-access-modes"] = "ReadWriteMany" } } } } }

local function pod()
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "step", namespace = "team-a" }, spec = {
    containers = { { name = "main", image = "busybox" } },
    volumes = { { name = "data", persistentVolumeClaim = { claimName = "data" } } } } }
end

local SHARED = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "team-a",
  annotations = { ["storage.kfhost.io/original-access-modes"] = "ReadWriteMany" } },
  spec = { accessModes = { "ReadWriteOnce" } } }

policy.test { name = "a pod with such a claim waits at a gate and stays with its like", object = pod(),
  objects = { OPTED_IN, SHARED },
  expect = { object = { metadata = { labels = { ["claim.storage.kfhost.io/data"] = "true" } },
    spec = { schedulingGates = { { name = "storage.kfhost.io/co-schedule" } }, affinity = { podAffinity = {
      requiredDuringSchedulingIgnoredDuringExecution = { { topologyKey = "kubernetes.io/hostname",
        labelSelector = { matchLabels = { ["claim.storage.kfhost.io/data"] = "true" } } } } } } } } } }

policy.test { name = "a pod whose claim is not known yet waits as well", object = pod(), objects = { OPTED_IN },
  expect = { object = { spec = { schedulingGates = { { name = "storage.kfhost.io/co-schedule" } } } } } }

policy.test { name = "a pod with an ordinary claim is left alone", object = pod(),
  objects = { OPTED_IN, claim { accessModes = { "ReadWriteOnce" } } }, expect = { allowed = true, patch = {} } }

policy.test { name = "a pod elsewhere is left alone", object = pod(), objects = { PROFILE, SHARED },
  expect = { allowed = true, patch = {} } }
