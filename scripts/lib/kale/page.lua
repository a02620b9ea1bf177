-- kale.page: the frame of our HTML reports: one file, no network, light and dark.
-- Not for what is in it.
--   page.render("title", { "<h1>…</h1>", … })
local svg = require "graph.svg"

local M = {}

M.escape = svg.escape

local STYLE = [[
:root { --paper: #f6f7f9; --card: #fff; --ink: #1f2733; --soft: #5b6676; --line: #dfe3e9;
  --good: #2e9e5b; --bad: #d33d3d; --bar: #7aa7e6; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --card: #1a2029; --ink: #e6eaf0;
  --soft: #9aa5b5; --line: #2d3642; --good: #3fb872; --bad: #e46060; --bar: #3f6fb5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 ui-sans-serif, system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0; }
h2 { font-size: 17px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 14px 0 6px; color: var(--soft); font-weight: 600; }
.soft { color: var(--soft); }
.succeeded, .cached { color: var(--good); }
.failed, .cancelled { color: var(--bad); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; overflow-x: auto; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 4px 18px 4px 0; }
td:first-child { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.words code { font: 12.5px ui-monospace, monospace; background: var(--paper); border-radius: 4px; padding: 1px 4px; }
.words blockquote { margin: 8px 0; padding-left: 12px; border-left: 3px solid var(--line); color: var(--soft); }
.words a { color: var(--bar); }
.wide { overflow-x: auto; }
.wide th, .brief td { white-space: nowrap; }
.brief td, .brief th { max-width: 240px; overflow: hidden; text-overflow: ellipsis; }
tr.best td { font-weight: 600; }
.matrix td, .matrix th { border: 1px solid var(--line); padding: 6px 12px; text-align: center; }
.bar { position: relative; height: 14px; width: 320px; background: var(--paper); border-radius: 4px; }
.bar i { position: absolute; top: 0; bottom: 0; min-width: 2px; background: var(--bar); border-radius: 4px; }
pre { margin: 8px 0 0; padding: 10px 12px; background: var(--paper); border-radius: 6px; overflow-x: auto;
  font: 12.5px/1.45 ui-monospace, monospace; max-height: 420px; }
details { margin-top: 8px; }
summary { cursor: pointer; color: var(--soft); }
.output { margin-top: 10px; }
.output img, .output svg { max-width: 100%; background: #fff; border-radius: 6px; }
.page { width: 100%; height: 420px; border: 0; border-radius: 6px; background: #fff; }
.error { border-left: 3px solid var(--bad); padding-left: 12px; }
svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
]]

-- What steps displayed may be anybody's HTML: the browser itself keeps the whole page from asking the network.
local ALLOWED = "default-src 'none'; img-src data: blob:; media-src data: blob:; font-src data:; "
  .. "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; form-action 'none'; base-uri 'none'"

---@param title string
---@param parts string[] HTML
---@return string html the whole file
function M.render(title, parts)
  local all = {
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    ('<meta http-equiv="Content-Security-Policy" content="%s">'):format(ALLOWED),
    ("<title>%s</title><style>%s</style></head><body><main>"):format(M.escape(title), STYLE),
  }
  table.move(parts, 1, #parts, #all + 1, all)
  all[#all + 1] = "</main></body></html>\n"
  return table.concat(all, "\n")
end

---@param title string
---@param html string
---@return string
function M.section(title, html)
  return ("<section><h2>%s</h2>%s</section>"):format(M.escape(title), html)
end

---A table of texts; numbers stand at the right.
---@param header string[]
---@param rows (string|number)[][] each with an optional class
---@return string html
function M.table(header, rows)
  local parts = { "<table>" }
  if table.concat(header) ~= "" then
    parts[2] = "<tr>"
    for i, title in ipairs(header) do
      local first = rows[1] and tostring(rows[1][i])
      parts[#parts + 1] = ('<th%s>%s</th>'):format(tonumber(first) and ' class="number"' or "", M.escape(title))
    end
    parts[#parts + 1] = "</tr>"
  end
  for _, row in ipairs(rows) do
    parts[#parts + 1] = row.class and ('<tr class="%s">'):format(row.class) or "<tr>"
    for i = 1, #header do
      local value = row[i] == nil and "" or tostring(row[i])
      parts[#parts + 1] = ('<td%s>%s</td>'):format(tonumber(value) and ' class="number"' or "", M.escape(value))
    end
    parts[#parts + 1] = "</tr>"
  end
  parts[#parts + 1] = "</table>"
  return table.concat(parts)
end

return M
