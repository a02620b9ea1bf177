-- What goes with what in the lab: the garbage collector, on maps that own each other.
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local MAPS = "/api/v1/namespaces/default/configmaps"

local function case(name, run) test(name, function() pods.with({ nodes = 0 }, run) end) end

local function owner(object, more)
  local reference = { apiVersion = "v1", kind = "ConfigMap", name = object.metadata.name, uid = object.metadata.uid }
  for key, value in pairs(more or {}) do reference[key] = value end
  return reference
end

local function make(call, name, owners, finalizers)
  return call("POST", MAPS, { metadata = { name = name, ownerReferences = owners, finalizers = finalizers } })
end

local function get(call, name)
  local ok, object = pcall(call, "GET", MAPS .. "/" .. name)
  return ok and object or nil
end

local function gone(call, name)
  pods.eventually(name .. " is gone", function() return get(call, name) == nil end)
end

local function delete(call, name, policy)
  call("DELETE", MAPS .. "/" .. name, { propagationPolicy = policy })
end

local function owners_of(call, name)
  local names = {}
  for i, one in ipairs(get(call, name).metadata.ownerReferences or {}) do names[i] = one.name end
  return table.concat(names, " ")
end

case("what is owned goes after its owner, and what that owns too", function(_, call)
  local a = make(call, "a")
  local b = make(call, "b", { owner(a) })
  make(call, "c", { owner(b) })
  delete(call, "a", "Background")
  gone(call, "b")
  gone(call, "c")
end)

case("deleted in the foreground, an owner stays until those that block it are gone", function(_, call)
  local a = make(call, "a")
  make(call, "b", { owner(a, { blockOwnerDeletion = true }) }, { "example.com/hold" })
  make(call, "c", { owner(a) }, { "example.com/hold" })
  delete(call, "a", "Foreground")
  pods.eventually("both are leaving", function()
    return get(call, "b").metadata.deletionTimestamp and get(call, "c").metadata.deletionTimestamp
  end)
  test.same(get(call, "a").metadata.finalizers, { "foregroundDeletion" })
  call("PATCH", MAPS .. "/b", { metadata = { finalizers = {} } })
  gone(call, "a")
  test.equal(get(call, "c") ~= nil, true)
end)

case("what has another owner stays, and forgets the one that goes, in the foreground too", function(_, call)
  for _, policy in ipairs { "Background", "Foreground" } do
    local a = make(call, "a-" .. policy:lower())
    local b = make(call, "b-" .. policy:lower())
    make(call, "c-" .. policy:lower(), { owner(a, { blockOwnerDeletion = true }), owner(b) })
    delete(call, "a-" .. policy:lower(), policy)
    gone(call, "a-" .. policy:lower())
    pods.eventually("it has one owner", function()
      return owners_of(call, "c-" .. policy:lower()) == "b-" .. policy:lower()
    end)
    test.equal(get(call, "c-" .. policy:lower()).metadata.deletionTimestamp, nil)
  end
end)

case("orphans stay, without their owner", function(_, call)
  local a = make(call, "a")
  make(call, "b", { owner(a) })
  delete(call, "a", "Orphan")
  gone(call, "a")
  test.equal(owners_of(call, "b"), "")
end)

case("who names an owner that never was goes; what cannot be known of an owner holds nobody", function(_, call)
  local nobody = { metadata = { name = "x", uid = "b1b2b3b4-0000-0000-0000-000000000000" } }
  make(call, "unknown", { owner(nobody, { apiVersion = "example.com/v1", kind = "Thing" }) })
  call("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", { metadata = { name = "wide", ownerReferences = {
    (owner((make(call, "a")))) } }, rules = {} })
  make(call, "b", { owner(nobody) })
  gone(call, "b")
  delete(call, "a", "Background")
  gone(call, "a")
  test.equal(get(call, "unknown") ~= nil, true)
  test.equal(call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/wide").metadata.deletionTimestamp, nil)
end)

case("an owner in another namespace is none", function(_, call)
  local a = call("POST", "/api/v1/namespaces/kube-system/configmaps", { metadata = { name = "a" } })
  make(call, "b", { owner(a) })
  gone(call, "b")
end)

case("a deployment deleted in the foreground goes after its sets and pods", function(_, call)
  local path = "/apis/apps/v1/namespaces/default/deployments"
  call("POST", path, { metadata = { name = "d" }, spec = { replicas = 1, selector = { matchLabels = { app = "d" } },
    template = { metadata = { labels = { app = "d" } }, spec = { containers = { { name = "m",
      image = "x:1" } } } } } })
  local pod = pods.eventually("its pod is there", function() return call("GET", pods.PODS).items[1] end)
  pods.bind(call, pod.metadata.name)
  pods.set_status(call, pod.metadata.name, pods.running())
  call("DELETE", path .. "/d", { propagationPolicy = "Foreground" })
  pods.eventually("the pod is leaving", function()
    return call("GET", pods.PODS .. "/" .. pod.metadata.name).metadata.deletionTimestamp
  end)
  test.same(call("GET", path .. "/d").metadata.finalizers, { "foregroundDeletion" })
  call("DELETE", pods.PODS .. "/" .. pod.metadata.name, { gracePeriodSeconds = 0 })
  pods.eventually("all is gone", function()
    local sets = call("GET", "/apis/apps/v1/namespaces/default/replicasets").items
    return #sets == 0 and not pcall(call, "GET", path .. "/d")
  end)
end)

case("a namespace's pods go first, and what they may need when they are gone", function(_, call)
  call("POST", "/api/v1/namespaces", { metadata = { name = "n" } })
  pods.eventually("it has its account", function()
    return pcall(call, "GET", "/api/v1/namespaces/n/serviceaccounts/default")
  end)
  local path = "/api/v1/namespaces/n/"
  call("POST", path .. "configmaps", { metadata = { name = "needed" } })
  call("POST", path .. "pods", { metadata = { name = "p" }, spec = { containers = { { name = "m", image = "x:1" } } } })
  call("POST", path .. "pods/p/binding", { metadata = { name = "p" }, target = { kind = "Node", name = "n1" } })
  call("DELETE", "/api/v1/namespaces/n")
  local text = pods.eventually("it says what remains", function()
    for _, one in ipairs(call("GET", "/api/v1/namespaces/n").status.conditions or {}) do
      if one.type == "NamespaceContentRemaining" and one.status == "True" then return one.message end
    end
  end)
  test.equal(text, "Some resources are remaining: pods. has 1 resource instances")
  test.equal(call("GET", path .. "configmaps/needed").metadata.deletionTimestamp, nil)
  call("DELETE", path .. "pods/p", { gracePeriodSeconds = 0 })
  pods.eventually("it is gone", function() return not pcall(call, "GET", "/api/v1/namespaces/n") end)
end)
