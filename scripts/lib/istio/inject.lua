-- Whether a pod gets a sidecar: the selectors of the webhooks, then what the injector itself decides.
-- Not for what the sidecar looks like.
--   local yes, why = inject.would_inject(namespace, pod, { revision = "default" })
local M = {}

local INJECTION, REVISION, POD = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"

local IGNORED = { ["kube-system"] = true, ["kube-public"] = true, ["kube-node-lease"] = true,
  ["local-path-storage"] = true }

local function has(list, value)
  for _, item in ipairs(list or {}) do
    if item == value then return true end
  end
  return false
end

-- --- label selectors -----------------------------------------------------------------------------------------

local operators = {
  In = function(value, values) return value ~= nil and has(values, value) end,
  NotIn = function(value, values) return value == nil or not has(values, value) end,
  Exists = function(value) return value ~= nil end,
  DoesNotExist = function(value) return value == nil end,
}

---@param selector {matchLabels: table?, matchExpressions: table[]?}?
---@param labels table
---@return boolean
function M.selects(selector, labels)
  selector = selector or {}
  for key, value in pairs(selector.matchLabels or {}) do
    if labels[key] ~= value then return false end
  end
  for _, expression in ipairs(selector.matchExpressions or {}) do
    local test = operators[expression.operator]
    if not test or not test(labels[expression.key], expression.values) then return false end
  end
  return true
end

-- --- the webhooks ---------------------------------------------------------------------------------------------

-- The five entries of an installation, by name: whether namespace and pod pass.
local function builtin(revision, everywhere)
  return {
    { name = "rev.namespace", passes = function(namespace, pod)
      return namespace[REVISION] == revision and namespace[INJECTION] == nil and pod[POD] ~= "false"
    end },
    { name = "rev.object", passes = function(namespace, pod)
      return namespace[REVISION] == nil and namespace[INJECTION] == nil and pod[REVISION] == revision
        and pod[POD] ~= "false"
    end },
    { name = "namespace", default = true, passes = function(namespace, pod)
      return namespace[INJECTION] == "enabled" and pod[POD] ~= "false"
    end },
    { name = "object", default = true, passes = function(namespace, pod)
      return namespace[INJECTION] == nil and namespace[REVISION] == nil and pod[POD] == "true" and pod[REVISION] == nil
    end },
    { name = "auto", default = true, passes = function(namespace, pod, name)
      return everywhere and namespace[INJECTION] == nil and namespace[REVISION] == nil and not IGNORED[name]
        and pod[POD] ~= "false" and pod[REVISION] == nil
    end },
  }
end

-- Those of a MutatingWebhookConfiguration that is given.
local function configured(configuration)
  local list = {}
  for i, webhook in ipairs(configuration.webhooks or {}) do
    list[i] = { name = webhook.name:gsub("%.sidecar%-injector%.istio%.io$", ""), passes = function(namespace, pod)
      return M.selects(webhook.namespaceSelector, namespace) and M.selects(webhook.objectSelector, pod)
    end }
  end
  return list
end

local function why_not_called(namespace, pod, revision)
  if namespace[INJECTION] == "disabled" then return "the namespace says istio-injection=disabled" end
  if pod[POD] == "false" then return "the pod's label sidecar.istio.io/inject says false" end
  if namespace[REVISION] and not namespace[INJECTION] and namespace[REVISION] ~= revision then
    return ("the namespace asks for revision %s"):format(namespace[REVISION])
  end
  if pod[REVISION] and pod[REVISION] ~= revision then return ("the pod asks for revision %s"):format(pod[REVISION]) end
  return "neither the namespace nor the pod asks for a sidecar by a label"
end

-- --- the injector -------------------------------------------------------------------------------------------------

local function any_selects(selectors, labels)
  for index, selector in ipairs(selectors or {}) do
    local empty = next(selector.matchLabels or {}) == nil and #(selector.matchExpressions or {}) == 0
    if not empty and M.selects(selector, labels) then return index end
  end
end

-- What the pod itself says: the label before the annotation.
local function own_wish(metadata)
  local label = (metadata.labels or {})[POD]
  local annotation = (metadata.annotations or {})[POD]
  local value, where = label, "label"
  if value == nil then value, where = annotation, "annotation" end
  if value == "true" then return true, ("the pod's %s says true"):format(where) end
  if value == "false" then return false, ("the pod's %s says false"):format(where) end
  return nil, value and ("the pod's %s %q means nothing"):format(where, value)
end

local function decide(namespace_name, pod, config)
  local metadata, spec = pod.metadata or {}, pod.spec or {}
  if spec.hostNetwork == true then return false, "the pod uses the host's network" end
  if IGNORED[namespace_name] or has(config.ignored_namespaces, namespace_name) then
    return false, ("namespace %s is ignored"):format(namespace_name)
  end
  if (config.policy or "enabled") ~= "enabled" and config.policy ~= "disabled" then
    return false, ("the injector's policy %s is none: it is off"):format(config.policy)
  end
  local wish, reason = own_wish(metadata)
  if wish ~= nil then return wish, reason end
  local labels = metadata.labels or {}
  if any_selects(config.neverInjectSelector, labels) then return false, "a selector of neverInjectSelector matches" end
  if any_selects(config.alwaysInjectSelector, labels) then return true, "a selector of alwaysInjectSelector matches" end
  if config.policy == "disabled" then return false, "the injector's policy is disabled" end
  return true, reason or "the injector's policy is enabled"
end

local function labels_of(namespace)
  return namespace.labels or (namespace.metadata or {}).labels or {}
end

---Whether a pod gets a sidecar.
---@param namespace table the Namespace object, or {name, labels}
---@param pod table a Pod, or the template of one
---@param config table? revision ("default"), policy ("enabled"), neverInjectSelector, alwaysInjectSelector,
---  enable_namespaces_by_default, ignored_namespaces, webhooks (a MutatingWebhookConfiguration)
---@return boolean, string why
function M.would_inject(namespace, pod, config)
  config = config or {}
  local revision = config.revision or "default"
  local name = namespace.name or (namespace.metadata or {}).name or ""
  local of_namespace, of_pod = labels_of(namespace), (pod.metadata or {}).labels or {}
  local webhooks = config.webhooks and configured(config.webhooks)
    or builtin(revision, config.enable_namespaces_by_default == true)
  for _, webhook in ipairs(webhooks) do
    -- The entries without a revision belong to the default revision only.
    local installed = config.webhooks or not webhook.default or revision == "default"
    if installed and webhook.passes(of_namespace, of_pod, name) then
      local yes, why = decide(name, pod, config)
      return yes, ("%s (webhook %s)"):format(why, webhook.name)
    end
  end
  return false, why_not_called(of_namespace, of_pod, revision)
end

M.IGNORED = IGNORED

return M
