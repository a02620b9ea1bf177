-- A graph as SVG: boxes with a name and a second line, coloured by state; legible on light and dark.
-- Not for placing: see graph.layout.
--   io.write(svg.draw({ { name = "load", after = {}, note = "1.2 s", state = "succeeded" } }))
local layout = require "graph.layout"
local term = require "term"

local M = {}

local MARGIN, CHARACTER, LINE = 16, 7.6, 18

local STYLE = [[
  .node rect { fill: #ffffff; stroke: #8a94a6; stroke-width: 1.5; }
  .node text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2733; text-anchor: middle; }
  .node .note { font-size: 11px; fill: #5b6676; }
  .edge { fill: none; stroke: #a3acba; stroke-width: 1.5; }
  .tip { fill: #a3acba; }
  .succeeded rect { stroke: #2e9e5b; fill: #effaf3; } .failed rect { stroke: #d33d3d; fill: #fdf0f0; }
  .running rect { stroke: #2f7bd9; fill: #eff5fd; } .cached rect { stroke: #2a9d9d; fill: #eefafa; }
  .skipped rect, .cancelled rect { stroke: #b0a16a; stroke-dasharray: 5 3; }
  @media (prefers-color-scheme: dark) {
    .node rect { fill: #1d232c; stroke: #6b7688; } .node text { fill: #e6eaf0; } .node .note { fill: #9aa5b5; }
    .edge { stroke: #5d6877; } .tip { fill: #5d6877; }
    .succeeded rect { fill: #16281e; stroke: #3fb872; } .failed rect { fill: #2e1a1a; stroke: #e46060; }
    .running rect { fill: #17233a; stroke: #5a9cf0; } .cached rect { fill: #142a2a; stroke: #45bcbc; }
  }
]]

local MARKS = { succeeded = "✓ ", failed = "✗ ", running = "● ", cached = "= ", skipped = "– ", cancelled = "! " }

---@param text string
---@return string
function M.escape(text)
  return (text:gsub("[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

local function coordinate(value) return ("%.1f"):format(value):gsub("%.0$", "") end

local function size_of(node)
  local columns = math.max(term.width((MARKS[node.state] or "") .. node.name), term.width(node.note or ""))
  return { width = math.max(90, columns * CHARACTER + 28), height = node.note and 2 * LINE + 14 or LINE + 18 }
end

local function curve(x1, y1, x2, y2)
  local bend = (y2 - y1) / 2
  return ("C%s %s %s %s %s %s"):format(coordinate(x1), coordinate(y1 + bend), coordinate(x2),
    coordinate(y2 - bend), coordinate(x2), coordinate(y2))
end

-- From the foot of one node to the head of another; straight down where it passes a row between them.
local function draw_edge(from, to, route)
  local x, y = from.x, from.y + from.height / 2
  local parts = { ("M%s %s"):format(coordinate(x), coordinate(y)) }
  for _, passed in ipairs(route) do
    local top, bottom = passed.y - passed.height / 2, passed.y + passed.height / 2
    parts[#parts + 1] = curve(x, y, passed.x, top) .. "V" .. coordinate(bottom)
    x, y = passed.x, bottom
  end
  parts[#parts + 1] = curve(x, y, to.x, to.y - to.height / 2 - 5)
  return ('<path class="edge" d="%s" marker-end="url(#tip)"/>'):format(table.concat(parts))
end

local function draw_node(node, place)
  local lines = {
    ('<g class="node %s">'):format(node.state or ""),
    ('<rect x="%s" y="%s" width="%s" height="%s" rx="7"/>'):format(coordinate(place.x - place.width / 2),
      coordinate(place.y - place.height / 2), coordinate(place.width), coordinate(place.height)),
  }
  local y = place.y + (node.note and -3 or 5)
  lines[#lines + 1] = ('<text x="%s" y="%s">%s%s</text>'):format(coordinate(place.x), coordinate(y),
    MARKS[node.state] or "", M.escape(node.name))
  if node.note then
    lines[#lines + 1] = ('<text class="note" x="%s" y="%s">%s</text>'):format(coordinate(place.x),
      coordinate(y + LINE), M.escape(node.note))
  end
  lines[#lines + 1] = "</g>"
  return table.concat(lines)
end

---@param nodes {name: string, after: string[], note: string?, state: string?}[] in topological order
---@return string svg
function M.draw(nodes)
  local sizes = {}
  for _, node in ipairs(nodes) do sizes[node.name] = size_of(node) end
  local places, routes, width, height = layout.place(nodes, sizes, { x = 26, y = 46 })
  local total_width, total_height = coordinate(width + 2 * MARGIN), coordinate(height + 2 * MARGIN)
  local parts = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="-%d -%d %s %s" role="img">')
      :format(total_width, total_height, MARGIN, MARGIN, total_width, total_height),
    "<style>\n" .. STYLE .. "</style>",
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
      .. '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
  }
  for _, node in ipairs(nodes) do
    for _, name in ipairs(node.after) do
      parts[#parts + 1] = draw_edge(places[name], places[node.name], routes[node.name][name])
    end
  end
  for _, node in ipairs(nodes) do parts[#parts + 1] = draw_node(node, places[node.name]) end
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts, "\n")
end

return M
