-- lab.controllers.jobs: pods of a job until enough have succeeded, or too many failed.
-- Not for running pods (lab.node), nor for success policies.
--   require "lab.controllers.jobs".start(cluster)
--
-- A pod that has ended keeps a finalizer until it has been counted; what is being counted stands in
-- status.uncountedTerminatedPods, so that nothing is counted twice when the lab is stopped between.

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local store = require "lab.store"

local M = {}

local JOB = "batch/jobs"
local MANAGER = "kube-controller-manager"
local TRACKING = "batch.kubernetes.io/job-tracking"
local INDEX = "batch.kubernetes.io/job-completion-index"

local BACKOFF, LONGEST_BACKOFF = 10, 600

-- --- conditions -------------------------------------------------------------------------------------

local function has_condition(job, kind)
  for _, condition in ipairs(job.status and job.status.conditions or {}) do
    if condition.type == kind and condition.status == "True" then return condition end
  end
end

local function is_over(job) return has_condition(job, "Complete") or has_condition(job, "Failed") end

local function add_condition(cluster, status, kind, reason, message, value)
  local list = status.conditions or json.array {}
  local now = cluster:time()
  status.conditions = list
  for _, one in ipairs(list) do
    if one.type == kind then
      if one.status ~= (value or "True") then
        one.status, one.reason, one.message, one.lastTransitionTime, one.lastProbeTime = value or "True", reason,
          message, now, now
      end
      return
    end
  end
  list[#list + 1] = { type = kind, status = value or "True", reason = reason, message = message,
                      lastProbeTime = now, lastTransitionTime = now }
end

-- --- counting ---------------------------------------------------------------------------------------

local function has_finalizer(pod)
  for _, name in ipairs(pod.metadata.finalizers or {}) do
    if name == TRACKING then return true end
  end
  return false
end

local function drop_finalizer(cluster, pod)
  inside.change(cluster, "pods", pod.metadata.namespace, pod.metadata.name, nil, MANAGER, function(object)
    local list = {}
    for _, name in ipairs(object.metadata.finalizers or {}) do
      if name ~= TRACKING then list[#list + 1] = name end
    end
    if #list == #(object.metadata.finalizers or {}) then return false end
    object.metadata.finalizers = #list > 0 and list or nil
  end)
end

local function index_of(pod)
  return math.tointeger(tonumber((pod.metadata.annotations or {})[INDEX] or ""))
end

-- "0-2,5" of a set of numbers, and back.
local function write_indexes(set)
  local list, texts = {}, {}
  for index in pairs(set) do list[#list + 1] = index end
  table.sort(list)
  local at = 1
  while at <= #list do
    local last = at
    while list[last + 1] == list[last] + 1 do last = last + 1 end
    texts[#texts + 1] = last == at and tostring(list[at])
      or last == at + 1 and ("%d,%d"):format(list[at], list[last]) or ("%d-%d"):format(list[at], list[last])
    at = last + 1
  end
  return table.concat(texts, ",")
end

local function read_indexes(text)
  local set = {}
  for part in (text or ""):gmatch "[^,]+" do
    local first, last = part:match "^(%d+)%-(%d+)$"
    for index = tonumber(first or part), tonumber(last or part) do set[math.tointeger(index)] = true end
  end
  return set
end

local function is_ended(pod)
  return pods.is_finished(pod) or pod.metadata.deletionTimestamp and (pod.spec.nodeName or "") == ""
end

-- Whether a failed pod counts at all, or ends the job, by the job's policy for failures.
local function policy_action(job, pod)
  local policy = job.spec.podFailurePolicy
  for i, rule in ipairs(policy and policy.rules or {}) do
    local on = rule.onExitCodes
    if on then
      for _, s in ipairs(pod.status.containerStatuses or {}) do
        local code = s.state and s.state.terminated and s.state.terminated.exitCode
        if code and code ~= 0 and (not on.containerName or on.containerName == s.name) then
          local listed = false
          for _, value in ipairs(on.values or {}) do listed = listed or value == code end
          if listed == (on.operator == "In") then
            return rule.action, ("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d")
              :format(s.name, pod.metadata.namespace, pod.metadata.name, code, rule.action, i - 1)
          end
        end
      end
    end
    for _, pattern in ipairs(rule.onPodConditions or {}) do
      for _, condition in ipairs(pod.status.conditions or {}) do
        if condition.type == pattern.type and condition.status == (pattern.status or "True") then
          return rule.action, ("Pod %s/%s has condition %s matching %s rule at index %d"):format(
            pod.metadata.namespace, pod.metadata.name, pattern.type, rule.action, i - 1)
        end
      end
    end
  end
  return "Count"
end

local function without(list, gone)
  local rest = json.array {}
  for _, uid in ipairs(list or {}) do
    if not gone[uid] then rest[#rest + 1] = uid end
  end
  return #rest > 0 and rest or nil
end

-- Notes ended pods as uncounted, lets them go, counts them. Returns what ends the job, if anything.
local function count_ended(cluster, job, owned)
  local m = job.metadata
  local ended, refused = {}, nil
  for _, pod in ipairs(owned) do
    if is_ended(pod) and has_finalizer(pod) then ended[#ended + 1] = pod end
  end
  local uncounted = job.status and job.status.uncountedTerminatedPods or {}
  if #ended == 0 and not uncounted.succeeded and not uncounted.failed then return nil end
  local done = read_indexes(job.status and job.status.completedIndexes)
  inside.change(cluster, JOB, m.namespace, m.name, "status", MANAGER, function(new)
    local s = new.status or {}
    new.status = s
    local lists = s.uncountedTerminatedPods or {}
    local noted = {}
    for _, name in ipairs { "succeeded", "failed" } do
      for _, uid in ipairs(lists[name] or {}) do noted[uid] = true end
    end
    for _, pod in ipairs(ended) do
      local uid = pod.metadata.uid
      local success = pod.status and pod.status.phase == "Succeeded"
      local action, why = "Count", nil
      if not success then action, why = policy_action(job, pod) end
      if action == "FailJob" then refused = why end
      if not noted[uid] and action ~= "Ignore" then
        local name = success and "succeeded" or "failed"
        lists[name] = lists[name] or json.array {}
        table.insert(lists[name], uid)
      end
      if success and index_of(pod) then done[index_of(pod)] = true end
    end
    if new.spec.completionMode == "Indexed" then s.completedIndexes = write_indexes(done) end
    s.uncountedTerminatedPods = json.object(lists)
  end)
  for _, pod in ipairs(ended) do drop_finalizer(cluster, pod) end
  inside.change(cluster, JOB, m.namespace, m.name, "status", MANAGER, function(new)
    local s = new.status
    local lists = s.uncountedTerminatedPods or {}
    local gone = {}
    for _, name in ipairs { "succeeded", "failed" } do
      for _, uid in ipairs(lists[name] or {}) do
        gone[uid] = true
        if not (name == "succeeded" and new.spec.completionMode == "Indexed") then s[name] = (s[name] or 0) + 1 end
      end
      lists[name] = without(lists[name], gone)
    end
    if new.spec.completionMode == "Indexed" then
      local count = 0
      for _ in pairs(read_indexes(s.completedIndexes)) do count = count + 1 end
      s.succeeded = count > 0 and count or nil
    end
    s.uncountedTerminatedPods = json.object {}
  end)
  return refused
end

-- --- making pods ------------------------------------------------------------------------------------

local function free_index(job, active)
  local taken = read_indexes(job.status and job.status.completedIndexes)
  for _, pod in ipairs(active) do
    local index = index_of(pod)
    if index then taken[index] = true end
  end
  for index = 0, job.spec.completions - 1 do
    if not taken[index] then return index end
  end
end

local function set_index(pod, job, index)
  pod.metadata.annotations = pod.metadata.annotations or {}
  pod.metadata.annotations[INDEX] = tostring(index)
  pod.metadata.labels = pod.metadata.labels or {}
  pod.metadata.labels[INDEX] = tostring(index)
  pod.metadata.generateName = ("%s-%d-"):format(job.metadata.name, index)
  pod.spec.hostname = pod.spec.hostname or ("%s-%d"):format(job.metadata.name, index)
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(pod.spec[field] or {}) do
      container.env = container.env or json.array {}
      table.insert(container.env, { name = "JOB_COMPLETION_INDEX", valueFrom = { fieldRef = {
        fieldPath = ("metadata.annotations['%s']"):format(INDEX) } } })
    end
  end
end

local function make_pod(cluster, job, active)
  local index
  if job.spec.completionMode == "Indexed" then
    index = free_index(job, active)
    if not index then return nil end
  end
  local about = inside.with_kind(cluster, JOB, job)
  local pod, problem = pods.create(cluster, job.metadata.namespace, job.spec.template,
    inside.owner(cluster, JOB, job), job.metadata.name .. "-", function(new)
      new.metadata.finalizers = json.array { TRACKING }
      if index then set_index(new, job, index) end
    end)
  if not pod then
    base.event(cluster, about, "Warning", "FailedCreate", "Error creating: " .. problem.body.message, "job-controller")
    error(problem, 0)
  end
  base.event(cluster, about, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name, "job-controller")
  return pod
end

-- Seconds until another pod may be made after one that failed.
local function backoff_left(cluster, job, owned, scale)
  local failed = job.status and job.status.failed or 0
  if failed == 0 then return 0 end
  local last = 0
  for _, pod in ipairs(owned) do
    if pod.status and pod.status.phase == "Failed" then
      for _, s in ipairs(pod.status.containerStatuses or {}) do
        local ended = s.state and s.state.terminated and clock.parse(s.state.terminated.finishedAt)
        if ended then last = math.max(last, ended) end
      end
    end
  end
  local wait = math.min(BACKOFF * 2 ^ (failed - 1), LONGEST_BACKOFF) * scale
  return math.max(0, last + wait - cluster:now())
end

-- --- the end ----------------------------------------------------------------------------------------

local function restarts(owned)
  local count = 0
  for _, pod in ipairs(owned) do
    if not pods.is_finished(pod) then
      for _, field in ipairs { "containerStatuses", "initContainerStatuses" } do
        for _, s in ipairs(pod.status and pod.status[field] or {}) do count = count + (s.restartCount or 0) end
      end
    end
  end
  return count
end

-- Why a job has to fail now.
local function failure(cluster, job, owned, refused)
  if refused then return "PodFailurePolicy", refused end
  local spec, s = job.spec, job.status or {}
  local failed = s.failed or 0
  if failed > spec.backoffLimit
    or spec.template.spec.restartPolicy == "OnFailure" and spec.backoffLimit < restarts(owned) + failed then
    return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
  end
  local started = s.startTime and clock.parse(s.startTime)
  if spec.activeDeadlineSeconds and started and cluster:now() >= started + spec.activeDeadlineSeconds then
    return "DeadlineExceeded", "Job was active longer than specified deadline"
  end
end

local function succeeded(job, active)
  local done = job.status and job.status.succeeded or 0
  if job.spec.completions then return done >= job.spec.completions end
  return done > 0 and #active == 0
end

local function delete_active(cluster, active)
  for _, pod in ipairs(active) do
    inside.delete(cluster, "pods", pod.metadata.namespace, pod.metadata.name, { uid = pod.metadata.uid })
  end
end

local function finish(cluster, job, kind, reason, message)
  local about = inside.with_kind(cluster, JOB, job)
  base.event(cluster, about, kind == "Complete" and "Normal" or "Warning",
    kind == "Complete" and "Completed" or reason, kind == "Complete" and "Job completed" or message, "job-controller")
end

-- --- one job ----------------------------------------------------------------------------------------

local function split(owned)
  local active, leaving, ready = {}, 0, 0
  for _, pod in ipairs(owned) do
    if pods.is_active(pod) then
      active[#active + 1] = pod
      if pods.is_ready(pod) then ready = ready + 1 end
    elseif pod.metadata.deletionTimestamp and not pods.is_finished(pod) then
      leaving = leaving + 1
    end
  end
  return active, leaving, ready
end

-- How many pods may run at the same time now.
local function wanted_pods(job)
  local spec = job.spec
  if not spec.completions then return spec.parallelism end
  local left = spec.completions - (job.status and job.status.succeeded or 0)
  return math.max(0, math.min(spec.parallelism, left))
end

local function report(cluster, job, change)
  local m = job.metadata
  inside.change(cluster, JOB, m.namespace, m.name, "status", MANAGER, function(new)
    local owned = pods.owned(cluster, "pods", m.namespace, m.uid)
    local active, leaving, ready = split(owned)
    local s = new.status or {}
    new.status = s
    s.active = #active > 0 and #active or nil
    s.ready, s.terminating = ready, leaving
    s.uncountedTerminatedPods = s.uncountedTerminatedPods or json.object {}
    if not new.spec.suspend and not s.startTime then s.startTime = cluster:time() end
    if change then change(s, active, leaving) end
  end)
end

local function suspend(cluster, job, active)
  delete_active(cluster, active)
  report(cluster, job, function(s)
    s.startTime = nil
    add_condition(cluster, s, "Suspended", "JobSuspended", "Job suspended")
  end)
end

local function end_job(cluster, job, active, target, final, reason, message)
  delete_active(cluster, active)
  report(cluster, job, function(s, left, leaving)
    add_condition(cluster, s, target, reason, message)
    if #left == 0 and leaving == 0 then
      add_condition(cluster, s, final, reason, message)
      if final == "Complete" then s.completionTime = cluster:time() end
    end
  end)
  local now = inside.view(cluster, JOB, job.metadata.namespace, job.metadata.name)
  if now and has_condition(now, final) then finish(cluster, job, final, reason, message) end
end

local REACHED = "Reached expected number of succeeded pods"

local function keep_running(cluster, job, owned, active, self, scale)
  local wanted = wanted_pods(job)
  if #active > wanted then
    pods.sort_for_removal(active)
    for i = 1, #active - wanted do delete_active(cluster, { active[i] }) end
  elseif #active < wanted then
    local wait = backoff_left(cluster, job, owned, scale)
    if wait > 0 then
      self:later(job.metadata.namespace .. "/" .. job.metadata.name, wait)
    else
      for _ = #active + 1, wanted do
        local pod = make_pod(cluster, job, active)
        if pod then active[#active + 1] = pod end
      end
    end
  end
  report(cluster, job, function(s)
    if has_condition({ status = s }, "Suspended") then
      add_condition(cluster, s, "Suspended", "JobResumed", "Job resumed", "False")
    end
  end)
  local deadline = job.spec.activeDeadlineSeconds
  local now = inside.view(cluster, JOB, job.metadata.namespace, job.metadata.name)
  local started = now and now.status and now.status.startTime and clock.parse(now.status.startTime)
  if deadline and started then
    self:later(job.metadata.namespace .. "/" .. job.metadata.name, math.max(0.01, started + deadline - cluster:now()))
  end
end

local function expire(cluster, job, key, self)
  local ttl = job.spec.ttlSecondsAfterFinished
  if not ttl then return end
  local over = is_over(job)
  local left = clock.parse(job.status.completionTime or over.lastTransitionTime) + ttl - cluster:now()
  if left > 0 then
    self:later(key, left)
  else
    inside.delete(cluster, JOB, job.metadata.namespace, job.metadata.name, { propagation = "Foreground" })
  end
end

-- Nobody counts the pods of a job that is gone: they are let go.
local function release_orphans(cluster, namespace)
  for _, record in ipairs(cluster.store:collection "pods":records(namespace)) do
    if record.bytes:find(TRACKING, 1, true) then
      local pod = store.view(record)
      local owner = inside.controller_of(pod)
      local job = owner and owner.kind == "Job" and inside.view(cluster, JOB, namespace, owner.name)
      if has_finalizer(pod) and not (job and job.metadata.uid == owner.uid) then drop_finalizer(cluster, pod) end
    end
  end
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local job = name ~= "" and inside.view(cluster, JOB, namespace, name)
  if not job then return release_orphans(cluster, namespace) end
  local owned = pods.owned(cluster, "pods", namespace, job.metadata.uid)
  if job.metadata.deletionTimestamp or is_over(job) then
    for _, pod in ipairs(owned) do
      if has_finalizer(pod) and (is_ended(pod) or job.metadata.deletionTimestamp) then drop_finalizer(cluster, pod) end
    end
    if not job.metadata.deletionTimestamp then expire(cluster, job, key, self) end
    return
  end
  local refused = count_ended(cluster, job, owned)
  job = inside.view(cluster, JOB, namespace, name)
  if not job then return end
  owned = pods.owned(cluster, "pods", namespace, job.metadata.uid)
  local active = split(owned)
  local target = has_condition(job, "FailureTarget")
  local reason, message
  if target then reason, message = target.reason, target.message else
    reason, message = failure(cluster, job, owned, refused)
  end
  if reason then
    end_job(cluster, job, active, "FailureTarget", "Failed", reason, message)
  elseif succeeded(job, active) then
    end_job(cluster, job, active, "SuccessCriteriaMet", "Complete", "CompletionsReached", REACHED)
  elseif job.spec.suspend then
    suspend(cluster, job, active)
  else
    keep_running(cluster, job, owned, active, self, scale)
  end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  return base.new(cluster, {
    name = "jobs",
    on = function(collection, event, add)
      if collection == JOB then
        add(event.record.key)
      elseif collection == "pods" then
        local key = pods.owner_key(event.record, "Job")
        if key then
          add(key)
        elseif event.record.bytes:find(TRACKING, 1, true) then
          add(event.record.namespace .. "/")
        end
      end
    end,
    look = function(key, self) return look(cluster, key, self, scale) end,
  })
end

M.store = store

return M
