-- lab.admission.limits: LimitRange: defaults and bounds of containers, pods and claims.
-- Not for sums over a namespace (lab.admission.quota).
--   limits.default(ctx, attributes); limits.validate(ctx, attributes)

local meta = require "lab.meta"
local quantities = require "lab.quantities"
local status = require "lab.status"
local store = require "lab.store"

local M = {}

local function ranges_of(ctx, namespace)
  local records = ctx.cluster.store:collection("limitranges"):records(namespace)
  local list = {}
  for i, record in ipairs(records) do list[i] = store.view(record) end
  return list
end

local function items(ranges, kind)
  local list = {}
  for _, range in ipairs(ranges) do
    for _, item in ipairs(range.spec and range.spec.limits or {}) do
      if item.type == kind then list[#list + 1] = item end
    end
  end
  return list
end

-- Fills in one map; the names that were set.
local function fill(container, map_name, values)
  local set = {}
  local resources = container.resources
  for _, name in ipairs(meta.sorted_names(values or {})) do
    local map = resources[map_name] or {}
    if map[name] == nil then
      map[name] = values[name]
      resources[map_name] = map
      set[#set + 1] = name
    end
  end
  return set
end

local function note(notes, set, what, container, field)
  if #set > 0 then
    notes[#notes + 1] = ("%s %s for %scontainer %s"):format(table.concat(set, ", "), what,
      field == "initContainers" and "init " or "", container.name)
  end
end

function M.default(ctx, a)
  local ranges = ranges_of(ctx, a.namespace)
  if #ranges == 0 then return end
  local pod = a.object
  local notes = {}
  for _, item in ipairs(items(ranges, "Container")) do
    for _, field in ipairs { "initContainers", "containers" } do
      for _, container in ipairs(pod.spec[field] or {}) do
        note(notes, fill(container, "requests", item.defaultRequest), "request", container, field)
        note(notes, fill(container, "limits", item.default), "limit", container, field)
      end
    end
  end
  if #notes > 0 then
    pod.metadata.annotations = pod.metadata.annotations or {}
    pod.metadata.annotations["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: " .. table.concat(notes, "; ")
  end
end

-- --- bounds ---------------------------------------------------------------------------------------

local function check_max(item, kind, name, limits, faults)
  local most = item.max[name]
  local limit = limits[name]
  if limit == nil then
    faults[#faults + 1] = ("maximum %s usage per %s is %s.  No limit is specified"):format(name, kind, most)
  elseif quantities.compare(limit, most) > 0 then
    faults[#faults + 1] = ("maximum %s usage per %s is %s, but limit is %s"):format(name, kind, most, limit)
  end
end

local function check_min(item, kind, name, requests, faults)
  local least = item.min[name]
  local request = requests[name]
  if request == nil then
    faults[#faults + 1] = ("minimum %s usage per %s is %s.  No request is specified"):format(name, kind, least)
  elseif quantities.compare(request, least) < 0 then
    faults[#faults + 1] = ("minimum %s usage per %s is %s, but request is %s"):format(name, kind, least, request)
  end
end

local function check_item(item, kind, resources, faults)
  for _, name in ipairs(meta.sorted_names(item.min or {})) do
    check_min(item, kind, name, resources.requests or {}, faults)
  end
  for _, name in ipairs(meta.sorted_names(item.max or {})) do
    check_max(item, kind, name, resources.limits or {}, faults)
  end
end

local function sum(spec)
  local totals = { requests = {}, limits = {} }
  for _, container in ipairs(spec.containers or {}) do
    for map_name, total in pairs(totals) do
      for name, value in pairs((container.resources or {})[map_name] or {}) do
        total[name] = total[name] and quantities.add(total[name], value) or value
      end
    end
  end
  return totals
end

function M.validate(ctx, a)
  if a.subresource or a.operation ~= "CREATE" then return end
  local kind = a.resource.stored
  if kind ~= "pods" and kind ~= "persistentvolumeclaims" then return end
  local ranges = ranges_of(ctx, a.namespace)
  if #ranges == 0 then return end
  local faults = {}
  if kind == "pods" then
    for _, item in ipairs(items(ranges, "Container")) do
      for _, field in ipairs { "initContainers", "containers" } do
        for _, container in ipairs(a.object.spec[field] or {}) do
          check_item(item, "Container", container.resources or {}, faults)
        end
      end
    end
    for _, item in ipairs(items(ranges, "Pod")) do check_item(item, "Pod", sum(a.object.spec), faults) end
  else
    local resources = a.object.spec.resources
    for _, item in ipairs(items(ranges, "PersistentVolumeClaim")) do
      check_item(item, "PersistentVolumeClaim", { requests = resources.requests, limits = resources.requests }, faults)
    end
  end
  if #faults == 0 then return end
  local text = #faults == 1 and faults[1] or "[" .. table.concat(faults, ", ") .. "]"
  status.forbidden(a.resource, a.object.metadata.name, text)
end

return M
