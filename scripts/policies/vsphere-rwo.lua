-- vsphere-rwo: claims that ask for ReadWriteMany, where vSphere's block volumes cannot give it.
--
-- A claim is judged in this order (vsphere.claims):
--   1. it names its own volume, selects one, or has the class "": left as it is;
--   2. its class can serve ReadWriteMany (rwx_classes): left as it is;
--   3. a class for such claims is configured (rwx_class) and has room: the claim is moved there;
--   4. its namespace opted in (label co_schedule_label): it becomes ReadWriteOnce, and the pods that use it
--      are kept on one node; so it does where one pod alone uses it, as its ephemeral volume;
--   5. else it is refused, and the message says what can be done.
--
-- In a namespace that opted in, the pods of every ReadWriteOnce claim are kept together (vsphere.placement): a pod
-- gets a label and an affinity for each claim, and waits at a gate. The controller lifts the gate when it knows the
-- node where the claim is in use, and binds the pod to it, or when no pod has it. Or (sharing): one pod after the
-- other, or a volume for each.
--
-- What is done at a claim's creation stays in the cluster's object: a GitOps tool that compares it with its source
-- reports the class (3) or the access mode (4) as drift; tell it to leave these fields out (docs/guide/policies).

local policy = require "policy"
local claims = require "vsphere.claims"
local placement = require "vsphere.placement"

local settings = policy.config {
  rwx_class = { type = "string", doc = "the storage class that serves ReadWriteMany (NFS, vSAN file shares)" },
  rwx_classes = { type = "list", default = {}, doc = "further classes that serve it: their claims are left alone" },
  co_schedule_label = { type = "string", default = "storage.kfhost.io/co-schedule",
    doc = "the namespace label (\"true\") that opts in to ReadWriteOnce with pods on one node" },
  sharing = { type = "string", enum = { "one-node", "sequential", "per-step" }, default = "one-node",
    doc = "how the pods of a claim share it; a claim's annotation storage.kfhost.io/sharing says otherwise" },
  gates = { type = "bool", default = true, doc = "the cluster has scheduling gates (Kubernetes 1.27 and later)" },
  gate_age = { type = "duration", default = "15m", doc = "how long a pod waits at our gate at most" },
  look_again = { type = "duration", default = "5s", doc = "how soon a pod at the gate is looked at again" },
  max_volumes = { type = "int", default = 59, doc = "volumes that a node takes, where its CSINode does not say" },
  driver = { type = "string", default = "csi.vsphere.vmware.com", doc = "whose volumes are counted" },
  repair_pending = { type = "bool", default = false,
    doc = "make claims anew that wait for what no class gives, as long as no pod uses them" },
}

policy.grant {
  reads = { "namespaces", "persistentvolumeclaims", "resourcequotas" },
  follows = { "pods", "nodes", "volumeattachments.storage.k8s.io", "csinodes.storage.k8s.io" },
  writes = { { resource = "pods", verbs = { "patch" } },
    { resource = "persistentvolumeclaims", verbs = { "create", "delete" } } },
  memory = "128MiB",
}

local PART_OF, OF_PROFILE = "app.kubernetes.io/part-of", "kubeflow-profile"
local PROFILE_LABEL = PART_OF .. "=" .. OF_PROFILE

-- Profile namespaces that have opted in, and the others: whether one has is the API server's to say, where a review
-- comes by its selector; what is known here may be some seconds old.
local OPTS_IN <const> = 2
local function in_profiles(resource, operations)
  local function match(opts)
    return { resource = resource, operations = operations, namespaces = { label = PROFILE_LABEL .. "," .. opts } }
  end
  return { match(settings.co_schedule_label .. "!=true"), [OPTS_IN] = match(settings.co_schedule_label .. "=true") }
end

local function has_opted_in(namespace, config)
  return (namespace.metadata.labels or {})[config.co_schedule_label] == "true"
end

-- --- claims ---------------------------------------------------------------------------------------------------

-- A claim's spec can be changed while it is made, and its class once more while it has none.
local function can_be_changed(req)
  return req.operation == "CREATE" or claims.class(req.old) == nil
end

policy.mutate {
  name = "claims-on-vsphere",
  doc = "moves ReadWriteMany claims to a class that can, or makes them ReadWriteOnce where that was asked for",
  match = in_profiles("persistentvolumeclaims", { "CREATE", "UPDATE" }),
  on_error = "fail",
  verify = true,
  apply = function(req)
    local claim = req.object
    if not claims.has_mode(claim, "ReadWriteMany") then return end
    if req.operation == "UPDATE" and claims.keep(req.old, claim, req.config) then
      return req:warn("what became of this claim when it was made cannot be changed, and stays")
    end
    if not can_be_changed(req) then return end
    local opted_in = req.matched == OPTS_IN
    if not opted_in and not req:lookup("namespaces", nil, req.namespace) then opted_in = nil end -- not known (yet)
    local verdict = claims.decide(claim, { config = req.config, opted_in = opted_in,
      quotas = req:find "resourcequotas" })
    if verdict.action == "leave" then return end
    if req.operation == "UPDATE" and verdict.action ~= "move" then return end
    if verdict.action == "refuse" then return req:deny("%s", verdict.message) end
    claims.mend(claim, verdict)
    req:warn("%s", verdict.message)
  end,
}

-- --- pods -----------------------------------------------------------------------------------------------------

-- Whether the pods of a claim are kept together: it was made ReadWriteOnce here, or can be on one node only. A claim
-- that is not known yet is taken for one of these: a gate too many is lifted again.
local function is_shared(claim, in_namespace, config)
  if not claim then return in_namespace end
  if claims.annotations(claim)[claims.ORIGINAL_MODES] then return true end
  return in_namespace and claims.is_single(claim, config)
end

policy.mutate {
  name = "pods-beside-their-claim",
  doc = "keeps the pods that share a claim on one node: a gate until the node is known, a label and an affinity",
  match = in_profiles("pods", { "CREATE" }),
  on_error = "fail",
  apply = function(req)
    local pod, config = req.object, req.config
    if (pod.spec.nodeName or "") ~= "" then return end -- somebody has chosen its node: the API takes no gate then
    local in_namespace, joined = req.matched == OPTS_IN, false
    for _, name in ipairs(placement.claim_names(pod)) do
      local claim = req:lookup("persistentvolumeclaims", req.namespace, name)
      if is_shared(claim, in_namespace, config) then
        if claim and placement.sharing(claim, config) == "per-step" then
          placement.own_volume(pod, claim)
          req:warn("claim %s: this pod has a volume of its own, as large and of the same class", name)
        else
          placement.join(pod, name)
          joined = true
        end
      end
    end
    if joined and config.gates then placement.close_gate(pod) end
  end,
}

-- --- the controller: gates, labels, claims that slipped through --------------------------------------------------

local function by_name(list)
  local map = {}
  for _, object in ipairs(list) do map[object.metadata.name] = object end
  return map
end

local function volume_limits(ctx)
  local limits = {}
  for _, node in ipairs(ctx:list "csinodes.storage.k8s.io") do
    for _, driver in ipairs(node.spec.drivers or {}) do
      if driver.name == ctx.config.driver and driver.allocatable then
        limits[node.metadata.name] = driver.allocatable.count
      end
    end
  end
  return limits
end

-- What vsphere.placement looks at.
local function view_of(namespace, ctx)
  return { config = ctx.config, now = os.time(), gate_age = policy.seconds(ctx.config.gate_age),
    limits = volume_limits(ctx), pods = ctx:list("pods", { namespace = namespace }),
    claims = by_name(ctx:list("persistentvolumeclaims", { namespace = namespace })),
    nodes = by_name(ctx:list "nodes"), attachments = ctx:list "volumeattachments.storage.k8s.io" }
end

-- Says why a pod waits, once for each reason: the annotation remembers it, and `kubectl describe` shows it.
local function say_why(pod, verdict, ctx)
  if claims.annotations(pod)[placement.WAITS] == verdict.message then return end
  ctx:patch(pod, { metadata = { annotations = { [placement.WAITS] = verdict.message } } }, { type = "merge" })
  local usual = verdict.reason == "ClaimInTurn" or verdict.reason == "ClaimOnItsWay"
  ctx:event(pod, usual and "Normal" or "Warning", verdict.reason, "%s", verdict.message)
end

policy.watch {
  name = "gates-of-shared-claims",
  doc = "lifts our gate, and binds the pod to the node where its claim is in use, in one patch",
  resource = "pods",
  reconcile = function(pod, ctx)
    if placement.is_finished(pod) then return end
    local lost = placement.lost_labels(pod)
    if lost then return ctx:patch(pod, { metadata = { labels = lost } }, { type = "merge" }) end
    if not placement.is_gated(pod) then return end
    local verdict = placement.decide(pod, view_of(pod.metadata.namespace, ctx))
    if not verdict.lift then
      say_why(pod, verdict, ctx)
      return ctx:requeue(ctx.config.look_again)
    end
    ctx:patch(pod, placement.lifting(pod, verdict), { type = "merge" })
    if verdict.warn then ctx:event(pod, "Warning", verdict.reason, "%s", verdict.message) end
  end,
}

local function in_profile(claim, ctx)
  local namespace = ctx:get("namespaces", nil, claim.metadata.namespace)
  local ours = namespace and (namespace.metadata.labels or {})[PART_OF] == OF_PROFILE
  return ours and namespace or nil
end

local function user_of(claim, ctx)
  for _, pod in ipairs(ctx:list("pods", { namespace = claim.metadata.namespace })) do
    if not placement.is_finished(pod) and placement.uses(pod, claim.metadata.name) then return pod.metadata.name end
  end
  return nil
end

policy.watch {
  name = "claims-that-wait",
  doc = "finds claims that wait for what no class gives: says so, and makes unused ones anew where that is allowed",
  resource = "persistentvolumeclaims",
  resync = "5m",
  reconcile = function(claim, ctx)
    if not claim.status or claim.status.phase ~= "Pending" then return end
    local namespace = in_profile(claim, ctx)
    if not namespace then return end
    local verdict = claims.decide(claim, { config = ctx.config, opted_in = has_opted_in(namespace, ctx.config),
      quotas = ctx:list("resourcequotas", { namespace = claim.metadata.namespace }) })
    if verdict.action == "leave" then return end
    local function say(text) ctx:event(claim, "Warning", "ReadWriteManyPending", "%s", text) end
    if verdict.action == "refuse" then return say(verdict.message) end
    if not ctx.config.repair_pending then
      return say("it waits for what its class cannot give; made anew, it would be served: " .. verdict.message)
    end
    local user = user_of(claim, ctx)
    if user then return say(("pod %s uses it: delete both, and make them anew"):format(user)) end
    local new = claims.anew(claim)
    claims.mend(new, verdict)
    local ok, problem = pcall(ctx.create, ctx, claims.note(new, claim.metadata.uid, verdict.message))
    if not ok and problem.code ~= "AlreadyExists" then error(problem, 0) end
  end,
}

-- Making a claim anew takes two steps, and what is written down before the first is there for whoever does the second:
-- the host may end in between, or the API server refuse for a while.
if settings.repair_pending then
  policy.grant { writes = { { resource = "configmaps", verbs = { "create", "delete" } } } }

  policy.watch {
    name = "claims-to-make",
    doc = "makes claims anew: the one that waits is deleted while no pod uses it, then the new one is created",
    resource = "configmaps",
    label = claims.TO_MAKE .. "=true",
    reconcile = function(note, ctx)
      local new, uid, why = claims.of_note(note)
      local there = ctx:get("persistentvolumeclaims", new.metadata.namespace, new.metadata.name)
      if there and there.metadata.uid ~= uid then return ctx:delete(note) end -- it is made
      if there and not there.metadata.deletionTimestamp then
        if user_of(there, ctx) then return ctx:delete(note) end -- a pod came first: it is said of the claim
        ctx:delete(there, { uid = uid })
      end
      if there then return ctx:requeue "1s" end
      ctx:create(new)
      ctx:event(new, "Normal", "ClaimMadeAnew", "%s", why)
      ctx:delete(note)
    end,
  }
end

policy.explain {
  resource = "persistentvolumeclaims",
  run = function(claim, ctx)
    return require "vsphere.words".explain(claim, view_of(claim.metadata.namespace, ctx))
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

local SNAPSHOT = { apiGroup = "snapshot.storage.k8s.io", kind = "VolumeSnapshot", name = "monday" }
for what, spec in pairs { ["a raw disk"] = { volumeMode = "Block" }, ["a snapshot"] = { dataSource = SNAPSHOT },
  ["another claim"] = { dataSourceRef = { kind = "PersistentVolumeClaim", name = "other" } } } do
  policy.test { name = ("a claim of %s is not moved to a class of files"):format(what), object = claim(spec),
    config = { rwx_class = "nfs" }, objects = { PROFILE },
    expect = { allowed = false, message = "cannot move to another class" } }
end

policy.test { name = "fields that are null are not there", config = { rwx_class = "nfs" }, objects = { PROFILE },
  object = claim { volumeName = require "json".null, selector = require "json".null, dataSource = require "json".null },
  expect = { object = { spec = { storageClassName = "nfs" } } } }

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

policy.test { name = "an ephemeral volume's claim, which one pod alone uses, needs no more than ReadWriteOnce",
  objects = { PROFILE }, object = { apiVersion = "v1", kind = "PersistentVolumeClaim", spec = claim().spec,
    metadata = { name = "step-scratch", namespace = "team-a", ownerReferences = {
      { apiVersion = "v1", kind = "Pod", name = "step", uid = "u", controller = true } } } },
  expect = { allowed = true, object = { spec = { accessModes = { "ReadWriteOnce" } } } } }

policy.test { name = "an update of a claim that has its class is left alone",
  old = claim { storageClassName = "block" }, object = claim { storageClassName = "block" },
  config = { rwx_class = "nfs" }, objects = { PROFILE }, expect = { allowed = true, patch = {} } }

policy.test { name = "an update of a claim without a class is moved", old = claim(), object = claim(),
  config = { rwx_class = "nfs" }, objects = { PROFILE },
  expect = { object = { spec = { storageClassName = "nfs" } } } }

local QUOTA = { apiVersion = "v1", kind = "ResourceQuota", metadata = { name = "files", namespace = "team-a" },
  status = { hard = { ["nfs.storageclass.storage.k8s.io/requests.storage"] = "5Gi" },
    used = { ["nfs.storageclass.storage.k8s.io/requests.storage"] = "2560Mi" } } }

policy.test { name = "the quota of the class it is moved to is asked first", object = claim(),
  config = { rwx_class = "nfs" },
  objects = { PROFILE, QUOTA },
  expect = { allowed = false, message = "quota files leaves no room" } }

local COUNTED = { apiVersion = "v1", kind = "ResourceQuota", metadata = { name = "files", namespace = "team-a" },
  status = { hard = { ["nfs.storageclass.storage.k8s.io/persistentvolumeclaims"] = "2" },
    used = { ["nfs.storageclass.storage.k8s.io/persistentvolumeclaims"] = "2" } } }

policy.test { name = "a quota of so many claims counts as well", object = claim(), config = { rwx_class = "nfs" },
  objects = { PROFILE, COUNTED }, expect = { allowed = false, message = "leaves no room %(nfs.*/persistentv" } }

policy.test { name = "a claim that many may write, as it is there, is not made another one by an update",
  old = claim(), object = claim(), objects = { OPTED_IN }, expect = { allowed = true, patch = {} } }

policy.test { name = "where the namespace is not known yet, the refusal says so", object = claim(),
  expect = { allowed = false, message = "the namespace is not known yet, try again soon; else: vSphere block" } }

policy.test { name = "without a class and without the label it is refused with the fix", object = claim(),
  objects = { PROFILE }, expect = { allowed = false, code = 403, message = "label the namespace" } }

policy.test { name = "in a namespace that opted in it becomes ReadWriteOnce", object = claim(), objects = { OPTED_IN },
  expect = { allowed = true, warnings = "one node", object = { spec = { accessModes = { "ReadWriteOnce" } },
    metadata = { annotations = { ["storage.kfhost.io/original-access-modes"] = "ReadWriteMany" } } } } }

policy.test { name = "what else was asked for is left out: a disk cannot be read by many either",
  objects = { OPTED_IN }, object = claim { accessModes = { "ReadOnlyMany", "ReadWriteMany" } }, expect = { object = {
    metadata = { annotations = { ["storage.kfhost.io/original-access-modes"] = "ReadOnlyMany,ReadWriteMany" } },
    spec = { accessModes = { "ReadWriteOnce" } } } } }

local AS_MADE = claim { accessModes = { "ReadWriteOnce" }, storageClassName = "block" }
AS_MADE.metadata.annotations = { ["storage.kfhost.io/original-access-modes"] = "ReadWriteMany" }
policy.test { name = "a claim whose source is applied again stays ReadWriteOnce", objects = { OPTED_IN }, old = AS_MADE,
  object = claim { storageClassName = "block" }, expect = { allowed = true, warnings = "cannot be changed", object = {
    spec = { accessModes = { "ReadWriteOnce" } }, metadata = AS_MADE.metadata } } }
policy.test { name = "but one that asks for something else is the API server's to refuse", objects = { OPTED_IN },
  old = AS_MADE, object = claim { storageClassName = "block", accessModes = { "ReadWriteMany", "ReadOnlyMany" } },
  expect = { allowed = true, patch = {} } }
policy.test { name = "a claim that was moved stays so, when its source is applied again", objects = { PROFILE },
  config = { rwx_class = "nfs" }, old = claim { storageClassName = "nfs" },
  object = claim { storageClassName = "block" },
  expect = { warnings = "cannot be changed", object = { spec = { storageClassName = "nfs" } } } }

local function pod()
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "step", namespace = "team-a" }, spec = {
    containers = { { name = "main", image = "busybox" } },
    volumes = { { name = "data", persistentVolumeClaim = { claimName = "data" } } } } }
end

local function shared(annotations)
  annotations["storage.kfhost.io/original-access-modes"] = "ReadWriteMany"
  local object = claim { accessModes = { "ReadWriteOnce" } }
  object.metadata.annotations = annotations
  return object
end

local SHARED = shared {}
local LABEL, GATE = "claim.storage.kfhost.io/data", { name = "storage.kfhost.io/co-schedule" }

-- A pod as it is once it has passed here.
local function at_gate(name, change)
  local object = pod()
  object.metadata.name, object.metadata.resourceVersion = name, "7"
  placement.join(object, "data")
  placement.close_gate(object)
  if change then change(object) end
  return object
end

policy.test { name = "a pod with such a claim waits at a gate and stays with its like", object = pod(),
  objects = { OPTED_IN, SHARED },
  expect = { object = { metadata = { labels = { ["claim.storage.kfhost.io/data"] = "true" } },
    spec = { schedulingGates = { { name = "storage.kfhost.io/co-schedule" } }, affinity = { podAffinity = {
      requiredDuringSchedulingIgnoredDuringExecution = { { topologyKey = "kubernetes.io/hostname",
        labelSelector = { matchLabels = { ["claim.storage.kfhost.io/data"] = "true" } } } } } } } } } }

policy.test { name = "a pod whose claim is not known yet waits as well", object = pod(), objects = { OPTED_IN },
  expect = { object = { spec = { schedulingGates = { { name = "storage.kfhost.io/co-schedule" } } } } } }

policy.test { name = "the pods of an ordinary claim stay together as well: Kale mounts one in every step",
  object = pod(), objects = { OPTED_IN, claim { accessModes = { "ReadWriteOnce" } } },
  expect = { object = { metadata = { labels = { [LABEL] = "true" } }, spec = { schedulingGates = { GATE } } } } }

local LONG = ("a-claim-with-a-long-name-"):rep(3) .. "x"
local LONG_LABEL = "claim.storage.kfhost.io/a-claim-with-a-long-name-a-claim-with-a-long-n-27cc78142636bb63"
policy.test { name = "a claim's name that is too long for a label is cut, and stays its own", objects = { OPTED_IN },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "step", namespace = "team-a" }, spec = {
    containers = { { name = "main", image = "busybox" } },
    volumes = { { name = "data", persistentVolumeClaim = { claimName = LONG } } } } },
  expect = { object = { metadata = { labels = { [LONG_LABEL] = "true" } } } } }

policy.test { name = "a pod in a namespace that did not opt in is left alone", object = pod(),
  objects = { PROFILE, claim { accessModes = { "ReadWriteOnce" } } }, expect = { allowed = true, patch = {} } }

policy.test { name = "a claim that was made ReadWriteOnce keeps its pods together, whatever the label says now",
  object = pod(), objects = { PROFILE, SHARED }, expect = { object = { spec = { schedulingGates = { GATE } } } } }

for mode, shown in pairs { ReadWriteMany = "files", ReadOnlyMany = "a snapshot", ReadWriteOncePod = "one pod" } do
  policy.test { name = ("the pods of a %s claim (%s) are left alone"):format(mode, shown), object = pod(),
    objects = { OPTED_IN, claim { accessModes = { mode } } }, expect = { allowed = true, patch = {} } }
end

policy.test { name = "the pods of a claim of files are left alone, whatever its mode", object = pod(),
  config = { rwx_class = "nfs" }, expect = { allowed = true, patch = {} },
  objects = { OPTED_IN, claim { accessModes = { "ReadWriteOnce" }, storageClassName = "nfs" } } }

policy.test { name = "a pod that has passed here is not changed again", object = at_gate "step",
  objects = { OPTED_IN, SHARED }, expect = { allowed = true, patch = {} } }

policy.test { name = "a pod whose node somebody has chosen gets no gate", objects = { OPTED_IN, SHARED },
  object = at_gate("step", function(p)
    p.spec.schedulingGates, p.spec.affinity, p.spec.nodeName = nil, nil, "node-1"
  end), expect = { allowed = true, patch = {} } }

policy.test { name = "a cluster without gates gets label and affinity only", config = { gates = false }, object = pod(),
  objects = { OPTED_IN, SHARED }, expect = { patch = { { path = "/metadata/labels" }, { path = "/spec/affinity" } } } }

policy.test { name = "a volume for each pod: as large as the claim, and nothing is shared",
  config = { sharing = "per-step" }, object = pod(), objects = { OPTED_IN, SHARED },
  expect = { warnings = "a volume of its own", object = { spec = { volumes = { { name = "data", ephemeral = {
    volumeClaimTemplate = { spec = { accessModes = { "ReadWriteOnce" },
      resources = { requests = { storage = "3Gi" } } } } } } } } } } }

policy.test { name = "a volume for each pod may begin as a snapshot", object = pod(),
  objects = { OPTED_IN, shared { [claims.SHARING] = "per-step", [claims.SNAPSHOT] = "monday" } },
  expect = { object = { spec = { volumes = { { ephemeral = { volumeClaimTemplate = { spec = {
    dataSource = { kind = "VolumeSnapshot", name = "monday" } } } } } } } } } }

-- Claims that Pipelines, Kale and Katib make themselves.

local function made(metadata, spec)
  metadata.namespace = "team-a"
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = metadata, spec = spec }
end

local THEIRS = {
  ["Pipelines' (CreatePVC of kfp-kubernetes)"] = made({ generateName = "data-" },
    { accessModes = { "ReadWriteMany" }, storageClassName = "block", resources = { requests = { storage = "5Gi" } } }),
  ["Kale's marshal volume, without a class"] = made({ name = "wf-x7k2p-kale-marshal-pvc",
    ownerReferences = { { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow", name = "wf-x7k2p", uid = "u" } } },
    { accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "1Gi" } } }),
  ["Katib's for population based training"] = made({ name = "tune-pbt", labels = {
    ["katib.kubeflow.org/experiment"] = "tune" } },
    { accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "5Gi" } } }),
}
for whose, theirs in pairs(THEIRS) do
  policy.test { name = whose .. ": moved to the class", object = theirs, config = { rwx_class = "nfs" },
    objects = { PROFILE }, expect = { object = { spec = { storageClassName = "nfs" } } } }
  policy.test { name = whose .. ": one node", object = theirs, objects = { OPTED_IN },
    expect = { object = { spec = { accessModes = { "ReadWriteOnce" } } } } }
end

-- The gate.

local function node(name, change)
  local object = { apiVersion = "v1", kind = "Node", metadata = { name = name }, spec = {},
    status = { conditions = { { type = "Ready", status = "True" } } } }
  if change then change(object) end
  return object
end

local function attachment(volume, node_name)
  return { apiVersion = "storage.k8s.io/v1", kind = "VolumeAttachment", metadata = { name = "csi-" .. volume },
    spec = { attacher = "csi.vsphere.vmware.com", nodeName = node_name, source = { persistentVolumeName = volume } },
    status = { attached = true } }
end

local function running(name, node_name, phase, conditions)
  return at_gate(name, function(p)
    p.spec.schedulingGates, p.spec.nodeName = nil, node_name
    p.status = { phase = phase or "Running", conditions = conditions }
  end)
end

local BOUND = shared {}
BOUND.spec.volumeName = "pv-data"

local function gate(name, objects, expect, more)
  local test = { name = name, watch = "gates-of-shared-claims", object = at_gate "step-2", expect = expect,
    objects = { BOUND, node "node-1", node "node-2" } }
  for _, object in ipairs(objects) do table.insert(test.objects, object) end
  for field, value in pairs(more or {}) do test[field] = value end
  policy.test(test)
end

local LIFTED = { { verb = "patch", patch = { spec = { schedulingGates = {}, affinity = policy.absent } } } }

local function pinned(node_name)
  return { { verb = "patch", patch = { metadata = { resourceVersion = "7" }, spec = { schedulingGates = {},
    affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
      { matchFields = { { key = "metadata.name", operator = "In", values = { node_name } } } } } } } } } } } }
end

local function waits(reason, text)
  return { { verb = "patch", patch = { metadata = { annotations = { [placement.WAITS] = text } } } },
    { verb = "event", reason = reason, message = text } }
end

gate("nobody has the claim: the gate is lifted, and nothing else", {}, { writes = LIFTED })
gate("a pod has it on a node: affinity and gate in one patch",
  { running("step-1", "node-1"), attachment("pv-data", "node-1") }, { writes = pinned "node-1" })
gate("a finished user's attachment that lingers is no pin",
  { running("step-1", "node-1", "Succeeded"), attachment("pv-data", "node-1") }, { writes = LIFTED })
gate("a cordoned node is no pin", { running("step-1", "node-3"),
  node("node-3", function(n) n.spec.unschedulable = true end) },
  { writes = { LIFTED[1], { verb = "event", reason = "ClaimOnLostNode" } } })
gate("a node that is not ready is no pin", { running("step-1", "node-3"),
  node("node-3", function(n) n.status.conditions[1].status = "Unknown" end) },
  { writes = { LIFTED[1], { verb = "event", reason = "ClaimOnLostNode" } } })
gate("a node that is out of service is no pin", { running("step-1", "node-3"),
  node("node-3", function(n)
    n.spec.taints = { { key = "node.kubernetes.io/out-of-service", value = "nodeshutdown", effect = "NoExecute" } }
  end) }, { writes = { LIFTED[1], { verb = "event", reason = "ClaimOnLostNode", message = "data is in use by step-1 on "
    .. "node-3, which is out of service: it starts once that pod has ended and the disk is free" } } })
gate("a node that is gone is no pin", { running("step-1", "node-9") },
  { writes = { LIFTED[1], { verb = "event", reason = "ClaimOnLostNode" } } })

local two = at_gate("step-2", function(p)
  table.insert(p.spec.volumes, { name = "more", persistentVolumeClaim = { claimName = "more" } })
  placement.join(p, "more")
end)
local MORE = shared {}
MORE.metadata.name, MORE.spec.volumeName = "more", "pv-more"
local other = running("other", "node-2")
other.spec.volumes[1].persistentVolumeClaim.claimName = "more"

gate("two claims on two nodes: it stays at the gate, with an event", { running("step-1", "node-1"), MORE, other },
  { writes = waits("ClaimsApart",
    "its claims are in use on different nodes: data by step-1 on node-1; more by other on node-2") }, { object = two })
gate("a pod that one of its claims goes with has no node yet: where that is, is waited for",
  { MORE, running("other", nil, "Pending") }, { writes = waits("ClaimOnItsWay",
    "claim data goes where other will be, which has no node yet") }, { object = two })
gate("of two nodes where one claim is wanted, the one that has the disk counts: the others wait for it",
  { running("step-0", "node-2"), running("step-1", "node-1"), attachment("pv-data", "node-1") },
  { writes = pinned "node-1" })
gate("but for one that is no pin", { running("step-0", "node-2"), running("step-1", "node-3"),
  attachment("pv-data", "node-3"), node("node-3", function(n) n.spec.unschedulable = true end) },
  { writes = pinned "node-2" })
gate("one for which the scheduler finds no node is not waited for", { MORE, running("other", nil, "Pending", {
  { type = "PodScheduled", status = "False", reason = "Unschedulable" } }) }, { writes = LIFTED }, { object = two })
gate("one with the same claims is followed by affinity", { running("other", nil, "Pending") }, { writes = LIFTED })
gate("what was said is not said again", { running("step-1", "node-1"), MORE, other }, { writes = {} },
  { object = at_gate("step-2", function(p)
    p.spec.volumes, p.spec.affinity, p.metadata.labels = two.spec.volumes, two.spec.affinity, two.metadata.labels
    p.metadata.annotations = { [placement.WAITS] =
      "its claims are in use on different nodes: data by step-1 on node-1; more by other on node-2" }
  end) })
gate("a node that takes no more volumes is waited for",
  { running("step-1", "node-1"), attachment("pv-data", "node-1"), attachment("pv-x", "node-1"), MORE },
  { writes = waits("NodeFull", "data by step-1 on node-1, but node-1 cannot take more volumes") },
  { object = two, config = { max_volumes = 2 } })
gate("what the CSINode says counts, of this driver", { running("step-1", "node-1"), attachment("pv-data", "node-1"),
  MORE, { apiVersion = "storage.k8s.io/v1", kind = "CSINode", metadata = { name = "node-1" }, spec = { drivers = {
    { name = "csi.vsphere.vmware.com", allocatable = { count = 2 } },
    { name = "other.csi", allocatable = { count = 0 } } } } } }, { writes = pinned "node-1" },
  { object = two, config = { max_volumes = 1 } })
local OTHERS = attachment("pv-x", "node-1")
OTHERS.spec.attacher = "other.csi"
gate("what other drivers attach takes no place", { running("step-1", "node-1"), attachment("pv-data", "node-1"), MORE,
  OTHERS }, { writes = pinned "node-1" }, { object = two, config = { max_volumes = 2 } })

local function with_volume(name, source)
  return at_gate("step-2", function(p)
    source.name = name
    table.insert(p.spec.volumes, source)
  end)
end
local EPHEMERAL = with_volume("scratch", { ephemeral = { volumeClaimTemplate = { spec = {
  accessModes = { "ReadWriteOnce" } } } } })
local NO_PLACE = waits("NodeFull", "data by step-1 on node-1, but node-1 cannot take more volumes")
gate("a volume of its own takes a place, too", { running("step-1", "node-1"), attachment("pv-data", "node-1") },
  { writes = NO_PLACE }, { object = EPHEMERAL, config = { max_volumes = 1 } })
gate("as long as it is not there already", { running("step-1", "node-1"), attachment("pv-data", "node-1"),
  attachment("pv-own", "node-1"), { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = {
    name = "step-2-scratch", namespace = "team-a" }, spec = { accessModes = { "ReadWriteOnce" },
    volumeName = "pv-own" } } },
  { writes = pinned "node-1" }, { object = EPHEMERAL, config = { max_volumes = 2 } })
for mode, expected in pairs { ReadWriteOncePod = NO_PLACE, ReadWriteMany = pinned "node-1" } do
  local more = claim { accessModes = { mode } }
  more.metadata.name = "more"
  gate(("what a %s claim takes is counted"):format(mode), { running("step-1", "node-1"), more,
    attachment("pv-data", "node-1") }, { writes = expected }, { config = { max_volumes = 1 },
    object = with_volume("more", { persistentVolumeClaim = { claimName = "more" } }) })
end

-- A node where the pod may not run is no node to be bound to: it would wait there for ever.
local function elsewhere(why)
  return waits("ClaimElsewhere", "data by step-1 on node-1, where this pod may not run: " .. why)
end
local ON_NODE_1 = { running("step-1", "node-1") }
gate("its node selector counts", ON_NODE_1, { writes = elsewhere "its node selector asks for gpu=yes" },
  { object = at_gate("step-2", function(p) p.spec.nodeSelector = { gpu = "yes" } end) })
gate("its node affinity counts", ON_NODE_1, { writes = elsewhere "its node affinity asks for another node" },
  { object = at_gate("step-2", function(p)
    p.spec.affinity.nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
      { matchExpressions = { { key = "gpu", operator = "In", values = { "a", "b" } } } },
      { matchFields = { { key = "metadata.name", operator = "In", values = { "node-2" } } } } } } }
  end) })
local TAINTED = node("node-1", function(n)
  n.spec.taints = { { key = "gpu", value = "yes", effect = "NoSchedule" } }
end)
gate("a taint that it does not tolerate counts", { TAINTED, ON_NODE_1[1] },
  { writes = elsewhere "it does not tolerate the taint gpu" })
gate("one that it tolerates does not", { TAINTED, ON_NODE_1[1] }, { writes = pinned "node-1" },
  { object = at_gate("step-2", function(p)
    p.spec.tolerations = { { key = "gpu", operator = "Equal", value = "yes" } }
  end) })
gate("a node as it wants one does", { node("node-1", function(n)
  n.metadata.labels = { gpu = "yes", memory = "64", zone = "b" }
end), ON_NODE_1[1] }, { writes = { { patch = { spec = { schedulingGates = {} } } } } },
  { object = at_gate("step-2", function(p)
    p.spec.nodeSelector = { gpu = "yes" }
    p.spec.affinity.nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = { {
      matchExpressions = { { key = "gpu", operator = "Exists" }, { key = "memory", operator = "Gt", values = { "8" } },
        { key = "memory", operator = "Lt", values = { "128" } }, { key = "zone", operator = "NotIn", values = { "a" } },
        { key = "spot", operator = "DoesNotExist" } } } } } }
  end) })

gate("a pod that waited too long is still bound to the node that has its claim", { running("step-1", "node-1") },
  { writes = { pinned("node-1")[1], { verb = "event", type = "Warning", reason = "GateTooOld",
    message = "waited longer than 15m for its claims (in use: data by step-1 on node-1); it starts there" } } },
  { object = at_gate("step-2", function(p) p.metadata.creationTimestamp = "2020-10-23T08:00:00Z" end) })

gate("a pod that waited too long goes, with an event", { running("step-1", "node-1"), MORE, other },
  { writes = { LIFTED[1], { verb = "event", type = "Warning", reason = "GateTooOld" } } },
  { object = at_gate("step-2", function(p)
    p.spec.volumes, p.spec.affinity, p.metadata.labels = two.spec.volumes, two.spec.affinity, two.metadata.labels
    p.metadata.creationTimestamp = "2020-10-23T08:00:00Z"
  end) })

gate("only our gate is lifted, and each term of the pod's own affinity is narrowed", { running("step-1", "node-1"),
  node("node-1", function(n) n.metadata.labels = { gpu = "yes" } end) },
  { writes = { { patch = { spec = { schedulingGates = { { name = "site/other" } }, affinity = { nodeAffinity = {
    requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = { {
      matchExpressions = { { key = "gpu", operator = "Exists" } },
      matchFields = { { key = "metadata.name", values = { "node-1" } } } } } } } } } } } } },
  { object = at_gate("step-2", function(p)
    table.insert(p.spec.schedulingGates, { name = "site/other" })
    p.spec.affinity.nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
      { matchExpressions = { { key = "gpu", operator = "Exists" } } } } } }
  end) })

gate("a term that is empty fits no node, and stays so", ON_NODE_1, { writes = { { patch = {
  spec = { affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
    { matchFields = policy.absent },
    { matchFields = { { operator = "NotIn" }, { operator = "In" } } } } } } } } } } } },
  { object = at_gate("step-2", function(p)
    p.spec.affinity.nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
      {}, { matchFields = { { key = "metadata.name", operator = "NotIn", values = { "node-2" } } } } } } }
  end) })

gate("in turn: the earlier one of two that wait goes", { at_gate "step-3" }, { writes = LIFTED },
  { config = { sharing = "sequential" } })
gate("in turn: the later one waits for it", { at_gate "step-1" },
  { writes = waits("ClaimInTurn", "claim data is used by one pod after the other: step-1 comes first") },
  { config = { sharing = "sequential" } })
gate("in turn: whoever has it is waited for", { running("step-9", "node-1") },
  { writes = waits("ClaimInTurn", "claim data is used by one pod after the other: step-9 comes first") },
  { config = { sharing = "sequential" } })

local OLD = at_gate("step-2", function(p) p.metadata.creationTimestamp = "2020-10-23T08:00:00Z" end)
gate("in turn: whoever has it is waited for, however long that takes", { running("step-9", "node-1") },
  { writes = waits("ClaimInTurn", "claim data is used by one pod after the other: step-9 comes first") },
  { config = { sharing = "sequential" }, object = OLD })
gate("in turn: whoever only waits is not waited for longer than the gate's age",
  { at_gate("step-1", function(p) p.metadata.creationTimestamp = "2020-10-23T07:00:00Z" end) },
  { writes = { LIFTED[1], { verb = "event", reason = "GateTooOld" } } },
  { config = { sharing = "sequential" }, object = OLD })

gate("a label of ours that was edited is put right", {}, { writes = { { verb = "patch",
  patch = { metadata = { labels = { [LABEL] = "true" } } } } } },
  { object = at_gate("step-2", function(p) p.metadata.labels[LABEL] = "no" end) })

-- Claims that slipped through.

local function pending(change)
  local object = claim()
  object.metadata.uid, object.status = "u-1", { phase = "Pending" }
  object.metadata.annotations = { note = "kept", ["volume.kubernetes.io/storage-provisioner"] = "csi" }
  if change then change(object) end
  return object
end

local function pended(name, config, objects, writes, object)
  policy.test { name = name, watch = "claims-that-wait", object = object or pending(), config = config,
    objects = objects, expect = { writes = writes } }
end

pended("a claim that slipped through gets an event", { rwx_class = "nfs" }, { PROFILE },
  { { verb = "event", type = "Warning", reason = "ReadWriteManyPending" } })
local REPAIR = { rwx_class = "nfs", repair_pending = true }
local NEW = claim { storageClassName = "nfs" }
NEW.metadata.annotations = { note = "kept" }
local NOTE = claims.note(NEW, "u-1", "it is served now")
pended("one that is unused is written down, to be made anew, where that is allowed", REPAIR, { PROFILE },
  { { verb = "create", object = { kind = "ConfigMap", metadata = { name = "claim-u-1", namespace = "team-a" },
    data = { claim = NOTE.data.claim } } } })
local OWNED = { { apiVersion = "kubeflow.org/v1", kind = "Notebook", name = "n", uid = "u" } }
local SAME_OWNER = claim { storageClassName = "nfs" }
SAME_OWNER.metadata.annotations, SAME_OWNER.metadata.ownerReferences = { note = "kept" }, OWNED
pended("whose it was, it is", REPAIR, { PROFILE }, { { verb = "create",
  object = { data = { claim = claims.note(SAME_OWNER, "u-1", "").data.claim } } } },
  pending(function(c) c.metadata.ownerReferences = OWNED end))
pended("one that a pod uses is not touched", { rwx_class = "nfs", repair_pending = true }, { PROFILE, pod() },
  { { verb = "event", message = "pod step uses it: delete both, and make them anew" } })
pended("nor is one of a pod's own volume", { repair_pending = true, rwx_class = "nfs" }, { PROFILE,
  with_volume("scratch", { ephemeral = { volumeClaimTemplate = { spec = { accessModes = { "ReadWriteMany" } } } } }) },
  { { verb = "event", message = "pod step-2 uses it: delete both, and make them anew" } },
  pending(function(c) c.metadata.name = "step-2-scratch" end))
pended("nor is one for which the class has no room", { rwx_class = "nfs", repair_pending = true }, { PROFILE, QUOTA },
  { { verb = "event", message = "ReadWriteMany is served here by class nfs, but quota files leaves no room "
    .. "(nfs.storageclass.storage.k8s.io/requests.storage): ask for less, or have the quota raised" } })
pended("one that is bound is no one's business", { rwx_class = "nfs" }, { PROFILE }, {},
  pending(function(c) c.status.phase = "Bound" end))
pended("nor is one outside the profiles", { rwx_class = "nfs" }, { namespace {} }, {})

local function made_anew(name, objects, writes)
  policy.test { name = name, watch = "claims-to-make", object = NOTE, config = REPAIR, objects = objects,
    expect = { writes = writes } }
end

if settings.repair_pending then
  local forgotten = { { verb = "delete", reference = { kind = "ConfigMap", name = "claim-u-1" } } }
  made_anew("what is written down: the claim that waits goes first", { pending() },
    { { verb = "delete", reference = { kind = "PersistentVolumeClaim" }, options = { uid = "u-1" } } })
  made_anew("while it goes, nothing is done", { pending(function(c) c.metadata.deletionTimestamp = "now" end) }, {})
  made_anew("when it is gone, the new one is made", {}, { { verb = "create", object = NEW },
    { verb = "event", reason = "ClaimMadeAnew", message = "it is served now" }, forgotten[1] })
  made_anew("one that is there again is nobody's to make",
    { pending(function(c) c.metadata.uid = "u-2" end) }, forgotten)
  made_anew("one that a pod has come to use stays", { pending(), pod() }, forgotten)
end
