-- Leader election: one leads, the next takes over when it is silent, and who wakes up late writes nothing.
local test = require "test"
local errors = require "errors"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local server = require "test.server"
local task = require "task"
local time = require "kube.time"

-- The leases and the writes of a cluster: answers requests, checks versions.
local function cluster()
  local state = { version = 10, lease = nil, writes = {}, down = false }
  local function status(code, reason)
    return { status = code, body = json.encode { kind = "Status", code = code, reason = reason, message = reason } }
  end
  function state.answer(method, path, body)
    if state.down then errors.raise { code = "Connection", message = "refused" } end
    if not path:find "/leases" then
      state.writes[#state.writes + 1] = { at = task.now(), method = method, body = body }
      return { status = 200, body = "{}" }
    end
    if method == "GET" then
      return state.lease and { status = 200, body = json.encode(state.lease) } or status(404, "NotFound")
    end
    local lease = json.decode(body)
    if method == "POST" and state.lease then return status(409, "AlreadyExists") end
    if method == "PUT" and lease.metadata.resourceVersion ~= state.lease.metadata.resourceVersion then
      return status(409, "Conflict")
    end
    state.version = state.version + 1
    lease.metadata.resourceVersion = tostring(state.version)
    state.lease = lease
    return { status = 200, body = json.encode(lease) }
  end
  return state
end

local function connect(state)
  return kube.connect {
    server = "https://cluster", log = function() end,
    transport = { request = function(_, options)
      local response = state.answer(options.method, options.url:match "^https://[^/]+([^?]*)", options.body)
      response.headers = {}
      return response
    end },
  }
end

local function write(c)
  return c.try:patch("configmaps", "a", { data = {} })
end

test("who takes a new lease leads, and gives it back at the end", function()
  local state = cluster()
  local c = connect(state)
  local result = c:lead { name = "l", namespace = "n", identity = "one", run = function(client, lead)
    test.equal(client, c)
    test.equal(lead:leads(), true)
    local spec = state.lease.spec
    test.equal(spec.holderIdentity, "one")
    test.equal(spec.leaseDurationSeconds, 15)
    assert(time.parse(spec.renewTime) and spec.renewTime:find "%.%d%d%d%d%d%dZ$", spec.renewTime)
    write(client)
    return "done"
  end }
  test.equal(result, "done")
  test.equal(#state.writes, 1)
  test.equal(state.lease.spec.holderIdentity, "")
end)

test("the lease is renewed while it is led, and its transitions are kept", function()
  local state = cluster()
  local c = connect(state)
  local t = task.spawn(c.lead, c, { name = "l", identity = "one", run = function() task.sleep(60) return "done" end })
  test.advance(1)
  local first = state.lease.spec
  test.advance(40)
  local later = state.lease.spec
  test.equal(later.acquireTime, first.acquireTime)
  test.equal(later.leaseTransitions, 0)
  assert(state.version > 20, "it was renewed every two seconds or so")
  test.advance(25)
  test.equal(t:wait(), "done")
end)

test("a second one waits until the first has been silent for the whole lease", function()
  local state = cluster()
  state.lease = { apiVersion = "coordination.k8s.io/v1", kind = "Lease",
    metadata = { name = "l", namespace = "default", resourceVersion = "5" },
    spec = { holderIdentity = "other", leaseDurationSeconds = 15, leaseTransitions = 3 } }
  local c = connect(state)
  local began, led_at = task.now(), nil
  local t = task.spawn(c.lead, c, { name = "l", identity = "two", run = function() led_at = task.now() end })
  test.advance(8)
  state.lease.metadata.resourceVersion = "6" -- the first one renews once more
  test.advance(14)
  test.equal(led_at, nil)
  test.advance(10)
  t:wait()
  assert(led_at - began >= 8 + 13 and led_at - began <= 28, led_at - began)
  test.equal(state.lease.spec.leaseTransitions, 4)
end)

test("who cannot renew stops its work before the end of the lease, and writes nothing after", function()
  local state = cluster()
  local c = connect(state)
  local ended, results = nil, {}
  local t = task.spawn(c.lead, c, { name = "l", identity = "one", once = true, run = function()
    local closer <close> = setmetatable({}, { __close = function() ended = task.now() end }) -- luacheck: ignore
    while true do
      results[#results + 1] = write(c)
      task.sleep(0.5)
    end
  end })
  test.advance(3)
  local renewed = task.now()
  state.down = true
  local down_at = #state.writes
  test.advance(20)
  test.raises("Refused", function() t:wait() end)
  assert(ended - renewed < 13, ended - renewed)
  test.equal(#state.writes, down_at)
  local _, problem = write(c)
  assert(not errors.is(problem, "Refused"), "without an election there is no fence")
end)

test("a write that waited past the lease is not sent", function()
  local state = cluster()
  local c = connect(state)
  local answer, busy = state.answer, true
  state.answer = function(method, path, body)
    if method == "PATCH" and busy then
      busy = false
      return { status = 429, body = "" }
    end
    return answer(method, path, body)
  end
  local transport = c.transport
  local request = transport.request
  transport.request = function(self, options)
    local response = request(self, options)
    if response.status == 429 then response.headers = { ["retry-after"] = "14" } end
    return response
  end
  local problem
  local t = task.spawn(c.lead, c, { name = "l", identity = "one", once = true, run = function()
    state.down = true
    local _
    _, problem = pcall(c.patch, c, "configmaps", "a", {})
  end, renew_within = 14.5 })
  state.down = false
  test.advance(30)
  pcall(t.wait, t)
  test.equal(#state.writes, 0)
  assert(errors.is(problem), "the write failed")
end)

-- --- a process that is stopped ----------------------------------------------------------------------------

local LEADER = [[
local task = require "task"
local c = require "kube".connect { server = %q, log = function() end }
c:lead { name = "l", identity = "one", duration = %g, renew_within = %g, retry = 0.2, run = function()
  while true do
    c.try:patch("configmaps", "a", { data = { k = "v" } })
    task.sleep(0.01)
  end
end }
]]

-- KFHOST_TEST_PAUSE=20 stops it as long as the real lease is.
test("a leader that was stopped past its lease and goes on writes nothing", function()
  local pause = tonumber(os.getenv "KFHOST_TEST_PAUSE") or 2.6
  local duration = pause >= 20 and 15 or 2.5
  local state = cluster()
  local s <close> = server.start { handler = function(request)
    local response = state.answer(request.method, request.path, request.body)
    response.headers = { ["Content-Type"] = "application/json" }
    return response
  end }
  local script = LEADER:format(s.url, duration, duration * 2 / 3)
  local leader <close> = proc.spawn { host.executable(), "-e", script, stdout = "null" }
  while #state.writes < 3 do task.sleep(0.01) end
  leader:kill "STOP"
  task.sleep(pause)
  state.lease.spec.holderIdentity, state.lease.spec.leaseDurationSeconds = "two", 3600
  state.version = state.version + 1
  state.lease.metadata.resourceVersion = tostring(state.version)
  local before = #state.writes
  leader:kill "CONT"
  task.sleep(0.7)
  test.equal(#state.writes, before)
  leader:kill "KILL"
  leader:wait(5)
end)
