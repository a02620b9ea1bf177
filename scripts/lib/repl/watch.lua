-- repl.watch: a listing that keeps itself up to date: redrawn in place on a terminal, with changed cells marked.
-- Not for streams of events (c:watch). Without a terminal each state that differs is printed.
--   watch.watch(session, "pods", { count = 3 })

local draw = require "repl.draw"
local objects = require "repl.objects"
local show = require "repl.show"
local task = require "task"
local term = require "term"

local M = {}

local EVERY <const> = 1 -- second between two looks without a terminal
local GLANCE <const> = 0.2 -- seconds between two looks at what the watch has told

---Marks the cells of rows that differ from those of the same name before.
---@param rows string[][] the first cell is the row's name
---@param before table<string, string[]>? by name
---@return string[][] rows, table<string, string[]> now
function M.marked(rows, before)
  local now, list = {}, {}
  for index, row in ipairs(rows) do
    local old, copy = before and before[row.key], {}
    now[row.key] = row
    for column, cell in ipairs(row) do
      local changed = before and (not old or old[column] ~= cell) and row.ages ~= column
      copy[column] = changed and term.style(cell, "bold yellow") or cell
    end
    list[index] = copy
  end
  return list, now
end

-- Titles, and rows of texts with the key that they are known by.
local function cells_of(listing)
  local titles, rows, ages = {}, {}, nil
  if listing.spread then titles[1] = "NAMESPACE" end
  local shown = {}
  for index, column in ipairs(listing.columns) do
    if (column.priority or 0) == 0 then
      shown[#shown + 1] = index
      titles[#titles + 1] = column.name:upper()
      if column.name == "Age" then ages = #titles end
    end
  end
  for index, row in ipairs(listing.rows) do
    local cells = { listing.spread and (row.namespace or "") or nil }
    for _, column in ipairs(shown) do cells[#cells + 1] = tostring(rawget(row, "cells")[column]) end
    cells.key, cells.ages = (row.namespace or "") .. "/" .. row.name, ages
    rows[index] = cells
  end
  return titles, rows
end

-- --- without keys ------------------------------------------------------------------------------------------

local function plain(self, fetch, count)
  local last, shown
  repeat
    local listing = fetch()
    shown = listing
    local text = show.value(listing, self:showing())
    if text ~= last then self.out(text) end
    last = text
    count = count - 1
    if count > 0 then task.sleep(EVERY) end
  until count <= 0
  self.last = shown
end

-- --- with keys ---------------------------------------------------------------------------------------------

local HINT <const> = "arrows, Enter or d describe, y yaml, l logs, s shell, / filter, q ends"

local function frame(state, listing)
  local columns, height = term.size()
  local titles, rows = cells_of(listing)
  local marked
  marked, state.before = M.marked(rows, state.before)
  state.chosen = math.max(1, math.min(state.chosen, #rows))
  local room = height - 4
  local first = math.max(1, math.min(state.chosen - room // 2, #rows - room + 1))
  local visible = table.move(marked, first, math.min(#marked, first + room - 1), 1, {})
  local text = show.grid(titles, visible, { columns = columns, lines = false })
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  local at = state.chosen - first + 2
  if lines[at] and #rows > 0 then lines[at] = term.style(lines[at], "reverse") end
  if #rows == 0 then lines = { "no " .. listing.kind } end
  lines[#lines + 1] = term.style(state.filter and "/" .. state.filter or HINT, "dim")
  return lines
end

local function repaint(state, listing)
  local lines = frame(state, listing)
  io.stdout:write(draw.redraw(state.drawn, lines, { row = #lines, column = 0 }))
  io.stdout:flush()
  state.drawn = { row = #lines, column = 0 }
end

local WORDS = { Enter = "describe", d = "describe", y = "get", l = "logs", s = "exec" }

-- What is to be done with the chosen row when the watch is over.
local function chosen_word(state, listing, key)
  local row = listing.rows[state.chosen]
  if not row then return nil end
  local word = WORDS[key]
  if word == "exec" then return word, row, { "sh" } end
  return word, row, {}
end

-- A key: false when the watch is over.
local function take_key(state, listing, name, text)
  local key = name == "text" and text or name
  if state.filter then
    if name == "text" then state.filter = state.filter .. text
    elseif name == "Backspace" then state.filter = state.filter:sub(1, -2)
    elseif name == "Escape" then state.filter = nil
    elseif name == "Enter" then state.applied, state.filter = state.filter, nil end
    return true
  end
  if key == "Up" or key == "k" then state.chosen = state.chosen - 1
  elseif key == "Down" or key == "j" then state.chosen = state.chosen + 1
  elseif key == "/" then state.filter = ""
  elseif WORDS[key] then
    state.word, state.row, state.extra = chosen_word(state, listing, key)
    return state.word == nil
  elseif key == "q" or key == "Escape" or key == "C-c" or key == nil then return false end
  return true
end

local function filtered(state, listing)
  local wanted = state.filter or state.applied
  if not wanted or wanted == "" then return listing end
  local ok, found = pcall(listing.filtered, listing, { match = wanted })
  return ok and found or listing
end

-- Draws and takes keys until one ends it; the listing shown last.
local function keep_drawing(self, state, kind, names, options)
  local followed <close> = require("repl.follow").new(self, kind, names, options)
  local drawn, shown
  while true do
    local listing = followed:listing()
    if listing ~= drawn then shown = filtered(state, listing) end
    if listing ~= drawn or state.touched then repaint(state, shown) end
    drawn, state.touched = listing, false
    local name, text = self.keys:key(GLANCE)
    if name ~= "timeout" then
      state.touched = true
      if name ~= "resize" and not take_key(state, shown, name, text) then return shown end
      shown = filtered(state, listing)
    end
  end
end

local function with_keys(self, kind, names, options)
  local state = { chosen = 1 }
  local listing = keep_drawing(self, state, kind, names, options)
  self.keys:suspend()
  io.stdout:write "\n"
  self.last = listing
  if state.word then
    local word = self.environment[state.word]
    local value = word(state.row, table.unpack(state.extra))
    if value ~= nil then return value end
  end
end

---A listing of a kind, kept up to date until a key ends it, or `count` looks are over.
function M.watch(self, kind, ...)
  local given, options = objects.arguments(...)
  local count = options.count
  if options.seconds then count = math.max(1, math.floor(task.seconds(options.seconds) / EVERY)) end
  options.count, options.seconds = nil, nil
  if self.keys and not count then return with_keys(self, kind, given, options) end
  return plain(self, function() return objects.list(self, kind, given, options) end, count or 1)
end

return M
