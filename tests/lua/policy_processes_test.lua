-- kfhost policy serve as its processes: what dies, hangs, is reloaded or told to stop.
local test = require "test"
local certificates = require "policy.serve.certificates"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local keepers = require "policy.serve.keeper"
local proc = require "proc"
local task = require "task"
local totals = require "policy.serve.totals"
local workers = require "workers"
local x509 = require "x509"

-- A sanitizer's look for leaks starts a process, which is forbidden to what is locked.
local NO_LEAK_CHECK = { ASAN_OPTIONS = "detect_leaks=0" }

local LABEL = [[
local policy = require "policy"
policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = { seen = "VALUE" }
end }
]]

-- The child of a process that uses the processor: the worker that spins.
local function busy_child(parent)
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    local its, ticks = stat:match "%) %u (%d+) %-?%d+ %-?%d+ %-?%d+ %-?%d+ %d+ %d+ %d+ %d+ %d+ (%d+)"
    if tonumber(its) == parent and tonumber(ticks) > 10 then return name end
  end
end

local SPIN = [[
local policy = require "policy"
policy.validate { name = "spin", match = { resource = "pods" }, timeout = "50s", check = function()
  while true do end
end }
]]

local REVIEW = json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = { uid = "u-1",
  operation = "CREATE", kind = { group = "", version = "v1", kind = "Pod" }, namespace = "team-a", name = "p",
  resource = { group = "", version = "v1", resource = "pods" }, userInfo = { username = "ann" },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" } } } }

local Service = {}
Service.__index = Service

-- Waits for a line of standard error that the pattern finds; what it captures.
function Service:said(pattern)
  while true do
    local line = self.process:read_line("stderr", 20)
    if not line then error("it ended without saying " .. pattern, 2) end
    self.log[#self.log + 1] = line
    local found = table.pack(line:match(pattern))
    if found[1] then return table.unpack(found) end
  end
end

function Service:get(path)
  return http.request { url = ("http://%s:%s%s"):format(self.host or "127.0.0.1", self.operations, path), timeout = 20 }
end

function Service:wait_until_ready()
  while self:get "/readyz".status ~= 200 do task.sleep(0.02) end
end

function Service:post(path)
  return http.request {
    url = ("https://127.0.0.1:%s%s"):format(self.webhook, path), ca = fs.read(self.ca), method = "POST",
    headers = { ["Content-Type"] = "application/json" }, body = REVIEW, timeout = 20,
  }
end

function Service:value()
  local response = json.decode(self:post("/mutate").body).response
  return hash.unbase64(response.patch):match '"seen":"(%w+)"'
end

local function start(text, ...)
  local directory = test.tmpdir()
  local self = setmetatable({ file = directory .. "/site.lua", ca = directory .. "/ca.pem", log = {} }, Service)
  fs.write(self.file, text)
  local words = { host.executable(), "policy", "serve", self.file, "--port", "0", "--ops-port", "0", "--ca-out",
    self.ca, ... }
  words.stderr, words.stdout, words.env = "pipe", "null", NO_LEAK_CHECK
  self.process = proc.spawn(words)
  self.webhook, self.host, self.operations = self:said "webhooks on https://.-:(%d+), health on http://(.*):(%d+)"
  self:wait_until_ready()
  return self
end

function Service:stop()
  self.process:kill "TERM"
  test.equal(self.process:wait(30).code, 143)
end

test("a review is answered, counted by all workers, and TERM ends it in order", function()
  local service = start((LABEL:gsub("VALUE", "yes")))
  for _ = 1, 4 do test.equal(service:value(), "yes") end
  local text
  repeat
    task.sleep(0.02)
    text = service:get("/metrics").body
  until text:find "kfhost_policy_reviews_total 4\n"
  test.equal(text:find "kfhost_policy_workers 2\n" ~= nil, true)
  service:stop()
end)

test("a worker that is killed is named with its policy and review, and replaced", function()
  local service = start(SPIN)
  local request = task.spawn(function() return select(2, pcall(service.post, service, "/validate")).code end)
  local busy
  repeat
    task.sleep(0.02)
    busy = busy_child(service.process.pid)
  until busy
  proc.run { shell = "kill -KILL " .. busy }
  test.equal(service:said "was killed by signal 9 during (.-)\"", "policy spin, review u-1")
  test.equal(request:wait(20), "Connection")
  repeat task.sleep(0.02) until service:get("/metrics").body:find "kfhost_policy_workers 2\n"
  service:stop()
end)

test("a reload replaces the policies without a refused connection; a broken one changes nothing", function()
  local service = start((LABEL:gsub("VALUE", "old")))
  local answers, going = {}, true
  local load = task.spawn(function()
    while going do answers[#answers + 1] = service:value() end
  end)
  fs.write(service.file, "error 'broken'")
  service.process:kill "HUP"
  service:said "the (reload) failed"
  test.equal(service:value(), "old")
  test.equal(service:get("/readyz").status, 200)
  fs.write(service.file, (LABEL:gsub("VALUE", "new")))
  service.process:kill "HUP"
  service:said "(reloaded)"
  while service:value() ~= "new" do task.sleep(0.01) end
  going = false
  load:wait(20)
  for _, answer in ipairs(answers) do test.equal(answer == "old" or answer == "new", true) end
  service:stop()
end)

-- The workers of a service, by its processes: those that listen are children of the supervisor.
local function children(parent)
  local list = {}
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    if tonumber(stat:match "%) %u (%d+)") == parent then list[#list + 1] = tonumber(name) end
  end
  table.sort(list)
  return list
end

test("under load only what a killed worker had is lost, and nothing is answered wrongly", function()
  local service = start((LABEL:gsub("VALUE", "old")))
  local allowed = { old = true }
  local counts, going = { answered = 0, lost = 0 }, true
  local clients = {}
  for i = 1, 4 do
    clients[i] = task.spawn(function()
      while going do
        local ok, value = pcall(service.value, service)
        if ok then
          test.equal(allowed[value], true)
          counts.answered = counts.answered + 1
        else
          -- Killed in the middle of an answer, or of a handshake.
          test.equal(value.code == "Connection" or value.code == "TLS", true)
          counts.lost = counts.lost + 1
        end
      end
    end)
  end
  local function answer_more()
    local want = counts.answered + 20
    while counts.answered < want do task.sleep(0.01) end
  end
  answer_more()
  test.equal(counts.lost, 0)
  local function counted()
    return tonumber(service:get("/metrics").body:match "\nkfhost_policy_reviews_total (%d+)") or 0
  end
  while counted() == 0 do task.sleep(0.02) end
  local before = 0
  for _ = 1, 2 do -- the newest child is a worker: the controller is the first
    local list = children(service.process.pid)
    proc.run { shell = "kill -KILL " .. list[#list] }
    service:said "was killed by (signal 9)"
    answer_more()
    test.equal(counted() >= before, true)
    before = counted()
  end
  test.equal(counts.lost <= 2 * #clients, true)
  service:wait_until_ready()
  local lost = counts.lost
  allowed.new = true
  fs.write(service.file, (LABEL:gsub("VALUE", "new")))
  service.process:kill "HUP"
  service:said "(reloaded)"
  answer_more()
  while service:value() ~= "new" do task.sleep(0.01) end
  test.equal(counts.lost, lost)
  going = false
  for _, client in ipairs(clients) do client:wait(20) end
  service:stop()
end)

test("what is told of some hundred policies has room, and their worker goes on", function()
  local text = 'local policy = require "policy"\n'
  for i = 1, 300 do
    text = text .. ([[policy.validate { name = "rule-%d", match = { resource = "pods" }, check = function() end }
    ]]):format(i)
  end
  local service = start(text)
  test.equal(service:post "/validate".status, 200)
  local body
  repeat
    task.sleep(0.02)
    body = service:get("/metrics").body
  until body:find('kfhost_policy_verdicts_total{policy="rule-300",verdict="allowed"} 1\n', 1, true)
  test.equal(#body > 1 << 18, true)
  test.equal(service:post "/validate".status, 200)
  service:stop()
end)

-- The pid of a process of a service, once there are just a controller and two workers that are ready: only these are
-- locked.
local function process_of(service, role)
  repeat
    task.sleep(0.02)
    local two = service:get("/metrics").body:find "kfhost_policy_workers 2\n"
  until two and #children(service.process.pid) == 3
  for _, pid in ipairs(children(service.process.pid)) do
    local locked = (fs.try.read(("/proc/%d/status"):format(pid)) or ""):find "NoNewPrivs:%s+1" ~= nil
    if locked == (role == "worker") then return pid end
  end
end

test("no count goes back when the controller, then a worker without one, is killed", function()
  local service = start((LABEL:gsub("VALUE", "yes")))
  local function count(pattern) return tonumber(service:get("/metrics").body:match(pattern)) or 0 end
  local function kill(pid, signal) test.equal(proc.run { shell = ("kill -%s %d"):format(signal, pid) }.code, 0) end
  local asked = 0
  local function ask(times)
    for _ = 1, times do test.equal(service:value(), "yes") end
    asked = asked + times
    while count "\nkfhost_policy_reviews_total (%d+)" ~= asked do task.sleep(0.02) end
  end
  ask(5)
  kill(process_of(service, "worker"), "KILL")
  service:said "worker %d+ was killed by (signal 9)"
  ask(5)
  kill(process_of(service, "controller"), "KILL")
  service:said "controller %d+ was killed by (signal 9)"
  ask(5)
  local controller, worker = process_of(service, "controller"), process_of(service, "worker")
  kill(service.process.pid, "STOP") -- so that nobody replaces whom we kill next
  kill(controller, "KILL")
  kill(worker, "KILL")
  kill(service.process.pid, "CONT")
  service:said "controller %d+ was killed by (signal 9)"
  ask(5)
  test.equal(count '\nkfhost_policy_verdicts_total{policy="label",verdict="patched"} (%d+)', asked)
  test.equal(count '\nkfhost_policy_seconds_count{policy="label"} (%d+)', asked)
  service:stop()
end)

test("objects of a policy's tests are not there for reviews, nor what tests leave in its variables", function()
  local service = start [[
    local policy = require "policy"
    policy.grant { reads = { "configmaps" } }
    local calls = 0
    policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
      calls = calls + 1
      local there = req:lookup("configmaps", req.namespace, "only-in-a-test") or calls > 1
      req.object.metadata.labels = { seen = there and "old" or "new" }
    end }
    policy.test { name = "a map is there", operation = "CREATE",
      object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" } },
      objects = { { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "only-in-a-test",
        namespace = "team-a" } } }, expect = { object = { metadata = { labels = { seen = "old" } } } } }]]
  test.equal(service:value(), "new")
  service:stop()
end)

test("what replaces a process has loaded what that had, also when the files are broken by now", function()
  local service = start((LABEL:gsub("VALUE", "old")))
  fs.write(service.file, "error 'broken'")
  service.process:kill "HUP"
  service:said "the (reload) failed"
  for _, role in ipairs { "controller", "worker", "worker" } do
    proc.run { shell = ("kill -KILL %d"):format(process_of(service, role)) }
    service:said(role .. " %d+ was killed by (signal 9)")
    test.equal(service:value(), "old")
  end
  fs.write(service.file, (LABEL:gsub("VALUE", "new")))
  service.process:kill "HUP"
  service:said "(reloaded)"
  fs.remove(service.file)
  proc.run { shell = ("kill -KILL %d"):format(process_of(service, "worker")) }
  service:said "worker %d+ was killed by (signal 9)"
  repeat task.sleep(0.02) until service:get("/metrics").body:find "kfhost_policy_workers 2\n"
  for _ = 1, 4 do test.equal(service:value(), "new") end
  service:stop()
end)

test("an address of IPv6 is written as a URL has it", function()
  local there = fs.try.read "/proc/net/if_inet6" or ""
  if not there:find(("0"):rep(31) .. "1 ", 1, true) then return end -- a machine without ::1
  local service = start((LABEL:gsub("VALUE", "yes")), "--address", "::1")
  test.equal(service:get("/readyz").status, 200)
  service:stop()
end)

test("one that leaves still answers, and ends the connections that are kept with their next answer", function()
  local service = start((LABEL:gsub("VALUE", "yes")), "--leave", "30")
  local kept <close> = http.session { url = ("https://127.0.0.1:%s/mutate"):format(service.webhook),
    ca = fs.read(service.ca), method = "POST", headers = { ["Content-Type"] = "application/json" }, body = REVIEW,
    timeout = 20 }
  test.equal(kept:request({}).headers.connection, nil)
  service.process:kill "TERM"
  while service:get("/readyz").status == 200 do task.sleep(0.02) end
  test.equal(kept:request({}).headers.connection, "close")
  test.equal(service:value(), "yes")
  service:stop() -- a second time: at once
end)

test("policies whose own tests fail are not served", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", LABEL .. [[
policy.test { name = "never true", object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" } },
  expect = { allowed = false } }
]])
  local result = proc.run { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
    "--ops-port", "0", timeout = 20 }
  test.equal(result.code, 1)
  test.equal(result.stderr:find("never true", 1, true) ~= nil, true)
end)

test("a locked process opens nothing and starts nothing, and still counts and serves", function()
  local result = proc.run { host.executable(), "-e", [[
    local workers, task, proc, server = require "workers", require "task", require "proc", require "server"
    local s = server.listen { handler = function() return {} end }
    workers.lock {}
    print(io.open "/etc/passwd", pcall(server.listen, { handler = print }), pcall(proc.run, { "true" }))
    task.sleep(0.001)
    print(#("x"):rep(1000000), os.time() > 0)
    s:close()
  ]], timeout = 20, env = NO_LEAK_CHECK }
  test.equal(result.code, 0)
  local opened = result.stdout:match "^[^\n]*"
  test.equal(opened:find("EPERM") ~= nil and opened:find("Operation not permitted") ~= nil, true)
  test.equal(result.stdout:find "\n1000000\ttrue\n" ~= nil, true)
end)

-- A service of a script: a controller that waits, workers that do what `work` says.
local function start_script(work)
  return proc.spawn { host.executable(), "-e", [[
    local workers, task = require "workers", require "task"
    local role = workers.role()
    if not role then workers.supervise { address = "127.0.0.1", port = 0, operations_port = 0, workers = 1 } end
    workers.ready()
    if role == "worker" then ]] .. work .. [[ end
    while not workers.draining() do task.sleep(0.02) end
  ]], stderr = "pipe", stdout = "null" }
end

local function wait_for_line(process, pattern)
  while true do
    local line = process:read_line("stderr", 20) or error("nothing said " .. pattern)
    local found = line:match(pattern)
    if found then return found end
  end
end

test("a worker that is busy for longer than it said is killed, whatever it does", function()
  local process = start_script 'workers.begin(0.1, "a ", "loop") while true do end'
  test.equal(wait_for_line(process, "was killed by signal 9 during (.-)\""), "a loop")
  process:kill "TERM"
  test.equal(process:wait(30).code, 143)
end)

test("what cannot start at all ends the service", function()
  local process = start_script "os.exit(3)"
  test.equal(wait_for_line(process, "worker %d+ ended with code (%d)"), "3")
  process:kill "TERM"
  test.equal(process:wait(30).code, 143)
  local failing = proc.run { host.executable(), "-e", [[
    local workers = require "workers"
    if not workers.role() then
      workers.supervise { address = "127.0.0.1", port = 0, operations_port = 0, workers = 1 }
    end
    os.exit(4)
  ]], timeout = 20, stderr = "null" }
  test.equal(failing.code, 1)
end)

-- Certificates that are two thirds through their life when they are made: renewed at once.
local RENEWED_AT_ONCE = [[
  local workers = require "workers"
  if not workers.role() then
    workers.supervise { address = "127.0.0.1", port = 0, operations_port = 0, workers = 1 }
  elseif workers.role() == "controller" then
    require "policy.serve.controller".run {
      names = { "127.0.0.1" }, days = 100 / 86400, swap = 1,
      on_start = function(_, ports) io.stderr:write("ports ", ports.webhook, " ", ports.operations, "\n") end,
      on_authorities = function(text) require "fs".write(arg[1], text) end,
    }
  else
    require "policy.serve.worker".run(require "policy".load(arg[2]), { audit = print })
  end
]]

test("a certificate is renewed while connections go on", function()
  local directory = test.tmpdir()
  local ca = directory .. "/ca"
  fs.write(directory .. "/serve.lua", RENEWED_AT_ONCE)
  fs.write(directory .. "/site.lua", (LABEL:gsub("VALUE", "yes")))
  local process = proc.spawn { host.executable(), directory .. "/serve.lua", ca, directory .. "/site.lua",
    stderr = "pipe", stdout = "null", env = NO_LEAK_CHECK }
  local port = wait_for_line(process, "ports (%d+)")
  local function options(authorities)
    return { url = ("https://127.0.0.1:%s/mutate"):format(port), ca = authorities, method = "POST", body = REVIEW,
      headers = { ["Content-Type"] = "application/json" }, timeout = 20 }
  end
  local first = fs.read(ca)
  local session <close> = http.session(options(first))
  local renewed
  repeat
    test.equal(session:request({}).status, 200)
    local newest = fs.read(ca):match "^.-END CERTIFICATE%-%-%-%-%-\n"
    renewed = newest ~= first and pcall(http.request, options(newest))
    task.sleep(0.01)
  until renewed
  test.equal(session:request({}).status, 200)
  test.raises("TLS", function() http.request(options(first)) end)
  process:kill "TERM"
  test.equal(process:wait(30).code, 143)
end)

-- Writes a pair as the kubelet does: into a new directory, to which a link then points.
local turns = 0
local function mount(directory, files)
  turns = turns + 1
  local new = ("%s/..%d"):format(directory, turns)
  fs.mkdir(new)
  for name, text in pairs(files) do fs.write(new .. "/" .. name, text) end
  local swap = "cd '%s' && ln -s '..%d' ..next && mv -T ..next ..data"
  test.equal(proc.run { shell = swap:format(directory, turns) }.code, 0)
end

test("a site's own certificate is read again when its mounted Secret changes, and only when it fits", function()
  local directory = test.tmpdir()
  local authority = x509.authority { name = "site" }
  local function pair(name)
    local leaf = x509.issue(authority, { name = name, names = { "127.0.0.1" } })
    return { ["tls.crt"] = leaf.certificate .. authority.certificate, ["tls.key"] = leaf.key }
  end
  mount(directory, pair "first")
  fs.write(directory .. "/site.lua", (LABEL:gsub("VALUE", "yes")))
  local self = setmetatable({ log = {}, ca = directory .. "/ca.pem" }, Service)
  self.process = proc.spawn { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
    "--ops-port", "0", "--cluster", "false", "--ca-out", self.ca, "--cert", directory .. "/..data/tls.crt", "--key",
    directory .. "/..data/tls.key", stderr = "pipe", stdout = "null", env = NO_LEAK_CHECK }
  self.webhook, self.operations = self:said "webhooks on https://127.0.0.1:(%d+), health on http://127.0.0.1:(%d+)"
  self:wait_until_ready()
  test.equal(fs.read(self.ca), authority.certificate) -- what caBundle would hold
  local function shown() -- by a new connection
    local said = proc.run { "openssl", "s_client", "-connect", "127.0.0.1:" .. self.webhook, stderr = "null" }.stdout
    return said:match "subject=CN = ([%w-]+)"
  end
  test.equal(shown(), "first")
  local kept <close> = http.connect { url = "https://127.0.0.1:" .. self.webhook, ca = authority.certificate,
    timeout = 20 }
  local function ask() -- on the connection that was open before
    kept:write(("POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")
      :format(#REVIEW, REVIEW))
    local text = ""
    while not text:find '"allowed":true.*}' do text = text .. assert(kept:read(20)) end
  end
  ask()

  local mixed = pair "mixed"
  mixed["tls.key"] = pair("other")["tls.key"]
  mount(directory, mixed)
  test.equal(self:said "certificate: (.*)", "Certificate: the key is not that of the certificate")
  test.equal(shown(), "first")
  mount(directory, pair "second")
  while shown() ~= "second" do task.sleep(0.02) end
  ask()
  self:stop()
end)

test("files of a certificate that are gone change nothing, also not for a controller that comes after that", function()
  local directory = test.tmpdir()
  local authority = x509.authority { name = "site" }
  local leaf = x509.issue(authority, { name = "site", names = { "127.0.0.1" } })
  local chain, key = directory .. "/tls.crt", directory .. "/tls.key"
  fs.write(chain, leaf.certificate .. authority.certificate)
  fs.write(key, leaf.key)
  fs.write(directory .. "/site.lua", (LABEL:gsub("VALUE", "yes")))
  local self = setmetatable({ log = {}, ca = directory .. "/ca.pem" }, Service)
  self.process = proc.spawn { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
    "--ops-port", "0", "--cluster", "false", "--ca-out", self.ca, "--cert", chain, "--key", key, stderr = "pipe",
    stdout = "null", env = NO_LEAK_CHECK }
  self.webhook, self.operations = self:said "webhooks on https://127.0.0.1:(%d+), health on http://127.0.0.1:(%d+)"
  self:wait_until_ready()
  fs.remove(chain)
  fs.remove(key)
  proc.run { shell = ("kill -KILL %d"):format(process_of(self, "controller")) }
  self:said "webhooks on" -- it begins as the one before did
  test.equal(self:value(), "yes")
  self:wait_until_ready()
  self:stop()
end)

test("settings that stand in a file of their own are read again when that changes", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", [[
    local policy = require "policy"
    policy.config { label = { type = "map", default = {} } }
    policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
      req.object.metadata.labels = req.config.label
    end }]])
  local function set(value) fs.write(directory .. "/label.yaml", "seen: " .. value .. "\n") end
  set "old"
  fs.write(directory .. "/config.yaml", "site: {label_file: label.yaml}\n")
  local self = setmetatable({ log = {}, ca = directory .. "/ca.pem" }, Service)
  self.process = proc.spawn { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
    "--ops-port", "0", "--cluster", "false", "--ca-out", self.ca, "--config", directory .. "/config.yaml",
    stderr = "pipe", stdout = "null", env = NO_LEAK_CHECK }
  self.webhook, self.operations = self:said "webhooks on https://127.0.0.1:(%d+), health on http://127.0.0.1:(%d+)"
  self:wait_until_ready()
  test.equal(self:value(), "old")
  set "new"
  self:said "(reloaded)"
  while self:value() ~= "new" do task.sleep(0.02) end
  self:stop()
end)

test("without a supervisor there is no role", function()
  test.equal(workers.role(), nil)
  test.raises("no supervisor", workers.ready)
end)

-- --- certificates and metrics ---------------------------------------------------------------------

test("a certificate is due at two thirds of its life; the new bundle holds the old authority too", function()
  local bundle = certificates.make({ "host.ns.svc" }, nil, 90)
  local now = os.time()
  test.equal(certificates.is_due(bundle, now + 59 * 86400), false)
  test.equal(certificates.is_due(bundle, now + 61 * 86400), true)
  local next_one = certificates.make({ "host.ns.svc" }, bundle)
  test.equal(#x509.parse_all(next_one.authorities), 2)
  test.equal(x509.verify(bundle.certificate, next_one.authorities, { name = "host.ns.svc" }), true)
  test.equal(x509.verify(next_one.certificate, next_one.authorities, { name = "host.ns.svc" }), true)
  test.equal(x509.verify(next_one.certificate, bundle.authorities), false)
  test.equal(#x509.parse_all(certificates.make({ "a" }, next_one).authorities), 2)
end)

test("metrics of several workers are summed by their samples", function()
  local one = '# HELP a_total of a\n# TYPE a_total counter\na_total{x="1"} 2\n# HELP b of b\n# TYPE b gauge\nb 0.5\n'
  local two = '# HELP a_total of a\n# TYPE a_total counter\na_total{x="2"} 3\na_total{x="1"} 1\n'
    .. '# HELP b of b\n# TYPE b gauge\nb 1\n'
  test.equal(totals.sum { one, two }, '# HELP a_total of a\n# TYPE a_total counter\na_total{x="1"} 3\n'
    .. 'a_total{x="2"} 3\n# HELP b of b\n# TYPE b gauge\nb 1.5\n')
end)

local function report(count, memory)
  return ("# HELP a_total of a\n# TYPE a_total counter\na_total %d\n# HELP m of m\n# TYPE m gauge\nm %d\n"):format(
    count, memory)
end

-- The memory that processes share: workers by their slots, {pid, text, ended}.
local function shared(slots)
  local memory = { slots = slots, boxes = {} }
  local function pick(ended)
    local list = {}
    for slot, one in pairs(memory.slots) do
      if (one.ended or false) == ended then list[#list + 1] = { slot = slot, pid = one.pid, role = "worker" } end
    end
    return list
  end
  function memory.list() return pick(false) end
  function memory.ended() return pick(true) end
  function memory.taken(slot) memory.slots[slot] = nil end
  function memory.read(box) return memory.slots[box] and memory.slots[box].text or memory.boxes[box] end
  function memory.publish(box, text) memory.boxes[box] = text end
  return memory
end

local function counted(sums)
  sums:look()
  local text = totals.sum(sums:texts())
  return { tonumber(text:match "a_total (%d+)"), tonumber(text:match "\nm (%d+)") }
end

test("what a worker has counted stays counted when it ends; what was measured ends with it", function()
  local memory = shared { { pid = 1, text = report(5, 10) }, { pid = 2, text = report(7, 10) } }
  local sums = totals.new(memory)
  test.same(counted(sums), { 12, 20 })
  memory.slots[1].text = report(6, 10)
  memory.slots[2].ended = true
  test.same(counted(sums), { 13, 10 })
  memory.slots = { { pid = 3, text = report(1, 3) }, { pid = 4, text = report(2, 3) }, { pid = 1, ended = true,
    text = report(6, 10) } }
  test.same(counted(sums), { 16, 6 })
end)

test("another controller goes on with the sum, also of who ended while there was none, and no one twice", function()
  local memory = shared { { pid = 1, text = report(5, 10) }, { pid = 2, ended = true, text = report(7, 10) },
    { pid = 3, text = report(1, 10) } }
  test.same(counted(totals.new(memory)), { 13, 20 })
  memory.slots[1].ended = true
  test.same(counted(totals.new(memory)), { 13, 10 })
  memory.slots[3].ended = true
  local taken = memory.taken
  memory.taken = function() error "ends here" end -- after it has published, before it says so
  test.equal((pcall(counted, totals.new(memory))), false)
  memory.taken = taken
  test.same(counted(totals.new(memory)), { 13 })
  test.same(counted(totals.new(memory)), { 13 })
end)

-- --- certificates that replicas share ------------------------------------------------------------------

test("replicas share a certificate; who is second takes the first one's; a change comes in two steps", function()
  local lab <close> = require "lab.serve".start { nodes = 0 }
  local function new_keeper(announced)
    local client = require "kube".connect { server = lab.url, token = lab.token, ca = lab.ca, log = function() end }
    return keepers.new { store = keepers.secret(client, "default", "certificates"), names = { "host.ns.svc" },
      swap = 30, announced = announced }, client
  end
  local held = false
  local one, first_client = new_keeper(function() return held end)
  local two, second_client = new_keeper(function() return held end)
  local now = os.time()
  local bundle = one:turn(now)
  test.equal(two:turn(now).certificate, bundle.certificate)
  test.equal(one:turn(now + 59 * 86400).certificate, bundle.certificate)

  local due = now + 61 * 86400 -- the authority is announced, the certificate stays
  local announced = two:turn(due)
  test.equal(announced.certificate, bundle.certificate)
  test.equal(#x509.parse_all(announced.authorities), 2)
  test.equal(one:turn(due).authorities, announced.authorities)
  test.equal(one:turn(due + 31).certificate, bundle.certificate) -- some caBundle does not hold it yet
  held = true
  local swapped = one:turn(due + 32)
  test.equal(swapped.certificate ~= bundle.certificate, true)
  test.equal(two:turn(due + 32).certificate, swapped.certificate)
  test.equal(x509.verify(swapped.certificate, announced.authorities, { name = "host.ns.svc" }), true)

  local other = keepers.new { store = keepers.secret(first_client, "default", "certificates"),
    names = { "another.ns.svc" } } -- a name that it is not for: a new one at once
  local renamed = other:turn(now)
  test.equal(x509.verify(renamed.certificate, renamed.authorities, { name = "another.ns.svc" }), true)
  first_client:close()
  second_client:close()
end)
