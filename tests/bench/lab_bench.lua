-- The bars of the lab: ready, create, list, watch, memory. Prints what it measured; exits 1 when a bar is missed.
--   kfhost tests/bench/lab_bench.lua
local http = require "http"
local json = require "json"
local proc = require "proc"
local host = require "host"
local fs = require "fs"
local yaml = require "yaml"
local task = require "task"
local hash = require "hash"

local PODS, CONNECTIONS, WATCHES = 10000, 16, 200

local missed = false
local function bar(name, value, limit, unit, more)
  local good = more and value >= limit or not more and value <= limit
  missed = missed or not good
  print(("%-34s %10.3f %s (bar %s %g)%s"):format(name, value, unit, more and ">=" or "<=", limit,
    good and "" or "  MISSED"))
end

local function status_of(pid, field)
  return tonumber(fs.read(("/proc/%d/status"):format(pid)):match(field .. ":%s*(%d+)")) / 1024
end

local directory = fs.tmpdir "lab-bench"
local config_path = fs.join(directory, "kubeconfig")
local started = task.now()
local words = { host.executable(), "lab", "up", "--nodes", "0", "--json", "--kubeconfig", config_path }
if arg and arg[1] == "--state" then table.move({ "--state", fs.join(directory, "state") }, 1, 2, #words + 1, words) end
local lab = proc.spawn(words)
local facts = json.decode(lab:read_line())
bar("ready", (task.now() - started) * 1000, 50, "ms")

local config = yaml.decode(fs.read(config_path))
local options = { ca = hash.unbase64(config.clusters[1].cluster["certificate-authority-data"]), proxy = "",
  http2 = false, headers = { Authorization = "Bearer " .. config.users[1].user.token,
                             ["Content-Type"] = "application/json" } }

local function pod(i)
  local env = json.array {}
  for n = 1, 8 do env[n] = { name = "VARIABLE_" .. n, value = ("value %d for the pod"):format(n) } end
  return json.encode { metadata = { name = ("pod-%05d"):format(i), labels = { app = "a" .. i % 10 } },
    spec = { containers = { { name = "main", image = "registry.example/app:1.0", env = env,
      resources = { requests = { cpu = "100m", memory = "128Mi" } } } } } }
end

local base = facts.server .. "/api/v1/namespaces/default/"
local next_pod, size = 1, 0
local bodies = {}
for i = 1, PODS do bodies[i] = pod(i) end
local jobs = {}
for worker = 1, CONNECTIONS do
  jobs[worker] = function()
    local session = http.session(options)
    while next_pod <= PODS do
      local i = next_pod
      next_pod = i + 1
      local response = session:request { url = base .. "pods", method = "POST", body = bodies[i] }
      assert(response.status == 201, response.body)
      size = #response.body
    end
    session:close()
    return true
  end
end
started = task.now()
task.all(jobs)
bar("creates a second", PODS / (task.now() - started), 2000, "/s", true)
print(("a pod as served: %d bytes"):format(size))

local session = http.session(options)
started = task.now()
assert(#session:request({ url = base .. "pods", method = "GET" }).body > 1000000)
bar("list of 10,000 pods", task.now() - started, 0.3, "s")
bar("memory of the lab", status_of(lab.pid, "VmRSS"), 120, "MB")

local seen, all = 0, task.event()
local readers = {}
for i = 1, WATCHES do
  readers[i] = task.spawn(function()
    local stream = http.stream { url = base .. "configmaps?watch=1&resourceVersion=0&labelSelector=bench%3D1",
      ca = options.ca, headers = options.headers, proxy = "", http2 = false }
    stream:read()
    seen = seen + 1
    if seen == WATCHES then all:set() end
  end)
end
task.sleep(1)
started = task.now()
session:request { url = base .. "configmaps", method = "POST",
  body = json.encode { metadata = { name = "seen", labels = { bench = "1" } } } }
all:wait(10)
bar("a change seen by 200 watches", (task.now() - started) * 1000, 50, "ms")
for _, reader in ipairs(readers) do reader:cancel() end

lab:kill "TERM"
lab:wait()
fs.remove(directory, { recursive = true })
return missed and 1 or 0
