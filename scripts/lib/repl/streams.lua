-- repl.streams: what pods print, commands in them, and ports to them.
-- Not for objects. Each function gets the session first.
--   streams.logs(session, "web-0", { follow = true })

local errors = require "errors"
local objects = require "repl.objects"
local show = require "repl.show"
local term = require "term"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

-- --- logs -------------------------------------------------------------------------------------------------

local COLOURS = { "cyan", "green", "yellow", "magenta", "blue", "red" }

-- The text of one log, a line at a time, given to `say`.
local function read_log(self, query, say)
  local client = self:client()
  if query.follow then
    for line in client:logs(query) do say(line) end
    return
  end
  local text = client:logs(query):gsub("\n$", "")
  if text == "" then return end
  for line in (text .. "\n"):gmatch "(.-)\n" do say(line) end
end

-- pods, and the container that a second plain word names
local function pods_of(self, given, options)
  if #given == 2 and type(given[1]) == "string" and type(given[2]) == "string" and not given[2]:find "/"
    and not options.container then
    local pod = self:client().try:get("pods", given[2], { namespace = options.namespace })
    if not pod then options.container = table.remove(given) end
  end
  if #given == 0 and options.labels then
    local found = self:client():list("pods", { namespace = options.namespace, labels = options.labels })
    for index, pod in ipairs(found) do given[index] = pod end
    if #found == 0 then fail("no pod has the labels %s", options.labels) end
  end
  return objects.references(given, "pods", options)
end

---What containers printed: of one pod or several, followed, filtered.
function M.logs(self, ...)
  local given, options = objects.arguments(...)
  local list = pods_of(self, given, options)
  local expression = options.grep and require("regex").compile(options.grep)
  local readers = {}
  for index, pod in ipairs(list) do
    local prefix = #list > 1 and term.style(pod.name, COLOURS[(index - 1) % #COLOURS + 1]) .. " " or ""
    readers[index] = function()
      read_log(self, {
        pod = pod.name, namespace = pod.namespace, container = options.container, follow = options.follow,
        previous = options.previous, tail = options.tail, since = options.since, timestamps = options.timestamps,
        all_containers = options.all_containers,
      }, function(line)
        line = line:gsub("\r+$", "")
        if not expression or expression:matches(line) then self.out(prefix .. line .. "\n") end
      end)
    end
  end
  if options.follow then require("task").all(readers)
  else for _, read in ipairs(readers) do read() end end
end

-- --- exec ---------------------------------------------------------------------------------------------------

local SHELLS = {}
for name in ("sh bash ash dash zsh python python3 ipython lua psql mysql redis-cli"):gmatch "%S+" do
  SHELLS[name] = true
end

-- What comes in pieces, given on in pieces that end with a whole character.
local function by_characters(write)
  local held = ""
  return function(text)
    text = held .. text
    local whole = #text
    for back = 1, math.min(3, #text) do -- the first byte of a character that is longer than what has come
      local byte = text:byte(-back)
      local length = byte >= 0xF0 and 4 or byte >= 0xE0 and 3 or byte >= 0xC0 and 2 or 1
      if length > back then whole = #text - back end
      if byte >= 0xC0 or byte < 0x80 then break end
    end
    held = text:sub(whole + 1)
    if whole > 0 then write(text:sub(1, whole)) end
  end
end

local function size()
  local columns, rows = term.size()
  return { width = columns, height = rows }
end

-- The terminal's keys as the input of a command that has a terminal of its own, its size whenever it changes.
local function keys_of(self)
  return function()
    local bytes, what = self.keys:bytes()
    return bytes or what == "resize" and size() or nil
  end
end

-- This terminal becomes that of the command: keys, Ctrl-C and the size are its own until it ends.
local function exec_on_terminal(self, query)
  query.tty, query.size, query.stdin = true, size(), keys_of(self)
  query.stdout = function(text) io.stdout:write(text) io.stdout:flush() end
  local closer <close> = setmetatable({}, { __close = function() self.keys:suspend() end }) -- luacheck: ignore
  return self:client():exec(query)
end

---Runs a command in a container; what it prints is shown while it comes. With -t, and for a shell without
---arguments on a terminal, the command has a terminal: this one.
function M.exec(self, pod, ...)
  local given, options = objects.arguments(...)
  if not pod or #given == 0 then fail "exec POD COMMAND…" end
  self:check_write "exec"
  local reference = objects.references({ pod }, "pods", options)[1]
  for index, word in ipairs(given) do given[index] = tostring(word) end
  given.n = nil
  local query = {
    pod = reference.name, namespace = reference.namespace, container = options.container, command = given,
    stdout = by_characters(function(text) self.out(text) end),
    stderr = by_characters(function(text) show.write("stderr", text) end),
  }
  local wants_terminal = options.tty or #given == 1 and SHELLS[given[1]:match "[^/]*$"]
  local ended
  if wants_terminal and self.keys and not (self.captured or self.plain) then ended = exec_on_terminal(self, query)
  else
    query.tty = options.tty
    ended = self:client():exec(query)
  end
  if ended.code ~= 0 then
    errors.raise { code = "Exit", message = ("the command ended with exit code %d"):format(ended.code),
      exit = ended.code }
  end
end

-- --- ports ----------------------------------------------------------------------------------------------------

---A local port to a pod's, until the REPL ends.
function M.port_forward(self, pod, ports, options)
  local from, to = tostring(ports or ""):match "^(%d+):(%d+)$"
  if not from then
    from = tostring(ports or ""):match "^%d+$" or fail "port-forward POD LOCAL:REMOTE"
    to = from
  end
  self:check_write "port-forward"
  local reference = objects.references({ pod }, "pods", options or {})[1]
  local forward = self:client():port_forward {
    pod = reference.name, namespace = reference.namespace, local_port = math.tointeger(tonumber(from)),
    port = math.tointeger(tonumber(to)),
  }
  local text = ("127.0.0.1:%d to %s port %s"):format(forward.port, reference.name, to)
  local number = require("repl.jobs").add(self, { kind = "port-forward", what = text,
    close = function() forward:close() end })
  return show.as_text({ port = forward.port, number = number }, ("[%d] %s\n"):format(number, text))
end

---The ports that are forwarded.
function M.forwards(self)
  local rows = {}
  for _, job in ipairs(self.jobs) do
    if job.kind == "port-forward" then rows[#rows + 1] = { number = job.number, what = job.what } end
  end
  if #rows == 0 then return show.as_text(rows, "no port is forwarded\n") end
  return rows
end

-- --- files ------------------------------------------------------------------------------------------------

-- "POD:PATH" or "NAMESPACE/POD:PATH"; nil for a file of this machine.
local function remote(text, options)
  local pod, path = tostring(text):match "^([^:]+):(.+)$"
  if not pod or pod:find "^[./]" then return nil end
  local namespace, name = pod:match "^([^/]+)/([^/]+)$"
  return { pod = name or pod, namespace = namespace or options.namespace, container = options.container, path = path }
end

local function run_in(self, place, command, more)
  local query = { pod = place.pod, namespace = place.namespace, container = place.container, command = command }
  for key, value in pairs(more) do query[key] = value end
  local ended = self:client():exec(query)
  if ended.code ~= 0 then
    errors.raise { code = "Exit", exit = ended.code, message = ("in pod '%s': %s"):format(place.pod,
      (ended.stderr or ""):gsub("%s+$", "")) }
  end
  return ended
end

---Copies one file from a pod or to it: cp("web:/etc/hosts", "hosts").
function M.cp(self, from, to, options)
  options = options or {}
  local source, target = from and remote(from, options), to and remote(to, options)
  if not (from and to) or (source == nil) == (target == nil) then fail "cp POD:PATH FILE, or cp FILE POD:PATH" end
  self:check_write "cp"
  local fs = require "fs"
  local text = source and run_in(self, source, { "cat", source.path }, {}).stdout or fs.read(from)
  if source then fs.write(to, text)
  else run_in(self, target, { "sh", "-c", "cat >\"$1\"", "sh", target.path }, { stdin = text }) end
  return show.as_text({ bytes = #text }, ("%d bytes in %s\n"):format(#text, to))
end

return M
