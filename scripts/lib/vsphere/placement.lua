-- vsphere.placement: where a pod may run that shares a ReadWriteOnce claim, and why it has to wait.
-- Not for claims (vsphere.claims). Plain functions over a view of the cluster, which may be some seconds old:
--   { pods = {…} of the namespace, claims = {name = claim}, nodes = {name = node}, attachments = {…},
--     limits = {node = volumes}, config = {…}, now = seconds, gate_age = seconds }
-- Example: local verdict = placement.decide(pod, view); print(verdict.lift, verdict.node, verdict.message)

local claims = require "vsphere.claims"
local hash = require "hash"
local nodes = require "vsphere.nodes"
local time = require "kube.time"

local M = {}

M.GATE = "storage.kfhost.io/co-schedule"
M.CLAIM_LABEL = "claim.storage.kfhost.io/"
M.WAITS = "storage.kfhost.io/waits" -- annotation: why the pod is still at the gate

local HOSTNAME = "kubernetes.io/hostname"
local REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
local LABEL_LENGTH = 63

-- --- pods and what they use --------------------------------------------------------------------------------

---The label that the pods of a claim carry: long names are cut, and stay apart by a hash.
---@param claim_name string
---@return string
function M.label(claim_name)
  if #claim_name > LABEL_LENGTH then
    claim_name = claim_name:sub(1, LABEL_LENGTH - 17):gsub("[^%w]+$", "") .. "-" .. hash.sha256(claim_name):sub(1, 16)
  end
  return M.CLAIM_LABEL .. claim_name
end

---@param pod table
---@return string[] names of the claims that it mounts, each once, without those that are made for it alone
function M.claim_names(pod)
  local names, seen = {}, {}
  for _, volume in ipairs(pod.spec.volumes or {}) do
    local name = volume.persistentVolumeClaim and volume.persistentVolumeClaim.claimName
    if name and not seen[name] then names[#names + 1] = name end
    if name then seen[name] = true end
  end
  return names
end

---@param pod table
---@param claim_name string
---@return boolean
function M.uses(pod, claim_name)
  for _, volume in ipairs(pod.spec.volumes or {}) do
    if claims.of_volume(pod, volume) == claim_name then return true end
  end
  return false
end

---@param pod table
---@return boolean
function M.is_gated(pod)
  for _, gate in ipairs(pod.spec.schedulingGates or {}) do
    if gate.name == M.GATE then return true end
  end
  return false
end

---@param pod table
---@return boolean
function M.is_finished(pod)
  local phase = pod.status and pod.status.phase
  return phase == "Succeeded" or phase == "Failed"
end

local function has_term(terms, label)
  for _, term in ipairs(terms or {}) do
    local labels = term.labelSelector and term.labelSelector.matchLabels or {}
    if labels[label] then return true end
  end
  return false
end

-- The names of the shared claims of a pod: those that its affinity asks for.
local function shared_names(pod)
  local affinity, names = pod.spec.affinity and pod.spec.affinity.podAffinity or {}, {}
  for _, name in ipairs(M.claim_names(pod)) do
    if has_term(affinity[REQUIRED], M.label(name)) then names[#names + 1] = name end
  end
  return names
end

-- Other pods that have not ended and use a claim.
local function others(pod, claim_name, view)
  local list = {}
  for _, other in ipairs(view.pods) do
    local same = other.metadata.name == pod.metadata.name
    if not same and not M.is_finished(other) and M.uses(other, claim_name) then list[#list + 1] = other end
  end
  return list
end

-- --- in turn: one pod after the other -----------------------------------------------------------------------

---@param claim table?
---@param config table
---@return "one-node"|"sequential"|"per-step"
function M.sharing(claim, config)
  return claim and claims.annotations(claim)[claims.SHARING] or config.sharing
end

local function comes_before(a, b)
  local first, second = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
  if first ~= second then return first < second end
  return a.metadata.name < b.metadata.name
end

-- Who has the claim, or is to have it before this pod.
local function in_front(pod, claim_name, view)
  for _, other in ipairs(others(pod, claim_name, view)) do
    if not M.is_gated(other) or comes_before(other, pod) then return other end
  end
  return nil
end

-- --- the decision ---------------------------------------------------------------------------------------------

---@class vsphere.Placement
---@field lift boolean whether the pod may go to the scheduler
---@field node string? which it is bound to
---@field reason string of the event
---@field message string
---@field warn boolean whether that is a warning

local function wait(reason, message, ...)
  return { lift = false, warn = false, reason = reason, message = message:format(...) }
end

local function age_of(pod, view)
  local text = pod.metadata.creationTimestamp
  local made = type(text) == "string" and time.parse(text)
  return made and view.now - made or 0
end

local function node_of_disk(claim, view)
  for _, attachment in ipairs(claim and view.attachments or {}) do
    local volume = attachment.spec.source.persistentVolumeName
    local is_its = volume ~= nil and volume == claim.spec.volumeName and not attachment.metadata.deletionTimestamp
    if is_its then return attachment.spec.nodeName end
  end
  return nil
end

-- Where a claim is in use, on nodes that are well: where one of these has the disk, the others only wait for it.
local function uses_of(pod, name, view, notes)
  local disk, uses = node_of_disk(view.claims[name], view), {}
  for _, user in ipairs(others(pod, name, view)) do
    local node = user.spec.nodeName
    local use = node and ("%s by %s on %s"):format(name, user.metadata.name, node)
    local trouble = node and nodes.trouble(view.nodes[node])
    if trouble then
      notes[#notes + 1] = ("%s is in use by %s on %s, which %s"):format(name, user.metadata.name, node, trouble)
    elseif node == disk and disk then
      return { { node = node, text = use } }
    elseif node then
      uses[#uses + 1] = { node = node, text = use }
    end
  end
  return uses
end

-- The nodes where the claims of a pod are in use, and the troubles of those that do not count.
local function nodes_in_use(pod, names, view)
  local list, by_node, notes = {}, {}, {}
  for _, name in ipairs(names) do
    for _, use in ipairs(uses_of(pod, name, view, notes)) do
      if not by_node[use.node] then list[#list + 1] = use.node end
      by_node[use.node] = by_node[use.node] or use.text
    end
  end
  table.sort(list)
  return list, by_node, notes
end

local IN_TURN = "claim %s is used by one pod after the other: %s comes first"

-- Whose turn it is, of the claims that are used one pod after the other.
local function turn_of(pod, names, view)
  for _, name in ipairs(names) do
    local first = M.sharing(view.claims[name], view.config) == "sequential" and in_front(pod, name, view)
    if first then return { claim = name, name = first.metadata.name, pod = first } end
  end
  return nil
end

local function covers(pod, names)
  for _, name in ipairs(names) do
    if not M.uses(pod, name) then return false end
  end
  return true
end

-- Whether the scheduler has found no node for a pod, so far.
local function is_unschedulable(pod)
  for _, condition in ipairs(pod.status and pod.status.conditions or {}) do
    if condition.type == "PodScheduled" and condition.reason == "Unschedulable" then return true end
  end
  return false
end

local function is_on_its_way(pod)
  return not M.is_gated(pod) and not pod.spec.nodeName and not is_unschedulable(pod)
end

-- A pod that was let go and has no node yet, and that the affinity of this one does not follow: for the scheduler that
-- holds only between pods of which the one that is there has all the claims of the other.
local function on_its_way(pod, names, view)
  for _, name in ipairs(names) do
    for _, other in ipairs(others(pod, name, view)) do
      if is_on_its_way(other) and not covers(other, names) then return name, other end
    end
  end
  return nil
end

-- Where a pod may go whose claims are in use on a node: there, if that will do.
local function beside(pod, node, use, view)
  local why = nodes.refuses(pod, view.nodes[node])
  if why then return wait("ClaimElsewhere", "%s, where this pod may not run: %s", use, why) end
  if nodes.free_places(pod, node, view) < 0 then
    return wait("NodeFull", "%s, but %s cannot take more volumes", use, node)
  end
  return { lift = true, node = node, warn = false, reason = "ClaimOnNode", message = "in use: " .. use }
end

-- The decision but for time.
local function decided(pod, names, view)
  local claim, other = on_its_way(pod, names, view)
  if claim then
    return wait("ClaimOnItsWay", "claim %s goes where %s will be, which has no node yet", claim, other.metadata.name)
  end
  local list, by_node, notes = nodes_in_use(pod, names, view)
  if #list > 1 then
    return wait("ClaimsApart", "its claims are in use on different nodes: %s; %s", by_node[list[1]], by_node[list[2]])
  end
  if list[1] then return beside(pod, list[1], by_node[list[1]], view) end
  if #notes > 0 then
    return { lift = true, warn = true, reason = "ClaimOnLostNode",
      message = table.concat(notes, "; ") .. ": it starts once that pod has ended and the disk is free" }
  end
  return { lift = true, warn = false, reason = "ClaimFree", message = "no pod has its claims on a node" }
end

-- A pod that waited too long goes: to its node, where that is known, else anywhere.
local function gone_at_last(verdict, config)
  local where = verdict.node and "it starts there" or "it starts where the scheduler finds room"
  return { lift = true, node = verdict.node, warn = true, reason = "GateTooOld",
    message = ("waited longer than %s for its claims (%s); %s"):format(config.gate_age, verdict.message, where) }
end

---Whether a gated pod may go, and where to. One that waited too long goes, unless another pod has the claim in turn.
---@param pod table
---@param view table
---@return vsphere.Placement
function M.decide(pod, view)
  local names = shared_names(pod)
  local first = turn_of(pod, names, view)
  local verdict = first and wait("ClaimInTurn", IN_TURN, first.claim, first.name) or decided(pod, names, view)
  local is_old = age_of(pod, view) > view.gate_age
  if is_old and not (first and first.pod.spec.nodeName) then return gone_at_last(verdict, view.config) end
  return verdict
end

-- --- what a pod gets -----------------------------------------------------------------------------------------

local function affinity_terms(pod)
  pod.spec.affinity = pod.spec.affinity or {}
  local affinity = pod.spec.affinity
  affinity.podAffinity = affinity.podAffinity or {}
  affinity.podAffinity[REQUIRED] = affinity.podAffinity[REQUIRED] or {}
  return affinity.podAffinity[REQUIRED]
end

---Keeps a new pod beside the others of a claim: a label, and the affinity to it.
---@param pod table
---@param claim_name string
function M.join(pod, claim_name)
  local label = M.label(claim_name)
  pod.metadata.labels = pod.metadata.labels or {}
  pod.metadata.labels[label] = "true"
  local terms = affinity_terms(pod)
  if has_term(terms, label) then return end
  terms[#terms + 1] = { labelSelector = { matchLabels = { [label] = "true" } }, topologyKey = HOSTNAME }
end

---@param pod table
function M.close_gate(pod)
  pod.spec.schedulingGates = pod.spec.schedulingGates or {}
  if not M.is_gated(pod) then table.insert(pod.spec.schedulingGates, { name = M.GATE }) end
end

---Gives a pod a volume of its own in the place of a claim: empty, or as a snapshot was.
---@param pod table
---@param claim table
function M.own_volume(pod, claim)
  local snapshot = claims.annotations(claim)[claims.SNAPSHOT]
  local template = { spec = { accessModes = { "ReadWriteOnce" }, resources = claim.spec.resources,
    storageClassName = claims.class(claim), dataSource = snapshot
      and { apiGroup = "snapshot.storage.k8s.io", kind = "VolumeSnapshot", name = snapshot } or nil } }
  for _, volume in ipairs(pod.spec.volumes) do
    local source = volume.persistentVolumeClaim
    if source and source.claimName == claim.metadata.name then
      volume.persistentVolumeClaim, volume.ephemeral = nil, { volumeClaimTemplate = template }
    end
  end
end

-- Each term is narrowed, for a node has to fit one of them; one that is empty fits none, and has to stay so.
local function narrowed(affinity, node)
  local there = affinity and affinity.nodeAffinity and affinity.nodeAffinity[REQUIRED]
  local terms = {}
  for i, term in ipairs(there and there.nodeSelectorTerms or {}) do
    local fields = { table.unpack(term.matchFields or {}) }
    local is_empty = #fields + #(term.matchExpressions or {}) == 0
    if not is_empty then fields[#fields + 1] = { key = "metadata.name", operator = "In", values = { node } } end
    terms[i] = is_empty and term or { matchExpressions = term.matchExpressions, matchFields = fields }
  end
  if #terms == 0 then
    terms[1] = { matchFields = { { key = "metadata.name", operator = "In", values = { node } } } }
  end
  return { nodeAffinity = { [REQUIRED] = { nodeSelectorTerms = terms } } }
end

---The one merge patch that binds a pod to its node and lifts our gate, and only ours; it is refused when the pod
---has changed meanwhile.
---@param pod table
---@param verdict vsphere.Placement
---@return table
function M.lifting(pod, verdict)
  local gates = require "json".array {}
  for _, gate in ipairs(pod.spec.schedulingGates or {}) do
    if gate.name ~= M.GATE then gates[#gates + 1] = gate end
  end
  local metadata = { resourceVersion = pod.metadata.resourceVersion }
  if claims.annotations(pod)[M.WAITS] then metadata.annotations = { [M.WAITS] = require "json".null } end
  return { metadata = metadata,
    spec = { schedulingGates = gates, affinity = verdict.node and narrowed(pod.spec.affinity, verdict.node) or nil } }
end

---Labels of ours that a pod has lost or that were edited: without them the next pods would not find it.
---@param pod table
---@return table<string, string>? labels nil when all are there
function M.lost_labels(pod)
  local labels, lost = pod.metadata.labels or {}, nil
  for _, name in ipairs(shared_names(pod)) do
    if labels[M.label(name)] ~= "true" then
      lost = lost or {}
      lost[M.label(name)] = "true"
    end
  end
  return lost
end

return M
