-- Configuration of the client: files, merging, contexts, what is wrong with them; credentials; plugins.
local test = require "test"
local auth = require "kube.auth"
local errors = require "errors"
local exec_plugin = require "kube.exec_plugin"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local kube = require "kube"
local kubeconfig = require "kube.kubeconfig"
local proc = require "proc"
local host = require "host"

local function write(folder, name, text)
  local path = folder .. "/" .. name
  fs.write(path, text)
  return path
end

local FIRST = [[
apiVersion: v1
kind: Config
current-context: team
clusters:
- name: one
  cluster:
    server: https://one.example:6443/
    certificate-authority: ca.pem
contexts:
- name: team
  context: {cluster: one, user: dev, namespace: team}
users:
- name: dev
  user:
    token: first-token
]]

local SECOND = [[
current-context: other
clusters:
- {name: one, cluster: {server: "https://second.example"}}
- {name: two, cluster: {server: "https://two.example", tls-server-name: real.example, proxy-url: "http://proxy:3128"}}
contexts:
- {name: other, context: {cluster: two, user: admin}}
users:
- name: dev
  user: {token: second-token}
- name: admin
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
    as: boss
    as-groups: [a, b]
]]

-- Runs code in a process of its own, where KUBECONFIG and the home folder are what the test wants.
local function run(code, env, ...)
  local command = { host.executable(), ... }
  table.move({ "-e", code }, 1, 2, #command + 1, command)
  command.env = env
  return proc.run(command)
end

test("several files are merged: the first entry of a name wins, and so does the first current-context", function()
  local folder = test.tmpdir()
  local first, second = write(folder, "first", FIRST), write(folder, "second", SECOND)
  local result = run([[
    local json = require "json"
    local config = require "kube".kubeconfig()
    print(json.encode({ config["current-context"], #config.clusters, #config.users,
      config.clusters[1].cluster.server, config.users[1].user.token, config:context("other").proxy }))]],
    { KUBECONFIG = first .. ":" .. folder .. "/missing::" .. second })
  test.same(json.decode(result.stdout),
    { "team", 2, 2, "https://one.example:6443/", "first-token", "http://proxy:3128" })
end)

test("a context is a cluster and a user; inline material is bytes, relative paths are the file's", function()
  local folder = test.tmpdir()
  write(folder, "ca.pem", "AUTHORITY")
  local context = kube.kubeconfig(write(folder, "config", FIRST)):context()
  test.equal(context.server, "https://one.example:6443")
  test.equal(context.ca, "AUTHORITY")
  test.equal(context.namespace, "team")
  local other = kube.kubeconfig(write(folder, "second", SECOND)):context "other"
  test.equal(other.certificate, "CERT")
  test.equal(other.key, "KEY")
  test.equal(other.server_name, "real.example")
  test.same(other.user["as-groups"], { "a", "b" })
end)

local BROKEN = {
  { "not YAML", "a: [1", line = 1 },
  { "no map", "- a", message = "a map expected" },
  { "a wrong type", FIRST:gsub("token: first%-token", "token: 12"), line = 15, key = "users[0].user.token" },
  { "bad Base64", SECOND:gsub("Q0VSVA==", "a*b"), line = 12, key = "users[1].user.client-certificate-data",
    context = "other" },
  { "a name twice", FIRST .. "- name: dev\n", line = 16, key = "users[1].name", message = "two named 'dev'" },
  { "an unknown cluster", FIRST:gsub("cluster: one", "cluster: tow"), line = 11, message = "no cluster named 'tow'" },
  { "an unknown user", FIRST:gsub("user: dev", "user: dav"), message = "there are: dev" },
  { "an unknown current-context", FIRST:gsub("current%-context: team", "current-context: taem"), line = 3,
    key = "current-context", message = "no context named 'taem'" },
  { "a missing server", FIRST:gsub("server:", "serve:"), line = 6, key = "clusters[0].cluster.server" },
  { "a server that is no address", FIRST:gsub("https://", ""), line = 7 },
  { "a file that is not there", FIRST, line = 8, message = "ca.pem cannot be read" },
  { "both a token and a name", FIRST .. "    username: me\n", line = 15, message = "only one" },
  { "a certificate without key", SECOND:gsub("client%-key%-data", "other"), context = "other",
    message = "without its key" },
}

for _, case in ipairs(BROKEN) do
  test("a kubeconfig with " .. case[1] .. " is told with file, line and key", function()
    local folder = test.tmpdir()
    local path = write(folder, "config", case[2])
    local err = test.raises("Kubeconfig", function() kube.kubeconfig(path):context(case.context) end)
    test.equal(err.path, path)
    if case.line then test.equal(err.line, case.line) end
    if case.key then test.equal(err.key, case.key) end
    if case.message then assert(err.message:find(case.message, 1, true), err.message) end
    assert(not tostring(err):find "first%-token", "the token is in the message")
  end)
end

test("an empty file is an empty configuration, a missing one that was named is an error", function()
  local folder = test.tmpdir()
  test.equal(kube.kubeconfig(write(folder, "empty", "")):is_empty(), true)
  test.raises("Kubeconfig", function() kube.kubeconfig(folder .. "/missing") end)
end)

test("in a pod its own files are the configuration", function()
  local folder = test.tmpdir()
  write(folder, "token", "pod-token\n")
  write(folder, "namespace", "team-a\n")
  local code = ([[
    local c = require "kube".connect { service_account = %q }
    print(c.server, c.namespace, c.auth:headers().Authorization)]]):format(folder)
  local result = run(code, { KUBECONFIG = false, HOME = folder, KUBERNETES_SERVICE_HOST = "10.0.0.1",
    KUBERNETES_SERVICE_PORT = "443" })
  test.equal(result.stdout, "https://10.0.0.1:443\tteam-a\tBearer pod-token\n")
  local nothing = run('require "kube".connect()',
    { KUBECONFIG = false, HOME = folder, KUBERNETES_SERVICE_HOST = false })
  assert(nothing.stderr:find "no cluster is named", nothing.stderr)
end)

test("options before the script reach the connection; a guard rail cannot be taken back by the script", function()
  local folder = test.tmpdir()
  write(folder, "ca.pem", "AUTHORITY")
  local first, second = write(folder, "first", FIRST), write(folder, "second", SECOND)
  local result = run([[
    local c = require "kube".connect { readonly = false }
    print(c.server, c.namespace, c.as, table.concat(c.as_groups, "+"), c.readonly, c.dry_run)]],
    { KUBECONFIG = first .. ":" .. second }, "--context", "other", "--namespace", "n", "--as", "me", "--as-group", "x",
    "--as-group", "y", "--readonly")
  test.equal(result.stdout, "https://two.example\tn\tme\tx+y\ttrue\tnil\n", result.stderr)
end)

-- --- credentials ----------------------------------------------------------------------------------------

local function jwt(claims)
  local function part(value) return (hash.base64(json.encode(value)):gsub("+", "-"):gsub("/", "_"):gsub("=", "")) end
  return part { alg = "none" } .. "." .. part(claims) .. ".c2ln"
end

local function new_auth(user, more)
  local said, context = {}, { context = "c", server = "https://10.1.2.3", user = user, user_name = "u" }
  for key, value in pairs(more or {}) do context[key] = value end
  return auth.new(context, { warn = function(text) said[#said + 1] = text end, clock = context.clock }), said
end

test("a token that nobody renews is warned of half an hour before its end, once", function()
  local now = 1000000
  local a, said = new_auth({ token = jwt { exp = now + 7200 } }, {
    user_name = "wcp:10.1.2.3:dev@vsphere.local", clock = function() return now end,
  })
  a:headers()
  test.same(said, {})
  now = now + 7200 - 1500
  a:headers()
  a:headers()
  test.equal(#said, 1)
  assert(said[1]:find("ends in 25m; log in again: kubectl vsphere login --server=10.1.2.3", 1, true), said[1])
end)

test("a token file is read again after a minute, and at once after a 401", function()
  local now = 0
  local path = write(test.tmpdir(), "token", "one")
  local a = new_auth({ tokenFile = path }, { clock = function() return now end })
  test.equal(a:headers().Authorization, "Bearer one")
  fs.write(path, "two\n")
  test.equal(a:headers().Authorization, "Bearer one")
  test.equal(a:renew(), true)
  test.equal(a:headers().Authorization, "Bearer two")
  fs.write(path, "three")
  now = 60
  test.equal(a:headers().Authorization, "Bearer three")
  test.equal(a:renew(), false)
end)

test("a user name and a password are basic authorization", function()
  local a = new_auth { username = "me", password = "pw" }
  test.equal(a:headers().Authorization, "Basic " .. hash.base64 "me:pw")
end)

-- A plugin that prints what the test wants; it appends to a file each time it runs.
local function plugin(folder, output)
  local path = write(folder, "plugin", "#!/bin/sh\necho run >>" .. folder .. "/runs\n" .. output)
  proc.run { "chmod", "+x", path }
  return { apiVersion = "client.authentication.k8s.io/v1", command = path, interactiveMode = "Never" }
end

local function credential(status, version)
  return "cat <<'END'\n" .. json.encode {
    apiVersion = "client.authentication.k8s.io/" .. (version or "v1"), kind = "ExecCredential", status = status,
  } .. "\nEND\n"
end

test("a plugin's credential is kept until its end, and asked for again after a 401", function()
  local folder, now = test.tmpdir(), os.time { year = 2026, month = 1, day = 1, hour = 12 }
  local spec = plugin(folder, credential { token = "t", expirationTimestamp = "2030-01-01T00:00:00Z" })
  local a = new_auth({ exec = spec }, { clock = function() return now end })
  for _ = 1, 3 do test.equal(a:headers().Authorization, "Bearer t") end
  test.equal(fs.read(folder .. "/runs"), "run\n")
  a:renew()
  a:headers()
  test.equal(fs.read(folder .. "/runs"), "run\nrun\n")
  now = os.time { year = 2030, month = 1, day = 2 }
  a:headers()
  a:headers()
  test.equal(fs.read(folder .. "/runs"), ("run\n"):rep(4))
end)

test("a plugin may give a certificate, and learns of the cluster when it asks to", function()
  local folder = test.tmpdir()
  local spec = plugin(folder, 'printf %s "$KUBERNETES_EXEC_INFO$EXTRA" >' .. folder .. "/info\n"
    .. credential { clientCertificateData = "CERT", clientKeyData = "KEY" })
  spec.provideClusterInfo, spec.env = true, { { name = "EXTRA", value = "!" } }
  local certificate, key = new_auth({ exec = spec }, { ca = "AUTHORITY" }):certificate()
  test.equal(certificate, "CERT")
  test.equal(key, "KEY")
  local info = fs.read(folder .. "/info")
  test.equal(info:sub(-1), "!")
  local spec_seen = json.decode(info:sub(1, -2)).spec
  test.equal(spec_seen.interactive, false)
  test.equal(spec_seen.cluster.server, "https://10.1.2.3")
  test.equal(hash.unbase64(spec_seen.cluster["certificate-authority-data"]), "AUTHORITY")
end)

local BAD_PLUGINS = {
  { "ends with an error", "echo canary-token; exit 3", "exit code 3" },
  { "prints no JSON", "echo canary-token", "did not print" },
  { "answers in another version", credential({ token = "canary-token" }, "v1beta1"), "answers in apiVersion" },
  { "gives nothing", credential {}, "neither a token nor a certificate" },
  { "gives half a pair", credential { clientKeyData = "canary-token" }, "only one of certificate and key" },
}
for _, case in ipairs(BAD_PLUGINS) do
  test("a plugin that " .. case[1] .. " is an error that shows nothing it printed", function()
    local a = new_auth { exec = plugin(test.tmpdir(), case[2]) }
    local err = test.raises("Auth", function() a:headers() end)
    assert(err.message:find(case[3], 1, true), err.message)
    assert(not errors.text(err):find "canary", errors.text(err))
  end)
end

test("a plugin's fields may be null, and its command may lie beside the file", function()
  local folder = test.tmpdir()
  plugin(folder, credential { token = "t" })
  local path = write(folder, "config", [[
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://s", tls-server-name: null}}]
users:
- name: u
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: null, env: null, installHint: null,
      interactiveMode: Never, provideClusterInfo: false}
]])
  local context = kube.kubeconfig(path):context()
  test.equal(exec_plugin.run(context.user.exec, context, "allow").token, "t")
end)

test("a plugin that is not there says how to get it", function()
  local a = new_auth { exec = { apiVersion = "client.authentication.k8s.io/v1beta1", command = "no-such-plugin",
    installHint = "get it from your administrator" } }
  local err = test.raises("Auth", function() a:headers() end)
  assert(err.message:find("get it from your administrator", 1, true), err.message)
end)

test("plugins run only where they are allowed, and never out of a file that others can write", function()
  local folder = test.tmpdir()
  local spec = plugin(folder, credential { token = "t" })
  local context = { context = "c", server = "https://s", user_name = "u" }
  test.equal(exec_plugin.run(spec, context, "allow").token, "t")
  test.equal(exec_plugin.run(spec, context, { "plugin" }).token, "t")
  test.raises("Auth", function() exec_plugin.run(spec, context, "deny") end)
  test.raises("Auth", function() exec_plugin.run(spec, context, { "other" }) end)
  context.path = write(folder, "config", "")
  proc.run { "chmod", "666", context.path }
  test.raises("can be written by others", function() exec_plugin.run(spec, context, "allow") end)
end)

test("a plugin that must ask is refused without a terminal, and v1 must say whether it asks", function()
  local spec = plugin(test.tmpdir(), credential { token = "t" })
  local context = { user_name = "u" }
  spec.interactiveMode = "Always"
  test.raises("no terminal", function() exec_plugin.run(spec, context) end)
  spec.interactiveMode = nil
  test.raises("interactiveMode is missing", function() exec_plugin.run(spec, context) end)
  spec.apiVersion = "client.authentication.k8s.io/v1alpha1"
  test.raises("none of", function() exec_plugin.run(spec, context) end)
end)

test("the moments of Kubernetes are read and written", function()
  local time = require "kube.time"
  test.equal(time.parse "1970-01-01T00:00:00Z", 0)
  test.equal(time.parse "2024-02-29T23:59:59Z", 1709251199)
  test.equal(time.parse "2026-11-23T20:09:29.500000+01:30", 1795464569.5 - 5400)
  test.equal(time.parse "yesterday", nil)
  test.equal(time.text(1709251199), "2024-02-29T23:59:59Z")
  test.equal(time.micro(1709251199.25), "2024-02-29T23:59:59.250000Z")
  local ages = { [95] = "95s", [185] = "3m5s", [600] = "10m", [3600 * 5 + 60] = "5h1m", [86400 * 3 + 3600] = "3d1h",
    [86400 * 800] = "2y70d" }
  for seconds, text in pairs(ages) do test.equal(time.age(seconds), text) end
end)

test("kubeconfig.load is what kube.kubeconfig gives", function()
  test.equal(kube.kubeconfig, kubeconfig.load)
end)
