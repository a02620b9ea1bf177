-- lab.controllers.daemonsets: a pod on each node that a set is for.
-- Not for choosing nodes (lab.scheduler): each pod is bound to its node by an affinity, as in Kubernetes.
--   require "lab.controllers.daemonsets".start(cluster)

local base = require "lab.controllers.base"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local revisions = require "lab.controllers.revisions"
local scheduler = require "lab.scheduler"
local store = require "lab.store"

local M = {}

local SET, MANAGER, REVISION = "apps/daemonsets", "daemonset-controller", revisions.LABEL

-- What a daemon's pod stays through.
local TOLERATED = {
  { "not-ready", "NoExecute" }, { "unreachable", "NoExecute" }, { "disk-pressure", "NoSchedule" },
  { "memory-pressure", "NoSchedule" }, { "pid-pressure", "NoSchedule" }, { "unschedulable", "NoSchedule" },
}

local function tolerations(spec)
  local list = json.array(spec.tolerations or {})
  for _, one in ipairs(TOLERATED) do
    list[#list + 1] = { key = "node.kubernetes.io/" .. one[1], operator = "Exists", effect = one[2] }
  end
  return list
end

-- To that node only, whatever else the template wants.
local function bind(pod, node)
  local field = { key = "metadata.name", operator = "In", values = json.array { node } }
  local affinity = pod.spec.affinity or {}
  pod.spec.affinity = affinity
  local of_node = affinity.nodeAffinity or {}
  affinity.nodeAffinity = of_node
  local required = of_node.requiredDuringSchedulingIgnoredDuringExecution
    or { nodeSelectorTerms = json.array { json.object {} } }
  of_node.requiredDuringSchedulingIgnoredDuringExecution = required
  for _, term in ipairs(required.nodeSelectorTerms) do term.matchFields = json.array { field } end
end

local function prepared(template)
  local copy = json.decode(json.encode(template))
  return { metadata = copy.metadata or {}, spec = copy.spec }
end

-- Whether a pod of the set belongs on a node: its selectors and taints, not its room.
local function is_for(set, node)
  local pod = prepared(set.spec.template)
  pod.spec.tolerations = tolerations(pod.spec)
  return scheduler.check_node(pod, node) == nil
end

local function make(cluster, set, node, revision)
  local made, problem = pods.create(cluster, set.metadata.namespace, set.spec.template,
    inside.owner(cluster, SET, set), set.metadata.name .. "-", function(pod)
      pod.metadata.labels = pod.metadata.labels or {}
      pod.metadata.labels[REVISION] = revision
      pod.spec.tolerations = tolerations(pod.spec)
      bind(pod, node)
    end)
  local about = inside.with_kind(cluster, SET, set)
  if made then
    base.event(cluster, about, "Normal", "SuccessfulCreate", "Created pod: " .. made.metadata.name, MANAGER)
  else
    base.event(cluster, about, "Warning", "FailedCreate", "Error creating: " .. problem.body.message, MANAGER)
  end
  return problem
end

local function delete(cluster, set, pod)
  inside.delete(cluster, "pods", pod.metadata.namespace, pod.metadata.name, { uid = pod.metadata.uid })
  base.event(cluster, inside.with_kind(cluster, SET, set), "Normal", "SuccessfulDelete",
    "Deleted pod: " .. pod.metadata.name, MANAGER)
end

-- The node that a pod is on, or is meant for.
local function node_of(pod)
  if (pod.spec.nodeName or "") ~= "" then return pod.spec.nodeName end
  local of_node = (pod.spec.affinity or {}).nodeAffinity
  local required = of_node and of_node.requiredDuringSchedulingIgnoredDuringExecution
  local fields = required and required.nodeSelectorTerms[1].matchFields
  return fields and fields[1].values[1]
end

local function by_node(cluster, set)
  local map = {}
  for _, pod in ipairs(pods.claim(cluster, "pods", SET, set)) do
    local name = node_of(pod)
    if name and not (map[name] and pods.is_active(map[name])) then map[name] = pod end
  end
  return map
end

local function report(cluster, set, wanted, revision, scale)
  local current, ready, available, updated, misplaced, wait = 0, 0, 0, 0, 0, nil
  for name, pod in pairs(by_node(cluster, set)) do
    if not wanted[name] then
      misplaced = misplaced + 1
    else
      current = current + 1
      local long_enough, left = pods.is_available(pod, (set.spec.minReadySeconds or 0) * scale, cluster:now())
      if pods.is_ready(pod) then ready = ready + 1 end
      if long_enough then available = available + 1 end
      if left then wait = math.min(wait or left, left) end
      if (pod.metadata.labels or {})[REVISION] == revision then updated = updated + 1 end
    end
  end
  local count = 0
  for _ in pairs(wanted) do count = count + 1 end
  inside.change(cluster, SET, set.metadata.namespace, set.metadata.name, "status", "kube-controller-manager",
    function(object)
      object.status = { desiredNumberScheduled = count, currentNumberScheduled = current, numberReady = ready,
        numberAvailable = available > 0 and available or nil, updatedNumberScheduled = updated > 0 and updated or nil,
        numberUnavailable = count > available and count - available or nil, numberMisscheduled = misplaced,
        observedGeneration = set.metadata.generation }
    end)
  return wait
end

local function bound(value, total)
  if type(value) == "string" then return math.ceil((tonumber(value:match "^(%d+)%%$") or 0) * total / 100) end
  return value or 1
end

-- An older pod goes when no more than maxUnavailable are missing; those that serve nobody go at once.
local function update(cluster, set, map, wanted, revision)
  local strategy = set.spec.updateStrategy or {}
  if strategy.type == "OnDelete" then return end
  local missing, total, older = 0, 0, {}
  for name in pairs(wanted) do
    local pod = map[name]
    local old = pod and pods.is_active(pod) and (pod.metadata.labels or {})[REVISION] ~= revision
    total = total + 1
    if not pod or pod.metadata.deletionTimestamp or not pods.is_ready(pod) then
      missing = missing + 1
      if old then delete(cluster, set, pod) end
    elseif old then
      older[#older + 1] = pod
    end
  end
  local most = bound((strategy.rollingUpdate or {}).maxUnavailable, total)
  table.sort(older, function(a, b) return a.metadata.name < b.metadata.name end)
  for i = 1, math.min(#older, most - missing) do delete(cluster, set, older[i]) end
end

-- The mark of the template's revision; what nobody uses is forgotten.
local function sync_revisions(cluster, set, map)
  local latest, list = revisions.sync(cluster, SET, set)
  local used = { [latest.metadata.name] = true }
  for _, pod in pairs(map) do
    used[set.metadata.name .. "-" .. ((pod.metadata.labels or {})[REVISION] or "")] = true
  end
  revisions.forget(cluster, set, list, used)
  return revisions.mark(latest)
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local set = inside.view(cluster, SET, namespace, name)
  if not set or set.metadata.deletionTimestamp then return end
  local wanted, map, problem = {}, by_node(cluster, set), nil
  local revision = sync_revisions(cluster, set, map)
  for _, record in ipairs(cluster.store:collection("nodes"):records()) do
    if is_for(set, store.view(record)) then wanted[record.name] = true end
  end
  for node in pairs(wanted) do
    local pod = map[node]
    if pod and pods.is_finished(pod) and not pod.metadata.deletionTimestamp then
      base.event(cluster, inside.with_kind(cluster, SET, set), "Warning", "FailedDaemonPod",
        ("Found failed daemon pod %s/%s on node %s, will try to kill it"):format(namespace, pod.metadata.name, node),
        MANAGER)
      delete(cluster, set, pod)
    elseif not pod then
      problem = make(cluster, set, node, revision) or problem
    end
  end
  for node, pod in pairs(map) do
    if not wanted[node] and pods.is_active(pod) then delete(cluster, set, pod) end
  end
  update(cluster, set, by_node(cluster, set), wanted, revision)
  local wait = report(cluster, set, wanted, revision, scale)
  if wait then self:later(key, math.max(wait, 0.01)) end
  if problem then error(problem, 0) end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  local sets = cluster.store:collection(SET)
  local follow = pods.follow(cluster, "DaemonSet", SET, "pods")
  return base.new(cluster, {
    name = "daemonsets", pause = 0.01,
    on = function(collection, event, add)
      if collection ~= "nodes" then return follow(collection, event, add) end
      if sets.count == 0 then return end
      for _, record in ipairs(sets:records()) do add(record.key) end
    end,
    look = function(key, self) look(cluster, key, self, scale) end,
  })
end

return M
