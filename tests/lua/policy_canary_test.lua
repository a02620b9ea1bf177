-- The value of a Secret, in all that the host writes: audit, log, metrics, status, events, findings, reports, and what
-- the commands print. The policies do their best to let it out.
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local serve = require "lab.serve"
local task = require "task"
local yaml = require "yaml"
local wait_until = dofile "tests/lua/support/wait.lua"

local CANARY = "canary-5up3r s3cret"
local FORMS = { CANARY, hash.base64(CANARY), "5up3r" }

local SITE = [[
local policy = require "policy"
local json = require "json"
policy.grant { reads = { "secrets" }, writes = { { resource = "secrets", verbs = { "patch" } } } }
local function value_of(secret)
  return require "hash".unbase64(secret.data.token)
end
local function rule(kind, name, mode, run)
  policy[kind] { name = name, mode = mode, match = { resource = "secrets" }, on_error = "allow",
    [kind == "mutate" and "apply" or "check"] = function(req)
      return run(req, value_of(req.object), req:lookup("secrets", req.namespace, "token"))
    end }
end
rule("validate", "denies", "warn", function(req, value) return req:deny("it is %s", value) end)
rule("validate", "denies-all", "audit", function(req) return req:deny(json.encode(req.object)) end)
rule("validate", "warns", "enforce", function(req, value) req:warn("it is %s, %s", value, req.object.data.token) end)
rule("validate", "notes", "enforce", function(req, value)
  req:audit("value", value)
  req:audit(req.object.data.token:gsub("=", ""), "x")
end)
rule("validate", "fails", "enforce", function(_, value) error("it is " .. value) end)
rule("validate", "raises", "enforce", function(_, value) error { code = value, message = value } end)
rule("validate", "looks", "enforce", function(_, _, known) error(known and value_of(known) or "not known") end)
rule("mutate", "labels", "dry", function(req)
  req.object.metadata.labels = { same = "x" }
  req.object.metadata.annotations[value_of(req.object)] = "a key"
end)
rule("mutate", "would-label", "warn", function(req)
  req.object.metadata.annotations[value_of(req.object)] = "a key"
end)
policy.watch { name = "follows", resource = "secrets", label = "task", reconcile = function(secret, ctx)
  local value = value_of(secret)
  ctx:event(secret, "Warning", "Leak", "it is %s", value)
  ctx:log("it is %s", value)
  ctx:patch(secret, { metadata = { labels = { value = value } } }, { type = "merge" }) -- no label: the server says so
end }
policy.explain { resource = "secrets", run = function(secret) return { "it is " .. value_of(secret) } end }
]]

local CHANGING = [[
rule("mutate", "changes", "enforce", function(req) req.object.data.more = req.object.data.token end)
]]

local function find_canary(where, text)
  for _, form in ipairs(FORMS) do
    local at = text:find(form, 1, true)
    if at then error(("%s: %s"):format(where, text:sub(math.max(1, at - 200), at + 60)), 0) end
  end
end

local function secret(name)
  return { apiVersion = "v1", kind = "Secret", metadata = { name = name, namespace = "team-a",
    labels = { task = "yes" }, annotations = { a = "b" } },
    data = { token = hash.base64(CANARY) } }
end

local function read_all(process, stream, lines)
  return task.spawn(function()
    for line in function() return process:read_line(stream, 120) end do lines[#lines + 1] = line end
  end)
end

test("a Secret's value appears in nothing that a served policy has the host write", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", SITE)
  local lab <close> = serve.start { nodes = 0 }
  lab:write_kubeconfig(directory .. "/kubeconfig")
  local env = { KUBECONFIG = directory .. "/kubeconfig", KFHOST_PATH = false, ASAN_OPTIONS = "detect_leaks=0" }
  local c = kube.connect { kubeconfig = directory .. "/kubeconfig", log = function() end }
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a" } }
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "kfhost-system" } }
  c:create(secret "token")

  local said, audited = {}, {}
  local process = proc.spawn { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
    "--ops-port", "0", "--workers", "1", "--register", "true", stdout = "pipe", stderr = "pipe", env = env }
  local readers = { read_all(process, "stdout", audited), read_all(process, "stderr", said) }
  local operations = wait_until("its ports", function()
    return table.concat(said, "\n"):match "health on http://127.0.0.1:(%d+)"
  end)
  local function get(path)
    return http.request { url = ("http://127.0.0.1:%s%s"):format(operations, path), timeout = 20 }
  end
  wait_until("it is ready", function() return get "/readyz".status == 200 end)
  wait_until("it is registered", function() return table.concat(said, "\n"):find "registered Validating" end)

  local _, warnings = c:create(secret "new")
  test.equal(#warnings > 3, true)
  find_canary("warnings", json.encode(warnings))
  test.equal(json.encode(warnings):find("it is ***", 1, true) ~= nil, true)
  wait_until("the audit", function() return #audited >= 9 end)
  wait_until("an event", function()
    for _, event in ipairs(c:list("events", { namespace = "team-a" })) do
      if event.reason == "Leak" then return event.message == "it is ***" end
    end
  end)
  wait_until("the watch fails", function() return table.concat(said, "\n"):find("follows: Invalid", 1, true) end)
  local metrics = wait_until("metrics", function()
    local text = get "/metrics".body
    return text:find("verdict=\"error\"", 1, true) and text
  end)
  find_canary("metrics", metrics)
  find_canary("status", get "/status".body)
  local status = wait_until("a status with the failure", function()
    local map = c.try:get("configmaps", "kfhost-policy-status", { namespace = "kfhost-system" })
    local text = map and json.encode(map) or ""
    return text:find("follows: Invalid", 1, true) and text
  end)
  find_canary("status of the replica", status)
  find_canary("events", json.encode(c:list("events", { namespace = "*" })))

  local function run(...)
    local words = { host.executable(), "policy", ... }
    words.env, words.timeout = env, 120
    local result = proc.run(words)
    find_canary((...) .. ", standard output", result.stdout)
    find_canary((...) .. ", standard error", result.stderr)
    return result.stdout .. result.stderr
  end
  local site = directory .. "/site.lua"
  fs.write(directory .. "/secret.yaml", yaml.encode(secret "new"))
  test.equal(run("audit", site):find("it is ***", 1, true) ~= nil, true)
  run("audit", site, "--json")
  test.equal(run("audit", site, "--report"):find("PolicyReport", 1, true) ~= nil, true)
  test.equal(run("explain", site, "--object", "secret/new", "-n", "team-a"):find("it is ***", 1, true) ~= nil, true)
  run("status")
  fs.write(directory .. "/site.lua", SITE .. CHANGING)
  test.equal(run("apply", site, "--diff", "-f", directory .. "/secret.yaml"):find("+  more: (hidden)", 1, true) ~= nil,
    true)
  fs.write(directory .. "/review.json", json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview",
    request = { uid = "u", operation = "CREATE", kind = { group = "", version = "v1", kind = "Secret" },
      resource = { group = "", version = "v1", resource = "secrets" }, namespace = "team-a", name = "new",
      userInfo = { username = "ann" }, object = secret "new" },
    response = { uid = "u", allowed = true } })
  test.equal(run("test", site, "--review", directory .. "/review.json"):find("becomes another one", 1, true) ~= nil,
    true)
  process:kill "TERM"
  test.equal(process:wait(60).code, 143)
  for _, reader in ipairs(readers) do reader:wait(60) end
  find_canary("the log", table.concat(said, "\n"))
  find_canary("the audit", table.concat(audited, "\n"))
  c:close()
end)
