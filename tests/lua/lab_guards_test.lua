-- What holds pods back in the lab: disruption budgets and quotas. The test says what becomes of each pod.
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local CORE = "/api/v1/namespaces/default/"
local BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"

local function case(name, run) test(name, function() pods.with({ nodes = 0 }, run) end) end

local function deploy(call, replicas)
  call("POST", "/apis/apps/v1/namespaces/default/deployments", { metadata = { name = "d" }, spec = {
    replicas = replicas, selector = { matchLabels = { app = "d" } }, template = { metadata = { labels = { app = "d" } },
      spec = { containers = { { name = "main", image = "x:1" } } } } } })
  return pods.eventually("its pods are there", function()
    local list = call("GET", pods.PODS).items
    return #list == replicas and list
  end)
end

local function run(call, list)
  for _, pod in ipairs(list) do
    pods.bind(call, pod.metadata.name)
    pods.set_status(call, pod.metadata.name, pods.running())
  end
end

local function evict(cluster, name)
  local _, code, failure = cluster:call("POST", pods.PODS .. "/" .. name .. "/eviction", { body = {
    apiVersion = "policy/v1", kind = "Eviction", metadata = { name = name } } })
  local cause = failure and failure.details and failure.details.causes and failure.details.causes[1]
  return code, cause and cause.message or failure and failure.message
end

local function budget(call, spec)
  spec.selector = { matchLabels = { app = "d" } }
  call("POST", BUDGETS, { metadata = { name = "b" }, spec = spec })
end

local function allows(call, count)
  return pods.eventually(count .. " may go", function()
    local s = call("GET", BUDGETS .. "/b").status
    return s and s.disruptionsAllowed == count and s
  end)
end

case("a budget counts the pods that there are to be, and one eviction after the other", function(cluster, call)
  local list = deploy(call, 4)
  budget(call, { maxUnavailable = "25%" })
  run(call, { list[1], list[2], list[3] })
  allows(call, 0)
  pods.eventually("three are healthy", function() return call("GET", BUDGETS .. "/b").status.currentHealthy == 3 end)
  local s = call("GET", BUDGETS .. "/b").status
  test.same({ s.expectedPods, s.desiredHealthy }, { 4, 3 })
  run(call, { list[4] })
  allows(call, 1)
  test.equal(evict(cluster, list[1].metadata.name), 201)
  local code, why = evict(cluster, list[2].metadata.name) -- before any controller has looked
  test.equal(code, 429)
  test.equal(why:match "^The disruption budget b needs 3 healthy pods" ~= nil, true)
  test.equal(evict(cluster, list[1].metadata.name), 201) -- on its way anyhow
end)

case("a pod that serves nobody may be evicted when enough others serve, or always", function(cluster, call)
  local list = deploy(call, 2)
  run(call, list)
  budget(call, { minAvailable = 1 })
  allows(call, 1)
  local function fail(pod)
    local status = pods.running()
    status.conditions[1].status = "False"
    pods.set_status(call, pod.metadata.name, status)
  end
  fail(list[1])
  allows(call, 0)
  test.equal(evict(cluster, list[2].metadata.name), 429)
  test.equal(evict(cluster, list[1].metadata.name), 201)
  fail(list[2])
  pods.eventually("none is healthy", function() return call("GET", BUDGETS .. "/b").status.currentHealthy == 0 end)
  test.equal(evict(cluster, list[2].metadata.name), 429)
  call("PATCH", BUDGETS .. "/b", { spec = { unhealthyPodEvictionPolicy = "AlwaysAllow" } })
  pods.eventually("it has been seen", function()
    local object = call("GET", BUDGETS .. "/b")
    return object.status.observedGeneration == object.metadata.generation
  end)
  test.equal(evict(cluster, list[2].metadata.name), 201)
end)

case("a pod with two budgets is not evicted", function(cluster, call)
  local list = deploy(call, 1)
  run(call, list)
  for _, name in ipairs { "a", "b" } do
    call("POST", BUDGETS, { metadata = { name = name }, spec = { minAvailable = 0, selector = { matchLabels = {
      app = "d" } } } })
  end
  local code, why = evict(cluster, list[1].metadata.name)
  test.same({ code, why }, { 500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
    .. "not support." })
end)

case("a quota with a scope counts the pods of that scope only", function(cluster, call)
  call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", { metadata = { name = "high" }, value = 10 })
  call("POST", CORE .. "resourcequotas", { metadata = { name = "q" }, spec = { hard = { pods = "1" },
    scopeSelector = { matchExpressions = { { scopeName = "PriorityClass", operator = "In",
      values = { "high" } } } } } })
  call("POST", CORE .. "resourcequotas", { metadata = { name = "best" }, spec = { hard = { pods = "2" },
    scopes = { "BestEffort" } } })
  local function make(name, class, requests)
    local _, code, failure = cluster:call("POST", pods.PODS, { body = { metadata = { name = name }, spec = {
      priorityClassName = class, containers = { { name = "main", image = "x:1",
        resources = requests and { requests = { cpu = "1" } } } } } } })
    return code, failure and failure.message
  end
  test.equal(make("a"), 201)
  test.equal(make("b", "high", true), 201)
  test.equal(select(2, make("c", "high", true)),
    'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1')
  test.equal(make("d"), 201)
  test.equal(make("e", nil, true), 201)
  test.equal(make "f", 403)
  pods.eventually("both say so", function()
    local q, best = call("GET", CORE .. "resourcequotas/q").status, call("GET", CORE .. "resourcequotas/best").status
    return q.used and best.used and q.used.pods == "1" and best.used.pods == "2"
  end)
end)

case("each pod leaves a tainted node when its own patience is over", function(cluster, call)
  local node = call("POST", "/api/v1/nodes", { metadata = { name = "n1" } })
  node.status.conditions = { { type = "Ready", status = "True" } }
  call("PUT", "/api/v1/nodes/n1/status", node)
  local function make(name, seconds)
    call("POST", pods.PODS, { metadata = { name = name }, spec = { containers = { { name = "main", image = "x:1" } },
      tolerations = { { key = "bad", operator = "Exists", effect = "NoExecute", tolerationSeconds = seconds } } } })
    pods.bind(call, name)
    pods.set_status(call, name, pods.running())
  end
  make("a", 20)
  make("b", 100000)
  call("PATCH", "/api/v1/nodes/n1", { spec = { taints = { { key = "bad", effect = "NoExecute" } } } })
  pods.eventually("the first leaves", function() return call("GET", pods.PODS .. "/a").metadata.deletionTimestamp end)
  test.equal(call("GET", pods.PODS .. "/b").metadata.deletionTimestamp, nil)
  cluster:call("DELETE", pods.PODS .. "/a", { body = { gracePeriodSeconds = 0 } })
end)
