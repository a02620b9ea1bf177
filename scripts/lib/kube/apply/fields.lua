-- Sets of fields, as managedFields has them: which fields of an object somebody owns.
-- Not for what fields hold (see kube.apply.walk).
--   local set = fields.decode { ["f:spec"] = { ["f:replicas"] = {} } }; print(fields.text { "f:spec", "f:replicas" })
--
-- A set is {members = {ELEMENT = true}, children = {ELEMENT = set}}; an element is f:NAME, k:{"name":"x"}
-- (an item by its keys), v:VALUE (an item by its value) or i:INDEX. A path is a list of elements.
local json = require "json"

local M = {}

function M.new() return { members = {}, children = {} } end

function M.is_empty(set)
  if next(set.members) then return false end
  for _, child in pairs(set.children) do
    if not M.is_empty(child) then return false end
  end
  return true
end

---Adds a path; the whole object (an empty path) belongs to nobody.
function M.insert(set, path)
  for i = 1, #path - 1 do
    local child = set.children[path[i]]
    if not child then
      child = M.new()
      set.children[path[i]] = child
    end
    set = child
  end
  if #path > 0 then set.members[path[#path]] = true end
end

---Whether the path is a member.
function M.has(set, path)
  for i = 1, #path - 1 do
    set = set.children[path[i]]
    if not set then return false end
  end
  return set.members[path[#path]] == true
end

---@param make fun(inA: boolean?, inB: boolean?): boolean? whether an element is in the result
local function combine(a, b, make, alone)
  local result = M.new()
  for element in pairs(a.members) do
    if make(true, b.members[element]) then result.members[element] = true end
  end
  for element in pairs(b.members) do
    if make(a.members[element], true) then result.members[element] = true end
  end
  local function add(element, child)
    if not M.is_empty(child) then result.children[element] = child end
  end
  for element, child in pairs(a.children) do
    if b.children[element] then add(element, combine(child, b.children[element], make, alone))
    elseif alone.a then add(element, child)
    end
  end
  for element, child in pairs(b.children) do
    if not a.children[element] and alone.b then add(element, child) end
  end
  return result
end

function M.union(a, b)
  return combine(a, b, function(in_a, in_b) return in_a or in_b end, { a = true, b = true })
end

function M.intersection(a, b)
  return combine(a, b, function(in_a, in_b) return in_a and in_b end, {})
end

function M.difference(a, b)
  return combine(a, b, function(in_a, in_b) return in_a and not in_b end, { a = true })
end

---The difference, where a member of b also takes away what is below it.
function M.without(a, b)
  local result = M.new()
  for element in pairs(a.members) do
    if not b.members[element] then result.members[element] = true end
  end
  for element, child in pairs(a.children) do
    if not b.members[element] then
      local rest = b.children[element] and M.without(child, b.children[element]) or child
      if not M.is_empty(rest) then result.children[element] = rest end
    end
  end
  return result
end

---Visits all paths of a set: at each level first those that end there, then those that go on, in order.
local function each(set, visit, path)
  path = path or {}
  local function sorted(elements)
    local list = {}
    for element in pairs(elements) do list[#list + 1] = element end
    table.sort(list)
    return list
  end
  local depth = #path + 1
  for _, element in ipairs(sorted(set.members)) do
    path[depth] = element
    visit(path)
  end
  for _, element in ipairs(sorted(set.children)) do
    path[depth] = element
    each(set.children[element], visit, path)
  end
  path[depth] = nil
end
M.each = each

-- --- fieldsV1 -------------------------------------------------------------------------------------

---The set of a fieldsV1 value.
function M.decode(value)
  local set = M.new()
  for element, inner in pairs(value or {}) do
    if element ~= "." then
      local child = M.decode(inner)
      if M.is_empty(child) or inner["."] then set.members[element] = true end
      if not M.is_empty(child) then set.children[element] = child end
    end
  end
  return set
end

---The fieldsV1 value of a set.
function M.encode(set)
  local value = json.object {}
  for element in pairs(set.members) do value[element] = json.object {} end
  for element, child in pairs(set.children) do
    local inner = M.encode(child)
    if next(inner) then
      if value[element] then inner["."] = json.object {} end
      value[element] = inner
    end
  end
  return value
end

-- --- elements -------------------------------------------------------------------------------------

local ESCAPES = { ["<"] = "\\u003c", [">"] = "\\u003e", ["&"] = "\\u0026" }

local function go_json(value) return (json.encode(value, { sort = true }):gsub("[<>&]", ESCAPES)) end

function M.of_keys(keys) return "k:" .. go_json(keys) end
function M.of_value(value) return "v:" .. go_json(value) end

local function shown(element)
  local kind, rest = element:sub(1, 1), element:sub(3)
  if kind == "f" then return "." .. rest end
  if kind == "v" then return "[=" .. rest .. "]" end
  if kind == "i" then return "[" .. rest .. "]" end
  local keys = json.decode(rest)
  local names, terms = {}, {}
  for name in pairs(keys) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do terms[i] = name .. "=" .. go_json(keys[name]) end
  return "[" .. table.concat(terms, ",") .. "]"
end

---A path as the API server prints it: .spec.containers[name="a"].image
function M.text(path)
  local parts = {}
  for i, element in ipairs(path) do parts[i] = shown(element) end
  return table.concat(parts)
end
M.element_text = shown

return M
