-- The disks of a lab that behaves as vSphere: which node has one, who holds it there, and who gets a disk of his own.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
local ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
local FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
local VSPHERE = { nodes = 2, profile = "vsphere", time_scale = 0.005 }

local function claim(name, fields)
  local spec = { accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } }
  for field, value in pairs(fields or {}) do spec[field] = value end
  return { metadata = { name = name }, spec = spec }
end

-- A pod with volumes by name: {data = "CLAIM"} or {data = {source}}.
local function pod(name, volumes, more)
  local spec = { terminationGracePeriodSeconds = 0, volumes = {} }
  local mounts = {}
  for volume, source in pairs(volumes) do
    if type(source) == "string" then source = { persistentVolumeClaim = { claimName = source } } end
    source.name = volume
    table.insert(spec.volumes, source)
    table.insert(mounts, { name = volume, mountPath = "/" .. volume })
  end
  spec.containers = { pods.shell(FOREVER, { volumeMounts = mounts }) }
  for field, value in pairs(more or {}) do spec[field] = value end
  return pods.pod(name, spec)
end

local function on(node) return { nodeSelector = { ["kubernetes.io/hostname"] = node } } end

local function unschedulable(call, name)
  return pods.eventually(name .. " is told why", function()
    for _, c in ipairs(call("GET", pods.PODS .. "/" .. name).status.conditions or {}) do
      if c.type == "PodScheduled" and c.status == "False" then return c.message end
    end
  end)
end

test("a disk stays with its node as long as something holds its attachment; then it goes to the next", function()
  pods.with(VSPHERE, function(_, call)
    call("POST", CLAIMS, claim "data")
    call("POST", pods.PODS, pod("one", { data = "data" }, on "lab-1"))
    pods.ready(call, "one")
    local attachment = call("GET", ATTACHMENTS).items[1]
    test.same({ attachment.spec.nodeName, attachment.status.attached, attachment.metadata.finalizers },
      { "lab-1", true, { "external-attacher/csi-vsphere-vmware-com" } })
    local path = ATTACHMENTS .. "/" .. attachment.metadata.name
    table.insert(attachment.metadata.finalizers, "site.example/stuck")
    call("PUT", path, attachment)

    call("DELETE", pods.PODS .. "/one")
    pods.eventually("it is being detached", function() return call("GET", path).metadata.deletionTimestamp end)
    call("POST", pods.PODS, pod("again", { data = "data" }, on "lab-1"))
    call("POST", pods.PODS, pod("two", { data = "data" }, on "lab-2"))
    local function said(text)
      return pods.eventually(text, function()
        for _, one in ipairs(pods.events(call, "FailedAttachVolume")) do
          if one:find(text, 1, true) then return true end
        end
      end)
    end
    said "volume attachment is being deleted"
    call("DELETE", pods.PODS .. "/again")
    said "Volume is already exclusively attached to one node and can't be attached to another"
    attachment = call("GET", path)
    test.same(attachment.metadata.finalizers, { "site.example/stuck" })
    attachment.metadata.finalizers = json.array {}
    call("PUT", path, attachment)
    pods.ready(call, "two")
    test.equal(call("GET", path).spec.nodeName, "lab-2")
  end)
end)

test("a disk that a node has already takes no other place there, nor do files", function()
  pods.with({ nodes = 1, profile = "vsphere", time_scale = 0.005 }, function(cluster, call)
    cluster.volumes.profile = setmetatable({ attach_limit = 1 }, { __index = cluster.volumes.profile })
    call("POST", CLAIMS, claim "data")
    call("POST", CLAIMS, claim("files", { storageClassName = "nfs" }))
    call("POST", pods.PODS, pod("one", { data = "data" }))
    pods.ready(call, "one")
    call("POST", pods.PODS, pod("two", { data = "data", files = "files" }))
    pods.ready(call, "two")
    test.equal(#call("GET", ATTACHMENTS).items, 1)
  end)
end)

test("an ephemeral volume is a claim of the pod's own, which goes with it", function()
  pods.with(VSPHERE, function(_, call)
    local own = { ephemeral = { volumeClaimTemplate = { metadata = { labels = { of = "one" } }, spec = {
      accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } } } }
    call("POST", pods.PODS, pod("one", { scratch = own }))
    local running = pods.ready(call, "one")
    local made = call("GET", CLAIMS .. "/one-scratch")
    test.same({ made.metadata.labels, made.metadata.ownerReferences[1].uid, made.status.phase },
      { { of = "one" }, running.metadata.uid, "Bound" })
    test.equal(call("GET", ATTACHMENTS).items[1].spec.source.persistentVolumeName, made.spec.volumeName)
    call("DELETE", pods.PODS .. "/one")
    pods.eventually("the claim is gone", function() return #call("GET", CLAIMS).items == 0 end)

    call("POST", CLAIMS, claim "two-scratch")
    call("POST", pods.PODS, pod("two", { scratch = own }))
    test.equal(unschedulable(call, "two"):find('PVC "default/two-scratch" was not created for pod', 1, true) ~= nil,
      true)
  end)
end)

-- A pod that is kept beside others by labels.
local function beside(name, labels, asked, more)
  local terms = {}
  for i, label in ipairs(asked) do
    terms[i] = { labelSelector = { matchLabels = { [label] = "yes" } }, topologyKey = "kubernetes.io/hostname" }
  end
  local made = pod(name, {}, more)
  made.metadata.labels = labels
  made.spec.affinity = { podAffinity = { requiredDuringSchedulingIgnoredDuringExecution = terms } }
  return made
end

test("company for the scheduler is a pod that meets all terms of an affinity; else a pod may be the first", function()
  pods.with({ nodes = 2, time_scale = 0.005 }, function(_, call)
    call("POST", pods.PODS, beside("a", { a = "yes" }, { "a" }, on "lab-1"))
    pods.ready(call, "a")
    call("POST", pods.PODS, beside("both", { a = "yes", b = "yes" }, { "a", "b" }, on "lab-2"))
    pods.ready(call, "both") -- "a" meets one of two
    call("POST", pods.PODS, beside("c", { a = "yes", b = "yes" }, { "a", "b" }, on "lab-1"))
    test.equal(unschedulable(call, "c"):find("didn't match pod affinity rules", 1, true) ~= nil, true)
    call("POST", pods.PODS, beside("none", { c = "yes" }, { "d" }))
    test.equal(unschedulable(call, "none"):find("2 node(s) didn't match pod affinity rules", 1, true) ~= nil, true)
  end)
end)
