-- Charts as SVG: points and lines over numbers, parallel coordinates, bars. Legible on light and dark, without scripts.
-- Not for graphs of boxes: see graph.svg.
--   chart.lines({ { name = "best", points = { { 1, 0.5 }, { 2, 0.7 } } } }, { x = "trial", y = "accuracy" })
local svg = require "graph.svg"

local M = {}

local WIDTH, HEIGHT = 900, 300
local LEFT, RIGHT, TOP, BOTTOM = 70, 20, 16, 44
local CHARACTER = 7 -- the width of a letter, at most in the mean
local COLOURS = { "#2f7bd9", "#d9822f", "#2e9e5b", "#a14fc9", "#c94f6d", "#2a9d9d", "#8a8f2a", "#6b7688" }

local STYLE = [[
  .axis { stroke: #a3acba; stroke-width: 1; fill: none; } .grid { stroke: #a3acba; stroke-width: .5; opacity: .4; }
  .label { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #5b6676; }
  .value { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #5b6676; }
  .above { paint-order: stroke; stroke: var(--card, #fff); stroke-width: 4px; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) { .label, .value { fill: #9aa5b5; } }
]]

local function round(value) return (("%.1f"):format(value):gsub("%.0$", "")) end

---A number as short as it is still told apart.
---@param value number
---@return string
function M.number(value) return (("%.4g"):format(value)) end

local function open(width, height)
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">'
    .. "<style>%s</style>"):format(width, height, width, height, STYLE)
end

-- A text; one that is wider than its room ends in dots, and is whole where one points at it.
local function text(x, y, words, anchor, class, room)
  local most, shown, more = room and math.max(3, room // CHARACTER) or math.huge, words, ""
  if (utf8.len(words) or #words) > most then
    local at = utf8.len(words) and utf8.offset(words, most) or most
    shown, more = words:sub(1, at - 1) .. "…", ("<title>%s</title>"):format(svg.escape(words))
  end
  return ('<text class="%s" x="%s" y="%s" text-anchor="%s">%s%s</text>'):format(class or "value", round(x), round(y),
    anchor or "middle", svg.escape(shown), more)
end

local function line(class, x1, y1, x2, y2)
  return ('<path class="%s" d="M%s %sL%s %s"/>'):format(class, round(x1), round(y1), round(x2), round(y2))
end

-- Steps of 1, 2 or 5 times a power of ten, about five of them.
local function ticks(low, high)
  local raw = (high - low) / 5
  local power = 10 ^ math.floor(math.log(raw, 10))
  local step = power
  for _, factor in ipairs { 1, 2, 5, 10 } do
    step = factor * power
    if step >= raw then break end
  end
  local list = {}
  for i = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do list[#list + 1] = i * step end
  return list
end

-- The least and the greatest of values, never the same.
local function range(values)
  local low, high = math.huge, -math.huge
  for _, value in ipairs(values) do low, high = math.min(low, value), math.max(high, value) end
  if low > high then low, high = 0, 1 end
  if low == high then
    local off = low == 0 and 1 or math.abs(low) / 10
    low, high = low - off, high + off
  end
  return low, high
end

local function scale(low, high, from, to)
  from, to = from or 0, to or 1
  return function(value) return from + (value - low) / (high - low) * (to - from) end
end

local function axes(parts, options, x, y, xs, ys)
  for _, value in ipairs(ys) do
    parts[#parts + 1] = line("grid", LEFT, y(value), WIDTH - RIGHT, y(value))
    parts[#parts + 1] = text(LEFT - 8, y(value) + 4, M.number(value), "end")
  end
  for _, value in ipairs(xs) do parts[#parts + 1] = text(x(value), HEIGHT - BOTTOM + 18, M.number(value)) end
  parts[#parts + 1] = line("axis", LEFT, TOP, LEFT, HEIGHT - BOTTOM)
  parts[#parts + 1] = line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM)
  parts[#parts + 1] = text((LEFT + WIDTH) / 2, HEIGHT - 8, options.x or "", "middle", "label")
  parts[#parts + 1] = text(LEFT, TOP - 4, options.y or "", "start", "label")
end

local function path_of(series, x, y)
  local words, last = {}, nil
  for i, point in ipairs(series.points) do
    if i == 1 then words[1] = ("M%s %s"):format(round(x(point[1])), round(y(point[2])))
    elseif series.steps then words[i] = ("H%sV%s"):format(round(x(point[1])), round(y(point[2])))
    else words[i] = ("L%s %s"):format(round(x(point[1])), round(y(point[2]))) end
    last = point
  end
  return last and table.concat(words) or nil
end

local function draw_series(parts, series, colour, x, y)
  local path = not series.dots and path_of(series, x, y)
  if path then
    parts[#parts + 1] = ('<path fill="none" stroke="%s" stroke-width="2" d="%s"><title>%s</title></path>'):format(
      colour, path, svg.escape(series.title or series.name or ""))
  end
  for _, point in ipairs((series.dots or #series.points == 1) and series.points or {}) do
    parts[#parts + 1] = ('<circle cx="%s" cy="%s" r="4" fill="%s"><title>%s</title></circle>'):format(
      round(x(point[1])), round(y(point[2])), point.colour or colour,
      svg.escape(point.title or ("%s: %s"):format(series.name or "", M.number(point[2]))))
  end
end

-- Beside the name of the axis, which may be long.
local function legend(parts, list, beside)
  local at = LEFT + math.max(70, 24 + 7 * #(beside or ""))
  for i, series in ipairs(list) do
    if series.name and not series.unnamed then
      parts[#parts + 1] = ('<rect x="%d" y="%d" width="10" height="10" fill="%s"/>'):format(at, TOP - 2,
        series.colour or COLOURS[(i - 1) % #COLOURS + 1])
      parts[#parts + 1] = text(at + 15, TOP + 7, series.name, "start")
      at = at + 30 + 7 * #series.name
    end
  end
end

---Lines, steps or dots over two axes.
---@param list {name: string?, points: number[][], dots: boolean?, steps: boolean?, colour: string?,
---  unnamed: boolean?}[]
---@param options {x: string?, y: string?, from: number[]?, to: number[]?, whole: boolean?}?
---  from, to: corners that are always seen; whole: marks on the x axis are whole numbers
---@return string svg
function M.lines(list, options)
  options = options or {}
  local xs, ys = {}, {}
  for _, series in ipairs(list) do
    for _, point in ipairs(series.points) do xs[#xs + 1], ys[#ys + 1] = point[1], point[2] end
  end
  for _, corner in ipairs { options.from or false, options.to or false } do
    if corner then xs[#xs + 1], ys[#ys + 1] = corner[1], corner[2] end
  end
  local x_low, x_high = range(xs)
  local y_low, y_high = range(ys)
  local x, y = scale(x_low, x_high, LEFT, WIDTH - RIGHT), scale(y_low, y_high, HEIGHT - BOTTOM, TOP + 14)
  local parts, marks = { open(WIDTH, HEIGHT) }, {}
  for _, value in ipairs(ticks(x_low, x_high)) do
    if not options.whole or value == math.floor(value) then marks[#marks + 1] = value end
  end
  axes(parts, options, x, y, marks, ticks(y_low, y_high))
  for i, series in ipairs(list) do
    draw_series(parts, series, series.colour or COLOURS[(i - 1) % #COLOURS + 1], x, y)
  end
  legend(parts, list, options.y)
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts)
end

-- --- parallel coordinates -----------------------------------------------------------------------------------

-- An axis of numbers: their ends are marked, or the one that all rows have. By size where they go over many.
local function number_axis(numbers, by_size)
  local least, most = math.min(table.unpack(numbers)), math.max(table.unpack(numbers))
  by_size = by_size and least > 0
  local function size(value) return by_size and math.log(value) or value end
  local place = scale(range { size(least), size(most) })
  local marks = { { least, M.number(least) }, least ~= most and { most, M.number(most) } or nil }
  local from, to = HEIGHT - BOTTOM, TOP + 24
  return function(value) return from + place(size(tonumber(value))) * (to - from) end, marks
end

-- The place of a value on an axis of numbers, or of words.
local function axis_of(rows, i, by_size)
  local numbers, words, seen = {}, {}, {}
  for _, row in ipairs(rows) do
    local value = row.values[i]
    if value ~= nil then
      numbers[#numbers + 1] = tonumber(value)
      if not seen[value] then
        seen[value] = true
        words[#words + 1] = tostring(value)
      end
    end
  end
  local is_number = true
  for value in pairs(seen) do is_number = is_number and tonumber(value) ~= nil end
  if is_number and #numbers > 0 then return number_axis(numbers, by_size) end
  table.sort(words)
  local place, marks = {}, {}
  for k, word in ipairs(words) do
    place[word] = #words == 1 and (TOP + HEIGHT) / 2
      or scale(1, #words, HEIGHT - BOTTOM, TOP + 24)(k)
    marks[k] = { word, word }
  end
  return function(value) return place[tostring(value)] end, marks
end

-- From grey over blue to green, the better the greener.
local function colour_of(share)
  local from, to = { 163, 172, 186 }, { 46, 158, 91 }
  local mixed = {}
  for i = 1, 3 do mixed[i] = math.floor(from[i] + (to[i] - from[i]) * share + 0.5) end
  return ("rgb(%d,%d,%d)"):format(mixed[1], mixed[2], mixed[3])
end

---A line for each row over parallel axes; the better rows lie on top.
---@param axes_names string[]
---@param rows {values: any[], share: number, title: string?}[] share: 0 the worst, 1 the best
---@param by_size table<string, boolean>? axes whose numbers stand by their size: 0.001, 0.01 and 0.1 as far apart
---@return string svg
function M.parallel(axes_names, rows, by_size)
  local parts, places, marked, count = { open(WIDTH, HEIGHT) }, {}, {}, #axes_names
  local function x(i) return count == 1 and WIDTH / 2 or LEFT + (i - 1) / (count - 1) * (WIDTH - 2 * LEFT) end
  local room = count > 1 and (WIDTH - 2 * LEFT) // (count - 1) or WIDTH
  for i, name in ipairs(axes_names) do
    local marks
    places[i], marks = axis_of(rows, i, by_size and by_size[name])
    parts[#parts + 1] = line("axis", x(i), TOP + 24, x(i), HEIGHT - BOTTOM)
    local edge = (i == 1 or i == count) and 2 * LEFT or room
    parts[#parts + 1] = text(x(i), HEIGHT - BOTTOM + 22, name, "middle", "label", math.min(room, edge) - 8)
    for _, mark in ipairs(marks) do
      local right = i == count and count > 1
      marked[#marked + 1] = text(x(i) + (right and 6 or -6), places[i](mark[1]) + 4, mark[2],
        right and "start" or "end", "value above", (i == 1 or right) and LEFT - 6 or room * 0.7)
    end
  end
  table.sort(rows, function(a, b) return a.share < b.share end)
  for _, row in ipairs(rows) do
    local words = {}
    for i = 1, count do
      if row.values[i] ~= nil then
        words[#words + 1] = ("%s%s %s"):format(#words == 0 and "M" or "L", round(x(i)), round(places[i](row.values[i])))
      end
    end
    parts[#parts + 1] = ('<path fill="none" stroke="%s" stroke-width="%s" opacity=".85" d="%s"><title>%s</title>'
      .. "</path>"):format(colour_of(row.share), row.share == 1 and "3.5" or "1.5", table.concat(words),
      svg.escape(row.title or ""))
  end
  table.move(marked, 1, #marked, #parts + 1, parts)
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts)
end

-- --- bars ---------------------------------------------------------------------------------------------------

---Bars from the left, each with its share.
---@param list {name: string, share: number}[] shares from 0 to 1
---@return string svg
function M.bars(list)
  local height, parts = #list * 26 + 8, {}
  parts[1] = open(WIDTH, height)
  for i, one in ipairs(list) do
    local y = (i - 1) * 26 + 4
    parts[#parts + 1] = text(200, y + 15, one.name, "end", "label", 196)
    parts[#parts + 1] = ('<rect x="212" y="%d" width="%s" height="18" rx="3" fill="%s"/>'):format(y,
      round(math.max(one.share, 0.002) * 600), COLOURS[1])
    parts[#parts + 1] = text(220 + one.share * 600, y + 14, ("%.0f %%"):format(one.share * 100), "start")
  end
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts)
end

return M
