-- lab.controllers.taints: what a node's state does to it and to its pods: taints, and evictions after their time.
-- Not for the state itself (lab.nodes, lab.faults).
--   require "lab.controllers.taints".start(cluster, { time_scale = 0.01 })

local base = require "lab.controllers.base"
local conditions = require "lab.conditions"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local store = require "lab.store"
local subresources = require "lab.subresources"

local M = {}

local PREFIX = "node.kubernetes.io/"
local OWN = { [PREFIX .. "not-ready"] = true, [PREFIX .. "unreachable"] = true, [PREFIX .. "unschedulable"] = true }

-- --- what a node has ----------------------------------------------------------------------------------

local function ready_status(node)
  local ready = conditions.find(node.status, "Ready")
  return ready and ready.status
end

local function wanted(node)
  local list, state = {}, ready_status(node)
  if node.spec and node.spec.unschedulable then list[1] = { "unschedulable", "NoSchedule" } end
  local word = state == "False" and "not-ready" or state == "Unknown" and "unreachable"
  for _, effect in ipairs(word and { "NoSchedule", "NoExecute" } or {}) do list[#list + 1] = { word, effect } end
  return list
end

local function find(taints, key, effect)
  for _, taint in ipairs(taints or {}) do
    if taint.key == key and taint.effect == effect then return taint end
  end
end

-- The taints that follow from the state, beside those that somebody else has put there.
local function put_taints(cluster, node)
  local list, changed = json.array {}, false
  local new = wanted(node)
  for _, taint in ipairs(node.spec and node.spec.taints or {}) do
    local keep = not OWN[taint.key]
    for _, one in ipairs(new) do keep = keep or PREFIX .. one[1] == taint.key and one[2] == taint.effect end
    if keep then list[#list + 1] = taint else changed = true end
  end
  for _, one in ipairs(new) do
    if not find(list, PREFIX .. one[1], one[2]) then
      list[#list + 1] = { key = PREFIX .. one[1], effect = one[2], timeAdded = cluster:time() }
      changed = true
    end
  end
  if not changed then return end
  inside.change(cluster, "nodes", nil, node.metadata.name, nil, "node-controller", function(object)
    object.spec = object.spec or {}
    object.spec.taints = #list > 0 and list or nil
  end)
end

-- --- what becomes of pods -----------------------------------------------------------------------------

-- How long a pod stays in spite of a taint: for ever (nil), some seconds, or not at all (0).
local function patience(pod, taint)
  local longest = 0
  for _, t in ipairs(pod.spec.tolerations or {}) do
    local key = (t.key or "") == "" and t.operator == "Exists" or t.key == taint.key
    local value = t.operator == "Exists" or (t.value or "") == (taint.value or "")
    if key and value and ((t.effect or "") == "" or t.effect == "NoExecute") then
      if not t.tolerationSeconds then return nil end
      longest = math.max(longest, t.tolerationSeconds)
    end
  end
  return longest
end

local function evict(cluster, pod)
  local m = pod.metadata
  base.event(cluster, inside.with_kind(cluster, "pods", pod), "Normal", "TaintManagerEviction",
    ("Marking for deletion Pod %s/%s"):format(m.namespace, m.name), "taint-eviction-controller")
  inside.change(cluster, "pods", m.namespace, m.name, "status", "kube-controller-manager", function(object)
    object.status.conditions = subresources.set_condition(object.status.conditions or json.array {}, {
      type = "DisruptionTarget", status = "True", reason = "DeletionByTaintManager",
      message = "Taint manager: deleting due to NoExecute taint", lastProbeTime = json.null,
      lastTransitionTime = cluster:time() })
  end)
  inside.delete(cluster, "pods", m.namespace, m.name, { uid = m.uid })
end

-- The pods of a node that nobody hears of are not ready, whatever they said last.
local function not_ready(cluster, pod)
  local m = pod.metadata
  if not pods.is_ready(pod) then return end
  inside.change(cluster, "pods", m.namespace, m.name, "status", "node-controller", function(object)
    for _, condition in ipairs(object.status.conditions or {}) do
      if condition.type == "Ready" then
        condition.status, condition.lastTransitionTime = "False", cluster:time()
      end
    end
  end)
end

local function shortest(pod, taints)
  local least
  for _, taint in ipairs(taints) do
    if taint.effect == "NoExecute" then
      local seconds = patience(pod, taint)
      if seconds and (not least or seconds < least) then least = seconds end
    end
  end
  return least
end

local function look(self, name)
  local cluster = self.cluster
  local node = inside.view(cluster, "nodes", nil, name)
  if not node then return end
  put_taints(cluster, node)
  node = inside.view(cluster, "nodes", nil, name)
  local silent = ready_status(node) == "Unknown"
  for _, record in ipairs(cluster.store:collection("pods"):records()) do
    if record.fields["spec.nodeName"] == name then
      local pod = store.view(record)
      if silent then not_ready(cluster, pod) end
      local seconds = pods.is_active(pod) and shortest(pod, node.spec and node.spec.taints or {})
      local since = self.since[record.uid]
      if not seconds then
        self.since[record.uid] = nil
      else
        since = since or cluster:now_exact()
        self.since[record.uid] = since
        local left = since + seconds * self.scale - cluster:now_exact()
        if left <= 0 then evict(cluster, pod) else self.controller:later(name, left) end
      end
    end
  end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local self = { cluster = cluster, scale = options.time_scale or 1, since = {} }
  self.controller = base.new(cluster, {
    name = "taints",
    on = function(collection, event, add)
      if collection == "nodes" and not event.removed then
        add(event.record.name)
      elseif collection == "pods" and not event.removed and not (event.previous
        and event.previous.fields["spec.nodeName"] == event.record.fields["spec.nodeName"]) then
        local name = event.record.fields["spec.nodeName"]
        if name ~= "" then add(name) end
      end
    end,
    look = function(key) look(self, key) end,
  })
  return self.controller
end

return M
