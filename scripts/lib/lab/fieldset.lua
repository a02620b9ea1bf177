-- lab.fieldset: sets of fields as trees in the form of FieldsV1: {"f:spec": {"f:replicas": {}}}.
-- Not for who owns them (lab.managed).
--   local added, changed, removed = fieldset.compare(shape, old, new)

local json = require "json"
local shape = require "lab.shape"

local M = {}

local same

same = function(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end
M.same = same

-- "f:" .. name, made once.
local F = setmetatable({}, { __index = function(self, name)
  local text = "f:" .. name
  rawset(self, name, text)
  return text
end })

local function is_empty(tree) return next(tree) == nil end
M.is_empty = is_empty

-- --- operations -----------------------------------------------------------------------------------------
-- A tree's node is a member of the set when it has "." or nothing below it.

local function has_self(tree) return tree["."] ~= nil or is_empty(tree) end

---@return table union of two trees; neither is changed
function M.union(a, b)
  local out = {}
  for key, value in pairs(a) do out[key] = b[key] and M.union(value, b[key]) or value end
  for key, value in pairs(b) do out[key] = out[key] or value end
  -- A leaf that gets something below stays a member itself.
  if (is_empty(a) ~= is_empty(b)) then out["."] = {} end
  return out
end

---@return table? what is in both, nil when nothing is
function M.intersection(a, b)
  local out, any = {}, false
  if has_self(a) and has_self(b) then
    out["."], any = {}, true
  end
  for key, value in pairs(a) do
    if key ~= "." and b[key] then
      local inner = M.intersection(value, b[key])
      if inner then out[key], any = inner, true end
    end
  end
  if not any then return nil end
  local only = true
  for key in pairs(out) do only = only and key == "." end
  return only and {} or out
end

---@return table? a without the members of b, nil when nothing is left
function M.difference(a, b)
  local out, any = {}, false
  if has_self(a) and not has_self(b) then
    out["."], any = {}, true
  end
  for key, value in pairs(a) do
    if key ~= "." then
      local inner = value
      if b[key] then inner = M.difference(value, b[key]) end
      if inner then out[key], any = inner, true end
    end
  end
  if not any then return nil end
  local only = true
  for key in pairs(out) do only = only and key == "." end
  return only and {} or out
end

---@return table? a without the members of b and all that is below them
function M.without_below(a, b)
  if has_self(b) then return nil end
  local out, any = {}, false
  for key, value in pairs(a) do
    local inner = value
    if key ~= "." and b[key] then inner = M.without_below(value, b[key]) end
    if inner then out[key], any = inner, true end
  end
  return any and out or nil
end

-- --- sets of values -------------------------------------------------------------------------------------

-- All nodes of a value: what is added when the value is new.
local function every(s, value)
  local parts = shape.parts(s, value)
  local tree = {}
  if parts == "one" or next(value) == nil then return tree end
  tree["."] = {}
  if parts == "members" then
    for name, inner in pairs(value) do
      if inner ~= json.null then tree[F[name]] = every(shape.child(s, name), inner) end
    end
  else
    local item_shape = shape.item(s)
    for _, item in ipairs(value) do
      local name = shape.item_name(s, item)
      if name then tree[name] = s.list == "set" and {} or every(item_shape, item) end
    end
  end
  return tree
end
M.every = every

---The fields that an applied object claims.
---@param s lab.Shape
---@param value any
---@return table
function M.applied(s, value)
  local parts = shape.parts(s, value)
  local tree = {}
  if parts == "one" or next(value) == nil then return tree end
  if parts == "members" then
    for name, inner in pairs(value) do
      local below, declared = shape.child(s, name)
      local sub = M.applied(below, inner)
      if not declared and not is_empty(sub) then sub["."] = {} end
      tree[F[name]] = sub
    end
  else
    local item_shape = shape.item(s)
    for _, item in ipairs(value) do
      local name = shape.item_name(s, item)
      if name then
        local sub = s.list == "set" and {} or M.applied(item_shape, item)
        if not is_empty(sub) then sub["."] = {} end
        tree[name] = sub
      end
    end
  end
  return tree
end

-- --- comparison -----------------------------------------------------------------------------------------

-- Go structs that are there even when nothing in them is set, in objects of built-in kinds.
local PRESENT = { metadata = true, spec = true, status = true, template = true, strategy = true,
                  updateStrategy = true, jobTemplate = true, containers = true, resources = true }

local compare

local function put(tree, name, value)
  if value then tree[name] = value end
  return tree
end

local function compare_members(s, a, b, built_in)
  local added, changed, removed = {}, {}, {}
  for name, value in pairs(b) do
    local old = a[name]
    local inner = shape.child(s, name)
    if old == json.null then old = nil end
    if value ~= json.null then
      if old == nil and built_in and PRESENT[name] and type(value) == "table" then
        old = json.is_array(value) and json.array {} or json.object {}
        if next(value) == nil and not json.is_array(value) then
          put(added, F[name], {})
        end
      end
      if old == nil then
        put(added, F[name], every(inner, value))
      else
        local x, y, z = compare(inner, old, value, built_in)
        put(added, F[name], x)
        put(changed, F[name], y)
        put(removed, F[name], z)
      end
    end
  end
  for name, old in pairs(a) do
    if (b[name] == nil or b[name] == json.null) and old ~= json.null then
      put(removed, F[name], every(shape.child(s, name), old))
    end
  end
  return added, changed, removed
end

local function by_name(s, list)
  local map, order = {}, {}
  for _, item in ipairs(list) do
    local name = shape.item_name(s, item)
    if name then
      map[name] = item
      order[#order + 1] = name
    end
  end
  return map, order
end
M.by_name = by_name

local function compare_items(s, a, b)
  local added, changed, removed = {}, {}, {}
  local old, new = by_name(s, a), by_name(s, b)
  local inner = shape.item(s)
  for name, item in pairs(new) do
    if old[name] == nil then
      added[name] = s.list == "set" and {} or every(inner, item)
    elseif s.list ~= "set" then
      local x, y, z = compare(inner, old[name], item, false)
      put(added, name, x)
      put(changed, name, y)
      put(removed, name, z)
    end
  end
  for name, item in pairs(old) do
    if new[name] == nil then removed[name] = s.list == "set" and {} or every(inner, item) end
  end
  return added, changed, removed
end

compare = function(s, a, b, built_in)
  local parts = shape.parts(s, b)
  if parts == "one" or shape.parts(s, a) ~= parts then
    if same(a, b) then return nil end
    return nil, {}
  end
  local added, changed, removed
  if parts == "members" then
    added, changed, removed = compare_members(s, a, b, built_in)
  else
    added, changed, removed = compare_items(s, a, b)
  end
  return next(added) and added, next(changed) and changed, next(removed) and removed
end

---What differs between two objects.
---@param s lab.Shape
---@param old table
---@param new table
---@param built_in boolean
---@return table? added, table? changed, table? removed
function M.compare(s, old, new, built_in) return compare(s, old, new, built_in) end

-- --- paths ----------------------------------------------------------------------------------------------

local function segment(name)
  local kind, rest = name:sub(1, 2), name:sub(3)
  if kind == "f:" then return "." .. rest end
  if kind == "v:" then return "[=" .. rest .. "]" end
  local key = json.decode(rest)
  local texts, names = {}, {}
  for one in pairs(key) do names[#names + 1] = one end
  table.sort(names)
  for i, one in ipairs(names) do texts[i] = one .. "=" .. json.encode(key[one]) end
  return "[" .. table.concat(texts, ",") .. "]"
end

---The members of a tree as paths such as .spec.containers[name="main"].image, sorted.
function M.paths(tree)
  local list = {}
  local function walk(node, path)
    if has_self(node) and path ~= "" then list[#list + 1] = path end
    for name, inner in pairs(node) do
      if name ~= "." then walk(inner, path .. segment(name)) end
    end
  end
  walk(tree, "")
  table.sort(list)
  return list
end

return M
