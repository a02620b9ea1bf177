-- A cluster with nodes in the test's own process, and what tests of pods say again and again.
--   local pods = dofile "tests/lua/support/pods.lua"; pods.with({ plain = true }, function(cluster, call) … end)
local api = require "lab.api"
local controllers = require "lab.controllers"
local json = require "json"
local proc = require "proc"
local task = require "task"
local test = require "test"
local time = require "kube.time"

local M = {}

M.PODS = "/api/v1/namespaces/default/pods"

---A live cluster whose waiting is short; ends with the function.
---@param options {nodes: integer?, time_scale: number?, plain: boolean?, alone: string?, profile: string?,
---  mesh: table? with a mesh, of that configuration}
---@param run fun(cluster: table, call: fun(method: string, path: string, body: table?, query: string?): table)
function M.with(options, run)
  local problems = {}
  local clock = proc.spawn { "sleep", "60" } -- while a process is pending, real time runs
  local cluster = api.new { on_error = function(_, text, traceback)
    problems[#problems + 1] = text .. (traceback or "")
  end }
  controllers.start(cluster, { nodes = options.nodes or 1, time_scale = options.time_scale or 0.01,
    plain_pods = options.plain, alone_pods = options.alone, root = test.tmpdir(), profile = options.profile })
  if options.mesh then
    local authority = require "x509".authority { name = "a test's" }
    M.mesh = require "lab.mesh".start(cluster, authority, options.mesh)
  end
  local ok, problem = xpcall(run, debug.traceback, cluster, function(method, path, body, query)
    local value, code, failure = cluster:call(method, path, { body = body, query = query,
      type = method == "PATCH" and "application/merge-patch+json" or nil })
    if not value and failure then error(("%s %s: %d %s"):format(method, path, code, failure.message), 2) end
    return value, code
  end)
  cluster.closing = true
  if options.mesh then M.mesh:stop() end
  cluster.admission:close()
  controllers.stop(cluster)
  clock:kill "KILL"
  clock:wait()
  if not ok then error(problem, 0) end
  test.same(problems, {})
end

---Waits for something to become true; the processes of pods need real time.
---@param seconds integer? that it may take
function M.eventually(what, check, seconds)
  local started = os.time()
  while os.time() - started < (seconds or 50) do
    local value = check()
    if value then return value end
    local pause = task.event()
    pcall(pause.wait, pause, 0.01)
  end
  error("it never happened that " .. what, 2)
end

---A container of a shell.
function M.shell(script, more)
  local container = { name = "main", image = "busybox:1", command = { "sh", "-c", script } }
  for key, value in pairs(more or {}) do container[key] = value end
  return container
end

---A container of Python.
function M.python(script, more)
  local container = { name = "main", image = "python:3", command = { "python3", "-u", "-c", script } }
  for key, value in pairs(more or {}) do container[key] = value end
  return container
end

function M.pod(name, spec, labels)
  spec.restartPolicy = spec.restartPolicy or "Never"
  return { metadata = { name = name, labels = labels }, spec = spec }
end

---Waits until a pod has a phase.
function M.phase(call, name, wanted, path)
  return M.eventually(name .. " is " .. wanted, function()
    local there, object = pcall(call, "GET", (path or M.PODS) .. "/" .. name)
    return there and object.status.phase == wanted and object
  end)
end

---Waits until a pod is ready.
function M.ready(call, name, path)
  return M.eventually(name .. " is ready", function()
    local there, object = pcall(call, "GET", (path or M.PODS) .. "/" .. name)
    for _, condition in ipairs(there and object.status.conditions or {}) do
      if condition.type == "Ready" and condition.status == "True" then return object end
    end
  end)
end

---What a container of a pod has printed.
function M.log(cluster, name, container, path)
  return cluster:handle { method = "GET", path = (path or M.PODS) .. "/" .. name .. "/log", internal = true,
                          headers = {}, query = container and "container=" .. container }.body
end

---Runs a pod to its end, and gives what it printed.
function M.run(cluster, call, name, container, path)
  local spec = { containers = { container } }
  call("POST", path or M.PODS, M.pod(name, spec))
  M.eventually(name .. " has ended", function()
    local phase = call("GET", (path or M.PODS) .. "/" .. name).status.phase
    return phase == "Succeeded" or phase == "Failed"
  end)
  return M.log(cluster, name, nil, path)
end

-- --- a kubelet's part, where there are no nodes -----------------------------------------------------------------

function M.bind(call, name, node)
  call("POST", M.PODS .. "/" .. name .. "/binding", { metadata = { name = name }, target = { kind = "Node",
    name = node or "n1" } })
end

---Changes fields of a pod's status.
function M.set_status(call, name, status)
  local pod = call("GET", M.PODS .. "/" .. name)
  for key, value in pairs(status) do pod.status[key] = value end
  call("PUT", M.PODS .. "/" .. name .. "/status", pod)
end

---The status of a pod that runs and is ready.
function M.running(restarts)
  local now = time.text(os.time())
  return { phase = "Running", conditions = { { type = "Ready", status = "True", lastTransitionTime = now } },
    containerStatuses = { { name = "main", image = "x:1", imageID = "", ready = true, restartCount = restarts or 0,
      state = { running = { startedAt = now } } } } }
end

---The status of a pod that has ended.
function M.ended(code, more)
  local state = { terminated = { exitCode = code, finishedAt = time.text(os.time()) } }
  local status = { phase = code == 0 and "Succeeded" or "Failed", containerStatuses = { { name = "main", image = "x:1",
    imageID = "", ready = false, restartCount = 0, state = state } } }
  for key, value in pairs(more or {}) do status[key] = value end
  return status
end

---Nothing more happens to pods and to what makes them, for a while.
function M.settled(call, path)
  local before = ""
  for _ = 1, 200 do
    local pause = task.event()
    pcall(pause.wait, pause, 0.03)
    local now = json.encode(call("GET", path).items) .. json.encode(call("GET", M.PODS).items)
    if now == before then return end
    before = now
  end
end

-- ---------------------------------------------------------------------------------------------------------------

---The messages of events with a reason.
function M.events(call, reason, namespace)
  local list = {}
  for _, event in ipairs(call("GET", "/api/v1/namespaces/" .. (namespace or "default") .. "/events").items) do
    if event.reason == reason then list[#list + 1] = event.message end
  end
  return list
end

return M
