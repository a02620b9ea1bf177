-- repl.session: what a REPL knows between two lines: its connection, its place, the rows shown last, may it write.
-- Not for what the words do (the rooms named below), nor for the terminal (cmd.repl).
--   local s = session.new { client = c, out = io.write }; s:line "pods"

local errors = require "errors"
local evaluate = require "repl.evaluate"
local show = require "repl.show"
local vocabulary = require "repl.vocabulary"

local M = {}

-- The room of each word; it is loaded when the word is first used.
local ROOMS = {}
for room, names in pairs {
  basics = "show help shell pipe redirect source time trace alias command equivalent save_script history reload "
    .. "writable quit timeit whos copy",
  jobs = "bg tasks stop",
  objects = "get rows ns ctx can_i whoami client top",
  watch = "watch",
  relations = "describe why tree used_by",
  explain = "explain",
  streams = "logs exec port_forward forwards cp",
  workloads = "patch label annotate rollout cordon uncordon drain wait",
  changes = "edit apply scale restart delete undo",
  kubeflow = "run experiment allowed injected doctor",
} do
  for name in names:gmatch "%S+" do ROOMS[name] = "repl." .. room end
end

---Whether a name is that of a word's function.
---@param name string
---@return boolean
function M.is_word(name) return ROOMS[name] ~= nil end

---@class repl.Session
---@field environment table
---@field vocabulary repl.Vocabulary
---@field evaluator table
---@field last table? the listing shown last
local session = {}
session.__index = session

-- --- words as functions -------------------------------------------------------------------------------------

-- A word of the environment: a function that a room has, bound to the session.
local function word_of(self, name)
  local spec = self.vocabulary.words[name]
  if spec and spec.kind then
    return function(...) return require("repl.objects").get(self, spec.kind, ...) end
  end
  local room = ROOMS[name]
  if not room then return nil end
  return function(...) return require(room)[name](self, ...) end
end

-- The module task as lines see it: what they start and nobody waits for ends with the session, and a failure of it is
-- told instead of ending the program.
local function tasks_of(self)
  local task = require "task"
  return setmetatable({ spawn = function(...)
    local started = task.spawn(...)
    self.background[started] = true
    self:spawn(function()
      local ok, problem = pcall(started.wait, started)
      if not ok and not errors.is(problem, "Cancelled") then
        self.out("a task failed: " .. errors.text(problem) .. "\n")
      end
    end)
    return started
  end }, { __index = task })
end

local function environment_of(self)
  local tasks = tasks_of(self)
  local function require_here(name)
    if name == "task" then return tasks end
    return require(name)
  end
  return setmetatable({ settings = self.settings, require = require_here }, { __index = function(environment, name)
    local word = type(name) == "string" and word_of(self, name) or nil
    if word then
      rawset(environment, name, word)
      return word
    end
    local gone = self.evaluator and type(name) == "string" and self.evaluator:gone(name)
    if gone then errors.raise { code = "NotFound", message = gone } end
    return _G[name]
  end })
end

-- --- making one ------------------------------------------------------------------------------------------------

-- What a connection has to say: warnings as lines; what was written, and where a session began, the words say
-- themselves.
local function to_stderr(record)
  if record.event == "write" or record.event == "session" then return end
  show.write("stderr", (record.message or require("json").encode(record)) .. "\n")
end

local function to_stdout(text) show.write("stdout", text) end

---@param options {client: table?, connect: (fun(options: table): table)?, out: (fun(text: string))?,
---  ask: (fun(question: string): boolean)?, interactive: boolean?, columns: (fun(): integer)?, now: (fun(): number)?}?
---@return repl.Session
function M.new(options)
  options = options or {}
  local self = setmetatable({
    vocabulary = vocabulary.new(), out = options.out or to_stdout, ask = options.ask, typed = {}, undo_list = {},
    interactive = options.interactive or false, width = options.columns, connected = options.client,
    connect = options.connect or function(given)
      given.log = to_stderr
      return require("kube").connect(given)
    end,
    now = options.now or function() return require("task").now() end, writable_until = {}, jobs = {},
    background = setmetatable({}, { __mode = "k" }),
    settings = { writable = { "^lab", "^kind", "^minikube" }, production = { "prod" }, lines = 200, paged = 10000 },
  }, session)
  self.environment = environment_of(self)
  self.evaluator = evaluate.new { environment = self.environment, vocabulary = self.vocabulary }
  return self
end

-- --- what goes on meanwhile ---------------------------------------------------------------------------------------

---Starts a task that ends with the session.
---@param fn function
---@return task.Task
function session:spawn(fn)
  local started = require("task").spawn(fn)
  self.background[started] = true
  return started
end

---Ends what still goes on.
---@param waits boolean? for lines and tasks in the background; only ports are closed
function session:close(waits)
  for _, job in ipairs(self.jobs) do
    if not waits or job.kind ~= "line" then job.close() end
  end
  local list = {}
  for started in pairs(self.background) do list[#list + 1] = started end
  for _, started in ipairs(list) do
    if waits then pcall(started.wait, started) else started:cancel() end
  end
  self.jobs = {}
end

-- --- the cluster -------------------------------------------------------------------------------------------------

local function matches_any(text, patterns)
  for _, pattern in ipairs(patterns) do
    if text:find(pattern) then return true end
  end
  return false
end

---The connection; the first use makes it.
---@return table client
function session:client()
  if not self.connected then
    self.connected = self.connect { context = self.context_name }
    self.asked_readonly = self.connected.readonly
  end
  self:guard()
  return self.connected
end

---Whether changes are allowed now, in the context of the connection or, before there is one, in that named.
---@param context string?
---@return boolean
function session:may_write(context)
  if self.asked_readonly or not (self.connected or context) then return false end
  context = self.connected and self.connected.context or context or ""
  if matches_any(context, self.settings.writable) then return true end
  local allowed = self.writable_until[context]
  return allowed ~= nil and self.now() < allowed
end

---Writes the right to change into the connection, whose own guard rail then holds for raw calls too.
function session:guard()
  if self.connected then self.connected.readonly = not self:may_write() end
end

---Raises unless changes are allowed.
---@param what string "delete pods"
function session:check_write(what)
  local client = self:client()
  if self:may_write() then return end
  errors.raise {
    code = "Refused", context = client.context,
    message = self.asked_readonly and ("%s: this connection is read-only (--readonly)"):format(what)
      or ("%s: context '%s' is read-only; ':write 10m' allows changes for ten minutes"):format(what,
        client.context or client.server),
  }
end

---Leaves the connection for another context.
---@param context string
function session:switch(context)
  local fresh = self.connect { context = context }
  if self.connected and self.connected.close then self.connected:close() end
  self.connected, self.context_name, self.last = fresh, context, nil
  self.asked_readonly = fresh.readonly
  self.caches = nil
end

-- --- talking -------------------------------------------------------------------------------------------------------

---How a value is to be shown here.
---@param lines integer? the most of them
---@return repl.show.options
function session:showing(lines)
  return { columns = self.width and self.width() or nil, lines = lines or self.settings.lines, numbers = true }
end

-- Shows what a statement gave, by the pages of a terminal where there is one.
local function present(self, values)
  local function text(lines) return show.values(values, self:showing(lines)) end
  if self.page then self.page(text) else self.out(text()) end
end

---Whether something has the whole screen; what others print comes when it has it no more.
---@param on boolean
function session:full_screen(on)
  self.has_screen = on
  if not on and self.on_screen_left then self.on_screen_left() end
end

---Asks before a change. Without anybody to ask the answer is no.
---@param question string
---@param yes boolean? it was answered before
function session:confirm(question, yes)
  if yes then return end
  if not self.ask then
    errors.raise { code = "Refused", message = question .. ": nobody is there to say yes; -y (yes = true) says it" }
  end
  if not self.ask(question .. "? [y/N] ") then errors.raise { code = "Refused", message = "nothing was changed" } end
end

-- --- lines -----------------------------------------------------------------------------------------------------------

---Takes a line: runs the statement that it ends, and shows what that gives.
---@param line string
---@return boolean? ok nil: more lines are needed, or there was nothing to do
---@return any problem
function session:line(line)
  local statement, problem = self.evaluator:feed(line)
  if problem then return false, problem end
  if not statement then return nil end
  return self:run(statement)
end

---Takes a text of several lines, such as one that was pasted: runs its statements until one fails.
---@param text string
---@return boolean? ok nil: there was nothing to do
---@return any problem
function session:text(text)
  local done
  for _, piece in ipairs((self.evaluator:split(text))) do
    local ok, problem
    for line in (piece .. "\n"):gmatch "(.-)\n" do ok, problem = self:line(line) end
    if ok == false then return ok, problem end
    done = ok or done
  end
  return done
end

---Runs a statement and shows what it gives.
---@param statement repl.Statement
---@return boolean ok, any problem
function session:run(statement)
  self:guard()
  local result = self.evaluator:run(statement)
  if not result.ok then return false, result.problem end
  self.typed[#self.typed + 1] = statement
  local values = result.values
  if values.n == 0 then return true end
  self:select(values[1])
  return pcall(present, self, values)
end

---Makes a listing the one whose rows are picked by number.
---@param value any
function session:select(value)
  local listing = type(value) == "table" and rawget(value, "rows")
  if listing and not rawget(value, "is_part") then self.last = value end
end

---The code that the program ends with when this is the last thing that happened.
---@param ok boolean
---@param problem any
---@return integer
function M.code_of(ok, problem)
  if ok ~= false then return 0 end
  if errors.is(problem, "Usage") then return 2 end
  if errors.is(problem, "Cancelled") then return 130 end
  return errors.is(problem, "Exit") and problem.exit or 1
end

---The path of the startup file, and where history lies.
---@param name string
---@return string?
function M.file(name)
  local home = os.getenv "HOME"
  local folder = os.getenv "XDG_CONFIG_HOME" or home and home .. "/.config"
  return folder and folder .. "/kfhost/" .. name or nil
end

---Runs the startup file, if there is one.
---@return boolean ok, any problem
function session:start()
  local path = M.file "repl.lua"
  if not path or not require("fs").exists(path) then return true end
  local chunk, problem = loadfile(path, "t", self.environment)
  if not chunk then return false, problem end
  return pcall(chunk)
end

return M
