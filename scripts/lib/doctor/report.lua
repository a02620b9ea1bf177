-- doctor.report: what was found as text or JSON, and the exit code that it means. The page is doctor.page.
-- Not for finding anything (doctor).
--   io.write(report.text(doctor.visit(client)))

local json = require "json"
local term = require "term"

local M = {}

local COLOUR = { error = "bold red", warning = "bold yellow" }
local WIDEST <const> = 100 -- longer lines are hard to read

local function count(findings, severity)
  local n = 0
  for _, finding in ipairs(findings) do
    if finding.severity == severity then n = n + 1 end
  end
  return n
end

local function counted(n, noun) return ("%d %s%s"):format(n, noun, n == 1 and "" or "s") end

---One line that says how it stands.
---@param report doctor.Report
---@return string
function M.summary(report)
  local unseen = #report.not_checked > 0 and (", %s not checked"):format(counted(#report.not_checked, "thing")) or ""
  if #report.findings > 0 then
    return ("%s, %s%s"):format(counted(count(report.findings, "error"), "error"),
      counted(count(report.findings, "warning"), "warning"), unseen)
  end
  if report.nothing then return "Nothing could be looked at." end
  if unseen ~= "" then return "Nothing is wrong in what could be looked at" .. unseen .. "." end
  return "Nothing is wrong that the doctor knows of."
end

-- --- text --------------------------------------------------------------------------------------------------

-- The words of a text; a command in backquotes is one, so that it can be copied whole.
local function words_of(text)
  local words, at = {}, 1
  while true do
    local from = text:find("%S", at)
    if not from then return words end
    local upto = text:match("^[^%s`]*`[^`]+`%S*()", from) or text:match("^%S+()", from)
    words[#words + 1] = text:sub(from, upto - 1)
    at = upto
  end
end

-- A text in lines of at most that many columns, cut at blanks; a longer word keeps a line of its own.
local function wrap(lines, text, first, rest, columns)
  local line, width, empty = first, term.width(first), true
  for _, word in ipairs(words_of(text)) do
    local wide = term.width(word)
    if not empty and width + 1 + wide > columns then
      lines[#lines + 1] = line
      line, width, empty = rest, term.width(rest), true
    end
    line = empty and line .. word or line .. " " .. word
    width, empty = width + wide + (empty and 0 or 1), false
  end
  lines[#lines + 1] = line
end

local function add_finding(lines, finding, columns)
  lines[#lines + 1] = ("%s %s  %s"):format(term.style(finding.severity, COLOUR[finding.severity]), finding.code,
    finding.where)
  wrap(lines, finding.what, "  ", "  ", columns)
  wrap(lines, finding.why, "  why: ", "       ", columns)
  wrap(lines, finding.fix, "  fix: ", "       ", columns)
  for line in (finding.manifest or ""):gmatch "[^\n]+" do lines[#lines + 1] = "       " .. line end
  lines[#lines + 1] = ""
end

-- What may not be read is said together: it is one right that is missing.
local function add_unseen(lines, report, columns)
  local forbidden = {}
  for _, entry in ipairs(report.not_checked) do
    if entry.code == "Forbidden" then forbidden[#forbidden + 1] = entry.what
    else wrap(lines, ("%s: %s"):format(entry.what, entry.reason), "not checked: ", "  ", columns) end
  end
  if #forbidden > 0 then
    local user = (report.about or {}).user
    wrap(lines, ("%s: %s may not list them"):format(table.concat(forbidden, ", "),
      user and user.username or "this user"), "not checked: ", "  ", columns)
  end
  if #report.not_checked > 0 then lines[#lines + 1] = "" end
end

local function columns_of(given)
  return math.max(40, math.min(given or term.size(), WIDEST))
end

---@param report doctor.Report
---@param columns integer? those of the terminal without it
---@return string
function M.text(report, columns)
  local lines, width = {}, columns_of(columns)
  for _, finding in ipairs(report.findings) do add_finding(lines, finding, width) end
  add_unseen(lines, report, width)
  if #report.not_installed > 0 then
    wrap(lines, table.concat(report.not_installed, ", "), "not installed: ", "  ", width)
  end
  wrap(lines, M.summary(report), "", "", width)
  return table.concat(lines, "\n") .. "\n"
end

-- --- JSON, and the exit code -------------------------------------------------------------------------------

---@param report doctor.Report
---@return string
function M.json(report)
  return json.encode({ findings = json.array(report.findings), errors = count(report.findings, "error"),
    warnings = count(report.findings, "warning"), not_checked = json.array(report.not_checked),
    not_installed = json.array(report.not_installed) }, { sort = true, indent = 2 }) .. "\n"
end

---@param report doctor.Report
---@return integer 0 nothing, 1 an error, 3 warnings only, or something that could not be looked at
function M.exit_code(report)
  if count(report.findings, "error") > 0 then return 1 end
  return (#report.findings > 0 or #report.not_checked > 0) and 3 or 0
end

return M
