-- lab.node.environment: the variables of a container: values, references, the fields of its pod.
-- Not for files (lab.node.volumes).
--   environment.of(cluster, pod, container) -> { NAME = "value" }; raises a text that says what is missing

local inside = require "lab.inside"
local hash = require "hash"
local meta = require "lab.meta"
local quantities = require "lab.quantities"
local store = require "lab.store"

local M = {}

-- --- fields of the pod --------------------------------------------------------------------------------

local function map_text(map)
  local lines = {}
  for _, name in ipairs(meta.sorted_names(map or {})) do
    lines[#lines + 1] = ('%s="%s"'):format(name, (map[name]:gsub('[\\"]', "\\%0"):gsub("\n", "\\n")))
  end
  return table.concat(lines, "\n")
end

local FIELDS = {
  ["metadata.name"] = function(pod) return pod.metadata.name end,
  ["metadata.namespace"] = function(pod) return pod.metadata.namespace end,
  ["metadata.uid"] = function(pod) return pod.metadata.uid end,
  ["metadata.labels"] = function(pod) return map_text(pod.metadata.labels) end,
  ["metadata.annotations"] = function(pod) return map_text(pod.metadata.annotations) end,
  ["spec.nodeName"] = function(pod) return pod.spec.nodeName end,
  ["spec.serviceAccountName"] = function(pod) return pod.spec.serviceAccountName end,
  ["status.hostIP"] = function(pod) return pod.status and pod.status.hostIP end,
  ["status.podIP"] = function(pod) return pod.status and pod.status.podIP end,
  ["status.hostIPs"] = function(pod) return pod.status and pod.status.hostIP end,
  ["status.podIPs"] = function(pod) return pod.status and pod.status.podIP end,
}

---@param pod table
---@param path string such as "metadata.labels['app']"
---@return string
function M.field(pod, path)
  local map, key = path:match "^metadata%.(%a+)%['(.*)'%]$"
  if map then return (pod.metadata[map] or {})[key] or "" end
  local read = FIELDS[path]
  return read and read(pod) or ""
end

local ROOM = { cpu = "8", memory = "16Gi", ["ephemeral-storage"] = "100Gi" }
M.ROOM = ROOM

---@param container table
---@param ref {resource: string, divisor: string?}
---@return string
function M.resource(container, ref)
  local kind, name = ref.resource:match "^(%a+)%.(.*)$"
  local map = (container.resources or {})[kind] or {}
  local value = map[name]
  -- Without a limit a container may use what its node has.
  if not value and kind == "limits" then value = ROOM[name] end
  if not value then return "0" end
  local divisor = ref.divisor and quantities.number(ref.divisor) or 0
  if divisor == 0 then divisor = 1 end
  return ("%d"):format(math.ceil(quantities.number(value) / divisor))
end

-- --- references -----------------------------------------------------------------------------------------

local function lookup(cluster, pod, kind, ref)
  local stored = kind == "secret" and "secrets" or "configmaps"
  local object = inside.view(cluster, stored, pod.metadata.namespace, ref.name)
  if not object then
    if ref.optional then return nil end
    error(('%s "%s" not found'):format(kind, ref.name), 0)
  end
  return object
end

local function key_value(cluster, pod, kind, ref)
  local object = lookup(cluster, pod, kind, ref)
  if not object then return nil end
  local value = (object.data or {})[ref.key]
  if value == nil then
    if ref.optional then return nil end
    error(("couldn't find key %s in %s %s/%s"):format(ref.key, kind == "secret" and "Secret" or "ConfigMap",
      pod.metadata.namespace, ref.name), 0)
  end
  return kind == "secret" and hash.unbase64(value) or value
end

local function of_source(cluster, pod, container, source)
  if source.fieldRef then return M.field(pod, source.fieldRef.fieldPath) end
  if source.resourceFieldRef then return M.resource(container, source.resourceFieldRef) end
  if source.configMapKeyRef then return key_value(cluster, pod, "configmap", source.configMapKeyRef) end
  if source.secretKeyRef then return key_value(cluster, pod, "secret", source.secretKeyRef) end
end

-- What stands after a dollar sign: what it becomes, and where the text goes on.
local function expanded(text, at, values)
  local next_character = text:sub(at + 1, at + 1)
  if next_character == "$" then return "$", at + 2 end
  local close = next_character == "(" and text:find(")", at + 2, true)
  if not close then return "$" .. next_character, at + 2 end
  local name = text:sub(at + 2, close - 1)
  return values[name] or ("$(%s)"):format(name), close + 1
end

---Replaces $(NAME) by the value of a variable; $$ stands for a dollar sign. What is between $( and ) and no variable
---stays as it is, dollar signs too: so do commands of a shell.
---@param text string
---@param values table<string, string>
---@return string
function M.expand(text, values)
  local parts, from = {}, 1
  while true do
    local at = text:find("$", from, true)
    if not at or at == #text then break end
    parts[#parts + 1] = text:sub(from, at - 1)
    parts[#parts + 1], from = expanded(text, at, values)
  end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts)
end

---@param cluster lab.Cluster
---@param pod table
---@param container table
---@return table<string, string>
function M.of(cluster, pod, container)
  local values = {}
  for _, from in ipairs(container.envFrom or {}) do
    local kind = from.secretRef and "secret" or "configmap"
    local object = lookup(cluster, pod, kind, from.secretRef or from.configMapRef)
    for name, value in pairs(object and object.data or {}) do
      values[(from.prefix or "") .. name] = kind == "secret" and hash.unbase64(value) or value
    end
  end
  for _, variable in ipairs(container.env or {}) do
    if variable.valueFrom then
      values[variable.name] = of_source(cluster, pod, container, variable.valueFrom)
    else
      values[variable.name] = M.expand(variable.value or "", values)
    end
  end
  return values
end

-- --- services -----------------------------------------------------------------------------------------

local function put_service(all, service)
  local address = service.spec.clusterIP
  if not address or address == "" or address == "None" or not service.spec.ports then return end
  local stem = service.metadata.name:upper():gsub("-", "_")
  all[stem .. "_SERVICE_HOST"] = address
  for i, port in ipairs(service.spec.ports) do
    local protocol = port.protocol or "TCP"
    local url = ("%s://%s:%d"):format(protocol:lower(), address, port.port)
    if i == 1 then all[stem .. "_SERVICE_PORT"], all[stem .. "_PORT"] = tostring(port.port), url end
    if port.name then all[stem .. "_SERVICE_PORT_" .. port.name:upper():gsub("-", "_")] = tostring(port.port) end
    local longer = ("%s_PORT_%d_%s"):format(stem, port.port, protocol)
    all[longer], all[longer .. "_PROTO"] = url, protocol:lower()
    all[longer .. "_PORT"], all[longer .. "_ADDR"] = tostring(port.port), address
  end
end

local NO_PROXY = "127.0.0.1,localhost"

---Where the services of its namespace are, and the API; without a network of its own, a pod's proxy.
---@param cluster lab.Cluster
---@param sandbox table of lab.node.runtime
---@return table<string, string>
function M.services(cluster, sandbox)
  local all = {}
  local spec, namespace = sandbox.pod.spec, sandbox.pod.metadata.namespace
  local api = inside.view(cluster, "services", "default", "kubernetes")
  for _, record in ipairs(spec.enableServiceLinks == false and {} or cluster.store:collection("services")
    :records(namespace)) do
    put_service(all, store.view(record))
  end
  if api then put_service(all, api) end
  if not sandbox.link then
    all.KUBERNETES_SERVICE_HOST, all.KUBERNETES_SERVICE_PORT = "127.0.0.1", tostring(cluster.port or 443)
  end
  if sandbox.proxy_url then
    for _, name in ipairs { "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY" } do
      all[name] = sandbox.proxy_url
    end
    all.no_proxy, all.NO_PROXY = NO_PROXY, NO_PROXY
  end
  return all
end

M.lookup = lookup

return M
