-- lab.mesh.template: a pod with a sidecar: what the injector adds to it, classic, held or native.
-- Not for whether it is added (istio.would_inject).
--   template.inject(pod, "team-a", { native = true })

local json = require "json"

local M = {}

local IMAGE = "docker.io/istio/proxyv2:1.29.1"
local TYPE = "sidecar.istio.io/nativeSidecar"
local CONFIG = "proxy.istio.io/config"
local LOGS = { "--log_output_level=default:info" }

---@class lab.MeshConfig
---@field native boolean? whether sidecars are native ones without a pod's wish; default true
---@field hold boolean? whether classic ones are held without a pod's wish
---@field cni boolean? whether pods are caught by the node, not by an init container of theirs; default true
---@field trust_domain string

-- --- what a pod wishes ------------------------------------------------------------------------------

local function proxy_config(annotations)
  local text = annotations[CONFIG]
  local ok, config = pcall(require("yaml").decode, text or "{}")
  return ok and type(config) == "table" and config or {}
end

---Which form of sidecar a pod gets.
---@param pod table
---@param config lab.MeshConfig
---@return "native"|"held"|"classic"
function M.form(pod, config)
  local annotations = pod.metadata.annotations or {}
  local native = annotations[TYPE]
  if native == "true" or native ~= "false" and config.native ~= false then return "native" end
  local wish = proxy_config(annotations).holdApplicationUntilProxyStarts
  if wish == nil then wish = config.hold end
  return wish == true and "held" or "classic"
end

-- --- containers -------------------------------------------------------------------------------------

local function field(name, path)
  return { name = name, valueFrom = { fieldRef = { apiVersion = "v1", fieldPath = path } } }
end

local function workload_name(pod)
  for _, owner in ipairs(pod.metadata.ownerReferences or {}) do
    if owner.controller then return owner.kind == "ReplicaSet" and owner.name:gsub("%-[^-]*$", "") or owner.name end
  end
  return pod.metadata.name or (pod.metadata.generateName or ""):gsub("%-$", "")
end

local function app_ports(pod)
  local list = json.array {}
  for _, container in ipairs(pod.spec.containers) do
    for _, port in ipairs(container.ports or {}) do list[#list + 1] = { containerPort = port.containerPort } end
  end
  return list
end

local function names_of(containers)
  local list = {}
  for i, container in ipairs(containers) do list[i] = container.name end
  return table.concat(list, ",")
end

local function environment(pod, namespace, config, probers)
  local list = {
    { name = "PILOT_CERT_PROVIDER", value = "istiod" }, { name = "CA_ADDR", value = "istiod.istio-system.svc:15012" },
    field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
    field("INSTANCE_IP", "status.podIP"), field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    field("HOST_IP", "status.hostIP"),
    { name = "PROXY_CONFIG", value = json.encode(json.object(proxy_config(pod.metadata.annotations or {}))) },
    { name = "ISTIO_META_POD_PORTS", value = json.encode(app_ports(pod)) },
    { name = "ISTIO_META_APP_CONTAINERS", value = names_of(pod.spec.containers) },
    { name = "ISTIO_META_CLUSTER_ID", value = "Kubernetes" }, field("ISTIO_META_NODE_NAME", "spec.nodeName"),
    { name = "ISTIO_META_INTERCEPTION_MODE", value = "REDIRECT" },
    { name = "ISTIO_META_WORKLOAD_NAME", value = workload_name(pod) },
    { name = "ISTIO_META_OWNER", value = ("kubernetes://apis/v1/namespaces/%s/pods/%s"):format(namespace,
      workload_name(pod)) },
    { name = "ISTIO_META_MESH_ID", value = config.trust_domain },
    { name = "TRUST_DOMAIN", value = config.trust_domain },
  }
  for name, value in pairs(proxy_config(pod.metadata.annotations or {}).proxyMetadata or {}) do
    list[#list + 1] = { name = name, value = tostring(value) }
  end
  if next(probers) then
    list[#list + 1] = { name = "ISTIO_KUBE_APP_PROBERS", value = json.encode(probers, { sort = true }) }
  end
  return list
end

local SECURITY = { allowPrivilegeEscalation = false, capabilities = { drop = { "ALL" } }, privileged = false,
  readOnlyRootFilesystem = true, runAsGroup = 1337, runAsNonRoot = true, runAsUser = 1337 }
local RESOURCES = { limits = { cpu = "2", memory = "1Gi" }, requests = { cpu = "10m", memory = "40Mi" } }

local MOUNTS = {
  { name = "workload-socket", mountPath = "/var/run/secrets/workload-spiffe-uds" },
  { name = "credential-socket", mountPath = "/var/run/secrets/credential-uds" },
  { name = "workload-certs", mountPath = "/var/run/secrets/workload-spiffe-credentials" },
  { name = "istiod-ca-cert", mountPath = "/var/run/secrets/istio" },
  { name = "istio-data", mountPath = "/var/lib/istio/data" }, { name = "istio-envoy", mountPath = "/etc/istio/proxy" },
  { name = "istio-token", mountPath = "/var/run/secrets/tokens" },
  { name = "istio-podinfo", mountPath = "/etc/istio/pod" },
}

local function ready(more)
  local probe = { httpGet = { path = "/healthz/ready", port = 15021, scheme = "HTTP" } }
  for key, value in pairs(more) do probe[key] = value end
  return probe
end

local function proxy(pod, namespace, config, form, probers)
  local container = {
    name = "istio-proxy", image = IMAGE,
    ports = { { containerPort = 15090, name = "http-envoy-prom", protocol = "TCP" } },
    args = { "proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--proxyLogLevel=warning",
             "--proxyComponentLogLevel=misc:error", LOGS[1] },
    env = environment(pod, namespace, config, probers), resources = RESOURCES, securityContext = SECURITY,
    volumeMounts = MOUNTS,
    startupProbe = ready { failureThreshold = 600, periodSeconds = 1, timeoutSeconds = 3 },
    readinessProbe = ready { failureThreshold = 4, periodSeconds = 15, timeoutSeconds = 3 },
  }
  if form == "native" then
    container.restartPolicy = "Always"
    container.lifecycle = { preStop = { exec = { command = { "pilot-agent", "request", "--debug-port=15020", "POST",
      "drain" } } } }
  elseif form == "held" then
    container.lifecycle = { postStart = { exec = { command = { "pilot-agent", "wait" } } } }
  end
  return container
end

local function init(config)
  local container = { name = config.cni == false and "istio-init" or "istio-validation", image = IMAGE, args = {
    "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*",
    "-d", "15090,15021,15020", LOGS[1] }, resources = RESOURCES, securityContext = SECURITY }
  if config.cni == false then
    container.securityContext = { allowPrivilegeEscalation = false, privileged = false, readOnlyRootFilesystem = false,
      capabilities = { add = { "NET_ADMIN", "NET_RAW" }, drop = { "ALL" } }, runAsGroup = 0, runAsNonRoot = false,
      runAsUser = 0 }
  else
    container.args[#container.args + 1] = "--run-validation"
    container.args[#container.args + 1] = "--skip-rule-apply"
  end
  return container
end

local function empty(name, more) return { name = name, emptyDir = json.object(more or {}) } end

local function volumes()
  return {
    empty "workload-socket", empty "credential-socket", empty "workload-certs",
    empty("istio-envoy", { medium = "Memory" }), empty "istio-data",
    { name = "istio-podinfo", downwardAPI = { items = {
      { path = "labels", fieldRef = { fieldPath = "metadata.labels" } },
      { path = "annotations", fieldRef = { fieldPath = "metadata.annotations" } } } } },
    { name = "istio-token", projected = { sources = { { serviceAccountToken = { audience = "istio-ca",
      expirationSeconds = 43200, path = "istio-token" } } } } },
    { name = "istiod-ca-cert", configMap = { name = "istio-ca-root-cert" } },
  }
end

-- --- probes -----------------------------------------------------------------------------------------

local KINDS = { readinessProbe = "readyz", livenessProbe = "livez", startupProbe = "startupz" }

local function number_of(container, port)
  if math.type(port) == "integer" then return port end
  for _, one in ipairs(container.ports or {}) do
    if one.name == port then return one.containerPort end
  end
end

-- A node has no identity: its probes go to the agent's port, and the agent asks the program.
local function rewrite(container, probers)
  for kind, word in pairs(KINDS) do
    local probe = container[kind]
    local action = probe and (probe.httpGet or probe.tcpSocket or probe.grpc)
    if action then
      local path = ("/app-health/%s/%s"):format(container.name, word)
      local kept = { timeoutSeconds = probe.timeoutSeconds }
      for _, name in ipairs { "httpGet", "tcpSocket", "grpc" } do
        if probe[name] then
          kept[name] = {}
          for key, value in pairs(probe[name]) do kept[name][key] = value end
          kept[name].port = number_of(container, action.port)
        end
        probe[name] = nil
      end
      probers[path] = kept
      probe.httpGet = { path = path, port = 15020, scheme = "HTTP" }
    end
  end
end

-- --- all of it --------------------------------------------------------------------------------------

local function set(metadata, what, key, value)
  metadata[what] = metadata[what] or {}
  if metadata[what][key] == nil then metadata[what][key] = value end
end

local function describe(pod, form, config)
  local m, first = pod.metadata, pod.spec.containers[1].name
  local own, inits = "istio-proxy", config.cni == false and "istio-init" or "istio-validation"
  local status = { initContainers = form == "native" and { inits, own } or { inits },
    containers = form ~= "native" and { own } or nil, revision = "default", imagePullSecrets = json.null, volumes = {} }
  for i, volume in ipairs(volumes()) do status.volumes[i] = volume.name end
  set(m, "annotations", "kubectl.kubernetes.io/default-container", first)
  set(m, "annotations", "kubectl.kubernetes.io/default-logs-container", first)
  set(m, "annotations", "istio.io/rev", "default")
  m.annotations["sidecar.istio.io/status"] = json.encode(status, { sort = true })
  local app = (m.labels or {})["app.kubernetes.io/name"] or (m.labels or {}).app or workload_name(pod)
  set(m, "labels", "security.istio.io/tlsMode", "istio")
  set(m, "labels", "service.istio.io/canonical-name", app:sub(1, 63))
  set(m, "labels", "service.istio.io/canonical-revision", (m.labels or {}).version or "latest")
end

local function add_init(spec, list)
  local all = json.array {}
  for _, container in ipairs(list) do all[#all + 1] = container end
  for _, container in ipairs(spec.initContainers or {}) do all[#all + 1] = container end
  spec.initContainers = all
end

---Adds the sidecar to a pod.
---@param pod table is changed
---@param namespace string
---@param config lab.MeshConfig
function M.inject(pod, namespace, config)
  local form, spec, probers = M.form(pod, config), pod.spec, {}
  local annotations = pod.metadata.annotations or {}
  if annotations["sidecar.istio.io/rewriteAppHTTPProbers"] ~= "false" then
    for _, container in ipairs(spec.containers) do rewrite(container, probers) end
  end
  local sidecar = proxy(pod, namespace, config, form, probers)
  describe(pod, form, config)
  spec.volumes = spec.volumes or json.array {}
  for _, volume in ipairs(volumes()) do table.insert(spec.volumes, volume) end
  if form == "native" then
    add_init(spec, { init(config), sidecar })
  else
    spec.initContainers = spec.initContainers or json.array {}
    if config.cni == false then
      table.insert(spec.initContainers, init(config))
    else
      add_init(spec, { init(config) })
    end
    table.insert(spec.containers, form == "held" and 1 or #spec.containers + 1, sidecar)
  end
end

return M
