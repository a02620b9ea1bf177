-- repl.terminal: the REPL on a terminal: reads lines with the editor, runs them as tasks, keeps the prompt below.
-- Not for plain input (cmd.repl). What keys do to the line is in repl.line, how it looks in repl.draw.
--   return require "repl.terminal".run()

local complete = require "repl.complete"
local draw = require "repl.draw"
local edit = require "edit"
local errors = require "errors"
local history = require "repl.history"
local host = require "host"
local line = require "repl.line"
local session = require "repl.session"
local show = require "repl.show"
local task = require "task"
local term = require "term"

local M = {}

local MENU_ROWS <const> = 8
local USUAL_PAGER <const> = "less -FRX"
local PAUSE <const> = 120 -- per cent: a person waits between two lines, and large lists come and go

---@class repl.Terminal
local terminal = {}
terminal.__index = terminal

-- --- the prompt ---------------------------------------------------------------------------------------------

-- Where a connection would go, without making one.
local function place_of(self)
  local client = self.session.connected
  if client then return client.context or client.server, client.namespace end
  if self.place == nil then
    local options = host.options()
    local ok, found = pcall(function()
      return require("kube").kubeconfig(options.kubeconfig):context(options.context)
    end)
    self.place = ok and { found.context, options.namespace or found.namespace or "default" } or false
  end
  if self.place then return self.place[1], self.place[2] end
end

local function is_production(self, context)
  for _, pattern in ipairs(self.session.settings.production) do
    if context:find(pattern) then return true end
  end
  return false
end

---The prompt: context, namespace, whether it is read-only, the rows that can be picked.
---@return string
function terminal:prompt()
  local context, namespace = place_of(self)
  if not context then return "> " end
  local text = term.style(context, is_production(self, context) and "bold red" or "cyan") .. ":" .. namespace
  if host.options().readonly or not self.session:may_write(context) then text = text .. term.style(" ro", "yellow") end
  local last = self.session.last
  if last and #last > 0 then text = text .. term.style((" [%d]"):format(#last), "dim") end
  return term.safe(text) .. "> "
end

-- --- drawing ---------------------------------------------------------------------------------------------------

local function suggestion_of(self)
  local state = self.line
  if self.menu or self.search or self.browsing or state.cursor <= #state.text then return nil end
  local found = self.history:suggest(state.text)
  return found and found:sub(#state.text + 1)
end

local function refresh(self)
  local columns, height = term.size()
  self.suggestion = suggestion_of(self)
  local rows, at = draw.rows {
    prompt = self.search and ("(search '%s') "):format(self.search) or self.prompt_text, text = self.line.text,
    cursor = self.line.cursor, columns = columns, height = height, suggestion = self.suggestion, indent = ">> ",
    menu = self.menu and draw.menu(self.menu.names, self.menu.chosen, columns, MENU_ROWS),
  }
  io.stdout:write(draw.redraw(self.drawn, rows, at))
  io.stdout:flush()
  self.drawn = at
end

-- Takes the line off the terminal, so that something can be printed where it was.
local function erase(self)
  if not self.drawn then return end
  io.stdout:write("\r", self.drawn.row > 1 and ("\27[%dA"):format(self.drawn.row - 1) or "", "\27[J")
  self.drawn = nil
end

---Prints above the prompt while a line is edited, else where the cursor is.
---@param text string
function terminal:print(text)
  if self.session and self.session.has_screen then
    self.held = (self.held or "") .. text
    return
  end
  local editing = self.drawn ~= nil
  erase(self)
  io.stdout:write(term.safe(text))
  if editing then refresh(self) end
  io.stdout:flush()
end

-- --- completion --------------------------------------------------------------------------------------------------

local function take_candidate(self, name, is_whole)
  self.line:replace(self.from, name .. (is_whole and not name:find "[/=.]$" and self.line.cursor > #self.line.text
    and " " or ""))
end

local function open_menu(self)
  local from, names = complete.at(self.session, self.line.text, self.line.cursor)
  self.from, self.completing = from, { text = self.line.text, cursor = self.line.cursor }
  if #names == 0 then return end
  local typed = self.line.text:sub(from, self.line.cursor - 1)
  local common = complete.common(names)
  if #names == 1 then
    take_candidate(self, names[1], self.session.vocabulary:kind(self.line.text) == "words")
    self.completing = nil
  elseif #common > #typed then
    self.line:replace(from, common)
    self.menu = { names = names, chosen = 0 }
  else
    self.menu = { names = names, chosen = 0 }
  end
end

-- The names that Tab asked for have come: the menu opens, if the line is still the same.
local function on_cache(self)
  local asked = self.completing
  if not (self.drawn and asked and asked.text == self.line.text and asked.cursor == self.line.cursor) then return end
  self.completing = nil
  open_menu(self)
  self.completing = nil
  refresh(self)
end

local STEPS = { Tab = 1, Down = 1, ["S-Tab"] = -1, Up = -1, ["C-n"] = 1, ["C-p"] = -1, Right = 1, Left = -1 }

-- A key while the menu is open: true when the menu took it.
local function menu_key(self, name)
  local menu = self.menu
  local step = STEPS[name]
  if step then
    menu.chosen = menu.chosen + step
    if menu.chosen < 1 then menu.chosen = #menu.names end
    if menu.chosen > #menu.names then menu.chosen = 1 end
    self.line:replace(self.from, menu.names[menu.chosen])
    return true
  end
  self.menu = nil
  return name == "Escape" or name == "Enter" and menu.chosen > 0
end

-- --- history -----------------------------------------------------------------------------------------------------

local function browse(self, step)
  local browsing = self.browsing or { prefix = self.line.text, at = #self.history.lines + 1 }
  local at, found = self.history:step(browsing.prefix, browsing.at, step)
  if at then
    browsing.at = at
    self.line:set(found)
  elseif step == 1 then
    browsing.at = #self.history.lines + 1
    self.line:set(browsing.prefix)
  end
  self.browsing = browsing
end

local function search_again(self, from)
  local at, found = self.history:search(self.search, from)
  if at then
    self.search_at = at
    self.line:set(found)
  end
end

-- A key while history is searched: true when the search took it.
local function search_key(self, name, text)
  if name == "text" or name == "Backspace" then
    self.search = name == "text" and self.search .. text or self.search:gsub("[^\128-\191][\128-\191]*$", "")
    search_again(self, #self.history.lines + 1)
  elseif name == "C-r" then
    search_again(self, self.search_at or #self.history.lines + 1)
  elseif name == "Escape" or name == "C-g" then
    self.line:set(self.before_search)
    self.search = nil
  else
    self.search = nil
    return false
  end
  return true
end

-- --- keys ----------------------------------------------------------------------------------------------------------

local function accept_suggestion(self, name)
  if not self.suggestion then return false end
  if name == "M-f" or name == "C-Right" then
    self.line:insert(self.suggestion:match "^%s*%S+" or self.suggestion)
  elseif name == "Right" or name == "C-f" or name == "End" or name == "C-e" then
    self.line:insert(self.suggestion)
  else
    return false
  end
  return true
end

local KEYS = {}

-- Enter ends the text, or goes on with another row of it.
function KEYS.Enter(self)
  local text = self.line.text:gsub("\n%s*$", "")
  local _, whole = self.session.evaluator:split(text)
  if whole then return text end
  self.line:insert "\n"
end

function KEYS.Tab(self) open_menu(self) end
function KEYS.Up(self) browse(self, -1) end
function KEYS.Down(self) browse(self, 1) end
KEYS["C-p"], KEYS["C-n"] = KEYS.Up, KEYS.Down

KEYS["C-r"] = function(self)
  self.search, self.search_at, self.before_search = "", nil, self.line.text
end

KEYS["C-l"] = function(self)
  io.stdout:write "\27[H\27[2J"
  self.drawn = nil
end

KEYS["C-j"] = KEYS.Enter

local BROWSING = { Up = true, Down = true, ["C-p"] = true, ["C-n"] = true }

-- One key; a text when it ended the line.
local function take_key(self, name, text)
  if self.search and search_key(self, name, text) then return end
  if self.menu and menu_key(self, name) then return end
  self.completing = nil
  if not BROWSING[name] then self.browsing = nil end
  if accept_suggestion(self, name) then return end
  if KEYS[name] then return KEYS[name](self) end
  self.line:key(name, text)
end

local function finish(self, keep, mark)
  self.menu, self.search, self.suggestion = nil, nil, nil
  self.line.cursor = #self.line.text + 1
  local no_suggestion = self.history
  self.history = history.new()
  refresh(self)
  self.history = no_suggestion
  io.stdout:write(mark or "", "\r\n")
  io.stdout:flush()
  self.drawn = nil
  self.keys:suspend()
  return keep
end

local function next_key(self)
  local come = self.come
  if not come then return self.keys:key() end
  self.come = nil
  return come[1], come[2]
end

-- Whether more was typed meanwhile: it is drawn together.
local function is_typing(self, name)
  if name ~= "text" or self.search or self.menu then return false end
  local following, text = self.keys:key(0)
  if following == "timeout" then return false end
  self.come = { following, text }
  return following == "text"
end

local function read_line(self)
  self.prompt_text = self:prompt()
  self.line, self.menu, self.browsing, self.drawn = line.new(), nil, nil, nil
  if not self.come then -- what is typed from here on is not for the terminal to show
    local name, text = self.keys:key(0)
    if name ~= "timeout" then self.come = { name, text } end
  end
  refresh(self)
  while true do
    local name, text = next_key(self)
    if name == nil or name == "C-d" and self.line.text == "" then return finish(self, nil) end
    local whole = name ~= "resize" and take_key(self, name, text) or nil
    if whole then return finish(self, whole) end
    if not is_typing(self, name) then refresh(self) end
  end
end

-- Whether the whole program is told to end, as SIGTERM does, and not the line alone.
local function is_end(problem)
  local signal = tostring(problem.message or ""):match "interrupted by signal (%d+)"
  return signal ~= nil and signal ~= "2" and math.tointeger(tonumber(signal)) or nil
end

---Reads a line; nil when Ctrl-D, the end of input or a signal (which is given, too) leaves. Ctrl-C, which is a
---signal here as everywhere, gives up what was typed.
---@return string? text, integer? signal
function terminal:read()
  while true do
    self.keys:signals(true)
    local reading = task.spawn(read_line, self)
    task.foreground(reading)
    local ok, text = pcall(reading.wait, reading)
    task.foreground(false)
    self.keys:signals(false)
    if ok then return text end
    if not errors.is(text, "Cancelled") then error(text, 0) end
    self.keys:forget()
    self.come = nil
    local signal = is_end(text)
    finish(self, nil, signal and "" or "^C")
    if signal then return nil, signal end
  end
end

-- --- commands -------------------------------------------------------------------------------------------------------

local function say_problem(problem)
  io.stdout:flush()
  local text = errors.is(problem, "Cancelled") and " cancelled" or term.safe(errors.text(problem))
  io.stderr:write(term.style(show.wrapped(text, (term.size())), "red", "stderr"), "\n")
end

-- Runs a line as the task that Ctrl-C cancels. Whether it failed, and why.
local function run_line(self, text)
  local running = task.spawn(function() return self.session:text(text) end)
  task.foreground(running)
  local done, ok, problem = pcall(running.wait, running)
  task.foreground(false)
  if not done then ok, problem = false, ok end
  if ok == false and errors.is(problem, "Cancelled") then self.keys:forget() end
  return ok, problem
end

---Asks a question that y answers; what was typed before it was asked does not.
---@param question string
---@return boolean
function terminal:ask(question)
  repeat until self.keys:key(0) == "timeout"
  io.stdout:write(term.safe(question))
  io.stdout:flush()
  local name, text = self.keys:key()
  while name == "resize" do name, text = self.keys:key() end
  self.keys:suspend()
  local yes = name == "text" and (text == "y" or text == "Y")
  io.stdout:write(yes and "y" or "n", "\n")
  return yes
end

-- The pager, unless the startup file says settings.pager = false: a command, or nil when there is none.
local function pager_of(self)
  local named = self.session.settings.pager
  if named == false then return nil end
  named = named or os.getenv "KFHOST_PAGER" or os.getenv "PAGER"
  if named then return named ~= "" and named ~= "cat" and named or nil end
  return require("proc").which "less" and USUAL_PAGER or nil
end

---Shows what a statement gave: what is higher than the screen goes to the pager.
---@param text_of fun(lines: integer?): string the text, cut to so many lines
---@param stays boolean? the pager stays until it is left, however little there is
function terminal:show(text_of, stays)
  local settings, _, height = self.session.settings, term.size()
  local pager = pager_of(self)
  if stays and pager == USUAL_PAGER then pager = "less -R" end
  local text = term.safe(text_of(pager and settings.paged or settings.lines))
  local _, lines = text:gsub("\n", "")
  if not pager or not stays and lines < height then
    self:print(text)
    return
  end
  io.stdout:flush()
  local process <close> = require("proc").spawn { shell = pager, stdin = text, stdout = "inherit", terminal = true,
    env = { LESSCHARSET = os.getenv "LESSCHARSET" or "utf-8" } }
  if process:wait().code == 127 then self:print(text_of(settings.lines)) end -- the pager is not there
end

-- Each context has its own history.
local function follow_context(self)
  local context = place_of(self) or ""
  if self.history_of == context then return end
  local file = session.file("history" .. (context ~= "" and "-" .. context:gsub("[^%w.-]", "_") or ""))
  self.history, self.history_of = file and history.load(file) or history.new(), context
end

local function open()
  local self = setmetatable({ keys = edit.open() }, terminal)
  self.session = session.new {
    interactive = true, columns = function() return (term.size()) end,
    out = function(text) self:print(text) end, ask = function(question) return self:ask(question) end,
  }
  self.session.on_cache = function() on_cache(self) end
  self.session.keys = self.keys
  self.session.page = function(text_of, stays) self:show(text_of, stays) end
  self.session.on_screen_left = function()
    local held = self.held
    self.held = nil
    if held then self:print(held) end
  end
  self.session.environment.print = function(...)
    local texts = table.pack(...)
    for index = 1, texts.n do texts[index] = tostring(texts[index]) end
    self:print(table.concat(texts, "\t") .. "\n")
  end
  local ok, problem = self.session:start()
  if not ok then say_problem(problem) end
  follow_context(self)
  return self
end

---The REPL on the terminal of this program.
---@return integer code of the last line
function M.run()
  collectgarbage("setpause", PAUSE)
  local self = open()
  io.stdout:write(("kfhost %s; :help shows the words, Ctrl-D leaves\n"):format(host.version))
  local code = 0
  while not self.session.leaving do
    local text, signal = self:read()
    if signal then code = 128 + signal end
    if not text then break end
    self.history:add(text)
    local ok, problem = run_line(self, text)
    follow_context(self)
    if ok == false then say_problem(problem) end
    if ok ~= nil then code = session.code_of(ok, problem) end
  end
  self.keys:close()
  self.session:close()
  return code
end

return M
