-- lab.controllers.revisions: the templates that a stateful or daemon set has had, as ControllerRevisions.
-- Not for the pods of these templates.
--   local revision, list = revisions.sync(cluster, "apps/statefulsets", set)

local hash = require "hash"
local inside = require "lab.inside"
local json = require "json"
local pods = require "lab.controllers.pods"
local writes = require "lab.writes"

local M = {}

local REVISION, MANAGER = "apps/controllerrevisions", "kube-controller-manager"

---The label by which pods name their revision.
M.LABEL = "controller-revision-hash"

---The template that a revision keeps.
---@param revision table
---@return table
function M.template(revision)
  local copy = json.decode(json.encode(revision.data.spec.template))
  copy["$patch"] = nil
  return copy
end

local function same(revision, set) return writes.same(M.template(revision), set.spec.template) end

local function make(cluster, stored, set, number)
  local template = json.decode(json.encode(set.spec.template))
  template["$patch"] = "replace"
  local mark = hash.sha256(json.encode(set.spec.template, { sort = true })):sub(1, 10)
  local labels = json.decode(json.encode(template.metadata and template.metadata.labels or {}))
  labels["controller.kubernetes.io/hash"], labels[M.LABEL] = mark, mark
  local annotations = {}
  for name, value in pairs(set.metadata.annotations or {}) do annotations[name] = value end
  local made, problem = inside.create(cluster, REVISION, {
    metadata = { name = set.metadata.name .. "-" .. mark, namespace = set.metadata.namespace, labels = labels,
                 annotations = annotations, ownerReferences = json.array { inside.owner(cluster, stored, set) } },
    data = { spec = { template = template } }, revision = number }, MANAGER)
  if not made then error(problem, 0) end
  return made
end

-- What was the template before becomes the last one again.
local function renew(cluster, revision, number)
  inside.change(cluster, REVISION, revision.metadata.namespace, revision.metadata.name, nil, MANAGER, function(new)
    new.revision = number
  end)
  return inside.view(cluster, REVISION, revision.metadata.namespace, revision.metadata.name) or revision
end

---The revision of a set's template, which is made or made the last one if it has to be.
---@param stored string collection of the set
---@param set table
---@return table revision
---@return table[] revisions all, the oldest first
function M.sync(cluster, stored, set)
  local list = pods.claim(cluster, REVISION, stored, set)
  table.sort(list, function(a, b) return a.revision < b.revision end)
  local last = list[#list]
  if last and same(last, set) then return last, list end
  local number = last and last.revision + 1 or 1
  for i, revision in ipairs(list) do
    if same(revision, set) then
      table.remove(list, i)
      list[#list + 1] = renew(cluster, revision, number)
      return list[#list], list
    end
  end
  list[#list + 1] = make(cluster, stored, set, number)
  return list[#list], list
end

---What a revision is called by its pods.
---@param revision table
---@return string
function M.mark(revision) return revision.metadata.labels["controller.kubernetes.io/hash"] end

---Deletes the oldest revisions that no pod has, beyond what is to be kept.
---@param list table[] the oldest first
---@param used table<string, boolean> names of revisions that are in use
function M.forget(cluster, set, list, used)
  local idle = {}
  for _, revision in ipairs(list) do
    if not used[revision.metadata.name] then idle[#idle + 1] = revision end
  end
  for i = 1, #idle - (set.spec.revisionHistoryLimit or 10) do
    inside.delete(cluster, REVISION, idle[i].metadata.namespace, idle[i].metadata.name)
  end
end

return M
