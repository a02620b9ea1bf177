-- IPython's magics and shell lines turned into Python, line for line, so that places stay.
-- Not for running them: the step's runtime has a small get_ipython().
--   magics.translate("!ls\n") -> "get_ipython().system('ls')\n", {}
local pyast = require "pyast"

local M = {}

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- Magics that every step understands, with IPython in its image or without.
local KNOWN = set [[matplotlib env set_env cd pwd pip load_ext autoreload config reload_ext who whos who_ls precision
  pylab run reset xmode colors alias gui doctest_mode logstart logoff]]
-- Magics whose argument is Python itself: it runs without them.
local TRANSPARENT = set "time timeit prun memit mprun lprun"
local TRANSPARENT_CELLS = set "time timeit prun memit"
local SCRIPTS = {
  bash = "/bin/bash", sh = "/bin/sh", ["!"] = "/bin/sh", perl = "perl", ruby = "ruby", python = "python3",
  python3 = "python3",
}
local SHOWN = { html = "html", HTML = "html", svg = "svg", SVG = "svg", markdown = "markdown", latex = "latex",
  javascript = "javascript", js = "javascript" }

local function quoted(text)
  return "'" .. text:gsub("[\\']", "\\%0"):gsub("\r", "\\r"):gsub("\n", "\\n") .. "'"
end

-- The argument of %timeit without its flags: -n 10, -r3, -o.
local function without_flags(text)
  local rest, before = text, nil
  while rest ~= before do
    before = rest
    rest = rest:gsub("^%-[nrtcp]%s*%d+%s+", ""):gsub("^%-[oqvcp]%s+", "")
  end
  return rest
end

-- Python for a line magic or a shell line without an assignment, and whether every step understands it.
local function line_magic(text)
  if text:sub(1, 1) == "!" then return "get_ipython().system(" .. quoted(text:gsub("^!+%s*", "")) .. ")", true end
  local name, rest = text:match "^%%+%s*([%w_]+)%s*(.*)$"
  if not name then return nil, false end
  if TRANSPARENT[name] then
    rest = without_flags(rest)
    return rest ~= "" and rest or "pass", true
  end
  return ("get_ipython().run_line_magic(%s, %s)"):format(quoted(name), quoted(rest)), KNOWN[name] or false
end

-- As many line ends as the text has, so that what follows stays in its place.
local function padding(text)
  return ("\n"):rep(select(2, text:gsub("\n", "")))
end

-- Flags of %%bash and its like that are IPython's own, and the names that they bind: --out text --no-raise-error.
local function script_flags(line)
  local names, quiet, flags = {}, false, {}
  line = (" " .. line):gsub("%s%-%-(%l+)[%s=]+([%a_][%w_]*)", function(flag, name)
    if flag ~= "out" and flag ~= "err" then return nil end
    names[flag] = name
    return " "
  end):gsub("%s%-%-no%-raise%-error%f[%s\0]", function()
    quiet = true
    return " "
  end)
  for _, flag in ipairs { "out", "err" } do
    if names[flag] then flags[#flags + 1] = names[flag] end
  end
  local keywords = (names.out and ", out=True" or "") .. (names.err and ", err=True" or "")
    .. (quiet and ", check=False" or "")
  return line:match "^%s*(.-)%s*$", table.concat(flags, ", "), keywords
end

-- Python for a cell magic; the body of one that runs Python is translated, too.
local function cell_magic(text, found)
  local first, body = text:match "^%%%%([^\n]*)\n?(.*)$"
  local name, rest = first:match "^%s*([%w_!]+)%s*(.*)$"
  local function call(method, ...)
    local words = {}
    for i, word in ipairs { ... } do words[i] = quoted(word) end
    return ("get_ipython().%s(%s)"):format(method, table.concat(words, ", ")) .. padding(text)
  end
  if name and (TRANSPARENT_CELLS[name] or name == "capture") then
    local python, inner = M.translate(body)
    for _, finding in ipairs(inner) do
      found[#found + 1] = { line = finding.line + 1, text = finding.text }
    end
    if name ~= "capture" then
      local statement = without_flags(rest)
      return (statement ~= "" and statement:sub(1, 1) ~= "-" and statement or "") .. "\n" .. python
    end
    local variable = rest:gsub("%-%-?[%w-]+", ""):match "[%a_][%w_]*"
    return (variable and variable .. " = " or "") .. "get_ipython().start_capture()\n" .. python
      .. "\nget_ipython().end_capture()"
  end
  if SCRIPTS[name] or name == "script" then
    local words, targets, keywords = script_flags(rest)
    local command = (SCRIPTS[name] and SCRIPTS[name] .. " " or "") .. words
    return (targets ~= "" and targets .. " = " or "") .. ("get_ipython().script(%s, %s%s)"):format(quoted(command),
      quoted(body), keywords) .. padding(text)
  end
  if name == "writefile" or name == "file" then return call("writefile", rest, body) end
  if SHOWN[name] then return call("show", SHOWN[name], body) end
  found[#found + 1] = { line = 1, text = text:match "^[^\n]*" }
  return call("run_cell_magic", name or "", rest, body)
end

-- What IPython takes off each line: the indent of the first line that is not blank, or prompts that
-- were pasted along. Returns the source and how many characters each line lost.
local function clean(source)
  local start = source:match "^%s*\n()" or 1
  local indent = source:match("^[ \t]*", start)
  local first = source:match("[^\n]*", start + #indent)
  local prompt = first:find "^>>>%f[ \0]" and "classic" or first:find "^In %[%d+%]: " and "ipython"
  if indent == "" and not prompt then return source, nil end
  local shift, number = {}, 0
  local cleaned = source:gsub("([^\n]*)(\n?)", function(line, ending)
    number = number + 1
    local rest = line
    if rest:sub(1, #indent) == indent then rest = rest:sub(#indent + 1) end
    if prompt == "classic" then rest = rest:gsub("^>>>%f[ \0] ?", ""):gsub("^%.%.%.%f[ \0] ?", "")
    elseif prompt then rest = rest:gsub("^In %[%d+%]: ", ""):gsub("^%s*%.%.%.+: ?", "") end
    shift[number] = #line - #rest
    return rest .. ending
  end)
  return cleaned, shift
end

---@param source string a cell
---@return string source Python with the same lines
---@return {line: integer, text: string}[] unknown magics that work only where IPython is
---@return table<integer, integer>? shift by line, how many characters it lost at its start
function M.translate(source)
  local shift
  if source:find "^[%s>I]" then source, shift = clean(source) end
  if not source:find "[%%!?]" then return source, {}, shift end
  local _, magics = pyast.blank(source)
  local pieces, at, found = {}, 1, {}
  for _, magic in ipairs(magics) do
    local text = source:sub(magic.first, magic.last)
    local target, value = text:match "^([%w_%., %*%(%)]-)%s*=%s*([%%!].*)$"
    local python, known
    if text:sub(1, 2) == "%%" then
      python, known = cell_magic(text, found), true
    elseif text:find "^%?" or text:find "%?%s*$" and not target then
      python, known = "pass" .. padding(text), true
    else
      value = target and value or text
      if (target or magic.name) and value:sub(1, 1) == "!" then
        python, known = "get_ipython().getoutput(" .. quoted(value:sub(2)) .. ")", true
      else
        python, known = line_magic(value)
      end
      python = python and (target and target .. " = " .. python or python) .. padding(text)
    end
    if not known then found[#found + 1] = { line = magic.line, text = text:match "^[^\n]*" } end
    pieces[#pieces + 1] = source:sub(at, magic.first - 1)
    pieces[#pieces + 1] = python or "pass" .. padding(text)
    at = magic.last + 1
  end
  pieces[#pieces + 1] = source:sub(at)
  return table.concat(pieces), found, shift
end

return M
