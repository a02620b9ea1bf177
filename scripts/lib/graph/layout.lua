-- Places for the nodes of a directed graph without cycles: layers from top to bottom, few crossings.
-- Not for drawing (graph.svg). The same graph always gets the same places.
--   local places = layout.place({ { name = "a", after = {} }, { name = "b", after = { "a" } } }, sizes)
local M = {}

local SWEEPS = 4

-- The layer of each node: one below the lowest of those before it. Nodes come in topological order.
local function find_layers(nodes)
  local layer_of, layers = {}, {}
  for _, node in ipairs(nodes) do
    local layer = 1
    for _, name in ipairs(node.after) do layer = math.max(layer, (layer_of[name] or 0) + 1) end
    layer_of[node.name] = layer
    layers[layer] = layers[layer] or {}
    table.insert(layers[layer], node.name)
  end
  return layers, layer_of
end

local function number(layer, position)
  for i, name in ipairs(layer) do position[name] = i - (#layer + 1) / 2 end
end

-- Sorts a layer by the mean position of its neighbours; those without keep their place.
local function sort_layer(layer, neighbours, position)
  local mean, order = {}, {}
  for i, name in ipairs(layer) do
    local sum, count = 0, 0
    for _, other in ipairs(neighbours[name] or {}) do
      sum, count = sum + position[other], count + 1
    end
    mean[name], order[name] = count > 0 and sum / count or position[name], i
  end
  table.sort(layer, function(a, b)
    if mean[a] ~= mean[b] then return mean[a] < mean[b] end
    return order[a] < order[b]
  end)
  number(layer, position)
end

local function order_layers(layers, before, behind)
  local position = {}
  for _, layer in ipairs(layers) do number(layer, position) end
  for sweep = 1, SWEEPS do
    if sweep % 2 == 1 then
      for i = 2, #layers do sort_layer(layers[i], before, position) end
    else
      for i = #layers - 1, 1, -1 do sort_layer(layers[i], behind, position) end
    end
  end
end

---@class graph.Place
---@field x number centre
---@field y number centre
---@field width number
---@field height number

---@param nodes {name: string, after: string[]}[] in topological order
---@param sizes table<string, {width: number, height: number}>
---@param gap {x: number, y: number} between nodes and between layers
---@return table<string, graph.Place> places, number width, number height
function M.place(nodes, sizes, gap)
  local before, behind = {}, {}
  for _, node in ipairs(nodes) do
    before[node.name] = node.after
    for _, name in ipairs(node.after) do
      behind[name] = behind[name] or {}
      table.insert(behind[name], node.name)
    end
  end
  local layers = find_layers(nodes)
  order_layers(layers, before, behind)
  local places, total, widths, y = {}, 0, {}, 0
  for i, layer in ipairs(layers) do
    local width = gap.x * (#layer - 1)
    for _, name in ipairs(layer) do width = width + sizes[name].width end
    widths[i], total = width, math.max(total, width)
  end
  for i, layer in ipairs(layers) do
    local x, height = (total - widths[i]) / 2, 0
    for _, name in ipairs(layer) do height = math.max(height, sizes[name].height) end
    for _, name in ipairs(layer) do
      local size = sizes[name]
      places[name] = { x = x + size.width / 2, y = y + height / 2, width = size.width, height = size.height }
      x = x + size.width + gap.x
    end
    y = y + height + gap.y
  end
  return places, total, y - gap.y
end

return M
