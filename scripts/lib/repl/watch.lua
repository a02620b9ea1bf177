-- repl.watch: a listing that keeps itself up to date: over the whole screen of a terminal, with keys (repl.browser).
-- Not for streams of events (c:watch). Without a terminal each state that differs is printed.
--   watch.watch(session, "pods", { count = 3 })

local browser = require "repl.browser"
local errors = require "errors"
local objects = require "repl.objects"
local show = require "repl.show"
local task = require "task"
local term = require "term"

local M = {}

local EVERY <const> = 1 -- second between two looks without a terminal
local GLANCE <const> = 0.2 -- seconds between two looks at what the watch has told

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

-- --- the screen ----------------------------------------------------------------------------------------------

-- The whole screen, in the place of the lines that were typed; they come back at the end.
local function take_screen(self)
  self:full_screen(true)
  io.stdout:write "\27[?1049h\27[?25l"
end

local function leave_screen(self)
  io.stdout:write "\27[?25h\27[?1049l"
  io.stdout:flush()
  self.keys:suspend()
  self:full_screen(false)
end

-- The size is looked at each time: a change of it may come while nobody waits for keys.
local function has_new_size(state)
  local columns, height = term.size()
  return columns ~= state.columns or height ~= state.height
end

local function paint(state)
  local columns, height = term.size()
  state.columns, state.height = columns, height
  local lines = browser.frame(state, columns, height)
  io.stdout:write("\27[H", table.concat(lines, "\27[K\r\n"), "\27[K\27[J")
  io.stdout:flush()
end

-- --- what is done with a row -----------------------------------------------------------------------------------

-- What a log prints, until a key ends it.
local function show_logs(self, row)
  io.stdout:write(term.style(("logs of %s; q goes back"):format(row.name), "dim"), "\n")
  local follower = task.spawn(function()
    local ok, problem = pcall(self.environment.logs, row, { follow = true, tail = 200 })
    if not ok and not errors.is(problem, "Cancelled") then self.out(errors.text(problem) .. "\n") end
  end)
  repeat
    local name, text = self.keys:key()
    local key = name == "text" and text or name
  until key == "q" or key == "Escape" or key == "C-c" or key == nil
  follower:cancel()
  pcall(follower.wait, follower)
end

-- A text in the pager, which stays until it is left.
local function show_text(self, text)
  self.page(function() return text end, true)
end

local ACTIONS = {}

function ACTIONS.describe(self, row) show_text(self, show.value(self.environment.describe(row), { lines = false })) end
function ACTIONS.yaml(self, row) show_text(self, show.value(self.environment.get(row), { lines = false })) end
ACTIONS.logs = show_logs
function ACTIONS.shell(self, row) self.environment.exec(row, "sh") end
function ACTIONS.edit(self, row) self.environment.edit(row) end
function ACTIONS.delete(self, row) self.environment.delete(row) end

-- Does it on the usual screen; a failure is told below the listing.
local function act(self, state, action, row)
  leave_screen(self)
  local ok, problem = pcall(ACTIONS[action], self, row)
  take_screen(self)
  if ok then return end
  if errors.is(problem, "Cancelled") then error(problem, 0) end
  state.problem = term.safe(errors.text(problem)):gsub("%s*\n%s*", " ")
end

-- Draws and takes keys until one ends it; the listing shown last.
local function browse(self, kind, names, options)
  local followed <close> = require("repl.follow").new(self, kind, names, options)
  local listing = followed:listing()
  local place = listing.spread and "everywhere" or listing.namespace and "in " .. listing.namespace or "of the cluster"
  local state, seen = browser.new(("%s %s"):format(listing.kind, place)), nil
  state.wide = options.output == "wide"
  take_screen(self)
  local screen <close> = setmetatable({}, { __close = function() leave_screen(self) end }) -- luacheck: ignore
  while true do
    if listing ~= seen then browser.take(state, listing) end
    if listing ~= seen or state.touched or has_new_size(state) then paint(state) end
    seen, state.touched = listing, false
    local name, text = self.keys:key(GLANCE)
    if name ~= "timeout" then
      state.touched = true
      local _, height = term.size()
      local action, row
      if name ~= "resize" then action, row = browser.key(state, name, text, height) end
      if action == "end" then return state.shown end
      if action then act(self, state, action, row) end
    end
    listing = followed:listing()
  end
end

local function with_keys(self, kind, names, options)
  local listing = browse(self, kind, names, options)
  local _, height = term.size()
  self.last = listing
  self.out(show.value(listing, self:showing(math.max(5, height - 5))))
end

---A listing of a kind, kept up to date until a key ends it, or `count` looks are over.
function M.watch(self, kind, ...)
  local given, options = objects.arguments(...)
  if not kind then errors.raise { code = "Usage", message = "watch KIND [NAME…]" } end
  local count = options.count
  if options.seconds then count = math.max(1, math.floor(task.seconds(options.seconds) / EVERY)) end
  options.count, options.seconds = nil, nil
  local has_screen = self.keys and not self.plain and os.getenv "TERM" ~= "dumb"
  if has_screen and not count then return with_keys(self, kind, given, options) end
  return plain(self, function() return objects.list(self, kind, given, options) end, count or 1)
end

return M
