-- A worker of the policy host after many reviews: its memory (PSS) is at most 15 MB.
--
--   kfhost tests/bench/webhook_memory.lua [REVIEWS]    a million by default: some minutes
local fs = require "fs"
local host = require "host"
local http = require "http"
local json = require "json"
local proc = require "proc"
local task = require "task"

local REVIEWS = math.tointeger(tonumber(arg[1])) or 1000000
local MOST <const> = 15 -- MB
local folder = arg[0]:match "^(.*)/[^/]*$" or "."
local work = fs.tmpdir "kfhost-memory"

local function bodies()
  local paths = {}
  for i = 1, 20 do
    local env = json.array {}
    for j = 1, 8 * i do env[j] = { name = "SETTING_" .. j, value = ("value %d of %d"):format(j, i) } end
    paths[i] = ("%s/review-%d"):format(work, i)
    fs.write(paths[i], json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = {
      uid = "u-" .. i, operation = "CREATE", kind = { group = "", version = "v1", kind = "Pod" }, namespace = "team-a",
      resource = { group = "", version = "v1", resource = "pods" }, name = "p", userInfo = { username = "ann" },
      object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p",
        labels = { team = i % 5 ~= 0 and "a" or nil, tier = i % 2 == 0 and "batch" or "web" } },
        spec = { containers = json.array { { name = "main", image = "x", env = env } } } } } })
  end
  return paths
end

local function start()
  local process = proc.spawn { host.executable(), "policy", "serve", folder .. "/webhook/site.lua", "--port", "0",
    "--ops-port", "0", "--workers", "2", "--cluster", "false", stderr = "pipe", stdout = "null" }
  local port, health
  repeat
    local line = process:read_line("stderr", 20) or error "kfhost did not start"
    port, health = line:match "https://127.0.0.1:(%d+), health on (%S+)"
  until port
  while http.request { url = health .. "/readyz" }.status ~= 200 do task.sleep(0.05) end
  return process, port, health
end

-- PSS of the children of a process, in MB, the largest first.
local function memory_of(parent)
  local list = {}
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    if tonumber(stat:match "%) %u (%d+)") == parent then
      local rollup = fs.try.read("/proc/" .. name .. "/smaps_rollup") or ""
      list[#list + 1] = (tonumber(rollup:match "Pss:%s+(%d+)") or 0) / 1024
    end
  end
  table.sort(list, function(a, b) return a > b end)
  return list
end

local function answered(health)
  local text = http.request { url = health .. "/metrics" }.body
  return tonumber(text:match "\nkfhost_policy_reviews_total (%d+)") or 0
end

local paths = bodies()
assert(proc.run { "cc", "-O2", "-D_GNU_SOURCE", "-o", work .. "/load", folder .. "/load.c", "-lssl", "-lcrypto",
  stderr = "inherit" }.code == 0, "the generator does not compile")
local process, port, health = start()
print(("before: %.1f MB"):format(memory_of(process.pid)[1]))
local count = 0
while count < REVIEWS do
  local words = { work .. "/load", "--tls", "--connections", "16", "--seconds", "10", "127.0.0.1:" .. port, "/mutate" }
  table.move(paths, 1, #paths, #words + 1, words)
  local result = proc.run(words)
  if result.code ~= 0 then error("the load failed: " .. result.stdout .. result.stderr, 0) end
  task.sleep(0.5) -- the workers tell how many once in a while
  count = answered(health)
  print(("%8d reviews: largest process %.1f MB"):format(count, memory_of(process.pid)[1]))
end
local most = memory_of(process.pid)[1]
process:stop()
process:wait(40)
fs.remove(work, { recursive = true })
print(("a worker after %d reviews: %.1f MB PSS, at most %d: %s"):format(count, most, MOST,
  most <= MOST and "held" or "MISSED"))
os.exit(most <= MOST)
