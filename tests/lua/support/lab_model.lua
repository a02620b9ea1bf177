-- A slow, naive second implementation of what a write does to an object: patches, server-side apply, ownership,
-- versions. It shares no code with the lab: types are written down here, sets of fields are flat lists of paths.
-- Not complete: it knows the kinds and fields that tests/lua/lab_random_test.lua makes use of.
--   local model = dofile "tests/lua/support/lab_model.lua"; model.merge(document, patch)
local json = require "json"

local M = {}

local function is_table(value) return type(value) == "table" end

local function copy(value)
  if not is_table(value) then return value end
  local out = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do out[key] = copy(inner) end
  return out
end
M.copy = copy

local function text_of(value) return json.encode(value, { sort = true }) end

-- --- types ------------------------------------------------------------------------------------------------------

local SCALAR, ATOMIC, SET = { kind = "scalar" }, { kind = "atomic" }, { kind = "set" }
local function struct(fields) return { kind = "map", fields = fields } end
local function map_of(inner) return { kind = "map", of = inner } end
local function by(keys, item) return { kind = "list", keys = keys, item = item } end

local META = struct { labels = map_of(SCALAR), annotations = map_of(SCALAR), finalizers = SET }
local CONTAINER = struct {
  env = by({ "name" }, struct { name = SCALAR, value = SCALAR }), command = ATOMIC,
  resources = struct { limits = map_of(SCALAR), requests = map_of(SCALAR) },
}
local POD = struct { containers = by({ "name" }, CONTAINER), nodeSelector = ATOMIC, tolerations = ATOMIC,
                     securityContext = struct {} }

M.types = {
  ConfigMap = struct { metadata = META, data = map_of(SCALAR) },
  Secret = struct { metadata = META, data = map_of(SCALAR) },
  ServiceAccount = struct { metadata = META, secrets = by({ "name" }, ATOMIC) },
  Role = struct { metadata = META, rules = ATOMIC },
  ResourceQuota = struct { metadata = META, spec = struct { hard = map_of(SCALAR) }, status = struct {} },
  Service = struct { metadata = META, status = struct { loadBalancer = struct {} }, spec = struct { selector = ATOMIC,
    clusterIPs = ATOMIC, ipFamilies = ATOMIC, ports = by({ "port", "protocol" }, struct {}) } },
  Deployment = struct { metadata = META, status = struct {}, spec = struct { selector = ATOMIC,
    strategy = struct { rollingUpdate = struct {} }, template = struct { metadata = META, spec = POD } } },
  Widget = struct { metadata = META, spec = struct { tags = SET, numbers = ATOMIC, free = map_of(SCALAR),
    parts = by({ "name" }, struct { name = SCALAR, count = SCALAR }) } },
}

-- What Go writes of an empty object: containers that are there before anybody sets something in them.
local ALWAYS = {
  Deployment = { "f:spec", "f:spec/f:template", "f:spec/f:template/f:metadata", "f:spec/f:template/f:spec",
    "f:spec/f:template/f:spec/f:containers", "f:spec/f:strategy", "f:status" },
  Service = { "f:spec", "f:status", "f:status/f:loadBalancer" }, ResourceQuota = { "f:spec", "f:status" },
}

local function field_type(type_, name) return type_.fields and type_.fields[name] or type_.of or SCALAR end

-- How a value is kept: "map", "list", "set" or as one.
local function kept_as(type_, value)
  if not is_table(value) then return "one" end
  local list = json.is_array(value)
  if type_.kind == "map" then return list and "one" or "map" end
  if type_.kind == "list" or type_.kind == "set" then return list and type_.kind or "one" end
  return "one"
end

local DEFAULTS = { protocol = "TCP" }

local function item_name(type_, item)
  if type_.kind == "set" then return "v:" .. text_of(item) end
  local keys = {}
  for _, key in ipairs(type_.keys) do
    keys[key] = item[key]
    if keys[key] == nil then keys[key] = DEFAULTS[key] end
  end
  return "k:" .. text_of(keys)
end

-- --- flat objects -----------------------------------------------------------------------------------------------
-- path -> {text =} of what is kept as one, {inner = true} of what has parts, with `item` for items of lists.

local flatten

local function put(out, path, value, type_, item)
  local how = kept_as(type_, value)
  if how == "one" or next(value) == nil then
    out[path] = { text = how == "one" and text_of(value) or nil, inner = how ~= "one", empty = true, item = item }
    return
  end
  out[path] = { inner = true, item = item }
  flatten(out, path, value, type_)
end

flatten = function(out, path, value, type_)
  local head = path == "" and "" or path .. "/"
  if type_.kind == "map" then
    for name, inner in pairs(value) do put(out, head .. "f:" .. name, inner, field_type(type_, name)) end
  else
    for _, item in ipairs(value) do
      put(out, head .. item_name(type_, item), item, type_.kind == "list" and type_.item or SCALAR, true)
    end
  end
end

local function flat(object)
  local out = {}
  flatten(out, "", object, M.types[object.kind])
  return out
end

local NOBODYS = { ["f:apiVersion"] = true, ["f:kind"] = true, ["f:metadata"] = true }
for name in ("name namespace uid creationTimestamp generation resourceVersion managedFields"):gmatch "%w+" do
  NOBODYS["f:metadata/f:" .. name] = true
end

local function is_nobodys(path)
  if NOBODYS[path] or path:find "^f:metadata/f:managedFields" then return true end
  return path == "f:status" or path:find "^f:status/" ~= nil
end

-- Paths that are new or other in b, and those that are gone.
local function difference(a, b)
  local changed, removed = {}, {}
  for path, entry in pairs(b) do
    local was = a[path]
    if not is_nobodys(path) and (not was or not (was.inner and entry.inner) and was.text ~= entry.text) then
      changed[path] = true
    end
  end
  for path in pairs(a) do
    if not b[path] and not is_nobodys(path) then removed[path] = true end
  end
  return changed, removed
end

-- --- ownership --------------------------------------------------------------------------------------------------
-- managers: name -> set of paths; a name is "MANAGER Update" or "MANAGER Apply".

local function take(managers, changed, removed, keeper)
  for name, set in pairs(managers) do
    for path in pairs(set) do
      if name ~= keeper and changed[path] or removed[path] and name ~= keeper then set[path] = nil end
    end
    if next(set) == nil then managers[name] = nil end
  end
end

local MAY_BE_LEFT_OUT = { labels = true, annotations = true, data = true, secrets = true, env = true,
                          hard = true, nodeSelector = true, finalizers = true, selector = true }

-- An object as Go writes it: empty maps and lists are left out where they may be.
local function written(object)
  if not is_table(object) then return object end
  local out = setmetatable({}, getmetatable(object))
  for name, value in pairs(object) do
    local drop = MAY_BE_LEFT_OUT[name] and is_table(value) and next(value) == nil
    if not drop then out[name] = written(value) end
  end
  if object.kind == "Role" and object.metadata and object.rules == nil then out.rules = json.null end
  return out
end
M.written = written

---What a create, an update or a patch does to the owners.
function M.updated(managers, old, new, manager)
  -- An object that nobody owns anything of stays so.
  if old and next(managers) == nil then return {} end
  managers, new = copy(managers), written(new)
  local before = old and flat(old) or {}
  if not old then
    for _, path in ipairs(ALWAYS[new.kind] or {}) do before[path] = { inner = true } end
    if new.kind == "Role" then before["f:rules"] = { text = "null" } end
  end
  local changed, removed = difference(before, flat(new))
  local own = copy(managers[manager .. " Update"] or {})
  take(managers, changed, removed)
  for path in pairs(removed) do own[path] = nil end
  for path in pairs(changed) do own[path] = true end
  if next(changed) then managers[manager .. " Update"] = own end
  return managers
end

---The owners that an object says it has.
function M.owners(object)
  local managers = {}
  local function read(set, path, node)
    for element, inner in pairs(node) do
      if element ~= "." then
        local here = path == "" and element or path .. "/" .. element
        if next(inner) == nil or inner["."] then set[here] = true end
        read(set, here, inner)
      end
    end
  end
  for _, entry in ipairs(object.metadata.managedFields or {}) do
    if entry.manager:find "^test" or entry.manager == "before-first-apply" then
      local set = {}
      read(set, "", entry.fieldsV1)
      managers[entry.manager .. " " .. entry.operation] = set
    end
  end
  return managers
end

-- --- JSON and merge patches ---------------------------------------------------------------------------------------

---A merge patch, as RFC 7396 writes it.
function M.merge(target, patch)
  if not is_table(patch) or json.is_array(patch) then return copy(patch) end
  local out = is_table(target) and not json.is_array(target) and copy(target) or json.object {}
  for name, value in pairs(patch) do
    if value == json.null then out[name] = nil else out[name] = M.merge(out[name], value) end
  end
  return out
end

---A JSON patch of add, replace, remove; indices and names as in RFC 6902.
function M.json_patch(document, operations)
  document = copy(document)
  for _, operation in ipairs(operations) do
    local place, names = document, {}
    for name in operation.path:gmatch "/([^/]*)" do names[#names + 1] = name:gsub("~1", "/"):gsub("~0", "~") end
    for i = 1, #names - 1 do place = json.is_array(place) and place[tonumber(names[i]) + 1] or place[names[i]] end
    local last = names[#names]
    if json.is_array(place) then
      local at = last == "-" and #place + 1 or tonumber(last) + 1
      if operation.op == "remove" then table.remove(place, at)
      elseif operation.op == "replace" then place[at] = copy(operation.value)
      else table.insert(place, at, copy(operation.value)) end
    elseif operation.op == "remove" then
      place[last] = nil
    else
      place[last] = copy(operation.value)
    end
  end
  return document
end

-- --- strategic merge patches --------------------------------------------------------------------------------------

local function strategic(type_, target, patch)
  local how = kept_as(type_, patch)
  if how == "map" then
    if patch["$patch"] == "replace" then
      local out = copy(patch)
      out["$patch"] = nil
      return out
    end
    local out = is_table(target) and copy(target) or json.object {}
    for name, value in pairs(patch) do
      if value == json.null then out[name] = nil
      else out[name] = strategic(field_type(type_, name), out[name], value) end
    end
    return out
  elseif how == "list" then
    local out = is_table(target) and copy(target) or json.array {}
    for _, item in ipairs(patch) do
      local at
      for i, there in ipairs(out) do
        if there[type_.keys[1]] == item[type_.keys[1]] then at = i end
      end
      if item["$patch"] == "delete" then
        if at then table.remove(out, at) end
      elseif at then
        out[at] = strategic(type_.item, out[at], item)
      else
        out[#out + 1] = copy(item)
      end
    end
    return out
  elseif how == "set" then
    local out = is_table(target) and copy(target) or json.array {}
    for _, item in ipairs(patch) do
      local there = false
      for _, one in ipairs(out) do there = there or one == item end
      if not there then out[#out + 1] = item end
    end
    return out
  end
  return copy(patch)
end

function M.strategic(document, patch) return strategic(M.types[document.kind], document, patch) end

-- --- server-side apply --------------------------------------------------------------------------------------------

local function lay_over(type_, live, config)
  local how = kept_as(type_, config)
  if how == "one" or not is_table(live) then return copy(config) end
  if how == "map" then
    local out = copy(live)
    for name, value in pairs(config) do out[name] = lay_over(field_type(type_, name), live[name], value) end
    return out
  end
  local out, names = copy(live), {}
  for i, item in ipairs(live) do names[item_name(type_, item)] = i end
  for _, item in ipairs(config) do
    local at = names[item_name(type_, item)]
    if not at then out[#out + 1] = copy(item)
    elseif how == "list" then out[at] = lay_over(type_.item, live[at], item) end
  end
  return out
end

-- Removes what is at a path; containers that are empty then go too, but are not gone for those who own them.
local function cut(type_, value, path, at, emptied)
  local element, rest = path:match "^([^/]+)/?(.*)$"
  local here = at == "" and element or at .. "/" .. element
  if type_.kind == "map" then
    local name = element:sub(3)
    if value[name] == nil then return end
    if rest ~= "" then cut(field_type(type_, name), value[name], rest, here, emptied) end
    local is_empty = is_table(value[name]) and next(value[name]) == nil
    if rest ~= "" and is_empty then emptied[here] = true end
    if rest == "" or is_empty then value[name] = nil end
    return
  end
  for i, item in ipairs(value) do
    if item_name(type_, item) == element then
      if rest ~= "" then cut(type_.item, item, rest, here, emptied) else table.remove(value, i) end
      return
    end
  end
end

-- What a configuration claims: all that is kept as one, all items, and empty containers.
local function claims(config)
  local set = {}
  for path, entry in pairs(flat(config)) do
    if (not entry.inner or entry.item or entry.empty) and not is_nobodys(path) then set[path] = true end
  end
  return set
end

local function is_owned(managers, but, path)
  for name, set in pairs(managers) do
    if name ~= but then
      for owned in pairs(set) do
        if owned == path or owned:sub(1, #path + 1) == path .. "/" then return true end
      end
    end
  end
  return false
end

local CONTAINER_DEFAULTS = { imagePullPolicy = "IfNotPresent", terminationMessagePath = "/dev/termination-log",
                             terminationMessagePolicy = "File" }

-- Fills in what an apply has taken away or left open. False when something that must be there is missing.
local function complete(object)
  if ALWAYS[object.kind] and object.spec == nil then object.spec = json.object {} end
  local spec = object.spec or {}
  for _, port in ipairs(object.kind == "Service" and spec.ports or {}) do
    if not port.port then return false end
    port.targetPort, port.protocol = port.targetPort or port.port, port.protocol or "TCP"
  end
  if object.kind == "Service" and #(spec.ports or {}) == 0 then return false end
  local pod = object.kind == "Deployment" and spec.template and spec.template.spec or {}
  if object.kind == "Deployment" and #(pod.containers or {}) == 0 then return false end
  if object.kind == "Deployment" and spec.replicas == nil then spec.replicas = 1 end
  for _, one in ipairs(pod.containers or {}) do
    if not one.image or not one.name then return false end
    for name, value in pairs(CONTAINER_DEFAULTS) do one[name] = one[name] or value end
    one.resources = one.resources or json.object {}
  end
  return true
end

---@return table? object nil when there are conflicts, or it is not valid any more
---@return table? managers, or the conflicts: path -> true, or nil when it is not valid
function M.apply(managers, live, config, manager, force)
  managers = copy(managers)
  if next(managers) == nil then managers = M.updated({}, nil, live, "before-first-apply") end
  local own, set = manager .. " Apply", claims(config)
  local object = lay_over(M.types[config.kind], live, config)
  local last = {}
  for path in pairs(managers[own] or {}) do
    if not set[path] and not is_owned(managers, own, path) then
      -- Without a key an item cannot be found any more: it goes as a whole.
      local item, keys, name = path:match "^(.*/k:({.*}))/f:([^/]+)$"
      last[#last + 1] = item and json.decode(keys)[name] ~= nil and item or path
    end
  end
  table.sort(last, function(a, b) return #a < #b end) -- whole items first
  local emptied = {}
  for _, path in ipairs(last) do cut(M.types[config.kind], object, path, "", emptied) end
  local changed, removed = difference(flat(live), flat(written(object)))
  for path in pairs(emptied) do removed[path] = nil end
  local conflicts = {}
  for name, others in pairs(managers) do
    for path in pairs(others) do
      if name ~= own and changed[path] then conflicts[path] = true end
    end
  end
  if next(conflicts) and not force then return nil, conflicts end
  if not complete(object) then return nil end
  take(managers, changed, removed, own)
  managers[own] = next(set) and set or nil
  return object, managers
end

-- --- what counts as the same ----------------------------------------------------------------------------------------

local function in_order(type_, value)
  if not is_table(value) then return value end
  local how = kept_as(type_, value)
  if how == "one" then return value end
  local out = copy(value)
  if how == "map" then
    for name, inner in pairs(value) do out[name] = in_order(field_type(type_, name), inner) end
    return out
  end
  for i, item in ipairs(value) do out[i] = in_order(type_.item or SCALAR, item) end
  table.sort(out, function(a, b) return item_name(type_, a) < item_name(type_, b) end)
  return out
end

---An object without versions, owners and the order of items that are found by name.
function M.content(object)
  object = written(object)
  local out = in_order(M.types[object.kind], object)
  local m = copy(out.metadata)
  out = copy(out)
  out.metadata = m
  m.resourceVersion, m.managedFields, m.generation = nil, nil, nil
  return out
end

---Whether a change is one of what is wanted, so that the generation grows.
function M.grows(old, new)
  local function wanted(object)
    local out = M.content(object)
    if object.kind == "Deployment" then out.annotations = out.metadata.annotations end
    out.metadata, out.status = nil, nil
    return text_of(out)
  end
  return wanted(old) ~= wanted(new)
end

return M
