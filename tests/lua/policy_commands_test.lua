-- The commands that try policies: test (beside the file, recorded reviews), apply, audit of files and of a cluster.
local test = require "test"
local fs = require "fs"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local serve = require "lab.serve"
local yaml = require "yaml"

local SITE = [[
local policy = require "policy"
policy.grant { reads = { "configmaps" } }
policy.mutate { name = "owner", match = { resource = "pods", namespaces = { label = "team" } }, apply = function(req)
  req.object.metadata.labels = req.object.metadata.labels or {}
  req.object.metadata.labels.owner = "us"
end }
policy.validate { name = "no-latest", match = { resource = "pods" }, check = function(req)
  local image = req.object.spec.containers[1].image
  if image:find ":latest$" then return req:deny("no %s", image) end
end }
local CHANGED = { resource = "configmaps", operations = { "UPDATE" } }
policy.validate { name = "changes", match = CHANGED, check = function(req)
  if req.old.data and req.old.data.frozen then return req:deny "it is frozen" end
end }
]]

local function pod(name, image, namespace)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = namespace or "a" },
    spec = { containers = { { name = "main", image = image } } } }
end

local function run(words, more)
  local all = { host.executable(), "policy", table.unpack(words) }
  for field, value in pairs(more or {}) do all[field] = value end
  all.env = all.env or {}
  all.env.KFHOST_PATH = false
  if all.env.KUBECONFIG == nil then all.env.KUBECONFIG = false end
  return proc.run(all)
end

local function site()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", SITE)
  return directory .. "/site.lua", directory
end

test("cases beside a file are tests of it, and may name files", function()
  local file, directory = site()
  fs.write(directory .. "/pod.json", json.encode(pod("p", "x:latest")))
  fs.write(directory .. "/site.test.yaml", [[
- {name: latest is refused, object: pod.json, expect: {allowed: false, message: "no x:latest"}}
- name: an owner is set
  object: {apiVersion: v1, kind: Pod, metadata: {name: q, namespace: a}, spec: {containers: [{name: m, image: "x:1"}]}}
  objects: [{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: us}}}]
  expect: {allowed: true, object: {metadata: {labels: {owner: us}}}}
- {name: this one does not hold, object: pod.json, expect: {allowed: true}}
]])
  local result = run { "test", file }
  test.equal(result.code, 1)
  test.equal(result.stdout, "ok site: latest is refused\nok site: an owner is set\n"
    .. "not ok site: this one does not hold\n    allowed is false: policy no-latest: no x:latest\n2 passed, 1 failed\n")
  fs.write(directory .. "/site.test.yaml", "- {name: a, objekt: {}, expect: {}}\n")
  local wrong = run { "test", file }
  test.equal(wrong.code, 1)
  test.equal(wrong.stderr:find("unknown field 'objekt'", 1, true) ~= nil, true)
end)

local function review(object, uid)
  return { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = { uid = uid, operation = "CREATE",
    kind = { group = "", version = "v1", kind = "Pod" }, resource = { group = "", version = "v1", resource = "pods" },
    namespace = "a", name = object.metadata.name, userInfo = { username = "ann" }, object = object } }
end

test("recorded reviews are answered as they were, or what differs is told", function()
  local file, directory = site()
  local was_allowed, was_denied = review(pod("p", "x:1"), "u-1"), review(pod("p", "x:latest"), "u-2")
  was_allowed.response = { uid = "u-1", allowed = true, patchType = "JSONPatch",
    patch = require "hash".base64 '[{"op":"add","path":"/metadata/labels","value":{"owner":"us"}}]' }
  was_denied.response = { uid = "u-2", allowed = false, status = { message = "policy no-latest: no x:latest" } }
  fs.write(directory .. "/reviews.yaml", yaml.encode(was_allowed) .. "---\n" .. yaml.encode(was_denied) .. "---\n"
    .. yaml.encode(review(pod("p", "x:2"), "u-3").request))
  local same = run { "test", file, "--review", directory .. "/reviews.yaml", "--json" }
  test.equal(same.code, 0)
  local results = json.decode(same.stdout)
  test.equal(#results, 3)
  test.equal(results[3].response.uid, "u-3")
  was_denied.response.allowed = true
  fs.write(directory .. "/reviews.json", json.encode(was_denied))
  local other = run { "test", file, "--review", directory .. "/reviews.json" }
  test.equal(other.code, 1)
  test.equal(other.stdout:find("allowed is false, and was true: policy no-latest: no x:latest", 1, true) ~= nil, true)
end)

test("apply writes what objects become, or a diff, and refuses with 1", function()
  local file, directory = site()
  local namespace = { apiVersion = "v1", kind = "Namespace", metadata = { name = "a", labels = { team = "us" } } }
  fs.write(directory .. "/all.yaml", yaml.encode(namespace) .. "---\n" .. yaml.encode(pod("p", "x:1")))
  local objects = yaml.decode_all(run({ "apply", file, "-f", directory .. "/all.yaml" }).stdout)
  test.equal(objects[#objects].metadata.labels.owner, "us")
  local diff = run({ "apply", file, "--diff", "-f", directory .. "/all.yaml" }).stdout
  test.equal(diff, [[
--- Pod a/p
+++ Pod a/p (by policies)
@@ -1,6 +1,8 @@
 apiVersion: v1
 kind: Pod
 metadata:
+  labels:
+    owner: us
   name: p
   namespace: a
 spec:
]])
  local refused = run({ "apply", file }, { stdin = yaml.encode(pod("p", "x:latest")) })
  test.equal(refused.code, 1)
  test.equal(refused.stdout, "")
  test.equal(refused.stderr, "refused: Pod a/p: policy no-latest: no x:latest\n")
end)

test("settings without a word in them are no mistake", function()
  local file, directory = site()
  local object = yaml.encode(pod("p", "x:1"))
  for number, text in ipairs { "", "# nothing yet\n", "site:\n", "site: {}\n" } do
    local path = ("%s/config-%d.yaml"):format(directory, number)
    fs.write(path, text)
    local result = run({ "apply", file, "--config", path }, { stdin = object })
    test.same({ result.code, result.stderr }, { 0, "" })
  end
end)

local FINDINGS = [[
RESULT  POLICY     OBJECT         WHAT
fail    changes    ConfigMap a/m  it is frozen
warn    owner      Pod a/new      would change /metadata/labels/owner
warn    owner      Pod a/old      would change /metadata/labels/owner
fail    no-latest  Pod a/old      no x:latest
]]

test("an audit judges a cluster's objects, by labels of their namespaces, and writes nothing", function()
  local file, directory = site()
  local lab <close> = serve.start { nodes = 0 }
  lab:write_kubeconfig(directory .. "/kubeconfig")
  local c = kube.connect { kubeconfig = directory .. "/kubeconfig", log = function() end }
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "a", labels = { team = "us" } } }
  for name, image in pairs { old = "x:latest", new = "x:1" } do
    local object = pod(name, image)
    object.metadata.labels = { app = "x" }
    c:create(object)
  end
  c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "m", namespace = "a" },
    data = { frozen = "y" } }
  local revision = lab.cluster.store.revision
  local env = { KUBECONFIG = directory .. "/kubeconfig" }
  local result = run({ "audit", file }, { env = env })
  test.equal(result.stderr, "")
  test.equal(result.code, 1)
  local lines = {}
  for line in result.stdout:gmatch "[^\n]+" do
    if line:find "^%l+ .*a/" then lines[#lines + 1] = line end
  end
  table.sort(lines)
  test.equal(#lines, 4)
  for _, line in ipairs(lines) do
    local squeezed = line:gsub(" +", " ")
    test.equal(FINDINGS:gsub("  +", " "):find(squeezed, 1, true) ~= nil, true)
  end
  local reports = yaml.decode_all(run({ "audit", file, "--report" }, { env = env }).stdout)
  local summary
  for _, report in ipairs(reports) do
    if report ~= json.null and report.metadata.namespace == "a" then summary = report.summary end
  end
  summary.pass = nil -- the lab puts a ConfigMap into each namespace
  test.same(summary, { error = 0, fail = 2, skip = 0, warn = 2 })
  local other = json.decode(run({ "audit", file, "-n", "default", "--json" }, { env = env }).stdout)
  test.equal(other.summary.fail, 0)
  test.equal(lab.cluster.store.revision, revision)
  c:close()
end)

test("explain tells what it can where the cluster lacks kinds that a policy looks at", function()
  local directory = test.tmpdir()
  local lab <close> = serve.start { nodes = 0 }
  lab:write_kubeconfig(directory .. "/kubeconfig")
  local result = run({ "explain", "kfp-access", "trial-sidecar", "--object", "ns/default" },
    { env = { KUBECONFIG = directory .. "/kubeconfig" } })
  test.same({ result.code, result.stderr }, { 0, "" })
  test.equal(result.stdout:find("no profile's namespace", 1, true) ~= nil, true)
end)

test("a host that is to register its webhooks, and has no cluster, says so and ends", function()
  local file, directory = site()
  local register = { "--register", "true" }
  for _, words in ipairs { register, { "--service" }, { register[1], register[2], "--cluster", "false" } } do
    local result = run({ "serve", file, "--port", "0", "--ops-port", "0", table.unpack(words) },
      { env = { HOME = directory, KUBERNETES_SERVICE_HOST = false } })
    test.equal(result.code, 1)
    test.equal(result.stderr:find("needs a cluster, and none is named", 1, true) ~= nil, true)
  end
end)

test("objects of an API server's own list are judged by the kind of the list", function()
  local file = site()
  local list = json.encode { apiVersion = "v1", kind = "PodList", items = { { metadata = { name = "p" },
    spec = { containers = { { name = "main", image = "x:latest" } } } } } }
  local result = run({ "apply", file }, { stdin = list })
  test.equal(result.code, 1)
  test.equal(result.stderr, "refused: Pod p: policy no-latest: no x:latest\n")
  result = run({ "apply", file }, { stdin = '{"apiVersion":"v1","kind":"List","items":[{"metadata":{"name":"p"}}]}' })
  test.equal(result.code, 1)
  test.equal(result.stderr:find("an item of document 1 has no apiVersion or kind", 1, true) ~= nil, true)
end)

test("a name that YAML takes for something else is named, with its object", function()
  local result = run({ "apply", (site()) },
    { stdin = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: y}}" })
  test.equal(result.code, 1)
  test.equal(result.stderr:find("object 1, Pod: metadata.namespace is the boolean true, not a text", 1, true) ~= nil,
    true)
  result = run({ "apply", (site()) }, { stdin = "{apiVersion: v1, kind: Pod, metadata: p}" })
  test.equal(result.stderr:find("object 1, Pod: metadata is no map", 1, true) ~= nil, true)
end)

test("a field that a file leaves empty is not there for policies, and stays as it is", function()
  local file, directory = site()
  fs.write(directory .. "/a.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: us}}}")
  fs.write(directory .. "/p.yaml", [[
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: a, labels: null, creationTimestamp: null}
spec: {containers: [{name: main, image: "x:1"}]}
]])
  local result = run { "apply", file, "-f", directory .. "/a.yaml", "-f", directory .. "/p.yaml" }
  test.equal(result.stderr, "")
  local changed = yaml.decode_all(result.stdout)
  test.same(changed[#changed].metadata, { name = "p", namespace = "a", labels = { owner = "us" },
    creationTimestamp = json.null })
end)
