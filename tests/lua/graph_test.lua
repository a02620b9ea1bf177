local layout = require "graph.layout"
local svg = require "graph.svg"
local test = require "test"

local GAP = { x = 20, y = 40 }

-- "a; b < a; c < a b" as nodes in that order, all of one size.
local function graph(text)
  local nodes, sizes = {}, {}
  for name, after in text:gmatch "([%w_]+)%s*<?%s*([%w_ ]*)" do
    local node = { name = name, after = {} }
    for other in after:gmatch "%S+" do node.after[#node.after + 1] = other end
    nodes[#nodes + 1], sizes[name] = node, { width = 80, height = 30 }
  end
  return nodes, sizes
end

local function overlaps(a, b)
  return math.abs(a.x - b.x) < (a.width + b.width) / 2 and math.abs(a.y - b.y) < (a.height + b.height) / 2
end

local WIDE = "a; b < a; c < a; d < a; e < b c d a; f; g < e f a"

test("a node stands below all that come before it", function()
  local nodes, sizes = graph(WIDE)
  local places = layout.place(nodes, sizes, GAP)
  for _, node in ipairs(nodes) do
    for _, name in ipairs(node.after) do assert(places[name].y < places[node.name].y) end
  end
end)

test("nothing overlaps, and edges pass other nodes by", function()
  local nodes, sizes = graph(WIDE)
  local places, routes = layout.place(nodes, sizes, GAP)
  for _, node in ipairs(nodes) do
    for other, place in pairs(places) do
      test.equal(overlaps(place, places[node.name]), other == node.name)
      for _, name in ipairs(node.after) do
        for _, bend in ipairs(routes[node.name][name]) do test.equal(overlaps(bend, place), false) end
      end
    end
  end
  test.equal(#routes.e.a, 1)
  test.equal(#routes.g.a, 2)
  test.equal(#routes.b.a, 0)
end)

test("crossings that need not be are taken out", function()
  local nodes, sizes = graph "a; b; c; x < c; y < b; z < a"
  local places = layout.place(nodes, sizes, GAP)
  local function order(...)
    local names = { ... }
    table.sort(names, function(p, q) return places[p].x < places[q].x end)
    return names
  end
  local upper, lower = order("a", "b", "c"), order("x", "y", "z")
  local under = { a = "z", b = "y", c = "x" }
  for i, name in ipairs(upper) do test.equal(lower[i], under[name]) end
end)

test("a graph of many long edges is placed without bends", function()
  local nodes, sizes = {}, {}
  for i = 1, 1000 do
    nodes[i] = { name = "n" .. i, after = i > 2 and { "n1", "n" .. i - 1 } or i == 2 and { "n1" } or {} }
    sizes["n" .. i] = { width = 80, height = 30 }
  end
  local _, routes, width = layout.place(nodes, sizes, GAP)
  test.equal(#routes.n1000.n1, 0)
  test.equal(width, 80)
end)

test("an empty graph and names with markup can be drawn", function()
  assert(svg.draw({}):find("</svg>", 1, true))
  local text = svg.draw { { name = "<b>&", after = {}, note = '"x"', state = "failed" } }
  assert(text:find("✗ &lt;b&gt;&amp;<", 1, true))
  assert(text:find("&quot;x&quot;", 1, true))
end)
