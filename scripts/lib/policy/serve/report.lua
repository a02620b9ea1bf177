-- policy.serve.report: how each replica is, in a ConfigMap of the service: what it has loaded, whether it is ready and
-- leads, what failed last. Not for objects: errors name policies, places and reviews.
--   report.write(client, { release =, namespace =, identity = }, report.status(set, { ready = true }))

local errors = require "errors"
local host = require "host"
local json = require "json"
local paths = require "policy.serve.paths"

local M = {}

local MANAGER = "kfhost-policy"
M.FINALIZER = "policy.kfhost.io/" -- before the name of a watch
M.EVERY = 20 -- seconds after which a status is written again although it has not changed

---@param release string
---@return string name of the ConfigMap
function M.name(release)
  return release .. "-status"
end

-- What this set holds on objects: an uninstall of another release leaves it there.
local function finalizers_of(description)
  local list = json.array {}
  for _, watch in ipairs(description.watches) do
    if watch.finalize then list[#list + 1] = M.FINALIZER .. watch.name end
  end
  return list
end

---@param set policy.Set
---@param now {ready: boolean, why: string?, leads: boolean, errors: table[], configurations: table, waits: string[],
---  address: string}
---@return table status
function M.status(set, now)
  local files = json.array {}
  for i, file in ipairs(set.description.files) do files[i] = file.stem end
  local description = set.description
  return { version = host.version, pid = host.pid(), set = set.hash, files = files, policies = #description.policies,
    watches = #description.watches, schedules = #description.schedules, ready = now.ready, why = now.why,
    leads = now.leads, errors = json.array(now.errors), configurations = json.object(now.configurations),
    paths = paths.of(description), finalizers = finalizers_of(description), address = now.address,
    waits = json.array(now.waits), time = os.date "!%Y-%m-%dT%H:%M:%SZ" }
end

local function patch(client, options, value)
  return client:patch("configmaps", M.name(options.release), { data = { [options.identity] = value } },
    { namespace = options.namespace, type = "merge", manager = MANAGER })
end

-- Where webhooks are registered from elsewhere, the namespace is of the same hand.
local function make_namespace(client, name)
  local made, problem = client.try:create({ apiVersion = "v1", kind = "Namespace", metadata = { name = name,
    labels = { ["app.kubernetes.io/part-of"] = "kfhost" } } }, { manager = MANAGER })
  if not made and problem.code ~= "AlreadyExists" then error(problem, 0) end
end

---@param client table of kube.connect
---@param options {release: string, namespace: string, identity: string, register: boolean?} register: the namespace
---  may be made
---@param status table
function M.write(client, options, status)
  local text = json.encode(status, { sort = true })
  local ok, problem = pcall(patch, client, options, text)
  if ok then return end
  if not errors.is(problem, "NotFound") then error(problem, 0) end
  if options.register and not client.try:get("namespaces", options.namespace) then
    make_namespace(client, options.namespace)
  end
  client:create({ apiVersion = "v1", kind = "ConfigMap", metadata = { name = M.name(options.release),
    namespace = options.namespace, labels = { ["app.kubernetes.io/part-of"] = "kfhost" } },
    data = { [options.identity] = text } }, { manager = MANAGER })
end

---This replica ends, or another one has.
---@param identity string? of the other one
function M.remove(client, options, identity)
  patch(client, { release = options.release, namespace = options.namespace, identity = identity or options.identity },
    json.null)
end

local function statuses_in(map)
  local statuses = {}
  for identity, text in pairs(map and map.data or {}) do statuses[identity] = json.try.decode(text) end
  return statuses
end

---@param client table of kube.connect
---@param options {release: string, namespace: string}
---@return table<string, table> statuses by the identity of the replica
function M.read(client, options)
  local found, problem = client.try:get("configmaps", M.name(options.release), { namespace = options.namespace })
  if not found and problem.status ~= 404 then error(problem, 0) end
  return statuses_in(found)
end

---What the replicas of other releases have written.
---@param client table of kube.connect
---@param options {release: string, namespace: string} of the one that is left out
---@return table[] statuses
function M.others(client, options)
  local list = {}
  for map in client:each("configmaps", { namespace = "*", labels = "app.kubernetes.io/part-of=kfhost" }) do
    local metadata = map.metadata
    local own = metadata.namespace == options.namespace and metadata.name == M.name(options.release)
    if not own and metadata.name:find "%-status$" then
      for _, status in pairs(statuses_in(map)) do list[#list + 1] = status end
    end
  end
  return list
end

return M
