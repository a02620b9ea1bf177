-- lab.node.report: the status of a pod, made of the state of its containers.
-- Not for deciding anything.
--   report.publish(worker)

local clock = require "lab.clock"
local fs = require "fs"
local inside = require "lab.inside"
local json = require "json"
local store = require "lab.store"
local writes = require "lab.writes"

local M = {}

local MESSAGE_SIZE = 4096

local function message_of(c, process)
  local ok, text = pcall(fs.read, process.message)
  if ok and text ~= "" then return text:sub(1, MESSAGE_SIZE) end
  if c.spec.terminationMessagePolicy == "FallbackToLogsOnError" and process.exit_code ~= 0 then
    local read, log = pcall(fs.read, process.log)
    if read then
      local plain = log:gsub("[^\n]-Z ([^\n]*\n)", "%1")
      return plain:sub(-2048)
    end
  end
end

local NOT_STARTED = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc "
  .. "create failed: unable to start container process: %s: unknown"

local function terminated(c, process)
  if process.start_error then
    return { terminated = { exitCode = 128, reason = "StartError", message = NOT_STARTED:format(process.start_error),
      startedAt = "1970-01-01T00:00:00Z", finishedAt = clock.text(process.finished),
      containerID = "kfhost://" .. process.pid } }
  end
  return { terminated = {
    exitCode = process.exit_code, reason = process.exit_code == 0 and "Completed" or "Error",
    startedAt = clock.text(process.started), finishedAt = clock.text(process.finished),
    message = message_of(c, process), containerID = "kfhost://" .. process.pid,
  } }
end

local function state_of(c)
  if c.waiting then return { waiting = { reason = c.waiting, message = c.waiting_text } } end
  if c.process and c.process.finished then return terminated(c, c.process) end
  if c.process then return { running = { startedAt = clock.text(c.process.started) } } end
  return { waiting = { reason = "ContainerCreating" } }
end

local function container_status(c)
  local state = state_of(c)
  local last = json.object {}
  local before = c.previous or (c.waiting and c.last) or nil
  if before and before.finished then last = terminated(c, before) end
  local running = state.running ~= nil
  local process = c.process or c.last
  return {
    name = c.name, state = state, lastState = last, ready = running and c.ready or (c.init and not c.sidecar
      and state.terminated ~= nil and state.terminated.exitCode == 0) or false, restartCount = c.restarts,
    image = c.spec.image, imageID = process and "kfhost://" .. c.spec.image or "",
    containerID = process and "kfhost://" .. process.pid or nil, started = running and c.started or false,
  }
end

local function all_ready(worker)
  for _, c in ipairs(worker.main) do
    if not (c.process and not c.process.finished and c.ready and not c.waiting) then return false end
  end
  return true
end

local function any_running(worker)
  for _, c in ipairs(worker.main) do
    if c.process then return true end
  end
  return false
end

local function phase_of(worker)
  if worker.phase then return worker.phase end
  if any_running(worker) or worker.was_running then
    worker.was_running = true
    return "Running"
  end
  return "Pending"
end

local function unready(worker)
  local names = {}
  for _, c in ipairs(worker.main) do
    if not (c.process and not c.process.finished and c.ready) then names[#names + 1] = c.name end
  end
  return names
end

local function conditions_of(worker, pod, phase)
  local list = {}
  local now = worker.cluster:time()
  local function put(kind, on, reason, message)
    local new = { type = kind, status = on and "True" or "False", reason = reason, message = message,
                  lastProbeTime = json.null, lastTransitionTime = now, observedGeneration = pod.metadata.generation }
    for _, old in ipairs(pod.status.conditions or {}) do
      if old.type == kind and old.status == new.status then new.lastTransitionTime = old.lastTransitionTime end
    end
    list[#list + 1] = new
  end
  local finished = phase == "Succeeded" or phase == "Failed"
  local ready = not finished and all_ready(worker)
  local why = finished and "PodCompleted" or not ready and "ContainersNotReady" or nil
  local text = why == "ContainersNotReady"
    and ("containers with unready status: [%s]"):format(table.concat(unready(worker), " ")) or nil
  if why == "PodCompleted" and phase == "Failed" then why = "PodFailed" end
  put("PodReadyToStartContainers", worker.sandbox ~= nil and not finished)
  local initialized = #worker.init == 0 or worker.initialized or false
  put("Initialized", initialized or phase == "Succeeded",
    phase == "Succeeded" and "PodCompleted" or not initialized and "ContainersNotInitialized" or nil)
  put("Ready", ready, why, text)
  put("ContainersReady", ready, why, text)
  local known = {}
  for _, condition in ipairs(list) do known[condition.type] = true end
  for _, old in ipairs(pod.status.conditions or {}) do
    if not known[old.type] then list[#list + 1] = old end
  end
  return json.array(list)
end

local function statuses(list)
  local out = json.array {}
  for i, c in ipairs(list) do out[i] = container_status(c) end
  return #out > 0 and out or nil
end

---Writes the status of a worker's pod, if it is still there and differs.
---@param worker lab.Worker
function M.publish(worker)
  local m = worker.pod.metadata
  inside.change(worker.cluster, "pods", m.namespace, m.name, "status", "kubelet", function(pod)
    if pod.metadata.uid ~= m.uid then return false end
    local before = store.copy(pod).status
    local s = pod.status or {}
    pod.status = s
    local phase = phase_of(worker)
    s.conditions = conditions_of(worker, pod, phase)
    s.phase = phase
    s.reason, s.message = worker.reason, worker.reason_text
    s.startTime = worker.start_time or s.startTime
    s.hostIP = worker.nodes:address(worker.pod.spec.nodeName)
    s.hostIPs = json.array { { ip = s.hostIP } }
    if worker.sandbox then
      s.podIP = worker.sandbox.ip
      s.podIPs = json.array { { ip = worker.sandbox.ip } }
    end
    s.initContainerStatuses = statuses(worker.init)
    s.containerStatuses = statuses(worker.main)
    s.observedGeneration = pod.metadata.generation
    if writes.same(before, s) then return false end
  end)
end

return M
