-- The words of the REPL for parts of objects, workloads and nodes; what runs in the background; forms and measures.
local test = require "test"
local support = dofile "tests/lua/support/repl.lua"
local contains = support.contains

local function deployment(name, image)
  return support.deployment(name, 2, image or "two")
end

local function revision_of(owner, revision, image)
  local set = deployment("web", image)
  set.kind, set.metadata.name = "ReplicaSet", "web-" .. revision
  set.metadata.annotations = { ["deployment.kubernetes.io/revision"] = tostring(revision) }
  set.metadata.ownerReferences = { { apiVersion = "apps/v1", kind = "Deployment", name = "web",
    uid = owner.metadata.uid, controller = true } }
  set.spec.template.metadata.labels["pod-template-hash"] = "h" .. revision
  return set
end

test("patch, label and annotate show the difference, ask, and are undone", function()
  local r = support.new()
  r:make(deployment "web")
  contains(r:type "patch deploy/web 'spec: {minReadySeconds: 5}'", "+  minReadySeconds: 5", "deploy/web patched")
  contains(r:type "label deploy/web team=a tier-", "+    team: a", "deploy/web labelled")
  contains(r:type "label deploy/web team- -y", "-    team: a")
  contains(r:type "annotate deploy/web note=a=b", "+    note: a=b", "annotated")
  test.equal(r.client:get("deployments", "web").metadata.annotations.note, "a=b")
  test.same(r.asked, { "patch deploy/web? [y/N] ", "label deploy/web? [y/N] ", "annotate deploy/web? [y/N] " })
  r:type "undo -y\nundo -y\nundo -y\nundo -y"
  local now = r.client:get("deployments", "web")
  test.equal(now.spec.minReadySeconds, nil)
  test.equal((now.metadata.labels or {}).team, nil)
  contains(r:type [[patch deploy/web '[{"op": "add", "path": "/spec/paused", "value": true}]' --type json -y]],
    "+  paused: true")
  contains(r:type "label deploy/web", "label KIND/NAME… KEY=VALUE")
  contains(r:type "patch deploy/web x", "the patch is no object")
end)

test("rollout: status waits, history lists, undo goes back, pause and resume", function()
  local r = support.new()
  local web = r:make(deployment "web")
  r:make(revision_of(web, 1, "one"))
  r:make(revision_of(web, 2, "two"))
  contains(r:type "rollout history deploy/web", "REVISION", "one", "two")
  contains(r:type "rollout undo deploy/web -y", "-      - image: two\n+      - image: one", "goes back to revision 1")
  local template = r.client:get("deployments", "web").spec.template
  test.same({ template.spec.containers[1].image, template.metadata.labels["pod-template-hash"] }, { "one" })
  contains(r:type "rollout undo deploy/web --to 7 -y", "no revision 7")
  contains(r:type "rollout pause deploy/web -y", "+  paused: true", "is paused")
  contains(r:type "rollout resume deploy/web -y", "-  paused: true", "goes on")
  contains(r:type "rollout('pause', client():get('deployments', 'web'), { yes = true })", "+  paused: true")
  contains(r:type "rollout resume deploy/web -y", "-  paused: true")
  r:type ":bg rollout status deploy/web"
  test.advance(1)
  contains(table.concat(r.printed), "0 of 2 updated, 0 ready")
  local now = r.client:get("deployments", "web")
  now.status = { observedGeneration = now.metadata.generation, replicas = 2, updatedReplicas = 2, readyReplicas = 2 }
  r.client:update(now, { subresource = "status", kind = "deployments" })
  test.advance(20)
  contains(table.concat(r.printed), "2 of 2 updated, 2 ready\n[1] done: rollout status deploy/web\n"
    .. "deploy/web is rolled out\n")
  contains(r:type "rollout status deploy/none", "NotFound")
  contains(r:type "rollout sideways deploy/web", "rollout status|history")
end)

test("cordon and drain: no new pods, a question that counts, daemon sets stay", function()
  local r = support.new()
  r:make { apiVersion = "v1", kind = "Node", metadata = { name = "n1" } }
  local function on_node(name, owners)
    r:make(support.pod(name, { owners = owners, status = { phase = "Running" }, spec = { nodeName = "n1",
      containers = { { name = "main", image = "busybox" } } } }))
  end
  on_node "web-1"
  on_node("agent-1", { { apiVersion = "apps/v1", kind = "DaemonSet", name = "agent", uid = "u" } })
  contains(r:type "cordon n1", "+  unschedulable: true", "takes no new pods")
  contains(r:type "uncordon n1", "takes pods again")
  contains(r:type "drain n1", "  Pod default/web-1\n", "n1 is drained, 1 evicted")
  test.equal(r.asked[3], "drain n1: evict 1 pod? [y/N] ")
  assert(r.client:get("nodes", "n1").spec.unschedulable)
  assert(r.client:get("pods", "agent-1"))
end)

test("wait ends when it is so", function()
  local r = support.new()
  r:make(support.pod("web", { status = { phase = "Running", conditions = { { type = "Ready", status = "True" } } } }))
  test.equal(r:type "wait pod/web Ready", "pod/web  Ready\n")
  test.equal(r:type "wait pod/web Running", "pod/web  Running\n")
  r.client:delete("pods", "web", { grace = 0 })
  test.equal(r:type "wait pod/web gone", "pod/web  gone\n")
end)

test("none of them changes anything where nothing may be changed", function()
  local r = support.new { context = "prod" }
  for _, line in ipairs { "patch deploy/a x: {}", "label deploy/a b=c", "annotate deploy/a b=c",
    "rollout undo deploy/a", "rollout pause deploy/a", "rollout restart deploy/a", "cordon n", "uncordon n", "drain n",
    "cp a:/b c",
    "exec a ls", "port-forward a 80", "edit deploy/a", "apply -f x", "scale deploy/a 1", "restart deploy/a",
    "delete pod/a", "undo" } do
    local text = r:type(line)
    if not text:find "is read%-only" and not text:find "nothing to undo" then error(line .. ": " .. text, 0) end
  end
end)

-- --- use, files, output -----------------------------------------------------------------------------------------

test("top sums up what the containers of a pod use", function()
  local r = support.new()
  local function container(cpu, memory) return { name = cpu, usage = { cpu = cpu, memory = memory } } end
  r.client.list = function(_, kind, options)
    test.equal(kind, "pods.metrics.k8s.io")
    return { { metadata = { name = "a", namespace = options.namespace }, containers = {
      container("250m", "100Mi"), container("1500000n", "1500Ki") } },
      { metadata = { name = "b" }, containers = { container("1", "2Gi") } } }
  end
  local text = r:type "top pods -n team --sort -cpu"
  contains(text, "NAME  CPU    MEMORY\n")
  assert(text:find "b +1000m +2048Mi\n.*a +252m +102Mi\n", text)
  r.client.list = function() return { { metadata = { name = "n1" }, usage = { cpu = "3", memory = "1Gi" } } } end
  assert(r:type "top nodes":find "n1 +3000m +1024Mi")
  contains(r:type "top claims", "top pods|nodes")
end)

test("cp reads a file in a pod, or writes one there, and says why it cannot", function()
  local r, asked = support.new(), {}
  local answer = { code = 0, stdout = "of the pod" }
  r.client.exec = function(_, query)
    asked[#asked + 1] = query
    return answer
  end
  local path = test.tmpdir() .. "/hosts"
  contains(r:type("cp team/web:/etc/hosts " .. path .. " -c main"), "10 bytes in " .. path)
  test.equal(require("fs").read(path), "of the pod")
  contains(r:type(":cp " .. path .. " web:/tmp/hosts"), "10 bytes in web:/tmp/hosts")
  test.same({ asked[1].pod, asked[1].namespace, asked[1].container, asked[1].command },
    { "web", "team", "main", { "cat", "/etc/hosts" } })
  test.same({ asked[2].pod, asked[2].stdin, asked[2].command[#asked[2].command] },
    { "web", "of the pod", "/tmp/hosts" })
  answer = { code = 1, stderr = "cat: no such file\n" }
  contains(r:type("cp web:/none " .. path), "in pod 'web': cat: no such file")
  contains(r:type "cp a b", "cp POD:PATH FILE")
  contains(r:type "cp a:/x b:/y", "cp POD:PATH FILE")
end)

test("what a command prints comes in whole characters, however it is cut", function()
  local r = support.new()
  r.client.exec = function(_, query)
    for byte in ("aé日👍"):gmatch "." do query.stdout(byte) end
    return { code = 0 }
  end
  r:type "exec web print"
  test.same(r.printed, { "a", "é", "日", "👍" })
end)

-- --- the background ---------------------------------------------------------------------------------------------

test(":bg runs a line beside others, reports, is listed and stopped", function()
  local r = support.new()
  contains(r:type ":bg 40 + 2", "[1] 40 + 2\n")
  test.advance(0.01)
  contains(table.concat(r.printed), "[1] done: 40 + 2\n42\n")
  r:type ":bg nope()"
  test.advance(0.01)
  contains(table.concat(r.printed), "[2] failed: nope(): ")
  r:type ":bg wait pod/none Ready"
  r:type ":bg require('task').sleep(1000)"
  contains(r:type ":tasks", "require('task').sleep(1000)")
  contains(r:type ":stop 4", "[4] ended: require('task').sleep(1000)")
  contains(r:type ":stop 4", "nothing runs as 4")
  r.session:close()
  test.advance(1)
  contains(r:type ":tasks", "nothing runs in the background")
end)

test("a task that fails and that nobody waits for is told, and ends nothing", function()
  local r = support.new()
  r:type "require('task').spawn(function() error('lost', 0) end)"
  test.advance(0.01)
  collectgarbage()
  collectgarbage()
  contains(table.concat(r.printed), "a task failed: lost\n")
  test.equal(r:type "t = require('task').spawn(function() return 7 end) t:wait()\nt:wait()", "7\n")
end)

-- --- forms and measures ---------------------------------------------------------------------------------------------

test("kubectl's words for columns and paths, and KYAML", function()
  local r = support.new()
  r:make(support.pod("web-1", { labels = { app = "web", on = "true" } }))
  contains(r:type "pods -o custom-columns=N:.metadata.name,L:.metadata.labels.app", "N      L", "web-1  web")
  local path = test.tmpdir() .. "/path"
  require("fs").write(path, "{.metadata.labels.app}\n")
  test.equal(r:type("pods -o jsonpath-file=" .. path), "web\n")
  local kyaml = require("repl.show").kyaml { kind = "X", metadata = { labels = { app = "web", on = "true" } },
    list = { 1, "two", {} } }
  test.equal(kyaml, '{\n  kind: "X",\n  list: [\n    1,\n    "two",\n    {},\n  ],\n  metadata: {\n    labels: {\n'
    .. '      app: "web",\n      "on": "true",\n    },\n  },\n}\n')
  test.same(require("yaml").decode(kyaml).metadata.labels, { app = "web", on = "true" })
  contains(r:type "pods web-1 kyaml", '---\n{\n  apiVersion: "v1",\n  kind: "Pod",')
end)

test("%whos lists what was made, %timeit how long it takes, %trace sums up", function()
  local r = support.new()
  test.equal(r:type "%whos", "no variable was made yet\n")
  contains(r:type "x = 5\ny = pods()\n%whos", "x     number  5", "y     table   0 pods")
  contains(r:type "%timeit 1 + 1", " times: best ")
  contains(r:type "%trace pods", "1 requests, ")
  contains(r:type ":copy 1 + 1", "no terminal whose clipboard")
end)
