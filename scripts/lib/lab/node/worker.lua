-- lab.node.worker: one pod on its node, from its binding to its end.
-- Not for processes (lab.node.runtime) nor for the text of statuses (lab.node.report).
--   worker.start(nodes, pod) -> worker
--
-- Volumes, then init containers in order (those with restartPolicy Always stay and serve), then the containers
-- in order, without waiting for their ends; restarts by policy with growing delay; the end when they have ended.

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local environment = require "lab.node.environment"
local errors = require "errors"
local image = require "lab.image"
local inside = require "lab.inside"
local probes = require "lab.node.probes"
local report = require "lab.node.report"
local task = require "task"
local volumes = require "lab.node.volumes"

local M = {}

local BACKOFF, LONGEST = 10, 300
local SHORTEST = 0.05 -- seconds between two probes, however short time is made

---@class lab.Worker
local worker = {}
worker.__index = worker

-- --- helpers --------------------------------------------------------------------------------------------

local function about(self) return inside.with_kind(self.cluster, "pods", self.pod) end

function worker:event(kind, reason, text)
  base.event(self.cluster, about(self), kind, reason, text, "kubelet")
end

function worker:sleep(seconds) task.sleep(math.max(0.01, seconds * self.scale)) end

local function is_sidecar(container) return container.restartPolicy == "Always" end

local function new_container(spec, init)
  return { spec = spec, name = spec.name, init = init, sidecar = init and is_sidecar(spec), restarts = 0,
           waiting = init and "PodInitializing" or "ContainerCreating", ready = false, started = false,
           tried = task.event() }
end

local function policy_of(self, c)
  if c.sidecar then return "Always" end
  local policy = self.pod.spec.restartPolicy
  if c.init and policy == "Always" then return "OnFailure" end
  return policy
end

-- Of a node that is lost nothing is heard.
function worker:publish()
  if not self.nodes.lost[self.pod.spec.nodeName] then report.publish(self) end
end

-- --- one container --------------------------------------------------------------------------------------

-- Waits until the image of a container means something here.
local function pull(self, c)
  local delay = BACKOFF
  while not image.find(c.spec.image) do
    local text = ('failed to pull image "%s": %s'):format(c.spec.image, image.advice(c.spec.image))
    c.waiting, c.waiting_text = "ErrImagePull", text
    self:event("Warning", "Failed", ('Failed to pull image "%s": %s'):format(c.spec.image, image.advice(c.spec.image)))
    self:event("Warning", "Failed", "Error: ErrImagePull")
    self:publish()
    c.tried:set()
    self:sleep(delay)
    c.waiting, c.waiting_text = "ImagePullBackOff", ('Back-off pulling image "%s": ErrImagePull: %s'):format(
      c.spec.image, text)
    self:event("Normal", "BackOff", ('Back-off pulling image "%s"'):format(c.spec.image))
    self:publish()
    self:sleep(delay)
    delay = math.min(delay * 2, LONGEST)
  end
  c.waiting_text = nil
end

local function start(self, c)
  pull(self, c)
  while not self.closed do
    local ok, process = pcall(self.nodes.runtime.start, self.nodes.runtime, self.sandbox, c.spec, self.directories,
      c.restarts)
    if ok then
      c.process, c.waiting, c.waiting_text, c.started, c.ready = process, nil, nil, not c.spec.startupProbe, false
      if not c.spec.startupProbe and not c.spec.readinessProbe then c.ready = true end
      self:event("Normal", "Started", "Started container " .. c.name)
      return
    end
    local text = type(process) == "string" and process or errors.text(process)
    if errors.is(process, "Cancelled") then error(process, 0) end
    local missing = text:find "not found" or text:find "couldn't find key"
    c.waiting, c.waiting_text = missing and "CreateContainerConfigError" or "CreateContainerError", text
    self:event("Warning", "Failed", "Error: " .. text)
    self:publish()
    c.tried:set()
    self:sleep(1)
  end
end

-- Asks a probe again and again; done(ok, text, count) ends it by returning true.
local function ask(self, c, probe, done)
  self:sleep(probe.initialDelaySeconds or 0)
  local good, bad = 0, 0
  while c.process and not c.process.finished do
    local ok, text = probes.check(self, c, probe)
    if ok then good, bad = good + 1, 0 else good, bad = 0, bad + 1 end
    if done(ok, text, ok and good or bad) then return end
    task.sleep(math.max(SHORTEST, (probe.periodSeconds or 10) * self.scale)) -- their count is a time, too
  end
end

local function watch_startup(self, c)
  local probe = c.spec.startupProbe
  if not probe then return end
  ask(self, c, probe, function(ok, text, count)
    if ok and count >= (probe.successThreshold or 1) then
      c.started = true
      if not c.spec.readinessProbe then c.ready = true end
      self:publish()
      return true
    elseif not ok then
      self:event("Warning", "Unhealthy", "Startup probe failed: " .. text)
      if count >= (probe.failureThreshold or 3) then
        self:event("Normal", "Killing", ("Container %s failed startup probe, will be restarted"):format(c.name))
        c.process:signal_first "TERM"
        return true
      end
    end
  end)
end

local function watch_readiness(self, c)
  local probe = c.spec.readinessProbe
  if not probe then return end
  ask(self, c, probe, function(ok, text, count)
    local before = c.ready
    if ok and count >= (probe.successThreshold or 1) then
      c.ready = true
    elseif not ok and count >= (probe.failureThreshold or 3) then
      c.ready = false
    end
    if not ok then self:event("Warning", "Unhealthy", "Readiness probe failed: " .. text) end
    if c.ready ~= before then self:publish() end
  end)
end

local function stop_process(self, process, grace)
  process:signal_first "TERM"
  if not process:wait(math.max(0.05, grace * self.scale)) then process:kill() end
  process:wait(5)
end

local function watch_liveness(self, c)
  local probe = c.spec.livenessProbe
  if not probe then return end
  ask(self, c, probe, function(ok, text, count)
    if ok then return end
    self:event("Warning", "Unhealthy", "Liveness probe failed: " .. text)
    if count >= (probe.failureThreshold or 3) then
      self:event("Normal", "Killing", ("Container %s failed liveness probe, will be restarted"):format(c.name))
      stop_process(self, c.process, self.pod.spec.terminationGracePeriodSeconds or 30)
      return true
    end
  end)
end

local function watch_probes(self, c)
  if c.process.builtin then -- a task of the lab is ready at once, and nobody can ask it
    c.started, c.ready = true, true
    return
  end
  local list = {}
  c.probes = list
  list[1] = task.spawn(function()
    pcall(watch_startup, self, c)
    if c.probes == list and c.process and not c.process.finished then
      list[2] = task.spawn(function() pcall(watch_readiness, self, c) end)
      list[3] = task.spawn(function() pcall(watch_liveness, self, c) end)
    end
  end)
end

local function end_probes(c)
  for _, one in ipairs(c.probes or {}) do one:cancel() end
  c.probes = nil
end

-- A hook that is a pause takes its time, scaled; others as long as they take.
local function run_hook(self, c, handler, timeout)
  if handler.sleep then
    self:sleep(handler.sleep.seconds or 0)
    return true
  end
  local probe = { timeoutSeconds = timeout }
  for _, kind in ipairs { "exec", "httpGet", "tcpSocket" } do probe[kind] = handler[kind] end
  return probes.check(self, c, probe)
end

local function post_start(self, c)
  local handler = c.spec.lifecycle and c.spec.lifecycle.postStart
  if not handler then return end
  local ok, text = run_hook(self, c, handler, 60)
  if not ok then
    self:event("Warning", "FailedPostStartHook", "PostStartHook failed: " .. text)
    c.process:kill()
  end
end

-- Runs a container until its policy lets it end. Returns whether its last run was a success.
local function run_container(self, c, on_started)
  local delay = BACKOFF
  while true do
    start(self, c)
    if self.closed then return false end
    watch_probes(self, c)
    c.process:wait_first()
    post_start(self, c)
    c.tried:set()
    self:publish()
    if on_started then on_started(c) end
    c.process:wait()
    end_probes(c)
    c.ready, c.started = false, false
    c.last = c.process
    if self.cluster.mesh then self.cluster.mesh:ended(self.sandbox, c.name) end
    local success = c.process.exit_code == 0
    local policy = policy_of(self, c)
    if self.ending or policy == "Never" or policy == "OnFailure" and success then
      self:publish()
      return success
    end
    if c.process.finished - c.process.started > 600 then delay = BACKOFF end
    c.crash_delay = delay
    self:publish()
    local m = self.pod.metadata
    local where = ("pod %s_%s(%s)"):format(m.name, m.namespace, m.uid)
    c.waiting = "CrashLoopBackOff"
    c.waiting_text = ("back-off %ds restarting failed container=%s %s"):format(delay, c.name, where:gsub(" ", "=", 1))
    if c.restarts > 0 or not success then
      self:event("Warning", "BackOff", ("Back-off restarting failed container %s in %s"):format(c.name, where))
      self:publish()
      self:sleep(delay)
      delay = math.min(delay * 2, LONGEST)
    end
    c.restarts = c.restarts + 1
    c.previous, c.process = c.process, nil
  end
end

-- --- the pod --------------------------------------------------------------------------------------------

-- A volume of one node waits until no other node uses it.
local function attach_all(self)
  while self.cluster.volumes do
    local problem = self.cluster.volumes:attach(self.pod)
    if not problem then return end
    base.event(self.cluster, about(self), "Warning", "FailedAttachVolume", problem, "attachdetach-controller")
    self:sleep(1)
  end
end

local function mount_all(self)
  local told
  while true do
    local ok, result = pcall(volumes.make, self.cluster, self.pod, self.sandbox.directory .. "/volumes")
    if ok then
      self.directories = result
      return
    end
    if errors.is(result, "Cancelled") then error(result, 0) end
    local text = type(result) == "string" and result or errors.text(result)
    if told ~= text then self:event("Warning", "FailedMount", text) end
    told = text
    self:sleep(1)
  end
end

-- Sidecars count as started when they are up, or when their startup probe says so.
local function wait_started(self, c)
  while not c.started and not self.ending do
    local pause = task.event()
    pause:wait(0.02)
  end
end

local function run_init(self)
  for _, c in ipairs(self.init) do
    if c.sidecar then
      local running = task.event()
      c.task = task.spawn(function()
        local ok, problem = pcall(run_container, self, c, function() running:set() end)
        if not ok and not errors.is(problem, "Cancelled") then self:fail(problem) end
      end)
      running:wait()
      wait_started(self, c)
    elseif not run_container(self, c) then
      return false
    end
    if self.ending then return false end
  end
  return true
end

function worker:fail(problem)
  self.nodes.cluster.log[#self.nodes.cluster.log % 100 + 1] = errors.text(problem)
  if self.cluster.options.on_error then self.cluster.options.on_error(nil, errors.text(problem)) end
end

local function run_main(self)
  local jobs = {}
  for i, c in ipairs(self.main) do
    jobs[i] = function()
      local before = self.main[i - 1]
      if before then before.tried:wait() end -- one after the other, each with its postStart hook
      return run_container(self, c) and 1 or 0
    end
  end
  local results = task.all(jobs)
  local success = true
  for i = 1, #jobs do success = success and results[i] == 1 end
  return success
end

local function pre_stop(self, c, grace)
  local handler = c.spec.lifecycle and c.spec.lifecycle.preStop
  if not handler or not c.process or c.process.finished then return end
  local ok, text = run_hook(self, c, handler, math.max(0.1, grace * self.scale))
  if not ok then self:event("Warning", "FailedPreStopHook", "PreStopHook failed: " .. text) end
end

local function stop_container(self, c, deadline)
  if not c.process or c.process.finished then return end
  self:event("Normal", "Killing", "Stopping container " .. c.name)
  pre_stop(self, c, math.max(0, deadline - self.cluster:now()))
  stop_process(self, c.process, math.max(0, deadline - self.cluster:now()))
end

-- Stops the main containers together, then the sidecars in reverse order.
local function stop_all(self, grace)
  self.ending = true
  local deadline = self.cluster:now() + grace
  local jobs = {}
  for i, c in ipairs(self.main) do jobs[i] = function() stop_container(self, c, deadline) end end
  if #jobs > 0 then task.all(jobs) end
  for i = #self.init, 1, -1 do stop_container(self, self.init[i], deadline) end
end

-- Everything runs as the lab's own user, which is root in the pod.
local function say_what_is_ignored(self)
  local context, list = self.pod.spec.securityContext or {}, {}
  for _, name in ipairs { "fsGroup", "runAsUser", "runAsGroup", "supplementalGroups" } do
    if context[name] ~= nil then list[#list + 1] = name end
  end
  if #list > 0 then
    self:event("Warning", "NotApplied", ("The lab runs every program as the user who started it: the pod's "
      .. "securityContext.%s says nothing here"):format(table.concat(list, ", ")))
  end
end

local function live(self)
  self.sandbox = self.nodes.runtime:sandbox(self.pod)
  if self.closed then return self.nodes.runtime:remove(self.sandbox) end -- while it was made
  self.sandbox.node_address = self.nodes:address(self.pod.spec.nodeName)
  -- What containers may ask of their pod, which has its addresses only now.
  self.sandbox.pod = { metadata = self.pod.metadata, spec = self.pod.spec,
    status = { podIP = self.sandbox.ip, hostIP = self.sandbox.node_address } }
  if self.sandbox.alone then
    self:event("Warning", "NotConnected", ("This kernel does not let the lab catch the pod's connections (%s): only "
      .. "programs that follow http_proxy reach services"):format(self.sandbox.problem))
  elseif self.sandbox.problem then
    self:event("Warning", "NotConfined", ("This kernel refuses namespaces to the lab (%s): the pod shares this "
      .. "machine's network and processes, its paths are below $KFHOST_ROOT, and only programs that follow "
      .. "http_proxy reach services"):format(self.sandbox.problem))
  end
  say_what_is_ignored(self)
  for _, problem in ipairs(self.sandbox.host_port_problems) do
    self:event("Warning", "HostPortTaken", "The pod has no host port: cannot listen on " .. problem)
  end
  self.start_time = self.start_time or self.cluster:time()
  self:publish()
  attach_all(self)
  mount_all(self)
  if self.nodes.start_delay then self:sleep(self.nodes.start_delay) end
  local success = run_init(self)
  if success and not self.ending then
    self.initialized = true
    success = run_main(self)
  end
  if self.ending then return end
  self.ending = true
  for i = #self.init, 1, -1 do
    local c = self.init[i]
    if c.sidecar then
      stop_container(self, c, self.cluster:now() + (self.pod.spec.terminationGracePeriodSeconds or 30))
    end
  end
  self.phase = success and "Succeeded" or "Failed"
  self:publish()
end

local function deadline_watch(self)
  local seconds = self.pod.spec.activeDeadlineSeconds
  if not seconds then return end
  self.deadline = task.spawn(function()
    local ok = pcall(task.sleep, seconds)
    if not ok or self.ending then return end
    self.reason, self.reason_text = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
    stop_all(self, self.pod.spec.terminationGracePeriodSeconds or 30)
    self.phase = "Failed"
    self:publish()
  end)
end

---The pod is to end: its containers get their grace, then it is removed.
---@param grace number seconds
function worker:terminate(grace)
  if self.terminating and grace >= self.terminating then return end
  self.terminating = grace
  if self.killer then self.killer:cancel() end
  self.killer = task.spawn(function()
    local ok, problem = pcall(function()
      stop_all(self, grace)
      if not self.phase then
        local failed = false
        for _, c in ipairs(self.main) do
          local last = c.process or c.last
          if not last or (last.exit_code or 0) ~= 0 then failed = true end
        end
        self.phase = failed and "Failed" or "Succeeded"
      end
      self:publish()
      self:close()
      inside.delete(self.cluster, "pods", self.pod.metadata.namespace, self.pod.metadata.name,
        { grace = 0, uid = self.pod.metadata.uid })
    end)
    if not ok and not errors.is(problem, "Cancelled") then self:fail(problem) end
  end)
end

---Ends everything at once, without a word to the API.
function worker:close()
  local other = self.killer and self.killer ~= task.current() and self.killer
  if self.closed then
    if other then pcall(other.wait, other, 10) end -- it is at it
    return
  end
  self.closed, self.ending = true, true
  if self.deadline then self.deadline:cancel() end
  for _, list in ipairs { self.init, self.main } do
    for _, c in ipairs(list) do
      end_probes(c)
      if c.process then c.process:kill() end
      if c.task then c.task:cancel() end
    end
  end
  if self.life then self.life:cancel() end
  if other then other:cancel() end
  if self.sandbox then self.nodes.runtime:remove(self.sandbox) end
end

---@param nodes lab.Nodes
---@param pod table
---@return lab.Worker
function M.start(nodes, pod)
  local self = setmetatable({
    nodes = nodes, cluster = nodes.cluster, pod = pod, scale = nodes.scale, init = {}, main = {},
  }, worker)
  for i, container in ipairs(pod.spec.initContainers or {}) do self.init[i] = new_container(container, true) end
  for i, container in ipairs(pod.spec.containers) do
    self.main[i] = new_container(container, false)
    if #self.init > 0 then self.main[i].waiting = "PodInitializing" end
  end
  deadline_watch(self)
  self.life = task.spawn(function()
    local ok, problem = pcall(live, self)
    if not ok and not errors.is(problem, "Cancelled") then self:fail(problem) end
  end)
  return self
end

M.clock, M.environment = clock, environment

return M
