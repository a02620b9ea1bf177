-- lab.faults: failures on demand: errors, slow answers, broken connections, watches that stop.
-- Not for faults of pods' programs.
--   faults.command(cluster, { kind = "error", status = 429, retry_after = 1, count = 3 })

local base = require "lab.controllers.base"
local json = require "json"
local inside = require "lab.inside"
local status = require "lab.status"
local task = require "task"

local M = {}

local REASONS = { [400] = "BadRequest", [401] = "Unauthorized", [403] = "Forbidden", [404] = "NotFound",
                  [409] = "Conflict", [410] = "Expired", [429] = "TooManyRequests", [500] = "InternalError",
                  [503] = "ServiceUnavailable", [504] = "Timeout" }

---@class lab.Faults
local faults = {}
faults.__index = faults

---The faults of a lab, which may be none.
---@param cluster lab.Cluster
---@return lab.Faults
local function of(cluster)
  cluster.fault_controller = cluster.fault_controller or setmetatable({ list = {}, cluster = cluster }, faults)
  return cluster.fault_controller
end

-- The first fault of some kinds that a request meets; it is used up by that.
local function take(self, kinds, request)
  for i, fault in ipairs(self.list) do
    if kinds[fault.kind] and (not fault.method or fault.method == request.method)
      and (not fault.match or request.path:find(fault.match)) then
      if fault.count then
        fault.count = fault.count - 1
        if fault.count <= 0 then table.remove(self.list, i) end
      end
      return fault
    end
  end
end

local REQUESTS = { error = true, slow = true, reset = true }
local WATCHES = { ["watch-drop"] = true, ["watch-silent"] = true, ["watch-half"] = true }

---What a request meets before it is looked at. May wait; raises what the client is to see.
---@param request table
---@return table? response
function faults:meet(request)
  if request.internal or request.path:sub(1, 5) == "/lab/" then return nil end
  local fault = take(self, REQUESTS, request)
  if not fault then return nil end
  if fault.kind == "slow" then
    task.sleep(fault.delay or 1)
  elseif fault.kind == "reset" then
    if request.exchange then request.exchange:reset() end
    return { status = 500, headers = {}, body = "" }
  else
    local code = fault.status or 500
    local headers = fault.retry_after and { ["Retry-After"] = tostring(fault.retry_after) } or nil
    local details = fault.retry_after and { retryAfterSeconds = fault.retry_after } or nil
    status.raise(code, REASONS[code] or "InternalError", "a fault of the lab: this answer was asked for", details,
      headers)
  end
end

---What becomes of the events of one watch: a function that says whether it has taken an event over.
---@param ctx lab.Context
function faults:watch(ctx)
  local silent = false
  return function(writer, flush)
    if silent then return true end
    local fault = take(self, WATCHES, ctx.request)
    if not fault then return false end
    flush() -- what happened before the fault arrives
    if fault.kind == "watch-silent" then
      silent = true
      return true
    end
    if fault.kind == "watch-half" then writer:write '{"type":"MODIFIED","object":{"kind":' end
    if writer.reset then writer:reset() end
    error(require("errors").new { code = "Closed", message = "a fault of the lab" }, 0)
  end
end

-- --- what is asked for ----------------------------------------------------------------------------------

local function lose_node(cluster, name)
  local nodes = cluster.nodes
  if not nodes or not nodes.addresses[name] then status.bad_request("there is no node %s", tostring(name)) end
  nodes.lost[name] = true
  inside.change(cluster, "nodes", nil, name, "status", "node-controller", function(node)
    for _, condition in ipairs(node.status.conditions or {}) do
      condition.status, condition.reason = "Unknown", "NodeStatusUnknown"
      condition.message = "Kubelet stopped posting node status."
      condition.lastTransitionTime = cluster:time()
    end
  end)
  local node = inside.view(cluster, "nodes", nil, name)
  base.event(cluster, inside.with_kind(cluster, "nodes", node), "Normal", "NodeNotReady",
    ("Node %s status is now: NodeNotReady"):format(name), "node-controller")
end

-- A node that is heard of again goes on with its pods; what was deleted meanwhile is ended.
local function find_nodes(cluster)
  local nodes = cluster.nodes
  for name in pairs(nodes and nodes.lost or {}) do
    inside.change(cluster, "nodes", nil, name, "status", "kubelet", function(node)
      for _, condition in ipairs(node.status.conditions or {}) do
        local ready = condition.type == "Ready"
        condition.status = ready and "True" or "False"
        condition.reason = ready and "KubeletReady" or "KubeletHasSufficient" .. condition.type:gsub("Pressure", "")
        condition.message, condition.lastTransitionTime = "the lab's node agent is running", cluster:time()
      end
    end)
    nodes:found(name)
  end
end

local INSTANT = {
  expire = function(cluster) cluster.store:compact() end,
  ["clock-skew"] = function(cluster, fault) cluster.skew = fault.delay or 0 end,
  ["pod-delay"] = function(cluster, fault) if cluster.nodes then cluster.nodes.start_delay = fault.delay end end,
  ["node-loss"] = function(cluster, fault) lose_node(cluster, fault.match) end,
  clear = function(cluster)
    of(cluster).list, cluster.skew = {}, 0
    if cluster.nodes then cluster.nodes.start_delay = nil end
    find_nodes(cluster)
  end,
}

---@param cluster lab.Cluster
---@param fault table kind, and as the kind needs: match, method, count, status, retry_after, delay
---@return table answer
function M.command(cluster, fault)
  local self = of(cluster)
  if INSTANT[fault.kind] then
    INSTANT[fault.kind](cluster, fault)
  elseif REQUESTS[fault.kind] or WATCHES[fault.kind] then
    self.list[#self.list + 1] = fault
  else
    status.bad_request("the lab has no fault %s", tostring(fault.kind))
  end
  return { faults = json.array(self.list) }
end

M.of = of

return M
