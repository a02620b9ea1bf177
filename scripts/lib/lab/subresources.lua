-- lab.subresources: paths below an object: status, scale, binding, eviction, token, log, finalize …
-- Not for what they do to pods that run (lab.node).
--   subresources.run(ctx) -> response

local answer = require "lab.answer"
local clock = require "lab.clock"
local conditions = require "lab.conditions"
local containers = require "kube.containers"
local decode = require "lab.decode"
local json = require "json"
local match = require "lab.match"
local options = require "lab.options"
local patches = require "lab.patches"
local rest = require "lab.rest"
local route = require "lab.route"
local status = require "lab.status"
local store = require "lab.store"
local writes = require "lab.writes"

local M = {}

-- --- parts of an object that are written through a path of their own ------------------------------

local function part(ctx)
  local verb, name = ctx.route.verb, ctx.route.subresource
  if verb == "get" then return rest.get(ctx) end
  if verb == "patch" then
    options.write(ctx, "PatchOptions")
    return answer.object(ctx, 200, (patches.run(ctx, { subresource = name })))
  end
  return rest.update(ctx, name)
end

-- --- scale ----------------------------------------------------------------------------------------

local SCALE = { group = "autoscaling", version = "v1", plural = "scales", kind = "Scale" }

local function at_path(object, path)
  local value = object
  for name in (path or ""):gmatch "[^.]+" do
    if type(value) ~= "table" then return nil end
    value = value[name]
  end
  return value
end

local function set_path(object, path, value)
  local names = {}
  for name in path:gmatch "[^.]+" do names[#names + 1] = name end
  for i = 1, #names - 1 do
    if type(object[names[i]]) ~= "table" then object[names[i]] = json.object {} end
    object = object[names[i]]
  end
  object[names[#names]] = value
end

local DEFAULT_PATHS = { specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas" }

-- The Scale that describes an object.
local function scale_of(resource, object)
  local paths = resource.custom and resource.custom.scale or DEFAULT_PATHS
  local m = object.metadata
  local selector
  if resource.custom then
    selector = at_path(object, paths.labelSelectorPath)
  elseif object.spec.selector then
    selector = match.text(resource.plural == "replicationcontrollers" and { matchLabels = object.spec.selector }
      or object.spec.selector)
  end
  local wanted = at_path(object, paths.specReplicasPath) or 0
  return {
    kind = "Scale", apiVersion = "autoscaling/v1",
    metadata = { name = m.name, namespace = m.namespace, uid = m.uid, resourceVersion = m.resourceVersion,
                 creationTimestamp = m.creationTimestamp },
    spec = json.object { replicas = wanted ~= 0 and wanted or nil },
    status = { replicas = at_path(object, paths.statusReplicasPath) or 0, selector = selector },
  }
end

local function check_scale(name, scale)
  local causes = status.causes()
  local replicas = scale.spec and scale.spec.replicas or 0
  if replicas < 0 then causes:invalid("spec.replicas", replicas, "must be greater than or equal to 0") end
  status.check(SCALE, name, causes)
  return replicas
end

-- The Scale that a request asks for, from the one that is.
local function wanted_scale(ctx)
  if ctx.route.verb == "update" then
    local scale = decode.table(ctx, "Scale")
    return function() return scale end
  end
  local kind = patches.kind_of(ctx)
  if kind == "apply" then
    local scale = require("yaml").decode(ctx.request.body)
    return function(now) return { metadata = scale.metadata or now.metadata, spec = scale.spec } end
  end
  local patch = patches.parse(ctx, kind)
  return function(now)
    return patches.APPLY[kind == "strategic" and "merge" or kind](now, patch)
  end
end

local function scale(ctx)
  local resource = ctx.resource
  if ctx.route.verb == "get" then
    return answer.value(ctx, 200, scale_of(resource, store.view(rest.record(ctx))))
  end
  options.write(ctx, ctx.route.verb == "update" and "UpdateOptions" or "PatchOptions")
  local wanted = wanted_scale(ctx)
  local path = resource.custom and resource.custom.scale.specReplicasPath or ".spec.replicas"
  local bytes = writes.update(ctx, {
    subresource = "scale", no_version = true,
    make = function(old)
      local asked = wanted(scale_of(resource, old))
      local replicas = check_scale(ctx.route.name, asked)
      local version = asked.metadata and asked.metadata.resourceVersion
      local object = store.copy(old)
      object.metadata.resourceVersion = version
      set_path(object, path, replicas)
      return object
    end,
    review = function(a, object, old)
      a.object, a.old = scale_of(resource, object), scale_of(resource, old)
      a.kind = { group = SCALE.group, version = SCALE.version, kind = SCALE.kind }
    end,
  })
  return answer.value(ctx, 200, scale_of(resource, json.decode(bytes)))
end

-- --- pods -----------------------------------------------------------------------------------------

local function set_condition(list, condition)
  for i, one in ipairs(list) do
    if one.type == condition.type then
      list[i] = condition
      return list
    end
  end
  list[#list + 1] = condition
  return list
end

---Binds a pod to a node.
local function bind(ctx, name, target, metadata)
  local node = type(target) == "table" and target.name or ""
  if node == "" then
    local causes = status.causes()
    causes:required("target.name")
    status.check({ group = "", kind = "Binding" }, name, causes)
  end
  writes.update(ctx, {
    subresource = "binding", resource = ctx.cluster.registry:find("", "v1", "pods"), name = name,
    make = function(old)
      if (old.spec.nodeName or "") ~= "" then
        status.conflict({ group = "", plural = "pods/binding" }, name,
          ('pod %s is already assigned to node "%s"'):format(name, old.spec.nodeName))
      end
      local object = store.copy(old)
      object.spec.nodeName = node
      for _, field in ipairs { "labels", "annotations" } do
        for key, value in pairs(metadata and metadata[field] or {}) do
          object.metadata[field] = object.metadata[field] or {}
          object.metadata[field][key] = value
        end
      end
      object.status.nominatedNodeName = nil
      object.status.conditions = set_condition(object.status.conditions or json.array {}, {
        type = "PodScheduled", status = "True", lastProbeTime = json.null, lastTransitionTime = ctx.cluster:time(),
      })
      return object
    end,
  })
end

local function binding(ctx)
  options.write(ctx, "CreateOptions")
  local body = decode.table(ctx, "Binding")
  bind(ctx, ctx.route.name, body.target, body.metadata)
  return answer.value(ctx, 201, status.success(nil, 201))
end

---POST of a Binding to the collection `bindings`.
function M.bindings(ctx)
  options.write(ctx, "CreateOptions")
  local body = decode.table(ctx, "Binding")
  local name = body.metadata and body.metadata.name
  if not name then status.bad_request "name must be provided" end
  ctx.route.name = name
  bind(ctx, name, body.target, body.metadata)
  return answer.value(ctx, 201, status.success(nil, 201))
end

local BUDGET = "policy/poddisruptionbudgets"

local function disruption_refused(budget)
  local s = budget.status or {}
  status.raise(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", {
    causes = { { reason = "DisruptionBudget", message =
      ("The disruption budget %s needs %d healthy pods and has %d currently"):format(
        budget.metadata.name, s.desiredHealthy or 0, s.currentHealthy or 0) } },
  })
end

-- A pod that serves nobody may go when enough others serve, or always, as the budget says.
local function is_unguarded(budget, pod)
  if conditions.holds(pod.status, "Ready") then return false end
  if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow" then return true end
  local s = budget.status or {}
  return (s.desiredHealthy or 0) > 0 and (s.currentHealthy or 0) >= s.desiredHealthy
end

local function budget_of(ctx, pod)
  local found
  for _, record in ipairs(ctx.cluster.store:collection(BUDGET):records(ctx.route.namespace)) do
    local budget = store.view(record)
    if match.selects(budget.spec.selector, pod.metadata.labels) then
      if found then
        status.plain_500("This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
          .. "support.")
      end
      found = budget
    end
  end
  return found
end

local function check_budget(budget)
  local s = budget.status or {}
  if (s.observedGeneration or 0) < (budget.metadata.generation or 1) then
    status.raise(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", {
      causes = { { reason = "DisruptionBudget", message =
        ("The disruption budget %s is still being processed by the server."):format(budget.metadata.name) } },
      retryAfterSeconds = 10,
    }, { ["Retry-After"] = "10" })
  end
  if (s.disruptionsAllowed or 0) <= 0 then disruption_refused(budget) end
end

-- One disruption fewer is allowed at once, so that another eviction does not count on the same one.
local function spend(ctx, budget, pod)
  local c = ctx.cluster:collection(ctx.cluster.registry:any("policy", "poddisruptionbudgets"))
  local record = c:get(budget.metadata.namespace, budget.metadata.name)
  local object = store.object(record)
  object.status.disruptionsAllowed = object.status.disruptionsAllowed - 1
  object.status.disruptedPods = object.status.disruptedPods or {}
  object.status.disruptedPods[pod.metadata.name] = ctx.cluster:time()
  ctx.cluster.store:write(c, record, object, record.fields)
end

local function guard(ctx, pod)
  local phase = pod.status and pod.status.phase
  if phase == "Succeeded" or phase == "Failed" or phase == "Pending" or pod.metadata.deletionTimestamp then return end
  local budget = budget_of(ctx, pod)
  if not budget or is_unguarded(budget, pod) then return end
  check_budget(budget)
  if not ctx.dry_run then spend(ctx, budget, pod) end
end

local function eviction(ctx)
  options.write(ctx, "CreateOptions")
  local body = decode.table(ctx, "Eviction")
  local record = rest.record(ctx)
  local delete = body.deleteOptions or {}
  if delete.dryRun and #delete.dryRun > 0 then ctx.dry_run = true end
  guard(ctx, store.view(record))
  if not ctx.dry_run then
    writes.update(ctx, { subresource = "eviction", make = function(old)
      local object = store.copy(old)
      object.status.conditions = set_condition(object.status.conditions or json.array {}, {
        type = "DisruptionTarget", status = "True", reason = "EvictionByEvictionAPI",
        message = "Eviction API: evicting", lastProbeTime = json.null, lastTransitionTime = ctx.cluster:time(),
      })
      return object
    end })
    record = rest.record(ctx)
  end
  ctx.options = { kind = "DeleteOptions", apiVersion = "meta.k8s.io/v1" }
  require("lab.deletes").run(ctx, record, delete)
  return answer.value(ctx, 201, status.success(nil, 201))
end

local function containers_of(pod)
  local names, known = {}, {}
  for _, one in ipairs(containers.of(pod.spec)) do
    known[one.container.name] = true
    if one.field ~= "ephemeralContainers" then names[#names + 1] = one.container.name end
  end
  return names, known
end

---The container that a request for a log or a command means.
function M.container(ctx, pod)
  local wanted = ctx.query.container and ctx.query.container[1] or ""
  local names, known = containers_of(pod)
  local name = pod.metadata.name
  if wanted ~= "" then
    if not known[wanted] then status.bad_request("container %s is not valid for pod %s", wanted, name) end
    return wanted
  end
  if #pod.spec.containers == 1 then return pod.spec.containers[1].name end
  local annotations = pod.metadata.annotations or {}
  local default = annotations["kubectl.kubernetes.io/default-container"]
  if default and known[default] then return default end
  local main = {}
  for i, container in ipairs(pod.spec.containers) do main[i] = container.name end
  local text = ("a container name must be specified for pod %s, choose one of: [%s]"):format(name,
    table.concat(main, " "))
  if #names > #main then
    local inits = {}
    for i, container in ipairs(pod.spec.initContainers) do inits[i] = container.name end
    text = text .. (" or one of the init containers: [%s]"):format(table.concat(inits, " "))
  end
  status.bad_request("%s", text)
end

local function log(ctx)
  local pod = store.view(rest.record(ctx))
  local container = M.container(ctx, pod)
  if ctx.cluster.nodes and (pod.spec.nodeName or "") ~= "" then return ctx.cluster.nodes:log(ctx, pod, container) end
  return { status = 204, headers = { ["Cache-Control"] = "no-cache, private" } }
end

local CONNECTS = { exec = "PodExecOptions", attach = "PodAttachOptions", portforward = "PodPortForwardOptions" }

-- Admission is asked about connections, too: of the options, which have a kind of their own.
local function admit(ctx)
  local subresource = ctx.route.subresource
  local asked = json.object { kind = CONNECTS[subresource], apiVersion = "v1" }
  for name, values in pairs(ctx.query) do
    if name == "command" then asked.command = json.array { table.unpack(values) }
    elseif name == "container" then asked.container = values[1]
    elseif name:find "^std" or name == "tty" then asked[name] = route.is_on(ctx.query, name) or nil end
  end
  ctx.cluster.admission:connect(ctx, { operation = "CONNECT", resource = ctx.resource, subresource = subresource,
    kind = { group = "", version = "v1", kind = asked.kind }, object = asked, name = ctx.route.name,
    namespace = ctx.route.namespace, dry_run = false })
end

local function stream(ctx)
  local pod = store.view(rest.record(ctx))
  admit(ctx)
  local container = M.container(ctx, pod)
  if not ctx.cluster.nodes then status.bad_request("pod %s does not have a host assigned", pod.metadata.name) end
  return ctx.cluster.nodes[ctx.route.subresource](ctx.cluster.nodes, ctx, pod, container)
end

-- --- namespaces -----------------------------------------------------------------------------------

local function finalize(ctx)
  options.write(ctx, "UpdateOptions")
  local body = decode.object(ctx, ctx.resource)
  local finalizers = body.spec and body.spec.finalizers or json.array {}
  local bytes = writes.update(ctx, { subresource = "finalize", make = function(old)
    local object = store.copy(old)
    object.spec = object.spec or {}
    object.spec.finalizers = #finalizers > 0 and finalizers or nil
    return object
  end })
  return answer.object(ctx, 200, bytes)
end

local HANDLERS = {
  status = part, scale = scale, ephemeralcontainers = part, resize = part, binding = binding, eviction = eviction,
  log = log, exec = stream, attach = stream, portforward = stream, finalize = finalize,
  token = function(ctx) return require("lab.reviews").token(ctx) end,
}

---@param ctx lab.Context
---@return table response
function M.run(ctx)
  local sub = ctx.resource.subresources[ctx.route.subresource]
  if not sub or not HANDLERS[ctx.route.subresource] then status.no_resource() end
  local allowed = false
  for _, verb in ipairs(sub.verbs) do allowed = allowed or verb == ctx.route.verb end
  if not allowed then status.method_not_allowed() end
  return HANDLERS[ctx.route.subresource](ctx)
end

M.set_condition, M.clock = set_condition, clock

return M
