local test = require "test"
local fs = require "fs"
local http = require "http"
local json = require "json"
local answer = require "policy.serve.answer"
local cache = require "policy.serve.cache"
local certificates = require "policy.serve.certificates"
local metrics = require "policy.serve.metrics"
local policy = require "policy"
local server = require "server"
local task = require "task"

local FILE = [[
local policy = require "policy"
policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = { seen = "yes" }
end }
policy.validate { name = "never", match = { resource = "pods" }, check = function(req) return req:deny("no") end }
policy.validate { name = "spin", match = { resource = "configmaps" }, timeout = "20s", check = function()
  while true do end
end }
]]

-- What a worker and the controller do, in this process.
local function start(lines)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", FILE)
  local set = policy.load(directory .. "/site.lua")
  local state = { metrics = metrics.new(), audit = function(line) lines[#lines + 1] = line end,
    ready = function() return true end }
  local started
  set.before = function() started = task.now() end
  set.after = function(one) state.metrics:time(one.name, task.now() - started) end
  local bundle = certificates.make { "localhost", "127.0.0.1" }
  return { authority = bundle.authorities,
    webhook = server.listen { certificate = bundle.certificate, key = bundle.key,
      handler = answer.handler(set, state) },
    operations = server.listen { handler = answer.operations(state) } }
end

local function stop(service)
  service.webhook:close()
  service.operations:close()
end

local function review(resource)
  return json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = { uid = "u-1",
    operation = "CREATE", kind = { group = "", version = "v1", kind = "Pod" }, namespace = "team-a", name = "p",
    resource = { group = "", version = "v1", resource = resource or "pods" }, userInfo = { username = "ann" },
    object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, data = { secret = "canary" } } } }
end

local function post(service, path, body, headers)
  return http.request { method = "POST", url = ("https://127.0.0.1:%d%s"):format(service.webhook.port, path),
    ca = service.authority, body = body, headers = headers or { ["Content-Type"] = "application/json" } }
end

test("paths choose the policies; all of a kind answer at the bare path", function()
  local service = start {}
  local function response(path) return json.decode(post(service, path, review()).body).response end
  test.equal(response("/mutate").allowed, true)
  test.equal(response("/mutate").patchType, "JSONPatch")
  test.equal(response("/mutate/label").allowed, true)
  test.equal(response("/validate").allowed, false)
  test.equal(response("/validate/never").status.message, "policy never: no")
  test.equal(response("/validate/spin").allowed, true)
  stop(service)
end)

test("what is no review is refused with the right status", function()
  local service = start {}
  local function status(...) return post(service, ...).status end
  test.equal(status("/nowhere", review()), 404)
  test.equal(status("/mutate/never", review()), 404)
  test.equal(status("/mutate", "{}"), 400)
  test.equal(status("/mutate", '{"kind":'), 400)
  test.equal(status("/mutate", review(), { ["Content-Type"] = "text/plain" }), 415)
  local url = ("https://127.0.0.1:%d/mutate"):format(service.webhook.port)
  test.equal(http.request { url = url, ca = service.authority }.status, 405)
  stop(service)
end)

test("a policy has no more time than the API server's timeout leaves", function()
  local service = start {}
  local response = json.decode(post(service, "/validate?timeout=0.1s", review "configmaps").body).response
  test.equal(response.allowed, false)
  test.equal(response.status.message:find("Timeout", 1, true) ~= nil, true)
  stop(service)
end)

test("the audit and the metrics hold references, never values", function()
  local lines = {}
  local service = start(lines)
  post(service, "/mutate", review())
  post(service, "/validate", review())
  test.equal(#lines, 2)
  test.equal(lines[1].policies[1].verdict, "patched")
  test.same(lines[1].policies[1].paths, { "/metadata/labels" })
  test.equal(lines[2].allowed, false)
  local function read(path)
    return http.request { url = ("http://127.0.0.1:%d%s"):format(service.operations.port, path) }
  end
  local text = read "/metrics".body
  test.equal(text:find('kfhost_policy_verdicts_total{policy="never",verdict="denied"} 1', 1, true) ~= nil, true)
  test.equal(text:find('kfhost_policy_seconds_count{policy="label"} 1', 1, true) ~= nil, true)
  test.equal((text .. json.encode(lines)):find("canary", 1, true), nil)
  test.equal(read "/healthz".status, 200)
  test.equal(read "/readyz".status, 200)
  stop(service)
end)

-- --- what reviews may look at ------------------------------------------------------------------------

local CLAIMS = { plural = "persistentvolumeclaims", group = "" }

local MANY = require "host".gc_stress() and 300 or 6000 -- all of it is looked at with every collection

local function claim(number, size)
  return json.encode { apiVersion = "v1", kind = "PersistentVolumeClaim",
    metadata = { name = "c-" .. number, namespace = "team-a", annotations = { note = ("x"):rep(12000000 // MANY) } },
    spec = { resources = { requests = { storage = size } } } }
end

test("a large cache crosses as text, and of it only what has changed", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", [[local policy = require "policy"
    policy.grant { reads = { "persistentvolumeclaims" } }
    policy.validate { name = "sizes", timeout = "20s", match = { resource = "pods" }, check = function(req)
      local claim = req:lookup("persistentvolumeclaims", "team-a", "c-7")
      req:warn("%d, %s", #req:find "persistentvolumeclaims", claim and claim.spec.resources.requests.storage or "gone")
    end }]])
  local set = policy.load(directory .. "/site.lua")
  local frames = {}
  for i = 1, MANY do frames[i] = cache.frame(CLAIMS, "team-a", "c-" .. i, "1", claim(i, "1Gi")) end
  local text = table.concat(frames)
  test.equal(#text > 12e6, true)
  local changes, known = cache.changes(text, {})
  test.equal(#changes, MANY)
  set:publish(changes, #text)
  local function warning()
    local said, records = set:answer(json.decode(review()))
    return said.response.warnings and said.response.warnings[1] or records[1].message
  end
  test.equal(warning(), MANY .. ", 1Gi")
  test.equal(set:is_crowded(), false)
  frames[7] = cache.frame(CLAIMS, "team-a", "c-7", "2", claim(7, "2Gi"))
  table.remove(frames)
  changes, known = cache.changes(table.concat(frames), known)
  test.equal(#changes, 2)
  set:publish(changes, #text)
  test.equal(warning(), MANY - 1 .. ", 2Gi")
  changes, known = cache.changes("", known)
  test.equal(#changes, MANY - 1)
  set:publish(changes, 0)
  test.equal(warning(), "0, gone")
  test.equal(next(known), nil)
  set:close()
end)
