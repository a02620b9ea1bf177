-- doctor.katib: experiments whose trials cannot be measured, end wrongly, or never end.
-- A room of checks; see doctor.

local kube = require "kube"
local time = require "kube.time"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list
local INJECTION <const> = "katib.kubeflow.org/metrics-collector-injection"

local function collector_of(experiment)
  return get(experiment, "spec", "metricsCollectorSpec", "collector", "kind") or "StdOut"
end

local COLLECTORS_IN_PODS = {
  StdOut = true, File = true, TensorFlowEvent = true, PrometheusMetric = true, Custom = true,
}

local is_over = world.is_over

-- The names of the experiments that go on and need a collector in their pods, by namespace.
local function collected(w)
  local places = {}
  for _, experiment in ipairs(w:of "Experiment") do
    local place = experiment.metadata.namespace
    if w.namespaces[place] and COLLECTORS_IN_PODS[collector_of(experiment)] and not is_over(experiment) then
      places[place] = places[place] or {}
      table.insert(places[place], experiment.metadata.name)
    end
  end
  for _, names in pairs(places) do table.sort(names) end
  return places
end

local MOST_NAMES <const> = 5

local function named(names)
  local more = #names > MOST_NAMES and (" and %d more"):format(#names - MOST_NAMES) or ""
  return table.concat(names, ", ", 1, math.min(#names, MOST_NAMES)) .. more
end

---The namespace of an experiment has the label by which Katib's webhook finds its pods.
function M.namespace_label(w)
  for place, names in pairs(collected(w)) do
    if w:labels_of(place)[INJECTION] ~= "enabled" then
      w:add("katib-injection-label", "error", w.namespaces[place], {
        what = ("the label %s: enabled is missing, and of Katib's experiments there run here: %s"):format(INJECTION,
          named(names)),
        why = "no collector is put into the trials' pods, so no metric arrives and no trial succeeds",
        fix = ("`kubectl label --overwrite namespace %s %s=enabled`"):format(place, INJECTION),
      })
    end
  end
end

local function is_trial(object)
  local owner = list(object.metadata.ownerReferences)[1]
  return object.kind == "Job" and owner ~= nil and owner.kind == "Trial"
end

-- The pods of experiments' trials, and of trials' jobs whose experiment is not looked at itself.
---@param all_jobs boolean? also jobs that nothing says to be of a trial
local function trial_pods(w, all_jobs)
  local found = {}
  for _, pod in ipairs(w.pods) do
    local object = pod.object
    local job = object.kind == "Job" and (all_jobs or is_trial(object)) and not w:experiment_of(object)
    if object.kind == "Experiment" or job then found[#found + 1] = pod end
  end
  return found
end

local function primary_name(pod)
  if pod.object.kind == "Experiment" then return get(pod.object, "spec", "trialTemplate", "primaryContainerName") end
  return pod.labels["katib.kubeflow.org/primary-container"] or get(pod.spec, "containers", 1, "name")
end

---Katib's wrapper knows sh and bash by these names only.
function M.shell(w)
  for _, pod in ipairs(trial_pods(w)) do
    local primary = primary_name(pod)
    local worked = is_over(pod.object, "Succeeded") or is_over(pod.object, "Complete")
    local measured = pod.object.kind ~= "Experiment" or COLLECTORS_IN_PODS[collector_of(pod.object)]
    for _, container in ipairs(list(pod.spec.containers)) do
      local command = list(container.command)
      local path = command[1] or ""
      if measured and not worked and (primary == nil or container.name == primary) and command[2] == "-c"
        and (path:find "/sh$" or path:find "/bash$") then
        w:add("trial-shell", "error", pod.object, {
          what = ("the command of container %s begins with %s -c"):format(container.name, path),
          why = "Katib joins all words with blanks into another sh -c: quotes are lost, and the shell gets one word",
          fix = ("make the experiment anew with the command %s -c"):format(path:match "[^/]+$"),
        })
      end
    end
  end
end

local OLD_KALE = { "create_and_wait_kfp_run", "kale.common.katibutils" } -- nothing but trials has these
local OLD_TRIAL = { "create_and_wait_kfp_run", "kale.common.katibutils", "kale.common.kfputils", "kfputils" }

local function old_kale_word(container, words)
  for _, field in ipairs { "command", "args" } do
    for _, text in ipairs(list(container[field])) do
      for _, word in ipairs(words) do
        if type(text) == "string" and text:find(word, 1, true) then return word end
      end
    end
  end
end

---Trials that an older Kale wrote.
function M.older_kale(w)
  for _, pod in ipairs(trial_pods(w, true)) do
    local words = (is_trial(pod.object) or pod.object.kind == "Experiment") and OLD_TRIAL or OLD_KALE
    for _, container in ipairs(list(pod.spec.containers)) do
      local word = old_kale_word(container, words)
      if word then
        w:add("older-kale", "warning", pod.object, {
          what = ("container %s runs an older Kale's program (%s)"):format(container.name, word),
          why = "it asks every 30 s, dies at the first question that fails, and leaves its run behind when it is told"
            .. " to stop",
          fix = "`kfhost kale tune` writes the experiment anew; for those that are to come:"
            .. " `kfhost policy serve kale-trial`",
        })
      end
    end
  end
end

local FIX_STUCK <const> = "`kubectl logs -n %s job/%s -c metrics-logger-and-collector` says why; Katib makes another"
  .. " one after `kubectl delete trial -n %s %s`"
local LONG <const> = 600 -- seconds that a metric may need to arrive

local function condition_of(object, type)
  for _, condition in ipairs(list(get(object, "status", "conditions"))) do
    if condition.type == type and condition.status == "True" then return condition end
  end
end

---Trials that go on though their job has ended: nobody reported their metrics.
---@param w doctor.World
function M.stuck_trials(w)
  for _, trial in ipairs(w:of "Trial") do
    local job = w:find("Job", trial.metadata.namespace, trial.metadata.name)
    local ended = job and (condition_of(job, "Complete") or condition_of(job, "Failed"))
    local since = ended and time.parse(ended.lastTransitionTime or "")
    if since and not is_over(trial) and w.now - since > LONG then
      w:add("stuck-trial", "error", trial, {
        what = ("its job ended %d minutes ago (%s), and the trial still runs"):format((w.now - since) // 60,
          ended.type),
        why = "the metrics never arrived: the experiment waits for this trial for ever",
        fix = FIX_STUCK:format(trial.metadata.namespace, trial.metadata.name, trial.metadata.namespace,
          trial.metadata.name),
      })
    end
  end
end

-- Whether the webhook of Katib gives its collector a security context.
local function injects_security_context(w)
  local map = w:find("ConfigMap", "kubeflow", "katib-config")
  local text = get(map, "data", "katib-config.yaml")
  return type(text) == "string" and text:find "injectSecurityContext:%s*true" ~= nil
end

---Pods of trials pass the level that their namespace enforces, and so does the collector beside them.
function M.restricted(w)
  for place, names in pairs(w:knows "ConfigMap" and not injects_security_context(w) and collected(w) or {}) do
    if w:labels_of(place)["pod-security.kubernetes.io/enforce"] == "restricted" then
      w:add("collector-restricted", "error", w.namespaces[place], {
        what = ("it enforces restricted, and the collector in the trials of %s has no securityContext"):format(
          named(names)),
        why = "the pods of trials are refused: violates PodSecurity restricted",
        fix = "`kfhost policy serve pod-security`, or injectSecurityContext: true in ConfigMap kubeflow/katib-config,"
          .. (" or `kubectl label --overwrite namespace %s pod-security.kubernetes.io/enforce=baseline`"):format(place),
      })
    end
  end
end

local function violates(pod, level)
  return #kube.pod_security({ spec = pod.spec, metadata = pod.template.metadata }, level) > 0
end

---A job whose pod breaks the level itself is refused whatever the collector does.
---@param w doctor.World
function M.pod_security(w)
  for _, pod in ipairs(w.pods) do
    local level = w:labels_of(pod.namespace)["pod-security.kubernetes.io/enforce"]
    local waits = pod.object.kind == "Job" and not pod.is_over and (get(pod.object, "status", "active") or 0) == 0
    local refused = level and waits and violates(pod, level)
      and w:event(pod.object, "FailedCreate", "violates PodSecurity")
    if refused then
      w:add("pod-security", "error", pod.object, {
        what = ("its pods are refused at level %s: %s"):format(level, refused.message),
        why = "the job makes no pod, and goes on trying",
        fix = "`kfhost policy serve pod-security`, then make it again",
      })
    end
  end
end

return M
