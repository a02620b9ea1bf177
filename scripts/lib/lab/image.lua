-- lab.image: finds what an image's name means (lab.images).
-- Not for running it.
--   image.find("python:3.12") -> { program = { "python3" } }

local M = {}

local function as_pattern(text)
  return "^" .. text:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
end

---@param name string
---@return table? environment nil when no line fits
function M.find(name)
  local bare = name:gsub("^docker%.io/library/", ""):gsub("^docker%.io/", "")
  for _, line in ipairs(require "lab.images") do
    if bare:match(as_pattern(line[1])) then return line end
  end
end

---What to do about an image that means nothing here.
function M.advice(name)
  return ('the lab pulls no images, and no line of lab/images.lua fits "%s": run kfhost scripts eject '
    .. 'lib/lab/images.lua and add a line such as { "%s", program = { "sh" } }'):format(name, name)
end

---The words that start a container.
---@param container table
---@param environment table
---@return string[]
function M.command(container, environment)
  local words = {}
  local head = container.command or environment.entrypoint
  local tail = container.args or (not container.command and environment.program) or nil
  for _, list in ipairs { head or {}, tail or {} } do
    for _, word in ipairs(list) do words[#words + 1] = word end
  end
  return words
end

return M
