-- The lab's scheduler with nodes of the test's own, on which nothing runs.
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local function add_node(call, name, room, labels)
  room.pods = room.pods or "10"
  local node = call("POST", "/api/v1/nodes", { metadata = { name = name, labels = labels } })
  node.status.capacity, node.status.allocatable = room, room
  node.status.conditions = { { type = "Ready", status = "True" } }
  call("PUT", "/api/v1/nodes/" .. name .. "/status", node)
end

local function make(call, name, requests, spec, labels)
  spec = spec or {}
  spec.containers = spec.containers or { { name = "main", image = "busybox:1", resources = { requests = requests,
    limits = requests and requests["nvidia.com/gpu"] and { ["nvidia.com/gpu"] = requests["nvidia.com/gpu"] } } } }
  return call("POST", pods.PODS, { metadata = { name = name, labels = labels }, spec = spec })
end

local function get(call, name)
  local ok, pod = pcall(call, "GET", pods.PODS .. "/" .. name)
  return ok and pod or nil
end

local function scheduled(call, name)
  return pods.eventually(name .. " has a node", function()
    local pod = get(call, name)
    return pod and (pod.spec.nodeName or "") ~= "" and pod.spec.nodeName
  end)
end

-- Why a pod has no node, as its condition says it.
local function refused(call, name)
  return pods.eventually(name .. " has no node", function()
    for _, one in ipairs(get(call, name).status.conditions or {}) do
      if one.type == "PodScheduled" and one.status == "False" then return one.message end
    end
  end)
end

local function case(name, run)
  test(name, function()
    pods.with({ nodes = 0 }, function(cluster, call)
      local scheduler = require "lab.scheduler".start(cluster, { time_scale = 0.01 })
      local ok, problem = xpcall(run, debug.traceback, call, cluster)
      scheduler:stop()
      if not ok then error(problem, 0) end
    end)
  end)
end

case("what a node does not have, such as a GPU, is not found on it", function(call)
  add_node(call, "n1", { cpu = "4", memory = "8Gi" })
  make(call, "p", { ["nvidia.com/gpu"] = "1" })
  test.equal(refused(call, "p"), "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are "
    .. "available: 1 No preemption victims found for incoming pod.")
  add_node(call, "n2", { cpu = "4", memory = "8Gi", ["nvidia.com/gpu"] = "1" })
  test.equal(scheduled(call, "p"), "n2")
end)

case("all that is missing is said", function(call)
  add_node(call, "n1", { cpu = "1", memory = "1Gi" })
  make(call, "p", { cpu = "2", memory = "2Gi" })
  test.equal(refused(call, "p"):match "^[^.]*", "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory")
end)

case("an init container counts where it asks for more, and a sidecar always", function(call)
  add_node(call, "n1", { cpu = "3" })
  local function container(name, cpu, more)
    local one = { name = name, image = "busybox:1", resources = { requests = { cpu = cpu } } }
    for key, value in pairs(more or {}) do one[key] = value end
    return one
  end
  local always = { restartPolicy = "Always" }
  make(call, "a", nil, { containers = { container("main", "1") }, initContainers = { container("init", "4") } })
  test.equal(refused(call, "a"):find("Insufficient cpu", 1, true) ~= nil, true)
  make(call, "b", nil, { containers = { container("main", "2") },
    initContainers = { container("proxy", "1500m", always) } })
  test.equal(refused(call, "b"):find("Insufficient cpu", 1, true) ~= nil, true)
  make(call, "c", nil, { containers = { container("main", "1") },
    initContainers = { container("init", "2"), container("proxy", "1", always) } })
  test.equal(scheduled(call, "c"), "n1")
end)

case("a port of a node is given once", function(call)
  add_node(call, "n1", {})
  local function with_port(protocol)
    return { containers = { { name = "main", image = "busybox:1", ports = { { containerPort = 80, hostPort = 8080,
      protocol = protocol } } } } }
  end
  make(call, "a", nil, with_port "TCP")
  scheduled(call, "a")
  make(call, "b", nil, with_port "TCP")
  test.equal(refused(call, "b"):find("1 node(s) didn't have free ports for the requested pod ports.", 1, true) ~= nil,
    true)
  make(call, "c", nil, with_port "UDP")
  scheduled(call, "c")
end)

case("a pod that wants to be alone is left alone by those that come later", function(call)
  add_node(call, "n1", {}, { host = "n1" })
  make(call, "a", nil, { affinity = { podAntiAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { {
    topologyKey = "host", labelSelector = { matchLabels = { loud = "yes" } } } } } } })
  scheduled(call, "a")
  make(call, "b", nil, nil, { loud = "yes" })
  test.equal(refused(call, "b"):find("1 node(s) didn't satisfy existing pods anti-affinity rules.", 1, true) ~= nil,
    true)
end)

case("pods are spread over zones as evenly as is asked", function(call)
  add_node(call, "n1", { pods = "2" }, { zone = "a" })
  add_node(call, "n2", { pods = "1" }, { zone = "b" })
  add_node(call, "n3", {})
  local function spread()
    return { topologySpreadConstraints = { { topologyKey = "zone", maxSkew = 1, whenUnsatisfiable = "DoNotSchedule",
      labelSelector = { matchLabels = { app = "s" } } } } }
  end
  local on = {}
  for _, name in ipairs { "a", "b" } do
    make(call, name, nil, spread(), { app = "s" })
    on[scheduled(call, name)] = true
  end
  test.same(on, { n1 = true, n2 = true })
  make(call, "c", nil, spread(), { app = "s" })
  test.equal(scheduled(call, "c"), "n1")
  make(call, "d", nil, spread(), { app = "s" }) -- zone a is two, zone b is full
  test.equal(refused(call, "d"):match "^[^.]*", "0/3 nodes are available: 1 node(s) didn't match pod topology spread "
    .. "constraints (missing required label), 2 Too many pods")
  call("PATCH", "/api/v1/nodes/n1/status", { status = { allocatable = { pods = "5" } } })
  pods.eventually("the spread is why", function()
    return refused(call, "d"):find("1 node(s) didn't match pod topology spread constraints,", 1, true)
  end)
end)

case("pods of lower priority give way, the least important ones, and say why", function(call)
  for name, value in pairs { low = 10, middle = 20, high = 1000 } do
    call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", { metadata = { name = name }, value = value })
  end
  call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", { metadata = { name = "polite" }, value = 1000,
    preemptionPolicy = "Never" })
  add_node(call, "n1", { cpu = "2" })
  make(call, "a", { cpu = "1" }, { priorityClassName = "low" })
  make(call, "b", { cpu = "1" }, { priorityClassName = "middle" })
  scheduled(call, "a")
  scheduled(call, "b")
  make(call, "waits", { cpu = "1" }, { priorityClassName = "polite" })
  refused(call, "waits")
  make(call, "c", { cpu = "1" }, { priorityClassName = "high" })
  local victim = pods.eventually("one gives way", function()
    local pod = get(call, "a")
    return pod.metadata.deletionTimestamp and pod
  end)
  local why
  for _, one in ipairs(victim.status.conditions) do
    if one.type == "DisruptionTarget" then why = one.reason end
  end
  test.equal(why, "PreemptionByScheduler")
  test.equal(get(call, "b").metadata.deletionTimestamp, nil)
  test.equal(get(call, "c").status.nominatedNodeName, "n1")
  test.equal(pods.events(call, "Preempted")[1], ("Preempted by pod %s on node n1"):format(get(call, "c").metadata.uid))
  call("DELETE", pods.PODS .. "/waits")
  call("DELETE", pods.PODS .. "/a", { gracePeriodSeconds = 0 })
  test.equal(scheduled(call, "c"), "n1")
  test.equal(get(call, "c").status.nominatedNodeName, nil)
end)

case("a pod goes where it would rather be, though more is there", function(call)
  add_node(call, "n1", {}, { host = "n1" })
  add_node(call, "n2", {}, { host = "n2" })
  make(call, "a", nil, { nodeSelector = { host = "n1" } }, { app = "x" })
  for _, name in ipairs { "b", "c", "d" } do make(call, name, nil, { nodeSelector = { host = "n2" } }) end
  for _, name in ipairs { "a", "b", "c", "d" } do scheduled(call, name) end
  local function rather(kind)
    return { affinity = { [kind] = { preferredDuringSchedulingIgnoredDuringExecution = { { weight = 10,
      podAffinityTerm = { topologyKey = "host", labelSelector = { matchLabels = { app = "x" } } } } } } } }
  end
  make(call, "apart", nil, rather "podAntiAffinity")
  test.equal(scheduled(call, "apart"), "n2")
  make(call, "together", nil, rather "podAffinity")
  test.equal(scheduled(call, "together"), "n1")
  call("PATCH", "/api/v1/nodes/n1", { spec = { taints = { { key = "old", effect = "PreferNoSchedule" } } } })
  make(call, "new", nil)
  test.equal(scheduled(call, "new"), "n2")
end)
