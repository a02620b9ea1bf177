-- Places for the nodes of a directed graph without cycles: layers from top to bottom, few crossings, and
-- a way for each edge that passes other nodes by. Not for drawing (graph.svg). The same graph always
-- gets the same places.
--   local places, routes = layout.place({ { name = "a", after = {} }, { name = "b", after = { "a" } } }, …)
local M = {}

local SWEEPS = 8
local BEND_WIDTH = 14
local MOST_BENDS = 500 -- a graph with more is drawn with straight edges

-- --- rows of nodes and of bends, where an edge passes a row ---------------------------------------------

-- The layer of each node: one below the lowest of those before it. Nodes come in topological order.
local function find_layers(nodes)
  local layer_of, rows = {}, {}
  for _, node in ipairs(nodes) do
    local layer = 1
    for _, name in ipairs(node.after) do layer = math.max(layer, assert(layer_of[name], name) + 1) end
    layer_of[node.name] = layer
    rows[layer] = rows[layer] or {}
    table.insert(rows[layer], { name = node.name, up = {}, down = {} })
  end
  return rows, layer_of
end

local function count_bends(nodes, layer_of)
  local count = 0
  for _, node in ipairs(nodes) do
    for _, name in ipairs(node.after) do count = count + layer_of[node.name] - layer_of[name] - 1 end
  end
  return count
end

local function link(upper, lower)
  table.insert(upper.down, lower)
  table.insert(lower.up, upper)
end

-- Links the items of neighbouring rows; an edge over several rows gets a bend in each row between.
local function link_rows(nodes, rows, layer_of)
  local item_of, routes = {}, {}
  for _, row in ipairs(rows) do
    for _, item in ipairs(row) do item_of[item.name] = item end
  end
  local bends = count_bends(nodes, layer_of) <= MOST_BENDS
  for _, node in ipairs(nodes) do
    routes[node.name] = {}
    for _, name in ipairs(node.after) do
      local route, last = {}, item_of[name]
      for layer = layer_of[name] + 1, bends and layer_of[node.name] - 1 or 0 do
        local bend = { up = {}, down = {} }
        table.insert(rows[layer], bend)
        link(last, bend)
        route[#route + 1], last = bend, bend
      end
      link(last, item_of[node.name])
      routes[node.name][name] = route
    end
  end
  return routes
end

-- --- their order -----------------------------------------------------------------------------------------

local function number(row)
  for i, item in ipairs(row) do item.position, item.index = i - (#row + 1) / 2, i end
end

-- Sorts a row by the mean position of its neighbours in the other row; those without keep their place.
local function sort_row(row, side)
  for _, item in ipairs(row) do
    local sum = 0
    for _, other in ipairs(item[side]) do sum = sum + other.position end
    item.mean = #item[side] > 0 and sum / #item[side] or item.position
  end
  table.sort(row, function(a, b)
    if a.mean ~= b.mean then return a.mean < b.mean end
    return a.index < b.index
  end)
  number(row)
end

local function count_crossings(rows)
  local count = 0
  for _, row in ipairs(rows) do
    for i, left in ipairs(row) do
      for j = i + 1, #row do
        for _, a in ipairs(left.down) do
          for _, b in ipairs(row[j].down) do
            if a.index > b.index then count = count + 1 end
          end
        end
      end
    end
  end
  return count
end

-- Sweeps down and up; the order with the fewest crossings stays.
local function order_rows(rows)
  local best, fewest = {}, math.huge
  for _, row in ipairs(rows) do number(row) end
  for sweep = 0, SWEEPS do
    if sweep % 2 == 1 then
      for i = 2, #rows do sort_row(rows[i], "up") end
    elseif sweep > 0 then
      for i = #rows - 1, 1, -1 do sort_row(rows[i], "down") end
    end
    local crossings = count_crossings(rows)
    if crossings < fewest then
      fewest = crossings
      for i, row in ipairs(rows) do best[i] = table.move(row, 1, #row, 1, {}) end
    end
    if fewest == 0 and sweep > 0 then break end
  end
  return best
end

-- --- their places ----------------------------------------------------------------------------------------

---@class graph.Place
---@field x number centre
---@field y number centre
---@field width number
---@field height number

local function row_width(row, sizes, gap)
  local width = gap.x * (#row - 1)
  for _, item in ipairs(row) do width = width + (item.name and sizes[item.name].width or BEND_WIDTH) end
  return width
end

-- Places a row's items from the left edge on; the row's height.
local function place_row(row, sizes, gap, left, top)
  local height = 0
  for _, item in ipairs(row) do height = math.max(height, item.name and sizes[item.name].height or 0) end
  for _, item in ipairs(row) do
    local size = item.name and sizes[item.name] or { width = BEND_WIDTH, height = height }
    item.place = { x = left + size.width / 2, y = top + height / 2, width = size.width, height = size.height }
    left = left + size.width + gap.x
  end
  return height
end

---@param nodes {name: string, after: string[]}[] in topological order
---@param sizes table<string, {width: number, height: number}>
---@param gap {x: number, y: number} between nodes and between layers
---@return table<string, graph.Place> places
---@return table<string, table<string, graph.Place[]>> routes by a node's name and one of its `after`: the
---  places that the edge passes between the two
---@return number width, number height
function M.place(nodes, sizes, gap)
  local rows, layer_of = find_layers(nodes)
  local routes = link_rows(nodes, rows, layer_of)
  rows = order_rows(rows)
  local total, y, places = 0, 0, {}
  for _, row in ipairs(rows) do total = math.max(total, row_width(row, sizes, gap)) end
  for _, row in ipairs(rows) do
    y = y + place_row(row, sizes, gap, (total - row_width(row, sizes, gap)) / 2, y) + gap.y
    for _, item in ipairs(row) do
      if item.name then places[item.name] = item.place end
    end
  end
  for _, ways in pairs(routes) do
    for _, route in pairs(ways) do
      for i, bend in ipairs(route) do route[i] = bend.place end
    end
  end
  return places, routes, total, math.max(y - gap.y, 0)
end

return M
