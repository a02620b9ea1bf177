-- A watch over the whole screen: keys as in k9s, changed cells marked, what a key does, and the way back.
local test = require "test"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local clusters = dofile(folder .. "cluster.lua")
local screen = dofile(folder .. "screen.lua")

local function marks(s, cluster)
  s:line "watch pods"
  s:golden("watch", "worker-0")
  local pod = cluster.client:get("pods", "web-7d9c5b8f4d-x2x7q")
  pod.status = clusters.state("Running", false, 3, { waiting = { reason = "CrashLoopBackOff" } })
  cluster.client:update(pod, { subresource = "status", kind = "pods" })
  s:keys("Down", "Down")
  s:golden("watch-changed", "CrashLoopBackOff  3")
end

local function actions(s)
  s:keys "d"
  s:golden("watch-describe", "kind: Pod")
  s:keys "q"
  s:wait "q ends"
  s:keys "y"
  s:wait "apiVersion: v1"
  s:keys "q"
  s:wait "q ends"
  s:keys "s"
  s:golden("watch-refused", "unable to upgrade")
  s:keys "/"
  s:type "worker"
  s:golden("watch-filter", "/worker")
  s:keys("Enter", "Escape")
  s:wait "broken"
  s:keys "w"
  s:wait "IP"
  s:keys("w", "q")
  s:prompt()
  s:golden("watch-left", "5  worker-0")
  s:clear()
end

local function logs_and_shell(s, cluster)
  for _, name in ipairs { "shell", "talker-1", "talker-2" } do cluster:running(name) end
  s:line "watch pods -n tools"
  s:wait "talker-2"
  s:keys("Down", "l")
  s:golden("watch-logs", "disk is full")
  s:keys "q"
  s:wait "q ends"
  s:keys("Up", "s")
  s:wait "\n#"
  s:enter "echo in-the-$((1 + 1))"
  s:wait "\nin-the-2\n"
  s:enter "exit"
  s:wait "q ends"
  s:keys "C-c"
  s:wait "lab:default"
  s:clear()
  s:line "logs -n tools -l app=talker"
  s:prompt()
  s:golden("logs", "talker-2 all is well")
  s:clear()
end

-- Smaller and larger while the watch is there, and while a line is edited.
local function sizes(s)
  s:line "watch pods"
  s:wait "worker-0"
  s:resize(40, 12)
  s:golden("watch-40x12", "broken")
  s:resize(80, 24)
  s:wait "q ends"
  s:keys "q"
  s:clear()
  s:resize(40, 24)
  s:type "x = 'a line that is longer than the forty columns'"
  s:golden("resized-line", "columns'")
  s:keys "C-c"
  s:wait "^C"
end

test("watch marks what changed, takes keys, and goes back to the prompt", function()
  local cluster <close> = clusters.start(test.tmpdir())
  local s <close> = screen.open { home = cluster.home }
  for _, scene in ipairs { marks, actions, logs_and_shell, sizes } do scene(s, cluster) end
  s:keys "C-d"
  s:wait "left with 0"
end)
