-- repl.relations: what belongs to an object: owners, children, events, users; and why it does not come up.
-- Not for lists (repl.objects). The judging parts are pure functions of objects that were read.
--   relations.why(session, "pod/web-0")

local errors = require "errors"
local json = require "json"
local objects = require "repl.objects"
local show = require "repl.show"
local time = require "kube.time"

local M = {}

local function list(value)
  return type(value) == "table" and value or {}
end

local function get(value, ...)
  for index = 1, select("#", ...) do
    if type(value) ~= "table" then return nil end
    value = value[select(index, ...)]
  end
  if value == json.null then return nil end
  return value
end

local function title(object)
  return object.kind .. "/" .. object.metadata.name
end

-- What is there; nothing where the kind is not installed or may not be read.
local function try_list(self, kind, options)
  local found, problem = self:client().try:list(kind, options)
  if problem and errors.is(problem, "Cancelled") then error(problem, 0) end
  return found or {}
end

-- --- events ------------------------------------------------------------------------------------------

local function age(self, stamp)
  local at = type(stamp) == "string" and time.parse(stamp)
  return at and time.age((self.clock or os.time)() - at) or "?"
end

local function last_seen(event)
  return get(event, "lastTimestamp") or get(event, "eventTime") or get(event, "metadata", "creationTimestamp") or ""
end

local function events_of(self, object)
  local found = try_list(self, "events", {
    namespace = object.metadata.namespace or "default",
    fields = "involvedObject.name=" .. object.metadata.name .. ",involvedObject.kind=" .. object.kind,
  })
  table.sort(found, function(a, b) return last_seen(a) < last_seen(b) end)
  return found
end

local function event_lines(self, events)
  local rows = {}
  for index, event in ipairs(events) do
    local times = get(event, "count") or 1
    rows[index] = { "  " .. age(self, last_seen(event)), event.type or "", event.reason or "",
      (times > 1 and ("(%d times) "):format(times) or "") .. (event.message or "") }
  end
  return #rows > 0 and show.grid({}, rows, { lines = 20 }) or "  none\n"
end

-- --- owners and children --------------------------------------------------------------------------------

local CHILD_KINDS = { "pods", "replicasets.apps", "statefulsets.apps", "jobs.batch", "controllerrevisions.apps",
  "persistentvolumeclaims", "services", "trials.kubeflow.org", "suggestions.kubeflow.org", "workflows.argoproj.io" }

-- Everything in the namespace that has an owner, by the owner's uid.
local function children_by_owner(self, namespace)
  local by_owner = {}
  for _, kind in ipairs(CHILD_KINDS) do
    for _, object in ipairs(try_list(self, kind, { namespace = namespace })) do
      for _, owner in ipairs(list(object.metadata.ownerReferences)) do
        by_owner[owner.uid] = by_owner[owner.uid] or {}
        table.insert(by_owner[owner.uid], object)
      end
    end
  end
  return by_owner
end

---Whether a condition of an object is true.
---@param object table
---@param name string
---@return boolean
function M.holds(object, name)
  for _, condition in ipairs(list(get(object, "status", "conditions"))) do
    if condition.type == name and condition.status == "True" then return true end
  end
  return false
end

local function condition_text(object)
  for _, name in ipairs { "Ready", "Available", "Complete", "Failed", "Succeeded", "Running" } do
    if M.holds(object, name) then return name end
  end
end

---One word for the state of an object.
---@param object table
---@return string
function M.state(object)
  for _, status in ipairs(list(get(object, "status", "containerStatuses"))) do
    local reason = get(status, "state", "waiting", "reason")
    if reason then return reason end
  end
  local phase = get(object, "status", "phase") or condition_text(object)
  if phase then return phase end
  local wanted, ready = get(object, "spec", "replicas"), get(object, "status", "readyReplicas")
  return wanted and ("%d/%d"):format(ready or 0, wanted) or ""
end

local function node_of(object, by_owner, marked, seen)
  local text = title(object)
  local state = M.state(object)
  if state ~= "" then text = text .. "  " .. state end
  if object.metadata.uid == marked then text = text .. "  <" end
  local node = { text = text, object = object, children = {} }
  if seen[object.metadata.uid] then return node end
  seen[object.metadata.uid] = true
  local children = by_owner[object.metadata.uid] or {}
  table.sort(children, function(a, b) return title(a) < title(b) end)
  for index, child in ipairs(children) do node.children[index] = node_of(child, by_owner, marked, seen) end
  return node
end

local function owner_of(self, object)
  for _, owner in ipairs(list(object.metadata.ownerReferences)) do
    local found = self:client().try:get(owner.apiVersion .. "/" .. owner.kind, owner.name, {
      namespace = object.metadata.namespace,
    })
    if found then return found end
  end
end

---The tree around an object: from its topmost owner down.
function M.tree(self, ...)
  local object = objects.one(self, nil, ...)
  local top = object
  for _ = 1, 10 do
    local owner = owner_of(self, top)
    if not owner then break end
    top = owner
  end
  return show.as_tree(node_of(top, children_by_owner(self, object.metadata.namespace), object.metadata.uid, {}))
end

---The object, its owners, its children, its events.
function M.describe(self, ...)
  local given, options = objects.arguments(...)
  local texts = {}
  for _, reference in ipairs(objects.references(given, nil, options)) do
    local object = objects.object(self, reference)
    local by_owner = object.metadata.namespace and children_by_owner(self, object.metadata.namespace) or {}
    local node = node_of(object, by_owner, nil, {})
    local owner = owner_of(self, object)
    local below = #node.children > 0 and "Children\n  " .. show.tree(node):gsub("\n(.)", "\n  %1") or ""
    local shown = object.kind == "Secret" and require("kube.mask").object(object) or object
    texts[#texts + 1] = ("%s\nOwner\n  %s\n%sEvents\n%s"):format(show.yaml(shown), owner and title(owner) or "none",
      below, event_lines(self, events_of(self, object)))
  end
  return show.as_text({ count = #texts }, table.concat(texts, "\n"))
end

-- --- who uses it -----------------------------------------------------------------------------------------

-- Each reference in a pod's spec: kind, name, and where it stands.
local function pod_references(spec)
  local found = {}
  local function add(kind, name, where)
    if type(name) == "string" then found[#found + 1] = { kind = kind, name = name, where = where } end
  end
  add("ServiceAccount", spec.serviceAccountName, "serviceAccountName")
  for _, volume in ipairs(list(spec.volumes)) do
    local where = "volume " .. volume.name
    add("PersistentVolumeClaim", get(volume, "persistentVolumeClaim", "claimName"), where)
    add("ConfigMap", get(volume, "configMap", "name"), where)
    add("Secret", get(volume, "secret", "secretName"), where)
    for _, source in ipairs(list(get(volume, "projected", "sources"))) do
      add("ConfigMap", get(source, "configMap", "name"), where)
      add("Secret", get(source, "secret", "name"), where)
    end
  end
  for _, pull in ipairs(list(spec.imagePullSecrets)) do add("Secret", pull.name, "imagePullSecrets") end
  for _, field in ipairs { "initContainers", "containers" } do
    for _, container in ipairs(list(spec[field])) do
      for _, variable in ipairs(list(container.env)) do
        add("ConfigMap", get(variable, "valueFrom", "configMapKeyRef", "name"), "env of " .. container.name)
        add("Secret", get(variable, "valueFrom", "secretKeyRef", "name"), "env of " .. container.name)
      end
      for _, from in ipairs(list(container.envFrom)) do
        add("ConfigMap", get(from, "configMapRef", "name"), "envFrom of " .. container.name)
        add("Secret", get(from, "secretRef", "name"), "envFrom of " .. container.name)
      end
    end
  end
  return found
end
M.pod_references = pod_references

local HOLDERS = { "pods", "deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "cronjobs.batch" }

local function spec_of(object)
  if object.kind == "Pod" then return object.spec end
  if object.kind == "CronJob" then return get(object, "spec", "jobTemplate", "spec", "template", "spec") end
  return get(object, "spec", "template", "spec")
end

---Who uses a claim, a secret, a config map or a service account.
function M.used_by(self, ...)
  local object = objects.one(self, nil, ...)
  local rows = {}
  for _, kind in ipairs(HOLDERS) do
    for _, holder in ipairs(try_list(self, kind, { namespace = object.metadata.namespace })) do
      for _, reference in ipairs(pod_references(spec_of(holder) or {})) do
        if reference.kind == object.kind and reference.name == object.metadata.name then
          rows[#rows + 1] = { name = title(holder), namespace = holder.metadata.namespace, where = reference.where }
        end
      end
    end
  end
  if #rows == 0 then return show.as_text({}, ("nothing uses %s\n"):format(title(object))) end
  return rows
end

-- --- why -------------------------------------------------------------------------------------------------

-- Conditions that say that something is not so.
local function bad_conditions(object, add)
  for _, condition in ipairs(list(get(object, "status", "conditions"))) do
    local failed = condition.type == "Failed" or condition.type:find "Pressure" or condition.type:find "Failure"
    local bad = failed and condition.status == "True" or not failed and condition.status == "False"
    if bad and (condition.message or condition.reason) then
      add("condition", ("%s is %s: %s %s"):format(condition.type, condition.status, condition.reason or "",
        condition.message or ""))
    end
  end
end

local function state_text(state)
  local waiting, ended = get(state, "waiting"), get(state, "terminated")
  if waiting and waiting.reason ~= "ContainerCreating" and waiting.reason ~= "PodInitializing" then
    return ("waits: %s %s"):format(waiting.reason or "", waiting.message or "")
  end
  if ended and ended.exitCode ~= 0 then
    return ("ended with %s (%s) %s"):format(ended.exitCode, ended.reason or "", ended.message or "")
  end
end

local function container_states(pod, add)
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, status in ipairs(list(get(pod, "status", field))) do
      local text = state_text(status.state)
      if text then add("container " .. status.name, text) end
      local before = state_text(status.lastState)
      if before then add("container " .. status.name, "last time it " .. before) end
    end
  end
end

-- What a pod needs and is not there, or not ready.
local function missing_parts(self, pod, add)
  local namespace = pod.metadata.namespace
  for _, reference in ipairs(pod_references(pod.spec)) do
    local found, problem = self:client().try:get("v1/" .. reference.kind, reference.name, { namespace = namespace })
    if problem and errors.is(problem, "NotFound") then
      add("missing", ("%s/%s (%s)"):format(reference.kind, reference.name, reference.where))
    elseif found and found.kind == "PersistentVolumeClaim" and get(found, "status", "phase") ~= "Bound" then
      local claim_events = events_of(self, found)
      local last = claim_events[#claim_events]
      add("claim " .. reference.name, ("%s, %s%s"):format(get(found, "status", "phase") or "no phase",
        table.concat(list(get(found, "spec", "accessModes")), ","), last and ": " .. (last.message or "") or ""))
    end
  end
end

---Quotas that have nothing left: pure.
---@param quotas table[]
---@return string[]
function M.full_quotas(quotas)
  local kube, found = require "kube", {}
  for _, quota in ipairs(quotas) do
    local used = list(get(quota, "status", "used"))
    for resource, hard in pairs(list(get(quota, "status", "hard"))) do
      if used[resource] and kube.quantity(used[resource]) >= kube.quantity(hard) then
        found[#found + 1] = ("%s: %s %s of %s"):format(quota.metadata.name, resource, used[resource], hard)
      end
    end
  end
  table.sort(found)
  return found
end

local function surroundings(self, object, add)
  local namespace = object.metadata.namespace
  for _, text in ipairs(M.full_quotas(try_list(self, "resourcequotas", { namespace = namespace }))) do
    add("quota", text)
  end
  local found = self:client().try:get("namespaces", namespace)
  local level = found and get(found, "metadata", "labels", "pod-security.kubernetes.io/enforce")
  local spec = level and spec_of(object)
  for _, violation in ipairs(spec and require("kube").pod_security({ spec = spec, metadata = {} }, level) or {}) do
    add("pod security", ("%s: %s"):format(level, violation.message))
  end
end

local function is_failing(object)
  local state = M.state(object)
  return not (state == "Running" or state == "Succeeded" or state == "Ready" or state == "Complete"
    or state == "Available" or state == "Bound" or state == "Active")
end

-- What is below a workload is where its trouble is.
local function explain_children(self, object, add)
  local below = children_by_owner(self, object.metadata.namespace)
  local function walk(parent, depth)
    for _, child in ipairs(depth < 4 and below[parent.metadata.uid] or {}) do
      if child.kind == "Pod" and is_failing(child) then
        container_states(child, function(what, text) add(title(child) .. " " .. what, text) end)
        bad_conditions(child, function(_, text) add(title(child), text) end)
      end
      for _, event in ipairs(events_of(self, child)) do
        if event.type == "Warning" then add(title(child), (event.reason or "") .. ": " .. (event.message or "")) end
      end
      walk(child, depth + 1)
    end
  end
  walk(object, 1)
end

-- A service nobody answers for.
local function without_pods(self, service, add)
  local wanted = {}
  for key, value in pairs(get(service, "spec", "selector") or {}) do wanted[#wanted + 1] = key .. "=" .. value end
  if #wanted == 0 then return end
  table.sort(wanted)
  local labels, ready = table.concat(wanted, ","), 0
  local pods = try_list(self, "pods", { namespace = service.metadata.namespace, labels = labels })
  for _, pod in ipairs(pods) do
    if M.holds(pod, "Ready") then ready = ready + 1 end
  end
  if #pods == 0 then add("endpoints", "no pod has the labels " .. labels)
  elseif ready == 0 then add("endpoints", ("none of %d pods with %s is ready"):format(#pods, labels)) end
end

---Why an object is pending or fails: one screen.
function M.why(self, ...)
  local object = objects.one(self, nil, ...)
  local rows, seen = {}, {}
  local function add(what, text)
    local row = { name = what, why = (text:gsub("%s+$", ""):gsub("\r?\n", "\n    ")) }
    if not seen[what .. row.why] then rows[#rows + 1] = row end
    seen[what .. row.why] = true
  end
  container_states(object, add)
  bad_conditions(object, add)
  if get(object, "metadata", "deletionTimestamp") and #list(object.metadata.finalizers) > 0 then
    add("deletion", "waits for " .. table.concat(object.metadata.finalizers, ", "))
  end
  if object.kind == "Pod" then missing_parts(self, object, add) end
  if object.kind == "Service" then without_pods(self, object, add) end
  for _, event in ipairs(events_of(self, object)) do
    if event.type == "Warning" then add("event " .. (event.reason or ""), event.message or "") end
  end
  if object.metadata.namespace then
    surroundings(self, object, add)
    if object.kind ~= "Pod" then explain_children(self, object, add) end
  end
  local head = ("%s  %s"):format(title(object), M.state(object)):gsub("%s+$", "") .. "\n"
  if #rows == 0 then return show.as_text({ reasons = rows }, head .. "  nothing speaks against it\n") end
  local lines = {}
  for index, row in ipairs(rows) do lines[index] = ("  %s: %s\n"):format(row.name, row.why) end
  return show.as_text({ reasons = rows }, function(_, given)
    return head .. show.wrapped(table.concat(lines), given.columns, "    ")
  end)
end

return M
