-- A program on a terminal: the real one in tmux; keys go in, screens come out as text with styles (markup.lua).
-- Not for what is typed (the tests beside this). What differs from run to run is masked.
--   local s <close> = screen.open { home = home }; s:line "pods"; s:golden("pods", "web-1")

local fs = require "fs"
local host = require "host"
local proc = require "proc"
local test = require "test"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local markup = dofile(folder .. "markup.lua")

local M = {}

local MOST_LOOKS <const> = 2000 -- at a screen, until something must have come
local STILL <const> = 5 -- looks that must be the same
local MOST_STILL <const> = 100 -- screens that stand still, until one must be the right one

local screen = {}
screen.__index = screen

local function tmux(self, ...)
  local process = proc.spawn { "tmux", "-u", "-L", self.name, "-f", "/dev/null", stderr = "stdout", ... }
  local text = {}
  for line in process:lines() do text[#text + 1] = line end
  if process:wait().code ~= 0 then error("tmux: " .. table.concat(text, "\n"), 0) end
  return text
end

-- --- in ---------------------------------------------------------------------------------------------------

function screen:keys(...)
  tmux(self, "send-keys", "-t", "main", ...)
end

function screen:type(text)
  tmux(self, "send-keys", "-t", "main", "-l", text)
end

-- A line for whatever reads the terminal now.
function screen:enter(text)
  self:type(text)
  self:keys "Enter"
end

-- A line at the prompt, once that is there; when it is drawn Enter ends it.
function screen:line(text)
  self:prompt()
  self:type(text)
  self:prompt(true)
  self:keys "Enter"
end

-- A text as a terminal pastes it: in brackets, if the program asked for them.
function screen:paste(text)
  local path = test.tmpdir() .. "/paste"
  fs.write(path, text)
  tmux(self, "load-buffer", path)
  tmux(self, "paste-buffer", "-p", "-r", "-t", "main")
end

-- --- out --------------------------------------------------------------------------------------------------

-- An age is as long as three characters, so that what follows stands where it does with a young one.
local function mask(text)
  text = ("\n" .. text):gsub("([%s:])%d+[smhd]%d*[smhd]?( +)(%S)", "%1AGE  %3")
    :gsub("([%s:])%d+[smhd]%d*[smhd]?( *)%f[\n⟧]", "%1AGE"):gsub("AGE  +(%S)", "AGE  %1")
    :gsub("%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x", "UID")
    :gsub('"UID"', "UID"):gsub("kube%-api%-access%-%w+", "kube-api-access-NAME")
    :gsub("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[%d.]*Z", "TIME")
    :gsub('resourceVersion: "%d+"', "resourceVersion: N"):gsub("kfhost [%d.]+[%w.+-]*", "kfhost VERSION")
    :gsub("%d+%.%d+ m?s%f[%A]", "TIME"):gsub("127%.0%.0%.1:%d+", "127.0.0.1:PORT")
  return text:sub(2)
end

-- What is on the screen as it is, with styles.
function screen:raw()
  return markup.of(tmux(self, "capture-pane", "-e", "-p", "-t", "main"))
end

-- What is on the screen, masked, without styles.
function screen:look()
  return markup.plain(mask(self:raw()))
end

-- Looks until a text is on the screen.
function screen:wait(wanted, looks)
  local seen
  for _ = 1, looks or MOST_LOOKS do
    seen = self:look()
    if seen:find(wanted, 1, true) then return seen end
  end
  error(("%q never came; the screen is:\n%s"):format(wanted, seen), 2)
end

-- Looks until the prompt is the last thing on the screen, or is it no more.
function screen:prompt(gone)
  local seen
  for _ = 1, MOST_LOOKS do
    seen = self:look()
    if (seen:find ">\n$" == nil) == (gone or false) then return end
  end
  error(("the prompt %s; the screen is:\n%s"):format(gone and "stays" or "never came", seen), 2)
end

-- Looks until a text is gone from the screen.
function screen:gone(unwanted)
  for _ = 1, MOST_LOOKS do
    if not self:look():find(unwanted, 1, true) then return end
  end
  error(("%q stays; the screen is:\n%s"):format(unwanted, self:look()), 2)
end

-- The screen with a text on it, once it stands still: it may be seen while it is drawn.
function screen:settled(wanted)
  self:wait(wanted)
  local seen, same = self:raw(), 0
  for _ = 1, MOST_LOOKS do
    local now = self:raw()
    same = mask(now) == mask(seen) and same + 1 or 0
    seen = now
    if same == STILL then return mask(seen) end
  end
  error("the screen does not stand still", 2)
end

-- The screen that stands still as a text: its size, its rows, where the cursor is.
local function still(self, wanted)
  local rows = self:settled(wanted)
  local place = tmux(self, "display-message", "-p", "-t", "main",
    "#{pane_width}×#{pane_height} #{cursor_x} #{cursor_y} #{cursor_flag}")[1]
  local size, cursor, shown = place:match "^(%S+) (%d+ %d+) (%d)$"
  return ("%s\n%scursor %s\n"):format(size, rows, shown == "1" and cursor or "hidden")
end

-- Compares the screen, once a text is on it, with a file. One that stands still may yet have keys to come, if the
-- program is slow: only what is still another one after many looks is wrong.
function screen:golden(name, wanted)
  local file = ("terminal/%s.txt"):format(name)
  local expected, seen = fs.try.read(folder .. "../golden/" .. file), nil
  for _ = 1, expected and MOST_STILL or 1 do
    seen = still(self, wanted)
    if seen == expected then break end
  end
  test.golden(file, seen)
end

-- What the program gave the terminal for its clipboard.
function screen:clipboard()
  return table.concat(tmux(self, "show-buffer"), "\n")
end

function screen:clear()
  self:keys "C-u"
  self:prompt()
  self:keys "C-l"
  for _ = 1, MOST_LOOKS do
    if not self:look():find "\n." then return end
  end
  error("the screen was not cleared:\n" .. self:look(), 2)
end

-- tmux tells the program of the new size a little later: waits until its terminal has it.
function screen:resize(columns, rows)
  tmux(self, "resize-window", "-t", "main", "-x", tostring(columns), "-y", tostring(rows))
  local terminal = tmux(self, "display-message", "-p", "-t", "main", "#{pane_tty}")[1]
  for _ = 1, MOST_LOOKS do
    local stty = proc.spawn { "stty", "-F", terminal, "size" }
    local size = stty:read_line()
    stty:wait()
    if size == ("%d %d"):format(rows, columns) then return end
  end
  error("the terminal never got its new size", 2)
end

-- Takes the terminal away, as a window that is closed does.
function screen:hang_up()
  pcall(tmux, self, "kill-server")
end
screen.__close = screen.hang_up

local count = 0

---Starts the program on a terminal of its own.
---@param options {home: string, columns: integer?, rows: integer?, arguments: string?, env: string?, wait: string?}
function M.open(options)
  count = count + 1
  local self = setmetatable({ name = ("kfhost-%d-%d"):format(host.pid(), count) }, screen)
  local env = ("LC_ALL=C.UTF-8 HOME=@ XDG_CONFIG_HOME=@/config KUBECONFIG=@/kubeconfig KUBECACHEDIR=@/cache "
    .. "EDITOR=@/editor %s"):gsub("@", options.home):format(options.env or "")
  tmux(self, "new-session", "-d", "-s", "main", "-x", tostring(options.columns or 80), "-y",
    tostring(options.rows or 24),
    ("env -u NO_COLOR -u COLUMNS -u LINES -u PAGER %s '%s' %s; echo left with $?; exec cat"):format(env,
      host.executable(), options.arguments or ""))
  tmux(self, "set-option", "-s", "set-clipboard", "on")
  self:wait(options.wait or "lab:default>")
  return self
end

return M
