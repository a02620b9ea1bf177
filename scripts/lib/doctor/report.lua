-- doctor.report: findings as text, JSON or a page, and the exit code that they mean.
-- Not for finding anything (doctor).
--   io.write(report.text(findings))

local json = require "json"
local term = require "term"

local M = {}

local COLOUR = { error = "bold red", warning = "bold yellow" }

local function count(findings, severity)
  local n = 0
  for _, finding in ipairs(findings) do
    if finding.severity == severity then n = n + 1 end
  end
  return n
end

local function summary(findings)
  if #findings == 0 then return "Nothing is wrong that the doctor knows of." end
  return ("%d error%s, %d warning%s"):format(count(findings, "error"), count(findings, "error") == 1 and "" or "s",
    count(findings, "warning"), count(findings, "warning") == 1 and "" or "s")
end

---@param findings doctor.Finding[]
---@return string
function M.text(findings)
  local lines = {}
  for _, finding in ipairs(findings) do
    lines[#lines + 1] = ("%s %s  %s"):format(term.style(finding.severity, COLOUR[finding.severity]), finding.code,
      finding.where)
    lines[#lines + 1] = "  " .. finding.what
    lines[#lines + 1] = "  why: " .. finding.why
    lines[#lines + 1] = "  fix: " .. finding.fix
    lines[#lines + 1] = ""
  end
  lines[#lines + 1] = summary(findings)
  return table.concat(lines, "\n") .. "\n"
end

---@param findings doctor.Finding[]
---@return string
function M.json(findings)
  return json.encode({ findings = json.array(findings), errors = count(findings, "error"),
    warnings = count(findings, "warning") }, { sort = true, indent = 2 }) .. "\n"
end

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (text:gsub('[&<>"]', ENTITIES))
end

local PAGE = [[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>kfhost doctor</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
article { border-left: 4px solid #b7791f; padding: .2rem 1rem; margin: 1rem 0; background: #fafafa; }
article.error { border-color: #c53030; } h2 { font-size: 1rem; margin: .4rem 0; } dt { font-weight: 600; }
dd { margin: 0 0 .4rem; } code { font-size: .9rem; }
</style></head><body>
<h1>kfhost doctor</h1>
<p>%s</p>
%s</body></html>
]]

local ARTICLE = [[
<article class="%s"><h2>%s: %s</h2><p><code>%s</code></p>
<dl><dt>What</dt><dd>%s</dd><dt>Why</dt><dd>%s</dd><dt>Fix</dt><dd>%s</dd></dl></article>
]]

---@param findings doctor.Finding[]
---@return string
function M.html(findings)
  local articles = {}
  for index, finding in ipairs(findings) do
    articles[index] = ARTICLE:format(finding.severity, finding.severity, escape(finding.code), escape(finding.where),
      escape(finding.what), escape(finding.why), escape(finding.fix))
  end
  return PAGE:format(escape(summary(findings)), table.concat(articles))
end

---@param findings doctor.Finding[]
---@return integer 0 none, 1 an error, 3 warnings only
function M.exit_code(findings)
  if count(findings, "error") > 0 then return 1 end
  return #findings > 0 and 3 or 0
end

return M
