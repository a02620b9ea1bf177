-- IPython's magics and shell lines turned into Python, line for line, so that places stay.
-- Not for running them: the step's runtime has a small get_ipython().
--   magics.translate("!ls\n") -> "get_ipython().system('ls')\n", {}
local pyast = require "pyast"
local timing = require "kale.timing"

local M = {}

local function set(text)
  local result = {}
  for name in text:gmatch "%S+" do result[name] = true end
  return result
end

-- Magics that every step understands, with IPython in its image or without.
local KNOWN = set [[matplotlib env set_env cd pwd pushd popd dirs pip conda mamba micromamba uv autoreload config who
  whos who_ls precision run reset reset_selective xmode colors alias gui doctest_mode logstart logoff logon logstop
  logstate autosave autocall automagic autoawait pdb page pprint lsmagic magic quickref pinfo pinfo2 pdoc pdef psource
  pfile psearch ls ll lf lk lx ldir cat less more man cp mv rm rmdir mkdir sx system]]
-- Magics whose argument is Python itself, and that are not there: it runs without them.
local TRANSPARENT = set "memit mprun lprun"
local SCRIPTS = {
  bash = "/bin/bash", sh = "/bin/sh", perl = "perl", ruby = "ruby", python = "python3", python3 = "python3",
}
local OUTPUT = set "! sx system"
local SHOWN = { html = "html", HTML = "html", svg = "svg", SVG = "svg", markdown = "markdown", latex = "latex",
  javascript = "javascript", js = "javascript" }

local quoted = timing.quoted

-- --- names in a line ------------------------------------------------------------------------------------------

local function is_python(text)
  return #pyast.parse("(" .. text .. "\n)").errors == 0 and text:find "%S" ~= nil
end

-- Python that reads what {expression} and $name stand for in a line, and that is never run: a last argument, or
-- nothing. Of a line with something that is no Python IPython replaces nothing.
local function taken(line)
  if not line:find "[{$]" then return "" end
  local found, is_plain = {}, true
  line = line:gsub("{{", ""):gsub("}}", "")
  line = line:gsub("%b{}", function(field)
    local text = field:sub(2, -2):gsub("![rsa]$", "")
    is_plain = is_plain and not text:find "\n" and is_python(text)
    found[#found + 1] = "(" .. text .. ")"
    return ""
  end)
  if not is_plain or line:find "[{}]" then return "" end
  for before, name in (" " .. line):gmatch "([^\\])%$([%a_][%w_%.]*)" do
    if before ~= "$" and is_python(name) then found[#found + 1] = name end
  end
  return #found > 0 and ", 0 and (" .. table.concat(found, ", ") .. ")" or ""
end

local function call(method, ...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = quoted(word) end
  return ("get_ipython().%s(%s"):format(method, table.concat(words, ", "))
end

-- --- lines ----------------------------------------------------------------------------------------------------

-- As many line ends as the text has, so that what follows stays in its place.
local function padding(text)
  return ("\n"):rep(select(2, text:gsub("\n", "")))
end

-- The flags of %memit and its like.
local function without_flags(text)
  local rest, before = text, nil
  while rest ~= before do
    before = rest
    rest = rest:gsub("^%-[rtifmTDs]%s*%S+%s+", ""):gsub("^%-[coqvuzS]%s+", "")
  end
  return rest
end

local PYLAB = "import numpy, matplotlib; from matplotlib import pylab, mlab, pyplot; np = numpy; plt = pyplot; "
  .. "from pylab import *; from numpy import *"

-- Magics that are Python: functions of what stands after their names; they also give where that stands.
local AS_PYTHON = {
  xdel = function(rest) return "del " .. rest:gsub("^%-n%s+", ""), #"del " end,
  pylab = function() return PYLAB, 0 end,
}

-- Extensions that are a part of every step, or that change nothing in one.
local EXTENSIONS = set "autoreload storemagic kfhost"

local function is_known(name, rest)
  if name == "load_ext" or name == "reload_ext" or name == "unload_ext" then
    return EXTENSIONS[rest:match "^%S*"] or false
  end
  return KNOWN[name] or false
end

-- A shell line: what it prints is shown, or taken where there is a target or a second sign.
local function shell_line(text, target)
  local signs, command = text:match "^(!+)(.*)$"
  if not target then command = command:gsub("^%s+", "") end
  return call((target or #signs > 1) and "getoutput" or "system", command) .. taken(command) .. ")"
end

-- A magic or a shell line, with the names that its value is bound to: Python, whether every step understands it, and,
-- when there is code in it, how many characters stand before that in the Python and in the text.
local function statement(text, target)
  local head = target and target .. " = " or ""
  if text:sub(1, 1) == "!" then return head .. shell_line(text, target), true end
  local name, at = text:match "^%%+%s*(%S+)%s*()"
  if not name then return nil, false end
  local rest = text:sub(at)
  local timed, before, flags = timing.line(name, rest, target)
  if timed then return timed, true, before, at - 1 + flags end
  if AS_PYTHON[name] and not target then
    local python, start = AS_PYTHON[name](rest)
    return python, true, start, at - 1
  end
  if TRANSPARENT[name] then
    rest = without_flags(rest)
    return head .. (rest ~= "" and rest or "pass"), true
  end
  return head .. call("run_line_magic", name, rest) .. taken(rest) .. ")", is_known(name, rest)
end

-- --- cells ----------------------------------------------------------------------------------------------------

-- Flags of %%bash and its like that are IPython's own, and the names that they bind: --out text --no-raise-error.
-- What runs beside the cell elsewhere runs in its turn here.
local function script_flags(line)
  local names, quiet, flags, odd = {}, false, {}, false
  line = (" " .. line):gsub("%s%-%-(%l+)[%s=]+([%a_][%w_]*)", function(flag, name)
    odd = odd or flag == "proc"
    if flag ~= "out" and flag ~= "err" and flag ~= "proc" then return nil end
    names[flag] = name
    return " "
  end):gsub("%s%-%-no%-raise%-error%f[%s\0]", function()
    quiet = true
    return " "
  end):gsub("%s%-%-bg%f[%s\0]", " ")
  for _, flag in ipairs { "out", "err" } do
    if names[flag] then flags[#flags + 1] = names[flag] end
  end
  local keywords = (names.out and ", out=True" or "") .. (names.err and ", err=True" or "")
    .. (quiet and ", check=False" or "")
  return line:match "^%s*(.-)%s*$", table.concat(flags, ", "), keywords, odd
end

-- The cell below a magic of the first line, translated; what is found in it.
local function below(body, found)
  local python, inner, shift, rewritten = M.translate(body)
  for _, finding in ipairs(inner) do found[#found + 1] = { line = finding.line + 1, text = finding.text } end
  local marks = { shift = {}, rewritten = {} }
  for line, moved in pairs(shift or {}) do marks.shift[line + 1] = moved end
  for line, how in pairs(rewritten or {}) do marks.rewritten[line + 1] = how end
  return python, marks
end

local CELLS = {}  -- by magic: functions of rest, body, text, found; give Python and marks

function CELLS.time(rest, body, _, found)
  local python, marks = below(body, found)
  return "get_ipython().start_timing()" .. (rest ~= "" and "; " .. rest or "") .. "\n" .. python, marks
end

function CELLS.capture(rest, body, _, found)
  local python, marks = below(body, found)
  local variable = (" " .. rest):gsub("%s%-%-?[%w-]+", " "):match "[%a_][%w_]*"
  return (variable and variable .. " = " or "") .. call("start_capture", rest) .. ")\n" .. python
    .. "\nget_ipython().end_capture()", marks
end

function CELLS.timeit(rest, body, text, found)
  local python, marks = below(body, found)
  local timed = timing.cell(rest, text:find("\n", 1, true) and python or nil)
  if not timed then return "pass\n" .. python, marks end
  marks.shift = {}
  for line = 1, select(2, timed:gsub("\n", "")) + 1 do marks.rewritten[line] = "timing" end
  return timed .. padding(text):sub(select(2, timed:gsub("\n", "")) + 1), marks
end

local function transparent(rest, body, _, found)
  local python, marks = below(body, found)
  rest = without_flags(rest)
  return (rest ~= "" and rest:sub(1, 1) ~= "-" and rest or "") .. "\n" .. python, marks
end
CELLS.memit, CELLS.prun = transparent, transparent

-- Python for a cell magic; the body of one that runs Python is translated, too.
local function cell_magic(text, found)
  local first, body = text:match "^%%%%([^\n]*)\n?(.*)$"
  local name, rest = first:match "^%s*(%S+)%s*(.*)$"
  if name and CELLS[name] then return CELLS[name](rest, body, text, found) end
  if name and OUTPUT[name] then
    local command = rest .. "\n" .. body
    return call("getoutput", command) .. taken(command) .. ")" .. padding(text)
  end
  if SCRIPTS[name] or name == "script" then
    local words, targets, keywords, odd = script_flags(rest)
    if odd then found[#found + 1] = { line = 1, text = "%%" .. first } end
    local command = (SCRIPTS[name] and SCRIPTS[name] .. " " or "") .. words
    return (targets ~= "" and targets .. " = " or "") .. call("script", command, body) .. taken(words) .. keywords
      .. ")" .. padding(text)
  end
  if name == "writefile" or name == "file" then
    return call("writefile", rest, body) .. taken(rest) .. ")" .. padding(text)
  end
  if SHOWN[name] then return call("show", SHOWN[name], body) .. ")" .. padding(text) end
  found[#found + 1] = { line = 1, text = "%%" .. first }
  return call("run_cell_magic", name or "", rest or "", body) .. taken(rest or "") .. ")" .. padding(text)
end

-- Magics that may be run again and again: settings of the step itself.
local SETTINGS = set [[matplotlib env set_env cd autoreload load_ext config precision xmode colors gui alias
  doctest_mode logstart logoff logon logstop logstate autosave autocall automagic autoawait pdb page pprint lsmagic
  magic quickref pinfo pinfo2 pdoc pdef psource pfile psearch]]

---Whether a statement's Python is a magic that does no more when it runs in each step, or does nothing at all.
---@param python string
---@return boolean
function M.is_setting(python)
  local name = python:match "^get_ipython%(%)%.run_line_magic%('([%w_]+)'"
  return SETTINGS[name] or python:find "^pass%s*$" ~= nil
end

-- --- magics without their sign --------------------------------------------------------------------------------

-- Words that people write without the sign in Jupyter, which takes them for magics when nothing else bears the name.
local BARE = set "pip conda mamba ls ll cd pwd mkdir rm cp mv cat env who whos run time timeit"

---What to write for a line that works in Jupyter only: a command without its sign.
---@param line string
---@return string? hint
function M.bare(line)
  local word = line:match "^%s*(%l+)%f[%s\0]"
  if not word or not BARE[word] or line:find "^%s*%l+%s*[=,(]" or line:find "^%s*%l+%." then return nil end
  return ("perhaps the magic %%%s: write it with its sign"):format(word)
end

-- --- what IPython takes off ----------------------------------------------------------------------------------

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

-- What is known of a cell's lines: how far they have moved, and whose names may be the shell's.
local function merge(marks, of_cell)
  for line, by in pairs(of_cell and of_cell.shift or {}) do marks.shift[line] = by end
  for line, how in pairs(of_cell and of_cell.rewritten or {}) do marks.rewritten[line] = how end
  if not of_cell then marks.rewritten[1] = "shell" end
end

-- Python of one magic that was found, with as many lines; notes what is to be known of its lines. lead: the
-- characters of its target and what stands between.
local function replace(text, magic, lead, found, marks)
  if text:sub(1, 2) == "%%" then
    local python, of_cell = cell_magic(text, found)
    merge(marks, of_cell)
    return python
  end
  if text:find "^%?" or text:find "%?%s*$" and not magic.name then return "pass" .. padding(text) end
  local python, known, before, there = statement(text, magic.name)
  if before then
    local moved = lead + there - before
    if before == 0 and there > 0 then marks.rewritten[magic.line] = "timing"
    elseif moved ~= 0 then marks.shift[magic.line] = (marks.shift[magic.line] or 0) + moved end
  else
    marks.rewritten[magic.line] = "shell"
  end
  if not known then found[#found + 1] = { line = magic.line, text = text:match "^[^\n]*" } end
  return (python or "pass") .. padding(text)
end

-- What stands before a magic without the names that its value is bound to, and how long these are.
local function before_target(before, magic)
  if not magic.name then return before, 0 end
  local bare = before:match "^(.-)%s*=%s*$" or before
  local start = #bare - #magic.name
  return before:sub(1, start), #before - start
end

---@param source string a cell
---@return string source Python with the same lines
---@return {line: integer, text: string}[] unknown magics that work only where IPython is
---@return table<integer, integer>? shift by line, how many characters it lost at its start
---@return table<integer, string>? rewritten lines that are another text in Python: "shell" when their names may be
---  those of a shell, so that none of them has to be there; "timing"
function M.translate(source)
  local shift
  if source:find "^[%s>I]" then source, shift = clean(source) end
  if not source:find "[%%!?]" then return source, {}, shift end
  local _, magics = pyast.blank(source)
  local pieces, at, found, marks = {}, 1, {}, { shift = shift or {}, rewritten = {} }
  for _, magic in ipairs(magics) do
    local before, lead = before_target(source:sub(at, magic.first - 1), magic)
    pieces[#pieces + 1] = before
    pieces[#pieces + 1] = replace(source:sub(magic.first, magic.last), magic, lead, found, marks)
    at = magic.last + 1
  end
  pieces[#pieces + 1] = source:sub(at)
  return table.concat(pieces), found, next(marks.shift) and marks.shift or nil,
    next(marks.rewritten) and marks.rewritten or nil
end

return M
