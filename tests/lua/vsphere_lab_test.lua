-- vsphere-rwo in a lab that behaves as vSphere: what breaks without it, and with two replicas of the host what it
-- makes of that, while steps share a disk, a node is drained, and a replica is restarted.
local test = require "test"
local vsphere_claims = require "vsphere.claims"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local eventually, event_of = site_of.eventually, site_of.event_of
local VSPHERE = { profile = "vsphere", nodes = 2, time_scale = 0.002 }

local BLOCK = "vsan-default-storage-policy"
local SETTINGS = "vsphere-rwo: {look_again: 200ms, repair_pending: true}\n"

local function profile(c, name, labels)
  labels = labels or {}
  labels["app.kubernetes.io/part-of"] = "kubeflow-profile"
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local function claim(namespace, name)
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = name, namespace = namespace },
    spec = { accessModes = { "ReadWriteMany" }, storageClassName = BLOCK,
      resources = { requests = { storage = "1Gi" } } } }
end

-- A step: a Job whose pod writes its name to the disk, and ends when there is a file "go".
local function step(namespace, name)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = name, namespace = namespace }, spec = {
    backoffLimit = 4, template = { spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 0,
      containers = { { name = "main", image = "busybox", volumeMounts = { { name = "data", mountPath = "/data" } },
        command = { "sh", "-c", ('cd "$KFHOST_ROOT/data"; echo %s >>steps; while [ ! -e go ]; do sleep 0.1; done')
          :format(name) } } },
      volumes = { { name = "data", persistentVolumeClaim = { claimName = "data" } } } } } } }
end

-- The pod of a step that runs now.
local function running(c, namespace, job)
  return eventually(job .. " runs", function()
    for _, pod in ipairs(c:list("pods", { namespace = namespace, labels = "job-name=" .. job })) do
      local alive = not pod.metadata.deletionTimestamp and pod.status.phase == "Running"
      if alive then return pod end
    end
  end)
end

test("P6: without the policy the claim waits for ever; with it the steps share a disk on one node", function()
  site_of.with(VSPHERE, function(lab, c)
    profile(c, "team-a", { ["storage.kfhost.io/co-schedule"] = "true" })
    c:create(claim("team-a", "before"))
    local said = event_of(c, "team-a", "before", "ProvisioningFailed").message
    test.equal(said:find("File volume provisioning is not supported", 1, true) ~= nil, true)

    -- What a host has written down that ended when the claim was gone, and the new one not made yet.
    local lost = claim("team-a", "lost")
    lost.spec.accessModes = { "ReadWriteOnce" }
    local note = c:create(vsphere_claims.note(lost, "uid-of-the-old-one", "it is made anew"))

    local site = replicas.new(lab, c, { "vsphere-rwo" }, SETTINGS, 2)
    site:register(1, 2) -- claims are answered by one replica, pods by the other
    local first = site:leader()

    -- A claim that slipped through, and that nobody uses, is made anew.
    c:wait { kind = "pvc", name = "before", namespace = "team-a", jsonpath = "{.status.phase}", value = "Bound",
      timeout = "60s" }
    test.same(c:get("pvc", "before", { namespace = "team-a" }).spec.accessModes, { "ReadWriteOnce" })

    c:wait { kind = "pvc", name = "lost", namespace = "team-a", jsonpath = "{.status.phase}", value = "Bound",
      timeout = "60s" }
    c:wait { kind = "configmaps", name = note.metadata.name, namespace = "team-a", deleted = true, timeout = "60s" }

    -- A dry run is answered as it would be, and leaves nothing behind.
    local tried = c:create(claim("team-a", "data"), { dry_run = true })
    test.same(tried.spec.accessModes, { "ReadWriteOnce" })
    test.equal(c.try:get("pvc", "data", { namespace = "team-a" }), nil)

    local made, warnings = c:create(claim("team-a", "data"))
    test.equal(made.metadata.annotations["storage.kfhost.io/original-access-modes"], "ReadWriteMany")
    test.equal(warnings[1]:find("run on one node", 1, true) ~= nil, true)
    c:create(step("team-a", "prepare"))
    local node = running(c, "team-a", "prepare").spec.nodeName

    -- The replica that writes ends while a pod waits at the gate; the other one lifts it.
    site[first]:stop()
    site:register(3 - first)
    c:create(step("team-a", "train"))
    local train = running(c, "team-a", "train")
    test.equal(train.spec.nodeName, node)
    local terms = train.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
    test.same(terms[1].matchFields[1].values, { node })
    test.equal(#(train.spec.schedulingGates or {}), 0)

    -- The node is drained while both share the disk: together they go on elsewhere.
    c:patch("nodes", node, { spec = { unschedulable = true } })
    for _, name in ipairs { "prepare", "train" } do c:evict(running(c, "team-a", name).metadata.name,
      { namespace = "team-a" }) end
    local moved = running(c, "team-a", "prepare").spec.nodeName
    test.equal(moved ~= node, true)
    test.equal(running(c, "team-a", "train").spec.nodeName, moved)

    -- What there is to say of the claim.
    lab:write_kubeconfig(site.directory .. "/admin")
    local explain <close> = proc.spawn { host.executable(), "policy", "explain", "vsphere-rwo", "--object", "pvc/data",
      "-n", "team-a", env = { KUBECONFIG = site.directory .. "/admin", KFHOST_PATH = false } }
    local lines = {}
    for line in explain:lines() do lines[#lines + 1] = line end
    test.equal(explain:wait("60s").code, 0)
    local said_of = table.concat(lines, "\n")
    for _, line in ipairs { "modes: ReadWriteOnce (asked for: ReadWriteMany)", "attached to " .. moved,
      "runs on " .. moved, "drain of " .. moved, "6 minutes" } do
      if not said_of:find(line, 1, true) then error(line .. " is not in\n" .. said_of, 0) end
    end

    -- Both end, and both have written to the one disk.
    local path = lab.cluster.volumes:directory(c:get("pvc", "data", { namespace = "team-a" }))
    fs.write(path .. "/go", "")
    for _, name in ipairs { "prepare", "train" } do
      c:wait { kind = "jobs", name = name, namespace = "team-a", condition = "Complete", timeout = "60s" }
    end
    test.equal(fs.read(path .. "/steps"):find("train", 1, true) ~= nil, true)
    site:stop()
  end)
end)

-- Makes a pod that uses claims, on a node or wherever.
local function make_pod(c, name, node, names)
  local volumes, mounts = {}, {}
  for i, one in ipairs(names) do
    volumes[i] = { name = one, persistentVolumeClaim = { claimName = one } }
    mounts[i] = { name = one, mountPath = "/" .. one }
  end
  c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "team-a" }, spec = {
    restartPolicy = "Never", terminationGracePeriodSeconds = 0, volumes = volumes,
    nodeSelector = node and { ["kubernetes.io/hostname"] = node } or nil,
    containers = { { name = "main", image = "busybox", volumeMounts = mounts,
      command = { "sh", "-c", "sleep 60" } } } } }
end

local function is_running(c, name)
  eventually(name .. " runs", function()
    return c:get("pods", name, { namespace = "team-a" }).status.phase == "Running"
  end)
end

-- A profile that has opted in, and one host of the policy, with settings.
local function with_policy(settings, run)
  site_of.with(VSPHERE, function(lab, c)
    profile(c, "team-a", { ["storage.kfhost.io/co-schedule"] = "true" })
    local site <close> = replicas.new(lab, c, { "vsphere-rwo" }, settings, 1)
    site:register(1)
    run(c, site)
  end)
end

test("two steps whose claims are in use on two nodes: the pod that wants both waits, and says so", function()
  with_policy(SETTINGS, function(c)
    for _, name in ipairs { "one", "two" } do c:create(claim("team-a", name)) end
    make_pod(c, "a", "lab-1", { "one" })
    make_pod(c, "b", "lab-2", { "two" })
    is_running(c, "a")
    is_running(c, "b")
    make_pod(c, "c", nil, { "one", "two" })
    local event = event_of(c, "team-a", "c", "ClaimsApart")
    test.equal(event.message,
      "its claims are in use on different nodes: one by a on lab-1; two by b on lab-2")
    test.equal(#c:get("pods", "c", { namespace = "team-a" }).spec.schedulingGates, 1)
    c:delete("pods", "b", { namespace = "team-a", grace = 0 })
    is_running(c, "c") -- the other disk comes to it
    test.equal(c:get("pods", "c", { namespace = "team-a" }).spec.nodeName, "lab-1")
  end)
end)

test("a node that takes no more volumes is waited for; whoever waits too long goes: both are told", function()
  local settings = "vsphere-rwo: {look_again: 200ms, max_volumes: 1, gate_age: %s}\n"
  with_policy(settings:format "15m", function(c, site)
    for _, name in ipairs { "one", "two" } do c:create(claim("team-a", name)) end
    make_pod(c, "a", "lab-1", { "one" })
    is_running(c, "a")
    make_pod(c, "b", nil, { "one", "two" })
    test.equal(event_of(c, "team-a", "b", "NodeFull").message,
      "one by a on lab-1, but lab-1 cannot take more volumes")
    fs.write(site.directory .. "/site.yaml", settings:format "1s") -- a live change: loaded, tested, swapped
    event_of(c, "team-a", "b", "GateTooOld")
    local pod = c:get("pods", "b", { namespace = "team-a" })
    test.equal(#(pod.spec.schedulingGates or {}), 0)
    test.equal((pod.metadata.annotations or {})["storage.kfhost.io/waits"], nil)
  end)
end)

test("one pod after the other, where the claim says so, whatever the order in which they come", function()
  with_policy(SETTINGS, function(c)
    local one = claim("team-a", "one")
    one.metadata.annotations = { ["storage.kfhost.io/sharing"] = "sequential" }
    c:create(one)
    make_pod(c, "a", nil, { "one" })
    is_running(c, "a")
    make_pod(c, "b", nil, { "one" })
    test.equal(event_of(c, "team-a", "b", "ClaimInTurn").message,
      "claim one is used by one pod after the other: a comes first")
    c:delete("pods", "a", { namespace = "team-a", grace = 0 })
    is_running(c, "b")
    local own = claim("team-a", "own")
    own.metadata.annotations = { ["storage.kfhost.io/sharing"] = "per-step" }
    c:create(own)
    eventually("a pod has a volume of its own", function()
      local pod = c:create({ apiVersion = "v1", kind = "Pod", metadata = { name = "c", namespace = "team-a" },
        spec = { containers = { { name = "main", image = "busybox" } },
          volumes = { { name = "own", persistentVolumeClaim = { claimName = "own" } } } } }, { dry_run = true })
      local volume = pod.spec.volumes[1]
      return volume.ephemeral and volume.ephemeral.volumeClaimTemplate.spec.resources.requests.storage == "1Gi"
    end)
  end)
end)
