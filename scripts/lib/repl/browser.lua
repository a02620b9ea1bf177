-- repl.browser: a listing that fills the screen and is kept up to date: keys move in it and act on the chosen row.
-- Not for fetching (repl.follow) nor for terminals without keys (repl.watch). `frame` and `key` are pure.
--   local state = browser.new "pods"; browser.take(state, listing); local lines = browser.frame(state, 80, 24)

local listings = require "repl.listing"
local show = require "repl.show"
local term = require "term"

local M = {}

local HINTS = { -- the longest that fits
  "arrows  Enter, d describe  y yaml  l logs  s shell  e edit  C-d delete  / filter  w wide  q ends",
  "d describe  y yaml  l logs  s shell  e edit  C-d delete  / filter  q ends", "/ filter  d y l s e  q ends",
}
local FRAME <const> = 3 -- rows that are not the table's rows: what it is, the titles, the hint

---@param title string
---@return table state
function M.new(title)
  return { title = title, chosen = 1, shift = 0, changed = {} }
end

-- --- cells -------------------------------------------------------------------------------------------------

-- Titles, and rows of texts with the key that they are known by.
local function cells_of(listing, wide)
  local titles, rows, shown, ages, states = {}, {}, {}, nil, {}
  if listing.spread then titles[1] = "NAMESPACE" end
  for index, column in ipairs(listing.columns) do
    if wide or (column.priority or 0) == 0 then
      shown[#shown + 1] = index
      titles[#titles + 1] = column.name:upper()
      if column.name == "Age" then ages = #titles end
      states[#titles] = column.name
    end
  end
  for index, row in ipairs(listing.rows) do
    local cells = { listing.spread and (row.namespace or "") or nil }
    for _, column in ipairs(shown) do
      cells[#cells + 1] = listings.shown(listings.cell_text(rawget(row, "cells")[column]))
    end
    cells.key, cells.ages, cells.states = (row.namespace or "") .. "/" .. row.name, ages, states
    rows[index] = cells
  end
  return titles, rows
end

---The cells of rows that differ from those of the same key before, ages apart; nil when none does.
---@param rows string[][] with key and ages
---@param before table<string, string[]>? by key
---@return table<string, table<integer, true>>? changed, table<string, string[]> now
function M.changes(rows, before)
  local now, changed = {}, {}
  for _, row in ipairs(rows) do
    local old = before and before[row.key]
    now[row.key] = row
    for column, cell in ipairs(row) do
      if before and (not old or old[column] ~= cell) and (not old or row.ages ~= column) then
        changed[row.key] = changed[row.key] or {}
        changed[row.key][column] = true
      end
    end
  end
  return (next(changed) or not before) and changed or nil, now
end

-- --- what is shown --------------------------------------------------------------------------------------------

-- The listing without the rows that the filter leaves out.
local function filtered(state)
  local wanted = state.filter or state.applied
  if not wanted or wanted == "" then return state.listing end
  local ok, found = pcall(state.listing.filtered, state.listing, { match = wanted })
  return ok and found or state.listing
end

-- The cells of what is shown, made once for it.
local function cells(state)
  if state.cells_of ~= state.shown or state.cells_wide ~= state.wide then
    state.titles, state.rows = cells_of(state.shown, state.wide)
    state.cells_of, state.cells_wide = state.shown, state.wide
  end
  return state.titles, state.rows
end

-- Keeps the chosen row chosen where rows come and go before it.
local function choose(state)
  local wanted = state.filter or state.applied
  if state.filtered_of ~= state.listing or state.filtered_by ~= wanted then
    state.shown, state.filtered_of, state.filtered_by = filtered(state), state.listing, wanted
  end
  local _, rows = cells(state)
  for index, row in ipairs(rows) do
    if row.key == state.chosen_key then state.chosen = index end
  end
  state.chosen = math.max(1, math.min(state.chosen, #rows))
  state.chosen_key = rows[state.chosen] and rows[state.chosen].key
end

---Takes the listing as it is now.
---@param state table
---@param listing table
function M.take(state, listing)
  local _, rows = cells_of(listing, true)
  local changed
  changed, state.before = M.changes(rows, state.before)
  state.changed = changed or state.changed
  state.listing = listing
  choose(state)
end

-- The columns in sight: the first stays, as many as `shift` are left out after it.
local function shifted(titles, rows, shift)
  local function without(row)
    local short = { row[1] }
    table.move(row, 2 + shift, #titles, 2, short)
    return short
  end
  local list = {}
  for index, row in ipairs(rows) do list[index] = without(row) end
  return without(titles), list
end

local function marked(rows, changed)
  local list = {}
  for index, row in ipairs(rows) do
    local copy, marks = {}, changed[row.key] or {}
    for column, text in ipairs(row) do
      local colour = marks[column] and "bold yellow" or listings.colour(row.states[column], text)
      copy[column] = colour and text ~= "" and term.style(text, colour) or text
    end
    list[index] = copy
  end
  return list
end

local function head_of(state, count)
  local wanted = state.filter or state.applied
  local text = ("%s  %d"):format(state.title, count)
  if wanted and wanted ~= "" then text = text .. " of " .. #state.listing.rows end
  return text .. (state.applied and not state.filter and "  /" .. state.applied or "")
end

local function foot_of(state, columns)
  if state.problem then return term.style(state.problem, "red") end
  if state.filter then return "/" .. state.filter .. "▏" end
  local hint
  for _, candidate in ipairs(HINTS) do
    if not hint or #hint > columns then hint = candidate end
  end
  return term.style(hint, "dim")
end

---The lines of the screen.
---@param state table
---@param columns integer
---@param height integer
---@return string[]
function M.frame(state, columns, height)
  local titles, rows = cells(state)
  local room = math.max(1, height - FRAME)
  local first = math.max(1, math.min(state.chosen - room // 2, #rows - room + 1))
  local visible = table.move(rows, first, math.min(#rows, first + room - 1), 1, {})
  state.shift = math.max(0, math.min(state.shift, #titles - 2))
  local short_titles, short = shifted(titles, marked(visible, state.changed), state.shift)
  local lines = { term.style(term.cut(head_of(state, #rows), columns), "bold") }
  if #rows == 0 then lines[2] = "nothing to show" end
  for line in (#rows > 0 and show.grid(short_titles, short, { columns = columns, lines = false }) or "")
    :gmatch "[^\n]+" do lines[#lines + 1] = term.cut(line, columns) end
  local at = state.chosen - first + 3
  if #rows > 0 and lines[at] then
    local plain = lines[at]:gsub("\27%[[%d;]*m", "")
    lines[at] = term.style(plain .. (" "):rep(columns - term.width(plain)), "reverse")
  end
  while #lines < height - 1 do lines[#lines + 1] = "" end
  lines[height] = term.cut(foot_of(state, columns), columns)
  return lines
end

-- --- keys ------------------------------------------------------------------------------------------------------

local ACTIONS = { Enter = "describe", d = "describe", y = "yaml", l = "logs", s = "shell", e = "edit",
  ["C-d"] = "delete" }
local STEPS = { Up = -1, k = -1, ["C-p"] = -1, Down = 1, j = 1, ["C-n"] = 1, Home = -math.huge, g = -math.huge,
  End = math.huge, G = math.huge }
local PAGES = { PageUp = -1, ["C-b"] = -1, PageDown = 1, ["C-f"] = 1, [" "] = 1 }

local function filter_key(state, name, text)
  if name == "text" or name == "paste" then state.filter = state.filter .. text:gsub("%c", "")
  elseif name == "Backspace" then state.filter = state.filter:gsub("[^\128-\191][\128-\191]*$", "")
  elseif name == "C-u" then state.filter = ""
  elseif name == "Escape" then state.filter, state.applied = nil, nil
  elseif name == "Enter" then state.applied, state.filter = state.filter ~= "" and state.filter or nil, nil end
  choose(state)
end

local function move(state, step)
  local count = #state.shown.rows
  state.chosen = math.max(1, math.min(state.chosen + step, math.max(count, 1)))
  state.chosen_key = nil
  state.chosen = math.tointeger(state.chosen)
  choose(state)
end

---What a key does.
---@param state table
---@param name string? as edit gives it
---@param text string?
---@param height integer
---@return string? action "end", or what is to be done with the chosen row
---@return table? row
function M.key(state, name, text, height)
  local key = name == "text" and text or name
  state.problem = nil
  if state.filter then return filter_key(state, name, text) end
  if STEPS[key] then move(state, STEPS[key])
  elseif PAGES[key] then move(state, PAGES[key] * math.max(1, height - FRAME - 1))
  elseif key == "Left" or key == "h" then state.shift = state.shift - 1
  elseif key == "Right" then state.shift = state.shift + 1
  elseif key == "/" then state.filter = ""
  elseif key == "w" then
    state.wide = not state.wide
    choose(state)
  elseif key == "Escape" and state.applied then
    state.applied = nil
    choose(state)
  elseif ACTIONS[key] and state.shown.rows[state.chosen] then return ACTIONS[key], state.shown.rows[state.chosen]
  elseif key == "q" or key == "Escape" or key == "C-c" or key == nil then return "end" end
end

return M
