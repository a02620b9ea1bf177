local test = require "test"
local fs = require "fs"
local http = require "http"
local json = require "json"
local policy = require "policy"
local serve = require "policy.serve"

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

local function start(lines)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", FILE)
  local set = policy.load(directory .. "/site.lua")
  return serve.start(set, { audit = function(line) lines[#lines + 1] = line end })
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
  local metrics = read "/metrics".body
  test.equal(metrics:find('kfhost_policy_verdicts_total{policy="never",verdict="denied"} 1', 1, true) ~= nil, true)
  test.equal(metrics:find('kfhost_policy_seconds_count{policy="label"} 1', 1, true) ~= nil, true)
  test.equal((metrics .. json.encode(lines)):find("canary", 1, true), nil)
  test.equal(read "/healthz".status, 200)
  test.equal(read "/readyz".status, 200)
  stop(service)
end)
