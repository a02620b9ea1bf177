-- What `policy explain vsphere-rwo` says of claims: who uses one, where its disk is, why a step waits, and what becomes
-- of it with its node. The objects are as a cluster has them; no pod runs.
local test = require "test"
local host = require "host"
local proc = require "proc"
local site_of = dofile "tests/lua/support/site.lua"
local vsphere = dofile "tests/lua/support/vsphere.lua"

local function put_claim(c, name, volume, modes, annotations)
  local claim = vsphere.claim("team-a", name, annotations)
  claim.spec.accessModes, claim.spec.volumeName = modes or { "ReadWriteOnce" }, volume
  c:create(claim)
end

local function put_attachment(c, volume, node, status, finalizer)
  local made = c:create { apiVersion = "storage.k8s.io/v1", kind = "VolumeAttachment", metadata = { name = volume,
    finalizers = finalizer and { finalizer } }, spec = { attacher = "csi.vsphere.vmware.com", nodeName = node,
    source = { persistentVolumeName = volume } } }
  c:patch("volumeattachments.storage.k8s.io", made.metadata.name, { status = status }, { type = "merge",
    subresource = "status" })
end

-- A pod of a phase: on a node, at the gate, or neither.
local function put_pod(c, name, claims, node, phase)
  local pod = vsphere.pod(name, nil, claims)
  pod.spec.nodeName = node
  if node == "gate" then
    local terms = {}
    for i, one in ipairs(claims) do
      terms[i] = { labelSelector = { matchLabels = { ["claim.storage.kfhost.io/" .. one] = "true" } },
        topologyKey = "kubernetes.io/hostname" }
    end
    pod.spec.nodeName = nil
    pod.spec.schedulingGates = { { name = "storage.kfhost.io/co-schedule" } }
    pod.spec.affinity = { podAffinity = { requiredDuringSchedulingIgnoredDuringExecution = terms } }
  end
  site_of.eventually(name .. " is made", function() return c.try:create(pod) end) -- its account comes soon
  c:patch("pods", name, { status = { phase = phase or "Pending" } }, { namespace = "team-a", type = "merge",
    subresource = "status" })
end

local function put_node(c, name, fields)
  c:create { apiVersion = "v1", kind = "Node", metadata = { name = name }, spec = fields }
  c:patch("nodes", name, { status = { conditions = { { type = "Ready", status = "True" } } } },
    { type = "merge", subresource = "status" })
end

local function situation(c)
  vsphere.profile(c, "team-a", { ["storage.kfhost.io/co-schedule"] = "true" })
  put_node(c, "node-1")
  put_node(c, "node-2")
  put_node(c, "node-3", { unschedulable = true })
  put_claim(c, "fresh")
  put_claim(c, "data", "pv-data", nil, { ["storage.kfhost.io/original-access-modes"] = "ReadWriteMany" })
  put_claim(c, "more", "pv-more", nil, { ["storage.kfhost.io/sharing"] = "sequential" })
  put_claim(c, "late", "pv-late")
  put_claim(c, "idle", "pv-idle")
  put_claim(c, "files", "pv-files", { "ReadWriteMany" })
  put_attachment(c, "pv-data", "node-1", { attached = true })
  put_attachment(c, "pv-late", "node-3", { attached = false, attachError = { message = "disk is busy" } })
  put_attachment(c, "pv-idle", "node-2", { attached = true }, "external-attacher/csi-vsphere-vmware-com")
  c:delete("volumeattachments.storage.k8s.io", "pv-idle")
  put_pod(c, "prepare", { "data" }, "node-1", "Succeeded")
  put_pod(c, "train", { "data" }, "node-1", "Running")
  put_pod(c, "other", { "more" }, "node-2", "Running")
  put_pod(c, "both", { "data", "more" }, "gate")
  put_pod(c, "free", { "data" })
  put_pod(c, "stuck", { "late" }, "node-3", "Pending")
end

-- What is said of a claim, without the lines that any policy has.
local function said_of(lab, name)
  local kubeconfig = test.tmpdir() .. "/admin"
  lab:write_kubeconfig(kubeconfig)
  local process <close> = proc.spawn { host.executable(), "policy", "explain", "vsphere-rwo", "-n", "team-a",
    "--object", "pvc/" .. name, env = { KUBECONFIG = kubeconfig, KFHOST_PATH = false } }
  local lines = {}
  for line in process:lines() do
    local text = line:match "^  (%l[^ ]*:? .*)$"
    if text and not text:find "^yes " and not text:find "^no " then lines[#lines + 1] = text end
  end
  test.equal(process:wait("60s").code, 0)
  return lines
end

local function going(node)
  return ("drain of %s (an upgrade drains each node in turn): its pods end, the disk is detached, the next pods start "
      .. "elsewhere together; a Job's pod that is evicted starts again"):format(node),
    ("loss of %s: its pods stay until they are deleted, and the disk is detached by force 6 minutes after that (8 to "
      .. "10 in all); the taint node.kubernetes.io/out-of-service, once the machine is surely off, makes it at once")
      :format(node)
end

local NOTHING <const> = "drain, upgrade: nothing to move; the next pod takes the disk to its node"

test("what there is to say of a claim: its users, its disk, why a step waits, what a drain and a loss mean now",
  function()
    site_of.with({ profile = "vsphere", nodes = 0 }, function(lab, c)
      situation(c)
      local drain, loss = going "node-1"
      test.same(said_of(lab, "data"), { "modes: ReadWriteOnce (asked for: ReadWriteMany), shared one-node",
        "disk: pv-data, attached to node-1",
        "pod both waits at the gate: claim more is used by one pod after the other: other comes first",
        "pod free waits for the scheduler", "pod prepare has ended, and holds nothing", "pod train runs on node-1",
        drain, loss })
      drain, loss = going "node-3"
      test.same(said_of(lab, "late"), { "modes: ReadWriteOnce, shared one-node",
        "disk: pv-late, on its way to node-3, which is cordoned: disk is busy",
        "pod stuck waits for the disk on node-3, which is cordoned", drain, loss })
      test.same(said_of(lab, "idle"), { "modes: ReadWriteOnce, shared one-node",
        "disk: pv-idle, being detached from node-2", "pods: none uses it", NOTHING })
      test.same(said_of(lab, "fresh"), { "modes: ReadWriteOnce, shared one-node",
        "disk: none yet, it is made when the claim binds", "pods: none uses it", NOTHING })
      test.same(said_of(lab, "files"), { "modes: ReadWriteMany",
        "disk: pv-files, attached to no node", "pods: none uses it" })
    end)
  end)
