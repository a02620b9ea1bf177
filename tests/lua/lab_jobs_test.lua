-- The lab's job controller, with no nodes: the test says what becomes of each pod, as a kubelet would.
local json = require "json"
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"
local time = require "kube.time"

local JOBS = "/apis/batch/v1/namespaces/default/jobs"

local function job(name, spec, template)
  template = template or { restartPolicy = "Never" }
  template.containers = { { name = "main", image = "x:1" } }
  spec.template = { spec = template }
  return { metadata = { name = name }, spec = spec }
end

local bind, set_status, ended, running = pods.bind, pods.set_status, pods.ended, pods.running

-- --- what there is ------------------------------------------------------------------------------------

local function list_of(call)
  local list = call("GET", pods.PODS).items
  table.sort(list, function(a, b)
    return tonumber(a.metadata.resourceVersion) < tonumber(b.metadata.resourceVersion)
  end)
  return list
end

local function active(call)
  local list = {}
  for _, pod in ipairs(list_of(call)) do
    if not pod.metadata.deletionTimestamp and pod.status.phase ~= "Failed" and pod.status.phase ~= "Succeeded" then
      list[#list + 1] = pod
    end
  end
  return list
end

local function wait_active(call, count)
  return pods.eventually(count .. " pods are active", function()
    local list = active(call)
    return #list == count and list
  end)
end

local function wait_status(call, name, what, check)
  return pods.eventually(what, function()
    local status = call("GET", JOBS .. "/" .. name).status
    return check(status) and status
  end)
end

local function condition(status, kind)
  for _, one in ipairs(status.conditions or {}) do
    if one.type == kind then return one end
  end
end

local function kinds(status)
  local list = {}
  for i, one in ipairs(status.conditions or {}) do
    list[i] = one.type .. (one.status == "True" and "" or "=" .. one.status) .. ":" .. one.reason
  end
  return table.concat(list, " ")
end

local function over(call, name, kind)
  return wait_status(call, name, name .. " is " .. kind, function(s) return condition(s, kind) end)
end

local function settled(call) pods.settled(call, JOBS) end

local function case(name, run) test(name, function() pods.with({ nodes = 0 }, run) end) end

-- --- deleted pods -------------------------------------------------------------------------------------

case("a job that may not fail once fails when its pod is deleted, and gets no second one", function(_, call)
  call("POST", JOBS, job("j", { backoffLimit = 0 }))
  local pod = wait_active(call, 1)[1]
  test.same(pod.metadata.finalizers, { "batch.kubernetes.io/job-tracking" })
  bind(call, pod.metadata.name)
  set_status(call, pod.metadata.name, running())
  call("DELETE", pods.PODS .. "/" .. pod.metadata.name) -- its kubelet takes thirty seconds
  local s = wait_status(call, "j", "the target stands", function(status) return condition(status, "FailureTarget") end)
  test.same({ kinds(s), s.failed, s.terminating, s.active }, { "FailureTarget:BackoffLimitExceeded", 1, 1 })
  local left = call("GET", pods.PODS .. "/" .. pod.metadata.name)
  test.equal(left.metadata.finalizers, nil) -- counted already
  call("DELETE", pods.PODS .. "/" .. pod.metadata.name, { gracePeriodSeconds = 0 })
  s = over(call, "j", "Failed")
  test.same({ kinds(s), s.failed, s.terminating, s.ready }, { "FailureTarget:BackoffLimitExceeded "
    .. "Failed:BackoffLimitExceeded", 1, 0, 0 })
  test.same(s.uncountedTerminatedPods, json.object {})
  settled(call)
  test.equal(#list_of(call), 0)
  test.equal(#pods.events(call, "SuccessfulCreate"), 1)
end)

case("a pod that is deleted by force is a failure too", function(_, call)
  call("POST", JOBS, job("j", { backoffLimit = 0 }))
  local pod = wait_active(call, 1)[1]
  bind(call, pod.metadata.name)
  set_status(call, pod.metadata.name, running())
  call("DELETE", pods.PODS .. "/" .. pod.metadata.name, { gracePeriodSeconds = 0 })
  local s = over(call, "j", "Failed")
  test.same({ s.failed, condition(s, "Failed").reason }, { 1, "BackoffLimitExceeded" })
  settled(call)
  test.equal(#list_of(call), 0)
end)

case("a pod on its way out is replaced at once, or when it has ended, as podReplacementPolicy says", function(_, call)
  for _, policy in ipairs { "TerminatingOrFailed", "Failed" } do
    call("POST", JOBS, job("j", { podReplacementPolicy = policy }))
    local pod = wait_active(call, 1)[1].metadata.name
    bind(call, pod)
    set_status(call, pod, running())
    call("DELETE", pods.PODS .. "/" .. pod)
    if policy == "Failed" then
      local s = wait_status(call, "j", "it is leaving", function(status) return status.terminating == 1 end)
      settled(call)
      test.same({ s.failed, s.active, #list_of(call) }, { [3] = 1 })
      set_status(call, pod, ended(137))
    end
    local new = wait_active(call, 1)[1].metadata.name
    test.equal(new ~= pod, true)
    test.equal(call("GET", JOBS .. "/j").status.failed, 1)
    pcall(call, "DELETE", pods.PODS .. "/" .. pod, { gracePeriodSeconds = 0 })
    call("DELETE", JOBS .. "/j", { propagationPolicy = "Background" })
    pods.eventually("all are gone", function() return #list_of(call) == 0 end)
  end
end)

case("pods that the job itself gives up are no failures", function(_, call)
  call("POST", JOBS, job("j", { parallelism = 3, completions = 5, backoffLimit = 0 }))
  for _, pod in ipairs(wait_active(call, 3)) do
    bind(call, pod.metadata.name)
    set_status(call, pod.metadata.name, running())
  end
  call("PATCH", JOBS .. "/j", { spec = { parallelism = 1 } })
  wait_active(call, 1)
  local s = wait_status(call, "j", "two are leaving", function(status) return status.terminating == 2 end)
  test.same({ s.active, s.ready, s.failed }, { 1, 1 })
  call("PATCH", JOBS .. "/j", { spec = { suspend = true } })
  s = wait_status(call, "j", "it is suspended", function(status) return condition(status, "Suspended") end)
  test.same({ kinds(s), s.active, s.ready, s.failed, s.startTime }, { "Suspended:JobSuspended", nil, 0 })
  test.same(pods.events(call, "Suspended"), { "Job suspended" })
  call("PATCH", JOBS .. "/j", { spec = { suspend = false } })
  wait_active(call, 1)
  s = wait_status(call, "j", "it goes on", function(status) return status.active == 1 end)
  test.same({ kinds(s), s.failed, s.startTime ~= nil }, { "Suspended=False:JobResumed", nil, true })
  test.same(pods.events(call, "Resumed"), { "Job resumed" })
end)

-- --- counting -----------------------------------------------------------------------------------------

case("pods that succeed are counted once; the criteria are met before the job is complete", function(_, call)
  call("POST", JOBS, job("j", { parallelism = 2, completions = 3 }))
  local list = wait_active(call, 2)
  for _, pod in ipairs(list) do
    bind(call, pod.metadata.name)
    set_status(call, pod.metadata.name, ended(0))
  end
  local last = wait_active(call, 1)[1].metadata.name
  local s = wait_status(call, "j", "two are counted", function(status) return status.succeeded == 2 end)
  test.same({ s.active, kinds(s) }, { 1, "" })
  bind(call, last)
  set_status(call, last, ended(0))
  s = over(call, "j", "Complete")
  test.same({ kinds(s), s.succeeded, s.active, s.ready, s.terminating, s.failed },
    { "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached", 3, nil, 0, 0 })
  test.equal(s.completionTime, condition(s, "Complete").lastTransitionTime)
  for _, pod in ipairs(list_of(call)) do test.equal(pod.metadata.finalizers, nil) end
  test.same(pods.events(call, "Completed"), { "Job completed" })
end)

case("a job without completions makes no more pods after the first success, and waits for the others", function(_, call)
  call("POST", JOBS, job("j", { parallelism = 3 }))
  local list = wait_active(call, 3)
  for _, pod in ipairs(list) do bind(call, pod.metadata.name) end
  set_status(call, list[1].metadata.name, ended(0))
  wait_status(call, "j", "one is counted", function(s) return s.succeeded == 1 end)
  set_status(call, list[2].metadata.name, ended(1))
  wait_status(call, "j", "the other too", function(s) return s.failed == 1 end)
  settled(call)
  test.equal(#list_of(call), 3)
  set_status(call, list[3].metadata.name, ended(0))
  local s = over(call, "j", "Complete")
  test.same({ s.succeeded, s.failed }, { 2, 1 })
end)

case("after failures a job waits, and after a success no longer", function(cluster, call)
  call("POST", JOBS, job("j", { completions = 2, backoffLimit = 5, activeDeadlineSeconds = 1000 }))
  local first = wait_active(call, 1)[1].metadata.name
  set_status(call, first, ended(1))
  wait_active(call, 1) -- though the deadline is later than the pod's time
  test.equal(call("GET", JOBS .. "/j").status.failed, 1)
  local backoff = require "lab.controllers.jobs.backoff"
  local waits = {}
  for failures = 0, 8 do waits[failures + 1] = backoff.wait(failures, 1000, 1000, 1) end
  test.same(waits, { 0, 10, 20, 40, 80, 160, 320, 600, 600 })
  local record, at = { failures = 0 }, cluster:now()
  local function pod(seconds)
    return { metadata = {}, status = { containerStatuses = { { state = { terminated = {
      finishedAt = time.text(at + seconds) } } } } } }
  end
  backoff.note(record, { pod(1), pod(2) }, {}, at)
  test.equal(record.failures, 2)
  backoff.note(record, { pod(3), pod(6) }, { pod(4) }, at)
  test.same({ record.failures, record.last }, { 1, math.floor(at + 6) })
end)

case("restarts in the pod count where the pod may restart", function(_, call)
  call("POST", JOBS, job("j", { backoffLimit = 2 }, { restartPolicy = "OnFailure" }))
  local pod = wait_active(call, 1)[1].metadata.name
  bind(call, pod)
  set_status(call, pod, running(1))
  settled(call)
  test.equal(kinds(call("GET", JOBS .. "/j").status), "")
  set_status(call, pod, running(2))
  local s = wait_status(call, "j", "it fails", function(status) return condition(status, "FailureTarget") end)
  test.same({ s.failed, s.terminating }, { 1, 1 }) -- the pod that ran is a failure too
  call("DELETE", pods.PODS .. "/" .. pod, { gracePeriodSeconds = 0 })
  over(call, "j", "Failed")
end)

case("a job that takes too long fails, with its pods, when they are gone", function(_, call)
  call("POST", JOBS, job("j", { activeDeadlineSeconds = 1000 }))
  local pod = wait_active(call, 1)[1].metadata.name
  bind(call, pod)
  set_status(call, pod, running())
  call("PATCH", JOBS .. "/j", { spec = { activeDeadlineSeconds = 1 } })
  local s = wait_status(call, "j", "its time is over", function(status) return condition(status, "FailureTarget") end)
  test.same({ kinds(s), s.active, s.terminating }, { "FailureTarget:DeadlineExceeded", nil, 1 })
  call("DELETE", pods.PODS .. "/" .. pod, { gracePeriodSeconds = 0 })
  s = over(call, "j", "Failed")
  test.equal(condition(s, "Failed").message, "Job was active longer than specified deadline")
  test.same(pods.events(call, "DeadlineExceeded"), { "Job was active longer than specified deadline" })
end)

case("a job that is to go after its end goes, with its pods", function(_, call)
  call("POST", JOBS, job("j", { ttlSecondsAfterFinished = 0 }))
  local pod = wait_active(call, 1)[1].metadata.name
  bind(call, pod)
  set_status(call, pod, ended(0))
  pods.eventually("both are gone", function() return #call("GET", JOBS).items == 0 and #list_of(call) == 0 end)
end)

case("a job that somebody else manages is left alone", function(_, call)
  call("POST", JOBS, job("j", { managedBy = "example.com/other" }))
  settled(call)
  test.same({ #list_of(call), call("GET", JOBS .. "/j").status }, { 0, json.object {} })
end)

-- --- indexes ------------------------------------------------------------------------------------------

local function index_of(pod) return tonumber(pod.metadata.labels["batch.kubernetes.io/job-completion-index"]) end

local function by_index(call)
  local map = {}
  for _, pod in ipairs(active(call)) do map[index_of(pod)] = pod.metadata.name end
  return map
end

case("each pod of an Indexed job has a number, which its container knows; numbers that are done are told",
  function(_, call)
    call("POST", JOBS, job("j", { completionMode = "Indexed", completions = 5, parallelism = 5 }))
    local list = wait_active(call, 5)
    local pod
    for _, one in ipairs(list) do pod = index_of(one) == 3 and one or pod end
    test.same({ pod.spec.hostname, pod.metadata.generateName,
      pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] }, { "j-3", "j-3-", "3" })
    test.same(pod.spec.containers[1].env, { { name = "JOB_COMPLETION_INDEX", valueFrom = { fieldRef = {
      apiVersion = "v1", fieldPath = "metadata.labels['batch.kubernetes.io/job-completion-index']" } } } })
    local map = by_index(call)
    for _, index in ipairs { 4, 0, 2, 1 } do set_status(call, map[index], ended(0)) end
    local s = wait_status(call, "j", "four are done", function(status) return status.succeeded == 4 end)
    test.equal(s.completedIndexes, "0-2,4")
    set_status(call, map[3], ended(1))
    map = by_index(call)
    pods.eventually("the number is tried again", function() map = by_index(call) return map[3] end)
    set_status(call, map[3], ended(0))
    s = over(call, "j", "Complete")
    test.same({ s.completedIndexes, s.succeeded, s.failed }, { "0-4", 5, 1 })
  end)

case("an Indexed job grows and shrinks by both numbers together", function(_, call)
  call("POST", JOBS, job("j", { completionMode = "Indexed", completions = 3, parallelism = 3 }))
  wait_active(call, 3)
  local ok, problem = pcall(call, "PATCH", JOBS .. "/j", { spec = { completions = 2 } })
  test.equal(ok, false)
  test.equal(tostring(problem):find("can only be modified in tandem with spec.parallelism", 1, true) ~= nil, true)
  local map = by_index(call)
  set_status(call, map[0], ended(0))
  set_status(call, map[2], ended(0))
  wait_status(call, "j", "two are done", function(s) return s.completedIndexes == "0,2" end)
  call("PATCH", JOBS .. "/j", { spec = { completions = 2, parallelism = 2 } })
  local s = wait_status(call, "j", "one is left", function(status) return status.completedIndexes == "0" end)
  test.equal(s.succeeded, 1)
  set_status(call, by_index(call)[1], ended(0))
  s = over(call, "j", "Complete")
  test.same({ s.completedIndexes, s.succeeded }, { "0,1", 2 })
end)

case("numbers may fail for themselves", function(_, call)
  call("POST", JOBS, job("j", { completionMode = "Indexed", completions = 2, parallelism = 2,
    backoffLimitPerIndex = 1 }))
  wait_active(call, 2)
  local map = by_index(call)
  set_status(call, map[0], ended(0))
  set_status(call, map[1], ended(1))
  pods.eventually("another one tries", function()
    map = by_index(call)
    return map[1]
  end)
  local second = call("GET", pods.PODS .. "/" .. map[1])
  test.equal(second.metadata.annotations["batch.kubernetes.io/job-index-failure-count"], "1")
  set_status(call, map[1], ended(1))
  local s = over(call, "j", "Failed")
  test.same({ condition(s, "Failed").reason, s.failedIndexes, s.completedIndexes, s.failed, s.succeeded },
    { "FailedIndexes", "1", "0", 2, 1 })
end)

case("too many numbers that have failed end the job", function(_, call)
  call("POST", JOBS, job("j", { completionMode = "Indexed", completions = 4, parallelism = 4, backoffLimitPerIndex = 0,
    maxFailedIndexes = 1 }))
  wait_active(call, 4)
  local map = by_index(call)
  set_status(call, map[0], ended(1))
  wait_status(call, "j", "one has failed", function(s) return s.failedIndexes == "0" end)
  test.equal(#active(call), 3)
  set_status(call, map[1], ended(1))
  local s = over(call, "j", "Failed")
  test.same({ condition(s, "Failed").reason, s.failedIndexes }, { "MaxFailedIndexesExceeded", "0,1" })
  test.equal(#active(call), 0)
end)

case("a policy for successes ends a job early, and the pods that still run are no failures", function(_, call)
  call("POST", JOBS, job("j", { completionMode = "Indexed", completions = 3, parallelism = 3, successPolicy = {
    rules = { { succeededIndexes = "0", succeededCount = 1 } } } }))
  wait_active(call, 3)
  set_status(call, by_index(call)[0], ended(0))
  local s = over(call, "j", "Complete")
  test.same({ kinds(s), condition(s, "Complete").message, s.failed, s.succeeded },
    { "SuccessCriteriaMet:SuccessPolicy Complete:SuccessPolicy", "Matched rules at index 0", nil, 1 })
  test.equal(#active(call), 0)
end)

-- --- policies for failures ------------------------------------------------------------------------------

case("a policy for failures ends the job, or passes over a failure", function(_, call)
  call("POST", JOBS, job("j", { backoffLimit = 0, podFailurePolicy = { rules = {
    { action = "Ignore", onPodConditions = { { type = "DisruptionTarget" } } },
    { action = "FailJob", onExitCodes = { containerName = "main", operator = "In", values = { 42 } } } } } }))
  test.equal(call("GET", JOBS .. "/j").spec.podReplacementPolicy, "Failed")
  local first = wait_active(call, 1)[1].metadata.name
  set_status(call, first, ended(137, { conditions = { { type = "DisruptionTarget", status = "True" } } }))
  pods.eventually("there is another", function()
    local list = active(call)
    return list[1] and list[1].metadata.name ~= first
  end)
  test.equal(call("GET", JOBS .. "/j").status.failed, nil)
  local second = active(call)[1].metadata.name
  set_status(call, second, ended(42))
  local s = over(call, "j", "Failed")
  local text = ("Container main for pod default/%s failed with exit code 42 matching FailJob rule at index 1"):format(
    second)
  test.same({ kinds(s), condition(s, "Failed").message, s.failed },
    { "FailureTarget:PodFailurePolicy Failed:PodFailurePolicy", text, 1 })
end)

case("what a job cannot mean is refused", function(cluster)
  local function refusal(spec, template)
    local _, _, failure = cluster:call("POST", JOBS, { body = job("j", spec, template) })
    local texts = {}
    for i, cause in ipairs(failure and failure.details.causes or {}) do
      texts[i] = cause.field .. ": " .. cause.message
    end
    return table.concat(texts, "; ")
  end
  local ignore = { rules = { { action = "Ignore", onPodConditions = { { type = "DisruptionTarget" } } } } }
  test.equal(refusal { backoffLimitPerIndex = 1 },
    "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode")
  test.equal(refusal { completionMode = "Indexed", completions = 2, maxFailedIndexes = 1 },
    "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified")
  test.equal(refusal { completionMode = "Indexed", completions = 2, maxFailedIndexes = 3, backoffLimitPerIndex = 1 },
    "spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions")
  test.equal(refusal { podFailurePolicy = ignore, podReplacementPolicy = "TerminatingOrFailed" },
    'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"')
  test.equal(refusal({ podFailurePolicy = ignore }, { restartPolicy = "OnFailure" }),
    "spec.template.spec.restartPolicy: " .. 'Invalid value: "OnFailure": '
      .. 'only "Never" is supported when podFailurePolicy is specified')
end)

-- --- whose pods ---------------------------------------------------------------------------------------

case("a pod that no longer matches is let go, and one without an owner that matches is taken", function(_, call)
  local spec = job("j", { manualSelector = true, selector = { matchLabels = { app = "x" } } })
  spec.spec.template.metadata = { labels = { app = "x" } }
  call("POST", pods.PODS, { metadata = { name = "bare", labels = { app = "x" } }, spec = { restartPolicy = "Never",
    containers = { { name = "main", image = "x:1" } } } })
  call("POST", JOBS, spec)
  local pod = pods.eventually("it is taken", function()
    local one = call("GET", pods.PODS .. "/bare")
    return one.metadata.ownerReferences and one
  end)
  test.same({ pod.metadata.ownerReferences[1].kind, pod.metadata.finalizers },
    { "Job", { "batch.kubernetes.io/job-tracking" } })
  settled(call)
  test.equal(#list_of(call), 1)
  call("PATCH", pods.PODS .. "/bare", { metadata = { labels = { app = "y" } } })
  pods.eventually("another takes its place", function() return #list_of(call) == 2 end)
  pod = call("GET", pods.PODS .. "/bare")
  test.same({ pod.metadata.ownerReferences, pod.metadata.finalizers }, {})
end)
