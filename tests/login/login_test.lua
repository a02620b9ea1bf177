-- Logging in by the client at a real Dex, of two versions, behind a real oauth2-proxy, in front of a lab's Pipelines of
-- several users: people of Dex's own and of an LDAP server (slapd). Needs what `./dev login` builds and installs.
local client = require "kfp.client"
local fs = require "fs"
local kubeflow = require "lab.kubeflow"
local net = require "net"
local proc = require "proc"
local test = require "test"
local wait = dofile "tests/lua/support/wait.lua"

local BUILT = "build/login/"
local EMAIL, PASSWORD = "user@example.com", "it's & 100% <right>"
local LDAP_USER, LDAP_EMAIL, LDAP_PASSWORD = "anna", "anna@example.org", "söm+word"

local function free_port()
  local socket <close> = net.listen { port = 0 }
  return select(2, socket:here())
end

local function listens(port)
  local socket = net.try.connect { port = port }
  if socket then socket:close() end
  return socket ~= nil
end

local function wait_until(what, holds) return wait(what, holds, 30) end

-- --- the servers ------------------------------------------------------------------------------------------------

local SLAPD = [[
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %s/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw admin
directory %s/data
]]

local PEOPLE = [[
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=%s,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: %s
cn: Anna
sn: Anna
mail: %s
userPassword: %s
]]

local function start_slapd(folder)
  fs.mkdir(folder .. "/data", { parents = true })
  fs.write(folder .. "/slapd.conf", SLAPD:format(folder, folder))
  local people = PEOPLE:format(LDAP_USER, LDAP_USER, LDAP_EMAIL, LDAP_PASSWORD)
  local added = proc.run { "/usr/sbin/slapadd", "-f", folder .. "/slapd.conf", stdin = people }
  assert(added.code == 0, added.stderr)
  local port = free_port()
  local slapd = proc.spawn { "/usr/sbin/slapd", "-d", "0", "-f", folder .. "/slapd.conf", "-h",
    ("ldap://127.0.0.1:%d"):format(port), stdout = "null", stderr = "null", grace = 2 }
  wait_until("slapd", function() return listens(port) end)
  return slapd, ("127.0.0.1:%d"):format(port)
end

local function start_dex(version, redirect, ldap)
  local words = { BUILT .. "dex-" .. version, BUILT .. "web-" .. version, redirect, EMAIL, PASSWORD, ldap,
    stdin = "pipe", stderr = "null", grace = 2 }
  local dex = proc.spawn(words)
  return dex, assert(dex:read_line(nil, "20s"), "dex says nothing")
end

local PROXY = [[
upstreamConfig:
  upstreams:
  - {id: kfp, path: /, uri: %q}
injectRequestHeaders:
- {name: kubeflow-userid, values: [{claimSource: {claim: email}}]}
server:
  bindAddress: 127.0.0.1:%d
providers:
- id: dex
  provider: oidc
  clientID: kubeflow
  clientSecret: secret
  scope: openid profile email
  oidcConfig:
    issuerURL: %q
    insecureAllowUnverifiedEmail: true
    audienceClaims: [aud]
    emailClaim: email
    userIDClaim: email
]]

local function start_proxy(folder, port, issuer, upstream, skip_button)
  local path = folder .. "/proxy.yaml"
  fs.write(path, PROXY:format(upstream, port, issuer))
  local proxy = proc.spawn { BUILT .. "oauth2-proxy", "--alpha-config", path, "--email-domain=*",
    "--cookie-secret=0123456789abcdef", "--cookie-secure=false", "--cookie-name=oauth2_proxy_kubeflow",
    "--skip-provider-button=" .. tostring(skip_button),
    "--redirect-url", ("http://127.0.0.1:%d/oauth2/callback"):format(port),
    stdout = { file = folder .. "/proxy.log" }, stderr = "stdout", grace = 2 }
  wait_until("oauth2-proxy", function()
    local log = fs.try.read(folder .. "/proxy.log") or ""
    if log:find "unknown flag" or log:find "ERROR:" then error(log:sub(-400), 0) end
    return listens(port)
  end)
  return proxy, ("http://127.0.0.1:%d"):format(port)
end

-- use(address of the gateway, the lab's Pipelines) with everything running.
local function with_gateway(version, options, use)
  local folder = test.tmpdir()
  local cluster = kubeflow.start { root = folder .. "/lab", nodes = 0, multi_user = true, profiles = { "team-a" } }
  cluster.tenants:profile("team-l", LDAP_EMAIL)
  local processes = {}
  local ok, problem = pcall(function()
    local ldap, issuer, address
    if options.ldap then processes[1], ldap = start_slapd(folder) end
    local port = free_port()
    local redirect = ("http://127.0.0.1:%d/oauth2/callback"):format(port)
    processes[#processes + 1], issuer = start_dex(version, redirect, ldap)
    processes[#processes + 1], address = start_proxy(folder, port, issuer, cluster.pipelines.url, options.skip_button)
    use(address)
  end)
  for _, process in ipairs(processes) do
    process:stop()
    process:wait()
  end
  cluster:close()
  if not ok then error(problem, 0) end
end

local function connect(address, dex, namespace)
  return client.connect { endpoint = address, dex = dex, namespace = namespace, environment = function() end }
end

-- What only somebody with rights in the namespace may do.
local function use_pipelines(k, name)
  local made = k.experiments:create { display_name = name, namespace = k.namespace }
  test.equal(k.experiments:get(made.experiment_id).display_name, name)
  test.equal(k.experiments:list()().display_name, name)
end

-- --- what is shown --------------------------------------------------------------------------------------------------

-- The version that Kubeflow 1.10 installs, and one of Kubeflow's first years.
local VERSIONS = { "2.41", "2.13" }

-- A test with each version of Dex: use(address of the gateway).
local function for_each_dex(sentence, options, use)
  for _, version in ipairs(VERSIONS) do
    test(("Dex %s: %s"):format(version, sentence), function() with_gateway(version, options, use) end)
  end
end

for_each_dex("somebody of Dex's own logs in where Dex has nobody else", { skip_button = true }, function(address)
  local k = connect(address, { user = EMAIL, password = PASSWORD }, "team-a")
  use_pipelines(k, "one")
  test.raises("PermissionDenied", function() k.experiments:create { display_name = "x", namespace = "team-l" } end)
  local err = test.raises("Auth", function() connect(address, { user = EMAIL, password = "wrong" }) end)
  assert(err.message:find(EMAIL, 1, true), err.message)
end)

local BOTH = { ldap = true, skip_button = true }

for_each_dex("with two connectors each finds its people, and not the other's", BOTH, function(address)
  use_pipelines(connect(address, { user = EMAIL, password = PASSWORD, connector = "local" }, "team-a"), "one")
  local anna = { user = LDAP_USER, password = LDAP_PASSWORD, connector = "ldap" }
  use_pipelines(connect(address, anna, "team-l"), "two")
  anna.connector = "local"
  test.raises("Auth", function() connect(address, anna) end)
  test.raises("Auth", function() connect(address, { user = EMAIL, password = PASSWORD, connector = "ldap" }) end)
  local err = test.raises("Auth", function() connect(address, { user = "a", password = "b", connector = "saml" }) end)
  assert(err.message:find("saml", 1, true), err.message)
end)

for_each_dex("a page of the proxy's own with a button is passed", { skip_button = false }, function(address)
  use_pipelines(connect(address, { user = EMAIL, password = PASSWORD }, "team-a"), "one")
end)

for_each_dex("without a login the proxy's page is told as what it is", { skip_button = true }, function(address)
  local k = connect(address, nil, "team-a")
  test.raises("Login", function() k.runs:get "x" end)
  local failed
  for _, entry in ipairs(k:diagnose()) do
    if not entry.ok then failed = entry break end
  end
  test.equal(failed.check, "login")
  assert(failed.fix:find("dex", 1, true), failed.fix)
end)
