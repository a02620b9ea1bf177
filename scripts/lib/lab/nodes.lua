-- lab.nodes: the simulated nodes of a lab, and the agent that runs their pods on this machine.
-- Not for choosing nodes (lab.scheduler).
--   local n = nodes.start(cluster, { nodes = 3 }); n:stop()

local base = require "lab.controllers.base"
local bootstrap = require "lab.bootstrap"
local environment = require "lab.node.environment"
local fs = require "fs"
local inside = require "lab.inside"
local json = require "json"
local runtime = require "lab.node.runtime"
local streams = require "lab.node.streams"
local task = require "task"
local worker = require "lab.node.worker"

local M = {}

---@class lab.Nodes
local nodes = {}
nodes.__index = nodes

-- --- the nodes themselves -------------------------------------------------------------------------------

local function condition(cluster, kind, on, reason, message)
  return { type = kind, status = on and "True" or "False", reason = reason, message = message,
           lastHeartbeatTime = cluster:time(), lastTransitionTime = cluster:time() }
end

local function conditions(cluster)
  return json.array {
    condition(cluster, "MemoryPressure", false, "KubeletHasSufficientMemory", "the lab does not measure this"),
    condition(cluster, "DiskPressure", false, "KubeletHasNoDiskPressure", "the lab does not measure this"),
    condition(cluster, "PIDPressure", false, "KubeletHasSufficientPID", "the lab does not measure this"),
    condition(cluster, "Ready", true, "KubeletReady", "the lab's node agent is running"),
  }
end

local function node_name(i) return "lab-" .. i end

local ZONES = { "a", "b", "c" }

local function put_node(cluster, i)
  local name = node_name(i)
  local room = { pods = "110" }
  for resource, amount in pairs(environment.ROOM) do room[resource] = amount end
  bootstrap.put(cluster, "", "v1", "nodes", {
    metadata = { name = name, labels = {
      ["kubernetes.io/hostname"] = name, ["kubernetes.io/os"] = "linux", ["kubernetes.io/arch"] = "amd64",
      ["topology.kubernetes.io/zone"] = "zone-" .. ZONES[(i - 1) % #ZONES + 1],
      ["topology.kubernetes.io/region"] = "lab" } },
    spec = { podCIDR = ("10.244.%d.0/24"):format(i), providerID = "kfhost://" .. name },
    status = {
      capacity = room, allocatable = room, conditions = conditions(cluster),
      addresses = json.array { { type = "InternalIP", address = ("10.0.0.%d"):format(i) },
                               { type = "Hostname", address = name } },
      nodeInfo = { kubeletVersion = "v1.37.2+kfhost-lab", osImage = "this machine", kernelVersion = "this machine's",
                   containerRuntimeVersion = "kfhost://0", architecture = "amd64", operatingSystem = "linux",
                   machineID = name, systemUUID = name, bootID = name, kubeProxyVersion = "" },
    },
  })
end

---The address that a node has in statuses.
function nodes:address(name)
  return self.addresses[name] or "10.0.0.1"
end

-- --- pods -----------------------------------------------------------------------------------------------

local function is_over(pod)
  local phase = pod.status and pod.status.phase
  return phase == "Succeeded" or phase == "Failed"
end

local function look(self, key)
  local namespace, name = key:match "^(.-)/(.*)$"
  local pod = inside.view(self.cluster, "pods", namespace, name)
  local known = self.by_key[key]
  if known and (not pod or pod.metadata.uid ~= known.pod.metadata.uid) then
    known:close()
    self.workers[known.pod.metadata.uid], self.by_key[key] = nil, nil
    known = nil
  end
  if not pod or not self.addresses[pod.spec.nodeName or ""] or self.lost[pod.spec.nodeName] then return end
  if pod.metadata.deletionTimestamp then
    if known then
      known:terminate(pod.metadata.deletionGracePeriodSeconds or 30)
    else
      inside.delete(self.cluster, "pods", namespace, name, { grace = 0, uid = pod.metadata.uid })
    end
  elseif not known and not is_over(pod) then
    known = worker.start(self, pod)
    self.workers[pod.metadata.uid], self.by_key[key] = known, known
  end
end

---A node that was lost is there again.
---@param name string
function nodes:found(name)
  self.lost[name] = nil
  for _, record in ipairs(self.cluster.store:collection("pods"):records()) do
    if record.fields["spec.nodeName"] == name then self.controller:add(record.key) end
  end
  for _, one in pairs(self.workers) do
    if one.pod.spec.nodeName == name then one:publish() end
  end
end

---@param ctx lab.Context
function nodes:log(ctx, pod, container) return require("lab.node.logs").read(self, ctx, pod, container) end

---@param ctx lab.Context
function nodes:exec(ctx, pod, container) return streams.exec(self, ctx, pod, container) end

---@param ctx lab.Context
function nodes:attach(ctx, pod, container) return streams.attach(self, ctx, pod, container) end

---@param ctx lab.Context
function nodes:portforward(ctx, pod) return streams.portforward(self, ctx, pod) end

---Starts nodes and their agent.
---@param cluster lab.Cluster
---@param options {nodes: integer?, time_scale: number?, plain_pods: boolean?, alone_pods: string?, root: string?}
---@return lab.Nodes
function M.start(cluster, options)
  local self = setmetatable({
    cluster = cluster, workers = {}, by_key = {}, addresses = {}, lost = {}, scale = options.time_scale or 1,
    root = options.root or fs.tmpdir "kfhost-lab-pods",
  }, nodes)
  cluster.log_written = task.event()
  self.runtime = runtime.new(cluster, { root = self.root, plain = options.plain_pods, alone = options.alone_pods })
  for i = 1, options.nodes or 3 do
    if not cluster.store:collection("nodes"):get(nil, node_name(i)) then put_node(cluster, i) end
    self.addresses[node_name(i)] = ("10.0.0.%d"):format(i)
  end
  self.names = base.new(cluster, {
    name = "names",
    on = function(collection, _, add)
      if collection == "services" or collection == "endpoints" then add "hosts" end
    end,
    look = function() self.runtime.switch:rename() end,
  })
  self.controller = base.new(cluster, {
    name = "nodes",
    on = function(collection, event, add)
      if collection ~= "pods" then return end
      local record = event.record
      if self.addresses[record.fields["spec.nodeName"]] or self.by_key[record.key] then add(record.key) end
    end,
    look = function(key) look(self, key) end,
  })
  cluster.nodes = self
  return self
end

---Ends all pods' processes and removes their files.
function nodes:stop()
  self.controller:stop()
  self.names:stop()
  for _, one in pairs(self.workers) do one:close() end
  self.workers, self.by_key = {}, {}
  self.runtime:close()
  self.cluster.nodes = nil
  pcall(fs.remove, self.root, { recursive = true })
end

return M
