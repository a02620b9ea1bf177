-- What decides a step's outputs besides its code and its inputs: files that it names, modules beside the notebook.
-- Not for what it reads by names that it computes: such steps are tagged cache:disabled.
--   local text = salt.of(step, "folder of the notebook")
local fs = require "fs"
local hash = require "hash"

local M = {}

local LARGE = 64 * 1024 * 1024

local function content(path, stat)
  if stat.type == "file" and stat.size <= LARGE then return hash.sha256(fs.try.read(path) or "") end
  if stat.type == "file" then return ("%d %.6f"):format(stat.size, stat.mtime) end
  local parts = {}
  for _, name in ipairs(fs.try.list(path) or {}) do
    local inner = fs.try.stat(fs.join(path, name))
    if inner and name:sub(1, 1) ~= "." and name ~= "__pycache__" then
      parts[#parts + 1] = ("%s %d %.6f"):format(name, inner.size, inner.mtime)
    end
  end
  return table.concat(parts, "\n")
end

local function candidates(source)
  local found = {}
  for _, pattern in ipairs { "'([^'\n]+)'", '"([^"\n]+)"' } do
    for text in source:gmatch(pattern) do
      if #text < 256 and text:find "%w" and not text:find "%c" then found[text] = true end
    end
  end
  for line in source:gmatch "[^\n]+" do
    local from = line:match "^%s*from%s+([%w_.]+)%s+import"
    local imported = from or line:match "^%s*import%s+(.+)$"
    for name in (imported or ""):gmatch "[%a_][%w_.]*" do
      local module = name:match "^[^.]*"
      if module ~= "" then found[module .. ".py"], found[module] = true, true end
    end
  end
  return found
end

---@param step table of kale.plan
---@param folder string of the notebook
---@return string? # nil when there is nothing
function M.of(step, folder)
  local names, parts = {}, {}
  for _, group in ipairs { step.setup, step.code } do
    for _, piece in ipairs(group) do
      for text in pairs(candidates(piece.source)) do names[text] = true end
    end
  end
  for name in pairs(names) do
    local path = fs.join(folder, name)
    local stat = fs.try.stat(path)
    if stat and (stat.type == "file" or stat.type == "directory") and name ~= "." and name ~= "/" then
      parts[#parts + 1] = name .. " " .. content(path, stat)
    end
  end
  table.sort(parts)
  return #parts > 0 and table.concat(parts, "\n") or nil
end

return M
