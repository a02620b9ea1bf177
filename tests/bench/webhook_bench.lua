-- The webhook server beside Go's net/http with the same policy: rate and p99 over TLS, on the same cores, with
-- the same generator (tests/bench/load.c). Every answer is compared with the first to its review, and those of
-- the two servers with each other. Needs cc and go; without go only our own figures are shown.
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local json = require "json"
local proc = require "proc"
local x509 = require "x509"

local SECONDS = tonumber(os.getenv "BENCH_SECONDS") or 1.5 -- of one measurement
local ROUNDS = 3 -- in turns with the rival; the median counts, since other programs may disturb one
local BODIES = 20
local folder = (arg and arg[0] or "tests/bench/webhook_bench.lua"):match "^(.*)/[^/]*$" or "."
local work = proc.run { "mktemp", "-d" }.stdout:match "%S+"

-- --- reviews of 2 to 20 kB ------------------------------------------------------------------------

local function container(number, variables)
  local env = json.array {}
  for i = 1, variables do
    env[i] = { name = ("SETTING_%d_%d"):format(number, i), value = ("value %d of \"container\" %d"):format(i, number) }
  end
  return { name = "c" .. number, image = "registry.example.org/team/image:1." .. number, env = env,
    args = json.array { "--run", "--seed=" .. number }, resources = { requests = { cpu = "100m", memory = "64Mi" } },
    volumeMounts = json.array { { name = "data", mountPath = "/data" } } }
end

local function pod(number)
  local containers = json.array {}
  for i = 1, 1 + number // 7 do containers[i] = container(i, 4 + 5 * number) end
  return { apiVersion = "v1", kind = "Pod",
    metadata = { name = "pod-" .. number, namespace = "team-a",
      labels = { app = "bench", team = number % 5 ~= 0 and "a" or nil,
        tier = number <= BODIES * 5 // 8 and "batch" or "web" },
      annotations = { note = ("a note that takes some room "):rep(number) } },
    spec = { containers = containers, serviceAccountName = "default-editor", restartPolicy = "Never",
      volumes = json.array { { name = "data", persistentVolumeClaim = { claimName = "data-" .. number } } } } }
end

local function write_bodies()
  local paths = {}
  for i = 1, BODIES do
    paths[i] = ("%s/review-%02d"):format(work, i)
    local object = pod(i)
    -- In the order in which the API server writes it.
    fs.write(paths[i], ([[{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"%s",]]
      .. [["kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},]]
      .. [["name":"%s","namespace":"team-a","operation":"CREATE","userInfo":{"username":"jane",]]
      .. [["groups":["system:authenticated"]},"object":%s,"oldObject":null,"dryRun":false,]]
      .. [["options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}]]):format(
        ("705ab4f5-6393-11e8-b7cc-42010a8000%02d"):format(i), object.metadata.name,
        json.encode(object, { sort = true })))
  end
  return paths
end

-- --- the two servers ------------------------------------------------------------------------------

local function write_certificate()
  local pair = x509.issue(x509.authority { name = "bench" }, { names = { "127.0.0.1" } })
  fs.write(work .. "/cert", pair.certificate)
  fs.write(work .. "/key", pair.key)
end

local function start_ours(site, count)
  local process = proc.spawn { host.executable(), "policy", "serve", folder .. "/webhook/" .. site, "--port", "0",
    "--ops-port", "0", "--cluster", "false", "--workers", tostring(count),
    "--cert", work .. "/cert", "--key", work .. "/key",
    stderr = "pipe", stdout = "null" } -- the audit; a disk would be measured instead
  local port, health
  repeat
    local line = process:read_line("stderr", 20) or error "kfhost did not start"
    port, health = line:match "https://127.0.0.1:(%d+), health on (%S+)"
  until port
  local http, task = require "http", require "task"
  local wanted = ("kfhost_policy_workers %d\n"):format(count)
  while not http.request { url = health .. "/metrics" }.body:find(wanted, 1, true) do task.sleep(0.05) end
  return process, port
end

local function start_go()
  local go = proc.which "go" or (fs.exists "/usr/local/go/bin/go" and "/usr/local/go/bin/go")
  if not go then return nil end
  local built = proc.run { go, "build", "-o", work .. "/webhook", folder .. "/webhook/main.go",
    env = { GOFLAGS = "-mod=mod", GOCACHE = work .. "/cache", GO111MODULE = "off" }, stderr = "inherit" }
  if built.code ~= 0 then error "the Go program does not compile" end
  local process = proc.spawn { work .. "/webhook", work .. "/cert", work .. "/key" }
  return process, process:read_line("stdout", 20)
end

-- --- measuring ------------------------------------------------------------------------------------

local function load(port, paths, options)
  local words = { work .. "/load", "--tls", "--connections", tostring(options.connections), "--seconds",
    tostring(options.seconds or SECONDS) }
  if options.rate then table.move({ "--rate", ("%.0f"):format(options.rate) }, 1, 2, #words + 1, words) end
  if options.answers then table.move({ "--answers", options.answers }, 1, 2, #words + 1, words) end
  table.move({ "127.0.0.1:" .. port, options.path or "/mutate" }, 1, 2, #words + 1, words)
  table.move(paths, 1, #paths, #words + 1, words)
  local result = proc.run(words)
  if result.code ~= 0 then error("the load failed: " .. result.stdout .. result.stderr, 0) end
  return json.decode(result.stdout)
end

-- What an answer says, whatever its form.
local function meaning(text)
  local response = json.decode(text).response
  local patch = response.patch and json.decode(hash.unbase64(response.patch)) or {}
  for i, operation in ipairs(patch) do patch[i] = json.encode(operation, { sort = true }) end
  table.sort(patch)
  return json.encode({ response.uid, response.allowed, table.concat(patch, " ") }), response.allowed, #patch > 0
end

local function compare_answers(paths, ours, theirs)
  local denied, patched = 0, 0
  for _, path in ipairs(paths) do
    local name = path:match "[^/]+$"
    local mine, allowed, has_patch = meaning(fs.read(ours .. "/" .. name))
    if not allowed then denied = denied + 1 end
    if has_patch then patched = patched + 1 end
    if theirs and meaning(fs.read(theirs .. "/" .. name)) ~= mine then error("the answers differ: " .. name, 0) end
  end
  print(("%d reviews of 2 to 20 kB: %d patched, %d denied%s"):format(#paths, patched, denied,
    theirs and "; both servers answer alike" or ""))
end

-- The result whose figure is the median.
local function median(results, figure)
  table.sort(results, function(a, b) return a[figure] < b[figure] end)
  return results[#results // 2 + 1]
end

-- Processor time that a process and its children have used, in seconds.
local function cpu_of(parent)
  local ticks = 0
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    local its, user, system = stat:match "%) %u (%d+) %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
    if tonumber(name) == parent or tonumber(its) == parent then ticks = ticks + user + system end
  end
  return ticks / 100
end

-- What a review costs in processor time: a figure that other programs on the machine hardly change.
local function cost(pid, port, paths)
  local before = cpu_of(pid)
  local result = load(port, paths, { connections = 16, seconds = 2 * SECONDS })
  return (cpu_of(pid) - before) / result.answers * 1e6
end

-- A server's figures {peak=, half=} by its name, measured in turns.
local function measure(ports, paths, connections)
  local peaks, halves, figures = {}, {}, {}
  for name in pairs(ports) do peaks[name], halves[name], figures[name] = {}, {}, {} end
  for _ = 1, ROUNDS do
    for name, port in pairs(ports) do
      table.insert(peaks[name], load(port, paths, { connections = connections }))
    end
  end
  local rate = median(peaks.kfhost, "per_second").per_second / 2
  for _ = 1, ROUNDS do
    for name, port in pairs(ports) do
      table.insert(halves[name], load(port, paths, { connections = connections, rate = rate }))
    end
  end
  for name in pairs(ports) do
    figures[name].peak = median(peaks[name], "per_second")
    figures[name].half = median(halves[name], "p99_ms")
  end
  return figures
end

local function show(name, connections, figures)
  local peak, half = figures.peak, figures.half
  print(("%-7s %3d connections: %6d/s, p99 %7.2f ms; at half of our rate p50 %6.2f p99 %6.2f ms, generator %.2f cores")
    :format(name, connections, peak.per_second, peak.p99_ms, half.p50_ms, half.p99_ms, half.own_cpu))
end

local function memory_of(parent)
  local most = 0
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    if tonumber(stat:match "%) %u (%d+)") == parent then
      local rollup = fs.try.read("/proc/" .. name .. "/smaps_rollup") or ""
      most = math.max(most, tonumber(rollup:match "Pss:%s+(%d+)") or 0)
    end
  end
  return most / 1024
end

-- --- the bars -------------------------------------------------------------------------------------

local missed = 0

local function bar(what, figure, unit, most)
  local held = figure <= most
  if not held then missed = missed + 1 end
  print(("%-62s %8.2f %s, at most %g: %s"):format(what, figure, unit, most, held and "held" or "MISSED"))
end

local function least(what, figure, unit, want)
  local held = figure >= want
  if not held then missed = missed + 1 end
  print(("%-62s %8.2f %s, at least %g: %s"):format(what, figure, unit, want, held and "held" or "MISSED"))
end

local function compare(paths)
  local ours, our_port = start_ours("site.lua", 2)
  local theirs, their_port = start_go()
  for _, side in ipairs { "ours", "theirs" } do proc.run { "mkdir", work .. "/" .. side } end
  load(our_port, paths, { connections = 4, seconds = 1, answers = work .. "/ours" })
  if theirs then load(their_port, paths, { connections = 4, seconds = 1, answers = work .. "/theirs" }) end
  compare_answers(paths, work .. "/ours", theirs and work .. "/theirs")
  local best = 0
  for _, connections in ipairs { 1, 16, 64 } do
    local figures = measure({ kfhost = our_port, Go = their_port }, paths, connections)
    show("kfhost", connections, figures.kfhost)
    best = math.max(best, figures.kfhost.peak.per_second)
    if theirs then
      show("Go", connections, figures.Go)
      least(("rate, %d connections, as a part of Go's"):format(connections),
        figures.kfhost.peak.per_second / figures.Go.peak.per_second, "×", 1)
      bar(("p99 at half of our peak, %d connections, as a part of Go's"):format(connections),
        figures.kfhost.half.p99_ms / figures.Go.half.p99_ms, "×", 1)
    end
  end
  print(("best rate: %.0f reviews/s"):format(best))
  local own = cost(ours.pid, our_port, paths)
  if theirs then
    bar("processor time of a review, as a part of Go's", own / cost(theirs.pid, their_port, paths), "×", 1)
  end
  print(("processor time of a review: %.0f µs"):format(own))
  bar("largest process of ours, PSS", memory_of(ours.pid), "MB", 15)
  ours:stop()
  ours:wait(40)
  if theirs then
    theirs:stop()
    theirs:wait(10)
  else
    print "no go: no rival"
  end
end

-- What one more policy that matches, reads and allows adds to the median of a review.
local function added(paths)
  local services, medians = {}, { without = {}, with = {} }
  for _, name in ipairs { "without", "with" } do
    local process, port = start_ours(name .. "_policy.lua", 1)
    services[name] = { process = process, port = port }
  end
  for _ = 1, 5 do -- in turns
    for name, one in pairs(services) do
      local result = load(one.port, paths, { connections = 1, seconds = SECONDS / 3, path = "/validate" })
      table.insert(medians[name], result.p50_ms)
    end
  end
  for _, list in pairs(medians) do table.sort(list) end
  bar("one matching read-only policy adds to the median of a review",
    (medians.with[1] - medians.without[1]) * 1000, "µs", 30) -- the best of each: what is disturbed least
  for _, one in pairs(services) do
    one.process:stop()
    one.process:wait(40)
  end
end

local paths = write_bodies()
write_certificate()
assert(proc.run { "cc", "-O2", "-D_GNU_SOURCE", "-o", work .. "/load", folder .. "/load.c", "-lssl", "-lcrypto",
  stderr = "inherit" }.code == 0, "the generator does not compile")
compare(paths)
added(paths)
proc.run { "rm", "-rf", work }
os.exit(missed == 0)
