-- Replicas of a policy host that change to another set of policies one after another, behind one address: as a
-- Deployment does it, while an API server goes on asking.
local test = require "test"
local fs = require "fs"
local host = require "host"
local http = require "http"
local kube = require "kube"
local proc = require "proc"
local server = require "server"
local task = require "task"
local x509 = require "x509"
local wait = dofile "tests/lua/support/wait.lua"

local ALONE = { ASAN_OPTIONS = "detect_leaks=0" }

local function check(name)
  return ([[policy.validate { name = "%s", match = { resource = "pods" }, timeout = "5s", check = function(req)
    if req.object.metadata.labels.wrong == "%s" then return req:deny "wrong" end
  end }
  ]]):format(name, name)
end

local BEFORE = 'local policy = require "policy"\n' .. check "stays" .. check "goes"
local AFTER = 'local policy = require "policy"\n' .. check "stays" .. check "comes"

-- --- replicas behind one address ------------------------------------------------------------------------------------

local Site = {}
Site.__index = Site

local function is_ready(replica)
  local ok, answer = pcall(http.request, { url = replica.health .. "/readyz", timeout = 20 })
  return ok and answer.status == 200
end

-- As a kubelet does it: whose probe fails gets no reviews.
local function probe(site)
  while true do
    for _, replica in ipairs(site.replicas) do replica.ready = not replica.ended and is_ready(replica) end
    task.sleep(0.05)
  end
end

-- As a Service does it: the ready ones in turns.
local function pass_on(site)
  return function(request)
    local ready = {}
    for _, replica in ipairs(site.replicas) do
      if replica.ready then ready[#ready + 1] = replica end
    end
    site.turn = site.turn + 1
    local replica = ready[site.turn % math.max(#ready, 1) + 1]
    if not replica then return { status = 502, body = "no replica" } end
    local answer = http.request { url = replica.webhooks .. request.path .. "?" .. (request.query or ""),
      method = "POST", ca = site.authority, headers = { ["Content-Type"] = "application/json" }, body = request.body,
      timeout = 20 }
    return { status = answer.status, headers = { ["content-type"] = "application/json" }, body = answer.body }
  end
end

local function new_site(text)
  local site = setmetatable({ directory = test.tmpdir(), replicas = {}, turn = 0 }, Site)
  site.lab = require "lab.serve".start { nodes = 0 }
  site.lab:write_kubeconfig(site.directory .. "/kubeconfig")
  site.client = kube.connect { kubeconfig = site.directory .. "/kubeconfig", log = function() end }
  local authority = x509.authority { name = "site" }
  local pair = x509.issue(authority, { name = "policies", names = { "127.0.0.1" } })
  site.authority = authority.certificate
  fs.write(site.directory .. "/tls.crt", pair.certificate .. authority.certificate)
  fs.write(site.directory .. "/tls.key", pair.key)
  site.front = server.listen { certificate = pair.certificate, key = pair.key, handler = pass_on(site) }
  site.prober = task.spawn(probe, site)
  site:write(text)
  return site
end

function Site:write(text) fs.write(self.directory .. "/site.lua", text) end

-- What a replica says, and whom it hears.
local function listen(replica)
  while true do
    local line = replica.process:read_line("stderr", 120)
    if not line then break end
    replica.log[#replica.log + 1] = line
  end
end

function Site:start()
  local number = #self.replicas + 1
  local replica = { name = "replica-" .. number, log = {} }
  local directory = self.directory
  -- Each has its own files, as each node has its own copy of a ConfigMap.
  replica.file = ("%s/%d/site.lua"):format(directory, number)
  fs.mkdir(fs.dirname(replica.file))
  fs.write(replica.file, fs.read(directory .. "/site.lua"))
  replica.process = proc.spawn { host.executable(), "policy", "serve", replica.file, "--port", "0",
    "--ops-port", "0", "--workers", "1", "--leader-election", "--register", "true", "--leave", "0.5",
    "--url", "https://127.0.0.1:" .. self.front.port, "--cert", directory .. "/tls.crt",
    "--key", directory .. "/tls.key", stderr = "pipe", stdout = "null",
    env = { KUBECONFIG = directory .. "/kubeconfig", KFHOST_PATH = false, POD_NAME = replica.name,
      ASAN_OPTIONS = ALONE.ASAN_OPTIONS } }
  replica.reader = task.spawn(listen, replica)
  replica.health = wait("its ports", function() return table.concat(replica.log, "\n"):match "health on (%S+)" end)
  replica.webhooks = table.concat(replica.log, "\n"):match "webhooks on (https://[^, ]+)"
  self.replicas[number] = replica
  return replica
end

function Site:start_ready()
  local replica = self:start()
  wait(replica.name .. " is ready", function() return replica.ready end)
  return replica
end

local function stop(replica)
  replica.process:kill "TERM"
  replica.process:wait(60)
  replica.ended, replica.ready = true, false
end

function Site:kfhost(...)
  local words = { host.executable(), "policy", ... }
  words.env, words.timeout = { KUBECONFIG = self.directory .. "/kubeconfig", KFHOST_PATH = false }, 90
  return proc.run(words)
end

-- The paths that the configuration names.
function Site:paths()
  local found = self.client.try:get("validatingwebhookconfigurations", "kfhost-policy")
  local list = {}
  for i, webhook in ipairs(found and found.webhooks or {}) do list[i] = webhook.clientConfig.url:match "/(%a+)$" end
  table.sort(list)
  return table.concat(list, " ")
end

function Site:wait_for_paths(paths)
  wait("webhooks for " .. paths, function() return self:paths() == paths end)
end

-- Asks the API server for a pod, as a dry run: nil, or why it was refused.
function Site:refusal(wrong)
  local _, problem = self.client.try:create({ apiVersion = "v1", kind = "Pod", metadata = { name = "p",
    namespace = "default", labels = { wrong = wrong or "nothing" } },
    spec = { containers = { { name = "main", image = "busybox" } } } }, { dry_run = true })
  return problem and problem.message
end

-- Asks all the time; nobody is to be refused, and what stays is to be asked each time.
function Site:keep_asking()
  self.asked = 0
  self.asking = task.spawn(function()
    while not self.enough do
      local refusal, denial = self:refusal(), self:refusal "stays"
      local asked = denial and denial:find("policy stays: wrong", 1, true)
      if refusal or not asked then self.wrong = self.wrong or refusal or denial or "allowed" end
      self.asked = self.asked + 1
      task.sleep(0.01)
    end
  end)
end

function Site:ask_more()
  local want = self.asked + 5
  wait("answers", function() return self.asked >= want end)
  test.equal(self.wrong, nil)
end

function Site:close()
  self.enough = true
  if self.asking then self.asking:wait(20) end
  for _, replica in ipairs(self.replicas) do
    if not replica.ended then stop(replica) end
    replica.reader:wait(20)
  end
  self.prober:cancel()
  self.front:close()
  self.client:close()
  self.lab:close()
end

-- --- what is to hold ------------------------------------------------------------------------------------------------

-- In the end the new policy is asked, and the one that is gone is not.
local function ends_changed(site)
  site:wait_for_paths "comes stays"
  site:ask_more()
  test.equal(site:refusal "comes":find "policy comes: wrong" ~= nil, true)
  test.equal(site:refusal "goes", nil)
  site:close()
end

test("replicas that are replaced one after another by those of another set refuse nobody", function()
  local site = new_site(BEFORE)
  local old = { site:start_ready(), site:start_ready() }
  site:wait_for_paths "goes stays"
  site:keep_asking()
  site:ask_more()
  site:write(AFTER)
  for i = 1, 2 do
    local new = site:start_ready()
    if i == 1 then
      wait("that status says for whom is waited", function()
        return site:kfhost("status").stdout:find("not registered: validate/goes waits for " .. new.name, 1, true)
      end)
    end
    site:ask_more()
    stop(old[i])
    site:ask_more()
  end
  ends_changed(site)
end)

test("who registers from elsewhere makes the place where it says how it is, and says what stays", function()
  local site = new_site(BEFORE)
  local replica = site:start_ready()
  site:wait_for_paths "goes stays"
  local namespace = site.client:get("namespaces", "kfhost-system")
  test.equal(namespace.metadata.labels["app.kubernetes.io/part-of"], "kfhost") -- so it goes with the rest
  local status = require "policy.status".read(site.client, { release = "kfhost-policy", namespace = "kfhost-system" })
  test.equal(status.summary:match "^1 of 1 replicas ready", "1 of 1 replicas ready")
  stop(replica)
  replica.reader:wait(20)
  test.equal(table.concat(replica.log, "\n"):find("the webhooks stay registered", 1, true) ~= nil, true)
  site:close()
end)

test("register holds back what a replica does not have, and says for whom it waits", function()
  local site = new_site(BEFORE)
  local replica = site:start_ready()
  site:wait_for_paths "goes stays"
  site:write(AFTER)
  local function register(seconds)
    return site:kfhost("register", site.directory .. "/site.lua", "--url", "https://127.0.0.1:" .. site.front.port,
      "--ca", site.directory .. "/tls.crt", "--timeout", seconds)
  end
  local result = register "0"
  test.equal(result.code, 1)
  test.equal(result.stderr, "not registered: validate/comes waits for replica-1\n")
  test.equal(site:paths(), "stays")
  fs.write(replica.file, AFTER)
  replica.process:kill "HUP"
  result = register "60"
  test.equal(result.code, 0)
  test.equal(site:paths(), "comes stays")
  site:close()
end)

test("replicas that load other files at their own times refuse nobody", function()
  local site = new_site(BEFORE)
  local one, two = site:start_ready(), site:start_ready()
  site:wait_for_paths "goes stays"
  site:keep_asking()
  site:ask_more()
  for _, replica in ipairs { one, two } do
    fs.write(replica.file, AFTER)
    replica.process:kill "HUP"
    wait("a reload", function() return table.concat(replica.log, "\n"):find "reloaded" end)
    site:ask_more()
  end
  ends_changed(site)
end)
