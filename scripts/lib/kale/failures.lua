-- What is said of a failed step at once: its place in the notebook, its attempt, and the last lines of that attempt
-- unless they are what was just shown. Not for the end's report.
--   local failures = failures.new("train.ipynb", true); failures:line("a", "…"); print(failures:failed("a", event))
local term = require "term"

local M = {}

local LAST = 15 -- lines that are told

local Failures = {}
Failures.__index = Failures

---@param notebook string its path
---@param shows_lines boolean whether lines are shown as they come
---@return table failures
function M.new(notebook, shows_lines)
  return setmetatable({ notebook = notebook, shows_lines = shows_lines, count = 0, steps = {} }, Failures)
end

local function step_of(self, name)
  local step = self.steps[name]
  if not step then
    step = { lines = {}, numbers = {}, attempt = 1 }
    self.steps[name] = step
  end
  return step
end

---Notes a line of a step.
---@param name string
---@param text string
function Failures:line(name, text)
  local step = step_of(self, name)
  self.count = self.count + 1
  step.lines[#step.lines + 1], step.numbers[#step.numbers + 1] = text, self.count
  if #step.lines > LAST then
    table.remove(step.lines, 1)
    table.remove(step.numbers, 1)
  end
  local cell, line = text:match 'File "cell ([^"]+)", line (%d+)'
  if cell then step.place = ("cell %s, line %s"):format(cell, line) end
end

-- Whether the last lines of a step are the last that people have seen.
local function is_in_view(self, step)
  local numbers = step.numbers
  return self.shows_lines and (#numbers == 0
    or numbers[#numbers] == self.count and numbers[#numbers] - numbers[1] == #numbers - 1)
end

-- The head, and the lines of this attempt; the next one begins.
local function told(self, step, head, is_last)
  local texts = { term.style(head, is_last and "bold red" or "yellow", "stderr") }
  if not is_in_view(self, step) then
    for _, line in ipairs(step.lines) do texts[#texts + 1] = "    " .. line end
  end
  step.lines, step.numbers, step.place = {}, {}, nil
  return table.concat(texts, "\n")
end

local function head_of(self, step, name, attempt, error)
  local place = step.place and (" in %s, %s"):format(self.notebook, step.place) or ""
  return ("step %s failed%s%s: %s"):format(name, place, attempt, error)
end

---The text for a step that is tried again.
---@param name string
---@param event table of kfp.run, {type = "note", about = "retry", attempt, of, error}
---@return string
function Failures:again(name, event)
  local step = step_of(self, name)
  step.attempts, step.attempt = event.of, event.attempt + 1
  local attempt = (", attempt %d of %d"):format(event.attempt, event.of)
  return told(self, step, head_of(self, step, name, attempt, event.error .. "; it is tried again"), false)
end

---The text for a step that has failed.
---@param name string
---@param event table of kfp.run
---@return string
function Failures:failed(name, event)
  local step = step_of(self, name)
  local attempt = step.attempts and (", attempt %d of %d"):format(step.attempt, step.attempts) or ""
  return told(self, step, head_of(self, step, name, attempt, event.error or ""), true)
end

return M
