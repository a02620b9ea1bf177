-- The lab's mesh: who gets a sidecar and of which form, how it lives and ends, and what its policies let through.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local TEAM = "/api/v1/namespaces/team/pods"

-- A server that prints who its proxy says is asking.
local SERVER = [[
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        who = (self.headers.get("x-forwarded-client-cert") or "nobody").split("URI=")[-1]
        body = ("%s %s by %s user %s\n" % (self.command, self.path, who, self.headers.get("kubeflow-userid"))).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((os.environ["IP"], 8080), H).serve_forever()
]]

-- Sends the requests "METHOD URL [NAME=VALUE …]" and prints what came.
local ASK = [[
import sys, urllib.request, urllib.error
for line in sys.argv[1:]:
    method, url, *headers = line.split(" ")
    r = urllib.request.Request(url, method=method, data=b"x" if method == "POST" else None,
                               headers=dict(h.replace("%20", " ").split("=", 1) for h in headers))
    try: print(200, urllib.request.urlopen(r, timeout=20).read().decode().strip())
    except urllib.error.HTTPError as e: print(e.code, e.read().decode())
    except Exception as e: print(type(getattr(e, "reason", e)).__name__)
]]

local function namespace(call, name, labels)
  call("POST", "/api/v1/namespaces", { metadata = { name = name, labels = labels } })
  pods.eventually("the namespace has its account and certificate", function()
    local ok = pcall(call, "GET", ("/api/v1/namespaces/%s/serviceaccounts/default"):format(name))
    return ok and pcall(call, "GET", ("/api/v1/namespaces/%s/configmaps/istio-ca-root-cert"):format(name))
  end)
end

local function service(call, name, port)
  call("POST", ("/api/v1/namespaces/%s/services"):format(name), { metadata = { name = "site" }, spec = {
    selector = { app = "web" }, ports = { { port = 80, targetPort = 8080, name = port or "http" } } } })
end

local function serve(call, name, labels, annotations)
  local path = ("/api/v1/namespaces/%s/pods"):format(name)
  labels = labels or {}
  labels.app = "web"
  call("POST", path, { metadata = { name = "web", labels = labels, annotations = annotations }, spec = {
    terminationGracePeriodSeconds = 1, containers = { pods.python(SERVER, { ports = { { containerPort = 8080 } },
      env = { { name = "IP", valueFrom = { fieldRef = { fieldPath = "status.podIP" } } } },
      readinessProbe = { httpGet = { path = "/ready", port = 8080 }, periodSeconds = 1, failureThreshold = 100,
        timeoutSeconds = 10 } }) } } })
  return pods.ready(call, "web", path)
end

local function ask(...)
  local container = pods.python(ASK)
  table.move({ ... }, 1, select("#", ...), 5, container.command)
  return container
end

-- Runs a pod with the requests to its end (a classic proxy is told to quit), and gives what it printed, in lines.
local function asked(cluster, call, path, name, metadata, ...)
  metadata.name = name
  call("POST", path, { metadata = metadata, spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 1,
    containers = { ask(...) } } })
  pods.eventually(name .. " has asked", function()
    local s = call("GET", path .. "/" .. name).status.containerStatuses
    return s and s[1].state.terminated
  end)
  local lines = {}
  for line in pods.log(cluster, name, "main", path):gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

local function put(call, group, plural, namespaced, name, spec)
  call("POST", ("/apis/%s.istio.io/v1/namespaces/%s/%s"):format(group, namespaced, plural), {
    metadata = { name = name }, spec = spec })
end

local ENABLED = { ["istio-injection"] = "enabled" }
local NATIVE = { ["sidecar.istio.io/nativeSidecar"] = "true" }

-- --- who gets one, and how it looks -------------------------------------------------------------------

local function names(list)
  local out = {}
  for i, container in ipairs(list or {}) do out[i] = container.name end
  return table.concat(out, " ")
end

test("a pod gets its sidecar by the labels of namespace and pod, in the form that it asks for", function()
  pods.with({ nodes = 0, mesh = { native = false } }, function(_, call)
    call("POST", "/api/v1/namespaces", { metadata = { name = "team", labels = ENABLED } })
    call("POST", "/api/v1/namespaces", { metadata = { name = "other" } })
    for _, name in ipairs { "team", "other" } do
      call("POST", ("/api/v1/namespaces/%s/serviceaccounts"):format(name), { metadata = { name = "own" } })
    end
    local function form(name, labels, annotations)
      local made = call("POST", ("/api/v1/namespaces/%s/pods"):format(name), { metadata = { generateName = "p-",
        labels = labels, annotations = annotations }, spec = { serviceAccountName = "own",
        initContainers = { { name = "first", image = "busybox" } },
        containers = { { name = "main", image = "busybox" } } } })
      return names(made.spec.initContainers) .. " | " .. names(made.spec.containers), made
    end
    local inject = "sidecar.istio.io/inject"
    test.equal(form "team", "istio-validation first | main istio-proxy")
    test.equal(form("team", nil, NATIVE), "istio-validation istio-proxy first | main")
    test.equal(form("team", nil, { ["proxy.istio.io/config"] = '{"holdApplicationUntilProxyStarts": true}' }),
      "istio-validation first | istio-proxy main")
    test.equal(form("team", { [inject] = "false" }), "first | main")
    test.equal(form("team", nil, { [inject] = "false" }), "first | main")
    test.equal(form("other", nil, { [inject] = "true" }), "first | main")
    local shape, made = form("other", { [inject] = "true" })
    test.equal(shape, "istio-validation first | main istio-proxy")
    test.equal(made.metadata.labels["security.istio.io/tlsMode"], "istio")
    test.equal(json.decode(made.metadata.annotations["sidecar.istio.io/status"]).containers[1], "istio-proxy")
    test.equal(made.metadata.annotations["kubectl.kubernetes.io/default-container"], "main")
  end)
end)

test("the probes of programs go to the agent's port", function()
  pods.with({ nodes = 0, mesh = {} }, function(_, call)
    call("POST", "/api/v1/namespaces", { metadata = { name = "team", labels = ENABLED } })
    call("POST", "/api/v1/namespaces/team/serviceaccounts", { metadata = { name = "own" } })
    local made = call("POST", TEAM, { metadata = { name = "p" }, spec = { serviceAccountName = "own", containers = {
      { name = "main", image = "busybox", ports = { { name = "web", containerPort = 8080 } },
        readinessProbe = { httpGet = { path = "/ok", port = "web" } } } } } })
    test.same(made.spec.containers[1].readinessProbe.httpGet, { path = "/app-health/main/readyz", port = 15020,
      scheme = "HTTP" })
    for _, variable in ipairs(made.spec.initContainers[2].env) do
      if variable.name == "ISTIO_KUBE_APP_PROBERS" then
        test.equal(json.decode(variable.value)["/app-health/main/readyz"].httpGet.port, 8080)
      end
    end
  end)
end)

-- --- what is let through ------------------------------------------------------------------------------

test("an account's identity goes with its requests: a policy lets one through and refuses the other", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    namespace(call, "other", ENABLED)
    namespace(call, "plain")
    put(call, "security", "authorizationpolicies", "team", "who", { selector = { matchLabels = { app = "web" } },
      rules = { { from = { { source = { principals = { "cluster.local/ns/other/sa/default" } } } },
        to = { { operation = { methods = { "GET" }, paths = { "/open/*" } } } } } } })
    service(call, "team")
    serve(call, "team")
    local url = "http://site.team/"
    local other = asked(cluster, call, "/api/v1/namespaces/other/pods", "asker", {}, "GET " .. url .. "open/a",
      "GET " .. url .. "shut", "POST " .. url .. "open/a", "GET " .. url .. "open/b")
    test.same(other, { "200 GET /open/a by spiffe://cluster.local/ns/other/sa/default user None",
      "403 RBAC: access denied", "403 RBAC: access denied",
      "200 GET /open/b by spiffe://cluster.local/ns/other/sa/default user None" })
    local plain = asked(cluster, call, "/api/v1/namespaces/plain/pods", "asker", {}, "GET " .. url .. "open/a")
    test.same(plain, { "403 RBAC: access denied" })
    local last = cluster.mesh.decisions[#cluster.mesh.decisions]
    test.same({ last.source, last.allowed, last.why.policy, last.why.rule }, { "plaintext", false, "team/who", 1 })
    local access = pods.log(cluster, "web", "istio-proxy", TEAM)
    test.equal(access:find('"GET /shut HTTP/1.1" 403 - rbac_access_denied_matched_policy[none]', 1, true) ~= nil, true)
  end)
end)

test("STRICT breaks plaintext connections; a DestinationRule that wants mTLS fails where no proxy is", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    namespace(call, "other", ENABLED)
    namespace(call, "plain")
    put(call, "security", "peerauthentications", "team", "default", { mtls = { mode = "STRICT" } })
    put(call, "networking", "destinationrules", "plain", "site", { host = "site.plain.svc.cluster.local",
      trafficPolicy = { tls = { mode = "ISTIO_MUTUAL" } } })
    for _, name in ipairs { "team", "plain" } do
      service(call, name)
      serve(call, name)
    end
    test.same(asked(cluster, call, "/api/v1/namespaces/plain/pods", "asker", {}, "GET http://site.team/"),
      { "ConnectionResetError" })
    local lines = asked(cluster, call, "/api/v1/namespaces/other/pods", "asker", {}, "GET http://site.team/",
      "GET http://site.plain/")
    test.equal(lines[1], "200 GET / by spiffe://cluster.local/ns/other/sa/default user None")
    test.equal(lines[2]:match "^503 upstream connect error.*WRONG_VERSION_NUMBER" ~= nil, true)
  end)
end)

test("for a TCP port a refusal closes the connection, and a rule with an HTTP field lets nobody in", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    put(call, "security", "authorizationpolicies", "team", "who", {
      rules = { { to = { { operation = { methods = { "GET" } } } } } } })
    service(call, "team", "tcp")
    serve(call, "team")
    test.same(asked(cluster, call, TEAM, "asker", {}, "GET http://site/"), { "RemoteDisconnected" })
  end)
end)

test("a header that a client sends of itself reaches the program, but not in the certificate's place", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    service(call, "team")
    serve(call, "team")
    test.same(asked(cluster, call, TEAM, "asker", {},
      "GET http://site/ x-forwarded-client-cert=URI=spiffe://forged kubeflow-userid=me"),
      { "200 GET / by spiffe://cluster.local/ns/team/sa/default user me" })
  end)
end)

test("the legacy filter of a namespace sets the user's header, whatever a program sends", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    service(call, "team")
    serve(call, "team")
    local code = 'function envoy_on_request(h) h:headers():replace("kubeflow-userid", "owner@x.org") end'
    call("POST", "/apis/networking.istio.io/v1alpha3/namespaces/team/envoyfilters", { metadata = { name = "user" },
      spec = { configPatches = { { applyTo = "HTTP_FILTER", match = { context = "SIDECAR_OUTBOUND",
        listener = { portNumber = 80 } }, patch = { operation = "INSERT_BEFORE", value = { name = "x", typed_config = {
          ["@type"] = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", inlineCode = code } } } } } } })
    test.same(asked(cluster, call, TEAM, "asker", {}, "GET http://site/ kubeflow-userid=me"),
      { "200 GET / by spiffe://cluster.local/ns/team/sa/default user owner@x.org" })
  end)
end)

-- --- how it lives and ends ----------------------------------------------------------------------------

local function job(annotations, script)
  return { metadata = { name = "j" }, spec = { backoffLimit = 0, template = { metadata = { annotations = annotations },
    spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 900, containers = { pods.python(script) } } } } }
end

local JOBS = "/apis/batch/v1/namespaces/team/jobs"
-- Its proxy takes longer than any test.
local CLASSIC = { ["sidecar.istio.io/nativeSidecar"] = "false",
                  ["proxy.istio.io/config"] = '{"proxyMetadata": {"KFHOST_PROXY_DELAY": "100h"}}' }
local HELD = { ["sidecar.istio.io/nativeSidecar"] = "false",
               ["proxy.istio.io/config"] = "holdApplicationUntilProxyStarts: true" }

-- Asks the service, and prints what came of it.
local FIRST = [[
import urllib.request
def get():
    try: return urllib.request.urlopen("http://site.team/", timeout=20).status
    except Exception as e: return type(getattr(e, "reason", e)).__name__
first = get()
print("first", first)
]]

local QUIT = [[
r = urllib.request.Request("http://127.0.0.1:15020/quitquitquit", method="POST", data=b"")
print("quit", urllib.request.urlopen(r, timeout=20).read().decode())
]]

local function first_job(call, annotations, script)
  namespace(call, "team", ENABLED)
  service(call, "team")
  serve(call, "team", nil, NATIVE)
  call("POST", JOBS, job(annotations, script))
  return pods.eventually("the job's program has ended", function()
    for _, item in ipairs(call("GET", TEAM).items) do
      for _, s in ipairs(item.status.containerStatuses or {}) do
        if s.name == "main" and s.state.terminated then return item end
      end
    end
  end)
end

test("classic: the program starts before its proxy is ready and is refused, and the job never ends", function()
  pods.with({ mesh = {} }, function(cluster, call)
    local pod = first_job(call, CLASSIC, FIRST)
    test.equal(pods.log(cluster, pod.metadata.name, "main", TEAM), "first ConnectionRefusedError\n")
    test.equal(pod.status.phase, "Running")
    local state = call("GET", JOBS .. "/j").status
    test.same({ state.active, state.completionTime }, { 1 })
  end)
end)

test("held: the program starts when its proxy is ready; told to quit at localhost, the job ends", function()
  pods.with({ time_scale = 0.05, mesh = {} }, function(cluster, call)
    local pod = first_job(call, HELD, FIRST .. QUIT)
    test.equal(pods.log(cluster, pod.metadata.name, "main", TEAM), "first 200\nquit OK\n")
    local done = pods.eventually("the job is complete", function()
      local s = call("GET", JOBS .. "/j").status
      return s.completionTime and call("GET", TEAM .. "/" .. pod.metadata.name)
    end)
    for _, s in ipairs(done.status.containerStatuses) do test.equal(s.state.terminated.exitCode, 0) end
  end)
end)

test("native: the program finds its proxy ready, and the job ends by itself", function()
  pods.with({ time_scale = 0.05, mesh = {} }, function(cluster, call)
    local pod = first_job(call, NATIVE, FIRST)
    test.equal(pods.log(cluster, pod.metadata.name, "main", TEAM), "first 200\n")
    local done = pods.eventually("the job is complete", function()
      local s = call("GET", JOBS .. "/j").status
      return s.completionTime and call("GET", TEAM .. "/" .. pod.metadata.name)
    end)
    test.equal(done.status.initContainerStatuses[2].state.terminated.exitCode, 0)
    test.equal(pods.log(cluster, pod.metadata.name, "istio-proxy", TEAM):find("Agent draining Proxy", 1, true) ~= nil,
      true)
  end)
end)

test("TERM drains: connections that are open go on until they end, when the proxy is to wait for them", function()
  pods.with({ time_scale = 0.05, mesh = {} }, function(cluster, call)
    namespace(call, "team", ENABLED)
    namespace(call, "other", ENABLED)
    service(call, "team")
    serve(call, "team", nil, { ["sidecar.istio.io/nativeSidecar"] = "true",
      ["proxy.istio.io/config"] = '{"proxyMetadata": {"EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true"}}' })
    local path = "/api/v1/namespaces/other/pods"
    call("POST", path, pods.pod("holder", { terminationGracePeriodSeconds = 1, containers = { pods.python([[
import http.client, os, time
c = http.client.HTTPConnection("site.team", timeout=30)
def get():
    c.request("GET", "/x"); r = c.getresponse(); r.read(); return r.status
print(get())
while not os.path.exists("/tmp/go"): time.sleep(0.02)
c.close()
print("closed")]]) } }))
    pods.eventually("it holds a connection", function() return pods.log(cluster, "holder", "main", path) == "200\n" end)
    local function proxy() return cluster.nodes.workers[call("GET", TEAM .. "/web").metadata.uid].init[2].process end
    local process = proxy()
    process:signal_first "TERM"
    pods.eventually("it drains", function()
      return pods.log(cluster, "web", "istio-proxy", TEAM):find("Agent draining Proxy", 1, true)
    end)
    test.equal(process:wait(1), false) -- its drain would be over by now
    local worker = cluster.nodes.workers[call("GET", path .. "/holder").metadata.uid]
    local main = worker.main[1].process
    cluster.nodes.runtime:run(main:command(worker.sandbox, { "touch", "/tmp/go" }), 20)
    test.equal(process:wait(40), true)
    test.equal(process.exit_code, 0)
    local said = require "fs".read(process.log) -- the next run has begun
    test.equal(said:find("There are no more active connections", 1, true) ~= nil, true)
  end)
end)

test("a token that the lab has issued is read: its claims decide and are told, a forged one is refused", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    service(call, "team")
    serve(call, "team")
    put(call, "security", "requestauthentications", "team", "tokens", { selector = { matchLabels = { app = "web" } },
      jwtRules = { { issuer = "https://kubernetes.default.svc.cluster.local", audiences = { "site" },
        outputClaimToHeaders = { { header = "kubeflow-userid", claim = "sub" } } } } })
    put(call, "security", "authorizationpolicies", "team", "users", { selector = { matchLabels = { app = "web" } },
      rules = { { from = { { source = { requestPrincipals = { "*" } } } } } } })
    local function token(audience)
      return call("POST", "/api/v1/namespaces/team/serviceaccounts/default/token", { kind = "TokenRequest",
        apiVersion = "authentication.k8s.io/v1", spec = { audiences = { audience } } }).status.token
    end
    local lines = asked(cluster, call, TEAM, "asker", {}, "GET http://site/",
      "GET http://site/ Authorization=Bearer%20" .. token "site" .. " kubeflow-userid=forged",
      "GET http://site/ Authorization=Bearer%20" .. token "other", "GET http://site/ Authorization=Bearer%20a.b.c")
    test.same(lines, { "403 RBAC: access denied",
      "200 GET / by spiffe://cluster.local/ns/team/sa/default user system:serviceaccount:team:default",
      "401 Audiences in Jwt are not allowed", "401 Jwt verification fails" })
  end)
end)

test("plain processes: a proxy-following program has its identity in the mesh, too", function()
  pods.with({ plain = true, mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    namespace(call, "other", ENABLED)
    put(call, "security", "authorizationpolicies", "team", "who", { selector = { matchLabels = { app = "web" } },
      rules = { { from = { { source = { namespaces = { "other" } } } } } } })
    service(call, "team")
    serve(call, "team")
    test.same(asked(cluster, call, "/api/v1/namespaces/other/pods", "asker", {}, "GET http://site.team/a"),
      { "200 GET /a by spiffe://cluster.local/ns/other/sa/default user None" })
    test.same(asked(cluster, call, TEAM, "asker", {}, "GET http://site.team/a"), { "403 RBAC: access denied" })
  end)
end)

test("quitquitquit wants POST, and nobody but the pod's own localhost", function()
  pods.with({ mesh = { native = true } }, function(cluster, call)
    namespace(call, "team", ENABLED)
    namespace(call, "plain")
    serve(call, "team")
    local ip = call("GET", TEAM .. "/web").status.podIP
    local from_outside = asked(cluster, call, "/api/v1/namespaces/plain/pods", "asker", {},
      ("POST http://%s:15020/quitquitquit"):format(ip), ("GET http://%s:15021/healthz/ready"):format(ip))
    test.equal(from_outside[1]:sub(1, 3), "403")
    test.equal(from_outside[2]:sub(1, 3), "200")
    test.same(asked(cluster, call, TEAM, "asker", {}, "GET http://127.0.0.1:15020/quitquitquit"), { "405 " })
    test.equal(call("GET", TEAM .. "/web").status.phase, "Running")
  end)
end)
