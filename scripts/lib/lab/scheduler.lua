-- lab.scheduler: a node for each pod: selectors, affinity, taints, room, volumes; the least loaded of those that fit.
-- Not for the weights by which several preferences are made one.
--   require "lab.scheduler".start(cluster, options)

local base = require "lab.controllers.base"
local clock = require "lab.clock"
local conditions = require "lab.conditions"
local image = require "lab.image"
local inside = require "lab.inside"
local json = require "json"
local match = require "lab.match"
local pods = require "lab.controllers.pods"
local preemption = require "lab.scheduling.preemption"
local room = require "lab.scheduling.room"
local spread = require "lab.scheduling.spread"
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

-- Whether a pod's selector and affinity allow a node.
local function chosen_by(pod, node)
  local selector = pod.spec.nodeSelector
  if selector and not match.selects({ matchLabels = selector }, node.metadata.labels) then return false end
  local affinity = pod.spec.affinity and pod.spec.affinity.nodeAffinity
  local required = affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution
  return not required or any_term(required, node)
end

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
  if not chosen_by(pod, node) then return AFFINITY end
end

---Why a pod may not be on a node, but for its room.
M.check_node = check_node

-- --- other pods -----------------------------------------------------------------------------------------

local function topology_of(nodes, name, key)
  local node = nodes[name]
  return node and (node.metadata.labels or {})[key]
end

local function term_meets(term, other, namespace)
  local spaces, selector = term.namespaces, term.namespaceSelector
  local in_space = other.metadata.namespace == namespace or selector and next(selector) == nil
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

-- Whether a pod that is there wants this one not near.
local function avoids(pod, node, nodes, loads)
  for name, load in pairs(loads) do
    for _, other in ipairs(load.pods) do
      for _, term in ipairs(required_terms(other, "podAntiAffinity")) do
        local here = (node.metadata.labels or {})[term.topologyKey]
        if here and topology_of(nodes, name, term.topologyKey) == here
          and term_meets(term, pod, other.metadata.namespace) then
          return true
        end
      end
    end
  end
  return false
end

-- --- choosing -------------------------------------------------------------------------------------------

local function preferred(pod, kind)
  local affinity = pod.spec.affinity and pod.spec.affinity[kind]
  return affinity and affinity.preferredDuringSchedulingIgnoredDuringExecution or {}
end

-- How many pods that meet a term are near a node.
local function count_near(term, pod, node, nodes, loads)
  local here, count = (node.metadata.labels or {})[term.topologyKey], 0
  for name, load in pairs(here and loads or {}) do
    if topology_of(nodes, name, term.topologyKey) == here then
      for _, other in ipairs(load.pods) do
        if term_meets(term, other, pod.metadata.namespace) then count = count + 1 end
      end
    end
  end
  return count
end

-- What a pod would rather have: weights of its affinities, and no taint that only asks to stay away.
local function preference(pod, node, nodes, loads)
  local score = 0
  for _, one in ipairs(preferred(pod, "nodeAffinity")) do
    if term_fits(one.preference, node) then score = score + one.weight end
  end
  for kind, sign in pairs { podAffinity = 1, podAntiAffinity = -1 } do
    for _, one in ipairs(preferred(pod, kind)) do
      score = score + sign * one.weight * count_near(one.podAffinityTerm, pod, node, nodes, loads)
    end
  end
  for _, taint in ipairs(node.spec and node.spec.taints or {}) do
    if taint.effect == "PreferNoSchedule" and not tolerated(pod, taint) then score = score - 100 end
  end
  return score
end

local function ready(node) return conditions.holds(node.status, "Ready") end

-- Why a pod may not be on a node whatever else is there, or while this is there.
local function judge(pod, node, nodes, loads, volumes)
  local load = loads[node.metadata.name] or room.empty()
  local for_ever = not ready(node) and "node(s) were not ready" or check_node(pod, node)
    or not has_company(pod, node, nodes, loads) and "node(s) didn't match pod affinity rules" or nil
  if for_ever then return { for_ever }, false end
  local reasons = room.refuses(pod, node, load)
  if reasons then return reasons, true end
  local why = is_avoided(pod, node, nodes, loads) and "node(s) didn't match pod anti-affinity rules"
    or avoids(pod, node, nodes, loads) and "node(s) didn't satisfy existing pods anti-affinity rules"
  if why then return { why }, true end
  why = spread.refuses(pod, node, nodes, loads, function(other) return chosen_by(pod, other) end)
  if why then return { why }, not why:find("missing", 1, true) end
  why = volumes and volumes:refuses(pod, node)
  if why then return { why }, false end
end

local function nodes_of(cluster)
  local nodes, list = {}, {}
  for _, record in ipairs(cluster.store:collection("nodes"):records()) do
    nodes[record.name] = store.view(record)
    list[#list + 1] = nodes[record.name]
  end
  return nodes, list
end

---@class lab.Refusals why a pod fits nowhere
---@field reasons table<string, integer> how many nodes say what
---@field count integer nodes
---@field passing integer of them those where it might fit if others were not there

-- The best node for a pod; without one, why each refuses.
local function choose(cluster, pod, nodes, list, loads)
  local best, best_score
  local refusals = { reasons = {}, count = #list, passing = 0 }
  for _, node in ipairs(list) do
    local reasons, passing = judge(pod, node, nodes, loads, cluster.volumes)
    if reasons then
      if passing then refusals.passing = refusals.passing + 1 end
      for _, why in ipairs(reasons) do refusals.reasons[why] = (refusals.reasons[why] or 0) + 1 end
    else
      local load = loads[node.metadata.name]
      local score = preference(pod, node, nodes, loads) * 1000 - (load and #load.pods or 0)
      if not best or score > best_score then best, best_score = node, score end
    end
  end
  return best, refusals
end

local function counted(reasons)
  local texts = {}
  for reason, number in pairs(reasons) do texts[#texts + 1] = number > 0 and ("%d %s"):format(number, reason) or nil end
  table.sort(texts)
  return table.concat(texts, ", ")
end

local function why_text(refusals)
  local count = refusals.count
  if count == 0 then return "no nodes available to schedule pods" end
  return ("0/%d nodes are available: %s. preemption: 0/%d nodes are available: %s."):format(count,
    counted(refusals.reasons), count, counted { ["Preemption is not helpful for scheduling"] = count - refusals.passing,
      ["No preemption victims found for incoming pod"] = refusals.passing })
end

-- Whether other pods make room, or are about to.
local function preempt(cluster, pod, nodes, loads)
  if preemption.is_under_way(pod, loads) then return true end
  local name, victims = preemption.find(pod, nodes, loads, function(node, load)
    local changed = {}
    for other, one in pairs(loads) do changed[other] = one end
    changed[node.metadata.name] = load
    return judge(pod, node, nodes, changed, cluster.volumes)
  end)
  if name and #victims > 0 then preemption.run(cluster, pod, name, victims) end
  return false
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

local AT_ONCE = 16 -- waiting pods that are looked at again when there is room; the others' second comes

-- Those that found no node are looked at again when a node has changed or a pod has ended.
local function wake(waiting, collection, event, add)
  local phase = collection == "pods" and event.record.fields["status.phase"]
  local makes_room = collection == "nodes" or collection == "pods" and (event.removed or phase == "Succeeded"
    or phase == "Failed")
  if not makes_room then return end
  local count = 0
  for key in pairs(waiting) do
    if count == AT_ONCE then return end
    count = count + 1
    add(key)
  end
end

local function look(cluster, key, self, scale, waiting)
  local namespace, name = key:match "^(.-)/(.*)$"
  local pod = inside.view(cluster, "pods", namespace, name)
  waiting[key] = nil
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
  local nodes, list = nodes_of(cluster)
  local loads = room.loads(cluster)
  local node, refusals = choose(cluster, pod, nodes, list, loads)
  if not node then
    waiting[key] = true
    if not preempt(cluster, pod, nodes, loads) then refuse(cluster, pod, why_text(refusals)) end
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
  local scale, waiting = options.time_scale or 1, {}
  return base.new(cluster, {
    name = "scheduler",
    on = function(collection, event, add)
      wake(waiting, collection, event, add)
      if collection == "pods" and not event.removed and event.record.fields["spec.nodeName"] == "" then
        add(event.record.key)
      end
    end,
    look = function(key, self) look(cluster, key, self, scale, waiting) end,
  })
end

M.pods = pods

return M
