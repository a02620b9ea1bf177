-- Pods as processes: the tests run in the lab's own process, without a server.
local json = require "json"
local test = require "test"
local pods = dofile "tests/lua/support/pods.lua"

local with_lab = pods.with
local function eventually(what, check) return pods.eventually(what, check, 30) end

local PODS = "/api/v1/namespaces/default/pods"
local JOBS = "/apis/batch/v1/namespaces/default/jobs"

local function shell(script, more)
  local container = { name = "main", image = "busybox:1", command = { "sh", "-c", script } }
  for key, value in pairs(more or {}) do container[key] = value end
  return container
end

local function pod(name, spec, labels)
  spec.restartPolicy = spec.restartPolicy or "Never"
  return { metadata = { name = name, labels = labels }, spec = spec }
end

local function phase(call, name, wanted)
  return eventually(name .. " is " .. wanted, function()
    local object = call("GET", PODS .. "/" .. name)
    return object.status.phase == wanted and object
  end)
end

local function log(cluster, name, container)
  return cluster:handle { method = "GET", path = PODS .. "/" .. name .. "/log", internal = true, headers = {},
                          query = container and "container=" .. container }.body
end

for _, plain in ipairs { false, true } do
  local how = plain and " (plain processes)" or " (in namespaces)"

  test("a pod runs a command and ends with its code, its log and its message" .. how, function()
    with_lab({ plain = plain }, function(cluster, call)
      local say = 'echo one; echo two >&2; printf done > "${KFHOST_ROOT}/dev/termination-log"; exit 3'
      call("POST", PODS, pod("p", { containers = { shell(say) } }))
      local ended = phase(call, "p", "Failed")
      local state = ended.status.containerStatuses[1].state.terminated
      test.same({ state.exitCode, state.reason, state.message }, { 3, "Error", "done" })
      test.equal(log(cluster, "p"), "one\ntwo\n")
    end)
  end)

  test("nothing is left of a pod: what has gone into the background ends with it" .. how, function()
    local mark = "left-" .. require "hash".random_hex(8)
    local function left()
      for _, name in ipairs(require "fs".list "/proc") do
        local ok, text = pcall(require "fs".read, "/proc/" .. name .. "/cmdline")
        if ok and name:match "^%d+$" and text:find(mark, 1, true) then return true end
      end
      return false
    end
    local script = ("setsid sh -c 'while :; do sleep 1; done' %s & sh -c 'while :; do sleep 1; done' %s & echo up; "
      .. "sleep 1000"):format(mark, mark)
    with_lab({ plain = plain }, function(cluster, call)
      for _, name in ipairs { "deleted", "stopped" } do
        call("POST", PODS, pod(name, { terminationGracePeriodSeconds = 1, containers = { shell(script) } }))
        eventually("it is up", function() return log(cluster, name) == "up\n" and left() end)
      end
      call("DELETE", PODS .. "/deleted")
      eventually("it is gone", function() return not cluster.store:collection("pods"):get("default", "deleted") end)
    end) -- the other one ends with the lab
    for _ = 1, 2000 do
      if not left() then break end
      require "proc".run { "sleep", "0.01" }
    end
    test.equal(left(), false)
  end)

  test("a container sees its variables, its config and its own token, and nothing of this user's" .. how, function()
    with_lab({ plain = plain }, function(cluster, call)
      call("POST", "/api/v1/namespaces/default/configmaps", { metadata = { name = "c" }, data = { key = "value" } })
      call("POST", PODS, pod("p", {
        volumes = { { name = "v", configMap = { name = "c" } } },
        containers = { shell('echo "$A $B $NAME $USER"; cat "$KFHOST_ROOT/config/key"; echo; '
          .. 'test -s "$KFHOST_ROOT/var/run/secrets/kubernetes.io/serviceaccount/token" && echo token', {
          env = { { name = "A", value = "a" }, { name = "B", value = "$(A)b" },
                  { name = "NAME", valueFrom = { fieldRef = { fieldPath = "metadata.name" } } } },
          volumeMounts = { { name = "v", mountPath = "/config" } } }) },
      }))
      phase(call, "p", "Succeeded")
      test.equal(log(cluster, "p"), "a ab p \nvalue\ntoken\n")
    end)
  end)

  test("a job with an init container, a native sidecar and two retries completes" .. how, function()
    with_lab({ plain = plain }, function(_, call)
      local fails_twice = 'n=$(cat "$KFHOST_ROOT/work/n" 2>/dev/null || echo 0); n=$((n+1)); '
        .. 'echo $n > "$KFHOST_ROOT/work/n"; test $n -ge 3'
      call("POST", JOBS, { metadata = { name = "j" }, spec = { backoffLimit = 3, template = { spec = {
        restartPolicy = "OnFailure", volumes = { { name = "work", emptyDir = json.object {} } },
        initContainers = {
          { name = "first", image = "busybox", command = { "sh", "-c", "exit 0" } },
          { name = "side", image = "busybox", restartPolicy = "Always",
            command = { "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done" } } },
        containers = { shell(fails_twice, { volumeMounts = { { name = "work", mountPath = "/work" } } }) },
      } } } })
      local job = eventually("the job is complete", function()
        local object = call("GET", JOBS .. "/j")
        return object.status.completionTime and object
      end)
      local kinds = {}
      for i, condition in ipairs(job.status.conditions) do kinds[i] = condition.type end
      test.same(kinds, { "SuccessCriteriaMet", "Complete" })
      test.equal(job.status.succeeded, 1)
      local made = call("GET", PODS).items[1]
      test.equal(made.status.containerStatuses[1].restartCount, 2)
      test.equal(made.status.initContainerStatuses[2].state.terminated ~= nil, true)
    end)
  end)
end

test("a job with a classic sidecar that never ends stays running", function()
  with_lab({}, function(_, call)
    call("POST", JOBS, { metadata = { name = "j" }, spec = { template = { spec = {
      restartPolicy = "Never", containers = { shell "exit 0", shell("sleep 1000", { name = "side" }) } } } } })
    eventually("the main container has ended", function()
      local item = call("GET", PODS).items[1]
      for _, s in ipairs(item and item.status.containerStatuses or {}) do
        if s.name == "main" and s.state.terminated then return true end
      end
    end)
    local job = call("GET", JOBS .. "/j")
    test.equal(job.status.active, 1)
    test.equal(job.status.completionTime, nil)
  end)
end)

test("an unknown image says how it is mapped", function()
  with_lab({}, function(_, call)
    call("POST", PODS, pod("p", { containers = { { name = "main", image = "registry.example/app:1" } } }))
    local waiting = eventually("it waits for its image", function()
      local s = call("GET", PODS .. "/p").status.containerStatuses
      return s and s[1].state.waiting and s[1].state.waiting.message and s[1].state.waiting
    end)
    test.equal(waiting.reason == "ErrImagePull" or waiting.reason == "ImagePullBackOff", true)
    test.equal(waiting.message:find("lab/images.lua", 1, true) ~= nil, true)
  end)
end)

test("a deleted pod gets its grace and is gone", function()
  with_lab({}, function(cluster, call)
    call("POST", PODS, pod("p", { terminationGracePeriodSeconds = 100,
      containers = { shell "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done" } }))
    eventually("it is up", function() return log(cluster, "p") == "up\n" end)
    call("DELETE", PODS .. "/p")
    eventually("it is gone", function()
      return cluster.store:collection("pods"):get("default", "p") == nil
    end)
  end)
end)

test("pods go to nodes that fit: selectors, taints, affinity", function()
  with_lab({ nodes = 3 }, function(_, call)
    local spec = { containers = { shell "exit 0" }, nodeSelector = { ["kubernetes.io/hostname"] = "lab-2" } }
    call("POST", PODS, pod("chosen", spec))
    test.equal(phase(call, "chosen", "Succeeded").spec.nodeName, "lab-2")
    call("POST", PODS, pod("nowhere", { containers = { shell "exit 0" }, nodeSelector = { no = "where" } }))
    local text = eventually("it is told why", function()
      for _, c in ipairs(call("GET", PODS .. "/nowhere").status.conditions or {}) do
        if c.type == "PodScheduled" and c.status == "False" then return c.message end
      end
    end)
    test.equal(text, "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 "
      .. "nodes are available: 3 Preemption is not helpful for scheduling.")
  end)
end)

test("a deployment makes pods, and a new template passes them on", function()
  with_lab({}, function(_, call)
    local function template(text)
      return { metadata = { labels = { app = "d" } }, spec = { containers = {
        shell(("trap 'exit 0' TERM; echo %s; while :; do sleep 0.05; done"):format(text)) } } }
    end
    local path = "/apis/apps/v1/namespaces/default/deployments"
    call("POST", path, { metadata = { name = "d" }, spec = { replicas = 2, template = template "one",
      selector = { matchLabels = { app = "d" } } } })
    local function done(generation)
      return eventually("it is rolled out", function()
        local s = call("GET", path .. "/d").status
        return s.observedGeneration == generation and s.updatedReplicas == 2 and s.availableReplicas == 2
          and s.replicas == 2
      end)
    end
    done(1)
    local object = call("GET", path .. "/d")
    object.spec.template = template "two"
    call("PUT", path .. "/d", object)
    done(2)
    local sets = call("GET", "/apis/apps/v1/namespaces/default/replicasets").items
    test.equal(#sets, 2)
  end)
end)

-- --- storage ----------------------------------------------------------------------------------------------

local CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"

local function claim(name, mode, class)
  return { metadata = { name = name }, spec = { accessModes = { mode }, storageClassName = class,
    resources = { requests = { storage = "1Gi" } } } }
end

local function with_claim(name, script, node)
  return { nodeSelector = node and { ["kubernetes.io/hostname"] = node } or nil,
    volumes = { { name = "v", persistentVolumeClaim = { claimName = name } } },
    containers = { shell(script, { volumeMounts = { { name = "v", mountPath = "/data" } } }) } }
end

local function events(call, reason)
  local list = {}
  for _, event in ipairs(call("GET", "/api/v1/namespaces/default/events").items) do
    if event.reason == reason then list[#list + 1] = event.message end
  end
  return list
end

test("what one pod writes to a claim the next one reads", function()
  with_lab({}, function(cluster, call)
    call("POST", CLAIMS, claim("c", "ReadWriteMany", "standard"))
    call("POST", PODS, pod("writer", with_claim("c", "echo kept > $KFHOST_ROOT/data/x")))
    phase(call, "writer", "Succeeded")
    call("POST", PODS, pod("reader", with_claim("c", "cat $KFHOST_ROOT/data/x")))
    phase(call, "reader", "Succeeded")
    test.equal(log(cluster, "reader"), "kept\n")
  end)
end)

test("vSphere: a shared claim on a block class stays pending, with the driver's text", function()
  with_lab({ profile = "vsphere", time_scale = 0.001 }, function(_, call)
    call("POST", CLAIMS, claim("c", "ReadWriteMany"))
    local text = eventually("the driver refuses", function() return events(call, "ProvisioningFailed")[1] end)
    test.equal(text:find('failed to provision volume with StorageClass "vsan-default-storage-policy": rpc error: '
      .. "code = DeadlineExceeded desc = failed to create volume", 1, true), 1)
    test.equal(call("GET", CLAIMS .. "/c").status.phase, "Pending")
  end)
end)

test("vSphere: two pods on two nodes that share a claim: multi-attach, until the first ends", function()
  with_lab({ profile = "vsphere", nodes = 2 }, function(_, call)
    call("POST", CLAIMS, claim("c", "ReadWriteOnce"))
    call("POST", PODS, pod("a", with_claim("c", "while ! test -e $KFHOST_ROOT/data/end; do sleep 0.02; done", "lab-1")))
    phase(call, "a", "Running")
    call("POST", PODS, pod("b", with_claim("c", "exit 0", "lab-2")))
    local text = eventually("it is told", function() return events(call, "FailedAttachVolume")[1] end)
    local volume = call("GET", CLAIMS .. "/c").spec.volumeName
    test.equal(text, ('Multi-Attach error for volume "%s" Volume is already used by pod(s) a'):format(volume))
    call("DELETE", PODS .. "/a", { gracePeriodSeconds = 0 })
    phase(call, "b", "Succeeded")
  end)
end)

test("a late class binds when a pod comes", function()
  with_lab({ profile = "vsphere" }, function(_, call)
    call("POST", CLAIMS, claim("c", "ReadWriteOnce", "vsan-default-storage-policy-latebinding"))
    eventually("it waits", function() return events(call, "WaitForFirstConsumer")[1] end)
    test.equal(call("GET", CLAIMS .. "/c").status.phase, "Pending")
    call("POST", PODS, pod("p", with_claim("c", "exit 0")))
    phase(call, "p", "Succeeded")
    test.equal(call("GET", CLAIMS .. "/c").status.phase, "Bound")
  end)
end)
