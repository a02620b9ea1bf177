-- lab.demo.show: the scenes as text while they are played, and as a page with pictures.
-- Not for playing them (lab.demo).
--   demo.play(numbers, { say = show.teller(print), root = root }); show.page(results)

local json = require "json"
local svg = require "graph.svg"
local term = require "term"

local M = {}

-- --- text -------------------------------------------------------------------------------------------------

-- Boxes from left to right on two lines: names with arrows, notes below them.
local function picture(nodes)
  local names, notes = {}, {}
  for index, node in ipairs(nodes) do
    local name = (node.state == "failed" and "✗ " or node.state == "succeeded" and "✓ " or "") .. node.name
    local note = node.note or ""
    local width = math.max(term.width(name), term.width(note))
    local arrow = index < #nodes and " ──▶ " or ""
    names[index] = name .. (" "):rep(width - term.width(name)) .. arrow
    notes[index] = note .. (" "):rep(width - term.width(note) + term.width(arrow))
  end
  return { (table.concat(names):gsub("%s+$", "")), (table.concat(notes):gsub("%s+$", "")) }
end

local WIDEST <const> = 100

-- A sentence on lines of like length, indented.
local function wrapped(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and term.width(line) + term.width(word) >= WIDEST then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n    ")
end

local TELL = {}

function TELL.scene(write, scene)
  write(("\n%s  %s\n"):format(term.style(scene.number, "bold"), scene.title))
end

function TELL.broken(write) write("\n  " .. term.style("without the policy", "bold") .. "\n") end

function TELL.repaired(write, scene)
  local by = #scene.policies > 0 and "with " .. table.concat(scene.policies, " and ") or scene.repair
  write("\n  " .. term.style(by, "bold") .. "\n")
end

function TELL.why(write, scene)
  write("\n  " .. term.style("why", "bold") .. "\n")
  for _, line in ipairs(picture(scene.picture)) do write("    " .. line .. "\n") end
  write("    " .. wrapped(scene.why) .. "\n")
end

function TELL.does(write, text) write("    " .. term.style("$ ", "dim") .. text .. "\n") end

function TELL.hears(write, text) write("      " .. text:gsub("\n", "\n      ") .. "\n") end

function TELL.passed(write) write("    " .. term.style("✓ it works", "green") .. "\n") end

function TELL.failed(write, problem)
  write("    " .. term.style("✗ it does not work", "red") .. (problem ~= "" and ": " .. problem or "") .. "\n")
end

---A teller for lab.demo.play that writes text.
---@param write fun(text: string)
---@return fun(kind: string, what: any)
function M.teller(write)
  return function(kind, what) TELL[kind](write, what) end
end

---One line for each scene.
---@param results table[]
---@return string
function M.summary(results)
  local rows = {}
  for index, result in ipairs(results) do
    rows[index] = { result.scene.number, result.scene.title,
      result.acts.broken.passed and "works" or "breaks", result.acts.repaired.passed and "works" or "breaks" }
  end
  return term.table(rows, { header = { "", "WHAT", "WITHOUT", "WITH" } })
end

---What was played, for machines.
---@param results table[]
---@return table[] # of each scene its number, title and policies, whether it held, and both acts
function M.machine(results)
  local list = json.array {}
  for index, result in ipairs(results) do
    local scene = result.scene
    local entry = { scene = scene.number, title = scene.title, why = scene.why, held = result.held == true,
      policies = json.array { table.unpack(scene.policies) } }
    for name, act in pairs(result.acts) do
      entry[name] = { passed = act.passed == true, lines = json.array { table.unpack(act.lines) } }
    end
    list[index] = entry
  end
  return list
end

-- --- a page -----------------------------------------------------------------------------------------------

local PAGE = [[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>kfhost: seven breakages and their repairs</title><style>
body { font: 16px/1.5 ui-sans-serif, system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #cbd5e0; padding: 1rem 0 2rem; } h2 { font-size: 1.25rem; }
.acts { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; } .act { min-width: 0; }
pre { font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; padding: .8rem; border-radius: .4rem;
  background: #f7f8fa; } .broken pre { border-left: 4px solid #c53030; }
.repaired pre { border-left: 4px solid #2f855a; }
.does { color: #1a202c; font-weight: 600; } .hears { color: #4a5568; } svg { max-width: 100%%; height: auto; }
@media (prefers-color-scheme: dark) { body { background: #171b21; color: #e6eaf0; } pre { background: #1d232c; }
  .does { color: #e6eaf0; } .hears { color: #9aa5b5; } }
</style></head><body>
<h1>Seven breakages and their repairs</h1>
%s</body></html>
]]

local function lines_of(act)
  local texts = {}
  for index, line in ipairs(act.lines) do
    local text = line.kind == "does" and "$ " .. line.text or "  " .. line.text:gsub("\n", "\n  ")
    texts[index] = ('<span class="%s">%s</span>'):format(line.kind, svg.escape(text))
  end
  return table.concat(texts, "\n")
end

local function act_of(result, name, title)
  local act = result.acts[name]
  return ('<div class="act %s"><h3>%s: %s</h3><pre>%s</pre></div>'):format(name, svg.escape(title),
    act.passed and "works" or "breaks", lines_of(act))
end

local function drawing(scene)
  local nodes = {}
  for index, node in ipairs(scene.picture) do
    nodes[index] = { name = node.name, note = node.note, state = node.state,
      after = index > 1 and { scene.picture[index - 1].name } or {} }
  end
  return svg.draw(nodes)
end

---@param results table[]
---@return string # HTML, one file
function M.page(results)
  local sections = {}
  for index, result in ipairs(results) do
    local scene = result.scene
    local by = #scene.policies > 0 and "With " .. table.concat(scene.policies, " and ") or scene.repair
    sections[index] = ("<section><h2>%s: %s</h2>%s<p>%s</p><div class=\"acts\">%s%s</div></section>\n"):format(
      scene.number, svg.escape(scene.title), drawing(scene), svg.escape(scene.why),
      act_of(result, "broken", "Without the policy"), act_of(result, "repaired", by))
  end
  return PAGE:format(table.concat(sections))
end

return M
