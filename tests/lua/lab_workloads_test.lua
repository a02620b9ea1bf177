-- Controllers over pods: numbered ones, one on each node, jobs at times; nodes that are drained or lost.
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local APPS = "/apis/apps/v1/namespaces/default/"
local FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"

local function template(script, more)
  local spec = { terminationGracePeriodSeconds = 5, containers = { pods.shell(script or FOREVER, more) } }
  return { metadata = { labels = { app = "a" } }, spec = spec }
end

local function items(call, path)
  local list = {}
  for _, item in ipairs(call("GET", path).items) do
    if not item.metadata.deletionTimestamp then list[#list + 1] = item end
  end
  return list
end

local function names(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = item.metadata.name end
  table.sort(out)
  return table.concat(out, " ")
end

-- --- stateful sets ------------------------------------------------------------------------------------

local function stateful(replicas, script)
  return { metadata = { name = "db" }, spec = { replicas = replicas, serviceName = "db", selector = { matchLabels = {
    app = "a" } }, template = template(script, { volumeMounts = { { name = "data", mountPath = "/data" } } }),
    volumeClaimTemplates = { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" },
      resources = { requests = { storage = "1Gi" } } } } } } }
end

test("a stateful set makes its pods one after the other, with their names and claims, and takes the last away first",
  function()
    pods.with({}, function(_, call)
      call("POST", "/api/v1/namespaces/default/services", { metadata = { name = "db" }, spec = { clusterIP = "None",
        selector = { app = "a" }, ports = { { port = 80 } } } })
      call("POST", APPS .. "statefulsets", stateful(2))
      local function settled(count)
        return pods.eventually(count .. " are ready", function()
          local s = call("GET", APPS .. "statefulsets/db").status
          return s.readyReplicas == count and s.replicas == count and s
        end)
      end
      settled(2)
      test.equal(names(items(call, pods.PODS)), "db-0 db-1")
      local first, second = call("GET", pods.PODS .. "/db-0"), call("GET", pods.PODS .. "/db-1")
      test.equal(second.status.startTime >= first.status.containerStatuses[1].state.running.startedAt, true)
      test.equal(names(items(call, "/api/v1/namespaces/default/persistentvolumeclaims")), "data-db-0 data-db-1")
      test.same({ first.spec.hostname, first.spec.subdomain, first.metadata.labels["apps.kubernetes.io/pod-index"] },
        { "db-0", "db", "0" })
      local set = call("GET", APPS .. "statefulsets/db")
      set.spec.replicas = 1
      call("PUT", APPS .. "statefulsets/db", set)
      settled(1)
      test.equal(names(items(call, pods.PODS)), "db-0")
      test.equal(#items(call, "/api/v1/namespaces/default/persistentvolumeclaims"), 2) -- claims stay
    end)
  end)

test("a pod of a stateful set is known to others by its own name, and a new one finds the data of the old one",
  function()
    pods.with({}, function(cluster, call)
      call("POST", "/api/v1/namespaces/default/services", { metadata = { name = "db" }, spec = { clusterIP = "None",
        selector = { app = "a" }, ports = { { port = 80 } } } })
      call("POST", APPS .. "statefulsets", stateful(1, "echo $HOSTNAME >>$KFHOST_ROOT/data/x; cat $KFHOST_ROOT/data/x; "
        .. FOREVER))
      local old = pods.ready(call, "db-0")
      pods.eventually("its address has its name", function()
        local subsets = call("GET", "/api/v1/namespaces/default/endpoints/db").subsets
        return subsets and subsets[1].addresses and subsets[1].addresses[1].hostname == "db-0"
      end)
      local printed = pods.run(cluster, call, "asker", pods.shell "getent hosts db-0.db.default.svc.cluster.local")
      test.equal(printed:match "^%S+", old.status.podIP)
      call("DELETE", pods.PODS .. "/db-0")
      pods.eventually("there is a new one", function()
        local ok, new = pcall(call, "GET", pods.PODS .. "/db-0")
        return ok and new.metadata.uid ~= old.metadata.uid and pods.log(cluster, "db-0") == "db-0\ndb-0\n"
      end)
    end)
  end)

test("a new template replaces a stateful set's pods from the last one down to the partition", function()
  pods.with({}, function(_, call)
    local set = stateful(2)
    set.spec.volumeClaimTemplates, set.spec.template.spec.containers[1].volumeMounts = nil, nil
    set.spec.updateStrategy = { type = "RollingUpdate", rollingUpdate = { partition = 1 } }
    call("POST", APPS .. "statefulsets", set)
    local function ready(updated)
      return pods.eventually("they are ready", function()
        local s = call("GET", APPS .. "statefulsets/db").status
        return s.readyReplicas == 2 and s.updatedReplicas == updated and s
      end)
    end
    ready(2)
    local object = call("GET", APPS .. "statefulsets/db")
    object.spec.template.metadata.annotations = { new = "yes" }
    call("PUT", APPS .. "statefulsets/db", object)
    local s = ready(1)
    test.equal(s.currentRevision ~= s.updateRevision, true)
    test.equal((call("GET", pods.PODS .. "/db-1").metadata.annotations or {}).new, "yes")
    test.equal((call("GET", pods.PODS .. "/db-0").metadata.annotations or {}).new, nil)
  end)
end)

-- --- daemon sets --------------------------------------------------------------------------------------

test("a daemon set has a pod on each node that it is for", function()
  pods.with({ nodes = 3 }, function(_, call)
    local spec = template()
    spec.spec.nodeSelector = { chosen = "yes" }
    local function label(name, value)
      local node = call("GET", "/api/v1/nodes/" .. name)
      node.metadata.labels.chosen = value
      call("PUT", "/api/v1/nodes/" .. name, node)
    end
    label("lab-1", "yes")
    label("lab-3", "yes")
    call("POST", APPS .. "daemonsets", { metadata = { name = "ds" }, spec = { template = spec,
      selector = { matchLabels = { app = "a" } } } })
    local function on(wanted)
      pods.eventually("pods are on " .. wanted, function()
        local list = {}
        for _, pod in ipairs(items(call, pods.PODS)) do list[#list + 1] = pod.spec.nodeName or "?" end
        table.sort(list)
        local s = call("GET", APPS .. "daemonsets/ds").status
        return table.concat(list, " ") == wanted and s.numberReady == #list and s.desiredNumberScheduled == #list
      end)
    end
    on "lab-1 lab-3"
    label("lab-2", "yes")
    on "lab-1 lab-2 lab-3"
    label("lab-1", nil)
    on "lab-2 lab-3"
  end)
end)

-- --- cron jobs ----------------------------------------------------------------------------------------

local CRON = "/apis/batch/v1/namespaces/default/cronjobs"
local JOBS = "/apis/batch/v1/namespaces/default/jobs"

test("a cron job makes a job when its time has come, named by it, and keeps as many as it is to", function()
  pods.with({}, function(cluster, call)
    call("POST", CRON, { metadata = { name = "c" }, spec = { schedule = "*/10 * * * *", successfulJobsHistoryLimit = 1,
      jobTemplate = { spec = { template = { spec = { restartPolicy = "Never",
        containers = { pods.shell "exit 0" } } } } } } })
    local made = {}
    for i = 1, 2 do
      cluster.skew = cluster.skew + 600
      local object = call("GET", CRON .. "/c")
      object.metadata.annotations = { look = tostring(i) }
      call("PUT", CRON .. "/c", object)
      local job = pods.eventually("a job is made and has ended", function()
        for _, one in ipairs(items(call, JOBS)) do
          if not made[one.metadata.name] and one.status.completionTime then return one end
        end
      end)
      made[job.metadata.name] = true
      local stamp = job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"]
      local time = require "lab.clock".parse(stamp)
      test.equal(job.metadata.name, ("c-%d"):format(time // 60))
      test.equal(time % 600, 0)
    end
    pods.eventually("the older one is forgotten", function() return #items(call, JOBS) == 1 end)
    pods.eventually("its success is known", function() return call("GET", CRON .. "/c").status.lastSuccessfulTime end)
  end)
end)

test("requests of processors add up as they are, and a node that is full takes no more", function()
  pods.with({}, function(_, call)
    local function ask(name, cpu)
      call("POST", pods.PODS, pods.pod(name, { terminationGracePeriodSeconds = 1, containers = { pods.shell(FOREVER, {
        resources = { requests = { cpu = cpu } } }) } }))
    end
    for i = 1, 9 do ask("small-" .. i, "100m") end
    for i = 1, 9 do pods.phase(call, "small-" .. i, "Running") end
    ask("large", "7200m")
    local text = pods.eventually("it is told that there is no room", function()
      for _, c in ipairs(call("GET", pods.PODS .. "/large").status.conditions or {}) do
        if c.type == "PodScheduled" and c.status == "False" then return c.message end
      end
    end)
    test.equal(text:find("1 Insufficient cpu", 1, true) ~= nil, true)
    call("DELETE", pods.PODS .. "/small-1")
    pods.phase(call, "large", "Running")
  end)
end)

-- --- nodes --------------------------------------------------------------------------------------------

local function deployment(replicas)
  return { metadata = { name = "d" }, spec = { replicas = replicas, selector = { matchLabels = { app = "a" } },
    template = template() } }
end

local function nodes_of(call)
  local list = {}
  for _, pod in ipairs(items(call, pods.PODS)) do list[#list + 1] = pod.spec.nodeName or "?" end
  table.sort(list)
  return table.concat(list, " ")
end

test("a node that is cordoned gets a taint and no more pods; a budget holds an eviction back", function()
  pods.with({ nodes = 2 }, function(cluster, call)
    local node = call("GET", "/api/v1/nodes/lab-1")
    node.spec.unschedulable = true
    call("PUT", "/api/v1/nodes/lab-1", node)
    pods.eventually("it is tainted", function()
      local taints = call("GET", "/api/v1/nodes/lab-1").spec.taints
      return taints and taints[1].key == "node.kubernetes.io/unschedulable"
    end)
    call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", { metadata = { name = "b" }, spec = {
      minAvailable = 2, selector = { matchLabels = { app = "a" } } } })
    call("POST", APPS .. "deployments", deployment(2))
    pods.eventually("both are ready", function()
      return call("GET", APPS .. "deployments/d").status.readyReplicas == 2 and nodes_of(call) == "lab-2 lab-2"
    end)
    pods.eventually("the budget has counted", function()
      return call("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b").status.currentHealthy == 2
    end)
    local pod = items(call, pods.PODS)[1]
    local path = pods.PODS .. "/" .. pod.metadata.name .. "/eviction"
    local body = { apiVersion = "policy/v1", kind = "Eviction", metadata = { name = pod.metadata.name } }
    local _, code, failure = cluster:call("POST", path, { body = body })
    test.same({ code, failure.reason }, { 429, "TooManyRequests" })
    local budget = call("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")
    budget.spec.minAvailable = 1
    call("PUT", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b", budget)
    pods.eventually("the pod is evicted", function()
      return select(2, cluster:call("POST", path, { body = body })) < 300
    end)
    pods.eventually("another one has taken its place", function()
      local list = items(call, pods.PODS)
      return #list == 2 and list[1].metadata.name ~= pod.metadata.name and list[2].metadata.name ~= pod.metadata.name
    end)
  end)
end)

test("a lost node's pods are not ready, and leave it when their patience is over; others take their place", function()
  pods.with({ nodes = 2 }, function(cluster, call)
    call("POST", APPS .. "deployments", deployment(1))
    pods.eventually("it is ready", function() return call("GET", APPS .. "deployments/d").status.readyReplicas == 1 end)
    local old = items(call, pods.PODS)[1]
    require "lab.faults".command(cluster, { kind = "node-loss", match = old.spec.nodeName })
    local node = pods.eventually("the node is tainted", function()
      local object = call("GET", "/api/v1/nodes/" .. old.spec.nodeName)
      return object.spec.taints and #object.spec.taints == 2 and object
    end)
    test.same({ node.spec.taints[1].key, node.spec.taints[2].effect },
      { "node.kubernetes.io/unreachable", "NoExecute" })
    local other = old.spec.nodeName == "lab-1" and "lab-2" or "lab-1"
    pods.eventually("it runs elsewhere", function() -- 300 s, scaled to 3
      return nodes_of(call) == other and call("GET", APPS .. "deployments/d").status.readyReplicas == 1
    end)
    test.equal(call("GET", pods.PODS .. "/" .. old.metadata.name).metadata.deletionTimestamp ~= nil, true)
    test.equal(#pods.events(call, "TaintManagerEviction"), 1)
    require "lab.faults".command(cluster, { kind = "clear" })
    pods.eventually("the old one has ended, and the node is as before", function()
      local taints = call("GET", "/api/v1/nodes/" .. old.spec.nodeName).spec.taints
      return not cluster.store:collection("pods"):get("default", old.metadata.name) and not (taints and taints[1])
    end)
  end)
end)

test("vSphere: a volume of a lost node is detached by force after six minutes", function()
  pods.with({ nodes = 2, profile = "vsphere", time_scale = 0.005 }, function(cluster, call)
    call("POST", "/api/v1/namespaces/default/persistentvolumeclaims", { metadata = { name = "c" }, spec = {
      accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } })
    local spec = template()
    spec.spec.volumes = { { name = "v", persistentVolumeClaim = { claimName = "c" } } }
    local wanted = deployment(1)
    wanted.spec.template = spec
    call("POST", APPS .. "deployments", wanted)
    pods.eventually("it is ready", function() return call("GET", APPS .. "deployments/d").status.readyReplicas == 1 end)
    local old = items(call, pods.PODS)[1]
    require "lab.faults".command(cluster, { kind = "node-loss", match = old.spec.nodeName })
    local text = pods.eventually("the new pod is told", function()
      return pods.events(call, "FailedAttachVolume")[1]
    end)
    test.equal(text:match "^Multi%-Attach error for volume" ~= nil, true)
    pods.eventually("it has the volume", function()
      return call("GET", APPS .. "deployments/d").status.readyReplicas == 1
        and call("GET", "/apis/storage.k8s.io/v1/volumeattachments").items[1].spec.nodeName ~= old.spec.nodeName
    end)
  end)
end)

test("vSphere: a node takes no more volumes than its limit", function()
  pods.with({ nodes = 1, profile = "vsphere" }, function(cluster, call)
    cluster.volumes.profile = setmetatable({ attach_limit = 1 }, { __index = cluster.volumes.profile })
    for _, name in ipairs { "one", "two" } do
      call("POST", "/api/v1/namespaces/default/persistentvolumeclaims", { metadata = { name = name }, spec = {
        accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } })
      call("POST", pods.PODS, pods.pod(name, { terminationGracePeriodSeconds = 1, volumes = { { name = "v",
        persistentVolumeClaim = { claimName = name } } }, containers = { pods.shell(FOREVER, {
          volumeMounts = { { name = "v", mountPath = "/data" } } }) } }))
      if name == "one" then pods.ready(call, "one") end
    end
    local text = pods.eventually("the second is told why", function()
      for _, c in ipairs(call("GET", pods.PODS .. "/two").status.conditions or {}) do
        if c.type == "PodScheduled" and c.status == "False" then return c.message end
      end
    end)
    test.equal(text:find("node(s) exceed max volume count", 1, true) ~= nil, true)
    call("DELETE", pods.PODS .. "/one")
    pods.ready(call, "two")
  end)
end)
