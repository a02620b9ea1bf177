-- Walks over values with their types: which fields they have, how two differ, how they merge.
-- Not for who owns the fields (see kube.apply).
--   local set = walk.fields(object, types.of_kind "v1/Pod")
local errors = require "errors"
local fields = require "kube.apply.fields"
local json = require "json"
local types = require "kube.apply.types"

local M = {}

local function is_table(value) return type(value) == "table" end
local function is_empty(value) return not is_table(value) or next(value) == nil end

local function equal(a, b)
  if a == b then return true end
  if not is_table(a) or not is_table(b) then return false end
  if next(a) == nil and next(b) == nil then return json.is_array(a) == json.is_array(b) end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end
M.equal = equal

local function copy(value)
  if not is_table(value) then return value end
  local result = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do result[key] = copy(inner) end
  return result
end
M.copy = copy

local function fail(path, form, ...)
  errors.raise { code = "Apply", message = fields.text(path) .. ": " .. form:format(...), path = fields.text(path) }
end

-- The names of a key list as Go prints them: ["a" "b"]
local function go_list(names) return '["' .. table.concat(names, '" "') .. '"]' end

-- --- items of lists -------------------------------------------------------------------------------

-- The element that names an item of a list: by its keys, or its value.
local function element_of(type_, item, index, path)
  local keys_ = type_.keys
  local only = keys_ and #keys_ == 1 and is_table(item) and item[keys_[1]]
  if type(only) == "string" and not only:find '[%c"\\<>&\x80-\xff]' then
    return 'k:{"' .. keys_[1] .. '":"' .. only .. '"}'
  end
  if type_.list == "set" then
    if is_table(item) or item == json.null then
      fail(path, "element %d: associative list without keys has an element that's %s", index,
        item == json.null and "an explicit null" or "a map type")
    end
    return fields.of_value(item)
  end
  if not is_table(item) or json.is_array(item) and next(item) then
    fail(path, "element %d: associative list with keys may not have non-map elements", index)
  end
  local keys = json.object {}
  for _, name in ipairs(type_.keys) do
    local value = item[name]
    if value == nil then value = types.member(types.resolve(type_.element, item), name).default end
    if value ~= nil then keys[name] = value end
  end
  if next(keys) == nil then
    fail(path, "element %d: associative list with keys has an element that omits all key fields %s (and doesn't have "
      .. "default values for any key fields)", index, go_list(type_.keys))
  end
  return fields.of_keys(keys)
end

-- The elements of a list in order, and the items by element; a repeated one counts as unknown (false).
local function index_list(type_, list, path, unique)
  local order, items = {}, {}
  for i, item in ipairs(is_table(list) and list or {}) do
    local element = element_of(type_, item, i - 1, path)
    if items[element] ~= nil then
      if unique then fail(path, "duplicate entries for key %s", fields.element_text(element)) end
      items[element] = false
    else
      items[element] = item
    end
    order[#order + 1] = element
  end
  return order, items
end

local function is_owned_by_item(type_) return type_.kind == "list" and type_.list ~= "atomic" end

local function is_owned_by_member(type_) return type_.kind == "map" and not type_.atomic end

local function names_of(...)
  local names, seen = {}, {}
  for i = 1, select("#", ...) do
    for name in pairs(is_table(select(i, ...)) and select(i, ...) or {}) do
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
  end
  table.sort(names)
  return names
end

-- --- checking -------------------------------------------------------------------------------------

local function check(value, type_, path)
  type_ = types.resolve(type_, value)
  if not is_table(value) then return end
  if type_.kind == "map" then
    for _, name in ipairs(names_of(value)) do
      local member, declared = types.member(type_, name)
      path[#path + 1] = "f:" .. name
      if not declared and not type_.element and not type_.lenient then fail(path, "field not declared in schema") end
      check(value[name], member, path)
      path[#path] = nil
    end
  elseif type_.kind == "list" then
    if is_owned_by_item(type_) then index_list(type_, value, path, true) end
    for i, item in ipairs(value) do
      path[#path + 1] = is_owned_by_item(type_) and element_of(type_, item, i - 1, path) or "i:" .. (i - 1)
      check(item, type_.element, path)
      path[#path] = nil
    end
  end
end

---Raises "Apply" when a configuration has fields that the type does not, or items twice.
function M.check(value, type_) check(value, type_, {}) end

-- --- the fields of a value ------------------------------------------------------------------------

local function gather(value, type_, path, set)
  type_ = types.resolve(type_, value)
  if is_owned_by_member(type_) then
    for name, inner in pairs(is_table(value) and value or {}) do
      local member, declared = types.member(type_, name)
      path[#path + 1] = "f:" .. name
      gather(inner, member, path, set)
      local is_empty_map = is_table(inner) and next(inner) == nil and not json.is_array(inner)
      if inner == json.null or is_empty_map or not declared then fields.insert(set, path) end
      path[#path] = nil
    end
  elseif is_owned_by_item(type_) then
    local order, items = index_list(type_, value, path)
    for _, element in ipairs(order) do
      path[#path + 1] = element
      if items[element] then gather(items[element], type_.element, path, set) end
      fields.insert(set, path)
      path[#path] = nil
    end
  else
    fields.insert(set, path)
  end
end

---The set of all fields that a value has.
function M.fields(value, type_)
  local set = fields.new()
  gather(value, type_, {}, set)
  return set
end

-- --- comparing ------------------------------------------------------------------------------------

local compare

local function compare_leaf(a, b, path, result)
  if a == nil then fields.insert(result.added, path)
  elseif b == nil then fields.insert(result.removed, path)
  elseif not equal(a, b) then fields.insert(result.modified, path)
  end
end

local function compare_items(a, b, type_, path, result)
  local order, left = index_list(type_, a, path)
  local right_order, right = index_list(type_, b, path)
  for _, element in ipairs(right_order) do
    if left[element] == nil then order[#order + 1] = element end
  end
  local seen = {}
  for _, element in ipairs(order) do
    path[#path + 1] = element
    if not seen[element] then
      if left[element] == false or right[element] == false then
        if left[element] ~= right[element] then
          fields.insert(right[element] == nil and result.removed or left[element] == nil and result.added
            or result.modified, path)
        end
      else
        compare(left[element], right[element], type_.element, path, result)
      end
    end
    seen[element] = true
    path[#path] = nil
  end
end

local function member_of(value, name)
  if is_table(value) then return value[name] end
end

-- A member that a Go value has even when nobody has set it.
local function written_member(value, name, zeros)
  if not is_table(value) then return nil end
  local member = value[name]
  if member == nil and zeros then return zeros[name] end
  return member
end

local function compare_members(a, b, type_, path, result)
  local zeros = type_.zeros
  for _, name in ipairs(names_of(a, b)) do
    path[#path + 1] = "f:" .. name
    compare(written_member(a, name, zeros), written_member(b, name, zeros), (types.member(type_, name)), path, result)
    path[#path] = nil
  end
end

function compare(a, b, type_, path, result)
  local of_a, of_b = types.resolve(type_, a == nil and b or a), types.resolve(type_, b == nil and a or b)
  local same = of_a.kind == of_b.kind
  if not same or not (is_owned_by_member(of_b) or is_owned_by_item(of_b)) or is_empty(a) and is_empty(b) then
    compare_leaf(a, b, path, result)
    return
  end
  if of_b.kind == "map" then compare_members(a, b, of_b, path, result)
  else compare_items(a, b, of_b, path, result)
  end
  if a == nil then fields.insert(result.added, path) end
  if b == nil then fields.insert(result.removed, path) end
end

---What changed from a to b: {added, removed, modified}, sets of fields.
function M.compare(a, b, type_)
  local result = { added = fields.new(), removed = fields.new(), modified = fields.new() }
  compare(a, b, type_, {}, result)
  return result
end

-- --- what a new object owns -------------------------------------------------------------------------

-- "f:" .. name, made once.
local F = setmetatable({}, { __mode = "k", __index = function(self, name)
  local element = "f:" .. name
  self[name] = element
  return element
end })

local LEAF = json.object {} -- never changed

local grown

-- Puts what is new at a place into a node in the form of fieldsV1. `zero` is what was there before (nil: nothing).
local function put_grown(node, element, value, type_, zero, path)
  type_ = types.resolve(type_, value)
  local below
  if not is_empty(value) and (is_owned_by_member(type_) or is_owned_by_item(type_)) then
    below = grown(value, type_, type(zero) == "table", path)
    if zero == nil then
      if next(below) == nil then below = LEAF else below["."] = LEAF end
    elseif next(below) == nil then
      below = nil
    end
  elseif zero == nil or not equal(zero, value) then
    below = LEAF
  end
  node[element] = below
end

local function grown_items(node, value, type_, path)
  for i, item in ipairs(value) do
    local element = element_of(type_, item, i - 1, path)
    if node[element] then
      node[element] = LEAF -- of items of one name nothing more is known
    else
      path[#path + 1] = element
      put_grown(node, element, item, type_.element, nil, path)
      path[#path] = nil
    end
  end
end

function grown(value, type_, was_there, path)
  local node = json.object {}
  if type_.kind == "list" then
    grown_items(node, value, type_, path)
    return node
  end
  local zeros, fields_, other = was_there and type_.zeros, type_.fields, type_.element or types.DEDUCED
  local depth = #path + 1
  for name, inner in next, value do
    local element = F[name]
    local zero
    if zeros then zero = zeros[name] end
    if type(inner) == "table" then
      path[depth] = element
      put_grown(node, element, inner, fields_ and fields_[name] or other, zero, path)
      path[depth] = nil
    elseif zero == nil or zero ~= inner then
      node[element] = LEAF
    end
  end
  return node
end

---What is new in an object compared with its type's empty value, in the form of fieldsV1: compare() in one go.
---@param value table
---@param type_ table
---@param nobodys table<string, true|table<string, true>> # members that belong to nobody, and members of those
---@return table
function M.grown(value, type_, nobodys)
  local node, path = json.object {}, {}
  local zeros = type_.zeros or {}
  for name, inner in pairs(value) do
    local passed = nobodys[name]
    if passed ~= true then
      local element = F[name]
      path[1] = element
      put_grown(node, element, inner, (types.member(type_, name)), zeros[name], path)
      local below = is_table(passed) and node[element]
      if below and below ~= LEAF then
        for other in pairs(passed) do below[other] = nil end
        if next(below) == nil then node[element] = nil end
      elseif below then
        node[element] = nil
      end
      path[1] = nil
    end
  end
  return node
end

-- --- merging --------------------------------------------------------------------------------------

local merge

local function merge_members(a, b, type_, path)
  local result = setmetatable({}, getmetatable(is_table(b) and b or a))
  for _, name in ipairs(names_of(a, b)) do
    path[#path + 1] = "f:" .. name
    result[name] = merge(member_of(a, name), member_of(b, name), (types.member(type_, name)), path)
    path[#path] = nil
  end
  return json.object(result)
end

-- Items of both, in the order of b where both have them; what only a has stays where it was between those.
local function merge_items(a, b, type_, path)
  local right_order, right = index_list(type_, b, path, true)
  local left_order, left = index_list(type_, a, path)
  local result, shared, next_shared, merged = json.array {}, {}, 1, {}
  for _, element in ipairs(right_order) do
    if left[element] ~= nil then shared[#shared + 1] = element end
  end
  local function take(element, l, r)
    path[#path + 1] = element
    result[#result + 1] = merge(l, r, type_.element, path)
    path[#path] = nil
  end
  local i, j = 1, 1
  while i <= #left_order or j <= #right_order do
    local l, r = left_order[i], right_order[j]
    local skip = false
    if l and r then
      if l == r then
        merged[l] = true
        take(l, left[l] or nil, right[l])
        i, j, next_shared = i + 1, j + 1, next_shared + 1
        skip = true
      elseif right[l] ~= nil and shared[next_shared] and shared[next_shared] ~= l then
        i = i + 1
        skip = true
      end
    end
    if not skip and l and right[l] == nil then
      take(l, a[i], nil)
      i = i + 1
      skip = true
    elseif not skip and l and merged[l] then
      i = i + 1
    end
    if not skip and r then
      merged[r] = true
      take(r, left[r] or nil, right[r])
      j = j + 1
      if shared[next_shared] == r then next_shared = next_shared + 1 end
    end
  end
  return result
end

function merge(a, b, type_, path)
  if b == nil then return copy(a) end
  local of_a, of_b = types.resolve(type_, a == nil and b or a), types.resolve(type_, b)
  local owned = is_owned_by_member(of_b) or is_owned_by_item(of_b)
  if of_a.kind ~= of_b.kind or not owned or is_empty(a) and is_empty(b) then return copy(b) end
  if of_b.kind == "map" then return merge_members(a, b, of_b, path) end
  return merge_items(a, b, of_b, path)
end

---The value with the fields of b over those of a.
function M.merge(a, b, type_) return merge(a, b, type_, {}) end

-- --- removing -------------------------------------------------------------------------------------

local remove

local function remove_items(value, set, type_)
  local result = json.array {}
  for i, item in ipairs(value) do
    local element = element_of(type_, item, i - 1, {})
    if not set.members[element] then
      local child = set.children[element]
      result[#result + 1] = child and remove(item, child, type_.element) or copy(item)
    end
  end
  return #result > 0 and result or json.null
end

local function remove_members(value, set, type_)
  local result = json.object {}
  for name, inner in pairs(value) do
    local element = "f:" .. name
    if not set.members[element] then
      local child = set.children[element]
      if child and not fields.is_empty(child) then result[name] = remove(inner, child, (types.member(type_, name)))
      else result[name] = copy(inner)
      end
    end
  end
  return next(result) and result or json.null
end

-- What has nothing left becomes null, as in the API server: it is not gone for those who own it.
function remove(value, set, type_)
  type_ = types.resolve(type_, value)
  if type_.kind == "scalar" or not is_table(value) then return value end
  if next(value) == nil then return json.null end
  if is_owned_by_member(type_) then return remove_members(value, set, type_) end
  if is_owned_by_item(type_) then return remove_items(value, set, type_) end
  return json.null
end

---The value without the fields of the set; nulls stand where nothing is left (see without_nulls).
function M.remove(value, set, type_)
  local rest = remove(value, set, type_)
  return rest == json.null and json.object {} or rest
end

---The value without the nulls that neither of two others has at their places.
function M.without_nulls(value, a, b)
  if not is_table(value) then return value end
  local result = setmetatable({}, getmetatable(value))
  local is_list = json.is_array(value)
  for key, inner in pairs(value) do
    local left, right = is_table(a) and a[key], is_table(b) and b[key]
    local drop = inner == json.null and not is_list and left ~= json.null and right ~= json.null
    if not drop then result[key] = M.without_nulls(inner, left, right) end
  end
  return result
end

---Adds to a set the fields by which its paths lead, where the type declares them.
function M.with_parents(set, type_)
  local result = fields.new()
  for element in pairs(set.members) do result.members[element] = true end
  for element, child in pairs(set.children) do
    local name = element:match "^f:(.*)$"
    local inner = types.DEDUCED
    if name and type_.kind == "map" then
      local member, declared = types.member(type_, name)
      inner = member
      if declared then result.members[element] = true end
    elseif element:sub(1, 2) == "k:" and type_.kind == "list" then
      inner = type_.element
    end
    result.children[element] = M.with_parents(child, inner)
  end
  return result
end

return M
