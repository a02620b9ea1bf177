-- term.progress: a few lines at the bottom of the terminal that say what is going on now.
-- Not for what stays (that is print's), nor for output that is no terminal: there only p:print shows.
--   local p <close> = term.progress{ draw = function() return { "running  train  3.2 s" } end }
--   p:print("load: done")        p:close()

local term = require "term"

local INTERVAL = 0.1 -- seconds: at most ten redraws a second

---@class term.progress
local Progress = {}
Progress.__index = Progress

local function write_stderr(text)
  io.stderr:write(text)
end

-- Goes back to the first line of what was drawn and clears from there.
local function erase(self)
  if self.shown == 0 then return "" end
  local text = self.shown > 1 and ("\27[%dF"):format(self.shown - 1) or "\r"
  self.shown = 0
  return text .. "\27[J"
end

-- The lines that fit the terminal, cut to its width; the last says how many more there are.
local function fitting(lines)
  local columns, rows = term.size()
  local most = math.max(rows - 1, 1)
  local fit = {}
  for index = 1, math.min(#lines, most) do fit[index] = term.cut(lines[index], columns - 1) end
  if #lines > most then fit[most] = ("… and %d more"):format(#lines - most + 1) end
  return fit
end

-- One write: what stays, and the moving lines below it.
local function redraw(self)
  local lines = fitting(self.draw())
  local text = erase(self) .. table.concat(self.kept) .. table.concat(lines, "\n")
  self.kept = {}
  self.shown = #lines
  self.drawn_at = self.now()
  if text ~= "" then self.write(text) end
end

---Redraws when something changed or time went on, at most every 0.1 s.
function Progress:tick()
  if not self.live or self.closed then return end
  if self.drawn_at and self.now() - self.drawn_at < INTERVAL then return end
  redraw(self)
end

---Says that the lines changed: they are redrawn now if the last time is long enough ago.
Progress.changed = Progress.tick

---Prints lines that stay, above the moving ones; on a terminal with the next redraw.
---@param text string without the last newline
function Progress:print(text)
  if not self.live or self.closed then
    self.write(text .. "\n")
    return
  end
  self.kept[#self.kept + 1] = text .. "\n"
  self:tick()
end

---Removes the moving lines. Closing twice does no harm.
function Progress:close()
  if self.closed then return end
  self.closed = true
  if self.ticker then self.ticker:cancel() end
  local text = erase(self) .. table.concat(self.kept)
  if text ~= "" then self.write(text) end
end

Progress.__close = Progress.close

-- A task that ticks until the progress is closed.
local function start_ticker(self)
  local task = require "task"
  self.ticker = task.spawn(function()
    while not self.closed do
      self:tick()
      task.sleep(INTERVAL)
    end
  end)
end

---@class term.progress.options
---@field draw fun(): string[] the lines of this moment
---@field plain? boolean never redraw
---@field write? fun(text: string) where to instead of standard error; then nothing ticks by itself
---@field now? fun(): number seconds

---Starts showing progress on standard error.
---@param options term.progress.options
---@return term.progress progress to be closed
return function(options)
  local self = setmetatable({
    draw = options.draw,
    write = options.write or write_stderr,
    now = options.now or require("task").now,
    live = not options.plain and (options.write ~= nil or term.shows "stderr"),
    shown = 0,
    kept = {}, -- lines that stay, not yet written
    closed = false,
  }, Progress)
  if self.live and not options.write then start_ticker(self) end
  return self
end
