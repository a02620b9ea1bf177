-- lab.katib.suggestions: what Katib's controller does about a suggestion: a Deployment and a Service (a claim, an
-- account), and once that is ready, its settings are judged and values suggested.
-- Not for the algorithms (lab.katib.service).
--   suggestions.look(controller, suggestion)

local conditions = require "lab.katib.conditions"
local config = require "lab.katib.config"
local ids = require "lab.ids"
local json = require "json"
local names = require "lab.katib.names"
local said = require "lab.conditions"

local M = {}

local DEPLOYMENTS, SERVICES = "deployments.v1.apps", "services"

local function service_name(suggestion)
  return ("%s-%s"):format(suggestion.metadata.name, suggestion.spec.algorithm.algorithmName)
end

local function labels_of(suggestion)
  return { ["katib.kubeflow.org/deployment"] = service_name(suggestion),
    ["katib.kubeflow.org/experiment"] = suggestion.metadata.name,
    ["katib.kubeflow.org/suggestion"] = suggestion.metadata.name, ["sidecar.istio.io/inject"] = "false" }
end

local function metadata_of(suggestion, labels)
  return { name = service_name(suggestion), namespace = suggestion.metadata.namespace, labels = labels,
    ownerReferences = { names.owner(suggestion) } }
end

-- --- what it consists of ------------------------------------------------------------------------------------

local function service_of(suggestion)
  local ports = { { name = "suggestion-api", port = config.SUGGESTION_PORT, protocol = "TCP" } }
  if suggestion.spec.earlyStopping then
    ports[2] = { name = "earlystop-api", port = config.STOPPING_PORT, protocol = "TCP" }
  end
  return { apiVersion = "v1", kind = "Service", metadata = metadata_of(suggestion),
    spec = { selector = labels_of(suggestion), ports = ports, type = "ClusterIP" } }
end

local function probe(period, failures)
  return { grpc = { port = config.SUGGESTION_PORT, service = "manager.v1beta1.Suggestion" }, initialDelaySeconds = 10,
    periodSeconds = period, failureThreshold = failures }
end

local function containers_of(suggestion)
  local main = config.suggestion(suggestion.spec.algorithm.algorithmName)
  main.ports = { { name = "suggestion-api", containerPort = config.SUGGESTION_PORT } }
  main.livenessProbe, main.readinessProbe = probe(120, 12), probe(10, 3)
  if suggestion.spec.resumePolicy == "FromVolume" then
    main.volumeMounts = { { name = "suggestion-volume", mountPath = "/opt/katib/data" } }
  end
  local stopping = suggestion.spec.earlyStopping and config.stopping(suggestion.spec.earlyStopping.algorithmName)
  if stopping then stopping.ports = { { name = "earlystop-api", containerPort = config.STOPPING_PORT } } end
  return { main, stopping }
end

local function deployment_of(suggestion)
  local labels, name = labels_of(suggestion), service_name(suggestion)
  local has_volume = suggestion.spec.resumePolicy == "FromVolume"
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = metadata_of(suggestion),
    spec = { replicas = 1, selector = { matchLabels = labels }, template = { metadata = { labels = labels },
      spec = { containers = containers_of(suggestion),
        serviceAccountName = suggestion.spec.earlyStopping and name or nil,
        volumes = has_volume and { { name = "suggestion-volume", persistentVolumeClaim = { claimName = name } } }
          or nil } } } }
end

local function claim_of(suggestion)
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = service_name(suggestion),
    namespace = suggestion.metadata.namespace, ownerReferences = { names.owner(suggestion) } },
    spec = { accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } }
end

-- The early-stopping service changes trials: it has an account that may.
local function account_of(suggestion)
  local metadata, group = metadata_of(suggestion), "rbac.authorization.k8s.io"
  return {
    { apiVersion = "v1", kind = "ServiceAccount", metadata = metadata },
    { apiVersion = group .. "/v1", kind = "Role", metadata = metadata, rules = { { apiGroups = { "kubeflow.org" },
      resources = { "trials", "trials/status" }, verbs = { "get", "update", "patch" } } } },
    { apiVersion = group .. "/v1", kind = "RoleBinding", metadata = metadata,
      roleRef = { apiGroup = group, kind = "Role", name = metadata.name },
      subjects = { { kind = "ServiceAccount", name = metadata.name, namespace = metadata.namespace } } },
  }
end

local function make_parts(self, suggestion)
  if suggestion.spec.resumePolicy == "FromVolume" then self:ensure(claim_of(suggestion)) end
  self:ensure(service_of(suggestion))
  if suggestion.spec.earlyStopping then
    for _, object in ipairs(account_of(suggestion)) do self:ensure(object) end
  end
  return self:ensure(deployment_of(suggestion))
end

local function is_ready(deployment) return said.holds(deployment.status, "Available") end

-- --- values -------------------------------------------------------------------------------------------------

local function problem_of(self, experiment)
  local problem = self.service:problem(experiment)
  if problem then return "ValidateAlgorithmSettings Error: " .. problem end
  problem = self.service:stopping_problem(experiment)
  return problem and "ValidateEarlyStoppingSettings Error: " .. problem or nil
end

local function add_values(self, suggestion, experiment)
  local status = suggestion.status
  local more = suggestion.spec.requests - (status.suggestionCount or 0)
  if more <= 0 then return end
  local trials = self:trials_of(experiment)
  local rules = suggestion.spec.earlyStopping and self.service:rules(experiment, trials) or {}
  status.suggestions = status.suggestions or json.array {}
  local answer = self.service:suggest(suggestion.metadata.uid, experiment, trials, more)
  -- An answer of another length is no answer to the real controller; it asks again.
  if #answer ~= more then
    return self:later("suggestion", suggestion.metadata.namespace, suggestion.metadata.name, 1)
  end
  for _, values in ipairs(answer) do
    table.insert(status.suggestions, { name = ("%s-%s"):format(suggestion.metadata.name, ids.letters(8)),
      parameterAssignments = json.array(values), earlyStoppingRules = #rules > 0 and json.array(rules) or nil })
  end
  status.suggestionCount = #status.suggestions > 0 and #status.suggestions or nil
end

local function advance(self, suggestion)
  local status = suggestion.status
  local deployment = make_parts(self, suggestion)
  if not is_ready(deployment) then
    conditions.set(status, "DeploymentReady", "False", "DeploymentNotReady", "Deployment is not ready")
    return
  end
  conditions.set(status, "DeploymentReady", "True", "DeploymentReady", "Deployment is ready")
  local experiment = self:get(names.EXPERIMENTS, suggestion.metadata.namespace, suggestion.metadata.name)
  if not experiment then return end
  if not conditions.holds(status, "Running") then
    local problem = problem_of(self, experiment)
    if problem then
      conditions.set(status, "Failed", "True", "SuggestionFailed", "Validation failed: " .. problem)
      return
    end
    conditions.set(status, "Running", "True", "SuggestionRunning", "Suggestion is running")
  end
  local ok, problem = pcall(add_values, self, suggestion, experiment)
  if not ok then
    if require "errors".is(problem, "Cancelled") then error(problem, 0) end
    self.log(("suggestion %s: %s"):format(suggestion.metadata.name, require "errors".text(problem)))
  end
end

-- Its Deployment and Service go; the claim stays.
local function clean(self, suggestion)
  for _, kind in ipairs { DEPLOYMENTS, SERVICES } do
    local found = self:get(kind, suggestion.metadata.namespace, service_name(suggestion))
    if found and not found.metadata.deletionTimestamp then self:delete(kind, found) end
  end
end

---@param self lab.KatibController
---@param suggestion table
function M.look(self, suggestion)
  if suggestion.metadata.deletionTimestamp then return end
  local before = json.encode(suggestion.status or {}, { sort = true })
  suggestion.status = suggestion.status or {}
  if conditions.holds(suggestion.status, "Succeeded") then return clean(self, suggestion) end
  if not conditions.holds(suggestion.status, "Created") then
    suggestion.status.startTime = conditions.now()
    conditions.set(suggestion.status, "Created", "True", "SuggestionCreated", "Suggestion is created")
  elseif not conditions.holds(suggestion.status, "Failed") then
    advance(self, suggestion)
  end
  if json.encode(suggestion.status, { sort = true }) ~= before then self:save_status(suggestion) end
end

return M
