-- repl.basics: the words of the REPL itself: help, pipes, measuring, aliases, scripts from what was typed.
-- Not for the cluster's words. Each function gets the session first.
--   basics.time(session, function() … end)

local errors = require "errors"
local show = require "repl.show"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- --- help -----------------------------------------------------------------------------------------------

local GROUPS = { "Objects", "Place", "Streams", "Changes", "Rights", "Kubeflow", "REPL", "Own" }

local RULE = [[
A line is words when it begins with a word below, with a row list and a word,
or with : ! ? or %. All else is Lua; =LINE is Lua, :LINE words, in any case.

  1,4..6 WORD                 about the rows shown last, by number
  ?KIND  ?KIND.FIELD          what a kind is, what a field means
  NAME??                      the source of a function
  LINE | COMMAND              into a shell command, such as less
  LINE > FILE                 into a file
  !COMMAND                    a shell command
  %time LINE  %timeit LINE    how long it takes, once or often
  %trace LINE                 which requests it makes, with bytes and times
  %whos                       the variables that were made
  _  _1  _2                   the last value, and those of all lines by number
]]

local NAMES <const> = 28 -- columns of what is typed; longer ones have the summary below

local function word_line(name, spec)
  local typed = ("%s%s %s"):format(spec.colon and ":" or "", name, spec.arguments or ""):gsub("%s+$", "")
  local width = require("term").width(typed)
  local gap = width < NAMES and (" "):rep(NAMES - width) or "\n  " .. (" "):rep(NAMES)
  return ("  %s%s%s\n"):format(typed, gap, spec.summary or "")
end

local function group_text(self, group)
  local names, pieces, lists = {}, {}, {}
  for name, spec in pairs(self.vocabulary.words) do
    if (spec.group or "Own") == group then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local spec = self.vocabulary.words[name]
    if spec.lists and name ~= "pods" then lists[#lists + 1] = name
    else pieces[#pieces + 1] = word_line(name, spec) end
  end
  if #names == 0 then return "" end
  local text = group .. "\n" .. table.concat(pieces)
  if #lists > 0 then
    text = text .. "  in the same way:\n" .. show.wrapped("    " .. table.concat(lists, " "), 76, "    ") .. "\n"
  end
  return text .. "\n"
end

local function help_of(self, name)
  local spec = self.vocabulary.words[name]
  local alias = self.vocabulary.aliases[name]
  if not spec and alias then return ("%s stands for: %s\n"):format(name, alias) end
  if not spec then fail("there is no word '%s'; :help lists them", name) end
  local lines = { ("%s%s %s"):format(spec.colon and ":" or "", name, spec.arguments or ""), "  " .. spec.summary }
  local flags = {}
  for flag, option in pairs(spec.flags or {}) do flags[#flags + 1] = ("  %-22s %s"):format(flag, option) end
  table.sort(flags)
  table.move(flags, 1, #flags, #lines + 1, lines)
  return table.concat(lines, "\n") .. "\n"
end

---Shows the words, or one.
function M.help(self, name)
  if name then return show.as_text({ name = name }, help_of(self, name)) end
  local pieces = { RULE, "\n" }
  for _, group in ipairs(GROUPS) do pieces[#pieces + 1] = group_text(self, group) end
  return show.as_text({}, (table.concat(pieces):gsub("\n\n$", "\n")))
end

---Shows values as the prompt does, and gives them back.
function M.show(self, ...)
  local values = table.pack(...)
  self:select(values[1])
  if values.n > 0 and (values.n > 1 or values[1] ~= nil) then self.out(show.values(values, self:showing())) end
  return ...
end

-- --- the Lua of what was typed -----------------------------------------------------------------------------

---The Lua that a line stands for; without a line, of the last statement.
function M.equivalent(self, line)
  if line then return self.vocabulary:lua_of(line) end
  local last = self.typed[#self.typed]
  return last and last.lua or nil
end

local HEAD = [[
-- Typed at the REPL of kfhost. Run it: kfhost %s
local _ENV = require "repl".words()

]]

-- What a script has no use for.
local ONLY_HERE = { "^equivalent%(", "^save_script%(", "^help%(", "^history%(", "^whos%(", "^tasks%(", "^copy%(" }

-- A statement as a script writes it: a value that the REPL would show is printed, and kept if it is named later.
local function script_line(statement, later)
  local lua = statement.lua:gsub("^%s*return%f[%W]%s*", "")
  for _, pattern in ipairs(ONLY_HERE) do
    if lua:find(pattern) then return nil end
  end
  if not load("return " .. lua) then return lua end
  local own = "_" .. statement.number
  local is_named = later:find(own .. "%f[^%w_]")
  return is_named and ("_ = show(%s)\n%s = _"):format(lua, own) or ("_ = show(%s)"):format(lua)
end

---Writes what was typed, and did not fail, as a script.
function M.save_script(self, path)
  if not path then fail "save needs a file" end
  local lines, later = {}, ""
  for index = #self.typed, 1, -1 do
    local statement = self.typed[index]
    local line = script_line(statement, later)
    if line then table.insert(lines, 1, line) end
    later = statement.lua .. "\n" .. later
  end
  local text = HEAD:format(path) .. table.concat(lines, "\n") .. "\n"
  require("fs").write(path, text)
  return show.as_text({ path = path, lines = #lines }, ("%d statements in %s\n"):format(#lines, path))
end

-- The lines of a function in the file that it comes from.
local function source_text(info, expression)
  local text
  if info.source:find "^@kfhost/" then text = require("scripts").source(info.source:sub(9))
  elseif info.source:sub(1, 1) == "@" then text = require("fs").try.read(info.source:sub(2)) end
  if not text then return show.as_text({}, ("%s was typed: %s:%d\n"):format(expression, info.short_src,
    info.linedefined)) end
  local lines, number = { ("-- %s:%d"):format(info.source:sub(2), info.linedefined) }, 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    if number >= info.linedefined and number <= info.lastlinedefined then lines[#lines + 1] = line end
  end
  return show.as_text({}, table.concat(lines, "\n") .. "\n")
end

-- The last statement typed that defines a function of this name.
local function typed_source(self, name)
  local pattern = name:gsub("%W", "%%%0")
  for index = #self.evaluator.statements, 1, -1 do
    local source = self.evaluator.statements[index].source
    local declared = source:find("function%s+" .. pattern .. "%s*%(")
    if declared or source:find(pattern .. "%s*=%s*function") then return source end
  end
end

---The source of a function.
function M.source(self, expression)
  local chunk = load("return " .. expression, "=source", "t", self.environment) or fail("'%s' is no Lua", expression)
  local ok, value = pcall(chunk)
  if not ok then fail("%s: %s", expression, (tostring(value):gsub("^source:1: ", ""))) end
  local info = type(value) == "function" and debug.getinfo(value, "S") or nil
  if not info then fail("%s is a %s, not a function", expression, type(value)) end
  if info.what == "C" then return show.as_text({}, expression .. " is written in C\n") end
  if info.source == self.evaluator.name then
    local typed = typed_source(self, expression)
    if typed then return show.as_text({}, typed .. "\n") end
  end
  return source_text(info, expression)
end

-- --- pipes and files -----------------------------------------------------------------------------------------

-- The text of a value, all of it and without colours.
local function whole_text(value)
  if value == nil then return "" end
  if type(value) == "string" then return value .. "\n" end
  return show.without_styles(show.value(value, { lines = false }))
end

-- Runs a function whose words print while they run; what they print goes to `write`, without colours.
local function print_into(self, write, run)
  local term = require "term"
  local out, was_plain = self.out, self.plain
  self.out = write
  if not was_plain then term.plain(true) end
  self.plain = true
  local values = table.pack(pcall(run))
  self.out, self.plain = out, was_plain
  if not was_plain then term.plain(false) end
  if not values[1] then error(values[2], 0) end
  if values[2] ~= nil then write(whole_text(values[2])) end
end

local function is_function(value) return type(value) == "function" end

local function fail_with(command, ended)
  errors.raise { code = "Exit", message = ("'%s' ended with %s"):format(command,
    ended.code and "exit code " .. ended.code or "signal " .. ended.signal), exit = ended.code }
end

---Runs a shell command; on a terminal it has the terminal.
function M.shell(self, command)
  io.stdout:flush()
  local stdout = self.captured and "pipe" or "inherit"
  local process = require("proc").spawn {
    shell = command, stdin = "inherit", stdout = stdout, terminal = self.keys ~= nil,
  }
  if self.captured then
    for line in process:lines() do self.out(line .. "\n") end
  end
  local ended = process:wait()
  if ended.code ~= 0 then fail_with(command, ended) end
end

local function pass_on(self, process)
  for line in process:lines() do self.out(line .. "\n") end
end

-- The value's text as the input of a process: at once, or while it comes.
local function feed(self, process, value)
  local reader = self.captured and require("task").spawn(pass_on, self, process)
  if is_function(value) then
    local ok, problem = pcall(print_into, self, function(text) process:write(text) end, value)
    local gone = not ok and errors.is(problem, "EPIPE") -- it has seen enough
    if not ok and not gone then
      process:stop()
      process:wait()
      error(problem, 0)
    end
    process:close_stdin()
  end
  if reader then reader:wait() end
  return process:wait()
end

---Hands the whole text of a value to a shell command; of a function, what it prints while it runs.
function M.pipe(self, command, value)
  io.stdout:flush()
  local process <close> = require("proc").spawn {
    shell = command, stdin = is_function(value) and "pipe" or whole_text(value),
    stdout = self.captured and "pipe" or "inherit", terminal = self.keys ~= nil,
  }
  local ended = feed(self, process, value)
  if ended.code ~= 0 and ended.code ~= 1 then fail_with(command, ended) end -- 1: grep without a match
end

---Writes the whole text of a value into a file; of a function, what it prints while it runs.
function M.redirect(self, path, value)
  local bytes, lines = 0, 0
  require("fs").write(path, "")
  local file <close> = assert(io.open(path, "w"))
  local function write(text)
    file:write(text)
    bytes, lines = bytes + #text, lines + select(2, text:gsub("\n", ""))
  end
  if is_function(value) then print_into(self, write, value) else write(whole_text(value)) end
  return show.as_text({ path = path, bytes = bytes }, ("%d lines in %s\n"):format(lines, path))
end

-- --- measuring --------------------------------------------------------------------------------------------------

---Runs a function and says how long it took.
function M.time(self, run)
  local task = require "task"
  local started, cpu = task.now(), os.clock()
  local values = table.pack(run())
  local text = show.values(values, self:showing())
  self.out(text .. ("%.3f s, %.3f s of them computing\n"):format(task.now() - started, os.clock() - cpu))
end

---Runs a function some times, as many as a second holds, and says how long one of them takes.
function M.timeit(self, run)
  local task = require "task"
  local times, started = {}, task.now()
  repeat
    local before = task.now()
    run()
    times[#times + 1] = task.now() - before
  until task.now() - started >= 1 or #times >= 1000
  table.sort(times)
  local sum = 0
  for _, seconds in ipairs(times) do sum = sum + seconds end
  self.out(("%d times: best %.6f s, median %.6f s, mean %.6f s\n"):format(#times, times[1],
    times[(#times + 1) // 2], sum / #times))
end

local function traced_call(self, transport, method, sums)
  return function(_, options)
    local task = require "task"
    local started = task.now()
    local ok, response = pcall(transport[method], transport, options)
    local path = options.url:gsub("^%a+://[^/]+", "")
    sums.calls = sums.calls + 1
    sums.bytes = sums.bytes + (ok and type(response.body) == "string" and #response.body or 0)
    local size = ok and type(response.body) == "string" and (" %d bytes"):format(#response.body) or ""
    self.out(("%s %s %s%s %.1f ms\n"):format(options.method or "GET", path, ok and response.status or "failed", size,
      (task.now() - started) * 1000))
    if not ok then error(response, 0) end
    return response
  end
end

---Runs a function and shows each request that it makes.
function M.trace(self, run)
  local client = self:client()
  local transport, sums, started = client.transport, { calls = 0, bytes = 0 }, require("task").now()
  client.transport = {
    request = traced_call(self, transport, "request", sums), stream = traced_call(self, transport, "stream", sums),
  }
  local values = table.pack(pcall(run))
  client.transport = transport
  self.out(("%d requests, %d bytes, %.1f ms\n"):format(sums.calls, sums.bytes,
    (require("task").now() - started) * 1000))
  if not values[1] then error(values[2], 0) end
  return table.unpack(values, 2, values.n)
end

-- --- what there is ------------------------------------------------------------------------------------------------

local function summary_of(value)
  if type(value) ~= "table" then return tostring(value):match "^[^\n]*" end
  local rows = rawget(value, "rows")
  if rows then return ("%d %s"):format(#rows, value.kind or "rows") end
  if type(value.kind) == "string" and type(value.metadata) == "table" then
    return ("%s/%s"):format(value.kind, value.metadata.name)
  end
  return show.literal(value):match "^[^\n]*"
end

local OURS = { settings = true, print = true, require = true, io = true }

---The variables that were made here.
function M.whos(self)
  local rows = {}
  for name, value in next, self.environment do
    local is_word = type(value) == "function" and (self.vocabulary.words[name] or require("repl.session").is_word(name))
    if type(name) == "string" and not OURS[name] and not name:find "^_%d*$" and not is_word then
      rows[#rows + 1] = { name = name, type = type(value), value = require("term").cut(summary_of(value), 60) }
    end
  end
  table.sort(rows, function(a, b) return a.name < b.name end)
  if #rows == 0 then return show.as_text(rows, "no variable was made yet\n") end
  return rows
end

---Copies what a line shows, or the last value, to the clipboard of the terminal (OSC 52).
function M.copy(self, _, run)
  local value = rawget(self.environment, "_")
  if run then value = run() end
  local text = whole_text(value):gsub("\n$", "")
  if not require("term").is_terminal "stdout" then fail "there is no terminal whose clipboard this could be" end
  io.stdout:write("\27]52;c;", require("hash").base64(text), "\7")
  io.stdout:flush()
  return show.as_text({ bytes = #text }, ("%d bytes for the clipboard\n"):format(#text))
end

-- --- own words -----------------------------------------------------------------------------------------------------

---Makes a word stand for a line; without arguments, shows the aliases.
function M.alias(self, name, line)
  if name and line then
    self.vocabulary:alias(name, line)
    return
  end
  local rows = {}
  for key, value in pairs(self.vocabulary.aliases) do
    if not name or key == name then rows[#rows + 1] = { name = key, line = value } end
  end
  table.sort(rows, function(a, b) return a.name < b.name end)
  return rows
end

---Adds a word that is written in Lua: command { name, summary, run = fn(…) }.
function M.command(self, spec)
  if type(spec) ~= "table" or type(spec.name) ~= "string" or type(spec.run) ~= "function" then
    error("command { name = …, run = function(…) … end } expected", 3)
  end
  self.vocabulary:add(spec.name, {
    group = "Own", arguments = spec.arguments, summary = spec.summary or "", flags = spec.flags,
  })
  self.environment[(spec.name:gsub("%-", "_"))] = spec.run
end

---Runs the startup file again.
function M.reload(self)
  local ok, problem = self:start()
  if not ok then error(problem, 0) end
end

-- --- the session itself --------------------------------------------------------------------------------------------

---Allows changes in the context for a time.
function M.writable(self, duration)
  local client = self:client()
  local context = client.context or ""
  if duration == "off" then self.writable_until[context] = nil
  elseif duration then
    local ok, seconds = pcall(require("task").seconds, duration)
    if not ok then fail("'%s' is no time; 10m and 1h30m are", duration) end
    self.writable_until[context] = self.now() + seconds
  end
  self:guard()
  local may, till = self:may_write(), self.writable_until[context]
  local text = ("context '%s' is %s%s\n"):format(context, may and "writable" or "read-only",
    may and till and (" for %d s"):format(math.ceil(till - self.now())) or "")
  return show.as_text({ context = context, writable = may }, text)
end

---The statements typed so far.
function M.history(self, text)
  local rows = {}
  for _, statement in ipairs(self.evaluator.statements) do
    if not text or statement.source:find(text, 1, true) then
      rows[#rows + 1] = ("%4d  %s"):format(statement.number, statement.source)
    end
  end
  return show.as_text(rows, table.concat(rows, "\n") .. (#rows > 0 and "\n" or ""))
end

---Leaves after this line.
function M.quit(self)
  self.leaving = true
end

return M
