-- lab.rules.webhooks: registrations of webhooks, and admission policies in CEL.
-- Not for calling them (lab.admission).
--   return { ["admissionregistration.k8s.io/validatingwebhookconfigurations"] = … }

local cel = require "lab.expressions"
local json = require "json"
local meta = require "lab.meta"

local GROUP = "admissionregistration.k8s.io/"

local function or_default(object, name, value)
  if object[name] == nil then object[name] = value end
end

local function default_rules(rules)
  for _, rule in ipairs(rules or {}) do or_default(rule, "scope", "*") end
end

local function default_hooks(configuration, mutating)
  for _, hook in ipairs(configuration.webhooks or {}) do
    or_default(hook, "failurePolicy", "Fail")
    or_default(hook, "matchPolicy", "Equivalent")
    or_default(hook, "namespaceSelector", json.object {})
    or_default(hook, "objectSelector", json.object {})
    or_default(hook, "timeoutSeconds", 10)
    if mutating then or_default(hook, "reinvocationPolicy", "Never") end
    default_rules(hook.rules)
    local service = hook.clientConfig and hook.clientConfig.service
    if service then or_default(service, "port", 443) end
  end
end

-- --- checks ---------------------------------------------------------------------------------------

local EFFECTS = { None = true, NoneOnDryRun = true }
local POLICIES = { Fail = true, Ignore = true }

local function check_client(config, field, causes)
  config = config or {}
  if (config.url == nil) == (config.service == nil) then
    causes:required(field, "exactly one of url or service is required")
  elseif config.url then
    local at = field .. ".url"
    if not config.url:find "^https://" then
      causes:invalid(at, config.url:match "^(%w+)://" or config.url,
        "'https' is the only allowed URL scheme; desired format: https://host[/path]")
    end
    if config.url:find "[?]" then causes:invalid(at, config.url, "query parameters are not permitted in the URL") end
  end
end

local function check_versions(versions, field, causes)
  if #(versions or {}) == 0 then
    causes:required(field, "must specify one of v1, v1beta1")
    return
  end
  for _, version in ipairs(versions) do
    if version == "v1" or version == "v1beta1" then return end
  end
  causes:invalid(field, versions, "must include at least one of v1, v1beta1")
end

local function check_conditions(conditions, field, causes)
  local seen = {}
  for i, condition in ipairs(conditions or {}) do
    local at = ("%s[%d]"):format(field, i - 1)
    if (condition.name or "") == "" then causes:required(at .. ".name") end
    if condition.name and seen[condition.name] then causes:duplicate(at .. ".name", condition.name) end
    seen[condition.name or ""] = true
    local fault = cel.fault(condition.expression)
    if (condition.expression or ""):match "^%s*$" then
      causes:required(at .. ".expression")
    elseif fault then
      causes:invalid(at .. ".expression", condition.expression, "compilation failed: " .. fault)
    end
  end
end

local function check_hook(hook, at, causes, seen)
  local name = hook.name or ""
  local parts = select(2, name:gsub("[^.]+", ""))
  if #meta.subdomain_faults(name) > 0 then
    for _, fault in ipairs(meta.subdomain_faults(name)) do causes:invalid(at .. ".name", name, fault) end
  elseif parts < 3 then
    causes:invalid(at .. ".name", name, "should be a domain with at least three segments separated by dots")
  end
  if seen[name] then causes:duplicate(at .. ".name", name) end
  seen[name] = true
  if not POLICIES[hook.failurePolicy] then
    causes:unsupported(at .. ".failurePolicy", hook.failurePolicy, { "Fail", "Ignore" })
  end
  if hook.sideEffects == nil then
    causes:required(at .. ".sideEffects", "must specify one of None, NoneOnDryRun")
  elseif not EFFECTS[hook.sideEffects] then
    causes:unsupported(at .. ".sideEffects", hook.sideEffects, { "None", "NoneOnDryRun" })
  end
  if hook.timeoutSeconds > 30 or hook.timeoutSeconds < 1 then
    causes:invalid(at .. ".timeoutSeconds", hook.timeoutSeconds,
      "the timeout value must be between 1 and 30 seconds")
  end
  check_client(hook.clientConfig, at .. ".clientConfig", causes)
  check_versions(hook.admissionReviewVersions, at .. ".admissionReviewVersions", causes)
  check_conditions(hook.matchConditions, at .. ".matchConditions", causes)
end

local function check(configuration, causes)
  local seen = {}
  for i, hook in ipairs(configuration.webhooks or {}) do
    check_hook(hook, ("webhooks[%d]"):format(i - 1), causes, seen)
  end
end

-- The chain of webhooks is read anew after each change.
local function forget(ctx) ctx.cluster.admission:forget() end

-- --- policies -------------------------------------------------------------------------------------

local policies = { after = forget }

function policies.default(policy)
  local spec = policy.spec or {}
  policy.spec = spec
  or_default(spec, "failurePolicy", "Fail")
  local constraints = spec.matchConstraints
  if constraints then
    or_default(constraints, "matchPolicy", "Equivalent")
    or_default(constraints, "namespaceSelector", json.object {})
    or_default(constraints, "objectSelector", json.object {})
    default_rules(constraints.resourceRules)
    default_rules(constraints.excludeResourceRules)
  end
end

function policies.prepare_create(policy) policy.status = json.object {} end

function policies.validate(policy, causes)
  local spec = policy.spec
  if not spec.matchConstraints then causes:required "spec.matchConstraints" end
  for i, variable in ipairs(spec.variables or {}) do
    local fault = cel.fault(variable.expression)
    if fault then
      causes:invalid(("spec.variables[%d].expression"):format(i - 1), variable.expression,
        "compilation failed: " .. fault)
    end
  end
  check_conditions(spec.matchConditions, "spec.matchConditions", causes)
  for i, validation in ipairs(spec.validations or {}) do
    local at = ("spec.validations[%d]"):format(i - 1)
    local fault = cel.fault(validation.expression)
    if (validation.expression or "") == "" then
      causes:required(at .. ".expression", "expression is not specified")
    elseif fault then
      causes:invalid(at .. ".expression", validation.expression, "compilation failed: " .. fault)
    end
    fault = validation.messageExpression and cel.fault(validation.messageExpression)
    if fault then
      causes:invalid(at .. ".messageExpression", validation.messageExpression, "compilation failed: " .. fault)
    end
  end
  if #(spec.validations or {}) == 0 and #(spec.auditAnnotations or {}) == 0 then
    causes:required("spec.validations", "validations or auditAnnotations must contain at least one item")
  end
end

local bindings = { after = forget }

function bindings.default(binding)
  local resources = binding.spec and binding.spec.matchResources
  if resources then
    or_default(resources, "matchPolicy", "Equivalent")
    or_default(resources, "namespaceSelector", json.object {})
    or_default(resources, "objectSelector", json.object {})
    default_rules(resources.resourceRules)
  end
end

local ACTIONS = { Deny = true, Warn = true, Audit = true }

function bindings.validate(binding, causes)
  local spec = binding.spec or {}
  if (spec.policyName or "") == "" then causes:required "spec.policyName" end
  if #(spec.validationActions or {}) == 0 then causes:required "spec.validationActions" end
  for i, action in ipairs(spec.validationActions or {}) do
    if not ACTIONS[action] then
      causes:unsupported(("spec.validationActions[%d]"):format(i - 1), action, { "Audit", "Deny", "Warn" })
    end
  end
end

return {
  [GROUP .. "validatingwebhookconfigurations"] = {
    default = function(object) default_hooks(object, false) end, validate = check, after = forget },
  [GROUP .. "mutatingwebhookconfigurations"] = {
    default = function(object) default_hooks(object, true) end, validate = check, after = forget },
  [GROUP .. "validatingadmissionpolicies"] = policies,
  [GROUP .. "validatingadmissionpolicybindings"] = bindings,
}
