-- policy.status: what is served in a cluster, from what its replicas write, the lease and the webhook configurations.
-- Not for one host: its second port has /status.
--   status.read(client, { release = "kfhost-policy", namespace = "kfhost-system" }).good

local json = require "json"
local registration = require "policy.serve.registration"
local reports = require "policy.serve.report"
local time = require "kube.time"
local webhooks = require "policy.webhooks"

local M = {}

local SILENT = require "policy.serve.rollout".SILENT -- seconds after which a replica is taken for gone

local function age_of(text)
  local moment = time.parse(tostring(text))
  return moment and os.time() - moment or math.huge
end

---@param status table of a replica
---@return boolean whether it has written nothing for so long that it is taken for gone
function M.is_silent(status)
  return age_of(status.time) > SILENT
end

-- Whether replicas are pods: then one whose pod is not there has ended, however recently it wrote.
local function are_pods(client, options)
  return client.try:get("deployments.apps", options.release, { namespace = options.namespace }) ~= nil
end

local function is_gone(client, options, identity, pods)
  if not pods then return false end
  local pod, problem = client.try:get("pods", identity, { namespace = options.namespace })
  return pod == nil and problem.status == 404
end

local function replicas_of(client, options, holder)
  local list, errors = json.array {}, json.array {}
  local pods = are_pods(client, options)
  for identity, one in pairs(reports.read(client, options)) do
    one.identity = identity
    one.gone = M.is_silent(one) or is_gone(client, options, identity, pods)
    one.leads = holder == nil and one.leads or holder == identity
    list[#list + 1] = one
    for _, problem in ipairs(one.errors or {}) do
      errors[#errors + 1] = { identity = identity, time = problem.time, message = problem.message }
    end
  end
  table.sort(list, function(a, b) return a.identity < b.identity end)
  table.sort(errors, function(a, b) return a.time < b.time end)
  return list, errors
end

local function holder_of(client, options)
  local lease, problem = client.try:get("leases.coordination.k8s.io", options.release,
    { namespace = options.namespace })
  if not lease and problem.status ~= 404 then error(problem, 0) end
  return lease and lease.spec.holderIdentity or nil
end

-- The configurations of a release that are there, and those that replicas miss.
local function configurations_of(client, options, replicas)
  local list, states = json.array {}, {}
  for _, one in ipairs(replicas) do
    if not one.gone then
      for name, state in pairs(one.configurations or {}) do
        if not states[name] or state ~= "right" then states[name] = state end
      end
    end
  end
  for _, object in ipairs(M.configurations(client, options)) do
    local name = object.metadata.name
    list[#list + 1] = { kind = object.kind, name = name, webhooks = #(object.webhooks or {}),
      state = states[name] or "nobody looks after it" }
    states[name] = nil
  end
  for name, state in pairs(states) do list[#list + 1] = { name = name, webhooks = 0, state = state } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

---What the replicas that live have written.
---@param client table of kube.connect
---@param options {release: string, namespace: string}
---@return table<string, table> statuses by identity
function M.living(client, options)
  local statuses = {}
  for _, one in ipairs((replicas_of(client, options))) do
    if not one.gone then statuses[one.identity] = one end
  end
  return statuses
end

---The webhook configurations of a release.
---@param client table of kube.connect
---@param options {release: string, namespace: string}
---@return table[] objects with their kind
function M.configurations(client, options)
  local list = {}
  for _, place in ipairs(webhooks.places(options.release, options.namespace)) do
    local object, problem = client.try:get(registration.KINDS[place.kind], place.name)
    if not object and problem.status ~= 404 then error(problem, 0) end
    local labels = object and object.metadata.labels or {}
    if labels["app.kubernetes.io/managed-by"] == "kfhost" then
      object.kind = place.kind
      list[#list + 1] = object
    end
  end
  return list
end

-- What the one that registers waits for, or what replicas lack that others have registered.
local function waits_of(replicas)
  local list = json.array {}
  for _, one in ipairs(replicas) do
    for _, text in ipairs(not one.gone and one.waits or {}) do list[#list + 1] = text end
  end
  return list
end

local function summary_of(status, wanted)
  local ready, sets = 0, {}
  for _, one in ipairs(status.replicas) do
    if one.ready and not one.gone then ready = ready + 1 end
    if not one.gone then sets[one.set] = true end
  end
  status.ready = ready
  local first, second = next(sets), next(sets, next(sets))
  if #status.replicas == 0 then return "not served", false end
  if ready == 0 then return "no replica is ready", false end
  if second then return "its replicas serve different sets", false end
  if wanted and wanted ~= first then return "what is served is not what these files say", false end
  return ("%d of %d replicas ready, set %s"):format(ready, #status.replicas, first:sub(1, 12)), true
end

---@param client table of kube.connect
---@param options {release: string, namespace: string, set: string?} set: the hash that is to be served
---@return {release: string, namespace: string, good: boolean, summary: string, leader: string?, ready: integer,
---  replicas: table[], configurations: table[], waits: string[], errors: table[]}
function M.read(client, options)
  local holder = holder_of(client, options)
  if holder == "" then holder = nil end
  local status = { release = options.release, namespace = options.namespace, leader = holder }
  status.replicas, status.errors = replicas_of(client, options, holder)
  status.configurations = configurations_of(client, options, status.replicas)
  status.waits = waits_of(status.replicas)
  status.summary, status.good = summary_of(status, options.set)
  return status
end

return M
