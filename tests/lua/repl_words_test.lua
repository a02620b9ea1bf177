-- The words of the REPL that explain and that change, over a lab in this process.
local test = require "test"
local fs = require "fs"
local kubeflow = require "repl.kubeflow"
local support = dofile "tests/lua/support/repl.lua"
local contains, deployment = support.contains, support.deployment

local function owned_by(object)
  return { { apiVersion = object.apiVersion, kind = object.kind, name = object.metadata.name,
    uid = object.metadata.uid, controller = true } }
end

-- A deployment, its replica set and two pods, one of which waits.
local function with_tree(options)
  local r = support.new(options)
  local top = r:make(deployment("web", 2))
  local set = r:make { apiVersion = "apps/v1", kind = "ReplicaSet",
    metadata = { name = "web-1", namespace = "default", ownerReferences = owned_by(top) },
    spec = { selector = { matchLabels = { app = "web" } }, template = deployment("web").spec.template } }
  r:make(support.pod("web-1-a", { owners = owned_by(set), status = { phase = "Running" } }))
  r:make(support.pod("web-1-b", { owners = owned_by(set), spec = {
    containers = { { name = "main", image = "x", envFrom = { { configMapRef = { name = "settings" } } } } },
    volumes = { { name = "d", persistentVolumeClaim = { claimName = "data" } } } },
    status = { phase = "Pending", containerStatuses = { { name = "main", image = "x", imageID = "", ready = false,
      restartCount = 0, state = { waiting = { reason = "ImagePullBackOff", message = "no such image" } } } } } }))
  return r
end

-- --- relations ---------------------------------------------------------------------------------------------

test("tree shows the owners above and all that is below", function()
  test.equal(with_tree():type "tree pod/web-1-b", [[
Deployment/web  0/2
└─ ReplicaSet/web-1  0/1
   ├─ Pod/web-1-a  Running
   └─ Pod/web-1-b  ImagePullBackOff  <
]])
end)

test("why names what a pod waits for, what it lacks, and what events say", function()
  local r = with_tree()
  r:make { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "default" },
    spec = { accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "1Gi" } } } }
  r:make { apiVersion = "v1", kind = "Event", metadata = { name = "e", namespace = "default" }, type = "Warning",
    reason = "FailedScheduling", message = "0/1 nodes are available",
    involvedObject = { kind = "Pod", name = "web-1-b", namespace = "default" } }
  contains(r:type "why pod/web-1-b", "Pod/web-1-b  ImagePullBackOff\n",
    "container main: waits: ImagePullBackOff no such",
    "missing: ConfigMap/settings (envFrom of main)", "claim data: Pending, ReadWriteMany",
    "event FailedScheduling: 0/1 nodes are available")
  contains(r:type "why deploy/web", "Pod/web-1-b container main: waits")
  r:make { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "idle", namespace = "default" } }
  test.equal(r:type "why cm/idle", "ConfigMap/idle\n  nothing speaks against it\n")
end)

test("why tells of a service that nobody answers for", function()
  local r = support.new()
  r:make { apiVersion = "v1", kind = "Service", metadata = { name = "api", namespace = "default" },
    spec = { selector = { app = "api" }, ports = { { port = 80 } } } }
  contains(r:type "why svc/api", "Service/api\n  endpoints: no pod has the labels app=api\n")
  r:make(support.pod("api-1", { labels = { app = "api" }, status = { phase = "Running" } }))
  contains(r:type "why svc/api", "none of 1 pods with app=api is ready")
end)

test("used-by finds pods and templates", function()
  local r = with_tree()
  r:make { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "settings", namespace = "default" }, data = {} }
  contains(r:type "used-by cm/settings", "Pod/web-1-b", "envFrom of main")
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "idle", namespace = "default" } }
  test.equal(r:type "used-by secret/idle", "nothing uses Secret/idle\n")
end)

test("describe is the object with owner, children and events", function()
  contains(with_tree():type "describe rs/web-1", "kind: ReplicaSet", "Owner\n  Deployment/web\n", "Pod/web-1-b",
    "Events\n  none")
end)

-- --- fields --------------------------------------------------------------------------------------------------

test("?kind and ?kind.field explain, and a wrong field has near names", function()
  local r = support.new()
  contains(r:type "?pods", "Pod  v1, in a namespace", "names: pods", "spec", "PodSpec")
  contains(r:type "?pods.spec.containers", "Pod.spec.containers  []Container", "image", "required")
  contains(r:type "?deploy.spec.replica", "Deployment.spec has no field 'replica' (did you mean replicas")
  contains(r:type "?describe", "describe KIND/NAME")
end)

-- --- changes --------------------------------------------------------------------------------------------------

test("scale shows the difference, asks, and can be undone", function()
  local r = with_tree()
  contains(r:type "scale deploy/web 5", "-  replicas: 2\n+  replicas: 5\n", "deploy/web scaled to 5")
  test.same(r.asked, { "scale deploy/web to 5? [y/N] " })
  test.equal(r.client:get("deployments", "web").spec.replicas, 5)
  contains(r:type "undo", "is as it was")
  test.equal(r.client:get("deployments", "web").spec.replicas, 2)
  contains(r:type "undo", "there is nothing to undo")
  contains(r:type "scale deploy/web 2", "nothing changes")
end)

test("without a yes nothing is changed", function()
  local r = with_tree { answer = false }
  contains(r:type "scale deploy/web 5", "nothing was changed")
  contains(r:type "delete pod/web-1-a", "Pod default/web-1-a", "nothing was changed")
  test.equal(r.client:get("deployments", "web").spec.replicas, 2)
  test.equal(#r.client:list "pods", 2)
  r.session.ask = nil
  contains(r:type "delete pod/web-1-a", "nobody is there to say yes")
end)

test("apply creates and changes, each undone by its opposite", function()
  local r = support.new()
  local path = test.tmpdir() .. "/a.yaml"
  fs.write(path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: old}\n")
  contains(r:type("apply -f " .. path), "+  k: old", "ConfigMap/a created")
  fs.write(path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: new}\n")
  contains(r:type("apply -f " .. path), "-  k: old\n+  k: new", "ConfigMap/a changed")
  r:type "undo"
  test.equal(r.client:get("configmaps", "a").data.k, "old")
  r:type "undo"
  test.equal(r.client.try:get("configmaps", "a"), nil)
end)

test("an undo leaves what others have changed meanwhile, shows what it does, and asks", function()
  local r = with_tree()
  r:type "scale deploy/web 5"
  r.client:patch("deployments", "web", { metadata = { labels = { by = "others" } } }, { type = "merge" })
  contains(r:type "undo", "-  replicas: 5\n+  replicas: 2\n", "Deployment/web is as it was")
  test.equal(r.asked[2], "undo 'scale deploy/web to 5'? [y/N] ")
  local now = r.client:get("deployments", "web")
  test.same({ now.spec.replicas, now.metadata.labels.by }, { 2, "others" })
end)

test("describe hides what a secret holds; yaml, which is asked for, does not", function()
  local r = support.new()
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" },
    stringData = { k = "canary" } }
  assert(not r:type "describe secret/s":find "Y2FuYXJ5")
  assert(r:type "get secret s yaml":find "Y2FuYXJ5")
end)

test("a secret is edited, though its difference shows no value", function()
  local r = support.new()
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" }, data = { k = "b2xk" } }
  local text = r:type [[patch secret/s '{"data": {"k": "bmV3"}}' -y]]
  contains(text, "secret/s patched", "-  k: (hidden)", "+  k: (hidden)")
  assert(not text:find "bmV3" and not text:find "b2xk", text)
  test.equal(r.client:get("secrets", "s").data.k, "bmV3")
end)

test("secrets are not shown in differences", function()
  local r = support.new()
  local path = test.tmpdir() .. "/s.yaml"
  fs.write(path, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: canary}\n")
  local text = r:type("apply -f " .. path)
  contains(text, "Secret/s created")
  assert(not text:find "canary" and not text:find "Y2FuYXJ5", text)
end)

test("rows are deleted together after one question that counts them", function()
  local r = with_tree()
  r:type "pods"
  contains(r:type "1..2 delete", "Pod default/web-1-a\n  Pod default/web-1-b\n", "2 deleted")
  test.same(r.asked, { "delete these 2 objects? [y/N] " })
end)

test("edit puts what was changed onto the object as it is now; a refusal comes back into the editor", function()
  local r = support.new()
  r:make { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "a", namespace = "default" },
    data = { k = "old" } }
  local editor = test.tmpdir() .. "/editor"
  fs.write(editor, '#!/bin/sh\nsed -i "s/k: old/k: new/" "$1"\n', { mode = 493 })
  local changes = require "repl.changes"
  local usual <const> = changes.editor
  changes.editor = function() return editor end
  contains(r:type "edit cm/a", "-  k: old\n+  k: new", "ConfigMap/a changed")
  test.equal(r.client:get("configmaps", "a").data.k, "new")
  contains(r:type "edit cm/a", "nothing changes")
  r:type "undo"
  test.equal(r.client:get("configmaps", "a").data.k, "old")
  fs.write(editor, [[
#!/bin/sh
if grep -q "^# " "$1"; then sed -i 's/k: .1.$/k: "1"/' "$1"; else sed -i 's/k: old/k: [1]/' "$1"; fi
]], { mode = 493 })
  contains(r:type "edit cm/a", "ConfigMap/a changed")
  test.equal(r.client:get("configmaps", "a").data.k, "1")
  changes.editor = usual
end)

test("restart changes the template's annotation", function()
  local r = with_tree()
  contains(r:type "restart deploy/web", "kubectl.kubernetes.io/restartedAt", "deploy/web restarts")
end)

test("a context that is not a lab's is read-only until :write, for words and for raw calls", function()
  local r = support.new { context = "prod-1" }
  contains(r:type "delete pod/x", "context 'prod-1' is read-only; ':write 10m'")
  contains(r:type "client():delete('pods', 'x')", "read-only")
  contains(r:type ":write", "context 'prod-1' is read-only\n")
  contains(r:type ":write 10m", "is writable for 600 s")
  contains(r:type "client():delete('pods', 'x')", "NotFound")
  r.time = 601
  contains(r:type "client():delete('pods', 'x')", "read-only")
  contains(r:type ":write 10m\n:write off", "read-only")
  contains(r:type ":write soon", "'soon' is no time")
  r:type "settings.writable = { '^prod' }"
  contains(r:type ":write", "writable\n")
end)

-- --- watch, logs ------------------------------------------------------------------------------------------------

test("watch prints a listing again only when it changed", function()
  local r = with_tree()
  local once = r:type "pods"
  local task = require "task"
  local watching = task.spawn(function() r.session:line "watch pods --count 3" end)
  r.printed = {}
  test.advance(1)
  r.client:delete("pods", "web-1-a")
  test.advance(3)
  watching:wait()
  test.equal(#r.printed, 2)
  test.equal(r.printed[1], once)
  assert(not r.printed[2]:find "web%-1%-a")
end)

test("a followed listing is fetched again when a watch tells of a change, and for its ages", function()
  local r = with_tree()
  local followed <close> = require("repl.follow").new(r.session, "pods", {}, {})
  test.equal(#followed:listing().rows, 2)
  test.advance(5)
  followed:listing()
  test.equal(followed.fetches, 1)
  r.client:delete("pods", "web-1-a")
  test.advance(1)
  test.equal(#followed:listing().rows, 1)
  test.equal(followed.fetches, 2)
  test.advance(11)
  followed:listing()
  test.equal(followed.fetches, 3)
end)

test("where no watch is allowed, a followed listing is fetched each second", function()
  local r = with_tree()
  r.client.watch = function() error("no", 0) end
  local followed <close> = require("repl.follow").new(r.session, "pods", {}, {})
  for fetches = 1, 3 do
    followed:listing()
    test.equal(followed.fetches, fetches)
    test.advance(1.5)
  end
end)

-- A listing of rows { name, status, age }.
local function listing_of(rows)
  local list = {}
  for index, cells in ipairs(rows) do list[index] = { cells = cells } end
  return require("repl.listing").new { kind = "pods", namespace = "default", rows = list, columns = { { name = "Name" },
    { name = "Status" }, { name = "Age" } } }
end

test("cells that changed are marked until others do, ages are not", function()
  local browser = require "repl.browser"
  local state = browser.new "pods"
  browser.take(state, listing_of { { "a", "Pending", "1s" } })
  test.same(state.changed, {})
  browser.take(state, listing_of { { "a", "Running", "2s" } })
  test.same(state.changed, { ["default/a"] = { [2] = true } })
  browser.take(state, listing_of { { "a", "Running", "12s" } })
  test.same(state.changed, { ["default/a"] = { [2] = true } })
  browser.take(state, listing_of { { "a", "Running", "13s" }, { "b", "Pending", "1s" } })
  test.same(state.changed, { ["default/b"] = { true, true, true } })
end)

test("a change of a column that is not in sight marks no other", function()
  local browser, term = require "repl.browser", require "term"
  local function listing_with(note)
    return require("repl.listing").new { kind = "pods", namespace = "default",
      rows = { { cells = { "a", note, "1s" } } },
      columns = { { name = "Name" }, { name = "Note", priority = 1 }, { name = "Age" } } }
  end
  local state, style = browser.new "pods", term.style
  browser.take(state, listing_with "old")
  browser.take(state, listing_with "new")
  term.style = function(text, name) return name == "bold yellow" and "*" .. text or text end
  local narrow = browser.frame(state, 60, 10)[3]
  browser.key(state, "text", "w", 10)
  local wide = browser.frame(state, 60, 10)[3]
  term.style = style
  test.same({ narrow:match "^(.-) *$", wide:match "^(.-) *$" }, { "a     1s", "a     *new  1s" })
end)

-- What a screen of 60 columns shows, and the name chosen.
local function screen_of(state, height)
  local browser = require "repl.browser"
  local lines = browser.frame(state, 60, height)
  return table.concat(lines, "\n"), state.shown.rows[state.chosen] and state.shown.rows[state.chosen].name
end

test("keys move in a listing over the screen, filter it, and name what is to be done with the chosen row", function()
  local browser = require "repl.browser"
  local state, rows = browser.new "pods in default", {}
  for i = 1, 20 do rows[i] = { ("pod-%02d"):format(i), "Running", "1s" } end
  browser.take(state, listing_of(rows))
  local function press(...)
    local action, row
    for _, key in ipairs { ... } do
      local name = #key == 1 and "text" or key
      action, row = browser.key(state, name, #key == 1 and key or nil, 10)
    end
    return action, row and row.name
  end
  local text, chosen = screen_of(state, 10)
  contains(text, "pods in default  20\nNAME    STATUS   AGE\npod-01  Running  1s", "pod-07", "/ filter")
  assert(chosen == "pod-01" and not text:find "pod%-08" and select(2, text:gsub("\n", "")) == 9, text)
  test.same({ press("Down", "j", "d") }, { "describe", "pod-03" })
  test.same({ press("G", "Enter") }, { "describe", "pod-20" })
  test.same({ press("PageUp", "l") }, { "logs", "pod-14" })
  contains(screen_of(state, 10), "pod-14", "pod-17")
  press("/", "1", "5")
  contains(screen_of(state, 10), "pods in default  1 of 20", "pod-15", "/15")
  test.same({ press("Enter", "y") }, { "yaml", "pod-15" })
  test.same({ press "Escape" }, {})
  contains(screen_of(state, 10), "pods in default  20\n")
  table.remove(rows, 1)
  browser.take(state, listing_of(rows)) -- what was chosen stays chosen
  test.same({ press "s" }, { "shell", "pod-15" })
  press "Right"
  contains(screen_of(state, 10), "NAME    AGE\n")
  test.same({ press "q" }, { "end" })
  press("/", "x", "x")
  contains(screen_of(state, 10), "nothing to show")
  test.same({ press("Enter", "d") }, {})
end)

-- --- Kubeflow -----------------------------------------------------------------------------------------------------

local function workflow()
  local function node(name, kind, phase, children)
    return { name = name, displayName = name:match "[^.]+$", type = kind, phase = phase, children = children }
  end
  return { kind = "Workflow", metadata = { name = "run" }, status = { phase = "Running", nodes = {
    run = node("run", "DAG", "Running", { "a" }), a = node("run.load", "Pod", "Succeeded", { "g" }),
    g = node("run.group", "DAG", "Running", { "b", "c" }), b = node("run.train", "Pod", "Running", { "d" }),
    c = node("run.check", "Pod", "Failed", { "d" }), d = node("run.report", "Pod", "Omitted") } } }
end

test("a run is drawn with the states of its steps, groups left out", function()
  test.equal(require("repl.show").tree(kubeflow.graph(workflow())), [[
run  Running
└─ ✓ load
   ├─ ▶ train  Running
   │  └─ - report  Omitted
   └─ ✗ check  Failed
      └─ - report  Omitted  (above)
]])
end)

test("an experiment is drawn as a curve over its trials", function()
  test.equal(kubeflow.spark { 1, 2, 3 }, "▁▅█")
  test.same(kubeflow.curve({ 0, 1 }, 10, 3), { "         1 │ ●", "           │", "         0 │●",
    "           └──" })
  local function trial(name, value)
    return { metadata = { name = name, creationTimestamp = name }, spec = { parameterAssignments = { { name = "lr",
      value = "0.1" } } }, status = { conditions = { { type = "Succeeded", status = "True" } },
      observation = { metrics = { { name = "acc", latest = value } } } } }
  end
  local text = kubeflow.experiment_text({ metadata = { name = "tune" }, spec = { objective = { type = "maximize",
    objectiveMetricName = "acc" } } }, { trial("b", "0.9"), trial("a", "0.5") })
  test.equal(text, "tune  Created, maximize acc; best 0.9 by b\n▁█\nTRIAL  STATE      ACC  PARAMETERS\n"
    .. "a      Succeeded  0.5  lr=0.1\nb      Succeeded  0.9  lr=0.1\n")
end)

test("allowed and injected? say why", function()
  local r = support.new()
  r:make(support.pod "web")
  r:make { apiVersion = "v1", kind = "Service", metadata = { name = "api", namespace = "default" },
    spec = { selector = { app = "api" }, ports = { { port = 80 } } } }
  contains(r:type "allowed web -> api GET /x", "allowed (", "the pod has no sidecar")
  contains(r:type "injected? web", "no: ")
  contains(r:type "allowed web api", "allowed POD -> SERVICE")
  contains(r:type "doctor", "Nothing is wrong")
end)
