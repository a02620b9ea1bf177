-- repl.history: the lines typed before, per context: suggestions, search, and what is not kept.
-- Not for statements and their values (repl.evaluate).
--   local h = history.new { "pods", "pods -n x" }; h:suggest "po" -> "pods -n x"

local M = {}

local MOST <const> = 2000

local history = {}
history.__index = history

-- The youngest lines, each once.
local function youngest(lines)
  local kept, seen = {}, {}
  for index = #lines, 1, -1 do
    local line = lines[index]
    if not seen[line] and #kept < MOST then kept[#kept + 1] = line end
    seen[line] = true
  end
  for index = 1, #kept // 2 do kept[index], kept[#kept + 1 - index] = kept[#kept + 1 - index], kept[index] end
  return kept
end

---@param lines string[]? the oldest first
---@param path string? where lines are added
---@return table
function M.new(lines, path)
  return setmetatable({ lines = youngest(lines or {}), path = path }, history)
end

-- Lines of a file: a line break within is written as a backslash and n.
local function unescape(line) return (line:gsub("\\(.)", function(c) return c == "n" and "\n" or c end)) end
local function escape(line) return (line:gsub("[\\\n]", { ["\\"] = "\\\\", ["\n"] = "\\n" })) end

---The history of a file, which need not exist.
---@param path string
---@return table
function M.load(path)
  local text, lines = require("fs").try.read(path), {}
  for line in (text or ""):gmatch "[^\n]+" do lines[#lines + 1] = unescape(line) end
  local self = M.new(lines, path)
  if #lines > 2 * MOST then self:rewrite() end
  return self
end

-- A line with a secret's value, or that begins with a blank, is not kept.
local SECRETS = { "token", "passw", "passphrase", "secret", "credential", "apikey", "api_key", "api-key", "bearer" }
local TELLING = {
  "from%-literal", "stringdata", "private key", "%f[%w]eyj[%w_-]+%.", "akia%w%w%w%w", "gh[pousr]_%w%w%w%w",
  "%f[%w]pass%w*[\"']?%]?%s*[=:]", "_pass%w*=", "%f[%w]pwd%s*=", "basic%s+%w+",
  "://[^/%s:]+:[^/%s@]+@", "%-u%s+[^%s:]+:%S", -- of a user and a password
}

-- Whether there is a value after a word that announces one: token = "x", --token x1, 'password': x.
local function has_value(lower, word)
  return lower:find(word .. "%w*[\"']?%]?%s*[=:]%s*[%w\"']") or lower:find(word .. "%w*%s+[%w+/_.-]*%d[%w+/_.-]*")
    or lower:find("%-%-" .. word .. "%w*%s+[^%s-]")
end

---Whether a line may be kept.
---@param line string
---@return boolean
function M.may_keep(line)
  if line:find "^%s" or not line:find "%S" then return false end
  local lower = line:lower()
  for _, word in ipairs(SECRETS) do
    if has_value(lower, word) then return false end
  end
  for _, pattern in ipairs(TELLING) do
    if lower:find(pattern) then return false end
  end
  return true
end

---Adds a line in memory; an equal older one goes.
---@param line string
function history:remember(line)
  for index = #self.lines, 1, -1 do
    if self.lines[index] == line then
      table.remove(self.lines, index)
      break
    end
  end
  self.lines[#self.lines + 1] = line
  if #self.lines > MOST then table.remove(self.lines, 1) end
end

---Adds a line that was typed, and keeps it on disk.
---@param line string
function history:add(line)
  if not M.may_keep(line) then return end
  self:remember(line)
  if not self.path then return end
  local fs = require "fs"
  if not fs.exists(self.path) then
    fs.try.mkdir(fs.dirname(self.path), { parents = true, mode = 448 })
    fs.try.write(self.path, "", { mode = 384 })
  end
  fs.try.append(self.path, escape(line) .. "\n")
end

---Writes the file anew, with what is remembered.
function history:rewrite()
  local lines = {}
  for index, line in ipairs(self.lines) do lines[index] = escape(line) .. "\n" end
  require("fs").try.write(self.path, table.concat(lines), { mode = 384 })
end

---The youngest line that begins so and is longer.
---@param text string
---@return string?
function history:suggest(text)
  if text == "" then return nil end
  for index = #self.lines, 1, -1 do
    local line = self.lines[index]
    if #line > #text and line:sub(1, #text) == text and not line:find("\n", 1, true) then return line end
  end
end

---The next older (step -1) or younger (1) line that begins so, from a place on.
---@param prefix string
---@param from integer #lines + 1 is the line being typed
---@param step -1|1
---@return integer? place, string? line
function history:step(prefix, from, step)
  local index = from + step
  while index >= 1 and index <= #self.lines do
    local line = self.lines[index]
    if line:sub(1, #prefix) == prefix then return index, line end
    index = index + step
  end
end

---The youngest line before a place that contains a text.
---@param text string
---@param from integer
---@return integer? place, string? line
function history:search(text, from)
  for index = math.min(from - 1, #self.lines), 1, -1 do
    if self.lines[index]:find(text, 1, true) then return index, self.lines[index] end
  end
end

return M
