-- Magics that measure Python (%time, %timeit, %prun) as Python that the rest of the compiler understands: what the
-- measured code reads, changes and stores stays to be seen. Not for other magics: see kale.magics.
--   timing.line("time", "y = f(x)") -> "with get_ipython().timing(): y = f(x)", 29
local pyast = require "pyast"

local M = {}

---@param text string
---@return string # a text of Python
function M.quoted(text)
  return "'" .. text:gsub("[\\']", "\\%0"):gsub("\r", "\\r"):gsub("\n", "\\n") .. "'"
end

local quoted = M.quoted

local COMPOUND = { if_statement = true, for_statement = true, while_statement = true, with_statement = true,
  try_statement = true, match_statement = true, function_definition = true, class_definition = true,
  decorated_definition = true }

-- What the code of a line is: "expression", "simple" statements or "compound"; nil when it is no Python. And the
-- code without a comment or semicolon at its end.
local function kind_of(code)
  local tree = pyast.parse(code)
  if #tree.errors > 0 then return nil, code end
  local kind, node, last = nil, 2, #code
  while node <= tree.count do
    local what = tree.kind[node]
    if what == "comment" then
      last = math.min(last, tree.first[node] - 1)
    elseif tree.named[node] then
      local inner = what == "expression_statement" and tree.kind[node + 1]
      local is_expression = inner and inner ~= "assignment" and inner ~= "augmented_assignment"
      if kind == "compound" or COMPOUND[what] then kind = "compound"
      else kind = not kind and is_expression and "expression" or "simple" end
    end
    node = tree.next[node]
  end
  return kind, (code:sub(1, last):gsub("[%s;]+$", ""))
end

-- The names that code takes from around it, by the line where they stand.
local function names_of(code)
  local tree = pyast.parse(code)
  if #tree.errors > 0 then return nil end
  local _, uses = pyast.scopes(tree)
  local stored, lines = {}, {}
  for i = 1, uses.count do
    local context = uses.context[i]
    if uses.resolved[i] == 0 and context ~= "load" then stored[uses.name[i]] = true end
  end
  for i = 1, uses.count do
    local name = uses.name[i]
    if uses.resolved[i] == 0 and uses.context[i] == "load" and not stored[name] then
      local line = pyast.position(code, tree.first[uses.node[i]])
      lines[line] = lines[line] or {}
      table.insert(lines[line], name)
    end
  end
  return lines
end

-- Letters of the flags that have a value, by the magics that have flags.
local WITH_VALUE = { timeit = "nrp", prun = "lsTD" }

-- The flags at the beginning of a line, and the rest.
local function split_flags(line, with_value)
  local at = 1
  while true do
    local letter, after = line:match("^%-(%a)()", at)
    if not letter then break end
    if with_value:find(letter, 1, true) then after = line:match("^%s*%S+()", after) or after end
    at = line:match("^[%a]*%s*()", after)
  end
  return line:sub(1, at - 1):gsub("%s+$", ""), line:sub(at)
end

local LINES = {}  -- by magic: functions of code, target, flags; give Python and what stands before the code in it

function LINES.time(code, target)
  local kind = kind_of(code)
  local head = target and target .. " = " or ""
  if not kind or kind == "compound" or target and kind ~= "expression" then
    return head .. (code ~= "" and code or "pass"), #head
  end
  if not target and kind == "expression" then head = "get_ipython().kept = " end
  head = "with get_ipython().timing(): " .. head
  return head .. code, #head
end

function LINES.timeit(code, target, flags)
  local kind, bare = kind_of(code)
  local call = ("get_ipython().timeit(%s, '', %s"):format(quoted(flags), quoted(bare))
  local head = target and target .. " = " or ""
  if not kind or bare:find "%f[%w_]await%f[^%w_]" then return head .. (code ~= "" and code or "pass"), #head end
  if kind == "expression" and (target or flags:find "o") then
    head = head .. call .. ", 0 and ("
    return head .. bare .. "))", #head
  end
  if kind ~= "compound" and not target then
    head = ("if %s): "):format(call)
    return head .. bare, #head
  end
  local names = table.concat((names_of(bare) or {})[1] or {}, ", ")
  return ("%s%s, 0 and (%s))"):format(head, call, names ~= "" and names or "0"), 0
end

function LINES.prun(code, target, flags)
  local kind = kind_of(code)
  local head = target and target .. " = " or ""
  if not target and (kind == "expression" or kind == "simple") then
    head = ("with get_ipython().profiling(%s): "):format(quoted(flags))
  end
  return head .. (code ~= "" and code or "pass"), #head
end

---Python for a line magic that measures.
---@param name string?
---@param rest string? what stands after its name
---@param target string? what its value is bound to
---@return string? python nil for another magic
---@return integer before the characters before the measured code
---@return integer flags the characters of rest before it
function M.line(name, rest, target)
  local make = name and LINES[name]
  if not make then return nil, 0, 0 end
  local flags, code = "", rest
  if WITH_VALUE[name] then flags, code = split_flags(rest, WITH_VALUE[name]) end
  local python, before = make(code, target, flags)
  return python, before, #rest - #code
end

---Python for a cell under %%timeit.
---@param rest string flags and what is run before
---@param body string? the cell, in Python; nil when there is no line but the first
---@return string? python of as many lines, nil when the cell is no Python
function M.cell(rest, body)
  local flags, setup = split_flags(rest, WITH_VALUE.timeit)
  local count = body and select(2, body:gsub("\n", "")) + 2 or 1
  body = body or ""
  local names = names_of(setup .. "\n" .. body)
  if not names then return nil end
  local lines = { ("get_ipython().timeit(%s, %s, %s, 0 and ("):format(quoted(flags), quoted(setup), quoted(body)) }
  for line = 1, count do
    local list = table.concat(names[line] or {}, ", ")
    if list ~= "" then list = list .. "," end
    lines[line] = (lines[line] or "") .. list
  end
  return table.concat(lines, "\n") .. "))"
end

return M
