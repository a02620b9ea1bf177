-- vsphere-rwo in a lab that behaves as vSphere: what breaks without it, and with two replicas of the host what it
-- makes of that, while steps share a disk, a node is drained, and a replica is restarted.
local test = require "test"
local vsphere_claims = require "vsphere.claims"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"
local vsphere = dofile "tests/lua/support/vsphere.lua"

local eventually, event_of = site_of.eventually, site_of.event_of
local profile, claim = vsphere.profile, vsphere.claim

local SETTINGS = "vsphere-rwo: {look_again: 200ms, repair_pending: true}\n"

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
  site_of.with(vsphere.LAB, function(lab, c)
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
