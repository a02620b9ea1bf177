-- Streams of pods through our own client: commands with a terminal and without, attaching, ports, logs; in
-- namespaces and as plain processes.
local json = require "json"
local kube = require "kube"
local pods = dofile "tests/lua/support/pods.lua"
local serve = require "lab.serve"
local test = require "test"
local ws = require "ws"

local function with(plain, run)
  local lab = serve.start { nodes = 1, plain_pods = plain, time_scale = 0.01 }
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, log = function() end }
  local ok, problem = xpcall(run, debug.traceback, c, lab)
  c:close()
  lab:close()
  if not ok then error(problem, 0) end
end

local function create(c, name, container, more)
  local spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 1, containers = { container } }
  for key, value in pairs(more or {}) do spec[key] = value end
  c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "default" }, spec = spec }
end

local function wait(c, name, phase)
  c:wait { kind = "pods", name = name, namespace = "default", jsonpath = "{.status.phase}", value = phase,
    timeout = 40 }
end

local FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"

-- A WebSocket below a pod: messages by channel until it ends, after `write` has sent what it wants to.
local function stream(lab, path, protocol, write)
  local socket = ws.connect { url = lab.url:gsub("^http", "ws") .. "/api/v1/namespaces/default/pods/" .. path,
    ca = lab.ca, protocols = { protocol }, headers = { Authorization = "Bearer " .. lab.token }, timeout = 20 }
  local got = {}
  if write then write(function(channel, bytes) socket:send(string.char(channel) .. bytes, "binary") end, got) end
  for data in function() return socket:receive "40s" end do
    local channel = data:byte(1)
    got[channel] = (got[channel] or "") .. data:sub(2)
    if got.until_seen and (got[got.until_seen[1]] or ""):find(got.until_seen[2], 1, true) then break end
  end
  socket:close()
  return got
end

for _, plain in ipairs { false, true } do
  local how = plain and " (plain processes)" or " (in namespaces)"

  test("a command gets its input, both its outputs and its exit code" .. how, function()
    with(plain, function(c)
      create(c, "p", pods.shell(FOREVER))
      wait(c, "p", "Running")
      local result = c:exec { pod = "p", namespace = "default", command = { "sh", "-c", "cat; echo no >&2; exit 7" },
        stdin = "hello\n" }
      test.same({ result.stdout, result.stderr, result.code }, { "hello\n", "no\n", 7 })
    end)
  end)

  test("a command with a terminal has one, of the size that is said, and Ctrl-C is for it" .. how, function()
    with(plain, function(c, lab)
      create(c, "p", pods.shell(FOREVER))
      wait(c, "p", "Running")
      local script = "test -t 0 && test -t 1 && echo terminal; trap 'echo interrupted; exit 3' INT; "
        .. "until [ \"$(stty size)\" = '33 111' ]; do sleep 0.02; done; echo resized; while :; do sleep 0.02; done"
      local query = ("p/exec?stdin=1&stdout=1&tty=1&command=sh&command=-c&command=%s"):format(
        script:gsub("[^%w]", function(char) return ("%%%02X"):format(char:byte()) end))
      local got = stream(lab, query, "v5.channel.k8s.io", function(send, seen)
        send(4, json.encode { Width = 111, Height = 33 })
        require "task".spawn(function()
          while not (seen[1] or ""):find("resized", 1, true) do require "task".sleep(0.02) end
          send(0, "\3")
        end)
      end)
      local shown = (got[1] or ""):gsub("\r", "")
      test.equal(shown:match "^terminal\nresized\n.*interrupted\n$" ~= nil, true)
      test.equal(json.decode(got[3]).details.causes[1].message, "3")
    end)
  end)

  test("who attaches hears what comes from then on, and is heard by a container that takes input" .. how, function()
    with(plain, function(c, lab)
      create(c, "p", pods.shell("while read -r line; do echo \"got $line\"; test \"$line\" = end && exit 0; done",
        { stdin = true, stdinOnce = true }))
      wait(c, "p", "Running")
      local got = stream(lab, "p/attach?stdin=1&stdout=1", "v5.channel.k8s.io", function(send)
        send(0, "one\nend\n")
      end)
      test.equal(got[1], "got one\ngot end\n")
      test.equal(json.decode(got[3]).status, "Success")
      wait(c, "p", "Succeeded")
    end)
  end)

  test("a port of a pod is forwarded; one where nobody listens says so" .. how, function()
    with(plain, function(c, lab)
      -- Plain pods share this machine's ports: the program takes a free one and says which.
      create(c, "p", pods.python([[
import http.server, threading
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello " + self.path.encode())
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
print(s.server_port)
s.serve_forever()]]))
      local port = pods.eventually("the port is known", function()
        local text = c.try:logs { name = "p", namespace = "default" }
        return text and math.tointeger(tonumber(text))
      end)
      local forward <close> = c:port_forward { pod = "p", namespace = "default", port = port }
      for i = 1, 3 do
        local answer = require "http".request { url = ("http://127.0.0.1:%d/%d"):format(forward.port, i), timeout = 20,
          proxy = "" }
        test.equal(answer.body, "hello /" .. i)
      end
      local got = stream(lab, "p/portforward?ports=1", "v4.channel.k8s.io", function(_, seen)
        seen.until_seen = { 1, "refused" }
      end)
      test.equal(got[1]:sub(3):find("error forwarding port 1 to pod", 1, true), 1)
    end)
  end)

  test("logs: the last lines, since a time, with times, of the run before, of all containers" .. how, function()
    with(plain, function(c)
      create(c, "p", pods.shell('n=$(cat "$KFHOST_ROOT/work/n" 2>/dev/null || echo 0); echo $((n+1)) '
        .. '>"$KFHOST_ROOT/work/n"; echo "run $n"; echo a; echo b; test $n -ge 1 || exit 1; ' .. FOREVER,
        { volumeMounts = { { name = "work", mountPath = "/work" } } }),
        { restartPolicy = "Always", volumes = { { name = "work", emptyDir = json.object {} } } })
      local function log(options)
        options.name, options.namespace = "p", "default"
        return c.try:logs(options)
      end
      pods.eventually("it runs again", function() return log {} == "run 1\na\nb\n" end)
      test.equal(log { tail = 1 }, "b\n")
      test.equal(log { previous = true }, "run 0\na\nb\n")
      test.equal(log { since = 3600 }, "run 1\na\nb\n")
      local timed = log { since = 3600, tail = 2, timestamps = true }
      test.equal(timed:match "^%d+%-%d+%-%d+T%S+ a\n%d+%-%S+ b\n$" ~= nil, true)
      c:delete("pods", "p", { namespace = "default" })
    end)
  end)
end

test("what cannot be streamed says why", function()
  with(false, function(c, lab)
    create(c, "p", pods.shell "exit 0")
    wait(c, "p", "Succeeded")
    local _, problem = c.try:exec { pod = "p", namespace = "default", command = { "true" } }
    test.equal(problem.message:find('container not found ("main")', 1, true) ~= nil, true)
    local answer = require "http".request { url = lab.url .. "/api/v1/namespaces/default/pods/p/portforward",
      method = "POST", ca = lab.ca, proxy = "", headers = { Authorization = "Bearer " .. lab.token } }
    test.equal(answer.status, 400)
  end)
end)

test("a terminal of ours is read and written like a socket", function()
  local net = require "net"
  local proc = require "proc"
  local terminal <close>, path = net.terminal()
  terminal:resize(20, 70)
  local child = proc.spawn { "setsid", "-c", "-w", "sh", "-c", "stty size; read x; echo \"<$x>\"",
    stdin = { file = path }, stdout = { file = path }, stderr = "stdout" }
  terminal:write "yes\n"
  local text = ""
  for bytes in function() return terminal:read "20s" end do text = text .. bytes end
  child:wait()
  test.equal(text:gsub("\r", ""):match "20 70\n" ~= nil and text:find("<yes>", 1, true) ~= nil, true)
end)
