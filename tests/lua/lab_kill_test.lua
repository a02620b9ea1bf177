-- A lab with --state is killed while many connections write to it, again and again: nothing acknowledged is lost.
-- KFHOST_LAB_ROUNDS=100 makes a long run of it (./dev lab).
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local proc = require "proc"
local sqlite = require "sqlite"
local task = require "task"
local test = require "test"
local yaml = require "yaml"

local ROUNDS = math.tointeger(tonumber(os.getenv "KFHOST_LAB_ROUNDS" or 3))
local CONNECTIONS = 16
local MAPS = "/api/v1/namespaces/default/configmaps"

local function start(directory, round)
  local config_path = fs.join(directory, "config-" .. round)
  local lab = proc.spawn { host.executable(), "lab", "up", "--nodes", "0", "--json", "--kubeconfig", config_path,
    "--state", fs.join(directory, "state") }
  local facts = json.decode(lab:read_line())
  local config = yaml.decode(fs.read(config_path))
  return lab, facts.server, { proxy = "", http2 = false, timeout = 60,
    ca = hash.unbase64(config.clusters[1].cluster["certificate-authority-data"]),
    headers = { Authorization = "Bearer " .. config.users[1].user.token, ["Content-Type"] = "application/json" } }
end

-- --- what is known of each object -------------------------------------------------------------------------------
-- `sure` is what was acknowledged last: a value, or false for "not there"; `tried` what was asked for since.

local function ask(state, session, server, name, value)
  local known = state[name] or { sure = false }
  state[name] = known
  known.tried = { value }
  local request = { url = server .. MAPS .. "/" .. name, method = "DELETE" }
  if value then
    request.method = known.sure and "PUT" or "POST"
    if not known.sure then request.url = server .. MAPS end
    request.body = json.encode { metadata = { name = name }, data = { value = tostring(value) } }
  end
  local response = session:request(request)
  test.equal(response.status < 300, true)
  known.sure, known.tried = value, nil
end

-- Makes, changes and deletes objects of its own until the lab is gone.
local function write_on(state, session, server, worker, round, acknowledged)
  for n = 1, 100000 do
    local name = ("w%d-r%d-%d"):format(worker, round, n)
    for _, value in ipairs { round * 1000 + n, n % 3 > 0 and round * 1000 + n + 500 or false, false } do
      if n % 2 == 0 and not value then break end
      if not (value == false and state[name] and state[name].sure == false) then
        ask(state, session, server, name, value)
        acknowledged()
      end
    end
  end
end

-- Lets all connections write, and kills the lab at a moment among the answers.
local function disturb(lab, server, options, state, round)
  local count, enough = 0, math.random(1, 120)
  local kill = task.event()
  local writers = {}
  for worker = 1, CONNECTIONS do
    writers[worker] = task.spawn(function()
      local session <close> = http.session(options)
      pcall(write_on, state, session, server, worker, round, function()
        count = count + 1
        if count >= enough then kill:set() end
      end)
    end)
  end
  kill:wait(60)
  lab:kill "KILL"
  lab:wait()
  for _, writer in ipairs(writers) do writer:wait(60) end
  return count
end

local function agrees(known, there)
  if known.sure == (there or false) then return true end
  return known.tried ~= nil and known.tried[1] == (there or false)
end

local function check(server, options, state)
  local session <close> = http.session(options)
  local there = {}
  for _, item in ipairs(json.decode(session:request { url = server .. MAPS }.body).items) do
    there[item.metadata.name] = item.data and math.tointeger(tonumber(item.data.value))
  end
  local lost = {}
  for name, known in pairs(state) do
    if not agrees(known, there[name]) then lost[#lost + 1] = name end
    known.sure, known.tried = there[name] or false, nil
  end
  test.same(lost, {})
end

test("killed while many write: nothing acknowledged is lost, and the file is sound", function()
  local directory, state, total = test.tmpdir(), {}, 0
  for round = 1, ROUNDS do
    local lab, server, options = start(directory, round)
    check(server, options, state)
    total = total + disturb(lab, server, options, state, round)
  end
  local db = sqlite.open(fs.join(directory, "state", "lab.db"))
  test.equal(db:query "PRAGMA integrity_check"[1].integrity_check, "ok")
  db:close()
  local lab, server, options = start(directory, ROUNDS + 1)
  check(server, options, state)
  lab:kill "TERM"
  lab:wait()
  test.equal(total >= ROUNDS, true)
end)
