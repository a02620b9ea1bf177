-- No body, token or secret value reaches a log, an error or a diff: a script does everything that can go wrong with a
-- canary in hand, and whatever it prints is searched.
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local json = require "json"
local proc = require "proc"
local server = require "test.server"

local CANARY = "canary-5f1e"

-- All forms in which it could show.
local FORMS = { CANARY, hash.base64(CANARY), hash.base64(CANARY):sub(1, 12), (CANARY:gsub("%-", "%%2D")) }

-- Everything of an error that a script could print.
local SCRIPT = [[
local canary = %q
local errors, json, kube, task = require "errors", require "json", require "kube", require "task"

local function dump(value, depth)
  if type(value) ~= "table" then return tostring(value) end
  if depth > 6 then return "…" end
  local parts = { tostring(value) }
  for key, field in pairs(value) do parts[#parts + 1] = tostring(key) .. "=" .. dump(field, depth + 1) end
  return table.concat(parts, "\n")
end
local function try(...)
  local result = table.pack(pcall(...))
  print(result[1], result[1] and "" or dump(result[2], 1))
end

local secret = { apiVersion = "v1", kind = "Secret", metadata = { name = "s" }, stringData = { password = canary } }
local pod = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = { { name = "m",
  env = { { name = "API_TOKEN", value = canary } } } } } }

for _, mode in ipairs { "ok", "status", "page", "plain", "garbage", "cut", "drop" } do
  local c = kube.connect { manager = "test", timeout = 5 }
  c.server = c.server .. "/" .. mode
  try(c.create, c, secret)
  try(c.create, c, pod)
  try(c.update, c, secret)
  try(c.apply, c, secret)
  try(c.patch, c, "secrets", "s", { stringData = { password = canary } })
  try(c.patch, c, "secrets", "s", { { op = "add", path = "/stringData/password", value = canary } }, { type = "json" })
  try(c.get, c, "secrets", "s")
  try(c.list, c, "secrets")
  try(c.table, c, "secrets")
  try(c.delete, c, "secrets", "s")
  try(c.edit, c, "secrets", "s", function(object) object.stringData = { password = canary } end)
  try(c.request, c, "POST", "/api/v1/secrets", { body = secret })
  try(c.event, c, pod, "Normal", "Made", "made it")
  try(function() for _ in c:watch("secrets", { timeout = 1 }) do end end)
  try(c.exec, c, { pod = "p", command = { "sh" }, stdin = canary, timeout = 5 })
  local i = c:informer { kind = "secrets", handler = function() error "the handler failed" end }
  pcall(i.sync, i, 0.2)
  task.sleep(0.05)
  print(dump(i:stats(), 1))
  i:stop()
  c:close()
end

-- the difference that somebody who approves sees
local shown = {}
local c = kube.connect { approve = function(question) shown[#shown + 1] = question return false end }
c.server = c.server .. "/ok"
try(c.update, c, secret)
try(c.update, c, pod)
try(c.patch, c, "secrets", "s", { data = { password = canary } })
try(c.patch, c, "secrets", "s", { { op = "add", path = "/data/x", value = canary } }, { type = "json" })
try(c.create, c, secret)
try(c.delete, c, "secrets", "s")
print(table.concat(shown, "\n"))

-- a configuration with a token, broken after it
try(kube.kubeconfig, %q)
]]

local function secret_text()
  return json.encode { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default", uid = "u",
    resourceVersion = "7" }, data = { password = hash.base64(CANARY) } }
end

-- Answers that hold the canary wherever a server can put it, but in the words of a Status.
local MODES = {}
function MODES.ok(request)
  if (request.query or ""):find "watch=" then
    return { body = '{"type":"ADDED","object":' .. secret_text() .. "}\n{\"type\":\"MODIFIED\",\"obj" }
  end
  local is_list = request.method == "GET" and request.path:find "/secrets$"
  local list = ('{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[%s]}')
    :format(secret_text())
  return { body = is_list and list or secret_text() }
end
function MODES.status()
  return { status = 422, body = json.encode { kind = "Status", status = "Failure", reason = "Invalid", code = 422,
    message = "invalid" } }
end
function MODES.page()
  return { status = 502, headers = { ["Content-Type"] = "text/html" },
    body = "<html><title>Login</title><body>" .. CANARY .. "</body></html>" }
end
function MODES.plain()
  return { status = 500, body = "it broke\n" .. CANARY }
end
function MODES.garbage()
  return { body = '{"kind":"Secret","data":{"password":"' .. CANARY .. '"}, ]' }
end
function MODES.cut(request)
  local text = MODES.ok(request).body
  return { body = text:sub(1, #text - 10) }
end
function MODES.drop(request)
  request.exchange:reset()
end

test("a script that does everything wrong with a secret in hand shows nothing of it", function()
  local s <close> = server.start { handler = function(request)
    local mode, path = request.path:match "^/(%l+)(/.*)$"
    request.path = path
    local response = MODES[mode](request)
    if response then response.headers = response.headers or { ["Content-Type"] = "application/json" } end
    return response
  end }
  local folder = test.tmpdir()
  fs.write(folder .. "/config", ([[
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: %q}}]
users: [{name: u, user: {token: %s}}]
]]):format(s.url, CANARY))
  local broken = "users:\n- name: u\n  user:\n    token: %s\n    password: [%s\n"
  fs.write(folder .. "/broken", broken:format(CANARY, CANARY))
  local result = proc.run {
    host.executable(), "-e", SCRIPT:format(CANARY, folder .. "/broken"), timeout = 50,
    env = { KUBECONFIG = folder .. "/config", KUBECACHEDIR = folder .. "/cache" },
  }
  test.equal(result.code, 0)
  local said = result.stdout .. result.stderr
  assert(select(2, said:gsub("\n", "")) > 200, "it said something")
  assert(said:find '"event":"write"' and said:find "Invalid" and said:find "%(hidden%)" and said:find "web page", said)
  for _, form in ipairs(FORMS) do
    local at = said:find(form, 1, true)
    assert(not at, "shown: " .. said:sub(math.max(1, (at or 1) - 300), (at or 1) + 60))
  end
  for _, name in ipairs(fs.list(folder)) do
    assert(name == "config" or name == "broken" or name == "cache", name .. " was written")
  end
end)
