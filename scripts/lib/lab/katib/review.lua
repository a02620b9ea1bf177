-- lab.katib.review: Katib's webhook server as a function from a request to a response: defaults of experiments, their
-- validation, and the pods of trials.
-- Not for sockets (lab.katib.controller).
--   local handle = review.new { get = function(version, kind, namespace, name) … end }; handle(request)

local config = require "lab.katib.config"
local hash = require "hash"
local json = require "json"
local katib = require "katib"
local kube = require "kube"
local pods = require "lab.katib.pod"
local template = require "katib.template"

local M = {}

local VERSION = "kubeflow.org/v1beta1"
local EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"

-- --- answers ------------------------------------------------------------------------------------------------

local function answer(uid, response)
  response.uid = uid
  return { status = 200, headers = { ["content-type"] = "text/plain; charset=utf-8" },
    body = json.encode { kind = "AdmissionReview", apiVersion = "admission.k8s.io/v1", response = response } }
end

local function allow() return { allowed = true, status = { metadata = json.object {}, code = 200 } } end

local function deny(code, message)
  return { allowed = false, status = { metadata = json.object {}, message = message, code = code } }
end

local function allow_changed(before, after)
  local patch = kube.patch.diff(before, after)
  local response = allow()
  if #patch > 0 then
    response.patchType, response.patch = "JSONPatch", hash.base64(json.encode(json.array(patch)))
  end
  return response
end

local function copy(value) return json.decode(json.encode(value)) end

-- --- experiments --------------------------------------------------------------------------------------------

local function mutate_experiment(_, request)
  local whole = katib.default(copy(request.object))
  for _, finding in ipairs(katib.validate(copy(request.object))) do
    if finding.webhook == "defaulter" then return deny(400, finding.message) end
  end
  local given = copy(request.object) -- what the typed object has no place for is gone
  local after = { apiVersion = given.apiVersion, kind = given.kind, metadata = given.metadata, spec = whole.spec,
    status = given.status }
  after.status = after.status or { currentOptimalTrial = { observation = json.object {} } }
  return allow_changed(request.object, after)
end

local function validate_experiment(self, request)
  if request.operation == "DELETE" then return allow() end
  local old = request.operation == "UPDATE" and request.oldObject ~= json.null and request.oldObject or nil
  local findings = {}
  local maps = template.config_maps((request.object.spec or {}).trialTemplate, function(namespace, name)
    return self.get("v1", "ConfigMap", namespace, name)
  end)
  for _, finding in ipairs(katib.validate(request.object, { old = old, config_maps = maps })) do
    if finding.stage == "webhook" then findings[#findings + 1] = finding end
  end
  if #findings == 0 then return allow() end
  return deny(400, require "katib.webhook".denial(findings))
end

-- --- pods -----------------------------------------------------------------------------------------------------

-- The name of the object that a trial owns, and from which the pod comes; nil when there is no such.
local function trial_of(self, object, namespace, depth)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.kind == "Trial" and owner.apiVersion == VERSION then
      return self.get(VERSION, "Trial", namespace, owner.name)
    end
    local up = depth > 0 and self.get(owner.apiVersion, owner.kind, namespace, owner.name)
    local trial = up and trial_of(self, up, namespace, depth - 1)
    if trial then return trial end
  end
  return nil
end

local function stopping_address(self, trial)
  local name = (trial.metadata.labels or {})[EXPERIMENT_LABEL]
  local suggestion = name and self.get(VERSION, "Suggestion", trial.metadata.namespace, name)
  if not suggestion then return nil end
  return ("%s-%s.%s:6788"):format(name, suggestion.spec.algorithm.algorithmName, trial.metadata.namespace)
end

local function mutate_pod(self, request)
  local trial = trial_of(self, request.object, request.namespace, 3)
  if not trial then return allow() end
  local stops = #(trial.spec.earlyStoppingRules or {}) > 0
  local after, problem = pods.mutate(copy(request.object), trial, {
    early_stopping = stops and stopping_address(self, trial) or nil,
    waits = config.waits(self.get("v1", "ConfigMap", "kubeflow", "katib-config"),
      trial.spec.metricsCollector.collector.kind) })
  if not after then return deny(400, problem) end
  return allow_changed(request.object, after)
end

-- --- the server ---------------------------------------------------------------------------------------------

local PATHS = { ["/mutate-experiment"] = mutate_experiment, ["/validate-experiment"] = validate_experiment,
  ["/mutate-pod"] = mutate_pod }

local function guarded(handle, self, request)
  local ok, response = pcall(handle, self, request)
  if ok then return response end
  if require "errors".is(response, "Cancelled") then error(response, 0) end
  return deny(500, "panic: " .. require "errors".text(response))
end

---@param options {get: fun(version: string, kind: string, namespace: string, name: string): table?}
---@return fun(request: table): table handle
function M.new(options)
  return function(request)
    local handle = PATHS[request.path]
    if not handle then
      return { status = 404, headers = { ["content-type"] = "text/plain; charset=utf-8",
        ["x-content-type-options"] = "nosniff" }, body = "404 page not found\n" }
    end
    if (request.body or "") == "" then return answer("", deny(400, "request body is empty")) end
    local kind = (request.headers or {})["content-type"]
    if kind and kind ~= "application/json" then
      return answer("", deny(400, ("contentType=%s, expected application/json"):format(kind)))
    end
    local review = json.try.decode(request.body)
    local asked = type(review) == "table" and review.request
    if type(asked) ~= "table" then return answer("", deny(400, "there is no content to decode")) end
    return answer(asked.uid, guarded(handle, options, asked))
  end
end

return M
