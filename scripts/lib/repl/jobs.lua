-- repl.jobs: what goes on in the background while lines are typed: lines (:bg) and ports that are forwarded.
-- Not for tasks of scripts (task.spawn). What a job has to say is printed above the prompt.
--   jobs.bg(session, "wait pod/x Ready", function() … end); jobs.tasks(session)

local errors = require "errors"
local show = require "repl.show"

local M = {}

---Adds something that goes on until it is closed.
---@param self repl.Session
---@param job {what: string, kind: string, close: fun()}
---@return integer number
function M.add(self, job)
  self.job_count = (self.job_count or 0) + 1
  job.number = self.job_count
  self.jobs[#self.jobs + 1] = job
  return job.number
end

local function remove(self, job)
  for index, other in ipairs(self.jobs) do
    if other == job then table.remove(self.jobs, index) end
  end
end

-- Says what became of a line.
local function report(self, job, values)
  remove(self, job)
  if not values[1] and errors.is(values[2], "Cancelled") then return end
  if not values[1] then
    self.out(("[%d] failed: %s: %s\n"):format(job.number, job.what, errors.text(values[2])))
    return
  end
  local given = table.pack(table.unpack(values, 2, values.n))
  local text = (given.n > 1 or given[1] ~= nil) and show.values(given, self:showing()) or ""
  self.out(("[%d] done: %s\n%s"):format(job.number, job.what, text))
end

---Runs a function in the background; what it gives is shown when it comes.
---@param self repl.Session
---@param what string the line
---@param run function
function M.bg(self, what, run)
  if type(run) ~= "function" then errors.raise { code = "Usage", message = ":bg LINE" } end
  local job = { kind = "line", what = what }
  M.add(self, job)
  local running = self:spawn(function() report(self, job, table.pack(pcall(run))) end)
  job.close = function() running:cancel() end
  return show.as_text({ number = job.number }, ("[%d] %s\n"):format(job.number, what))
end

---What runs in the background.
function M.tasks(self)
  local rows = {}
  for index, job in ipairs(self.jobs) do rows[index] = { number = job.number, kind = job.kind, what = job.what } end
  if #rows == 0 then return show.as_text(rows, "nothing runs in the background\n") end
  return rows
end

---Ends what runs in the background under a number.
function M.stop(self, number)
  for _, job in ipairs(self.jobs) do
    if job.number == math.tointeger(tonumber(number)) then
      job.close()
      remove(self, job)
      return show.as_text({ number = job.number }, ("[%d] ended: %s\n"):format(job.number, job.what))
    end
  end
  errors.raise { code = "Usage", message = ("nothing runs as %s; :tasks lists what does"):format(number or "?") }
end

return M
