-- The lab's deployments and replica sets, with no nodes: the test says what becomes of each pod, as a kubelet would.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local APPS = "/apis/apps/v1/namespaces/default/"
local DEPLOYMENT = APPS .. "deployments/d"

local function deployment(spec, image)
  spec.selector = { matchLabels = { app = "d" } }
  spec.template = { metadata = { labels = { app = "d" } }, spec = { containers = { { name = "main",
    image = image or "x:1" } } } }
  return { metadata = { name = "d" }, spec = spec }
end

local function set_image(call, image)
  call("PATCH", DEPLOYMENT, { spec = { template = { spec = { containers = { { name = "main", image = image } } } } } })
end

local function image_of(object) return object.spec.containers[1].image end

local function live(call, image)
  local list = {}
  for _, pod in ipairs(call("GET", pods.PODS).items) do
    if not pod.metadata.deletionTimestamp and (not image or image_of(pod) == image) then list[#list + 1] = pod end
  end
  return list
end

local function wait_live(call, count, image)
  return pods.eventually(("%d pods of %s"):format(count, image or "any"), function()
    local list = live(call, image)
    return #list == count and list
  end)
end

local function make_ready(call, list)
  for _, pod in ipairs(list) do
    if (pod.spec.nodeName or "") == "" then pods.bind(call, pod.metadata.name) end
    pods.set_status(call, pod.metadata.name, pods.running())
  end
end

local function condition(object, kind)
  for _, one in ipairs(object.status.conditions or {}) do
    if one.type == kind then return one end
  end
end

-- The deployment when one of its conditions has a status and a reason.
local function says(call, kind, status, reason)
  return pods.eventually(kind .. " is " .. status .. " for " .. reason, function()
    local object = call("GET", DEPLOYMENT)
    local one = condition(object, kind)
    return one and one.status == status and one.reason == reason and object
  end)
end

local function complete(call, count, image)
  make_ready(call, wait_live(call, count, image))
  return says(call, "Progressing", "True", "NewReplicaSetAvailable")
end

local function sets(call)
  local by_image = {}
  for _, set in ipairs(call("GET", APPS .. "replicasets").items) do
    by_image[image_of(set.spec.template)] = set
  end
  return by_image
end

local function case(name, run) test(name, function() pods.with({ nodes = 0 }, run) end) end

-- --- how far a rollout is -------------------------------------------------------------------------------

case("a rollout says how it begins, goes on and ends; a pod lost later does not begin another", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 2 })
  wait_live(call, 2)
  local name = sets(call)["x:1"].metadata.name
  local d = call("GET", DEPLOYMENT)
  test.equal(condition(d, "Available").reason, "MinimumReplicasUnavailable")
  make_ready(call, { live(call)[1] })
  d = says(call, "Progressing", "True", "ReplicaSetUpdated")
  test.equal(condition(d, "Progressing").message, ('ReplicaSet "%s" is progressing.'):format(name))
  d = complete(call, 2)
  test.equal(condition(d, "Progressing").message, ('ReplicaSet "%s" has successfully progressed.'):format(name))
  test.same({ d.status.replicas, d.status.updatedReplicas, d.status.availableReplicas, d.status.unavailableReplicas },
    { 2, 2, 2 })
  call("DELETE", pods.PODS .. "/" .. live(call)[1].metadata.name, { gracePeriodSeconds = 0 })
  d = says(call, "Available", "False", "MinimumReplicasUnavailable")
  test.equal(condition(d, "Progressing").reason, "NewReplicaSetAvailable")
end)

case("a rollout without progress for its time has failed, until there is progress", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1, progressDeadlineSeconds = 50 })
  wait_live(call, 1)
  local d = says(call, "Progressing", "False", "ProgressDeadlineExceeded")
  test.equal(condition(d, "Progressing").message:match "has timed out progressing%.$" ~= nil, true)
  complete(call, 1)
end)

case("pods count as available when they have been ready for as long as is asked", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1, minReadySeconds = 100000,
    progressDeadlineSeconds = 200000 })
  make_ready(call, wait_live(call, 1))
  local d = pods.eventually("it is ready", function()
    local object = call("GET", DEPLOYMENT)
    return object.status.readyReplicas == 1 and object
  end)
  test.same({ d.status.availableReplicas, d.status.unavailableReplicas }, { nil, 1 })
  call("PATCH", DEPLOYMENT, { spec = { minReadySeconds = 100 } })
  d = says(call, "Progressing", "True", "NewReplicaSetAvailable")
  test.equal(d.status.availableReplicas, 1)
end)

case("why pods cannot be made is said by the set and by the deployment", function(_, call)
  call("POST", "/api/v1/namespaces/default/resourcequotas", { metadata = { name = "q" }, spec = { hard = {
    pods = "1" } } })
  call("POST", APPS .. "deployments", deployment { replicas = 2 })
  local d = says(call, "ReplicaFailure", "True", "FailedCreate")
  test.equal(condition(d, "ReplicaFailure").message:find("exceeded quota: q", 1, true) ~= nil, true)
  pods.settled(call, APPS .. "replicasets") -- tries that fail are no changes
  test.equal(#pods.events(call, "FailedCreate") < 20, true)
  call("PATCH", "/api/v1/namespaces/default/resourcequotas/q", { spec = { hard = { pods = "5" } } })
  wait_live(call, 2)
  pods.eventually("nothing fails", function() return not condition(call("GET", DEPLOYMENT), "ReplicaFailure") end)
end)

-- --- templates ------------------------------------------------------------------------------------------

case("with Recreate no new pod is made before the old ones are gone, those on their way out too", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1, strategy = { type = "Recreate" } })
  complete(call, 1)
  local old = live(call)[1].metadata.name
  set_image(call, "x:2")
  pods.eventually("the old one is on its way", function()
    return call("GET", pods.PODS .. "/" .. old).metadata.deletionTimestamp
  end)
  pods.settled(call, APPS .. "replicasets")
  test.same({ #live(call), sets(call)["x:2"] }, { 0 })
  call("DELETE", pods.PODS .. "/" .. old, { gracePeriodSeconds = 0 })
  test.equal(image_of(complete(call, 1, "x:2").spec.template), "x:2")
end)

case("revisions, and what is noted of a change, stand at the sets; an old template's set gets a new number",
  function(_, call)
    call("POST", APPS .. "deployments", deployment { replicas = 1 })
    complete(call, 1)
    local function note(text)
      call("PATCH", DEPLOYMENT, { metadata = { annotations = { ["kubernetes.io/change-cause"] = text } } })
    end
    local function noted(image, field)
      local set = sets(call)[image]
      return set and (set.metadata.annotations or {})[field]
    end
    note "first"
    pods.eventually("it is noted", function() return noted("x:1", "kubernetes.io/change-cause") == "first" end)
    set_image(call, "x:2")
    note "second"
    complete(call, 1, "x:2")
    test.equal(noted("x:1", "kubernetes.io/change-cause"), "first")
    local REVISION = "deployment.kubernetes.io/revision"
    pods.eventually("the second is", function() return noted("x:2", "kubernetes.io/change-cause") == "second" end)
    local function revision() return call("GET", DEPLOYMENT).metadata.annotations[REVISION] end
    test.same({ noted("x:1", REVISION), noted("x:2", REVISION), revision() }, { "1", "2", "2" })
    set_image(call, "x:1") -- as kubectl rollout undo does
    complete(call, 1, "x:1")
    test.same({ noted("x:1", REVISION), noted("x:1", "deployment.kubernetes.io/revision-history"), revision() },
      { "3", "1", "3" })
  end)

case("a paused deployment changes no template, but its size", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1 })
  complete(call, 1)
  call("PATCH", DEPLOYMENT, { spec = { paused = true } })
  local d = says(call, "Progressing", "Unknown", "DeploymentPaused")
  test.equal(condition(d, "Progressing").message, "Deployment is paused")
  set_image(call, "x:2")
  call("PATCH", DEPLOYMENT, { spec = { replicas = 2 } })
  wait_live(call, 2, "x:1")
  test.equal(sets(call)["x:2"], nil)
  call("PATCH", DEPLOYMENT, { spec = { paused = json.null } })
  wait_live(call, 1, "x:2")
end)

case("another size in the middle of a rollout is shared by the old pods and the new", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 10, strategy = { type = "RollingUpdate", rollingUpdate = {
    maxSurge = 3, maxUnavailable = 2 } } })
  complete(call, 10)
  set_image(call, "x:2")
  wait_live(call, 8, "x:1")
  wait_live(call, 5, "x:2")
  call("PATCH", DEPLOYMENT, { spec = { replicas = 15 } })
  wait_live(call, 11, "x:1")
  wait_live(call, 7, "x:2")
end)

-- --- replica sets ---------------------------------------------------------------------------------------

case("of pods that are alike the cheaper one is given up first, then one that shares its node", function(_, call)
  call("POST", APPS .. "replicasets", { metadata = { name = "r" }, spec = { replicas = 4, selector = { matchLabels = {
    app = "r" } }, template = { metadata = { labels = { app = "r" } }, spec = { containers = { { name = "main",
      image = "x:1" } } } } } })
  local list = wait_live(call, 4)
  local nodes = { "n1", "n1", "n2", "n3" }
  for i, pod in ipairs(list) do
    pods.bind(call, pod.metadata.name, nodes[i])
    pods.set_status(call, pod.metadata.name, pods.running())
  end
  call("PATCH", pods.PODS .. "/" .. list[3].metadata.name, { metadata = { annotations = {
    ["controller.kubernetes.io/pod-deletion-cost"] = "-10" } } })
  local function left(count)
    local names = {}
    for _, pod in ipairs(wait_live(call, count)) do names[pod.metadata.name] = true end
    local out = {}
    for i, pod in ipairs(list) do out[i] = names[pod.metadata.name] and 1 or 0 end
    return table.concat(out)
  end
  call("PATCH", APPS .. "replicasets/r", { spec = { replicas = 3 } })
  test.equal(left(3), "1101")
  call("PATCH", APPS .. "replicasets/r", { spec = { replicas = 2 } })
  local two = left(2)
  test.equal(two == "1001" or two == "0101", true)
end)

case("a pod whose labels are changed leaves its set, which makes another; it may be taken back", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1 })
  local pod = wait_live(call, 1)[1].metadata.name
  call("PATCH", pods.PODS .. "/" .. pod, { metadata = { labels = { app = "debug" } } })
  wait_live(call, 2)
  pods.eventually("it belongs to nobody", function()
    return not call("GET", pods.PODS .. "/" .. pod).metadata.ownerReferences
  end)
  call("PATCH", pods.PODS .. "/" .. pod, { metadata = { labels = { app = "d" } } })
  wait_live(call, 1)
end)

case("sets that nobody owns and that match are taken by the deployment", function(_, call)
  call("POST", APPS .. "deployments", deployment { replicas = 1 })
  wait_live(call, 1)
  call("DELETE", DEPLOYMENT, { propagationPolicy = "Orphan" })
  pods.eventually("the set is an orphan", function()
    local set = sets(call)["x:1"]
    return not set.metadata.ownerReferences
  end)
  local uid = sets(call)["x:1"].metadata.uid
  call("POST", APPS .. "deployments", deployment { replicas = 1 })
  pods.eventually("it is taken", function()
    local set = sets(call)["x:1"]
    return set.metadata.ownerReferences and set.metadata.uid == uid
  end)
  test.equal(#live(call), 1)
end)
