-- The defects of the webhooks that a real site had in 2020, (a) to (j), each as a test of the bundled policies.
-- (f), a namespace that gets its profile label later, and (g), a label of ours that is removed or edited, are played in
-- security_lab_test; (d) also in vsphere_lab_test, with real processes.
local test = require "test"
local fs = require "fs"
local json = require "json"
local policy = require "policy"
local scripts = require "scripts"
local trial = require "policy.trial"

local CONFIG = { ["vsphere-rwo"] = { rwx_class = "nfs" }, ["trial-sidecar"] = { way = "d" },
  ["kale-trial"] = { trial_image = "site/kfhost:1" }, images = { mapping = { ["docker.io/"] = "site/" } } }

local function bundled()
  local names = {}
  for _, name in ipairs(scripts.names()) do names[#names + 1] = name:match "^policies/([^/]+)%.lua$" end
  return names
end

local function load(...)
  return policy.load({ ... }, { configs = CONFIG })
end

local function claim(spec, annotations)
  spec.accessModes = { "ReadWriteMany" }
  return { apiVersion = "v1", kind = "PersistentVolumeClaim",
    metadata = { name = "data", namespace = "team-a", annotations = annotations }, spec = spec }
end

local function site(name)
  return fs.read(("tests/fixtures/wire-site/%s-2020.json"):format(name))
end
local REVIEWS = { "claim-readwritemany", "claim-readwriteonce", "job-review", "trial-review" }

test("(a) a claim without a size, or with one that cannot be read, is moved all the same", function()
  local set = load "vsphere-rwo"
  for _, resources in ipairs { false, {}, { requests = {} }, { requests = { storage = "many" } },
    { requests = { storage = { amount = "3", format = "Gi" } } } } do
    local answer = trial.apply(set, claim { resources = resources or nil })
    test.same({ answer.allowed, answer.object.spec.storageClassName }, { true, "nfs" })
  end
  set:close()
end)

test("(b) the legacy annotation, which wins over the field, is moved too", function()
  local set = load "vsphere-rwo"
  local legacy = "volume.beta.kubernetes.io/storage-class"
  local answer = trial.apply(set, claim({ storageClassName = "block" }, { [legacy] = "block" }))
  test.same({ answer.object.spec.storageClassName, answer.object.metadata.annotations[legacy] }, { "nfs", "nfs" })
  local static = trial.apply(set, claim({}, { [legacy] = "" }))
  test.same(static.patch, {})
  set:close()
end)

test("(c) claims that name their volume, select one, or want no class are left alone", function()
  local set = load "vsphere-rwo"
  for _, spec in ipairs { { volumeName = "pv" }, { selector = { matchLabels = { a = "b" } } },
    { storageClassName = "" } } do
    test.same(trial.apply(set, claim(spec)).patch, {})
  end
  set:close()
end)

test("(d) no review depends on another: not of this replica, not of another one, not in a dry run", function()
  local names = { "kale-trial", "trial-sidecar", "vsphere-rwo" }
  local one, two = load(table.unpack(names)), load(table.unpack(names))
  local alone = {}
  for _, name in ipairs(REVIEWS) do
    local fresh = load(table.unpack(names))
    alone[name] = fresh:answer(site(name), { as = "text" })
    fresh:close()
  end
  for round = 1, 2 do
    for i = #REVIEWS, 1, -1 do -- in another order, from replica to replica
      local name = REVIEWS[i]
      test.equal(((i + round) % 2 == 0 and one or two):answer(site(name), { as = "text" }), alone[name])
      local tried = site(name):gsub('"dryRun": false', '"dryRun": true')
      test.equal(one:answer(tried, { as = "text" }), alone[name])
    end
  end
  one:close()
  two:close()
end)

test("(e) each kind is followed once, however many watches there are", function()
  local set = load(table.unpack(bundled()))
  local asked = {}
  local informer = { stop = function() end, sync = function() end, list = function() return {} end }
  local client = { resource = function() end, discovery = { all = function() end }, informer = function(_, options)
    asked[options.kind] = (asked[options.kind] or 0) + 1
    return informer
  end }
  local running = require "policy.controller".start(set, client, { wait_for_lead = true })
  local watches = {}
  for _, watch in ipairs(set.description.watches) do watches[watch.resource] = (watches[watch.resource] or 0) + 1 end
  test.equal(watches.namespaces > 1, true)
  for _, count in pairs(asked) do test.equal(count, 1) end
  test.equal(asked.namespaces, 1)
  running:stop()
  set:close()
end)

-- The least that the API server would send of a kind.
local BARE = {
  { apiVersion = "v1", kind = "Pod", spec = { containers = { { name = "main", image = "x" } } } },
  { apiVersion = "v1", kind = "Pod", spec = { containers = { { name = "main" } }, initContainers = {}, volumes = {} } },
  { apiVersion = "v1", kind = "PersistentVolumeClaim", spec = { accessModes = { "ReadWriteMany" } } },
  { apiVersion = "v1", kind = "PersistentVolumeClaim", spec = {} },
  { apiVersion = "v1", kind = "Namespace" },
  { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = { containers = { { name = "main" } } } } } },
  { apiVersion = "batch/v1", kind = "Job", spec = { template = { spec = { containers = {} } } }, owned = true },
  { apiVersion = "kubeflow.org/v1", kind = "PyTorchJob", spec = {}, owned = true },
  { apiVersion = "kubeflow.org/v1", kind = "TFJob", owned = true,
    spec = { tfReplicaSpecs = { Worker = { template = { spec = {} } } } } },
  { apiVersion = "trainer.kubeflow.org/v1alpha1", kind = "TrainJob", spec = {}, owned = true },
  { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment", spec = {} },
  { apiVersion = "kubeflow.org/v1beta1", kind = "Experiment" },
}

test("(h) objects without labels, annotations and all that may be missing make no policy fail", function()
  for _, way in ipairs { "a", "b", "c", "d", "auto" } do
    local configs = { ["trial-sidecar"] = { way = way }, ["kale-trial"] = CONFIG["kale-trial"], images = CONFIG.images }
    local set = policy.load(way == "d" and bundled() or "trial-sidecar", { configs = configs })
    for _, object in ipairs(BARE) do
      local owners = object.owned and { { kind = "Trial", name = "t", uid = "u" } } or nil
      local bare = { apiVersion = object.apiVersion, kind = object.kind, spec = object.spec,
        metadata = { name = "x", ownerReferences = owners } }
      for _, operation in ipairs { "CREATE", "UPDATE" } do
        for _, record in ipairs(trial.apply(set, bare, { operation = operation }).records) do
          local said = ("%s %s: %s"):format(record.policy, object.kind, record.message or "")
          if record.verdict == "error" then error(said, 0) end
        end
      end
    end
    set:close()
  end
end)

-- Objects that policies change: what they have become is offered again, as by a reinvocation.
local function trials_pod(native)
  local proxy = { name = "istio-proxy", image = "proxyv2" }
  local containers = { { name = "main", image = "docker.io/x/y", command = { "sh", "-c" },
    args = { "train 1>/var/log/katib/metrics.log 2>&1 && echo completed > /var/log/katib/$$$$.pid" } },
    { name = "metrics-logger-and-collector", image = "katib/file-metrics-collector:v0.19.0", args = { "-t", "t" } } }
  if not native then table.insert(containers, proxy) end
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a",
    labels = { ["access-ml-pipeline"] = "true" } }, spec = { containers = containers,
    initContainers = native and { proxy } or nil,
    volumes = { { name = "data", persistentVolumeClaim = { claimName = "data" } } } } }
end

local function older_job()
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t", namespace = "team-a",
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "t", uid = "u" } } },
    spec = { template = { spec = { containers = { { name = "main", image = "docker.io/kale", command = {
      "python3 -u -c \"from kale.common.kfputils import create_and_wait_kfp_run; "
      .. "create_and_wait_kfp_run(pipeline_id='p', version_id='v', nodes='2')\"" } } } } } } }
end

local function offered_twice(name, config)
  local set = policy.load(name, { config = config })
  local objects = { trials_pod(false), trials_pod(true), older_job(), claim { storageClassName = "block" } }
  for _, object in ipairs(BARE) do
    local owners = object.owned and { { kind = "Trial", name = "t", uid = "u" } } or nil
    objects[#objects + 1] = { apiVersion = object.apiVersion, kind = object.kind, spec = object.spec,
      metadata = { name = "x", namespace = "team-a", ownerReferences = owners } }
  end
  local changed = 0
  for _, object in ipairs(objects) do
    local first = trial.apply(set, object)
    local again = first.allowed and trial.apply(set, first.object)
    changed = changed + #first.patch
    test.same({ name, object.kind, again and again.patch or {} }, { name, object.kind, {} })
  end
  set:close()
  return changed
end

test("what a policy has changed it does not change again, however often it is asked", function()
  for _, name in ipairs(bundled()) do
    local changed = offered_twice(name, CONFIG[name])
    test.equal(changed > 0, name ~= "experiment-guard" and name ~= "pod-security")
  end
  for _, way in ipairs { "a", "b", "c", "d", "auto" } do
    for _, wrapper in ipairs { "sh", "kfhost" } do offered_twice("trial-sidecar", { way = way, wrapper = wrapper }) end
  end
end)

-- The least that a watch may be given.
local WATCHED = { namespaces = "v1/Namespace", pods = "v1/Pod", persistentvolumeclaims = "v1/PersistentVolumeClaim",
  ["trials.kubeflow.org"] = "kubeflow.org/v1beta1/Trial", ["profiles.kubeflow.org"] = "kubeflow.org/v1/Profile",
  configmaps = "v1/ConfigMap", ["poddefaults.kubeflow.org"] = "kubeflow.org/v1alpha1/PodDefault",
  ["rolebindings.rbac.authorization.k8s.io"] = "rbac.authorization.k8s.io/v1/RoleBinding",
  ["authorizationpolicies.security.istio.io"] = "security.istio.io/v1/AuthorizationPolicy" }
local SPECS = { Pod = { containers = {} }, PersistentVolumeClaim = {} }

test("(h) nor does any watch", function()
  local set = policy.load(bundled(), { configs = { ["trial-sidecar"] = { way = "c" } } })
  for number, watch in ipairs(set.description.watches) do
    local version, kind = WATCHED[watch.resource]:match "^(.*)/([^/]+)$"
    local bare = { apiVersion = version, kind = kind, spec = SPECS[kind], metadata = { name = "katib-config",
      namespace = kind ~= "Namespace" and kind ~= "Profile" and "kubeflow" or nil } }
    set:know { bare }
    local step, problem = set.box:call("start", 5, number, "watch", number, "reconcile", bare)
    while step and not step.done do step, problem = set.box:call("resume", 5, number, step.write.object or {}) end
    if not step then error(watch.name .. ": " .. problem.message, 0) end
  end
  set:close()
end)

test("(i) answers have the fields of an answer, and none of what came with the question", function()
  local fields = { uid = true, allowed = true, status = true, patch = true, patchType = true, warnings = true,
    auditAnnotations = true }
  local set = load(table.unpack(bundled()))
  for _, name in ipairs(REVIEWS) do
    local answer = json.decode((set:answer(site(name), { as = "text" })))
    test.equal(answer.additionalProperties, nil)
    test.same({ answer.kind, answer.apiVersion }, { "AdmissionReview", "admission.k8s.io/v1" })
    for field in pairs(answer.response) do test.equal(fields[field], true) end
  end
  set:close()
end)

test("(j) what is recorded of a review holds nothing of the object's values", function()
  local canary = "canary-4f0c2d"
  local set = load(table.unpack(bundled()))
  local reviews = { trial.review_of(set, claim({ storageClassName = "block" }, { note = canary })),
    trial.review_of(set, { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a",
      annotations = { note = canary } }, spec = { containers = { { name = "main", image = "x",
      env = { { name = "PASSWORD", value = canary } } } } } }),
    trial.review_of(set, { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t", namespace = "team-a",
      ownerReferences = { { kind = "Trial", name = "t", uid = "u" } } }, spec = { template = { spec = { containers = {
        { name = "main", command = { "python3 -c \"from kale.common.kfputils import create_and_wait_kfp_run; "
          .. "create_and_wait_kfp_run(pipeline_id='p', secret='" .. canary .. "')\"" } } } } } } }) }
  for _, review in ipairs(reviews) do
    local _, records, facts = set:answer(review)
    test.equal(#records > 0, true)
    test.equal(json.encode({ records, facts }):find(canary, 1, true), nil)
  end
  set:close()
end)
