-- What is wrong with the pods that a trial template describes: kind, primary container, command, arguments.
-- Not for the mesh: see istio. A part of katib.lint.
local json = require "json"
local sorted_keys = require "kfhost.keys".sorted
local webhook = require "katib.webhook"

local M = {}

local REPLICAS = {
  TFJob = "tfReplicaSpecs", PyTorchJob = "pytorchReplicaSpecs", XGBoostJob = "xgbReplicaSpecs",
  MPIJob = "mpiReplicaSpecs",
}

local function at(value, ...)
  for _, key in ipairs { ... } do
    if type(value) ~= "table" then return nil end
    value = value[key]
  end
  return value ~= json.null and value or nil
end

---The pod templates of a trial's object: {path, template}. Nothing for kinds that say them elsewhere.
---@param object table
---@return {path: string, template: table}[]
function M.pods(object)
  local pods = {}
  local replicas = REPLICAS[object.kind]
  if object.kind == "Job" then
    local template = at(object, "spec", "template")
    if type(template) == "table" then pods[1] = { path = "spec.template", template = template } end
  elseif replicas then
    local roles = at(object, "spec", replicas)
    for _, role in ipairs(type(roles) == "table" and sorted_keys(roles) or {}) do
      local template = at(roles[role], "template")
      if type(template) == "table" then
        pods[#pods + 1] = { path = ("spec.%s.%s.template"):format(replicas, role), template = template }
      end
    end
  end
  return pods
end

local function check_kind(lint, object)
  local group, version = tostring(object.apiVersion or ""):match "^(.-)/?([^/]+)$"
  local kind = ("%s.%s%s"):format(object.kind, version or "", group and group ~= "" and "." .. group or "")
  local known = (lint.options.config or {}).kinds
  for _, allowed in ipairs(known or webhook.CONFIG.kinds) do
    if allowed == kind then return end
  end
  -- What the cluster's own katib-config says is not known everywhere.
  lint:add(known and "error" or "warning", "spec.trialTemplate.trialSpec.kind",
    "%s does not allow %s: the experiment stays without trials for ever", known and "katib-config"
      or "katib-config as it is shipped", kind)
end

local function primary(lint, pods)
  local name = lint.spec.trialTemplate.primaryContainerName
  local first
  for _, pod in ipairs(pods) do
    local found
    local containers = at(pod.template, "spec", "containers")
    for i, container in ipairs(type(containers) == "table" and containers or {}) do
      if type(container) == "table" and container.name == name then
        found = { pod = pod, index = i - 1, container = container }
      end
    end
    if not found then
      lint:error(("spec.trialTemplate.trialSpec.%s.spec.containers"):format(pod.path),
        "there is no container %q: the webhook refuses each such pod", tostring(name))
    end
    first = first or found
  end
  return first
end

local WRAPPED = { StdOut = true, File = true, TensorFlowEvent = true }

-- Katib makes one text for sh -c of command and arguments, joined with blanks.
local function check_words(lint, path, container)
  local function list(value) return type(value) == "table" and value or {} end
  local command, args = list(container.command), list(container.args)
  if #command == 0 then
    lint:warning(path, "without a command, Katib asks the image's registry for its entrypoint")
    return
  end
  local words = table.move(args, 1, #args, #command + 1, table.move(command, 1, #command, 1, {}))
  if #words == 1 and (words[1] == "sh" or words[1] == "bash") then
    lint:error(path .. ".command", "the webhook breaks on a command that is only a shell")
  end
  local shell = (words[1] == "sh" or words[1] == "bash") and words[2] == "-c"
  if tostring(words[1]):find "/b?a?sh$" and words[2] == "-c" then
    lint:error(path .. ".command", "only \"sh\" or \"bash\" is known as a shell: %s -c runs within sh -c, and the "
      .. "script's first word only", words[1])
    return
  end
  for i = shell and 4 or 1, #words do
    local plain = tostring(words[i]):gsub("%${trialParameters%.[^}]*}", "")
    if plain:find "[%s'\"$&|;<>()*?`\\#]" then
      lint:warning(path, "a shell will read the argument %s again: its quoting is lost", json.encode(words[i]))
    end
  end
end

local function check_job(lint, object)
  if object.kind ~= "Job" then return end
  if at(object, "spec", "backoffLimit") == nil then
    lint:warning("spec.trialTemplate.trialSpec.spec.backoffLimit",
      "the default is 6 retries: a failing trial takes minutes to fail")
  end
  local policy = at(object, "spec", "template", "spec", "restartPolicy")
  if policy ~= "Never" and policy ~= "OnFailure" then
    lint:error("spec.trialTemplate.trialSpec.spec.template.spec.restartPolicy", "a Job needs Never or OnFailure")
  end
end

---Adds what is wrong to the findings.
---@param lint katib.Lint
function M.check(lint)
  local object = (lint.spec.trialTemplate or {}).trialSpec
  if type(object) ~= "table" or type(object.kind) ~= "string" then return end
  check_kind(lint, object)
  check_job(lint, object)
  local pods = M.pods(object)
  local found = #pods > 0 and primary(lint, pods)
  if not found then return end
  local path = ("spec.trialTemplate.trialSpec.%s.spec.containers[%d]"):format(found.pod.path, found.index)
  if WRAPPED[lint.spec.metricsCollectorSpec.collector.kind] then check_words(lint, path, found.container) end
end

return M
