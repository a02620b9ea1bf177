-- Which steps hold the last value of a name, and what the order of steps says of them.
-- Not for what steps do: see kale.analysis.
--   makers:add("x", step, "store"); makers:latest("x", step, 1)
local changes = require "kale.changes"

local M = {}

-- --- sets of steps as bits ---------------------------------------------------------------------------

---@param set integer[]
---@param i integer
---@return boolean
function M.has_bit(set, i)
  local word = set[i // 63 + 1]
  return word ~= nil and word & (1 << i % 63) ~= 0
end
local has_bit = M.has_bit

---@param set integer[]
---@param i integer
function M.add_bit(set, i)
  local word = i // 63 + 1
  for k = #set + 1, word do set[k] = 0 end
  set[word] = set[word] | 1 << i % 63
end

---@param set integer[]
---@param other integer[]
function M.add_all(set, other)
  for k = #set + 1, #other do set[k] = 0 end
  for k, word in ipairs(other) do set[k] = set[k] | word end
end

-- --- makers of a name ----------------------------------------------------------------------------------

-- Three levels: steps that store a name, those that surely change it in place, those that may.
M.LEVELS = { store = 1, strong = 2, weak = 3 }

local Makers = {}
Makers.__index = Makers

---@return table
function M.new()
  return setmetatable({ {}, {}, {} }, Makers)
end

---Notes the step at its level and those above; `total`: it comes after all earlier ones in the list.
---@param name string
---@param step table
---@param level "store"|"strong"|"weak"
function Makers:add(name, step, level)
  for i = M.LEVELS[level], 3 do
    local list = self[i][name]
    if not list then
      list = {}
      self[i][name] = list
    end
    local last = list[#list]
    if not last or last.step ~= step then
      list[#list + 1] = {
        step = step, total = not last or last.total and has_bit(step.ancestors, last.step.number),
      }
    end
  end
end

---The one maker before `step` that comes after all others before it; or nil and two that do not.
---@param name string
---@param step table
---@param level integer
---@return table? maker
---@return table? one
---@return table? other
function Makers:latest(name, step, level)
  local list = self[level][name] or {}
  for i = #list, 1, -1 do
    local maker = list[i]
    if has_bit(step.ancestors, maker.step.number) then
      if maker.total then return maker.step end
      for k = i - 1, 1, -1 do
        local other = list[k].step
        if has_bit(step.ancestors, other.number) and not has_bit(maker.step.ancestors, other.number) then
          return nil, maker.step, other
        end
      end
      return maker.step
    end
  end
  return nil
end

---A step of the notebook between the maker and `step`, on neither's way, that makes or changes the name.
---@param name string
---@param maker table
---@param step table
---@return table?
function Makers:beside(name, maker, step)
  local list = self[M.LEVELS.strong][name] or {}
  for i = #list, 1, -1 do
    local other = list[i].step
    if other.number <= maker.number then return nil end
    if not has_bit(step.ancestors, other.number) then return other end
  end
  return nil
end

-- --- families of names -----------------------------------------------------------------------------------

local Families = {}
Families.__index = Families

---Names that may share objects, joined pair by pair.
---@return table
function M.families()
  return setmetatable({ parent = {}, members = {}, edges = {} }, Families)
end

---How the objects of two names of a family are related, as of kale.changes.
---@param pair table {a, b, kind}
function Families:relate(pair)
  for i = 1, 2 do
    local edges = self.edges[pair[i]] or {}
    self.edges[pair[i]] = edges
    edges[#edges + 1] = { other = pair[3 - i], kind = pair.kind, forward = i == 1 }
  end
end

---The names whose values a change of one reaches, over names that are kept.
---@param name string
---@param deep boolean? whether what the value holds changes
---@param keep fun(name: string): boolean?
---@return table<string, any>
function Families:reached(name, deep, keep)
  local seen, queue = { [name] = deep and 2 or 1 }, { name }
  while #queue > 0 do
    local at = table.remove(queue)
    for _, edge in ipairs(self.edges[at] or {}) do
      local other = edge.other
      local passed, passed_deep = changes.passes(edge.kind, edge.forward, seen[at] == 2)
      local level = passed and (passed_deep and 2 or 1) or 0
      if level > (seen[other] or 0) and keep(other) then
        seen[other] = level
        queue[#queue + 1] = other
      end
    end
  end
  return seen
end

function Families:root(name)
  local parent = self.parent
  while parent[name] and parent[name] ~= name do
    parent[name] = parent[parent[name]] or parent[name]
    name = parent[name]
  end
  return name
end

---@param a string
---@param b string
function Families:join(a, b)
  a, b = self:root(a), self:root(b)
  local members = self.members
  members[a], members[b] = members[a] or { a }, members[b] or { b }
  if a == b then return end
  if #members[a] < #members[b] then a, b = b, a end
  self.parent[b] = a
  table.move(members[b], 1, #members[b], #members[a] + 1, members[a])
  members[b] = nil
end

---The names of a family that are kept; the others leave it for good.
---@param name string
---@param keep fun(name: string): boolean?
---@return string[]
function Families:alive(name, keep)
  local root, kept = self:root(name), {}
  for _, member in ipairs(self.members[root] or { name }) do
    if keep(member) then kept[#kept + 1] = member end
  end
  self.members[root] = kept
  return kept
end

return M
