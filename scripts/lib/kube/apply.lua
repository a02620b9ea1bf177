-- Server-side apply as a pure function: who owns which field of an object, and what follows when somebody applies
-- a configuration or updates. Not for defaults, validation and storage, which are the API server's (see lab).
--   local object, conflicts = apply.apply(live, config, { manager = "me", type = apply.type_of "v1/ConfigMap" })
local errors = require "errors"
local fields = require "kube.apply.fields"
local json = require "json"
local types = require "kube.apply.types"
local walk = require "kube.apply.walk"

local M = {
  type_of = types.of_kind,
  type_of_openapi = types.of_openapi,
  equal = walk.equal,
}

local MOST_UPDATERS = 10

-- What identifies an object belongs to nobody.
local STRIPPED = fields.decode {
  ["f:apiVersion"] = {}, ["f:kind"] = {},
  ["f:metadata"] = { ["."] = {}, ["f:name"] = {}, ["f:namespace"] = {}, ["f:creationTimestamp"] = {},
    ["f:selfLink"] = {}, ["f:uid"] = {}, ["f:clusterName"] = {}, ["f:generation"] = {}, ["f:managedFields"] = {},
    ["f:resourceVersion"] = {}, ["f:deletionTimestamp"] = {}, ["f:deletionGracePeriodSeconds"] = {} },
}

-- The same for an object that is new, by member: nobody's, or with members that are nobody's.
local NOBODYS = { apiVersion = true, kind = true, metadata = { ["."] = true } }
for element in pairs(STRIPPED.children["f:metadata"].members) do NOBODYS.metadata[element] = true end

---@class kube.apply.Options
---@field manager string # who applies or updates
---@field type table # apply.type_of(kind) or apply.type_of_openapi(schema)
---@field force boolean? # takes over fields of others instead of reporting conflicts
---@field subresource string? # "status", "scale"
---@field time string? # RFC 3339, noted where ownership changed
---@field reset string[]? # fields that this write cannot change: {"status"}, {"spec", "metadata.labels"}

---@class kube.apply.Conflict
---@field manager string # as the API server prints it: "one", or "two" using apps/v1
---@field field string # .spec.replicas
---@field message string # conflict with "one"

-- --- managers -------------------------------------------------------------------------------------

-- Updates are told apart by version too; applying again from another version replaces the first.
local function key_of(entry)
  return table.concat({ entry.manager or "", entry.operation, entry.operation == "Update" and entry.apiVersion or "",
    entry.subresource or "" }, "\0")
end

-- The managers of an object by key; nil when its managedFields make no sense.
local function read_managers(list)
  local managers = {}
  for _, entry in ipairs(list or {}) do
    local known = entry.operation == "Apply" or entry.operation == "Update"
    if not known or not entry.apiVersion or entry.fieldsType ~= "FieldsV1" then return nil end
    managers[key_of(entry)] = { manager = entry.manager, operation = entry.operation, apiVersion = entry.apiVersion,
      subresource = entry.subresource, time = entry.time, set = fields.decode(entry.fieldsV1) }
  end
  return managers
end

local function before(a, b)
  for _, field in ipairs { "operation", "time", "manager", "apiVersion", "subresource" } do
    local x, y = a[field] or "", b[field] or ""
    if x ~= y then return x < y end
  end
  return false
end

local function write_managers(managers)
  local list = json.array {}
  for _, m in pairs(managers) do
    if not fields.is_empty(m.set) then
      list[#list + 1] = json.object { manager = m.manager, operation = m.operation, apiVersion = m.apiVersion,
        subresource = m.subresource, time = m.time, fieldsType = "FieldsV1", fieldsV1 = fields.encode(m.set) }
    end
  end
  table.sort(list, before)
  return list
end

local function with_managers(object, managers)
  local result = walk.copy(object)
  local list = write_managers(managers)
  result.metadata = result.metadata or json.object {}
  result.metadata.managedFields = #list > 0 and list or nil
  return result
end

-- Calls a function with the objects as they are without their owners, which they have again afterwards.
local function unowned(a, b, call, ...)
  local meta_a, meta_b = a.metadata, b.metadata
  local owners_a, owners_b = meta_a and meta_a.managedFields, meta_b and meta_b.managedFields
  if meta_a then meta_a.managedFields = nil end
  if meta_b then meta_b.managedFields = nil end
  local ok, result = pcall(call, a, b, ...)
  if meta_a then meta_a.managedFields = owners_a end
  if meta_b then meta_b.managedFields = owners_b end
  if not ok then error(result, 0) end
  return result
end

local function without_managers(object)
  local result = walk.copy(object)
  if result.metadata then result.metadata.managedFields = nil end
  return result
end

local function reset_set(options)
  local set = fields.new()
  for _, name in ipairs(options.reset or {}) do
    local path = {}
    for part in name:gmatch "[^.]+" do path[#path + 1] = "f:" .. part end
    fields.insert(set, path)
  end
  return set
end

local function filtered(change, reset)
  return { added = fields.without(change.added, reset), removed = fields.without(change.removed, reset),
    modified = fields.without(change.modified, reset) }
end

-- --- changes of ownership -------------------------------------------------------------------------

local function printed(m)
  local text = ("%q"):format(m.manager)
  if m.subresource then text = ("%s with subresource %q"):format(text, m.subresource) end
  if m.operation == "Update" then text = ("%s using %s"):format(text, m.apiVersion) end
  return text
end

-- Takes from all managers but one what changed; returns conflicts instead unless forced, or allowed.
local function take_over(managers, own, change, force, allowed)
  local changed, conflicts = fields.union(change.modified, change.added), {}
  local keys = {}
  for key in pairs(managers) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local m = managers[key]
    local set = key ~= own and fields.intersection(m.set, changed)
    if set and not fields.is_empty(set) then
      fields.each(set, function(path)
        if not allowed or not fields.has(allowed, path) then
          conflicts[#conflicts + 1] = { manager = printed(m), field = fields.text(path),
            message = "conflict with " .. printed(m) }
        end
      end)
    end
  end
  if #conflicts > 0 and not force then return conflicts end
  for _, key in ipairs(keys) do
    local m = managers[key]
    if key ~= own then
      m.set = fields.difference(fields.difference(m.set, fields.intersection(m.set, changed)), change.removed)
    end
    if fields.is_empty(m.set) then managers[key] = nil end
  end
end

-- At most ten updaters keep their names; the oldest become one.
local function cap_updaters(managers)
  local updaters = {}
  for key, m in pairs(managers) do
    if m.operation == "Update" then updaters[#updaters + 1] = key end
  end
  table.sort(updaters, function(a, b)
    local x, y = managers[a].time or "", managers[b].time or ""
    if x ~= y then return x < y end
    return a < b
  end)
  local first, left = {}, #updaters
  for _, key in ipairs(updaters) do
    if left <= MOST_UPDATERS then return end
    local m = managers[key]
    local bucket_entry = { manager = "ancient-changes", operation = "Update", apiVersion = m.apiVersion }
    local bucket = key_of(bucket_entry)
    if first[m.apiVersion] then
      if not managers[bucket] then
        bucket_entry.set = managers[first[m.apiVersion]].set
        managers[first[m.apiVersion]] = nil
        managers[bucket] = bucket_entry
      end
      managers[bucket].set = fields.union(managers[bucket].set, m.set)
      managers[bucket].time = m.time
      managers[key] = nil
      left = left - 1
    else
      first[m.apiVersion] = key
    end
  end
end

-- --- update ---------------------------------------------------------------------------------------

-- What an update from live to object does to the managers.
local function note_update(live, object, managers, entry, options)
  local reset = reset_set(options)
  local change = filtered(unowned(live, object, walk.compare, options.type), reset)
  take_over(managers, nil, change, true)
  local set = fields.without(fields.union(change.modified, change.added), reset)
  set = fields.difference(set, STRIPPED)
  if fields.is_empty(set) then return end
  local key = key_of(entry)
  local previous = managers[key]
  entry.set = previous and fields.union(set, previous.set) or set
  entry.time = options.time
  managers[key] = entry
end

local function is_reset(list)
  if type(list) ~= "table" then return false end
  return #list == 0 or #list == 1 and next(list[1]) == nil
end

-- The managers from which an update goes on: those that the new object carries, else those of the live one.
local function managers_of_update(live, object, options)
  local old = live and live.metadata and live.metadata.managedFields
  local new = object.metadata and object.metadata.managedFields
  if not options.subresource and new and new ~= json.null then
    if is_reset(new) then return {} end
    local managers = read_managers(new)
    if managers and next(managers) then return managers end
  end
  return read_managers(old) or {}
end

-- What who makes an object owns of it; the long way is note_update from an empty object.
local function owners_of_new(object, options)
  local nobodys = setmetatable({}, { __index = NOBODYS })
  for _, name in ipairs(options.reset or {}) do nobodys[name] = true end
  local set = walk.grown(object, options.type, nobodys)
  if next(set) == nil then return nil end
  return json.array { json.object { manager = options.manager, operation = "Update", apiVersion = object.apiVersion,
    subresource = options.subresource, time = options.time, fieldsType = "FieldsV1", fieldsV1 = set } }
end

-- Whether all that a write cannot change are whole members.
local function resets_members(options)
  for _, name in ipairs(options.reset or {}) do
    if name:find(".", 1, true) then return false end
  end
  return true
end

---The managedFields of an object after a create (live is nil), an update or a patch.
---@param live table? # as stored
---@param object table # as it is going to be stored; it is left as it was
---@param options kube.apply.Options
---@return table? # nil when nobody owns anything
function M.owners(live, object, options)
  if not live and not (object.metadata and object.metadata.managedFields) and resets_members(options) then
    return owners_of_new(object, options)
  end
  local managers = managers_of_update(live, object, options)
  -- Nobody tracks this object, or its owners were reset.
  if next(managers) == nil and live then return nil end
  local empty = json.object { apiVersion = object.apiVersion, kind = object.kind }
  note_update(live or empty, object, managers, { manager = options.manager, operation = "Update",
    apiVersion = object.apiVersion, subresource = options.subresource }, options)
  cap_updaters(managers)
  local list = write_managers(managers)
  return #list > 0 and list or nil
end

---An object after a create (live is nil), an update or a patch, with its managedFields.
---@param live table? # as stored
---@param object table # as it is going to be stored
---@param options kube.apply.Options
---@return table # a new object
function M.update(live, object, options)
  local result = walk.copy(object)
  result.metadata = result.metadata or json.object {}
  result.metadata.managedFields = M.owners(live, object, options)
  return result
end

-- --- apply ----------------------------------------------------------------------------------------

-- Removes from the merged object what the manager applied before and no longer does, unless others own it.
local function prune(merged, managers, last, type_)
  if not last or fields.is_empty(last) then return merged end
  local function all(value) return walk.with_parents(walk.fields(value, type_), type_) end
  local owned = fields.new()
  for _, m in pairs(managers) do owned = fields.union(owned, m.set) end
  local last_set, merged_set = walk.with_parents(last, type_), all(merged)
  local pruned = walk.remove(merged, last_set, type_)
  local kept = fields.union(all(pruned), walk.with_parents(owned, type_))
  pruned = walk.remove(merged, fields.difference(merged_set, kept), type_)
  local gone = fields.difference(merged_set, all(pruned))
  return walk.remove(merged, fields.intersection(gone, last_set), type_)
end

-- An object that nobody tracks belongs, before the first apply, to a manager of that name.
local function managers_of_apply(live, config, options)
  local managers = live and read_managers(live.metadata and live.metadata.managedFields) or {}
  if live and next(managers) == nil then
    local empty = json.object { apiVersion = config.apiVersion, kind = config.kind }
    note_update(empty, live, managers, { manager = "before-first-apply", operation = "Update",
      apiVersion = config.apiVersion, subresource = options.subresource }, options)
  end
  return managers
end

local LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

-- Who comes to server-side apply from kubectl's own apply may change what that set and nobody changed since.
local function allowed_to_kubectl(live, config, options)
  local annotations = live and live.metadata and live.metadata.annotations
  local last = options.manager == "kubectl" and annotations and json.try.decode(annotations[LAST_APPLIED] or "")
  if type(last) ~= "table" or last.apiVersion ~= config.apiVersion then return nil end
  local change = walk.compare(last, without_managers(live), options.type)
  local set = walk.fields(last, options.type)
  for _, changed in pairs(change) do set = fields.difference(set, changed) end
  return set
end

local function check_config(config)
  if config.metadata and config.metadata.managedFields ~= nil then
    errors.raise { code = "Apply", message = "metadata.managedFields must be nil" }
  end
end

---Applies a configuration to the live object (nil: there is none yet).
---@param live table?
---@param config table
---@param options kube.apply.Options
---@return table? # the new object with its managedFields; nil when there are conflicts; raises "Apply"
---@return kube.apply.Conflict[]|string|nil # the conflicts; else "same" when the object did not change
function M.apply(live, config, options)
  check_config(config)
  walk.check(config, options.type)
  local reset = reset_set(options)
  local managers = managers_of_apply(live, config, options)
  local entry = { manager = options.manager, operation = "Apply", apiVersion = config.apiVersion,
    subresource = options.subresource }
  local key = key_of(entry)
  local old = managers[key]
  local bare = without_managers(live or json.object { apiVersion = config.apiVersion, kind = config.kind })
  local merged = walk.merge(bare, config, options.type)
  entry.set = fields.without(walk.fields(config, options.type), reset)
  entry.time = old and old.time
  managers[key] = entry
  local object = prune(merged, managers, old and old.set, options.type)
  local change = filtered(walk.compare(bare, object, options.type), reset)
  local conflicts = take_over(managers, key, change, options.force, allowed_to_kubectl(live, config, options))
  if conflicts then return nil, conflicts end
  entry.set = fields.difference(entry.set, STRIPPED)
  local same = live and walk.equal(bare, object)
  object = walk.without_nulls(object, bare, config)
  if not same then entry.time = options.time end
  if fields.is_empty(entry.set) then managers[key] = nil end
  return with_managers(object, managers), same and "same" or nil
end

---The message of a refusal for conflicts, as the API server writes it.
---@param conflicts kube.apply.Conflict[]
---@return string
function M.message(conflicts)
  if #conflicts == 1 then
    return ("Apply failed with 1 conflict: conflict with %s: %s"):format(conflicts[1].manager, conflicts[1].field)
  end
  local lines, last = {}, nil
  for _, conflict in ipairs(conflicts) do
    if conflict.manager ~= last then lines[#lines + 1] = ("conflicts with %s:"):format(conflict.manager) end
    last = conflict.manager
    lines[#lines + 1] = "- " .. conflict.field
  end
  return ("Apply failed with %d conflicts: %s"):format(#conflicts, table.concat(lines, "\n"))
end

return M
