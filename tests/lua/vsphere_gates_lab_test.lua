-- Pods at the gate of vsphere-rwo, in a lab that behaves as vSphere: what each of them waits for, and where it goes
-- then, by real attachments, nodes and a scheduler.
local test = require "test"
local fs = require "fs"
local json = require "json"
local site_of = dofile "tests/lua/support/site.lua"
local vsphere = dofile "tests/lua/support/vsphere.lua"

local eventually, event_of = site_of.eventually, site_of.event_of
local claim, is_running, with_policy = vsphere.claim, vsphere.is_running, vsphere.with_policy

local SETTINGS = "vsphere-rwo: {look_again: 200ms}\n"
local ATTACHMENTS = "volumeattachments.storage.k8s.io"

local function make_claims(c, ...)
  for _, name in ipairs { ... } do c:create(claim("team-a", name)) end
end

local function make_pod(c, ...)
  return c:create(vsphere.pod(...))
end

local function delete_pod(c, name)
  c:delete("pods", name, { namespace = "team-a", grace = 0 })
end

local function get_pod(c, name)
  return c:get("pods", name, { namespace = "team-a" })
end

local function gates(c, name)
  return #(get_pod(c, name).spec.schedulingGates or {})
end

-- A driver that does not let go: the attachment of the one disk has another finalizer, until it is let go.
local function hold(c)
  local attachment = c:list(ATTACHMENTS)[1]
  local name, own = attachment.metadata.name, attachment.metadata.finalizers
  table.insert(own, "site.example/stuck")
  c:patch(ATTACHMENTS, name, { metadata = { finalizers = own } }, { type = "merge" })
  return name, function()
    c:patch(ATTACHMENTS, name, { metadata = { finalizers = json.array {} } }, { type = "merge" })
  end
end

test("a finished user's attachment that lingers is no pin: the next pod goes where it likes, and waits for the disk",
  function()
    with_policy(SETTINGS, function(c)
      make_claims(c, "data")
      local first = vsphere.pod("first", "lab-1", { "data" })
      first.spec.containers[1].command = { "sh", "-c", 'while [ ! -e "$KFHOST_ROOT/data/go" ]; do sleep 0.1; done' }
      c:create(first)
      is_running(c, "first")
      local name, let_go = hold(c)
      make_pod(c, "signal", "lab-1", { "data" }, { containers = { { name = "main", image = "busybox",
        volumeMounts = { { name = "data", mountPath = "/data" } },
        command = { "sh", "-c", 'touch "$KFHOST_ROOT/data/go"' } } } })
      for _, one in ipairs { "first", "signal" } do
        c:wait { kind = "pods", name = one, namespace = "team-a", jsonpath = "{.status.phase}", value = "Succeeded",
          timeout = "60s" }
      end
      local lingering = eventually("it is being detached", function()
        local one = c:get(ATTACHMENTS, name)
        return one.metadata.deletionTimestamp and one
      end)
      test.same({ lingering.spec.nodeName, lingering.status.attached }, { "lab-1", true })

      make_pod(c, "next", "lab-2", { "data" })
      local said = event_of(c, "team-a", "next", "FailedAttachVolume").message
      test.equal(said:find("already exclusively attached to one node", 1, true) ~= nil, true)
      local pod = get_pod(c, "next")
      test.same({ pod.spec.nodeName, pod.spec.affinity.nodeAffinity, gates(c, "next") }, { "lab-2", nil, 0 })
      test.equal(c:get(ATTACHMENTS, name).spec.nodeName, "lab-1")
      let_go()
      is_running(c, "next")
      test.equal(c:get(ATTACHMENTS, name).spec.nodeName, "lab-2")
    end)
  end)

test("a claim that is on its way is waited for, until the scheduler has said where to", function()
  with_policy(SETTINGS, function(c)
    make_claims(c, "data", "more")
    make_pod(c, "other", nil, { "more" }, { schedulerName = "site-scheduler" })
    eventually("other has left the gate", function() return gates(c, "other") == 0 end)
    make_pod(c, "both", nil, { "data", "more" })
    test.same({ event_of(c, "team-a", "both", "ClaimOnItsWay").message, gates(c, "both") },
      { "claim more goes where other will be, which has no node yet", 1 })
    c:request("POST", "/api/v1/namespaces/team-a/pods/other/binding", { body = json.encode { apiVersion = "v1",
      kind = "Binding", metadata = { name = "other" }, target = { kind = "Node", name = "lab-2" } } })
    for _, name in ipairs { "other", "both" } do
      test.equal(is_running(c, name).spec.nodeName, "lab-2")
    end
    test.equal((get_pod(c, "both").metadata.annotations or {})["storage.kfhost.io/waits"], nil)
  end)
end)

test("a node where a pod may not run is not chosen for it: it waits until the claim is free, and says so", function()
  with_policy(SETTINGS, function(c)
    make_claims(c, "data")
    make_pod(c, "notebook", "lab-1", { "data" })
    is_running(c, "notebook")
    make_pod(c, "train", "lab-2", { "data" })
    test.same({ event_of(c, "team-a", "train", "ClaimElsewhere").message, gates(c, "train") },
      { "data by notebook on lab-1, where this pod may not run: "
        .. "its node selector asks for kubernetes.io/hostname=lab-2", 1 })
    delete_pod(c, "notebook")
    test.equal(is_running(c, "train").spec.nodeName, "lab-2")
  end)
end)

test("a pod that somebody has put on another node waits for the disk there; the next one goes where the disk is",
  function()
    with_policy(SETTINGS, function(c)
      make_claims(c, "data")
      make_pod(c, "notebook", "lab-1", { "data" })
      is_running(c, "notebook")
      make_pod(c, "forced", nil, { "data" }, { nodeName = "lab-2" })
      event_of(c, "team-a", "forced", "FailedAttachVolume")
      make_pod(c, "step", nil, { "data" })
      test.equal(is_running(c, "step").spec.nodeName, "lab-1")
    end)
  end)

test("two steps whose claims are in use on two nodes: the pod that wants both waits, and says so", function()
  with_policy(SETTINGS, function(c)
    make_claims(c, "one", "two")
    make_pod(c, "a", "lab-1", { "one" })
    make_pod(c, "b", "lab-2", { "two" })
    is_running(c, "a")
    is_running(c, "b")
    make_pod(c, "c", nil, { "one", "two" })
    test.equal(event_of(c, "team-a", "c", "ClaimsApart").message,
      "its claims are in use on different nodes: one by a on lab-1; two by b on lab-2")
    test.equal(gates(c, "c"), 1)
    delete_pod(c, "b")
    test.equal(is_running(c, "c").spec.nodeName, "lab-1") -- the other disk comes to it
  end)
end)

test("a node that takes no more volumes is waited for; whoever waits too long goes: both are told", function()
  local settings = "vsphere-rwo: {look_again: 200ms, max_volumes: 1, gate_age: %s}\n"
  with_policy(settings:format "15m", function(c, site)
    make_claims(c, "one", "two")
    make_pod(c, "a", "lab-1", { "one" })
    is_running(c, "a")
    make_pod(c, "b", nil, { "one", "two" })
    test.equal(event_of(c, "team-a", "b", "NodeFull").message,
      "one by a on lab-1, but lab-1 cannot take more volumes")
    fs.write(site.directory .. "/site.yaml", settings:format "1s") -- a live change: loaded, tested, swapped
    test.equal(event_of(c, "team-a", "b", "GateTooOld").message, "waited longer than 1s for its claims (one by a on "
      .. "lab-1, but lab-1 cannot take more volumes); it starts where the scheduler finds room")
    test.equal(gates(c, "b"), 0)
    test.equal((get_pod(c, "b").metadata.annotations or {})["storage.kfhost.io/waits"], nil)
  end)
end)

test("one pod after the other, where the claim says so, whatever the order in which they come", function()
  with_policy(SETTINGS, function(c)
    c:create(claim("team-a", "one", { ["storage.kfhost.io/sharing"] = "sequential" }))
    make_pod(c, "a", nil, { "one" })
    is_running(c, "a")
    make_pod(c, "b", nil, { "one" })
    test.equal(event_of(c, "team-a", "b", "ClaimInTurn").message,
      "claim one is used by one pod after the other: a comes first")
    delete_pod(c, "a")
    is_running(c, "b")
  end)
end)

test("a volume for each pod: each has a disk of its own, on whichever node, and it goes with the pod", function()
  with_policy(SETTINGS, function(c)
    c:create(claim("team-a", "own", { ["storage.kfhost.io/sharing"] = "per-step" }))
    eventually("the host knows the claim", function()
      return c:create(vsphere.pod("try", nil, { "own" }), { dry_run = true }).spec.volumes[1].ephemeral
    end)
    for i = 1, 2 do make_pod(c, "step-" .. i, "lab-" .. i, { "own" }) end
    for i = 1, 2 do
      is_running(c, "step-" .. i)
      local disk = c:get("pvc", ("step-%d-own"):format(i), { namespace = "team-a" })
      test.same({ disk.spec.accessModes, disk.spec.storageClassName, disk.spec.resources.requests.storage },
        { { "ReadWriteOnce" }, vsphere.BLOCK, "1Gi" })
    end
    test.equal(#c:list(ATTACHMENTS), 2)
    delete_pod(c, "step-1")
    c:wait { kind = "pvc", name = "step-1-own", namespace = "team-a", deleted = true, timeout = "60s" }
  end)
end)

-- Claims as Pipelines (CreatePVC of kfp-kubernetes), Kale and Katib (population based training) make them, with the
-- workloads that use them.
local function claim_of_theirs(metadata, class)
  metadata.namespace = "team-a"
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = metadata, spec = {
    accessModes = { "ReadWriteMany" }, storageClassName = class, resources = { requests = { storage = "5Gi" } } } }
end

local function template(claim_name, labels)
  local spec = vsphere.pod("x", nil, { claim_name }).spec
  spec.restartPolicy = nil
  return { metadata = { labels = labels }, spec = spec }
end

local function job(name, claim_name)
  local pods = template(claim_name, { claim = claim_name })
  pods.spec.restartPolicy = "Never"
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = name, namespace = "team-a" },
    spec = { template = pods } }
end

test("the claims that Pipelines, Kale and Katib make for many are bound, and the pods of each share a node", function()
  with_policy(SETTINGS, function(c)
    local run = c:create(claim_of_theirs({ generateName = "run-x7k2p-data-" }, vsphere.BLOCK)).metadata.name
    local marshal = c:create(claim_of_theirs { name = "wf-x7k2p-kale-marshal-pvc" }).metadata.name
    local of_katib = { name = "tune-pbt", labels = { ["katib.kubeflow.org/experiment"] = "tune" } }
    local tune = c:create(claim_of_theirs(of_katib)).metadata.name
    for i, name in ipairs { run, marshal } do
      for _, step in ipairs { "a", "b" } do -- pods of Argo: made by their names
        local pod = vsphere.pod(("wf-%d-%s"):format(i, step), nil, { name })
        pod.metadata.labels = { claim = name, ["workflows.argoproj.io/workflow"] = "wf-" .. i }
        c:create(pod)
      end
    end
    local labels = { claim = tune, ["katib.kubeflow.org/suggestion"] = "tune" }
    c:create { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "tune-pbt", namespace = "team-a" },
      spec = { replicas = 1, selector = { matchLabels = labels }, template = template(tune, labels) } }
    for i = 1, 2 do c:create(job("tune-trial-" .. i, tune)) end
    for name, count in pairs { [run] = 2, [marshal] = 2, [tune] = 3 } do
      local pods = eventually("the pods of " .. name .. " run", function()
        local list = c:list("pods", { namespace = "team-a", labels = "claim=" .. name,
          fields = "status.phase=Running" })
        return #list == count and list
      end)
      for _, pod in ipairs(pods) do test.equal(pod.spec.nodeName, pods[1].spec.nodeName) end
      local claim_now = c:get("pvc", name, { namespace = "team-a" })
      test.same({ claim_now.spec.accessModes, claim_now.status.phase }, { { "ReadWriteOnce" }, "Bound" })
    end
  end)
end)
