-- kale.run_view: a run at KFP while it goes on: the states of its steps and what they print.
-- Not for runs on this machine (kale.follow).
--   local view <close> = run_view.watch(k, run, { logs = true }); local done = view:follow()

local errors = require "errors"
local metrics = require "kfp.client.metrics"
local task = require "task"
local term = require "term"

local M = {}

local STATES = { SUCCEEDED = "succeeded", FAILED = "failed", SKIPPED = "skipped", CACHED = "cached",
  CANCELED = "cancelled" }
local LAST_LINES = 2000 -- characters of a failed step's log, where logs are not shown as they come

---@class kale.RunView
local View = {}
View.__index = View

local function style(text, how) return term.style(text, how, "stderr") end

local function lines_of(self, entry, is_end)
  local text = errors.try(self.k.runs):logs(self.id, entry.name) or ""
  local seen = self.seen[entry.name] or 0
  local upto = is_end and #text or (text:match "^.*()\n" or 0)
  if upto <= seen then return end
  for line in text:sub(seen + 1, upto):gmatch "[^\n]+" do
    if not metrics.is_line(line) then
      self.progress:print(("%s %s"):format(style(entry.name .. " |", "cyan"), line))
    end
  end
  self.seen[entry.name] = upto
end

local function failed(self, entry)
  if self.logs then return end
  local text = errors.try(self.k.runs):logs(self.id, entry.name) or ""
  self.progress:print(text:sub(-LAST_LINES):gsub("\n$", ""))
end

local function seconds_of(entry)
  local parse = require "kube.time".parse
  local from, to = parse(entry.started or ""), parse(entry.ended or "")
  return from and to and to >= from and to - from or nil
end

-- What is new of each step.
local function look(self)
  local run = self.k.runs:get(self.id)
  self.entries = self.k.runs:tasks(run)
  for _, entry in ipairs(self.entries) do
    local ended = STATES[entry.state]
    if self.logs and entry.state ~= "PENDING" and not self.ended[entry.name] then lines_of(self, entry, ended) end
    if ended and not self.ended[entry.name] then
      self.ended[entry.name] = true
      self.progress:print(require "kale.follow".ended(entry.name, ended, seconds_of(entry), style))
      if ended == "failed" then
        self.progress:print(("step %s failed"):format(entry.name))
        failed(self, entry)
      end
    end
  end
  self.progress:changed()
end

local function draw(self)
  local lines, now = {}, task.now()
  for _, entry in ipairs(self.entries) do
    if entry.state == "RUNNING" then
      self.since[entry.name] = self.since[entry.name] or now
      lines[#lines + 1] = ("%s %8.1f s  %s"):format(style("●", "blue"), now - self.since[entry.name], entry.name)
    end
  end
  lines[#lines + 1] = style(("run %s: %s"):format(self.id, self.state or "PENDING"), "dim")
  return lines
end

---Follows the run to its end.
---@return table run # raises what the server refuses for good, "Cancelled"
function View:follow()
  local looking = task.spawn(function()
    while true do
      task.sleep(self.pause)
      local ok, problem = pcall(look, self)
      if not ok and (not errors.is(problem) or problem.code == "Cancelled") then error(problem, 0) end
    end
  end)
  local ok, run = pcall(self.k.runs.wait, self.k.runs, self.id, { on_state = function(state)
    self.state = state
    self.progress:print(("%s  run %s"):format(style(state, state == "FAILED" and "bold red" or "cyan"), self.id))
  end })
  looking:cancel()
  pcall(looking.wait, looking)
  if not ok then error(run, 0) end
  look(self)
  return run
end

function View:close() self.progress:close() end
View.__close = View.close

---@param k table of kfp.connect
---@param run table
---@param options {logs: boolean?, pause: number?}?
---@return kale.RunView
function M.watch(k, run, options)
  options = options or {}
  local self = setmetatable({ k = k, id = run.run_id, logs = options.logs, pause = options.pause or 1, seen = {},
    ended = {}, since = {}, entries = {} }, View)
  self.progress = term.progress { draw = function() return draw(self) end }
  return self
end

return M
