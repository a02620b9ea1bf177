-- repl.workloads: small changes of objects, and what is done with workloads and nodes: patch, label, annotate,
-- rollout, cordon, drain, wait. Not for whole objects (repl.changes), whose ways of asking and undoing hold here too.
--   workloads.label(session, "pod/web-0", "team=a", "old-")

local changes = require "repl.changes"
local errors = require "errors"
local json = require "json"
local objects = require "repl.objects"
local relations = require "repl.relations"
local show = require "repl.show"
local task = require "task"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- The same change of each object that is named; `done` is what is said of it then.
local function each(self, word, list, options, body, done, kind)
  return changes.patch_each(self, list, body, options, { question = word .. " %s", done = "%s " .. done, type = kind })
end

-- --- patch, label, annotate ---------------------------------------------------------------------------------

local TYPES = { merge = true, json = true, strategic = true }

---Changes parts of an object: patch("deploy/web", "spec: {paused: true}").
function M.patch(self, ...)
  local given, options = objects.arguments(...)
  if #given < 2 then fail "patch KIND/NAME YAML [--type merge|json|strategic]" end
  local body = table.remove(given)
  if type(body) == "string" then body = require("yaml").decode(body) end
  if type(body) ~= "table" then fail "the patch is no object" end
  local kind = options.type or "strategic"
  if not TYPES[kind] then fail("--type is merge, json or strategic, not '%s'", kind) end
  self:check_write "patch"
  return each(self, "patch", objects.references(given, nil, options), options, body, "patched", kind)
end

-- "key=value" and "key-" among the arguments, the others are objects.
local function pairs_of(given)
  local named, values = {}, json.object {}
  for _, argument in ipairs(given) do
    local key, value = tostring(argument):match "^([^=]+)=(.*)$"
    local gone = type(argument) == "string" and #named > 0 and argument:match "^([^=/]*[^=]*)%-$"
    if type(argument) == "string" and key and #named > 0 then values[key] = value
    elseif gone then values[gone] = json.null
    else named[#named + 1] = argument end
  end
  return named, values
end

local function set_pairs(word, field, done)
  return function(self, ...)
    local given, options = objects.arguments(...)
    local named, values = pairs_of(given)
    if next(values) == nil or #named == 0 then fail("%s KIND/NAME… KEY=VALUE… KEY-", word) end
    self:check_write(word)
    return each(self, word, objects.references(named, nil, options), options, { metadata = { [field] = values } }, done)
  end
end

---Sets labels (KEY=VALUE), or removes them (KEY-).
M.label = set_pairs("label", "labels", "labelled")
---Sets annotations (KEY=VALUE), or removes them (KEY-).
M.annotate = set_pairs("annotate", "annotations", "annotated")

-- --- rollouts ------------------------------------------------------------------------------------------------

local function number(value) return math.tointeger(tonumber(value)) or 0 end

-- One line for how far a workload has come, and whether it is there.
local function progress(object)
  local spec, status = object.spec or {}, object.status or {}
  local wanted = object.kind == "DaemonSet" and number(status.desiredNumberScheduled) or number(spec.replicas or 1)
  local updated = number(status.updatedReplicas or status.updatedNumberScheduled)
  local ready = number(status.readyReplicas or status.numberReady)
  local seen = number(status.observedGeneration) >= number(object.metadata.generation)
  local all = number(status.replicas or status.currentNumberScheduled)
  local done = seen and updated >= wanted and ready >= wanted and all <= wanted
  return ("%d of %d updated, %d ready%s"):format(updated, wanted, ready, seen and "" or ", not seen yet"), done
end

local ROLLOUTS = {}

function ROLLOUTS.status(self, reference, options)
  local client, last = self:client(), nil
  local timeout = options.timeout or "10m"
  client:get(reference.kind, reference.name, { namespace = reference.namespace })
  client:wait { kind = reference.kind, name = reference.name, namespace = reference.namespace, timeout = timeout,
    test = function(object)
      local text, done = progress(object)
      if text ~= last then self.out(("%s  %s\n"):format(objects.name_of(reference), text)) end
      last = text
      return done
    end }
  return show.as_text({}, objects.name_of(reference) .. " is rolled out\n")
end

-- The replica sets of a deployment, the newest revision first.
local function revisions(self, deployment)
  local list = {}
  for _, set in ipairs(self:client():list("replicasets.apps", { namespace = deployment.metadata.namespace })) do
    for _, owner in ipairs(set.metadata.ownerReferences or {}) do
      local revision = number((set.metadata.annotations or {})["deployment.kubernetes.io/revision"])
      if owner.uid == deployment.metadata.uid then list[#list + 1] = { set = set, revision = revision } end
    end
  end
  table.sort(list, function(a, b) return a.revision > b.revision end)
  return list
end

local function images_of(set)
  local list = {}
  for _, container in ipairs(set.spec.template.spec.containers) do list[#list + 1] = container.image end
  return table.concat(list, " ")
end

local function deployment_of(self, reference)
  local object = self:client():get(reference.kind, reference.name, { namespace = reference.namespace })
  if object.kind ~= "Deployment" then
    fail("only deployments have revisions, %s has none", objects.name_of(reference))
  end
  return object
end

function ROLLOUTS.history(self, reference)
  local rows = {}
  for index, one in ipairs(revisions(self, deployment_of(self, reference))) do
    rows[index] = { name = one.set.metadata.name, revision = one.revision, images = images_of(one.set),
      replicas = number(one.set.spec.replicas) }
  end
  return rows
end

-- Back to the template of another revision, the one before without a number.
local function undo_plan(self, reference, options)
  local deployment = deployment_of(self, reference)
  local list, wanted = revisions(self, deployment), nil
  for index, one in ipairs(list) do
    if options.to and one.revision == number(options.to) or not options.to and index == 2 then wanted = one end
  end
  if not wanted then fail("%s has no revision %s", objects.name_of(reference), options.to or "before this one") end
  local template = {}
  for key, value in pairs(wanted.set.spec.template) do template[key] = value end
  local metadata = json.object { labels = json.object {}, annotations = template.metadata.annotations }
  for key, value in pairs(template.metadata.labels or {}) do
    if key ~= "pod-template-hash" then metadata.labels[key] = value end
  end
  template.metadata = metadata
  return json.array { { op = "replace", path = "/spec/template", value = template } }, wanted.revision
end

function ROLLOUTS.undo(self, reference, options)
  self:check_write "rollout undo"
  local body, revision = undo_plan(self, reference, options)
  return each(self, "rollout undo", { reference }, options, body, "goes back to revision " .. revision, "json")
end

local function pausing(word, paused, done)
  return function(self, reference, options)
    self:check_write("rollout " .. word)
    return each(self, "rollout " .. word, { reference }, options, { spec = { paused = paused } }, done)
  end
end

ROLLOUTS.pause = pausing("pause", true, "is paused")
ROLLOUTS.resume = pausing("resume", json.null, "goes on")

function ROLLOUTS.restart(self, reference, options)
  self:check_write "restart"
  return changes.restart_each(self, { reference }, options)
end

---What a workload's rollout does: rollout("status", "deploy/web").
function M.rollout(self, what, ...)
  local given, options = objects.arguments(...)
  local run = ROLLOUTS[what] or fail "rollout status|history|undo|pause|resume|restart KIND/NAME"
  return run(self, objects.reference(given, nil, options, "workload"), options)
end

-- --- nodes ---------------------------------------------------------------------------------------------------

local function scheduling(word, value, done)
  return function(self, ...)
    local given, options = objects.arguments(...)
    self:check_write(word)
    return each(self, word, objects.references(given, "nodes", options), options, { spec = { unschedulable = value } },
      done)
  end
end

---No new pod comes to a node.
M.cordon = scheduling("cordon", true, "takes no new pods")
---New pods may come to a node again.
M.uncordon = scheduling("uncordon", json.null, "takes pods again")

-- The pods of a node that leave it: those of daemon sets and of the node itself stay.
local function leaving(self, node)
  local list = {}
  for _, pod in ipairs(self:client():list("pods", { namespace = "*", fields = "spec.nodeName=" .. node })) do
    local stays = (pod.metadata.annotations or {})["kubernetes.io/config.mirror"] ~= nil
    for _, owner in ipairs(pod.metadata.ownerReferences or {}) do stays = stays or owner.kind == "DaemonSet" end
    local over = pod.status.phase == "Succeeded" or pod.status.phase == "Failed"
    if not stays and not over then list[#list + 1] = pod end
  end
  return list
end

-- Asks again while a budget does not allow it.
local function evict(client, pod, timeout)
  task.timeout(timeout, function()
    while true do
      local _, problem = client.try:evict(pod.metadata.name, { namespace = pod.metadata.namespace })
      if not problem or errors.is(problem, "NotFound") then return end
      if not errors.is(problem, "TooManyRequests") then error(problem, 0) end
      task.sleep(2)
    end
  end)
end

---Empties a node: no new pods, and those that are there are evicted, after a question that counts them.
function M.drain(self, ...)
  local given, options = objects.arguments(...)
  self:check_write "drain"
  local client, node = self:client(), objects.reference(given, "nodes", options, "node").name
  client:get("nodes", node)
  local pods, names = leaving(self, node), {}
  for index, pod in ipairs(pods) do
    names[index] = ("  Pod %s/%s\n"):format(pod.metadata.namespace, pod.metadata.name)
  end
  self.out(table.concat(names))
  self:confirm(("drain %s: evict %d pod%s"):format(node, #pods, #pods == 1 and "" or "s"), options.yes)
  client:patch("nodes", node, { spec = { unschedulable = true } }, { type = "merge" })
  for _, pod in ipairs(pods) do evict(client, pod, options.timeout or "5m") end
  return show.as_text({ count = #pods }, ("%s is drained, %d evicted\n"):format(node, #pods))
end

-- --- waiting -------------------------------------------------------------------------------------------------

---Waits until an object has a condition, a phase, or is gone: wait("pod/web-0", "Ready").
function M.wait(self, ...)
  local given, options = objects.arguments(...)
  if #given < 2 then fail "wait KIND/NAME CONDITION|PHASE|gone [--timeout TIME]" end
  local wanted = table.remove(given)
  for _, reference in ipairs(objects.references(given, nil, options)) do
    local query = { kind = reference.kind, name = reference.name, namespace = reference.namespace,
      timeout = options.timeout or "5m" }
    if wanted == "gone" then query.deleted = true
    else
      query.test = function(object)
        return (object.status or {}).phase == wanted or relations.holds(object, wanted)
      end
    end
    self:client():wait(query)
    self.out(("%s  %s\n"):format(objects.name_of(reference), wanted))
  end
end

return M
