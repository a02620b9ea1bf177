-- The lab's stateful and daemon sets, with no kubelet: the test says what becomes of each pod.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local APPS = "/apis/apps/v1/namespaces/default/"
local CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"

local function template(image)
  return { metadata = { labels = { app = "a" } }, spec = { containers = { { name = "main",
    image = image or "x:1" } } } }
end

local function stateful(spec)
  spec.serviceName, spec.selector, spec.template = "s", { matchLabels = { app = "a" } }, template()
  return { metadata = { name = "s" }, spec = spec }
end

local function with_claims(spec)
  spec.volumeClaimTemplates = { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" },
    resources = { requests = { storage = "1Gi" } } } } }
  return stateful(spec)
end

local function get(call, name)
  local ok, pod = pcall(call, "GET", pods.PODS .. "/" .. name)
  return ok and not pod.metadata.deletionTimestamp and pod or nil
end

local function ready(call, name, image)
  local pod = pods.eventually(name .. " is there", function()
    local one = get(call, name)
    return one and (not image or one.spec.containers[1].image == image) and one
  end)
  if (pod.spec.nodeName or "") == "" then pods.bind(call, name) end
  pods.set_status(call, name, pods.running())
end

local function remove(call, name)
  call("DELETE", pods.PODS .. "/" .. name, { gracePeriodSeconds = 0 })
end

local function set_image(call, kind, image)
  call("PATCH", APPS .. kind .. "/s", { spec = { template = { spec = { containers = { { name = "main",
    image = image } } } } } })
end

local function revisions(call)
  local list = {}
  for i, one in ipairs(call("GET", APPS .. "controllerrevisions").items) do
    list[i] = ("%d:%s"):format(one.revision, one.data.spec.template.spec.containers[1].image)
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function case(name, run) test(name, function() pods.with({ nodes = 0 }, run) end) end

case("below the partition a pod that is made anew has the template that it had, which a revision keeps",
  function(_, call)
    call("POST", APPS .. "statefulsets", stateful { replicas = 2, updateStrategy = { type = "RollingUpdate",
      rollingUpdate = { partition = 1 } } })
    ready(call, "s-0")
    ready(call, "s-1")
    local old = call("GET", pods.PODS .. "/s-0").metadata.labels["controller-revision-hash"]
    set_image(call, "statefulsets", "x:2")
    pods.eventually("the last one leaves", function() return not get(call, "s-1") end)
    remove(call, "s-1")
    ready(call, "s-1", "x:2")
    remove(call, "s-0")
    ready(call, "s-0", "x:1")
    test.equal(call("GET", pods.PODS .. "/s-0").metadata.labels["controller-revision-hash"], old)
    local s = pods.eventually("one is updated", function()
      local status = call("GET", APPS .. "statefulsets/s").status
      return status.updatedReplicas == 1 and status.readyReplicas == 2 and status
    end)
    test.same({ s.currentRevision, s.currentReplicas }, { old, 1 })
    test.equal(revisions(call), "1:x:1 2:x:2")
  end)

local function revision_cells(cluster)
  local table_ = json.decode(cluster:handle { method = "GET", path = APPS .. "controllerrevisions", internal = true,
    query = "includeObject=None", headers = { accept = "application/json;as=Table;g=meta.k8s.io;v=v1" } }.body)
  local cells = table_.rows[1].cells
  return { cells[2], cells[3] }
end

case("the next pod comes when the one before has been ready for as long as is asked", function(_, call)
  call("POST", APPS .. "statefulsets", stateful { replicas = 2, minReadySeconds = 100000 })
  ready(call, "s-0")
  local s = pods.eventually("it is ready", function()
    local status = call("GET", APPS .. "statefulsets/s").status
    return status.readyReplicas == 1 and status
  end)
  test.equal(s.availableReplicas, 0)
  pods.settled(call, APPS .. "statefulsets")
  test.equal(get(call, "s-1"), nil)
  call("PATCH", APPS .. "statefulsets/s", { spec = { minReadySeconds = 100 } })
  pods.eventually("the second comes", function() return get(call, "s-1") end)
  test.equal(call("GET", APPS .. "statefulsets/s").status.availableReplicas, 1)
end)

case("a template that comes back is the last revision again", function(cluster, call)
  call("POST", APPS .. "statefulsets", stateful { replicas = 0 })
  pods.eventually("there is one", function() return revisions(call) == "1:x:1" end)
  set_image(call, "statefulsets", "x:2")
  pods.eventually("there are two", function() return revisions(call) == "1:x:1 2:x:2" end)
  set_image(call, "statefulsets", "x:1")
  pods.eventually("the first is the third", function() return revisions(call) == "2:x:2 3:x:1" end)
  call("PATCH", APPS .. "statefulsets/s", { spec = { revisionHistoryLimit = 0 } })
  pods.eventually("the other is forgotten", function() return revisions(call) == "3:x:1" end)
  test.same(revision_cells(cluster), { "statefulset.apps/s", 3 })
end)

case("claims go with the set, and when it gets smaller, where that is asked for", function(_, call)
  call("POST", APPS .. "statefulsets", with_claims { replicas = 2, podManagementPolicy = "Parallel",
    persistentVolumeClaimRetentionPolicy = { whenDeleted = "Delete", whenScaled = "Delete" } })
  ready(call, "s-0")
  ready(call, "s-1")
  test.equal(call("GET", CLAIMS .. "/data-s-0").metadata.ownerReferences[1].kind, "StatefulSet")
  call("PATCH", APPS .. "statefulsets/s", { spec = { replicas = 1 } })
  pods.eventually("the last one leaves", function() return not get(call, "s-1") end)
  remove(call, "s-1")
  local function left(count)
    pods.eventually(count .. " claims are left", function()
      local stay = 0
      for _, claim in ipairs(call("GET", CLAIMS).items) do
        if not claim.metadata.deletionTimestamp then stay = stay + 1 end -- nobody takes their finalizer here
      end
      return stay == count
    end)
  end
  left(1)
  call("DELETE", APPS .. "statefulsets/s", { propagationPolicy = "Background" })
  remove(call, "s-0")
  left(0)
end)

case("claims stay when nothing else is asked for", function(_, call)
  call("POST", APPS .. "statefulsets", with_claims { replicas = 1 })
  ready(call, "s-0")
  call("PATCH", APPS .. "statefulsets/s", { spec = { replicas = 0 } })
  pods.eventually("it leaves", function() return not get(call, "s-0") end)
  remove(call, "s-0")
  pods.settled(call, APPS .. "statefulsets")
  test.same({ #call("GET", CLAIMS).items, call("GET", CLAIMS .. "/data-s-0").metadata.ownerReferences }, { 1 })
end)

-- --- daemon sets ------------------------------------------------------------------------------------------

local function add_node(call, name)
  call("POST", "/api/v1/nodes", { metadata = { name = name } })
end

local function on_nodes(call)
  local map = {}
  for _, pod in ipairs(call("GET", pods.PODS).items) do
    local term = pod.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]
    if not pod.metadata.deletionTimestamp then map[term.matchFields[1].values[1]] = pod end
  end
  return map
end

case("a daemon set's pods are replaced a share at a time, and its templates are kept", function(_, call)
  for i = 1, 4 do add_node(call, "n" .. i) end
  call("POST", APPS .. "daemonsets", { metadata = { name = "s" }, spec = { selector = { matchLabels = { app = "a" } },
    template = template(), updateStrategy = { type = "RollingUpdate", rollingUpdate = { maxUnavailable = "50%" } } } })
  local function all(count, image)
    return pods.eventually(count .. " of " .. image, function()
      local map, found = on_nodes(call), {}
      for node, pod in pairs(map) do
        if pod.spec.containers[1].image == image then found[#found + 1] = { node, pod.metadata.name } end
      end
      return #found == count and found
    end)
  end
  for _, one in ipairs(all(4, "x:1")) do
    pods.bind(call, one[2], one[1])
    pods.set_status(call, one[2], pods.running())
  end
  pods.eventually("they are ready", function() return call("GET", APPS .. "daemonsets/s").status.numberReady == 4 end)
  set_image(call, "daemonsets", "x:2")
  all(2, "x:1")
  pods.settled(call, APPS .. "daemonsets")
  all(2, "x:1")
  test.equal(revisions(call), "1:x:1 2:x:2")
end)
