-- repl.line: the line that is edited, as a value: text, cursor, what the keys do to it.
-- Not for drawing (repl.draw), reading keys (edit) or what Tab and Enter mean (repl.terminal).
--   local l = line.new(); l:key("text", "a"); l:key "C-a"; l.text, l.cursor -> "a", 1

local M = {}

---@class repl.LineState
---@field text string
---@field cursor integer the byte before which it stands, 1 to #text + 1
---@field killed string what C-y gives back
local methods = {}
methods.__index = methods

---@param text string?
---@return repl.LineState
function M.new(text)
  return setmetatable({ text = text or "", cursor = #(text or "") + 1, killed = "", undone = {} }, methods)
end

-- --- places -------------------------------------------------------------------------------------------

-- Marks that join the character before them: combining ones, joiners, variation selectors, skin tones.
local function joins(code)
  return code >= 0x300 and code <= 0x36F or code == 0x200D or code >= 0xFE00 and code <= 0xFE0F
    or code >= 0x1F3FB and code <= 0x1F3FF
end

-- Where the character that begins at `at` ends: the place after it.
local function after(text, at)
  local following = utf8.offset(text, 2, at) or #text + 1
  while following <= #text do
    local code = utf8.codepoint(text, following, following, true)
    local joined = utf8.codepoint(text, at, at, true)
    if not joins(code) and joined ~= 0x200D then break end
    at = following
    following = utf8.offset(text, 2, following) or #text + 1
  end
  return following
end

local function before(text, at)
  local place = 1
  while place < at do
    local following = after(text, place)
    if following >= at then return place end
    place = following
  end
  return 1
end

local function word_start(text, at)
  while at > 1 and not text:find("^[%w_\128-\255]", at - 1) do at = at - 1 end
  while at > 1 and text:find("^[%w_\128-\255]", at - 1) do at = at - 1 end
  return at
end

local function word_end(text, at)
  while at <= #text and not text:find("^[%w_\128-\255]", at) do at = at + 1 end
  while at <= #text and text:find("^[%w_\128-\255]", at) do at = at + 1 end
  return at
end

-- The start of the row of a text of several rows in which the cursor stands, and its end.
local function row_start(text, at)
  while at > 1 and text:sub(at - 1, at - 1) ~= "\n" do at = at - 1 end
  return at
end

local function row_end(text, at)
  return text:find("\n", at, true) or #text + 1
end

-- --- changes ------------------------------------------------------------------------------------------

local function keep(self)
  local last = self.undone[#self.undone]
  if last and last.text == self.text then return end
  self.undone[#self.undone + 1] = { text = self.text, cursor = self.cursor }
end

-- Takes out the bytes from..to - 1.
local function cut(self, from, to)
  keep(self)
  local piece = self.text:sub(from, to - 1)
  self.text = self.text:sub(1, from - 1) .. self.text:sub(to)
  self.cursor = from
  return piece
end

---Puts a text where the cursor is.
---@param text string
function methods:insert(text)
  keep(self)
  self.text = self.text:sub(1, self.cursor - 1) .. text .. self.text:sub(self.cursor)
  self.cursor = self.cursor + #text
end

---Puts a text in the place of the bytes from `from` to the cursor.
---@param from integer
---@param text string
function methods:replace(from, text)
  cut(self, from, self.cursor)
  self:insert(text)
end

---@param text string
function methods:set(text)
  keep(self)
  self.text, self.cursor = text, #text + 1
end

local function kill(self, from, to)
  if from < to then self.killed = cut(self, from, to) end
end

local function transpose(self)
  local text = self.text
  if self.cursor == 1 or #text < 2 then return end
  local right = self.cursor > #text and before(text, self.cursor) or self.cursor
  local left, ending = before(text, right), after(text, right)
  if left == right then return end
  keep(self)
  self.text = text:sub(1, left - 1) .. text:sub(right, ending - 1) .. text:sub(left, right - 1) .. text:sub(ending)
  self.cursor = ending
end

local function undo(self)
  local last = table.remove(self.undone)
  if last then self.text, self.cursor = last.text, last.cursor end
end

-- --- keys ----------------------------------------------------------------------------------------------

local KEYS = {
  Left = function(self) self.cursor = before(self.text, self.cursor) end,
  Right = function(self) self.cursor = after(self.text, self.cursor) end,
  Home = function(self) self.cursor = row_start(self.text, self.cursor) end,
  End = function(self) self.cursor = row_end(self.text, self.cursor) end,
  ["M-b"] = function(self) self.cursor = word_start(self.text, self.cursor) end,
  ["M-f"] = function(self) self.cursor = word_end(self.text, self.cursor) end,
  Backspace = function(self) if self.cursor > 1 then cut(self, before(self.text, self.cursor), self.cursor) end end,
  Delete = function(self)
    local from = self.cursor
    if from <= #self.text then cut(self, from, after(self.text, from)) end
  end,
  ["C-k"] = function(self) kill(self, self.cursor, row_end(self.text, self.cursor)) end,
  ["C-u"] = function(self) kill(self, row_start(self.text, self.cursor), self.cursor) end,
  ["C-w"] = function(self)
    local from = self.cursor
    while from > 1 and self.text:find("^%s", from - 1) do from = from - 1 end
    while from > 1 and not self.text:find("^%s", from - 1) do from = from - 1 end
    kill(self, from, self.cursor)
  end,
  ["M-d"] = function(self) kill(self, self.cursor, word_end(self.text, self.cursor)) end,
  ["M-Backspace"] = function(self) kill(self, word_start(self.text, self.cursor), self.cursor) end,
  ["C-y"] = function(self) self:insert(self.killed) end,
  ["C-t"] = transpose,
  ["C-_"] = undo,
}
for same, key in pairs {
  ["C-b"] = "Left", ["C-f"] = "Right", ["C-a"] = "Home", ["C-e"] = "End", ["C-h"] = "Backspace", ["C-Left"] = "M-b",
  ["C-Right"] = "M-f", ["M-Left"] = "M-b", ["M-Right"] = "M-f",
} do KEYS[same] = KEYS[key] end

---What a key does to the line.
---@param name string as edit.Terminal:key gives it
---@param text string?
---@return boolean known
function methods:key(name, text)
  if name == "text" or name == "paste" then
    self:insert(text)
    return true
  end
  if name == "C-d" and self.text ~= "" then name = "Delete" end
  local action = KEYS[name]
  if action then action(self) end
  return action ~= nil
end

return M
