-- lab.admission.policies: ValidatingAdmissionPolicy: checks in CEL that need no webhook.
-- Not for policies of kfhost itself (require "policy"). Parameters are looked up; authorizer is absent.
--   policies:validate(ctx, attributes)

local expressions = require "lab.expressions"
local json = require "json"
local match = require "lab.match"
local matching = require "lab.admission.matching"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local GROUP = "admissionregistration.k8s.io/"

---@class lab.Policies
local policies = {}
policies.__index = policies

function M.new(cluster) return setmetatable({ cluster = cluster }, policies) end

function policies:forget() self.pairs = nil end

-- Bindings with their policies.
local function pairs_of(self)
  if not self.pairs then
    local list = {}
    local c = self.cluster.store:collection(GROUP .. "validatingadmissionpolicies")
    for _, record in ipairs(self.cluster.store:collection(GROUP .. "validatingadmissionpolicybindings"):records()) do
      local binding = store.view(record)
      local policy = c:get(nil, binding.spec.policyName)
      if policy then list[#list + 1] = { policy = store.view(policy), binding = binding } end
    end
    self.pairs = list
  end
  return self.pairs
end

local function is_meant(ctx, constraints, a)
  if not constraints then return true end
  return (not constraints.resourceRules or matching.rules(constraints.resourceRules, a, constraints.matchPolicy))
    and not (constraints.excludeResourceRules and matching.rules(constraints.excludeResourceRules, a))
    and matching.namespace(ctx, constraints.namespaceSelector, a) and matching.object(constraints.objectSelector, a)
end

-- The objects that a binding gives to its policy; one null when it gives none.
local function parameters(ctx, pair, a)
  local kind, ref = pair.policy.spec.paramKind, pair.binding.spec.paramRef
  if not kind or not ref then return { json.null } end
  local resource = ctx.cluster.registry:of_kind(kind.apiVersion, kind.kind)
  local list = {}
  if resource then
    local namespace = resource.namespaced and (ref.namespace or a.namespace) or nil
    for _, record in ipairs(ctx.cluster:collection(resource):records(namespace)) do
      if ref.name == record.name or ref.selector and match.selects(ref.selector, record.labels) then
        list[#list + 1] = store.view(record)
      end
    end
  end
  if #list == 0 and ref.parameterNotFoundAction == "Deny" then
    status.forbidden(a.resource, a.name, ("policy '%s' with binding '%s' denied request: no params found for policy "
      .. "binding with `Deny` parameterNotFoundAction"):format(pair.policy.metadata.name, pair.binding.metadata.name))
  end
  return list
end

local CODES = { Unauthorized = 401, Forbidden = 403, Invalid = 422, RequestEntityTooLarge = 413 }

local function message_of(validation, values)
  if validation.messageExpression then
    local text = expressions.eval(validation.messageExpression, values)
    if type(text) == "string" and text ~= "" then return text end
  end
  return validation.message or "failed expression: " .. validation.expression
end

local function act(ctx, pair, a, text, reason)
  local name, binding = pair.policy.metadata.name, pair.binding.metadata.name
  for _, action in ipairs(pair.binding.spec.validationActions or {}) do
    if action == "Deny" then
      local said = ("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s"):format(name, binding, text)
      reason = CODES[reason] and reason or "Invalid"
      local named = ('%s "%s" is forbidden: %s'):format(status.resource_name(a.resource), a.name or "", said)
      status.raise(CODES[reason], reason, named, {
        name = a.name, group = a.resource.group ~= "" and a.resource.group or nil, kind = a.resource.plural,
        causes = { { message = said } },
      })
    elseif action == "Warn" then
      ctx.warnings[#ctx.warnings + 1] = ("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s")
        :format(name, binding, text)
    end
  end
end

local function check(ctx, pair, a, params)
  local spec = pair.policy.spec
  local values = matching.values(ctx, a, matching.request(ctx, a))
  values.params = params
  local holds, problem = matching.conditions(spec.matchConditions, values)
  if holds == false then return end
  if holds == nil then
    if spec.failurePolicy == "Fail" then act(ctx, pair, a, problem) end
    return
  end
  local variables = json.object {}
  values.variables = variables
  for _, variable in ipairs(spec.variables or {}) do
    variables[variable.name] = expressions.eval(variable.expression, values)
  end
  for _, validation in ipairs(spec.validations or {}) do
    local value, fault = expressions.eval(validation.expression, values)
    if fault then
      if spec.failurePolicy == "Fail" then
        act(ctx, pair, a, ("expression '%s' resulted in error: %s"):format(validation.expression, fault), "Invalid")
      end
    elseif value ~= true then
      act(ctx, pair, a, message_of(validation, values), validation.reason)
    end
  end
end

function policies:validate(ctx, a)
  local list = pairs_of(self)
  if #list == 0 or a.resource.group == "admissionregistration.k8s.io" then return end
  for _, pair in ipairs(list) do
    if is_meant(ctx, pair.policy.spec.matchConstraints, a) and is_meant(ctx, pair.binding.spec.matchResources, a) then
      for _, params in ipairs(parameters(ctx, pair, a)) do check(ctx, pair, a, params) end
    end
  end
end

return M
