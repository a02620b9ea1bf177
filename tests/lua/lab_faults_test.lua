-- Faults on demand, each asked for from Lua and by `kfhost lab fault`, and what a client sees of it.
local faults = require "lab.faults"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local proc = require "proc"
local serve = require "lab.serve"
local task = require "task"
local test = require "test"
local wait_for = dofile "tests/lua/support/wait.lua"

local MAPS = "/api/v1/namespaces/default/configmaps"

local FLAGS = { match = "--match", method = "--method", count = "--count", status = "--status",
                retry_after = "--retry-after", delay = "--delay" }

local function options_of(running)
  return { ca = running.ca, proxy = "", http2 = false,
           headers = { Authorization = "Bearer " .. running.token, ["Content-Type"] = "application/json" } }
end

-- A lab that is served here, with both ways to a fault and a client.
local function lab(options)
  local running = serve.start(options or { nodes = 0 })
  local config = fs.join(test.tmpdir(), "kubeconfig")
  running:write_kubeconfig(config)
  local self = { running = running, cluster = running.cluster, url = running.url }
  function self.lua(kind, more)
    local fault = { kind = kind }
    for name, value in pairs(more or {}) do fault[name] = value end
    faults.command(running.cluster, fault)
  end
  function self.command(kind, more)
    local words = { host.executable(), "lab", "fault", kind, "--kubeconfig", config }
    for name, value in pairs(more or {}) do table.move({ FLAGS[name], tostring(value) }, 1, 2, #words + 1, words) end
    local done = proc.run(words)
    test.equal(done.code, 0)
  end
  function self.call(method, path, body)
    local request = options_of(running)
    request.url, request.method, request.body = running.url .. path, method, body and json.encode(body)
    local response = http.request(request)
    return response.status, response.body ~= "" and json.decode(response.body) or nil, response
  end
  function self.watch(version)
    local request = options_of(running)
    request.url = ("%s%s?watch=1&resourceVersion=%s"):format(running.url, MAPS,
      version or running.cluster.store.revision)
    return http.stream(request)
  end
  function self.map(name)
    local code, made = self.call("POST", MAPS, { metadata = { name = name } })
    test.equal(code, 201)
    return made
  end
  return self
end

-- Runs a test once for each way to ask for a fault.
local function both(name, options, check)
  for _, way in ipairs { "lua", "command" } do
    test(name .. (way == "lua" and ", from Lua" or ", by kfhost lab fault"), function()
      local self = lab(options)
      local ok, problem = xpcall(check, debug.traceback, self, self[way])
      self.running:close()
      if not ok then error(problem, 0) end
    end)
  end
end

-- What a stream brings until it ends or breaks.
local function rest_of(stream)
  local pieces = {}
  local ok, problem = pcall(function()
    while true do
      local piece = stream:read()
      if not piece then return end
      pieces[#pieces + 1] = piece
    end
  end)
  return table.concat(pieces), ok or problem
end

both("error: 429 says when to come again, as often as asked", nil, function(self, fault)
  fault("error", { status = 429, retry_after = 7, count = 2 })
  for _ = 1, 2 do
    local code, problem, response = self.call("GET", MAPS)
    test.equal(code, 429)
    test.equal(problem.reason, "TooManyRequests")
    test.equal(problem.details.retryAfterSeconds, 7)
    test.equal(response.headers["retry-after"], "7")
  end
  test.equal((self.call("GET", MAPS)), 200)
end)

for status, reason in pairs { [500] = "InternalError", [409] = "Conflict", [410] = "Expired" } do
  both(("error: %d for one method and path"):format(status), nil, function(self, fault)
    fault("error", { status = status, method = "POST", match = "configmaps", count = 1 })
    test.equal((self.call("GET", MAPS)), 200)
    test.equal((self.call("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata = { name = "a" } })), 201)
    local code, problem = self.call("POST", MAPS, { metadata = { name = "a" } })
    test.equal(code, status)
    test.equal(problem.reason, reason)
    self.map "a"
  end)
end

both("clear: ends what would go on", nil, function(self, fault)
  fault("error", { status = 500 })
  test.equal((self.call("GET", MAPS)), 500)
  test.equal((self.call("GET", MAPS)), 500)
  fault "clear"
  test.equal((self.call("GET", MAPS)), 200)
end)

both("slow: an answer takes its time", nil, function(self, fault)
  fault("slow", { delay = 0.2, count = 1 })
  local started = task.now()
  test.equal((self.call("GET", MAPS)), 200)
  test.equal(task.now() - started >= 0.2, true)
end)

both("reset: the connection breaks instead of an answer", nil, function(self, fault)
  fault("reset", { count = 1 })
  local ok, problem = pcall(self.call, "GET", MAPS)
  test.equal(ok, false)
  test.equal(problem.code, "Connection")
  test.equal((self.call("GET", MAPS)), 200)
end)

both("expire: watches and pages of before are 410", nil, function(self, fault)
  for _, name in ipairs { "a", "b", "c" } do self.map(name) end
  local _, page = self.call("GET", MAPS .. "?limit=1")
  self.map "d"
  fault "expire"
  local text = rest_of(self.watch(page.metadata.resourceVersion))
  local event = json.decode((text:match "[^\n]+"))
  test.equal(event.type, "ERROR")
  test.equal(event.object.code, 410)
  local code, problem = self.call("GET", MAPS .. "?limit=1&continue=" .. page.metadata.continue)
  test.equal(code, 410)
  test.equal(problem.reason, "Expired")
end)

both("watch-drop: a watch breaks at its next event, and can be taken up again", nil, function(self, fault)
  local made = self.map "before"
  local stream = self.watch()
  fault("watch-drop", { count = 1 })
  self.map "lost"
  test.equal((rest_of(stream)), "")
  local again <close> = self.watch(made.metadata.resourceVersion)
  test.equal(json.decode((again:read():match "[^\n]+")).object.metadata.name, "lost")
end)

both("watch-half: a watch breaks in the middle of an event", nil, function(self, fault)
  local stream = self.watch()
  fault("watch-half", { count = 1 })
  self.map "half"
  local text = rest_of(stream)
  test.equal(text:sub(1, 8), '{"type":')
  test.equal((pcall(json.decode, text)), false)
end)

both("watch-silent: a watch stays open and says nothing more", nil, function(self, fault)
  local silent <close> = self.watch()
  fault("watch-silent", { count = 1 })
  self.map "one"
  local other <close> = self.watch()
  self.map "two"
  test.equal(other:read():find('"two"', 1, true) ~= nil, true)
  local heard = task.race { function() return silent:read() end, function()
    task.sleep(0.05)
    return "nothing"
  end }
  test.equal(heard, "nothing")
end)

both("clock-skew: the lab's clock is ahead", nil, function(self, fault)
  local before = self.map "before".metadata.creationTimestamp
  fault("clock-skew", { delay = 86400 * 3 })
  local after = self.map "after".metadata.creationTimestamp
  local clock = require "lab.clock"
  test.equal(clock.parse(after) - clock.parse(before) >= 86400 * 3, true)
  fault "clear"
  test.equal(clock.parse(self.map "again".metadata.creationTimestamp) < clock.parse(after), true)
end)

-- --- pods and nodes -------------------------------------------------------------------------------------------

local WITH_NODES = { nodes = 1, plain_pods = true }

both("pod-delay: pods start later", WITH_NODES, function(self, fault)
  fault("pod-delay", { delay = 1 })
  local code = self.call("POST", "/api/v1/namespaces/default/pods", { metadata = { name = "p" }, spec = {
    restartPolicy = "Never", containers = { { name = "c", image = "busybox:1", command = { "true" } } } } })
  test.equal(code, 201)
  local started = task.now()
  wait_for("the pod has run", function()
    local _, pod = self.call("GET", "/api/v1/namespaces/default/pods/p")
    return pod.status.phase == "Succeeded"
  end)
  test.equal(task.now() - started >= 0.9, true)
end)

both("node-loss: the node is not ready, and says so", WITH_NODES, function(self, fault)
  fault("node-loss", { match = "lab-1" })
  local _, node = self.call("GET", "/api/v1/nodes/lab-1")
  local ready
  for _, condition in ipairs(node.status.conditions) do ready = condition.type == "Ready" and condition or ready end
  test.equal(ready.status, "Unknown")
  test.equal(node.spec.taints[1].key, "node.kubernetes.io/unreachable")
  wait_for("there is an event", function()
    local _, events = self.call("GET", "/api/v1/events")
    for _, event in ipairs(events.items) do
      if event.reason == "NodeNotReady" and event.involvedObject.name == "lab-1" then return true end
    end
  end)
end)

test("a fault that the lab has not, a node that is not there, and somebody who may not are refused", function()
  local self = lab()
  test.equal(pcall(self.lua, "earthquake"), false)
  test.equal((self.call("POST", "/lab/fault", { kind = "node-loss", match = "lab-9" })), 400)
  local request = options_of(self.running)
  request.url, request.method, request.body = self.url .. "/lab/fault", "POST", '{"kind":"clear"}'
  request.headers.Authorization = "Bearer " .. self.cluster.auth:add_user "somebody"
  local response = http.request(request)
  test.equal(response.status == 403 or response.status == 404, true)
  self.running:close()
end)

test("base64 of the authority in a kubeconfig is that of the lab", function()
  local self = lab()
  local config = self.running:kubeconfig()
  test.equal(hash.unbase64(config.clusters[1].cluster["certificate-authority-data"]), self.running.ca)
  self.running:close()
end)
