-- lab.match: label selectors inside objects ({matchLabels, matchExpressions}), and their text.
-- Not for selectors in queries (lab.selectors).
--   match.selects({ matchLabels = { app = "web" } }, labels) -> boolean

local M = {}

local OPERATORS = {
  In = function(value, values)
    if value == nil then return false end
    for _, one in ipairs(values) do
      if one == value then return true end
    end
    return false
  end,
  Exists = function(value) return value ~= nil end,
  DoesNotExist = function(value) return value == nil end,
}
OPERATORS.NotIn = function(value, values) return not OPERATORS.In(value, values) end

---@param selector table? nil selects nothing, an empty one everything
---@param labels table<string, string>?
---@return boolean
function M.selects(selector, labels)
  if type(selector) ~= "table" then return false end
  labels = labels or {}
  for name, value in pairs(selector.matchLabels or {}) do
    if labels[name] ~= value then return false end
  end
  for _, e in ipairs(selector.matchExpressions or {}) do
    local operator = OPERATORS[e.operator]
    if not operator or not operator(labels[e.key], e.values or {}) then return false end
  end
  return true
end

---@param selector table?
---@param labels table<string, string>?
---@return boolean whether plain equality holds, as services and replication controllers ask
function M.equal(selector, labels)
  if not selector or next(selector) == nil then return false end
  for name, value in pairs(selector) do
    if (labels or {})[name] ~= value then return false end
  end
  return true
end

---A selector as the text that a query may carry.
---@param selector table
---@return string
function M.text(selector)
  local parts = {}
  for name, value in pairs(selector.matchLabels or {}) do parts[#parts + 1] = { name, name .. "=" .. value } end
  for _, e in ipairs(selector.matchExpressions or {}) do
    local values = table.move(e.values or {}, 1, #(e.values or {}), 1, {})
    table.sort(values)
    local list = "(" .. table.concat(values, ",") .. ")"
    local texts = { In = e.key .. " in " .. list, NotIn = e.key .. " notin " .. list, Exists = e.key,
                    DoesNotExist = "!" .. e.key }
    parts[#parts + 1] = { e.key, texts[e.operator] or e.key }
  end
  table.sort(parts, function(a, b) return a[1] < b[1] end)
  local texts = {}
  for i, part in ipairs(parts) do texts[i] = part[2] end
  return table.concat(texts, ",")
end

return M
