-- IPython's magics and shell lines turned into Python, line for line, so that places stay.
-- Not for running them: the step's runtime has a small get_ipython().
--   magics.translate("!ls\n") -> "get_ipython().system('ls')\n", {}
local pyast = require "pyast"

local M = {}

-- Magics that a step's runtime understands.
local known = {
  matplotlib = true, env = true, set_env = true, cd = true, pwd = true, pip = true, load_ext = true,
  autoreload = true, config = true, reload_ext = true, who = true, whos = true, precision = true, pylab = false,
}
-- Magics whose argument is Python itself: it runs without them.
local transparent = { time = true, timeit = true, prun = true }
local transparent_cells = { time = true, timeit = true, capture = true, prun = true }

local function quoted(text)
  return "'" .. text:gsub("[\\']", "\\%0"):gsub("\n", "\\n") .. "'"
end

-- Python for a line magic or a shell line without an assignment; nil when it is unknown.
local function line_magic(text)
  if text:sub(1, 1) == "!" then return "get_ipython().system(" .. quoted(text:gsub("^!+%s*", "")) .. ")" end
  local name, rest = text:match "^%%%s*([%w_]+)%s*(.*)$"
  if not name then return nil end
  if transparent[name] then return rest ~= "" and rest or "pass" end
  if known[name] then return ("get_ipython().run_line_magic(%s, %s)"):format(quoted(name), quoted(rest)) end
  return nil
end

local function cell_magic(text)
  local first, body = text:match "^%%%%([^\n]*)\n?(.*)$"
  local name, rest = first:match "^%s*([%w_!]+)%s*(.*)$"
  if name and transparent_cells[name] then return "\n" .. body end
  if name == "bash" or name == "sh" or name == "!" then
    local lines = select(2, body:gsub("\n", ""))
    return "get_ipython().system(" .. quoted(body) .. ")" .. ("\n"):rep(lines)
  end
  if name == "writefile" then
    local lines = select(2, body:gsub("\n", ""))
    return ("get_ipython().writefile(%s, %s)"):format(quoted(rest), quoted(body)) .. ("\n"):rep(lines)
  end
  return nil
end

---@param source string a cell
---@return string source Python with the same lines
---@return {line: integer, text: string}[] unknown magics that were left out
function M.translate(source)
  if not source:find "[%%!?]" then return source, {} end
  local _, found = pyast.blank(source)
  local pieces, at, unknown = {}, 1, {}
  for _, magic in ipairs(found) do
    local text = source:sub(magic.first, magic.last)
    local target, value = text:match "^([%w_%., %*%(%)]-)%s*=%s*([%%!].*)$"
    local python
    if text:sub(1, 2) == "%%" then
      python = cell_magic(text)
    elseif target or magic.name then
      value = value or text
      local call = value:sub(1, 1) == "!" and "get_ipython().getoutput(" .. quoted(value:sub(2)) .. ")"
        or line_magic(value)
      python = call and (target and target .. " = " .. call or call)
    elseif text:find "^%?" or text:find "%?%s*$" then
      python = "pass"
    else
      python = line_magic(text)
    end
    if not python then
      unknown[#unknown + 1] = { line = magic.line, text = text:match "^[^\n]*" }
      python = "pass" .. ("\n"):rep(select(2, text:gsub("\n", "")))
    end
    pieces[#pieces + 1] = source:sub(at, magic.first - 1)
    pieces[#pieces + 1] = python
    at = magic.last + 1
  end
  pieces[#pieces + 1] = source:sub(at)
  local translated = table.concat(pieces)
  if translated:find "get_ipython%(%)%.run_cell_magic" then return source, unknown end
  return translated, unknown
end

return M
