-- lab.columns: what kubectl shows of each built-in kind.
-- Not for custom resources: their definitions say it.
--   require "lab.columns"      registers all with lab.tables

local clock = require "lab.clock"
local json = require "json"
local match = require "lab.match"
local tables = require "lab.tables"

local define, since = tables.define, tables.since

local NONE = "<none>"

local function or_none(value)
  if value == nil or value == "" then return NONE end
  return value
end

local function age(object, now) return since(object.metadata.creationTimestamp, now) end

local function count(map)
  local n = 0
  for _ in pairs(map or {}) do n = n + 1 end
  return n
end

local function joined(list, field)
  local texts = {}
  for i, item in ipairs(list or {}) do texts[i] = field and item[field] or item end
  return #texts > 0 and table.concat(texts, ",") or NONE
end

-- --- pods -----------------------------------------------------------------------------------------

local function container_reason(status, reason)
  local state = status.state or {}
  if state.waiting and (state.waiting.reason or "") ~= "" then return state.waiting.reason end
  if state.terminated then
    if (state.terminated.reason or "") ~= "" then return state.terminated.reason end
    if (state.terminated.signal or 0) ~= 0 then return "Signal:" .. state.terminated.signal end
    return "ExitCode:" .. (state.terminated.exitCode or 0)
  end
  return reason
end

-- What the column Status says while init containers run; and the number of restarts so far.
local function init_reason(pod, reason)
  local restarts, busy = 0, false
  local sidecars = {}
  for _, container in ipairs(pod.spec.initContainers or {}) do
    sidecars[container.name] = container.restartPolicy == "Always"
  end
  local total = #(pod.spec.initContainers or {})
  for i, status in ipairs(pod.status.initContainerStatuses or {}) do
    restarts = restarts + (status.restartCount or 0)
    local state = status.state or {}
    local done = state.terminated and state.terminated.exitCode == 0
    local serves = sidecars[status.name] and status.started
    if not done and not serves and not busy then
      busy = true
      if state.terminated then
        reason = "Init:" .. container_reason(status, "")
      elseif state.waiting and (state.waiting.reason or "") ~= "" and state.waiting.reason ~= "PodInitializing" then
        reason = "Init:" .. state.waiting.reason
      else
        reason = ("Init:%d/%d"):format(i - 1, total)
      end
    end
  end
  return reason, restarts, busy
end

local function pod_summary(pod)
  local status = pod.status or {}
  pod.status = status
  local reason = status.reason or status.phase or ""
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == "PodScheduled" and condition.reason == "SchedulingGated" then reason = "SchedulingGated" end
  end
  local restarts, ready, running = 0, 0, false
  local init_restarts, busy
  reason, init_restarts, busy = init_reason(pod, reason)
  local sidecar_ready = 0
  for _, s in ipairs(status.initContainerStatuses or {}) do
    if s.ready and s.started and s.state and s.state.running then sidecar_ready = sidecar_ready + 1 end
  end
  if busy then
    restarts = init_restarts
  else
    local list = status.containerStatuses or {}
    for i = #list, 1, -1 do
      local s = list[i]
      restarts = restarts + (s.restartCount or 0)
      if s.state and s.state.running then
        if s.ready then
          running, ready = true, ready + 1
        end
      else
        reason = container_reason(s, reason)
      end
    end
    if reason == "Completed" and running then reason = "Running" end
  end
  if pod.metadata.deletionTimestamp then
    reason = status.reason == "NodeLost" and "Unknown" or "Terminating"
  end
  return reason, ready + sidecar_ready, restarts
end

local function gates(pod)
  local wanted = pod.spec.readinessGates
  if not wanted or #wanted == 0 then return NONE end
  local true_count = 0
  for _, gate in ipairs(wanted) do
    for _, condition in ipairs(pod.status.conditions or {}) do
      if condition.type == gate.conditionType and condition.status == "True" then true_count = true_count + 1 end
    end
  end
  return ("%d/%d"):format(true_count, #wanted)
end

local function last_restart(pod, now)
  local last
  for _, s in ipairs(pod.status.containerStatuses or {}) do
    local ended = s.lastState and s.lastState.terminated and s.lastState.terminated.finishedAt
    if ended and (not last or ended > last) then last = ended end
  end
  return last and (" (%s ago)"):format(since(last, now)) or ""
end

-- What clients that hide what is over go by.
local ENDED = {
  Succeeded = '[{"type":"Completed","status":"True","reason":"Succeeded",'
    .. '"message":"The pod has completed successfully."}]',
  Failed = '[{"type":"Completed","status":"True","reason":"Failed","message":"The pod failed."}]',
}

define("pods", { { "Name" }, { "Ready" }, { "Status" }, { "Restarts" }, { "Age" }, { "IP", priority = 1 },
                 { "Node", priority = 1 }, { "Nominated Node", priority = 1 }, { "Readiness Gates", priority = 1 } },
  function(pod, now)
    local reason, ready, restarts = pod_summary(pod)
    local total = #pod.spec.containers
    for _, container in ipairs(pod.spec.initContainers or {}) do
      if container.restartPolicy == "Always" then total = total + 1 end
    end
    local restart_text = tostring(restarts) .. (restarts > 0 and last_restart(pod, now) or "")
    return { pod.metadata.name, ("%d/%d"):format(ready, total), reason, restart_text, age(pod, now),
             or_none(pod.status.podIP), or_none(pod.spec.nodeName), or_none(pod.status.nominatedNodeName), gates(pod) }
  end, function(pod) return ENDED[pod.status.phase] end)

-- --- core -----------------------------------------------------------------------------------------

define("namespaces", { { "Name" }, { "Status" }, { "Age" } }, function(o, now)
  return { o.metadata.name, o.status and o.status.phase or "", age(o, now) }
end)

define("configmaps", { { "Name" }, { "Data" }, { "Age" } }, function(o, now)
  return { o.metadata.name, count(o.data) + count(o.binaryData), age(o, now) }
end)

define("secrets", { { "Name" }, { "Type" }, { "Data" }, { "Age" } }, function(o, now)
  return { o.metadata.name, o.type, count(o.data), age(o, now) }
end)

define("serviceaccounts", { { "Name" }, { "Age" } }, function(o, now) return { o.metadata.name, age(o, now) } end)

local function ports_of(ports)
  local texts = {}
  for i, port in ipairs(ports or {}) do
    texts[i] = port.nodePort and ("%d:%d/%s"):format(port.port, port.nodePort, port.protocol)
      or ("%d/%s"):format(port.port, port.protocol)
  end
  return #texts > 0 and table.concat(texts, ",") or NONE
end

local function external_of(service)
  local spec = service.spec
  if spec.type == "ExternalName" then return or_none(spec.externalName) end
  if spec.type == "LoadBalancer" then
    local first = service.status and service.status.loadBalancer and service.status.loadBalancer.ingress
    if first and first[1] then return first[1].ip or first[1].hostname end
    return "<pending>"
  end
  return joined(spec.externalIPs)
end

define("services", { { "Name" }, { "Type" }, { "Cluster-IP" }, { "External-IP" }, { "Port(s)" }, { "Age" },
                     { "Selector", priority = 1 } }, function(o, now)
  local selector = o.spec.selector and match.text { matchLabels = o.spec.selector } or ""
  return { o.metadata.name, o.spec.type, or_none(o.spec.clusterIP), external_of(o), ports_of(o.spec.ports), age(o, now),
           or_none(selector) }
end)

local SHORT_MODES = { ReadWriteOnce = "RWO", ReadOnlyMany = "ROX", ReadWriteMany = "RWX", ReadWriteOncePod = "RWOP" }

local function modes_of(modes)
  local texts = {}
  for i, mode in ipairs(modes or {}) do texts[i] = SHORT_MODES[mode] or mode end
  return table.concat(texts, ",")
end

define("persistentvolumeclaims", { { "Name" }, { "Status" }, { "Volume" }, { "Capacity" }, { "Access Modes" },
                                   { "StorageClass" }, { "VolumeAttributesClass" }, { "Age" },
                                   { "VolumeMode", priority = 1 } }, function(o, now)
  local s = o.status or {}
  local phase = o.metadata.deletionTimestamp and "Terminating" or s.phase or ""
  local bound = (o.spec.volumeName or "") ~= ""
  return { o.metadata.name, phase, o.spec.volumeName or "", bound and s.capacity and s.capacity.storage or "",
           bound and modes_of(s.accessModes) or "", o.spec.storageClassName or "",
           o.spec.volumeAttributesClassName or "<unset>", age(o, now), o.spec.volumeMode or "<unset>" }
end)

define("persistentvolumes", { { "Name" }, { "Capacity" }, { "Access Modes" }, { "Reclaim Policy" }, { "Status" },
                              { "Claim" }, { "StorageClass" }, { "VolumeAttributesClass" }, { "Reason" }, { "Age" },
                              { "VolumeMode", priority = 1 } }, function(o, now)
  local claim = o.spec.claimRef and o.spec.claimRef.namespace .. "/" .. o.spec.claimRef.name or ""
  local phase = o.metadata.deletionTimestamp and "Terminating" or o.status and o.status.phase or ""
  return { o.metadata.name, o.spec.capacity and o.spec.capacity.storage or "", modes_of(o.spec.accessModes),
           o.spec.persistentVolumeReclaimPolicy, phase, claim, o.spec.storageClassName or "",
           o.spec.volumeAttributesClassName or "<unset>", o.status and o.status.reason or "", age(o, now),
           o.spec.volumeMode or "<unset>" }
end)

define("nodes", { { "Name" }, { "Status" }, { "Roles" }, { "Age" }, { "Version" }, { "Internal-IP", priority = 1 },
                  { "External-IP", priority = 1 }, { "OS-Image", priority = 1 }, { "Kernel-Version", priority = 1 },
                  { "Container-Runtime", priority = 1 } }, function(o, now)
  local s = o.status or {}
  local state = "Unknown"
  for _, condition in ipairs(s.conditions or {}) do
    if condition.type == "Ready" then state = condition.status == "True" and "Ready" or "NotReady" end
  end
  if o.spec and o.spec.unschedulable then state = state .. ",SchedulingDisabled" end
  local roles = {}
  for name in pairs(o.metadata.labels or {}) do
    local role = name:match "^node%-role%.kubernetes%.io/(.+)$"
    if role then roles[#roles + 1] = role end
  end
  table.sort(roles)
  local addresses = {}
  for _, address in ipairs(s.addresses or {}) do addresses[address.type] = address.address end
  local info = s.nodeInfo or {}
  return { o.metadata.name, state, #roles > 0 and table.concat(roles, ",") or NONE, age(o, now),
           info.kubeletVersion or "", addresses.InternalIP or NONE, addresses.ExternalIP or NONE,
           info.osImage or "<unknown>", info.kernelVersion or "<unknown>", info.containerRuntimeVersion or "<unknown>" }
end)

local function amounts(hard, used, prefix)
  local texts, names = {}, {}
  for name in pairs(hard or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    if (name:find "^limits%." ~= nil) == (prefix == "limits") then
      texts[#texts + 1] = ("%s: %s/%s"):format(name, used and used[name] or "0", hard[name])
    end
  end
  return table.concat(texts, ", ")
end

define("resourcequotas", { { "Name" }, { "Request" }, { "Limit" }, { "Age" } }, function(o, now)
  local s = o.status or {}
  return { o.metadata.name, amounts(s.hard, s.used, "requests"), amounts(s.hard, s.used, "limits"), age(o, now) }
end)

define("limitranges", { { "Name" }, { "Created At", type = "date" } }, tables.CREATED.cells)

define("endpoints", { { "Name" }, { "Endpoints" }, { "Age" } }, function(o, now)
  local list = {}
  for _, subset in ipairs(o.subsets or {}) do
    for _, address in ipairs(subset.addresses or {}) do
      for _, port in ipairs(subset.ports or { {} }) do
        list[#list + 1] = port.port and ("%s:%d"):format(address.ip, port.port) or address.ip
      end
    end
  end
  local more = #list > 3 and (" + %d more..."):format(#list - 3) or ""
  return { o.metadata.name, #list > 0 and table.concat(list, ",", 1, math.min(3, #list)) .. more or NONE, age(o, now) }
end)

define("events", { { "Last Seen" }, { "Type" }, { "Reason" }, { "Object" }, { "Subobject", priority = 1 },
                   { "Source", priority = 1 }, { "Message" }, { "First Seen", priority = 1 },
                   { "Count", priority = 1 }, { "Name", priority = 1 } }, function(o, now)
  local function time(...)
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      if type(value) == "string" then return since(value, now) end
    end
    return "<unknown>"
  end
  local object = o.involvedObject or {}
  local source = o.source and o.source.component or o.reportingComponent or ""
  if o.source and o.source.host then source = source .. ", " .. o.source.host end
  return { time(o.series and o.series.lastObservedTime, o.lastTimestamp, o.eventTime), o.type or "", o.reason or "",
           ("%s/%s"):format((object.kind or ""):lower(), object.name or ""), object.fieldPath or "", source,
           (o.message or ""):match "^%s*(.-)%s*$", time(o.firstTimestamp, o.eventTime), o.count or 1, o.metadata.name }
end)

-- --- workloads ------------------------------------------------------------------------------------

local function template_cells(spec)
  local containers = spec.template and spec.template.spec and spec.template.spec.containers or {}
  return joined(containers, "name"), joined(containers, "image")
end

local WIDE = { { "Containers", priority = 1 }, { "Images", priority = 1 }, { "Selector", priority = 1 } }

local function with_wide(columns) return table.move(WIDE, 1, #WIDE, #columns + 1, columns) end

local function selector_text(selector)
  local text = selector and match.text(selector) or ""
  return or_none(text)
end

define("apps/deployments", with_wide { { "Name" }, { "Ready" }, { "Up-to-date" }, { "Available" }, { "Age" } },
  function(o, now)
    local s = o.status or {}
    local containers, images = template_cells(o.spec)
    return { o.metadata.name, ("%d/%d"):format(s.readyReplicas or 0, o.spec.replicas or 0), s.updatedReplicas or 0,
             s.availableReplicas or 0, age(o, now), containers, images, selector_text(o.spec.selector) }
  end)

define("apps/replicasets", with_wide { { "Name" }, { "Desired" }, { "Current" }, { "Ready" }, { "Age" } },
  function(o, now)
    local s = o.status or {}
    local containers, images = template_cells(o.spec)
    return { o.metadata.name, o.spec.replicas or 0, s.replicas or 0, s.readyReplicas or 0, age(o, now), containers,
             images, selector_text(o.spec.selector) }
  end)

define("apps/statefulsets", { { "Name" }, { "Ready" }, { "Age" }, { "Containers", priority = 1 },
                              { "Images", priority = 1 } }, function(o, now)
  local containers, images = template_cells(o.spec)
  return { o.metadata.name, ("%d/%d"):format(o.status and o.status.readyReplicas or 0, o.spec.replicas or 0),
           age(o, now), containers, images }
end)

define("apps/controllerrevisions", { { "Name" }, { "Controller" }, { "Revision" }, { "Age" } }, function(o, now)
  local maker = NONE
  for _, owner in ipairs(o.metadata.ownerReferences or {}) do
    local group = owner.apiVersion:match "^(.*)/"
    if owner.controller then
      maker = ("%s%s/%s"):format(owner.kind:lower(), group and "." .. group or "", owner.name)
    end
  end
  return { o.metadata.name, maker, o.revision, age(o, now) }
end)

define("apps/daemonsets", with_wide { { "Name" }, { "Desired" }, { "Current" }, { "Ready" }, { "Up-to-date" },
                                      { "Available" }, { "Node Selector" }, { "Age" } }, function(o, now)
  local s = o.status or {}
  local containers, images = template_cells(o.spec)
  local nodes = o.spec.template.spec.nodeSelector
  return { o.metadata.name, s.desiredNumberScheduled or 0, s.currentNumberScheduled or 0, s.numberReady or 0,
           s.updatedNumberScheduled or 0, s.numberAvailable or 0, nodes and match.text { matchLabels = nodes } or NONE,
           age(o, now), containers, images, selector_text(o.spec.selector) }
end)

local function job_status(o)
  local on = {}
  for _, condition in ipairs(o.status and o.status.conditions or {}) do
    on[condition.type] = condition.status == "True"
  end
  if on.Complete then return "Complete" end
  if on.Failed then return "Failed" end
  if o.metadata.deletionTimestamp then return "Terminating" end
  for _, kind in ipairs { "Suspended", "FailureTarget", "SuccessCriteriaMet" } do
    if on[kind] then return kind end
  end
  return "Running"
end

define("batch/jobs", with_wide { { "Name" }, { "Status" }, { "Completions" }, { "Duration" }, { "Age" } },
  function(o, now)
    local s = o.status or {}
    local wanted = o.spec.completions and ("%d/%d"):format(s.succeeded or 0, o.spec.completions)
      or o.spec.parallelism and o.spec.parallelism > 1 and ("%d/1 of %d"):format(s.succeeded or 0, o.spec.parallelism)
      or ("%d/1"):format(s.succeeded or 0)
    local duration = ""
    local started = s.startTime and clock.parse(s.startTime)
    if started then duration = clock.age((clock.parse(s.completionTime) or now) - started) end
    local containers, images = template_cells(o.spec)
    return { o.metadata.name, job_status(o), wanted, duration, age(o, now), containers, images,
             selector_text(o.spec.selector) }
  end)

define("batch/cronjobs", with_wide { { "Name" }, { "Schedule" }, { "Timezone" }, { "Suspend" }, { "Active" },
                                     { "Last Schedule" }, { "Age" } }, function(o, now)
  local spec = o.spec.jobTemplate.spec
  local containers, images = template_cells(spec)
  local last = o.status and o.status.lastScheduleTime
  return { o.metadata.name, o.spec.schedule, or_none(o.spec.timeZone), o.spec.suspend and "True" or "False",
           #(o.status and o.status.active or {}), last and since(last, now) or NONE, age(o, now), containers, images,
           selector_text(spec.selector) }
end)

-- --- the rest -------------------------------------------------------------------------------------

define("storage.k8s.io/storageclasses", { { "Name" }, { "Provisioner" }, { "ReclaimPolicy" }, { "VolumeBindingMode" },
                                          { "AllowVolumeExpansion" }, { "Age" } }, function(o, now)
  local marks = o.metadata.annotations or {}
  local default = marks["storageclass.kubernetes.io/is-default-class"] == "true"
  return { o.metadata.name .. (default and " (default)" or ""), o.provisioner, o.reclaimPolicy, o.volumeBindingMode,
           o.allowVolumeExpansion or false, age(o, now) }
end)

define("coordination.k8s.io/leases", { { "Name" }, { "Holder" }, { "Age" } }, function(o, now)
  return { o.metadata.name, o.spec and o.spec.holderIdentity or "", age(o, now) }
end)

local RBAC = "rbac.authorization.k8s.io/"

define(RBAC .. "roles", tables.CREATED.columns, tables.CREATED.cells)
define(RBAC .. "clusterroles", tables.CREATED.columns, tables.CREATED.cells)

local function binding_cells(o, now)
  local subjects = { User = {}, Group = {}, ServiceAccount = {} }
  for _, subject in ipairs(o.subjects or {}) do
    local list = subjects[subject.kind]
    if list then
      list[#list + 1] = subject.kind == "ServiceAccount" and ("%s/%s"):format(subject.namespace or "", subject.name)
        or subject.name
    end
  end
  return { o.metadata.name, ("%s/%s"):format(o.roleRef.kind, o.roleRef.name), age(o, now),
           table.concat(subjects.User, ", "), table.concat(subjects.Group, ", "),
           table.concat(subjects.ServiceAccount, ", ") }
end

local BINDING = { { "Name" }, { "Role" }, { "Age" }, { "Users", priority = 1 }, { "Groups", priority = 1 },
                  { "ServiceAccounts", priority = 1 } }
define(RBAC .. "rolebindings", BINDING, binding_cells)
define(RBAC .. "clusterrolebindings", BINDING, binding_cells)

define("apiextensions.k8s.io/customresourcedefinitions", { { "Name" }, { "Scope" }, { "Versions" },
  { "Created At", type = "date" }, { "Group", priority = 1 }, { "Kind", priority = 1 }, { "ShortNames", priority = 1 },
  { "Established", priority = 1, type = "boolean" } }, function(o)
  local versions = {}
  for _, version in ipairs(o.spec.versions) do
    if version.served then versions[#versions + 1] = version.name .. (version.storage and "(storage)" or "") end
  end
  local established = false
  for _, condition in ipairs(type(o.status.conditions) == "table" and o.status.conditions or {}) do
    if condition.type == "Established" then established = condition.status == "True" end
  end
  return { o.metadata.name, o.spec.scope, table.concat(versions, ","), o.metadata.creationTimestamp, o.spec.group,
           o.spec.names.kind, table.concat(o.spec.names.shortNames or {}, ","), established }
end)

for _, kind in ipairs { "validatingwebhookconfigurations", "mutatingwebhookconfigurations" } do
  define("admissionregistration.k8s.io/" .. kind, { { "Name" }, { "Webhooks" }, { "Age" } }, function(o, now)
    return { o.metadata.name, #(o.webhooks or {}), age(o, now) }
  end)
end

define("policy/poddisruptionbudgets", { { "Name" }, { "Min Available" }, { "Max Unavailable" },
                                        { "Allowed Disruptions" }, { "Age" } }, function(o, now)
  local function text(value) return value ~= nil and tostring(value) or "N/A" end
  return { o.metadata.name, text(o.spec.minAvailable), text(o.spec.maxUnavailable),
           o.status and o.status.disruptionsAllowed or 0, age(o, now) }
end)

define("scheduling.k8s.io/priorityclasses", { { "Name" }, { "Value" }, { "Global-Default" }, { "Age" },
                                              { "PreemptionPolicy", priority = 1 } }, function(o, now)
  return { o.metadata.name, o.value, o.globalDefault or false, age(o, now), o.preemptionPolicy }
end)

return { json = json }
