-- The REPL on a terminal: the real program in tmux, over a lab; keys go in, screens come out.
-- Screens are kept in tests/golden/terminal-*.txt, ages masked; ./dev test runs this as a suite of its own.
local test = require "test"
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"

local MOST_LOOKS <const> = 1000 -- at a screen, until something must have come

-- --- tmux -------------------------------------------------------------------------------------------------

local screen = {}
screen.__index = screen

local function tmux(self, ...)
  local process = proc.spawn { "tmux", "-L", self.name, "-f", "/dev/null", ... }
  local text = {}
  for line in process:lines() do text[#text + 1] = line end
  process:wait()
  return text
end

function screen:keys(...)
  tmux(self, "send-keys", "-t", "main", ...)
end

function screen:type(text)
  tmux(self, "send-keys", "-t", "main", "-l", text)
end

function screen:line(text)
  self:type(text)
  self:keys "Enter"
end

-- What is on the screen, with ages masked, without empty lines at the end.
function screen:look()
  local text = table.concat(tmux(self, "capture-pane", "-p", "-t", "main"), "\n")
  text = text:gsub("(%s)%d+[smh]%d*[smh]?(%s)", "%1AGE%2"):gsub("(%s)%d+[smh]%d*[smh]?$", "%1AGE")
  return (text:gsub("[ \t]+\n", "\n"):gsub("%s+$", "")) .. "\n"
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

-- The screen with a text on it, once it stands still: it may be seen while it is drawn.
function screen:settled(wanted)
  local seen, same = self:wait(wanted), 0
  for _ = 1, MOST_LOOKS do
    local now = self:look()
    same = now == seen and same + 1 or 0
    seen = now
    if same == 5 then return seen end
  end
  error("the screen does not stand still", 2)
end

function screen:clear()
  self:keys("C-u", "C-l")
  for _ = 1, MOST_LOOKS do
    if not self:look():find "\n." then return end
  end
  error("the screen was not cleared", 2)
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

screen.__close = function(self)
  tmux(self, "kill-server")
  self.lab:stop()
  self.lab:wait()
end

-- --- a lab and the program ------------------------------------------------------------------------------------

local function pod(name)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "default" },
    spec = { schedulerName = "nobody", containers = { { name = "main", image = "busybox" } } } }
end

local function fill(client)
  for _, name in ipairs { "alpha-1", "alpha-2", "beta" } do
    client:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = "default" },
      data = { k = "old" } }
  end
  client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "tools" } }
  client:create { apiVersion = "v1", kind = "Pod", metadata = { name = "shell", namespace = "tools" }, spec = {
    terminationGracePeriodSeconds = 0, containers = { { name = "main", image = "busybox",
      command = { "sh", "-c", "exec sleep 1000" } } } } }
  client:create(pod "web-1")
  client:create(pod "web-2")
end

-- An editor reads keys from the terminal, which only who has it in the foreground may.
local EDITOR = [[#!/bin/sh
printf 'new value: '
read value </dev/tty
sed -i "s/k: old/k: $value/" "$1"
]]

local function start()
  local home = test.tmpdir()
  local lab = proc.spawn { host.executable(), "lab", "up", "--json", "--kubeconfig", home .. "/kubeconfig" }
  local said = json.decode(lab:read_line())
  local client = require("kube").connect { kubeconfig = said.kubeconfig, log = function() end }
  fill(client)
  fs.write(home .. "/editor", EDITOR, { mode = 493 })
  local self = setmetatable({ name = "kfhost-" .. host.pid(), lab = lab, client = client }, screen)
  local env = ("HOME=@ XDG_CONFIG_HOME=@/config KUBECONFIG=@/kubeconfig KUBECACHEDIR=@/cache EDITOR=@/editor")
    :gsub("@", home)
  tmux(self, "new-session", "-d", "-s", "main", "-x", "80", "-y", "24",
    ("env -u NO_COLOR -u COLUMNS -u LINES -u PAGER %s '%s'; echo left with $?; exec cat")
      :format(env, host.executable()))
  self:wait "lab:default>"
  return self
end

-- --- what is typed --------------------------------------------------------------------------------------------------

local function completion(s)
  s:type "get configm"
  s:keys "Tab"
  s:wait "get configmaps"
  s:type "a"
  s:keys "Tab"
  s:wait "alpha-1"
  s:keys("Tab", "Tab")
  test.golden("terminal-completion.txt", s:settled "> get configmaps alpha-2")
  s:keys("Enter", "Enter")
  s:wait "1  alpha-2"
  s:clear()
end

local function multi_line(s)
  s:line "function double(x)"
  s:line "return 2 * x"
  s:line "end"
  s:line "double(21)"
  test.golden("terminal-lines.txt", s:settled "\n42\n")
  s:clear()
end

local function cancellation(s)
  s:line "x = 5"
  s:line "print 'spins' while true do end"
  s:wait "\nspins\n"
  s:keys "C-c"
  s:wait "cancelled"
  s:line "print 'waits' require('task').sleep(1000)"
  s:wait "\nwaits\n"
  s:keys "C-c"
  s:wait "waits\n^Ccancelled"
  s:line "x + 1"
  test.golden("terminal-cancel.txt", s:settled "\n6\n")
  s:clear()
  for _ = 1, 5 do -- in the instant of Enter, whether before or after the line was read
    s:type "require('task').sleep(1000)"
    s:keys("Enter", "C-c")
    s:wait "^C"
    s:line "x + 2"
    s:wait "\n7\n"
    s:clear()
  end
end

-- Programs that people type into have the terminal, and Ctrl-C, to themselves.
local function programs(s)
  s:line "!echo asks; read x && echo read-$x"
  s:wait "\nasks\n"
  s:line "typed"
  s:wait "\nread-typed\n"
  s:line "!echo sleeps; sleep 1000"
  s:wait "\nsleeps\n"
  for _ = 1, 20 do -- a shell between two programs may miss one
    s:keys "C-c"
    if pcall(s.wait, s, "ended with signal 2", 20) then break end
  end
  s:wait "ended with signal 2"
  s:line "x + 3"
  s:wait "\n8\n"
  s:clear()
  s:line "get configmaps yaml | less"
  s:wait "apiVersion: v1"
  s:keys "q"
  s:wait "lab:default"
  s:clear()
  s:line "('line\\n'):rep(100)"
  s:wait "line\nline"
  s:keys " "
  s:settled "line\n:"
  s:keys "q"
  s:line "x + 4"
  s:wait "\n9\n"
  s:clear()
end

local function history(s)
  s:keys "C-r"
  s:type "doub"
  test.golden("terminal-search.txt", s:settled "(search 'doub') double(21)")
  s:keys("C-g", "C-u")
  s:type "dou"
  s:wait "> double(21)" -- the suggestion
  s:keys("Right", "Enter")
  s:wait "\n42\n"
  s:keys "Up"
  s:wait "42\nlab:default [1]> double(21)"
  s:clear()
end

local function rows_and_edit(s)
  s:line "pods"
  s:wait "2  web-2"
  s:line "_[2].name"
  s:line ":lua 1..2 get"
  s:wait 'get(rows("1..2"))'
  s:clear()
  s:line "edit cm/beta"
  s:wait "new value:"
  s:line "new"
  s:wait "change ConfigMap/beta? [y/N]"
  s:type "y"
  test.golden("terminal-edit.txt", s:settled "ConfigMap/beta changed")
  test.equal(s.client:get("configmaps", "beta").data.k, "new")
  s:clear()
end

local function watching(s)
  s:line "watch pods"
  s:wait "q ends"
  s.client:create(pod "web-3")
  test.golden("terminal-watch.txt", s:settled "web-3")
  s:resize(50, 24)
  s:keys("/", "b", "-", "3", "Enter") -- an age may have a 3, too
  for _ = 1, MOST_LOOKS do
    if not s:look():find("web-1", 1, true) then break end
  end
  s:wait "web-3"
  s:keys "q"
  s:wait "[1]>"
  s:resize(40, 24)
  s:clear()
  s:type "x = 'a line that is longer than the forty columns'"
  test.golden("terminal-resize.txt", s:settled "columns'")
  s:keys("C-c")
  s:wait "^C"
end

-- A shell in a container: keys, Ctrl-C and the size are its own; its exit code is told.
local function shell_in_pod(s)
  s.client:wait { kind = "pods", name = "shell", namespace = "tools", jsonpath = "{.status.phase}", value = "Running",
    timeout = "60s" }
  s:line "exec -n tools shell sh"
  s:wait "\n#" -- the prompt of root
  s:line "stty size"
  s:wait "\n24 40\n"
  s:resize(60, 20)
  s:line "echo; stty size; echo $((40 + 2))"
  s:wait "\n20 60\n42\n"
  s:line "sleep 1000"
  s:keys "C-c"
  s:wait "^C\n#" -- what is typed before is thrown away with the interrupt
  s:line "echo still-here"
  s:wait "\nstill-here\n"
  s:line "exit 3"
  s:wait "ended with exit code 3"
  s:wait "lab:default"
  s:clear()
  s:line "x"
  s:wait "\n5\n"
end

test("completion, lines, cancellation, history, rows, edit, watch, resize, a shell, and the way out", function()
  local s <close> = start()
  completion(s)
  multi_line(s)
  cancellation(s)
  programs(s)
  history(s)
  rows_and_edit(s)
  watching(s)
  shell_in_pod(s)
  s:keys "C-d"
  s:wait "left with 0"
end)
