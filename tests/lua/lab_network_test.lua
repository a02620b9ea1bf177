-- The network of pods: services by name and address, other pods, the lab's API; in the three forms that a
-- machine may allow: a network of its own with its connections caught, without, and no network of its own.
local pods = dofile "tests/lua/support/pods.lua"
local serve = require "lab.serve"
local kube = require "kube"
local test = require "test"

local SERVER = [[
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("%s saw %s ask for %s\n" % (os.environ["HOSTNAME"], self.client_address[0], self.path)).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((os.environ.get("LISTEN", "0.0.0.0"), int(sys.argv[1])), H).serve_forever()
]]

-- Asks by curl's like, and prints what came.
local ASK = [[
import sys, urllib.request
for url in sys.argv[1:]:
    try: print(urllib.request.urlopen(url, timeout=20).read().decode().strip())
    except Exception as e: print(type(e).__name__, e)
]]

local function server(name, port, more)
  local container = pods.python(SERVER, { ports = { { containerPort = port, name = "web" } },
    readinessProbe = { tcpSocket = { port = port }, periodSeconds = 1, failureThreshold = 30 } })
  container.command[5] = tostring(port)
  for key, value in pairs(more or {}) do container[key] = value end
  return { metadata = { name = name, labels = { app = "web" } }, spec = { terminationGracePeriodSeconds = 1,
    containers = { container } } }
end

local function ask(...)
  local container = pods.python(ASK)
  table.move({ ... }, 1, select("#", ...), 5, container.command)
  return container
end

local SERVICES = "/api/v1/namespaces/default/services"

local function service(name, port, target, more)
  local spec = { selector = { app = "web" }, ports = { { port = port, targetPort = target, name = "http" } } }
  for key, value in pairs(more or {}) do spec[key] = value end
  return { metadata = { name = name }, spec = spec }
end

local FORMS = {
  { "a network of its own", {} },
  { "a network of its own whose connections are not caught", { alone = "a test wants it so" } },
  { "plain processes", { plain = true } },
}

-- Plain processes share this machine's ports: each listens on the address of its pod, on a free one.
local function address_of(form)
  return form.plain and { env = { { name = "LISTEN", valueFrom = { fieldRef = { fieldPath = "status.podIP" } } } } }
    or nil
end

for _, form in ipairs(FORMS) do
  test("a pod reaches a service by each form of its name and by its address: " .. form[1], function()
    pods.with(form[2], function(cluster, call)
      local made = call("POST", SERVICES, service("site", 80, "web"))
      call("POST", pods.PODS, server("web-0", 8080, address_of(form[2])))
      pods.ready(call, "web-0")
      pods.eventually("the service has its pod", function()
        return #(call("GET", "/api/v1/namespaces/default/endpoints/site").subsets or {}) > 0
      end)
      local printed = pods.run(cluster, call, "asker", ask("http://site/a", "http://site.default/b",
        "http://site.default.svc:80/c", "http://site.default.svc.cluster.local/d",
        ("http://%s/e"):format(made.spec.clusterIP)))
      local paths = {}
      for path in printed:gmatch "web%-0 saw %S+ ask for (%S+)\n" do paths[#paths + 1] = path end
      test.equal(table.concat(paths, " "), "/a /b /c /d /e")
      for _, name in ipairs { "site", "site:web", "site:80", "http:site:http" } do
        local answer = cluster:handle { method = "GET", path = ("%s/%s/proxy/f"):format(SERVICES, name), query = "g=1",
          headers = { authorization = "Bearer " .. cluster.auth.admin_token } }
        if name == "site:web" then test.equal(answer.status, 503) -- it has no port of that name
        else test.same({ answer.status, answer.body:match "ask for (%S+)\n" }, { 200, "/f?g=1" }) end
      end
    end)
  end)
end

test("a pod sees the address of the pod that asks, and its own ports clash with nobody's", function()
  pods.with({}, function(cluster, call)
    call("POST", SERVICES, service("site", 8080, 8080)) -- the port of the service, of the pod, and of the asker's
    local first = call("POST", pods.PODS, server("web-0", 8080)) and pods.ready(call, "web-0")
    local script = SERVER:gsub("%.serve_forever%(%)", "")
      .. ASK:gsub("sys.argv%[1:%]", ('["http://%s:8080/direct"]'):format(first.status.podIP))
    local container = pods.python(script)
    container.command[5] = "8080"
    local printed = pods.run(cluster, call, "asker", container)
    local ip = call("GET", pods.PODS .. "/asker").status.podIP
    test.equal(printed, ("web-0 saw %s ask for /direct\n"):format(ip))
  end)
end)

test("what only listens on a pod's localhost is reached by nobody else, and a port without a listener by none",
  function()
    pods.with({}, function(cluster, call)
      call("POST", pods.PODS, server("web-0", 8080, { env = { { name = "LISTEN", value = "127.0.0.1" } } }))
      local pod = pods.phase(call, "web-0", "Running")
      local printed = pods.run(cluster, call, "asker", ask(("http://%s:8080/"):format(pod.status.podIP),
        "http://10.96.250.1/", "http://192.0.2.1/"))
      local kinds = {}
      for line in printed:gmatch "[^\n]+" do
        kinds[#kinds + 1] = line:match "reset by peer" or line:match "closed connection" or line:match "unreachable"
          or line
      end
      test.equal(kinds[3], "unreachable") -- outside the cluster
      test.equal(printed:find("saw", 1, true), nil)
      test.equal(#kinds, 3)
    end)
  end)

test("a host port listens on this machine's loopback, and says so when another node's has it", function()
  pods.with({ nodes = 2 }, function(_, call)
    local free = require "net".listen {}
    local _, port = free:here()
    free:close()
    local function ports() return { ports = { { containerPort = 8080, hostPort = port } } } end
    call("POST", pods.PODS, server("web-0", 8080, ports()))
    pods.ready(call, "web-0")
    local answer = require "http".request { url = ("http://127.0.0.1:%d/there"):format(port), timeout = 20, proxy = "" }
    test.equal(answer.body:match "^web%-0 saw 10%.0%.0%.1 ask for /there" ~= nil, true)
    call("POST", pods.PODS, server("web-1", 8080, ports()))
    pods.eventually("the second is told", function()
      return (pods.events(call, "HostPortTaken")[1] or ""):find(("port %d of 127.0.0.1"):format(port), 1, true)
    end)
  end)
end)

test("a service takes its ready pods by turns; a headless one has the names of its pods' addresses", function()
  pods.with({}, function(cluster, call)
    call("POST", SERVICES, service("site", 80, 8080))
    call("POST", SERVICES, service("direct", 8080, 8080, { clusterIP = "None" }))
    for i = 0, 1 do
      call("POST", pods.PODS, server("web-" .. i, 8080))
      pods.ready(call, "web-" .. i)
    end
    pods.eventually("both are behind it", function()
      local subsets = call("GET", "/api/v1/namespaces/default/endpoints/site").subsets
      return subsets and #(subsets[1].addresses or {}) == 2
    end)
    local printed = pods.run(cluster, call, "asker", ask("http://site/", "http://site/", "http://direct:8080/"))
    local seen = {}
    for name in printed:gmatch "(web%-%d) saw" do seen[#seen + 1] = name end
    test.equal(#seen, 3)
    test.equal(seen[1] ~= seen[2], true)
  end)
end)

for _, plain in ipairs { false, true } do
  test("a pod asks the lab's API with its own token" .. (plain and ": plain processes" or ""), function()
    local lab = serve.start { nodes = 1, plain_pods = plain }
    local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, log = function() end }
    local script = [[
import json, os, ssl, urllib.request
root = os.environ.get("KFHOST_ROOT", "") + "/var/run/secrets/kubernetes.io/serviceaccount/"
context = ssl.create_default_context(cafile=root + "ca.crt")
body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
request = urllib.request.Request(os.environ.get("API") or "https://%s:%s" % (os.environ["KUBERNETES_SERVICE_HOST"],
  os.environ["KUBERNETES_SERVICE_PORT"]), headers={"Authorization": "Bearer " + open(root + "token").read(),
  "Content-Type": "application/json"}, data=body)
request.full_url += "/apis/authentication.k8s.io/v1/selfsubjectreviews"
print(json.load(urllib.request.urlopen(request, timeout=20, context=context))["status"]["userInfo"]["username"])
]]
    for i, url in ipairs { "", "https://kubernetes.default.svc", "https://kubernetes.default" } do
      local name = "asker-" .. i
      c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "default" }, spec = {
        restartPolicy = "Never", containers = { pods.python(script, { env = { { name = "API", value = url } } }) } } }
      c:wait { kind = "pods", name = name, namespace = "default", jsonpath = "{.status.phase}", value = "Succeeded",
        timeout = 30 }
      test.equal(c:logs { name = name, namespace = "default" }, "system:serviceaccount:default:default\n")
    end
    c:close()
    lab:close()
  end)
end

for _, form in ipairs(FORMS) do
  test("a pod of this program reaches what the lab itself serves: " .. form[1], function()
    pods.with(form[2], function(cluster, call)
      local seen
      local listening = require "server".listen { handler = function(request)
        seen = request.path
        return { body = "from the lab" }
      end }
      require "lab.network.hosted".put(cluster, { namespace = "default", name = "ml-pipeline", account = "default",
        labels = { app = "ml-pipeline" }, ports = { { name = "http", port = 8888, local_port = listening.port } } })
      local printed = pods.run(cluster, call, "asker", { name = "main", image = "kfhost", args = { "-e",
        "print(require 'http'.request { url = 'http://ml-pipeline.default.svc:8888/x', timeout = 20 }.body)" } })
      test.equal(printed, "from the lab\n")
      test.equal(seen, "/x")
      listening:close()
    end)
  end)
end
