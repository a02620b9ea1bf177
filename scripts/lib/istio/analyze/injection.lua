-- Analyzers of injection: namespaces, pods without a proxy, users, images. A part of istio.analyze.
local authentication = require "istio.authentication"
local inject = require "istio.inject"
local json = require "json"
local read = require "istio.analyze.read"

local M = {}

local PROXY = "istio-proxy"
local CONFIG = "istio-sidecar-injector"

-- --- what the injector is told --------------------------------------------------------------------------------

-- The values of the injector's ConfigMap, of a revision.
local function values_of(a, revision)
  local wanted = (not revision or revision == "" or revision == "default") and CONFIG or CONFIG .. "-" .. revision
  for _, map in ipairs(read.of_kind(a.objects, "ConfigMap")) do
    if map.metadata.name == wanted then
      local values = json.try.decode((map.data or {}).values or "")
      return type(values) == "table" and values or nil
    end
  end
end

local function is_by_default(a, revision)
  if (a.options.injection or {}).enable_namespaces_by_default then return true end
  local webhook = (values_of(a, revision) or {}).sidecarInjectorWebhook
  return type(webhook) == "table" and webhook.enableNamespacesByDefault == true
end

-- --- namespaces -----------------------------------------------------------------------------------------------

-- How many of the ways into the mesh a namespace names.
local function ways(labels)
  local count = 0
  if (labels["istio-injection"] or "") ~= "" then count = count + 1 end
  if labels["istio.io/rev"] then count = count + 1 end
  return count, labels["istio.io/dataplane-mode"] == "ambient"
end

local function check_namespace(a, namespace)
  local labels = read.labels_of(namespace)
  local count, ambient = ways(labels)
  if count == 0 and not ambient then
    if is_by_default(a, labels["istio.io/rev"]) then
      a:add("IST0148", "info", namespace, "the namespace is enabled for injection, because that is the default here")
    else a:add("IST0102", "info", namespace, "the namespace is not enabled for Istio injection") end
  elseif count == 2 then
    a:add("IST0123", "warning", namespace, "the labels istio-injection and istio.io/rev conflict: the first one counts")
  elseif count == 1 and ambient and labels["istio-injection"] ~= "disabled" then
    a:add("IST0123", "warning", namespace, "the namespace asks for sidecars, and to be ambient: its pods get sidecars")
  end
end

function M.namespaces(a)
  for name, namespace in pairs(a.namespaces) do
    if not read.is_system(name) then check_namespace(a, namespace) end
  end
end

-- --- pods -----------------------------------------------------------------------------------------------------

function M.missing(a)
  for _, pod in ipairs(a.pods) do
    local namespace = a.namespaces[pod.namespace]
    local wanted = namespace and read.labels_of(namespace)["istio-injection"] == "enabled"
    if pod.object.kind == "Pod" and wanted and not read.has_proxy(pod) then
      local yes = inject.would_inject(namespace, pod.pod, a.options.injection)
      if yes then a:add("IST0103", "warning", pod.object, "the pod has no sidecar, though it should have one") end
    end
  end
end

function M.users(a)
  local message = "user 1337 is the proxy's own: traffic of %s passes it by"
  for _, pod in ipairs(a.pods) do
    if (pod.spec.securityContext or {}).runAsUser == 1337 then
      a:add("IST0144", "warning", pod.object, message, "the pod")
    end
    for _, container in ipairs(pod.spec.containers or {}) do
      if container.name ~= PROXY and (container.securityContext or {}).runAsUser == 1337 then
        a:add("IST0144", "warning", pod.object, message, "container " .. tostring(container.name))
      end
    end
  end
end

-- --- images ---------------------------------------------------------------------------------------------------

-- Istio's own webhooks among the objects; nil when there are none, and the usual ones are assumed.
local function webhooks_of(a)
  local list = {}
  for _, configuration in ipairs(read.of_kind(a.objects, "MutatingWebhookConfiguration")) do
    for _, webhook in ipairs(configuration.webhooks or {}) do
      if tostring(webhook.name):find "istio%.io$" then list[#list + 1] = webhook end
    end
  end
  return list[1] and { webhooks = list } or nil
end

function M.auto_images(a)
  local config = { webhooks = webhooks_of(a) }
  for key, value in pairs(a.options.injection or {}) do config[key] = config[key] or value end
  for _, pod in ipairs(a.pods) do
    local proxy = read.has_proxy(pod)
    if proxy and proxy.image == "auto" then
      local namespace = a.namespaces[pod.namespace] or { name = pod.namespace, labels = {} }
      if pod.object.kind == "Pod" then
        a:add("IST0147", "error", pod.object, "the image auto is replaced by injection only, and it was not")
      elseif not inject.would_inject(namespace, pod.pod, config) then
        a:add("IST0146", "warning", pod.object, "the image auto is replaced by injection only, and there is none")
      end
    end
  end
end

-- The image of proxies, as the injector's values say.
local function image_of(values)
  local global = type(values.global) == "table" and values.global or {}
  local image = type(global.proxy) == "table" and global.proxy.image or ""
  if image:find("/", 1, true) then return image end
  return ("%s/%s:%s"):format(global.hub or "", image, global.tag or "")
end

function M.other_images(a)
  local found = {}
  for _, pod in ipairs(a.pods) do
    local namespace = pod.object.kind == "Pod" and a.namespaces[pod.namespace]
    local labels = namespace and read.labels_of(namespace) or {}
    local revision = labels["istio.io/rev"] or labels["istio-injection"] == "enabled" and "default" or nil
    local values = revision and values_of(a, revision)
    local proxy = read.has_proxy(pod)
    local own = pod.annotations["sidecar.istio.io/proxyImage"]
    if values and proxy and (own or "") == "" and proxy.image ~= image_of(values) then
      found[pod.namespace] = found[pod.namespace] or {}
      table.insert(found[pod.namespace], pod.object.metadata.name)
    end
  end
  for name, pods in pairs(found) do
    a:add("IST0158", "warning", a.namespaces[name], "pods run another proxy than the injector gives now: %s",
      table.concat(pods, ", "))
  end
end

-- --- a Sidecar where there are none ---------------------------------------------------------------------------

function M.ambient_sidecars(a)
  for _, sidecar in ipairs(authentication.of_kind(a.objects, "Sidecar")) do
    local place, labels = authentication.namespace(sidecar), read.selector_labels(sidecar)
    local without = false
    if labels then
      for _, pod in ipairs(read.workloads(a, place)) do
        without = without or read.is_ambient_pod(pod) and authentication.selects(labels, pod.labels)
      end
    else without = a.namespaces[place] ~= nil and read.is_ambient(a.namespaces[place]) end
    if without then a:add("IST0167", "warning", sidecar, "it has no effect on ambient pods: they have no sidecar") end
  end
end

return M
