-- The bars of the REPL over a lab with 10,000 pods: first prompt, completion, a listing, memory. Exits 1 when one
-- is missed. The program runs on a terminal (script of util-linux makes one).
--   kfhost tests/bench/repl_bench.lua
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local task = require "task"

local PODS <const>, CONNECTIONS <const>, ROUNDS <const> = 10000, 8, 7

local missed = false
local function bar(name, value, limit, unit)
  local good = value <= limit
  missed = missed or not good
  print(("%-34s %9.3f %s (bar <= %g)  %s"):format(name, value, unit, limit, good and "held" or "MISSED"))
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- --- a lab with pods --------------------------------------------------------------------------------------

local home = fs.tmpdir "repl-bench"
local kubeconfig = fs.join(home, "kubeconfig")
local lab <close> = proc.spawn { host.executable(), "lab", "up", "--nodes", "0", "--json", "--kubeconfig", kubeconfig }
assert(json.decode(lab:read_line()).server)

local function fill()
  local made, jobs = 0, {}
  for worker = 1, CONNECTIONS do
    jobs[worker] = function()
      local client = require("kube").connect { kubeconfig = kubeconfig, log = function() end, writes_per_minute = 1e9 }
      while made < PODS do
        made = made + 1
        client:create { apiVersion = "v1", kind = "Pod", metadata = { name = ("pod-%05d"):format(made),
          namespace = "default", labels = { app = "a" .. made % 10 } },
          spec = { containers = { { name = "main", image = "registry.example/app:1.0" } } } }
      end
      return true
    end
  end
  task.all(jobs)
end
io.stdout:setvbuf "line"
fill()

-- --- a terminal -------------------------------------------------------------------------------------------

local terminal = {}
terminal.__index = terminal

-- The program on a terminal of its own: what it is sent, and what it draws.
local function open()
  local env = ("HOME='%s' XDG_CONFIG_HOME='%s' KUBECONFIG='%s' KUBECACHEDIR='%s/cache' KFHOST_PAGER=cat TERM=xterm")
    :format(home, home, kubeconfig, home)
  local started = task.now()
  local process = proc.spawn { "script", "-qfec", ("stty cols 120 rows 40; exec env %s '%s'"):format(env,
    host.executable()), "/dev/null", stdin = "pipe" }
  local self = setmetatable({ process = process, seen = "" }, terminal)
  self:wait "default> "
  return self, task.now() - started
end

-- Reads until a text has come; seconds that it took.
function terminal:wait(wanted)
  local started = task.now()
  while not self.seen:find(wanted, 1, true) do
    local piece = self.process:read("stdout", 20)
    assert(piece, "the program ended; it had drawn: " .. self.seen:sub(-500))
    self.seen = self.seen .. piece
  end
  self.seen = ""
  return task.now() - started
end

function terminal:send(text)
  self.seen = ""
  self.process:write(text)
end

local function peak_of_kfhost(parent)
  for _, name in ipairs(fs.list "/proc") do
    local pid = tonumber(type(name) == "table" and name.name or name)
    local ok, text = pcall(fs.read, ("/proc/%s/status"):format(pid or "self"))
    if ok and pid and text:match "Name:%s*(%S+)" == "kfhost" and text:match "PPid:%s*(%d+)" == tostring(parent) then
      return tonumber(text:match "VmHWM:%s*(%d+)") / 1024
    end
  end
  error "the program is not among the processes"
end

-- --- the bars ---------------------------------------------------------------------------------------------

local prompts = {}
for round = 1, ROUNDS do
  local one, seconds = open()
  prompts[round] = seconds * 1000
  one:send "\4"
  one.process:wait()
end
bar("first prompt", median(prompts), 50, "ms")

local one = open()
one:send "pods\r"
one:wait "more" -- cut, with the count of what is missing
local listings, completions = {}, {}
for round = 1, ROUNDS do
  one:send "pods\r"
  listings[round] = one:wait "more"
end
bar("pods", median(listings), 0.2, "s")

one:send "get pods pod-0000\t"
one:wait "pod-00009" -- the cache is there from now on
for round = 1, ROUNDS do
  one:send "\21" -- C-u
  one:send(("get pods pod-0%d00\t"):format(round))
  completions[round] = one:wait(("pod-0%d009"):format(round)) * 1000
end
bar("completion of a pod's name", median(completions), 50, "ms")
bar("peak memory", peak_of_kfhost(one.process.pid), 60, "MB")
one:send "\21\4"
one.process:wait()
lab:stop()
lab:wait()
return missed and 1 or 0
