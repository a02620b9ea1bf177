-- What a container may ask for: probes, hooks, messages, fields of its pod, volumes of each kind.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
local CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
local CONFIG, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"

for _, plain in ipairs { false, true } do
  local how = plain and " (plain processes)" or " (in namespaces)"

  test("readiness follows a command, a port and a page; liveness restarts what does not answer" .. how, function()
    pods.with({ plain = plain }, function(_, call)
      local server = [[
import http.server, os, sys, threading
state = {"code": 503}
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/on": state["code"] = 200
        ok = self.path == "/on" or self.headers["X-Probe"] == "yes"
        self.send_response(state["code"] if ok else 400); self.end_headers()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((os.environ["IP"], 8080), H).serve_forever()]]
      local env = { { name = "IP", valueFrom = { fieldRef = { fieldPath = "status.podIP" } } } }
      local probe = { httpGet = { path = "/", port = "web", httpHeaders = { { name = "X-Probe", value = "yes" } } },
        periodSeconds = 1, timeoutSeconds = 20, failureThreshold = 1 }
      call("POST", pods.PODS, pods.pod("p", { terminationGracePeriodSeconds = 1, containers = {
        pods.python(server, { ports = { { name = "web", containerPort = 8080 } }, env = env, readinessProbe = probe }),
        pods.shell("touch /tmp/x-$HOSTNAME 2>/dev/null; " .. FOREVER, { name = "port", readinessProbe = {
          tcpSocket = { port = 8080 }, periodSeconds = 1, timeoutSeconds = 20 } }) } }))
      pods.eventually("the page refuses and the port is open", function()
        local list = call("GET", pods.PODS .. "/p").status.containerStatuses
        local said = pods.events(call, "Unhealthy")
        return list and list[2].ready and not list[1].ready
          and table.concat(said, "\n"):find("Readiness probe failed: HTTP probe failed with statuscode: 503", 1, true)
      end)
      local ip = call("GET", pods.PODS .. "/p").status.podIP
      call("POST", pods.PODS, pods.pod("on", { containers = { pods.python(
        ("import urllib.request; urllib.request.urlopen('http://%s:8080/on', timeout=20)"):format(ip)) } }))
      pods.ready(call, "p")
    end)
  end)

  test("a liveness command that fails restarts its container; a startup command comes before it" .. how, function()
    pods.with({ plain = plain }, function(_, call)
      local script = 'echo $(($(cat "$KFHOST_ROOT/w/n" 2>/dev/null || echo 0)+1)) >"$KFHOST_ROOT/w/n"; ' .. FOREVER
      local function command(text) return { exec = { command = { "sh", "-c", text } }, periodSeconds = 1,
        timeoutSeconds = 20, failureThreshold = 1 } end
      local startup = command 'test -s "$KFHOST_ROOT/w/n"'
      startup.failureThreshold = 1000
      call("POST", pods.PODS, pods.pod("p", { restartPolicy = "Always", terminationGracePeriodSeconds = 1,
        volumes = { { name = "w", emptyDir = json.object {} } },
        containers = { pods.shell(script, { volumeMounts = { { name = "w", mountPath = "/w" } },
          startupProbe = startup,
          livenessProbe = command 'test "$(cat "$KFHOST_ROOT/w/n")" -ge 2' }) } }))
      pods.eventually("it runs for the second time", function()
        local s = call("GET", pods.PODS .. "/p").status.containerStatuses
        return s and s[1].restartCount >= 1 and s[1].ready
      end)
      test.equal(pods.events(call, "Killing")[1], "Container main failed liveness probe, will be restarted")
    end)
  end)

  test("a termination message is a file, or the end of the log of what failed" .. how, function()
    pods.with({ plain = plain }, function(_, call)
      call("POST", pods.PODS, pods.pod("p", { containers = {
        pods.shell('printf "from file" >"$KFHOST_ROOT/msg"; echo log; exit 1', { name = "file",
          terminationMessagePath = "/msg", terminationMessagePolicy = "FallbackToLogsOnError" }),
        pods.shell("echo last words; exit 1", { name = "log", terminationMessagePolicy = "FallbackToLogsOnError" }),
        pods.shell("echo nothing; exit 0", { name = "well", terminationMessagePolicy = "FallbackToLogsOnError" }),
        pods.shell("echo nothing; exit 1", { name = "plain" }) } }))
      local messages = {}
      for _, s in ipairs(pods.phase(call, "p", "Failed").status.containerStatuses) do
        messages[s.name] = s.state.terminated.message
      end
      test.same(messages, { file = "from file", log = "last words\n" })
    end)
  end)

  test("preStop runs before TERM, postStart before the next container; KILL comes after the grace" .. how, function()
    pods.with({ plain = plain }, function(cluster, call)
      local hook = function(word) return { exec = { command = { "sh", "-c",
        ('echo %s >>"$KFHOST_ROOT/w/n"'):format(word) } } } end
      call("POST", CLAIMS, { metadata = { name = "w" }, spec = {
        accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "1Gi" } } } })
      local mount = { volumeMounts = { { name = "w", mountPath = "/w" } } }
      call("POST", pods.PODS, pods.pod("p", { terminationGracePeriodSeconds = 100, volumes = { { name = "w",
        persistentVolumeClaim = { claimName = "w" } } }, containers = {
          pods.shell('trap \'echo term >>"$KFHOST_ROOT/w/n"\' TERM; while :; do sleep 0.05; done', { name = "first",
            volumeMounts = mount.volumeMounts, lifecycle = { postStart = hook "started", preStop = hook "stopping" } }),
          pods.shell('echo second >>"$KFHOST_ROOT/w/n"; echo up; ' .. FOREVER, { name = "second",
            volumeMounts = mount.volumeMounts }) } }))
      pods.eventually("both run", function() return pods.log(cluster, "p", "second") == "up\n" end)
      call("DELETE", pods.PODS .. "/p")
      pods.eventually("it is gone", function() return not cluster.store:collection("pods"):get("default", "p") end)
      call("POST", pods.PODS, pods.pod("reader", { volumes = { { name = "w", persistentVolumeClaim = {
        claimName = "w" } } }, containers = { pods.shell('cat "$KFHOST_ROOT/w/n"', mount) } }))
      pods.phase(call, "reader", "Succeeded")
      test.equal(pods.log(cluster, "reader"), "started\nsecond\nstopping\nterm\n")
    end)
  end)

  test("all fields of a pod, resources and whole maps come as variables and files" .. how, function()
    pods.with({ plain = plain }, function(cluster, call)
      call("POST", CONFIG, { metadata = { name = "c" }, data = { ONE = "1", TWO = "2" } })
      call("POST", SECRETS, { metadata = { name = "s" }, stringData = { WORD = "hidden" } })
      local function field(name, path) return { name = name, valueFrom = { fieldRef = { fieldPath = path } } } end
      local function resource(name, text, divisor) return { name = name, valueFrom = { resourceFieldRef = {
        resource = text, divisor = divisor } } } end
      local env = { field("NAME", "metadata.name"), field("SPACE", "metadata.namespace"),
        field("LABEL", "metadata.labels['app']"), field("NOTE", "metadata.annotations['note']"),
        field("NODE", "spec.nodeName"), field("ACCOUNT", "spec.serviceAccountName"), field("HOST", "status.hostIP"),
        field("IP", "status.podIP"), resource("CPU", "limits.cpu"), resource("MEMORY", "limits.memory", "1Mi"),
        resource("ASKED", "requests.cpu", "1m"), { name = "SUM", value = "$(A_ONE)+$(A_TWO)=$$(X)" } }
      local say = 'echo "$NAME $SPACE $LABEL $NOTE $NODE $ACCOUNT $HOST $CPU $MEMORY $ASKED $SUM $WORD"; '
        .. 'cd "$KFHOST_ROOT/"; cat info/labels info/cpu all/word all/one; echo; '
        .. 'test "$IP" && cat "$KFHOST_ROOT/part"; ls "$KFHOST_ROOT/sub"'
      local metadata = { name = "p", labels = { app = "a" }, annotations = { note = "n" } }
      call("POST", pods.PODS, { metadata = metadata, spec = {
        restartPolicy = "Never", volumes = {
          { name = "info", downwardAPI = { items = { { path = "labels", fieldRef = { fieldPath = "metadata.labels" } },
            { path = "cpu", resourceFieldRef = { containerName = "main", resource = "requests.cpu",
              divisor = "1m" } } } } },
          { name = "all", projected = { sources = {
            { secret = { name = "s", items = { { key = "WORD", path = "word" } } } },
            { configMap = { name = "c", items = { { key = "ONE", path = "one" } } } } } } },
          { name = "c", configMap = { name = "c" } }, { name = "e", emptyDir = json.object {} } },
        containers = { pods.shell(say, { env = env, envFrom = { { prefix = "A_", configMapRef = { name = "c" } },
            { secretRef = { name = "s" } }, { configMapRef = { name = "absent", optional = true } } },
          resources = { requests = { cpu = "250m" }, limits = { memory = "64Mi" } },
          volumeMounts = { { name = "info", mountPath = "/info" }, { name = "all", mountPath = "/all" },
            { name = "c", mountPath = "/part", subPath = "TWO" },
            { name = "e", mountPath = "/sub", subPathExpr = "of-$(NAME)" } } }) } } })
      pods.phase(call, "p", "Succeeded")
      test.equal(pods.log(cluster, "p"), 'p default a n lab-1 default 10.0.0.1 8 64 250 1+2=$(X) hidden\n'
        .. 'app="a"250hidden1\n2\n')
    end)
  end)
end

test("a gRPC probe asks the health service", function()
  pods.with({}, function(_, call)
    local script = "local serving = '\\8\\1' require 'grpc'.serve { address = '0.0.0.0', port = 9000, methods = { "
      .. "['/grpc.health.v1.Health/Check'] = function(b) return b == '' and '\\8\\2' or serving end } } "
      .. "require 'task'.event():wait()"
    local function container(name, port, service) return { name = name, image = "kfhost",
      args = { "-e", (script:gsub("9000", port)) }, readinessProbe = { grpc = { port = math.tointeger(tonumber(port)),
        service = service }, periodSeconds = 1, timeoutSeconds = 20 } } end
    call("POST", pods.PODS, pods.pod("p", { terminationGracePeriodSeconds = 1, containers = {
      container("named", "9000", "own"), container("whole", "9001") } }))
    pods.eventually("one serves and the other says that it does not", function()
      local s = call("GET", pods.PODS .. "/p").status.containerStatuses
      local said = table.concat(pods.events(call, "Unhealthy"), "\n")
      return s and s[1].ready and not s[2].ready
        and said:find('Readiness probe failed: service unhealthy (responded with "NOT_SERVING")', 1, true)
    end)
  end)
end)

test("a command that is not there is an error of the start, as container runtimes say it", function()
  pods.with({}, function(_, call)
    call("POST", pods.PODS, pods.pod("p", { containers = { { name = "main", image = "busybox",
      command = { "no-such-program" } } } }))
    local state = pods.phase(call, "p", "Failed").status.containerStatuses[1].state.terminated
    test.same({ state.exitCode, state.reason }, { 128, "StartError" })
    test.equal(state.message:find('exec: "no-such-program": executable file not found in $PATH: unknown', 1, true)
      ~= nil, true)
  end)
end)

test("a path that leaves its volume is refused, what is missing is waited for, what is ignored is said", function()
  pods.with({}, function(_, call)
    local function mounted(more)
      local spec = { securityContext = { fsGroup = 100 }, volumes = { { name = "v", emptyDir = json.object {} } },
        containers = { pods.shell("exit 0", { volumeMounts = { { name = "v", mountPath = "/v", subPath = "x" } } }) } }
      for key, value in pairs(more or {}) do spec[key] = value end
      return spec
    end
    call("POST", pods.PODS, pods.pod("said", mounted()))
    pods.phase(call, "said", "Succeeded")
    test.equal(pods.events(call, "NotApplied")[1]:find("fsGroup", 1, true) ~= nil, true)
    call("POST", pods.PODS, pods.pod("waits", mounted { volumes = { { name = "v", configMap = { name = "late" } } },
      containers = { pods.shell("exit 0", { volumeMounts = { { name = "v", mountPath = "/v" } } }) } }))
    pods.eventually("it says what is missing", function()
      return (pods.events(call, "FailedMount")[1] or ""):find('configmap "late" not found', 1, true)
    end)
    call("POST", CONFIG, { metadata = { name = "late" }, data = {} })
    pods.phase(call, "waits", "Succeeded")
  end)
end)

test("containers that share processes see each other's, and what one leaves behind ends with it", function()
  pods.with({}, function(cluster, call)
    local left = "sleep 3600 & echo $$$$ >/w/shell; until [ -e /w/over ]; do sleep 0.05; done"
    local looks = [[
until [ -s /w/shell ]; do sleep 0.05; done
roots=$(grep -ls '^PPid:.0$' /proc/[0-9]*/status | wc -l)
seen=$(grep -c 'sleep.[3]600' /proc/$(cat /w/shell)/cmdline)
touch /w/over
while grep -qs 'sleep.[3]600' /proc/[0-9]*/cmdline; do sleep 0.05; done
echo roots $roots, seen $seen]]
    local function spec(shares)
      local shared = { volumeMounts = { { name = "w", mountPath = "/w" } } }
      return { shareProcessNamespace = shares, volumes = { { name = "w", emptyDir = json.object {} } }, containers = {
        pods.shell(left, { name = "left", volumeMounts = shared.volumeMounts }),
        pods.shell(looks, { name = "looks", volumeMounts = shared.volumeMounts }) } }
    end
    call("POST", pods.PODS, pods.pod("together", spec(true)))
    call("POST", pods.PODS, pods.pod("apart", spec(nil)))
    pods.phase(call, "together", "Succeeded")
    pods.phase(call, "apart", "Succeeded")
    test.equal(pods.log(cluster, "together", "looks"), "roots 3, seen 1\n")
    test.equal(pods.log(cluster, "apart", "looks"), "roots 1, seen 0\n")
  end)
end)
