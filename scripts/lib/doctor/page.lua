-- doctor.page: what was found as a page that needs nothing else; light and dark, narrow and wide, on paper too.
-- Not for text and JSON (doctor.report).
--   fs.write("doctor.html", page.html(doctor.visit(client)))

local report = require "doctor.report"
local svg = require "graph.svg"

local M = {}

local escape = svg.escape

-- Commands stand in backquotes.
local function with_code(text)
  return (escape(text):gsub("`([^`]+)`", "<code>%1</code>"))
end

local function fix_of(finding)
  local manifest = finding.manifest and ("<pre>%s</pre>"):format(escape(finding.manifest)) or ""
  return with_code(finding.fix) .. manifest
end

local PAGE = [[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>kfhost doctor: %s</title><style>
:root { --ground: #fff; --card: #f7f8fa; --text: #1d2430; --faint: #5b6575; --line: #dde2ea; --error: #b42318;
  --warning: #93560a; --fine: #18794e; --badge: #fff; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181f; --card: #1c222b; --text: #e4e8ee; --faint: #9aa5b4;
  --line: #303946; --error: #ff8a80; --warning: #f3bd5b; --fine: #6fd3a3; --badge: #14181f; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 0 auto; padding: 2rem 1rem 4rem;
  background: var(--ground); color: var(--text); }
h1 { font-size: 1.5rem; margin: 0; }
header p { margin: .2rem 0 0; color: var(--faint); overflow-wrap: anywhere; }
.summary { font-size: 1.1rem; font-weight: 600; margin: 1.4rem 0 1rem; }
.summary.fine { color: var(--fine); }
article { border: 1px solid var(--line); border-left: 4px solid var(--warning); border-radius: 6px;
  background: var(--card); padding: .9rem 1.1rem; margin: 0 0 1rem; break-inside: avoid; }
article.error { border-left-color: var(--error); }
h2 { font-size: 1rem; margin: 0; display: flex; flex-wrap: wrap; gap: .3rem .6rem; align-items: baseline; }
.badge { font-size: .72rem; letter-spacing: .04em; text-transform: uppercase; border-radius: 3px;
  padding: .05rem .45rem; background: var(--warning); color: var(--badge); }
.error .badge { background: var(--error); }
code { font: .875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; color: var(--faint); font-weight: 400; }
dd code { color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 3px;
  padding: .05rem .3rem; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
pre { font: .8125rem/1.5 ui-monospace, monospace; background: var(--ground); border: 1px solid var(--line);
  border-radius: 4px; padding: .5rem .7rem; margin: .5rem 0 0; overflow-x: auto; }
dl { display: grid; grid-template-columns: 3rem 1fr; gap: .3rem .8rem; margin: .7rem 0 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 2rem 0 .4rem; } ul { margin: 0; padding-left: 1.2rem; }
li { overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { display: block; } dt { margin-top: .5rem; } }
</style></head><body>
<header><h1>kfhost doctor</h1><p>%s</p></header>
<p class="summary%s">%s</p>
%s</body></html>
]]

local ARTICLE = [[
<article class="%s"><h2><span class="badge">%s</span>%s <code>%s</code></h2>
<dl><dt>What</dt><dd>%s</dd><dt>Why</dt><dd>%s</dd><dt>Fix</dt><dd>%s</dd></dl></article>
]]

local function section(parts, title, items)
  if #items == 0 then return end
  parts[#parts + 1] = ("<section><h3>%s</h3><ul>\n"):format(title)
  for _, item in ipairs(items) do parts[#parts + 1] = ("<li>%s</li>\n"):format(escape(item)) end
  parts[#parts + 1] = "</ul></section>\n"
end

local function about_of(about)
  local version = type(about.version) == "table" and about.version.gitVersion
  local words = { about.server or "no cluster" }
  if version then words[#words + 1] = "Kubernetes " .. version end
  if about.user then words[#words + 1] = "as " .. tostring(about.user.username) end
  return table.concat(words, " · ")
end

---@param found doctor.Report
---@return string
function M.html(found)
  local parts, unseen = {}, {}
  for index, one in ipairs(found.findings) do
    parts[index] = ARTICLE:format(one.severity, one.severity, escape(one.code), escape(one.where), escape(one.what),
      escape(one.why), fix_of(one))
  end
  for index, entry in ipairs(found.not_checked) do unseen[index] = ("%s: %s"):format(entry.what, entry.reason) end
  section(parts, "Not checked", unseen)
  section(parts, "Not installed", found.not_installed)
  local summary = escape(report.summary(found))
  return PAGE:format(summary, escape(about_of(found.about or {})), #found.findings == 0 and " fine" or "", summary,
    table.concat(parts))
end

return M
