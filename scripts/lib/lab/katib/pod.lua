-- lab.katib.pod: what Katib's webhook makes of a trial's pod: labels, the trial's name, a collector beside the primary
-- container, whose command is wrapped so that its output is kept and its end is known.
-- Not for finding the trial (lab.katib.review). As it does, it loses quotes and wraps /bin/sh twice.
--   local changed, problem = pod.mutate(object, trial, { early_stopping = "demo-random.team-a:6788" })

local config = require "lab.katib.config"
local json = require "json"

local M = {}

M.TRIAL_LABEL = "katib.kubeflow.org/trial"

local VOLUME = "metrics-volume"
local OUTPUT = "/var/log/katib/metrics.log"
local WRAPPED = { StdOut = true, File = true, TensorFlowEvent = true }

-- --- as Go prints a container ---------------------------------------------------------------------------------

-- A container as Go's %v prints it; of its members those that people see.
local function go_container(c)
  local function words(list) return "[" .. table.concat(list or {}, " ") .. "]" end
  return ("{%s %s %s %s %s [] [] [] {map[] map[] []} [] <nil> [] [] [] nil nil nil nil %s %s %s nil %s %s %s}"):format(
    c.name or "", c.image or "", words(c.command), words(c.args), c.workingDir or "", c.terminationMessagePath or "",
    c.terminationMessagePolicy or "", c.imagePullPolicy or "", tostring(c.stdin or false),
    tostring(c.stdinOnce or false), tostring(c.tty or false))
end

local function no_primary(name, containers)
  local shown = {}
  for i, c in ipairs(containers) do shown[i] = go_container(c) end
  return ("Unable to find primary container %s in mutated pod containers [%s]"):format(name, table.concat(shown, " "))
end

-- --- parts ------------------------------------------------------------------------------------------------------

local function named(list, name)
  for i, one in ipairs(list or {}) do
    if one.name == name then return one, i end
  end
  return nil
end

local function append(object, field, value)
  object[field] = object[field] or json.array {}
  table.insert(object[field], value)
end

local function directory_of(path)
  local directory = path:match "^(.*)/[^/]*$"
  if not directory then return "." end
  return directory == "" and "/" or directory
end

-- A path as filepath.Join cleans it.
local function join(directory, name)
  if directory == "." then return name end
  return (directory:gsub("/+$", "")) .. "/" .. name
end

-- Where a collector reads: a path, and whether it is a file; nil for those that read none.
local function source_of(collector)
  local kind = collector.collector.kind
  if kind == "StdOut" then return OUTPUT, true end
  local place = collector.source and collector.source.fileSystemPath
  if not place then return nil end
  if kind == "File" then return place.path, true end
  if kind == "TensorFlowEvent" then return place.path, false end
  if kind == "Custom" then return place.path, place.kind == "File" end
  return nil
end

local function add_labels(pod, trial)
  pod.metadata.labels = pod.metadata.labels or json.object {}
  for key, value in pairs(trial.metadata.labels or {}) do pod.metadata.labels[key] = value end
  pod.metadata.labels[M.TRIAL_LABEL] = trial.metadata.name
end

local function add_environment(container)
  append(container, "env", { name = "KATIB_TRIAL_NAME",
    valueFrom = { fieldRef = { fieldPath = ("metadata.labels['%s']"):format(M.TRIAL_LABEL) } } })
end

local function is_primary(labels, wanted)
  for key, value in pairs(wanted or {}) do
    if (labels or {})[key] ~= value then return false end
  end
  return true
end

-- --- the collector ----------------------------------------------------------------------------------------------

local function rule_text(rule)
  return ("%s;%s;%s;%d"):format(rule.name, rule.value, rule.comparison, rule.startStep or 0)
end

local function arguments(trial, source, options)
  local spec, objective = trial.spec, trial.spec.objective
  local collector, kind = spec.metricsCollector, spec.metricsCollector.collector.kind
  local names = { objective.objectiveMetricName }
  table.move(objective.additionalMetricNames or {}, 1, #(objective.additionalMetricNames or {}), 2, names)
  local list = json.array { "-t", trial.metadata.name, "-m", table.concat(names, ";"), "-o-type", objective.type,
    "-s-db", config.DATABASE }
  local function add(...) table.move({ ... }, 1, select("#", ...), #list + 1, list) end
  if source then add("-path", source) end
  local filter = collector.source and collector.source.filter
  if filter and #(filter.metricsFormat or {}) > 0 then add("-f", table.concat(filter.metricsFormat, ";")) end
  if kind == "StdOut" then add("-format", "TEXT") end
  if kind == "File" then add("-format", collector.source.fileSystemPath.format) end
  if options.waits ~= nil then add("-w", tostring(options.waits)) end
  for _, rule in ipairs(spec.earlyStoppingRules or {}) do add("-stop-rule", rule_text(rule)) end
  if #(spec.earlyStoppingRules or {}) > 0 then add("-s-earlystop", options.early_stopping) end
  return list
end

local function collector_of(trial, source, options)
  local collector = trial.spec.metricsCollector.collector
  if collector.kind == "Custom" then return json.decode(json.encode(collector.customCollector)) end
  local container = config.collector(collector.kind)
  if not container then
    return nil, ("failed to find metrics collector config for kind: %s in ConfigMap: katib-config"):format(
      collector.kind)
  end
  container.args = arguments(trial, source, options)
  return container
end

-- --- the wrapper ------------------------------------------------------------------------------------------------

local STOPPED = "if test -f %s && [ $(head -n 1 %s) = early-stopped ]; then "
  .. "echo Training Container was Early Stopped; else echo Training Container was Failed; exit 1; fi"

-- The words of a container: what it says, or what its image starts.
local function words_of(container)
  local words = json.array {}
  local command = container.command
  if not command or #command == 0 then
    local image = require "lab.image".find(container.image or "")
    if not image then
      return nil, ('Failed to get container image "%s" info from registry'):format(container.image or "")
    end
    command = image.entrypoint or (#(container.args or {}) == 0 and image.program) or {}
  end
  table.move(command, 1, #command, 1, words)
  table.move(container.args or {}, 1, #(container.args or {}), #words + 1, words)
  return words
end

local function wrap(container, trial, source, is_file)
  local words, problem = words_of(container)
  if not words then return problem end
  if #words == 0 then return "runtime error: index out of range [0] with length 0" end
  local command = json.array { "sh", "-c" }
  if (words[1] == "sh" or words[1] == "bash") and words[2] == "-c" then
    command = json.array { words[1], words[2] }
    words = table.move(words, 3, #words, 1, {})
  end
  local directory = is_file and directory_of(source) or source
  if trial.spec.metricsCollector.collector.kind == "StdOut" then words[#words + 1] = ("1>%s 2>&1"):format(source) end
  local mark = join(directory, "$$$$.pid")
  if trial.spec.earlyStoppingRules then
    words[#words + 1] = "|| " .. STOPPED:format(mark, join(directory, "$$.pid"))
  end
  words[#words + 1] = "&& echo completed > " .. mark
  container.command, container.args = command, json.array { table.concat(words, " ") }
  return nil
end

local function mount(pod, source, is_file, names)
  local directory = is_file and directory_of(source) or source
  for _, container in ipairs(pod.spec.containers) do
    if names[container.name] then append(container, "volumeMounts", { name = VOLUME, mountPath = directory }) end
  end
  append(pod.spec, "volumes", { name = VOLUME, emptyDir = json.object {} })
end

-- What the typed object has when it is written back.
local function as_typed(pod)
  pod.status = pod.status or json.object {}
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(pod.spec[field] or {}) do
      container.resources = container.resources or json.object {}
    end
  end
  return pod
end

---Changes a pod of a trial.
---@param pod table changed
---@param trial table
---@param options {early_stopping: string?}? address of the service that is told of an early stop
---@return table? pod nil when it is refused
---@return string? problem
function M.mutate(pod, trial, options)
  local spec = trial.spec
  local had = {}
  for key, value in pairs(pod.metadata.labels or {}) do had[key] = value end
  add_labels(pod, trial)
  local primary = named(pod.spec.containers, spec.primaryContainerName)
  if not primary then return nil, no_primary(spec.primaryContainerName, pod.spec.containers) end
  add_environment(primary)
  if not is_primary(had, spec.primaryPodLabels) or spec.metricsCollector.collector.kind == "Push" then
    return as_typed(pod)
  end
  local source, is_file = source_of(spec.metricsCollector)
  local container, problem = collector_of(trial, source, options or {})
  if not container then return nil, problem end
  append(pod.spec, "containers", container)
  pod.spec.shareProcessNamespace = true
  if source then mount(pod, source, is_file, { [container.name] = true, [spec.primaryContainerName] = true }) end
  if WRAPPED[spec.metricsCollector.collector.kind] then
    problem = wrap(primary, trial, source, is_file)
    if problem then return nil, problem end
  end
  return as_typed(pod)
end

return M
