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

local function key_of(row) return (row.namespace or "") .. "/" .. row.name end

-- The cells that differ from those of the same key before, ages apart; nil when none does.
local function changes(state, now, before)
  local changed = {}
  for key, cells in pairs(now) do
    local old = before[key]
    for place, cell in ipairs(cells) do
      local column = state.fields[place]
      if not old or old[place] ~= cell and not (column and column.name == "Age") then
        changed[key] = changed[key] or {}
        changed[key][place] = true
      end
    end
  end
  return next(changed) and changed or nil
end

-- --- what is shown --------------------------------------------------------------------------------------------

-- The listing without the rows that the filter leaves out.
local function filtered(state)
  local wanted = state.filter or state.applied
  if not wanted or wanted == "" then return state.listing end
  local ok, found = pcall(state.listing.filtered, state.listing, { match = wanted })
  return ok and found or state.listing
end

-- Keeps the chosen row chosen where rows come and go before it.
local function choose(state)
  local wanted = state.filter or state.applied
  if state.filtered_of ~= state.listing or state.filtered_by ~= wanted then
    state.shown, state.filtered_of, state.filtered_by = filtered(state), state.listing, wanted
  end
  local rows = state.shown.rows
  for index, row in ipairs(rows) do
    if key_of(row) == state.chosen_key then state.chosen = index end
  end
  state.chosen = math.max(1, math.min(state.chosen, #rows))
  state.chosen_key = rows[state.chosen] and key_of(rows[state.chosen])
end

---Takes the listing as it is now.
---@param state table
---@param listing table
function M.take(state, listing)
  local titles, rows, fields = listings.matrix(listing, true, listings.shown)
  local before = state.cells
  state.listing, state.titles, state.fields, state.cells = listing, titles, fields, {} -- of all columns, by key
  for index, row in ipairs(listing.rows) do state.cells[key_of(row)] = rows[index] end
  state.changed = before and changes(state, state.cells, before) or state.changed
  choose(state)
end

-- The places of the columns in sight: the first stays, as many as `shift` are left out after it.
local function places_of(state)
  local places = {}
  for place in ipairs(state.titles) do
    local column = state.fields[place]
    if state.wide or not column or (column.priority or 0) == 0 then places[#places + 1] = place end
  end
  state.shift = math.max(0, math.min(state.shift, #places - 2))
  return { places[1], table.unpack(places, 2 + state.shift) }
end

-- The cells of a row at these places, with the colours of what changed and of states.
local function marked(state, row, places)
  local key, copy = key_of(row), {}
  local marks = state.changed[key] or {}
  for index, place in ipairs(places) do
    local text, column = state.cells[key][place], state.fields[place]
    local colour = marks[place] and "bold yellow" or column and listings.colour(column.name, text)
    copy[index] = colour and text ~= "" and term.style(text, colour) or text
  end
  return copy
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
  local rows, places = state.shown.rows, places_of(state)
  local room = math.max(1, height - FRAME)
  local first = math.max(1, math.min(state.chosen - room // 2, #rows - room + 1))
  local titles, visible = {}, {}
  for index, place in ipairs(places) do titles[index] = state.titles[place] end
  for index = first, math.min(#rows, first + room - 1) do
    visible[#visible + 1] = marked(state, rows[index], places)
  end
  local lines = { term.style(term.cut(head_of(state, #rows), columns), "bold") }
  if #rows == 0 then lines[2] = "nothing to show" end
  for line in (#rows > 0 and show.grid(titles, visible, { columns = columns, lines = false }) or "")
    :gmatch "[^\n]+" do lines[#lines + 1] = term.cut(line, columns) end
  local at = state.chosen - first + 3
  if #rows > 0 and lines[at] then
    local plain = show.without_styles(lines[at])
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
  elseif key == "w" then state.wide = not state.wide
  elseif key == "Escape" and state.applied then
    state.applied = nil
    choose(state)
  elseif ACTIONS[key] and state.shown.rows[state.chosen] then return ACTIONS[key], state.shown.rows[state.chosen]
  elseif key == "q" or key == "Escape" or key == "C-c" or key == nil then return "end" end
end

return M
