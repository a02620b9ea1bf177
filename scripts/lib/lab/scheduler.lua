-- lab.scheduler: a node for each pod: selectors, affinity, taints, room, volumes; the least loaded of those that fit.
-- Not for preemption, and not for preferences other than node affinity.
--   require "lab.scheduler".start(cluster, options)

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local image = require "lab.image"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local quantities = require "lab.quantities"
local pods = require "lab.controllers.pods"
local store = require "lab.store"
local subresources = require "lab.subresources"

local M = {}

local NAME = "default-scheduler"
local PATIENCE = 10 -- seconds that a pod waits for the image that no node has

-- --- what a node must have ------------------------------------------------------------------------------

local function tolerated(pod, taint)
  for _, t in ipairs(pod.spec.tolerations or {}) do
    local key = (t.key or "") == "" and t.operator == "Exists" or t.key == taint.key
    local value = t.operator == "Exists" or (t.value or "") == (taint.value or "")
    if key and value and ((t.effect or "") == "" or t.effect == taint.effect) then return true end
  end
  return false
end

local OPERATORS = {
  Gt = function(value, values) return (tonumber(value) or -math.huge) > (tonumber(values[1]) or math.huge) end,
  Lt = function(value, values) return (tonumber(value) or math.huge) < (tonumber(values[1]) or -math.huge) end,
}

local function term_fits(term, node)
  for _, e in ipairs(term.matchExpressions or {}) do
    local value = (node.metadata.labels or {})[e.key]
    local compare = OPERATORS[e.operator]
    if compare then
      if not value or not compare(value, e.values or {}) then return false end
    elseif not match.selects({ matchExpressions = { e } }, node.metadata.labels) then
      return false
    end
  end
  for _, e in ipairs(term.matchFields or {}) do
    if e.key == "metadata.name" and not match.selects({ matchExpressions = { e } },
      { ["metadata.name"] = node.metadata.name }) then
      return false
    end
  end
  return true
end

local function any_term(selector, node)
  for _, term in ipairs(selector.nodeSelectorTerms or {}) do
    if term_fits(term, node) then return true end
  end
  return false
end
M.any_term = any_term

local AFFINITY = "node(s) didn't match Pod's node affinity/selector"

local function check_node(pod, node)
  if node.spec and node.spec.unschedulable
    and not tolerated(pod, { key = "node.kubernetes.io/unschedulable", effect = "NoSchedule" }) then
    return "node(s) were unschedulable"
  end
  for _, taint in ipairs(node.spec and node.spec.taints or {}) do
    if (taint.effect == "NoSchedule" or taint.effect == "NoExecute") and not tolerated(pod, taint) then
      return ("node(s) had untolerated taint {%s: %s}"):format(taint.key, taint.value or "")
    end
  end
  if pod.spec.nodeSelector and not match.selects({ matchLabels = pod.spec.nodeSelector }, node.metadata.labels) then
    return AFFINITY
  end
  local affinity = pod.spec.affinity and pod.spec.affinity.nodeAffinity
  local required = affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution
  if required and not any_term(required, node) then return AFFINITY end
end

---Why a pod may not be on a node, but for its room.
M.check_node = check_node

-- --- room -----------------------------------------------------------------------------------------------

local function requests(pod)
  local total = { cpu = 0, memory = 0 }
  for _, container in ipairs(pod.spec.containers or {}) do
    local map = container.resources and container.resources.requests or {}
    for name in pairs(total) do
      if map[name] then total[name] = total[name] + quantities.number(map[name]) end
    end
  end
  return total
end

local function load_of(cluster)
  local loads = {}
  for _, record in ipairs(cluster.store:collection("pods"):records()) do
    local name = record.fields["spec.nodeName"]
    if name ~= "" then
      local phase = record.fields["status.phase"]
      if phase ~= "Succeeded" and phase ~= "Failed" then
        local l = loads[name] or { pods = {}, cpu = 0, memory = 0 }
        loads[name] = l
        local pod = store.view(record)
        l.pods[#l.pods + 1] = pod
        local wants = requests(pod)
        l.cpu, l.memory = l.cpu + wants.cpu, l.memory + wants.memory
      end
    end
  end
  return loads
end

local function check_room(pod, node, load)
  local room = node.status and node.status.allocatable or {}
  local wants = requests(pod)
  if room.cpu and load.cpu + wants.cpu > quantities.number(room.cpu) then return "Insufficient cpu" end
  if room.memory and load.memory + wants.memory > quantities.number(room.memory) then return "Insufficient memory" end
  if room.pods and #load.pods + 1 > quantities.number(room.pods) then return "Too many pods" end
end

-- --- other pods -----------------------------------------------------------------------------------------

local function topology_of(nodes, name, key)
  local node = nodes[name]
  return node and (node.metadata.labels or {})[key]
end

local function term_meets(term, other, namespace)
  local spaces = term.namespaces
  local in_space = other.metadata.namespace == namespace
  if spaces and #spaces > 0 then
    in_space = false
    for _, one in ipairs(spaces) do in_space = in_space or one == other.metadata.namespace end
  end
  return in_space and match.selects(term.labelSelector, other.metadata.labels)
end

local function meets_all(terms, other, namespace)
  for _, term in ipairs(terms) do
    if not term_meets(term, other, namespace) then return false end
  end
  return true
end

local function required_terms(pod, kind)
  local affinity = pod.spec.affinity and pod.spec.affinity[kind]
  return affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution or {}
end

-- The nodes of pods that meet all terms: for the scheduler, one that meets some of them is no company.
local function nodes_of_company(terms, namespace, loads)
  local names = {}
  for name, load in pairs(loads) do
    for _, other in ipairs(load.pods) do
      if meets_all(terms, other, namespace) then names[#names + 1] = name end
    end
  end
  return names
end

-- Where no pod is the company that a pod asks for, it may be the first, if it is such a one itself.
local function has_company(pod, node, nodes, loads)
  local terms, namespace = required_terms(pod, "podAffinity"), pod.metadata.namespace
  if #terms == 0 then return true end
  local company = nodes_of_company(terms, namespace, loads)
  local complete = true
  for _, term in ipairs(terms) do
    local here, near = (node.metadata.labels or {})[term.topologyKey], false
    if not here then return false end
    for _, name in ipairs(company) do near = near or topology_of(nodes, name, term.topologyKey) == here end
    complete = complete and near
  end
  return complete or #company == 0 and meets_all(terms, pod, namespace)
end

local function is_avoided(pod, node, nodes, loads)
  for _, term in ipairs(required_terms(pod, "podAntiAffinity")) do
    local here = (node.metadata.labels or {})[term.topologyKey]
    for name, load in pairs(loads) do
      local near = here and topology_of(nodes, name, term.topologyKey) == here
      for _, other in ipairs(near and load.pods or {}) do
        if term_meets(term, other, pod.metadata.namespace) then return true end
      end
    end
  end
  return false
end

local function check_pods(pod, node, nodes, loads)
  if not has_company(pod, node, nodes, loads) then return "node(s) didn't match pod affinity rules" end
  if is_avoided(pod, node, nodes, loads) then return "node(s) didn't match pod anti-affinity rules" end
end

-- --- choosing -------------------------------------------------------------------------------------------

local function preference(pod, node)
  local affinity = pod.spec.affinity and pod.spec.affinity.nodeAffinity
  local score = 0
  for _, one in ipairs(affinity and affinity.preferredDuringSchedulingIgnoredDuringExecution or {}) do
    if term_fits(one.preference, node) then score = score + one.weight end
  end
  return score
end

local function ready(node)
  for _, condition in ipairs(node.status and node.status.conditions or {}) do
    if condition.type == "Ready" then return condition.status == "True" end
  end
  return false
end

local EMPTY = { pods = {}, cpu = 0, memory = 0 }

-- The best node for a pod; without one, why each refuses.
local function choose(cluster, pod)
  local nodes, list = {}, {}
  for _, record in ipairs(cluster.store:collection("nodes"):records()) do
    local node = store.view(record)
    nodes[record.name] = node
    list[#list + 1] = node
  end
  local loads = load_of(cluster)
  local volumes = cluster.volumes
  local best, best_score
  local reasons = {}
  for _, node in ipairs(list) do
    local load = loads[node.metadata.name] or EMPTY
    local why = not ready(node) and "node(s) were not ready" or check_node(pod, node) or check_room(pod, node, load)
      or check_pods(pod, node, nodes, loads) or volumes and volumes:refuses(pod, node, load)
    if why then
      reasons[why] = (reasons[why] or 0) + 1
    else
      local score = preference(pod, node) * 1000 - #load.pods
      if not best or score > best_score then best, best_score = node, score end
    end
  end
  return best, reasons, #list
end

local function why_text(reasons, count)
  if count == 0 then return "no nodes available to schedule pods" end
  local texts = {}
  for reason, number in pairs(reasons) do texts[#texts + 1] = ("%d %s"):format(number, reason) end
  table.sort(texts)
  return ("0/%d nodes are available: %s. preemption: 0/%d nodes are available: %d Preemption is not helpful for "
    .. "scheduling."):format(count, table.concat(texts, ", "), count, count)
end

local function refuse(cluster, pod, text)
  local m = pod.metadata
  local same = false
  for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
    same = same or condition.type == "PodScheduled" and condition.message == text
  end
  base.event(cluster, inside.with_kind(cluster, "pods", pod), "Warning", "FailedScheduling", text, NAME)
  if same then return end
  inside.change(cluster, "pods", m.namespace, m.name, "status", "kube-scheduler", function(object)
    object.status.conditions = object.status.conditions or json.array {}
    subresources.set_condition(object.status.conditions, { type = "PodScheduled", status = "False",
      reason = "Unschedulable", message = text, lastProbeTime = json.null, lastTransitionTime = cluster:time(),
      observedGeneration = object.metadata.generation })
  end)
end

-- Whether some image of a pod means nothing on this machine.
local function unknown_image(pod)
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(pod.spec[field] or {}) do
      if not image.find(container.image) then return container.image end
    end
  end
end

-- Pods that wait for nobody here: gated, another scheduler's, or reported on by somebody else.
local function is_ours(pod)
  if (pod.spec.nodeName or "") ~= "" or pod.metadata.deletionTimestamp then return false end
  if pod.spec.schedulerName ~= NAME or #(pod.spec.schedulingGates or {}) > 0 then return false end
  local s = pod.status or {}
  return s.phase == "Pending" and not s.containerStatuses
end

local function look(cluster, key, self, scale)
  local namespace, name = key:match "^(.-)/(.*)$"
  local pod = inside.view(cluster, "pods", namespace, name)
  if not pod or not is_ours(pod) then return end
  if unknown_image(pod) then
    local left = clock.parse(pod.metadata.creationTimestamp) + PATIENCE * scale - cluster:now()
    if left > 0 then return self:later(key, left) end
  end
  local waits = cluster.volumes and cluster.volumes:missing(pod)
  if waits then
    refuse(cluster, pod, ("0/%d nodes are available: %s."):format(cluster.store:collection("nodes").count, waits))
    return self:later(key, 1)
  end
  local node, reasons, count = choose(cluster, pod)
  if not node then
    refuse(cluster, pod, why_text(reasons, count))
    return self:later(key, 1)
  end
  if cluster.volumes and not cluster.volumes:assume(pod, node) then return self:later(key, 0.05) end
  local _, code, problem = cluster:call("POST", ("/api/v1/namespaces/%s/pods/%s/binding"):format(namespace, name), {
    manager = "kube-scheduler",
    body = { metadata = { name = name }, target = { kind = "Node", name = node.metadata.name } },
  })
  if code >= 300 and code ~= 404 and code ~= 409 then error(problem and problem.message or tostring(code), 0) end
  if code < 300 then
    base.event(cluster, inside.with_kind(cluster, "pods", pod), "Normal", "Scheduled",
      ("Successfully assigned %s/%s to %s"):format(namespace, name, node.metadata.name), NAME)
  end
end

---@param cluster lab.Cluster
---@param options {time_scale: number?}
---@return lab.Controller
function M.start(cluster, options)
  local scale = options.time_scale or 1
  return base.new(cluster, {
    name = "scheduler",
    on = function(collection, event, add)
      if collection == "pods" and not event.removed and event.record.fields["spec.nodeName"] == "" then
        add(event.record.key)
      end
    end,
    look = function(key, self) look(cluster, key, self, scale) end,
  })
end

M.pods = pods

return M
