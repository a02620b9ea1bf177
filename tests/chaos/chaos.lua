-- Chaos for the policy host: workers and the controller are killed, certificates rotate, policies are reloaded (good
-- and bad ones), the API server restarts, forgets its history (410) and drops watches, all of it under load.
--
--   kfhost tests/chaos/chaos.lua [SECONDS] [SEED]
--
-- Seeded and bounded. What must hold: no review is answered wrongly; none is lost but those that a killed worker had;
-- whenever the host says that it is ready, a review is answered; every object reaches its watch; the host is well in
-- the end.
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local task = require "task"

local SECONDS, SEED = tonumber(arg[1]) or 60, math.tointeger(tonumber(arg[2])) or os.time()
local CLIENTS <const> = 4
local PATIENCE <const> = tonumber(os.getenv "PATIENCE") or 120 -- seconds for what must come in the end
math.randomseed(SEED)

local work = fs.tmpdir "kfhost-chaos"
local state = { -- what happened
  answered = 0, lost = 0, wrong = {}, kills = 0, versions = { [1] = true }, version = 1, made = 0, refused = 0,
  not_ready = 0, ready = 0, unready_answers = {}, events = {},
}

local function note(format, ...)
  io.stderr:write(("%7.2f "):format(task.now() - state.began), format:format(...), "\n")
end

-- --- the policies -------------------------------------------------------------------------------------------------

local SITE = [[
local policy = require "policy"
policy.grant { reads = { "configmaps" }, writes = { { resource = "configmaps", verbs = { "patch" } } } }
policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = { version = "VERSION" }
end }
policy.validate { name = "bad", match = { resource = "pods" }, check = function(req)
  if req.object.spec.containers[1].image == "bad" then return req:deny("no %s", req.object.metadata.name) end
end }
policy.watch { name = "done", resource = "configmaps", label = "task", reconcile = function(map, ctx)
  if (map.metadata.annotations or {}).done then return end
  ctx:patch(map, { metadata = { annotations = { done = "yes" } } }, { type = "merge" })
end }
]]

local function write_site(version)
  fs.write(work .. "/site.lua", (SITE:gsub("VERSION", tostring(version))))
end

-- --- the API server -------------------------------------------------------------------------------------------------

local lab = {}

local function start_lab()
  local words = { host.executable(), "lab", "up", "--nodes", "0", "--state", work .. "/state", "--json",
    "--kubeconfig", work .. "/kubeconfig-" .. (lab.starts or 0), stdout = "pipe", stderr = "null" }
  if lab.port then table.move({ "--port", tostring(lab.port) }, 1, 2, #words + 1, words) end
  for _ = 1, 50 do -- the port of the one before may be busy for a moment
    lab.process = proc.spawn(words)
    local line = lab.process:read_line("stdout", PATIENCE)
    if line then
      local said = json.decode(line)
      lab.port = lab.port or said.server:match ":(%d+)$"
      lab.starts = (lab.starts or 0) + 1
      if lab.starts == 1 then fs.rename(said.kubeconfig, work .. "/kubeconfig") end
      return
    end
    lab.process:wait(PATIENCE)
    task.sleep(0.1)
  end
  error "the lab does not start again"
end

local function connect()
  return kube.connect { kubeconfig = work .. "/kubeconfig", manager = "chaos", log = function() end, timeout = 20 }
end

-- --- the host -----------------------------------------------------------------------------------------------------

local service = { log = {} }

local function follow_log()
  while true do
    local line = service.process:read_line "stderr"
    if not line then return end
    table.insert(service.log, line)
    if #service.log > 400 then table.remove(service.log, 1) end
    if line:find("reloaded: generation", 1, true) then service.reloaded = (service.reloaded or 0) + 1 end
    if line:find("the reload failed", 1, true) then service.failed = (service.failed or 0) + 1 end
    local webhook, operations = line:match "webhooks on https://127.0.0.1:(%d+), health on http://127.0.0.1:(%d+)"
    if webhook then service.webhook, service.operations = webhook, operations end
  end
end

local function start_service()
  service.process = proc.spawn { host.executable(), "policy", "serve", work .. "/site.lua", "--port", "0", "--ops-port",
    "0", "--workers", "2", "--register", "true", "--leader-election", "--own-namespace", "kube-public", "--ca-out",
    work .. "/ca.pem", "--certificate-days", "0.0006", -- rotates every few seconds
    stdout = "null", stderr = "pipe", env = { KUBECONFIG = work .. "/kubeconfig", KFHOST_PATH = false,
      ASAN_OPTIONS = "detect_leaks=0" } }
  service.following = task.spawn(follow_log)
end

local function get(path)
  return http.request { url = ("http://127.0.0.1:%s%s"):format(service.operations, path), timeout = 20 }
end

local function is_ready()
  local ok, response = pcall(get, "/readyz")
  return ok and response.status == 200
end

local function wait_until(what, check)
  local deadline = task.now() + PATIENCE
  while task.now() < deadline do
    local ok, found = pcall(check)
    if ok and found then return found end
    if not ok and not errors.is(found) then error(found, 0) end
    task.sleep(0.05)
  end
  error(("it did not come in %d s: %s"):format(PATIENCE, what), 0)
end

-- The processes of the host by their role: the controller says which one it is.
local function processes()
  local ok, response = pcall(get, "/status")
  local controller = ok and response.status == 200 and json.decode(response.body).pid or nil
  local list = {}
  for _, name in ipairs(fs.list "/proc") do
    local stat = name:match "^%d+$" and fs.try.read("/proc/" .. name .. "/stat") or ""
    local pid = tonumber(name)
    if tonumber(stat:match "%) %u (%d+)") == service.process.pid and pid ~= controller then list[#list + 1] = pid end
  end
  return controller, list
end

-- --- load -----------------------------------------------------------------------------------------------------------

local function review(uid, image)
  return json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = { uid = uid,
    operation = "CREATE", kind = { group = "", version = "v1", kind = "Pod" }, namespace = "team-a", name = "p-" .. uid,
    resource = { group = "", version = "v1", resource = "pods" }, userInfo = { username = "ann" },
    object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p-" .. uid },
      spec = { containers = json.array { { name = "main", image = image } } } } } }
end

local function judge(kind, uid, image, response)
  if response.status ~= 200 then return ("status %d: %s"):format(response.status, response.body) end
  local answer = json.decode(response.body).response
  if answer.uid ~= uid then return "the answer is about another review" end
  if kind == "validate" then
    if answer.allowed == (image == "bad") then return "the verdict is wrong" end
    local want = ("policy bad: no p-%s"):format(uid)
    if not answer.allowed and answer.status.message ~= want then return "the message is " .. answer.status.message end
    return nil
  end
  local version = answer.patch and tonumber(hash.unbase64(answer.patch):match '"version":"(%d+)"')
  if not state.versions[version] then return ("the patch is of version %s"):format(tostring(version)) end
end

-- A client keeps its connection, as the API server does, and makes a new one with the newest authority.
local function client(number)
  local session
  local count = 0
  while not state.over do
    count = count + 1
    local uid, image = ("%d-%d"):format(number, count), math.random(5) == 1 and "bad" or "good"
    local kind = math.random(2) == 1 and "mutate" or "validate"
    local sent_before_kill = state.kills
    session = session or http.session { http2 = false }
    local ok, response = pcall(session.request, session, {
      url = ("https://127.0.0.1:%s/%s"):format(service.webhook, kind), ca = fs.read(work .. "/ca.pem"), method = "POST",
      headers = { ["Content-Type"] = "application/json" }, body = review(uid, image), timeout = 30 })
    if ok then
      local problem = judge(kind, uid, image, response)
      if problem then table.insert(state.wrong, ("%s %s: %s"):format(kind, uid, problem)) end
      state.answered = state.answered + 1
    else
      if not errors.is(response) or response.code == "Cancelled" then error(response, 0) end
      state.lost = state.lost + 1
      if state.kills == sent_before_kill and state.kills == 0 then
        table.insert(state.wrong, "lost, and no worker was killed: " .. errors.text(response))
      end
      session:close()
      session = nil
    end
    task.sleep(0.002)
  end
  if session then session:close() end
end

-- Objects for the watch; what the API server refuses or loses is made again.
local function maker()
  local c = connect()
  while not state.over do
    local name = ("task-%d"):format(state.made + 1)
    local made, problem = c.try:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name,
      namespace = "default", labels = { task = "yes" } } }
    if made or problem.status == 409 then state.made = state.made + 1 else state.refused = state.refused + 1 end
    task.sleep(0.05)
  end
  c:close()
end

-- Readiness: when it is said, a review is answered, unless a worker is killed in between.
local function watcher()
  while not state.over do
    if is_ready() then
      state.ready = state.ready + 1
      local kills, killing = state.kills, state.killing
      local ok, response = pcall(http.request, { url = ("https://127.0.0.1:%s/validate"):format(service.webhook),
        ca = fs.read(work .. "/ca.pem"), method = "POST", headers = { ["Content-Type"] = "application/json" },
        body = review("ready", "good"), timeout = 30 })
      local rotated = not ok and response.code == "TLS" -- between reading the authority and the handshake
      local killed = killing or kills ~= state.kills
      if not (ok and response.status == 200) and not killed and not rotated then
        table.insert(state.unready_answers, ok and tostring(response.status) or errors.text(response))
      end
    else
      state.not_ready = state.not_ready + 1
    end
    task.sleep(0.05)
  end
end

-- --- what goes wrong ------------------------------------------------------------------------------------------------

local events = {}

function events.kill_worker()
  local _, list = processes()
  if #list == 0 then return end
  state.kills, state.killing = state.kills + 1, true -- counted before it falls
  proc.run { "kill", "-KILL", tostring(list[math.random(#list)]) }
  state.killing = false
end

function events.kill_controller()
  local controller = processes()
  if controller then proc.run { "kill", "-KILL", tostring(controller) } end
end

local function reload(what, counter)
  local before = service[counter] or 0
  service.process:kill "HUP"
  wait_until(what, function() return (service[counter] or 0) > before end)
end

function events.reload_good()
  state.versions[state.version + 1] = true -- from now on either is right
  state.version = state.version + 1
  write_site(state.version)
  local before = service.reloaded or 0
  service.process:kill "HUP"
  wait_until("a reload", function() return (service.reloaded or 0) > before end)
end

function events.reload_bad()
  local good = fs.read(work .. "/site.lua")
  local bad = { "error 'broken'", "while true do end", SITE .. [[
    policy.test { name = "fails", object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" },
      spec = { containers = { { image = "x" } } } }, expect = { allowed = false } }]] }
  fs.write(work .. "/site.lua", bad[math.random(#bad)])
  reload("the refusal of a reload", "failed")
  fs.write(work .. "/site.lua", good)
end

function events.restart_api()
  lab.process:kill(math.random(2) == 1 and "KILL" or "TERM")
  lab.process:wait(PATIENCE)
  start_lab()
end

local function fault(...)
  local words = { host.executable(), "lab", "fault", ... }
  words.env, words.timeout = { KUBECONFIG = work .. "/kubeconfig" }, 20
  proc.run(words)
end

function events.forget_history() fault "expire" end

function events.drop_watches() fault("watch-drop", "--count", "5") end

local ORDER = { "kill_worker", "reload_good", "restart_api", "forget_history", "reload_bad", "kill_controller",
  "drop_watches" }

-- Each kind once at least, then by chance.
local function make_trouble()
  local deadline, number = task.now() + SECONDS, 0
  while task.now() < deadline or number < #ORDER do
    number = number + 1
    local name = ORDER[number] or ORDER[math.random(#ORDER)]
    note("%s", name)
    state.events[name] = (state.events[name] or 0) + 1
    events[name]()
    task.sleep(0.2 + math.random())
  end
end

-- --- the whole ------------------------------------------------------------------------------------------------------

local passed, failed = 0, 0
local function check(ok, what)
  if ok then passed = passed + 1 else failed = failed + 1 end
  print(("%s - %s"):format(ok and "ok" or "not ok", what))
end

local function run()
  state.began = task.now()
  write_site(1)
  start_lab()
  start_service()
  wait_until("the host", is_ready)
  local tasks = {}
  for i = 1, CLIENTS do tasks[i] = task.spawn(client, i) end
  tasks[#tasks + 1] = task.spawn(maker)
  tasks[#tasks + 1] = task.spawn(watcher)
  make_trouble()
  note "calm"
  wait_until("readiness in the end", is_ready)
  state.over = true
  for _, one in ipairs(tasks) do one:wait(PATIENCE) end
  local c = connect()
  local missing, names = state.made, ""
  pcall(wait_until, "every object at its watch", function()
    missing, names = 0, ""
    for _, map in ipairs(c:list("configmaps", { namespace = "default", labels = "task" })) do
      if not (map.metadata.annotations or {}).done then
        missing = missing + 1
        names = names .. " " .. map.metadata.name .. " " .. map.metadata.creationTimestamp
      end
    end
    return missing == 0
  end)
  local made = #c:list("configmaps", { namespace = "default", labels = "task" })
  if missing > 0 then state.detail = names .. "\n" .. get "/status".body end
  local _, rotations = fs.read(work .. "/ca.pem"):gsub("BEGIN", "BEGIN")
  c:close()
  note("%d answered, %d lost, %d workers killed, %d objects, ready %d times and not %d times", state.answered,
    state.lost, state.kills, made, state.ready, state.not_ready)
  check(#state.wrong == 0, ("no review is answered wrongly%s"):format(
    state.wrong[1] and ": " .. table.concat(state.wrong, "; ", 1, math.min(3, #state.wrong)) or ""))
  check(state.answered > 100, ("reviews were answered: %d"):format(state.answered))
  check(state.lost <= state.kills * CLIENTS,
    ("%d reviews are lost with %d killed workers"):format(state.lost, state.kills))
  check(#state.unready_answers == 0, "who says that it is ready answers"
    .. (state.unready_answers[1] and ": " .. state.unready_answers[1] or ""))
  check(missing == 0 and made >= state.made,
    ("every one of %d objects reached its watch (%d did not)"):format(made, missing))
  check(rotations == 2, "certificates rotated")
  for _, name in ipairs(ORDER) do
    local count = state.events[name] or 0
    check(count > 0, ("%s: %d times"):format(name, count))
  end
  service.process:kill "TERM"
  check(service.process:wait(PATIENCE).code == 143, "the host ends in order")
end

print(("# seed %d, %d seconds"):format(SEED, SECONDS))
local ok, problem = pcall(run)
if not ok then
  check(false, "it broke off: " .. errors.text(problem))
  for i = math.max(1, #service.log - 30), #service.log do io.stderr:write(service.log[i], "\n") end
end
if failed > 0 then
  for i = math.max(1, #service.log - 40), #service.log do io.stderr:write(service.log[i], "\n") end
  io.stderr:write(state.detail or "", "\n")
end
state.over = true
if service.process then service.process:kill "KILL" end
if service.following then service.following:cancel() end
if lab.process then lab.process:kill "KILL" end
fs.remove(work, { recursive = true })
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0)
