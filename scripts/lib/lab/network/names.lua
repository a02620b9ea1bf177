-- lab.network.names: the names of services and of pods behind them, as the text of a hosts file.
-- Not a name server: pods read files.
--   names.hosts(cluster, sandbox) -> "127.0.0.1\tlocalhost\n…"

local inside = require "lab.inside"
local store = require "lab.store"

local M = {}

local ZONE = "svc.cluster.local"

local function forms(name, namespace, asker)
  local list = { ("%s.%s.%s"):format(name, namespace, ZONE), ("%s.%s.svc"):format(name, namespace),
                 ("%s.%s"):format(name, namespace) }
  if namespace == asker then list[4] = name end
  return list
end

-- A service without an address of its own has those of its pods, and each pod with a host name its own name.
local function of_headless(cluster, service, asker, list)
  local m = service.metadata
  local endpoints = inside.view(cluster, "endpoints", m.namespace, m.name)
  for _, subset in ipairs(endpoints and endpoints.subsets or {}) do
    local waiting = service.spec.publishNotReadyAddresses and subset.notReadyAddresses or {}
    for _, addresses in ipairs { subset.addresses or {}, waiting } do
      for _, one in ipairs(addresses) do
        list[#list + 1] = { address = one.ip, names = forms(m.name, m.namespace, asker) }
        if one.hostname then
          list[#list + 1] = { address = one.ip, names = forms(one.hostname .. "." .. m.name, m.namespace, asker) }
        end
      end
    end
  end
end

---Each address with its names, as a pod of a namespace may use them.
---@param cluster lab.Cluster
---@param asker string its namespace
---@return {address: string, names: string[]}[]
function M.list(cluster, asker)
  local list, by_name, aliases = {}, {}, {}
  for _, record in ipairs(cluster.store:collection("services"):records()) do
    local service = store.view(record)
    local m, address = service.metadata, service.spec.clusterIP
    if service.spec.type == "ExternalName" then
      aliases[#aliases + 1] = service
    elseif address == "None" then
      of_headless(cluster, service, asker, list)
    elseif address then
      list[#list + 1] = { address = address, names = forms(m.name, m.namespace, asker) }
      by_name[("%s.%s.%s"):format(m.name, m.namespace, ZONE)] = address
    end
  end
  for _, service in ipairs(aliases) do
    local address = by_name[service.spec.externalName]
    if address then
      list[#list + 1] = { address = address, names = forms(service.metadata.name, service.metadata.namespace, asker) }
    end
  end
  return list
end

---@param cluster lab.Cluster
---@param sandbox table of lab.node.runtime
---@return string
function M.hosts(cluster, sandbox)
  local pod = sandbox.pod
  local lines = { "127.0.0.1\tlocalhost", "::1\tlocalhost",
                  sandbox.ip .. "\t" .. (pod.spec.hostname or pod.metadata.name) }
  for _, alias in ipairs(pod.spec.hostAliases or {}) do
    lines[#lines + 1] = alias.ip .. "\t" .. table.concat(alias.hostnames or {}, "\t")
  end
  for _, entry in ipairs(M.list(cluster, pod.metadata.namespace)) do
    lines[#lines + 1] = entry.address .. "\t" .. table.concat(entry.names, "\t")
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
