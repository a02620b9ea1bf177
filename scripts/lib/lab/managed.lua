-- lab.managed: who owns which fields (managedFields), for updates and for server-side apply.
-- Not for reading bodies or deciding who may write.
--   managed.created(ctx, resource, object); local merged = managed.apply(ctx, resource, live, applied, force)

local fieldset = require "lab.fieldset"
local json = require "json"
local shape = require "lab.shape"
local status = require "lab.status"

local M = {}

local STRIPPED = { name = true, namespace = true, creationTimestamp = true, selfLink = true, uid = true,
                   generation = true, managedFields = true, resourceVersion = true, deletionTimestamp = true,
                   deletionGracePeriodSeconds = true }

local shapes = setmetatable({}, { __mode = "k" })

local function shape_of(resource)
  local known = shapes[resource]
  if not known then
    known = shape.of(resource)
    shapes[resource] = known
  end
  return known
end

-- --- what counts ----------------------------------------------------------------------------------------

-- An object with only what may be owned through a path: not the server's fields, not what another path writes.
local function tracked(resource, object, subresource)
  local view = json.object {}
  local has_status = resource.subresources.status ~= nil
  for name, value in pairs(object) do
    if name == "metadata" then
      local meta = json.object {}
      for key, inner in pairs(value) do
        if not STRIPPED[key] then meta[key] = inner end
      end
      if next(meta) then view.metadata = meta end
    elseif name == "status" then
      if subresource == "status" or not has_status then view.status = value end
    elseif name ~= "kind" and name ~= "apiVersion" and subresource ~= "status" then
      view[name] = value
    end
  end
  return view
end

-- --- entries --------------------------------------------------------------------------------------------

local function version_of(resource)
  return resource.group == "" and resource.version or resource.group .. "/" .. resource.version
end

---@class lab.Manager
---@field manager string
---@field operation "Update"|"Apply"
---@field apiVersion string
---@field time string
---@field subresource string?
---@field set table

local function read(object)
  local list = {}
  for _, entry in ipairs(object.metadata.managedFields or {}) do
    list[#list + 1] = { manager = entry.manager, operation = entry.operation, apiVersion = entry.apiVersion,
                        time = entry.time, subresource = entry.subresource, set = entry.fieldsV1 or {} }
  end
  return list
end

local function write(object, list)
  local entries = json.array {}
  table.sort(list, function(a, b)
    if a.operation ~= b.operation then return a.operation < b.operation end
    if a.time ~= b.time then return (a.time or "") < (b.time or "") end
    if a.manager ~= b.manager then return a.manager < b.manager end
    return (a.subresource or "") < (b.subresource or "")
  end)
  for _, entry in ipairs(list) do
    if entry.set and next(entry.set) then
      entries[#entries + 1] = { manager = entry.manager, operation = entry.operation, apiVersion = entry.apiVersion,
        time = entry.time, fieldsType = "FieldsV1", fieldsV1 = entry.set, subresource = entry.subresource }
    end
  end
  object.metadata.managedFields = #entries > 0 and entries or nil
end

local function find(list, manager, operation, version, subresource)
  for _, entry in ipairs(list) do
    if entry.manager == manager and entry.operation == operation and entry.subresource == subresource
      and (operation == "Apply" or entry.apiVersion == version) then
      return entry
    end
  end
end

local function union(a, b)
  if not a then return b end
  if not b then return a end
  return fieldset.union(a, b)
end

-- Takes from all managers what was removed, and from all but one what was changed.
local function take(list, keeper, changed, removed)
  for _, entry in ipairs(list) do
    if removed and entry.set then entry.set = fieldset.difference(entry.set, removed) end
    if changed and entry ~= keeper and entry.set then entry.set = fieldset.difference(entry.set, changed) end
  end
end

-- --- updates --------------------------------------------------------------------------------------------

-- Subresources that write through the object are named in the entry.
local NAMED = { status = true, scale = true, ephemeralcontainers = true, resize = true, token = true, binding = true,
                finalize = true }

---Notes who made an object.
---@param ctx lab.Context
---@param resource lab.Resource
---@param object table
function M.created(ctx, resource, object)
  if ctx.applying then return end
  object.metadata.managedFields = nil
  local view = tracked(resource, object)
  local added = fieldset.compare(shape_of(resource), json.object {}, view, not resource.custom)
  if added then
    write(object, { { manager = ctx.manager, operation = "Update", apiVersion = version_of(resource),
                      time = ctx.cluster:time(), set = added } })
  end
end

function M.after_admission() end

local function is_reset(fields)
  return fields and #fields == 1 and type(fields[1]) == "table" and next(fields[1]) == nil
end

---Notes who changed an object.
function M.updated(ctx, resource, object, old, subresource)
  if is_reset(object.metadata.managedFields) then
    object.metadata.managedFields = nil
    return
  end
  local list = read(old)
  if #list == 0 and object.metadata.managedFields == nil then return end
  local named = NAMED[subresource or ""] and subresource or nil
  local added, changed, removed = fieldset.compare(shape_of(resource), tracked(resource, old, subresource),
    tracked(resource, object, subresource), not resource.custom)
  local mine = union(added or nil, changed or nil)
  if not mine and not removed then
    object.metadata.managedFields = old.metadata.managedFields
    return
  end
  local version = version_of(resource)
  local entry = find(list, ctx.manager, "Update", version, named)
  if mine and not entry then
    entry = { manager = ctx.manager, operation = "Update", apiVersion = version, subresource = named, set = nil }
    list[#list + 1] = entry
  end
  take(list, entry, mine, removed or nil)
  if mine then
    entry.set = union(entry.set, mine)
    entry.time = ctx.cluster:time()
  end
  write(object, list)
end

-- --- apply ----------------------------------------------------------------------------------------------

local function copy(value)
  if type(value) ~= "table" then return value end
  return json.decode(json.encode(value))
end

local merge

local function merge_items(s, live, applied)
  local out = json.array {}
  local new, order = fieldset.by_name(s, applied)
  local seen = {}
  local inner = shape.item(s)
  for _, item in ipairs(live) do
    local name = shape.item_name(s, item)
    if name and new[name] ~= nil then
      out[#out + 1] = s.list == "set" and item or merge(inner, item, new[name])
      seen[name] = true
    else
      out[#out + 1] = item
    end
  end
  for _, name in ipairs(order) do
    if not seen[name] then out[#out + 1] = copy(new[name]) end
  end
  return out
end

-- The live value with what is applied laid over it.
merge = function(s, live, applied)
  local parts = shape.parts(s, applied)
  if parts == "one" or live == nil or shape.parts(s, live) ~= parts then return copy(applied) end
  if parts == "items" then return merge_items(s, live, applied) end
  local out = json.object {}
  for name, value in pairs(live) do out[name] = value end
  for name, value in pairs(applied) do out[name] = merge((shape.child(s, name)), live[name], value) end
  return out
end

local prune

-- Whether somebody else owns a place or something below it.
local function owned(tree) return tree ~= nil end

local function prune_items(s, list, last, new, others)
  local out = json.array {}
  local inner = shape.item(s)
  for _, item in ipairs(list) do
    local name = shape.item_name(s, item)
    local was, is, other = name and last[name], name and new[name], name and others[name]
    if was and not is and not owned(other) then -- luacheck: ignore 542
      -- It goes.
    elseif was and type(item) == "table" then
      out[#out + 1] = prune(inner, item, was, is or {}, other or {})
    else
      out[#out + 1] = item
    end
  end
  return out
end

-- A value without what was applied last time and is not any more, unless somebody else owns it.
prune = function(s, value, last, new, others)
  if type(value) ~= "table" or fieldset.is_empty(last) then return value end
  if json.is_array(value) then return s.list and prune_items(s, value, last, new, others) or value end
  for name, was in pairs(last) do
    local key = name:match "^f:(.*)$"
    if key and value[key] ~= nil then
      local is, other = new[name], others[name]
      if not is and not owned(other) then
        value[key] = nil
      else
        value[key] = prune((shape.child(s, key)), value[key], was, is or {}, other or {})
      end
    end
  end
  return value
end

-- --- conflicts ------------------------------------------------------------------------------------------

local function said(entry)
  local text = ('conflict with "%s"'):format(entry.manager)
  if entry.subresource then text = text .. (' with subresource "%s"'):format(entry.subresource) end
  if entry.operation == "Update" then text = text .. " using " .. entry.apiVersion end
  return text
end

local function refuse(conflicts)
  local causes, groups, count = {}, {}, 0
  for _, conflict in ipairs(conflicts) do
    local text = said(conflict.entry)
    for _, path in ipairs(conflict.paths) do
      causes[#causes + 1] = { reason = "FieldManagerConflict", message = text, field = path }
      count = count + 1
    end
    if #conflict.paths == 1 then
      groups[#groups + 1] = ("%s: %s"):format(text, conflict.paths[1])
    else
      groups[#groups + 1] = ("%s:\n- %s"):format((text:gsub("^conflict", "conflicts")),
        table.concat(conflict.paths, "\n- "))
    end
  end
  status.raise(409, "Conflict", ("Apply failed with %d conflict%s: %s"):format(count, count == 1 and "" or "s",
    table.concat(groups, "\n")), { causes = causes })
end

-- What other managers own of what is about to change.
local function conflicts_of(list, mine, changed)
  local found = {}
  for _, entry in ipairs(list) do
    if entry ~= mine and entry.set then
      local common = fieldset.intersection(entry.set, changed)
      if common then found[#found + 1] = { entry = entry, paths = fieldset.paths(common) } end
    end
  end
  return found
end

---Lays an applied object over the live one.
---@param ctx lab.Context
---@param resource lab.Resource
---@param live table? nil: it is new
---@param applied table
---@param force boolean
---@param subresource string?
---@return table merged with its managedFields; raises Conflict
function M.apply(ctx, resource, live, applied, force, subresource)
  local s = shape_of(resource)
  local view = tracked(resource, applied, subresource)
  local set = fieldset.applied(s, view)
  local list = live and read(live) or {}
  local named = NAMED[subresource or ""] and subresource or nil
  if live and #list == 0 then
    local before = fieldset.every(s, tracked(resource, live))
    list[1] = { manager = "before-first-apply", operation = "Update", apiVersion = version_of(resource),
                time = ctx.cluster:time(), set = before }
  end
  local entry = find(list, ctx.manager, "Apply", nil, named)
  local last = entry and entry.set or {}
  local others = {}
  for _, other in ipairs(list) do
    if other ~= entry and other.set then others = union(others, other.set) end
  end
  local merged = merge(s, live and copy(live) or json.object {}, applied)
  merged = prune(s, merged, last, set, others)
  merged.kind, merged.apiVersion = applied.kind, applied.apiVersion
  local base = live and tracked(resource, live, subresource) or json.object {}
  local added, changed, removed = fieldset.compare(s, base, tracked(resource, merged, subresource),
    not resource.custom)
  local touched = union(added or nil, changed or nil)
  if touched then
    local found = conflicts_of(list, entry, touched)
    if #found > 0 and not force then refuse(found) end
  end
  local unchanged = entry and fieldset.same(entry.set, set)
  if not entry then
    entry = { manager = ctx.manager, operation = "Apply", subresource = named }
    list[#list + 1] = entry
  end
  take(list, entry, touched, removed or nil)
  entry.set, entry.apiVersion = set, version_of(resource)
  if not unchanged or touched or removed then entry.time = ctx.cluster:time() end
  write(merged, list)
  return merged
end

return M
