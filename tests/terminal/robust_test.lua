-- What terminals, people and servers do at their worst: narrow and dumb terminals, pastes of 10,000 lines, servers that
-- never answer or send control sequences, and a terminal that is gone.
local test = require "test"
local fs = require "fs"
local server = require "server"
local task = require "task"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local clusters = dofile(folder .. "cluster.lua")
local screen = dofile(folder .. "screen.lua")

-- --- texts -------------------------------------------------------------------------------------------------

local function pastes(s)
  s:line "n = 0"
  s:prompt()
  s:paste(("n = n + 1\n"):rep(10000))
  s:wait ">> n = n + 1"
  s:keys "Enter"
  s:line "n"
  s:wait "\n10000\n"
  s:clear()
  s:paste "ns\nns tools\nns default"
  s:wait ">> ns default"
  s:keys "Enter"
  s:prompt()
  s:golden("pasted", "namespace default")
  s:clear()
  s:paste("text = '" .. ("long "):rep(2000) .. "'")
  s:wait "long '"
  s:keys("Home", "Delete", "n", "End", "Enter")
  s:line "#next"
  s:wait "\n10000\n"
  s:clear()
end

local function characters(s)
  s:type "x = 'é 日本語 e\u{301} 👍 →'"
  s:keys("Left", "Left", "Left", "Left", "Left", "Left", "Left", "Left", "BSpace")
  s:golden("unicode", "日語")
  s:keys("End", "Enter")
  s:line "x"
  s:wait "\né 日語"
  s:clear()
end

local function narrow(s)
  s:resize(20, 10)
  s:line "pods"
  s:prompt()
  s:type "pods -A -l app=web wide"
  s:golden("narrow", "wide")
  s:keys "C-u"
  s:resize(80, 24)
  s:clear()
end

-- --- servers -----------------------------------------------------------------------------------------------

local function control_sequences(s, cluster)
  cluster:make { apiVersion = "v1", kind = "Event", metadata = { name = "evil.1", namespace = "default" },
    type = "Warning", reason = "Evil\27[2J", message = "one\27]0;title\7 two\r\nthree \27[31mred \u{202e}gnp",
    involvedObject = { kind = "Pod", name = "worker-0", namespace = "default" } }
  s:line "why pod/worker-0"
  s:prompt()
  s:line "get events evil.1"
  s:prompt()
  s:line "_[1].message"
  s:prompt()
  s:line "error(_7 or 'said \27[2J' .. string.char(27) .. '[2J')"
  s:prompt()
  s:golden("control-sequences", "said")
  s:clear()
end

-- A server that takes connections and never says a word.
local function silent_server(home)
  local listener = server.listen { address = "127.0.0.1", port = 0, raw = true, handler = function(request)
    request:upgrade { status = 0 }:read()
    task.sleep(1000)
  end }
  fs.write(home .. "/kubeconfig", ([[
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: a, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: a, user: {token: t}}]
contexts: [{name: lab, context: {cluster: a, user: a}}]
]]):format(listener.port))
  return listener
end

test("a server that never answers holds neither completion nor Ctrl-C up", function()
  local home = test.tmpdir()
  local listener <close> = silent_server(home) -- luacheck: ignore
  local s <close> = screen.open { home = home }
  s:type "pods w"
  s:keys "Tab"
  s:type "eb"
  s:wait "> pods web"
  s:keys "C-u"
  s:line "pods"
  s:keys "C-c"
  s:wait "^C"
  s:line "1 + 1"
  s:wait "\n2\n"
  s:keys "C-d"
  s:wait "left with 0"
end)

-- --- terminals ---------------------------------------------------------------------------------------------

local function dumb(home)
  local s <close> = screen.open { home = home, env = "TERM=dumb" }
  s:line "pods name"
  s:wait "pods/worker-0"
  s:line "scale sts/none 1"
  s:wait "NotFound"
  s:line "watch pods --count 1"
  s:golden("dumb", "worker-0  ")
  s:keys "C-d"
  s:wait "left with 0"
end

local function without_colours(home)
  local s <close> = screen.open { home = home, env = "NO_COLOR=1 TERM=xterm-256color" }
  s:line "pods"
  s:wait "worker-0"
  s:prompt()
  s:line "error 'no'"
  s:prompt()
  s:type "po"
  local seen = s:settled "po"
  if seen:find("⟦", 1, true) then error(seen, 0) end
end

-- Lines in the background report above the line that is typed meanwhile, and hold nobody up who leaves.
local function background(s)
  s:line ":bg require('task').sleep(0.2) or 'slept well'"
  s:prompt()
  s:type "pods -A -l"
  s:golden("background", "\nslept well\n")
  s:keys "C-u"
  s:line "require('task').spawn(function() error('on its own', 0) end)"
  s:wait "a task failed: on its own"
  s:line "port-forward -n tools talker-1 0:80"
  s:wait "[2] 127.0.0.1:PORT to talker-1 port 80"
  s:line ":bg wait pod/none Ready"
  s:line ":bg require('task').sleep(1000)"
  s:line ":bg watch pods" -- one at a time has the keys
  s:wait "[5] failed: watch pods: Busy: another task waits for the keys of the terminal"
  s:line ":tasks"
  s:wait "sleep(1000)"
  s:line ":stop 2"
  s:wait "[2] ended"
  s:prompt()
  s:line "!exit 7" -- the code of the last line is that of the program
  s:prompt()
  s:keys "C-d"
  s:wait "left with 7"
end

-- The processes whose environment names a home.
local function processes_of(home)
  local list = {}
  for _, name in ipairs(fs.list "/proc") do
    local environment = name:find "^%d+$" and fs.try.read(("/proc/%s/environ"):format(name))
    if environment and environment:find("HOME=" .. home, 1, true) then list[#list + 1] = name end
  end
  return list
end

test("a signal that ends programs ends this one, and the terminal is as it was", function()
  local home = test.tmpdir()
  local listener <close> = silent_server(home) -- luacheck: ignore
  local s <close> = screen.open { home = home }
  s:type "half a li"
  s:settled "half a li"
  for _, process in ipairs(processes_of(home)) do require("proc").run { "kill", "-TERM", process } end
  s:wait "left with 143"
  s:type "typed" -- cat reads lines again, and the terminal shows them
  s:wait "typed"
end)

test("when the terminal is gone, nothing of the program and its lab stays", function()
  local home = test.tmpdir()
  local s = screen.open { home = home, arguments = "--lab", wait = "lab:default>" }
  s:line "pods -A"
  s:wait "no pods"
  assert(#processes_of(home) > 1)
  s:hang_up()
  for _ = 1, 20000 do
    if #processes_of(home) == 0 then return end
  end
  error(table.concat(processes_of(home), " ") .. " are still there")
end)

test("long texts, strange characters, narrow and dumb terminals, control sequences of others", function()
  local cluster <close> = clusters.start(test.tmpdir())
  local s <close> = screen.open { home = cluster.home }
  for _, scene in ipairs { pastes, characters, narrow, control_sequences } do scene(s, cluster) end
  cluster:running "talker-1"
  background(s)
  dumb(cluster.home)
  without_colours(cluster.home)
end)
