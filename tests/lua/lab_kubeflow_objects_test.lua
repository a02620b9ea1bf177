-- What the lab installs of a Kubeflow means the same as what Kubeflow publishes (tests/fixtures/kubeflow-manifests).
local fs = require "fs"
local injector = require "lab.mesh.injector"
local istio = require "lab.kubeflow.istio"
local json = require "json"
local profiles = require "lab.kubeflow.profiles"
local roles = require "lab.kubeflow.roles"
local test = require "test"
local yaml = require "yaml"

local FOLDER = "tests/fixtures/kubeflow-manifests/"
local ISSUER = "https://kubernetes.default.svc.cluster.local"

local function published(name) return yaml.decode_all(fs.read(FOLDER .. name .. ".yaml")) end

-- --- meaning ------------------------------------------------------------------------------------------

local function canonical(value) return json.encode(value, { sort = true }) end

-- Lists whose order says nothing are sorted; the action that is not said is ALLOW.
local UNORDERED = { principals = true, notPaths = true, hosts = true, paths = true, methods = true }

local function normalized(value, key)
  if type(value) ~= "table" then return value end
  local out = {}
  for name, inner in pairs(value) do out[name] = normalized(inner, name) end
  if UNORDERED[key] then table.sort(out, function(a, b) return canonical(a) < canonical(b) end) end
  if json.is_array(value) then return json.array(out) end
  return #out > 0 and json.array(out) or json.object(out)
end

local function meaning_of_policy(object)
  local spec = normalized(json.decode(json.encode(object.spec)))
  if object.kind == "AuthorizationPolicy" then spec.action = spec.action or "ALLOW" end
  for _, rule in ipairs(spec.jwtRules or {}) do
    if rule.issuer == "PATCH_ME" then rule.issuer = ISSUER end -- each site says its own
  end
  return { kind = object.kind, group = object.apiVersion:match "^[^/]+", name = object.metadata.name,
           namespace = object.metadata.namespace or "kubeflow", spec = spec }
end

local function by_title(list, meaning)
  local map = {}
  for _, object in ipairs(list) do
    local title = ("%s %s"):format(object.kind, object.metadata.name)
    test.equal(map[title], nil)
    map[title] = canonical(meaning(object))
  end
  return map
end

local function names_of(map)
  local list = {}
  for title in pairs(map) do list[#list + 1] = title end
  table.sort(list)
  return list
end

local function compare(ours, theirs)
  test.same(names_of(ours), names_of(theirs))
  for title, text in pairs(theirs) do test.equal(title .. ": " .. ours[title], title .. ": " .. text) end
end

-- --- policies -----------------------------------------------------------------------------------------

test("policies, rules for destinations, limits of sidecars and token checks are those of Kubeflow", function()
  local theirs = {}
  for _, name in ipairs { "pipelines-istio", "istio-deny-all", "istio-gateway", "gateway-require-jwt",
    "gateway-oauth2-proxy", "gateway-dex-jwt", "gateway-m2m", "profiles-istio", "katib-istio",
    "istio-sidecar-prune-egress" } do
    local list = published(name)
    table.move(list, 1, #list, #theirs + 1, theirs)
  end
  local ours = istio.all { issuer = ISSUER }
  compare(by_title(ours, meaning_of_policy), by_title(theirs, meaning_of_policy))
  for _, object in ipairs(ours) do
    for _, problem in ipairs(require "istio".validate(object)) do
      if problem.severity == "error" then error(object.metadata.name .. ": " .. problem.message) end
    end
  end
end)

-- --- roles --------------------------------------------------------------------------------------------

-- A role is what it lets do: each group, resource and verb once.
local function meaning_of_role(object)
  local may, list = {}, json.array {}
  for _, rule in ipairs(object.rules or {}) do
    for _, group in ipairs(rule.apiGroups) do
      for _, resource in ipairs(rule.resources) do
        for _, verb in ipairs(rule.verbs) do may[("%s %s/%s"):format(verb, group, resource)] = true end
      end
    end
  end
  for right in pairs(may) do list[#list + 1] = right end
  table.sort(list)
  return { may = list, labels = json.object(object.metadata.labels or {}), from = object.aggregationRule or json.null }
end

test("roles let do what Kubeflow's let do, and are put together alike", function()
  local theirs = {}
  for _, name in ipairs { "kubeflow-roles", "pipelines-roles", "katib-roles" } do
    local list = published(name)
    table.move(list, 1, #list, #theirs + 1, theirs)
  end
  local ours = {}
  for i, object in ipairs(roles.published()) do ours[i] = json.decode(json.encode(object)) end
  compare(by_title(ours, meaning_of_role), by_title(theirs, meaning_of_role))
end)

-- --- the injector and a profile -----------------------------------------------------------------------

-- A selector as a set of expressions.
local function selector_of(selector)
  local list = json.array {}
  for i, e in ipairs(selector and selector.matchExpressions or {}) do
    list[i] = ("%s %s %s"):format(e.key, e.operator, table.concat(e.values or {}, ","))
  end
  table.sort(list)
  return list
end

test("the sidecar injector is called for the same pods, in the same way", function()
  local function meaning(configuration)
    local list = json.array {}
    for i, hook in ipairs(configuration.webhooks) do
      list[i] = { name = hook.name, namespaces = selector_of(hook.namespaceSelector),
        pods = selector_of(hook.objectSelector), failure = hook.failurePolicy, again = hook.reinvocationPolicy,
        service = hook.clientConfig.service, effects = hook.sideEffects, rules = normalized(hook.rules) }
    end
    return canonical(list)
  end
  local theirs = published "istio-sidecar-injector-webhook"[1]
  local ours = json.decode(json.encode(injector.configuration()))
  test.equal(ours.metadata.name, theirs.metadata.name)
  test.equal(meaning(ours), meaning(theirs))
end)

test("a profile's namespace has Kubeflow's labels, and its pods the published access to Pipelines", function()
  for key, value in pairs(published "profile-namespace-labels"[1]) do
    test.equal(key .. "=" .. profiles.LABELS[key], key .. "=" .. value)
  end
  local default = profiles.pod_default "team"
  test.equal(canonical(default.spec), canonical(published "poddefault-access-ml-pipeline"[1].spec))
end)

-- --- Katib and the webhooks ------------------------------------------------------------------------------------------

-- An image's name, without registry and tag.
local function image_of(entry) return entry.image:match "([^/]+):[^:]*$" end

-- What katib-config says: kinds of trials; images by kind or algorithm; what waits for whom.
local function meaning_of_config(config)
  local kinds, images = {}, {}
  for i, kind in ipairs(config.init.controller.trialResources) do kinds[i] = kind end
  table.sort(kinds)
  local keys = { metricsCollectors = "kind", suggestions = "algorithmName", earlyStoppings = "algorithmName" }
  for part, key in pairs(keys) do
    for _, entry in ipairs(config.runtime[part]) do
      images[part .. " " .. entry[key]] = ("%s, waits %s"):format(image_of(entry), tostring(entry.waitAllProcesses))
    end
  end
  return canonical { kinds = json.array(kinds), images = images }
end

test("katib-config names the same kinds, algorithms and collectors; collectors wait for all processes", function()
  local ours = yaml.decode(require "lab.katib.config".object().data["katib-config.yaml"])
  test.equal(meaning_of_config(ours), meaning_of_config(published "katib-config"[1]))
end)

-- A configuration of webhooks: whom each calls for what, in their order; defaults are said.
local function meaning_of_hooks(configuration)
  local list = json.array {}
  for i, hook in ipairs(configuration.webhooks) do
    local client = hook.clientConfig
    list[i] = { name = hook.name:gsub("^%$%b()", "admission-webhook-deployment"), rules = normalized(hook.rules),
      path = client.service and client.service.path or client.url:match "^https://[^/]+(/.*)$",
      failure = hook.failurePolicy or "Fail", again = hook.reinvocationPolicy or "Never", effects = hook.sideEffects,
      labels = hook.namespaceSelector and hook.namespaceSelector.matchLabels or json.object {} }
    for _, rule in ipairs(list[i].rules) do rule.scope = nil end -- the server says "*"
  end
  return canonical(list)
end

test("Katib's webhooks and that of PodDefaults are called for the same objects, in the same order", function()
  local kubeflow = require "lab.kubeflow".start { root = test.tmpdir(), nodes = 0, profiles = {} }
  local function ours(kind, name)
    return kubeflow.client:get(kind .. ".admissionregistration.k8s.io", name)
  end
  local katib = published "katib-webhooks"
  for i, kind in ipairs { "validatingwebhookconfigurations", "mutatingwebhookconfigurations" } do
    test.equal(meaning_of_hooks(ours(kind, katib[i].metadata.name)), meaning_of_hooks(katib[i]))
  end
  local name = "poddefaults-webhook-mutating-webhook-configuration" -- the published one gets a prefix when it is built
  test.equal(meaning_of_hooks(ours("mutatingwebhookconfigurations", name)),
    meaning_of_hooks(published "poddefaults-webhook"[1]))
  test.equal("istio-sidecar-injector" < katib[2].metadata.name and katib[2].metadata.name < name, true)
  kubeflow:close()
end)
