-- What people see while a pipeline runs: moving lines on a terminal, plain lines elsewhere.
-- Not for the end's report.
--   local view <close> = follow.new(names); kfp.run(ir, { on_event = view.on_event })
local task = require "task"
local term = require "term"

local M = {}

local MARKS = {
  succeeded = { "✓", "green" }, failed = { "✗", "bold red" }, cached = { "=", "cyan" }, skipped = { "-", "dim" },
  cancelled = { "!", "yellow" },
}

local View = {}
View.__index = View
View.__close = function(self) self.progress:close() end

local function err_style(text, how) return term.style(text, how, "stderr") end

---The line that says how a step ended.
---@param name string
---@param state string
---@param seconds number?
---@param style fun(text: string, how: string): string
---@return string
function M.ended(name, state, seconds, style)
  local mark = MARKS[state] or { "?", "bold" }
  local took = seconds and ("%8.2f s"):format(seconds) or (" "):rep(10)
  return ("%s %s  %s%s"):format(style(mark[1], mark[2]), took, name, state == "succeeded" and "" or "  " .. state)
end

function View:running_lines()
  local lines, now = {}, task.now()
  for _, name in ipairs(self.order) do
    local started = self.running[name]
    if started then
      lines[#lines + 1] = ("%s %8.1f s  %s"):format(err_style("●", "blue"), now - started, err_style(name, "bold"))
    end
  end
  if self.total and self.total > 0 then
    lines[#lines + 1] = err_style(("%d of %d steps"):format(self.done, self.total), "dim")
  end
  return lines
end

function View:event(event)
  local name = event.name and (self.names[event.name] or event.name)
  if event.type == "line" then
    local colour = event.stream == "stderr" and "yellow" or "cyan"
    self.progress:print(("%s %s"):format(err_style(name .. " |", colour), event.text))
  elseif event.type == "task" then
    if event.state == "running" then
      self.running[name] = task.now()
      self.order[#self.order + 1] = name
    else
      self.running[name] = nil
      self.done = self.done + 1
      self.progress:print(M.ended(name, event.state, event.seconds, err_style))
    end
  end
  self.progress:changed()
end

---@param names table<string, string> what to call the tasks
---@param total integer? how many there are
---@return table view with on_event; to be closed
function M.new(names, total)
  local view = setmetatable({ names = names, total = total, running = {}, order = {}, done = 0 }, View)
  view.progress = term.progress { draw = function() return view:running_lines() end }
  view.on_event = function(event) view:event(event) end
  return view
end

return M
