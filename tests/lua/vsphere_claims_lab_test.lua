-- Claims in a lab that behaves as vSphere, with two replicas of vsphere-rwo as they are served: the order in which a
-- claim is judged, and the defects that the webhooks of 2020 had, each first without the policy.
local test = require "test"
local fs = require "fs"
local http = require "http"
local json = require "json"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local eventually, event_of = site_of.eventually, site_of.event_of
local BLOCK, LEGACY = "vsan-default-storage-policy", "volume.beta.kubernetes.io/storage-class"
local PROFILE = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" }
local DEFAULT = "storageclass.kubernetes.io/is-default-class"
local SETTINGS = "vsphere-rwo: {rwx_class: nfs, rwx_classes: [files], look_again: 200ms}\n"

local function claim(name, spec, annotations, namespace)
  local all = { accessModes = { "ReadWriteMany" }, storageClassName = BLOCK,
    resources = { requests = { storage = "1Gi" } } }
  for field, value in pairs(spec or {}) do all[field] = value or nil end
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = name,
    namespace = namespace or "team-a", annotations = annotations }, spec = all }
end

local function namespace(c, name, labels)
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local function class_of(object)
  return object.spec.storageClassName
end

local function is_bound(c, name, namespace_name)
  c:wait { kind = "pvc", name = name, namespace = namespace_name or "team-a", jsonpath = "{.status.phase}",
    value = "Bound", timeout = "60s" }
end

local function site_review(name)
  return fs.read(("tests/fixtures/wire-site/%s-2020.json"):format(name))
end

local function post(replica, body)
  local answer = http.request { url = ("https://127.0.0.1:%s/mutate/claims-on-vsphere"):format(replica.port),
    ca = fs.read(replica.ca), method = "POST", headers = { ["Content-Type"] = "application/json" }, body = body,
    timeout = 60 }
  test.equal(answer.status, 200)
  return answer.body
end

-- Without the policy: what a claim is made as, is what it waits with.
local function without_the_policy(c)
  c:create(claim "plain")
  test.equal(event_of(c, "team-a", "plain", "ProvisioningFailed").message:find("not supported", 1, true) ~= nil, true)
  local old = c:create(claim("legacy-before", nil, { [LEGACY] = BLOCK }))
  test.equal(old.metadata.annotations[LEGACY], BLOCK)
  c:patch("storageclasses", BLOCK, { metadata = { annotations = { [DEFAULT] = "false" } } })
  local none = c:create(claim("no-class", { storageClassName = false }))
  test.equal(class_of(none), nil)
end

local function order_of_2_9(c)
  test.equal(class_of(c:create(claim("named", { volumeName = "pv-of-ours" }))), BLOCK)
  test.equal(class_of(c:create(claim("selected", { selector = { matchLabels = { a = "b" } } }))), BLOCK)
  test.equal(class_of(c:create(claim("none", { storageClassName = "" }))), "")
  test.equal(class_of(c:create(claim("files", { storageClassName = "files" }))), "files")
  test.equal(class_of(c:create(claim("single", { accessModes = { "ReadWriteOnce" } }))), BLOCK)
  local moved, warnings = c:create(claim "moved")
  test.same({ class_of(moved), moved.spec.accessModes, warnings },
    { "nfs", { "ReadWriteMany" }, { "ReadWriteMany is served by class nfs" } })
  is_bound(c, "moved")
  local again = c:patch("pvc", "moved", { spec = { storageClassName = BLOCK } }, { namespace = "team-a",
    type = "merge" }) -- as its source says; its spec cannot be changed
  test.equal(class_of(again), "nfs")
  local _, problem = c.try:create(claim("raw", { volumeMode = "Block" }))
  test.same({ problem.status, problem.message:find("cannot move to another class", 1, true) ~= nil }, { 403, true })
end

-- The quota of the class that it is moved to counts, before it is moved.
local function quota(c)
  c:create { apiVersion = "v1", kind = "ResourceQuota", metadata = { name = "files", namespace = "full" },
    spec = { hard = { ["nfs.storageclass.storage.k8s.io/requests.storage"] = "2Gi" } } }
  local problem = eventually("the quota is known", function()
    local large = claim("large", { resources = { requests = { storage = "3Gi" } } }, nil, "full")
    local made, refusal = c.try:create(large, { dry_run = true })
    return not made and refusal
  end)
  test.equal(problem.message:find("quota files leaves no room", 1, true) ~= nil, true)
  test.equal(class_of(c:create(claim("small", nil, nil, "full"))), "nfs")
end

local function defects(c, site)
  -- (a) without a size: the API server refuses it, as it always did; the review does not fail.
  local _, problem = c.try:create(claim("sizeless", { resources = json.object {} }))
  test.same({ problem.status, problem.code }, { 422, "Invalid" })
  test.equal(problem.message:find("storage", 1, true) ~= nil, true)
  -- (b) the legacy annotation wins over the field
  local legacy = c:create(claim("legacy", nil, { [LEGACY] = BLOCK }))
  test.same({ class_of(legacy), legacy.metadata.annotations[LEGACY] }, { "nfs", "nfs" })
  is_bound(c, "legacy")
  -- an update may still give a class to a claim that has none
  c:patch("pvc", "no-class", { metadata = { annotations = { touched = "yes" } } },
    { namespace = "team-a", type = "merge" })
  test.equal(class_of(c:get("pvc", "no-class", { namespace = "team-a" })), "nfs")
  is_bound(c, "no-class")
  c:patch("pvc", "plain", { metadata = { annotations = { touched = "yes" } } },
    { namespace = "team-a", type = "merge" })
  test.equal(class_of(c:get("pvc", "plain", { namespace = "team-a" })), BLOCK) -- it has one: nothing may change it
  -- (d) dry runs and replicas: the same answer, and nothing is left behind
  for turn = 1, 4 do
    site:register(turn % 2 + 1)
    test.equal(class_of(c:create(claim "tried", { dry_run = turn % 2 == 0 })), "nfs")
    if turn % 2 == 0 then test.equal(c.try:get("pvc", "tried", { namespace = "team-a" }) ~= nil, false) end
    c.try:delete("pvc", "tried", { namespace = "team-a", wait = "60s" })
  end
  -- (f) the label comes later: the next claim is moved, with no moment in between
  test.equal(class_of(c:create(claim("early", nil, nil, "late"))), BLOCK)
  c:patch("namespaces", "late", { metadata = { labels = PROFILE } })
  test.equal(class_of(c:create(claim("after", nil, nil, "late"))), "nfs")
end

-- (i), (j) The two claims of the site: their answers hold nothing of theirs, nor does the audit.
local function recorded(site)
  for number, replica in ipairs(site) do
    for _, name in ipairs { "claim-readwritemany", "claim-readwriteonce" } do
      local body = post(replica, site_review(name))
      local answer = json.decode(body)
      test.equal(body:find("additionalProperties", 1, true), nil)
      test.same({ answer.response.allowed, answer.response.patch ~= nil }, { true, name == "claim-readwritemany" })
      if answer.response.patch then
        test.same(json.decode(require "hash".unbase64(answer.response.patch)),
          { { op = "replace", path = "/spec/storageClassName", value = "nfs" } })
      end
    end
    test.equal(number <= 2, true)
  end
  local record = site:audited("claims-on-vsphere", { verdict = "patched", name = "test-pvc" })
  test.same(record.paths, { "/spec/storageClassName" })
  for _, replica in ipairs(site) do
    local text = json.encode(json.array(replica.audit)) .. table.concat(replica.log, "\n")
    test.equal(text:find("gold-tanzu", 1, true), nil)
  end
end

test("claims are judged in their order, by two replicas, without the defects of 2020", function()
  site_of.with({ profile = "vsphere", nodes = 1, time_scale = 0.002 }, function(lab, c)
    namespace(c, "team-a", PROFILE)
    namespace(c, "full", PROFILE)
    namespace(c, "late")
    without_the_policy(c)
    local site = replicas.new(lab, c, { "vsphere-rwo" }, SETTINGS, 2)
    site:register(1, 2)
    site:leader()
    order_of_2_9(c)
    quota(c)
    defects(c, site)
    recorded(site)
    event_of(c, "team-a", "plain", "ReadWriteManyPending") -- what slipped through is told
    site:stop()
  end)
end)

-- A webhook of somebody else, behind ours, that takes the class back.
local UNDO = [[
local policy = require "policy"
policy.mutate { name = "undo", position = "late", match = { resource = "persistentvolumeclaims", label = "undo=yes" },
  apply = function(req) req.object.spec.storageClassName = "vsan-default-storage-policy" end }
]]

test("a claim whose class another webhook takes back is refused, not left to wait", function()
  site_of.with({ profile = "vsphere", nodes = 1, time_scale = 0.002 }, function(lab, c)
    namespace(c, "team-a", PROFILE)
    local undo = test.tmpdir() .. "/undo.lua"
    fs.write(undo, UNDO)
    local site = replicas.new(lab, c, { "vsphere-rwo", undo }, SETTINGS, 1)
    site:register(1)
    test.equal(class_of(c:create(claim "kept")), "nfs")
    local undone = claim "undone"
    undone.metadata.labels = { undo = "yes" }
    local _, problem = c.try:create(undone)
    test.equal(problem.message:find("did not hold, another webhook has changed it: /spec/storageClassName", 1, true)
      ~= nil, true)
    site:stop()
  end)
end)

test("where no class serves it: refused with the fix; in a namespace that opts in, one node, at once", function()
  site_of.with({ profile = "vsphere", nodes = 1, time_scale = 0.002 }, function(lab, c)
    namespace(c, "team-a", PROFILE)
    local site = replicas.new(lab, c, { "vsphere-rwo" }, "vsphere-rwo: {look_again: 200ms}\n", 1)
    site:register(1)
    local _, problem = c.try:create(claim "data")
    test.equal(problem.message:find("Ask for ReadWriteOnce; or have the site set rwx_class", 1, true) ~= nil, true)
    c:create(claim("single", { accessModes = { "ReadWriteOnce" } }))
    local function pod(name)
      return c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "team-a" }, spec = {
        terminationGracePeriodSeconds = 0, containers = { { name = "main", image = "busybox",
          command = { "sh", "-c", "sleep 60" } } },
        volumes = { { name = "data", persistentVolumeClaim = { claimName = "single" } } } } }
    end
    test.equal(pod "before".spec.schedulingGates, nil)
    c:patch("namespaces", "team-a", { metadata = { labels = { ["storage.kfhost.io/co-schedule"] = "true" } } })
    local made = pod "after" -- the API server knows the label, and that is what counts
    test.same(c:create(claim "data").spec.accessModes, { "ReadWriteOnce" })
    local again = c:patch("pvc", "data", { spec = { accessModes = { "ReadWriteMany" } } }, { namespace = "team-a",
      type = "merge" })
    test.same(again.spec.accessModes, { "ReadWriteOnce" })
    test.same(made.spec.schedulingGates, { { name = "storage.kfhost.io/co-schedule" } })
    -- (g) a label of ours that is removed or edited comes back
    local label = "claim.storage.kfhost.io/single"
    for _, value in ipairs { json.null, "no" } do
      c:patch("pods", "after", { metadata = { labels = { [label] = value } } },
        { namespace = "team-a", type = "merge" })
      eventually("the label is back", function()
        return (c:get("pods", "after", { namespace = "team-a" }).metadata.labels or {})[label] == "true"
      end)
    end
    site:stop()
  end)
end)
