-- policy.serve.worker: a process that answers reviews, and does nothing else.
-- Not for watches, schedules and writes: the controller does those.
--   worker.run(set, { audit = function(line) … end })

local answer = require "policy.serve.answer"
local cache = require "policy.serve.cache"
local errors = require "errors"
local json = require "json"
local metrics = require "policy.serve.metrics"
local paths = require "policy.serve.paths"
local server = require "server"
local task = require "task"
local workers = require "workers"

local M = {}

local TICK = 0.25
local GRACE = 20         -- seconds that requests have to be answered when it is told to end
local SLACK = 2          -- seconds beyond a policy's own time after which it hangs in C
local FILES = 4096
local MEMORY = 2 << 30   -- address space, most of it the cache that is shared and not used
local MAX_BODY = 8 << 20
local QUEUE = 64
local HANDSHAKE_PAUSE = 60 -- seconds between two lines about handshakes that failed
local CONNECTIONS = FILES - 96 -- the rest is for what a process has anyway

local function wait_for_certificate()
  while true do
    local text, version = workers.read "certificate"
    if text then return json.decode(text), version end
    task.sleep(TICK)
  end
end

-- Before each policy the supervisor can read whose review it is and how long that may take.
local function announce(set, recorded)
  local started, name, used
  local function before(policy)
    started, name, used = task.now(), policy.name, set.box:used()
    workers.begin(policy.timeout + SLACK, "policy ", policy.name, ", review ", set.uid or "?")
  end
  local function after()
    workers.done()
    recorded:time(name, task.now() - started)
    recorded:allocated(name, math.max(set.box:used() - used, 0))
  end
  set.before, set.after = before, after
end

-- The first uid in what the API server sends is the review's.
local function uid_of(body)
  local _, last = body:find('"uid":"', 1, true)
  return last and body:match('^([%w-]*)"', last + 1)
end

-- After the answer has gone, memory is tidied up: what the next review would have to wait for otherwise.
local function tidy(set, bytes)
  set.box:tidy(bytes)
end

-- What policies remember between reviews has grown: they begin anew, with what they may look at.
local function make_room(set, known)
  if not set:is_crowded() then return end
  set.box:collect()
  if not set:is_crowded() then return end
  set:renew()
  known.cache, known.versions = 0, {}
  known.renewals = known.renewals + 1
end

-- Takes over what the controller has published since of what reviews may look at.
local function follow_cache(set, known)
  local text, version = workers.read("cache", known.cache)
  if not text then return end
  local changes
  changes, known.versions = cache.changes(text, known.versions)
  set:publish(changes, #text)
  known.cache, known.cache_bytes = version, #text
end

-- A certificate that OpenSSL does not take changes nothing.
local function follow_certificate(service, known, log)
  local text, version = workers.read("certificate", known.certificate)
  if not text then return end
  local bundle = json.decode(text)
  local ok, problem = pcall(service.set_certificate, service, bundle.certificate, bundle.key)
  if not ok then log("the certificate before stays in use: " .. errors.text(problem)) end
  known.certificate = version
end

-- Who keeps a connection is to come back on another one, to another replica, before this one ends.
local function last_of_its_connection(response)
  if not workers.leaving() then return response end
  local headers = { connection = "close" }
  for name, value in pairs(response.headers or {}) do headers[name] = value end
  response.headers = headers
  return response
end

-- What reviews may look at is taken over before each of them: registration waits for it to be published, not for us.
local function with_care(set, known, handler)
  return function(request)
    follow_cache(set, known)
    local used = set.box:used()
    set.uid = uid_of(request.body)
    local response = last_of_its_connection(handler(request))
    local bytes = set.box:used() - used
    if bytes > 0 then task.spawn(tidy, set, bytes) end
    return response
  end
end

local function open(set, state, bundle, known)
  local service
  state.overloaded = function()
    return service:connections() > state.queue and service:waiting() > state.queue
  end
  service = server.listen {
    fd = workers.listener "webhook", certificate = bundle.certificate, key = bundle.key,
    handler = with_care(set, known, answer.handler(set, state)), max_body = MAX_BODY, max_connections = CONNECTIONS,
  }
  return service
end

local function tell_metrics(set, service, known, recorded)
  recorded:refusals_of(service)
  recorded:gauge("kfhost_policy_memory_bytes", "memory of the sandboxes", function() return set.box:used() end)
  recorded:counter("kfhost_policy_renewals_total", "sandboxes that began anew because policies kept too much",
    function() return known.renewals end)
  recorded:counter("kfhost_policy_handshake_failures_total", "TLS handshakes that failed",
    function() return (select(2, service:refused())) end)
end

-- Says why handshakes fail: at once, then now and then, however many they are.
local function tell_handshakes(service, known, log)
  local _, count, why = service:refused()
  if count == known.handshakes or task.now() < known.say_again then return end
  log(("%d TLS handshakes failed, the last one: %s"):format(count - known.handshakes, why))
  known.handshakes, known.say_again = count, task.now() + HANDSHAKE_PAUSE
end

-- Of very many policies there is more to tell than has room: then reviews go on, and the metrics stand still.
local function tell_report(recorded, known, log)
  local ok, problem = pcall(workers.publish, "report", recorded:text())
  local text = not ok and "metrics: " .. errors.text(problem) or nil
  if text and not known.report then log(text) end
  known.report = text
end

-- Once in a while, until it is told to finish.
local function attend(set, service, known, recorded, log)
  make_room(set, known)
  follow_certificate(service, known, log)
  follow_cache(set, known)
  tell_handshakes(service, known, log)
  local mark = recorded:mark()
  if mark == known.mark then return end
  known.mark = mark
  tell_report(recorded, known, log)
end

---Serves until it is told to finish. The tests of the policies must pass first.
---@param set policy.Set
---@param options {audit: fun(line: table), log: fun(message: string)?, queue: integer?} queue: reviews that may wait;
---  more are answered with 503
---@return integer code of the process
function M.run(set, options)
  local recorded, log = metrics.new(), options.log or function() end
  local state = { metrics = recorded, audit = options.audit, cache_age = workers.age, queue = options.queue or QUEUE,
    retired = paths.retired(set.description) }
  local bundle, version = wait_for_certificate()
  local known = { certificate = version, cache = 0, versions = {}, renewals = 0, handshakes = 0, say_again = 0 }
  announce(set, recorded)
  local service = open(set, state, bundle, known)
  tell_metrics(set, service, known, recorded)
  workers.lock { files = FILES, memory = MEMORY }
  follow_cache(set, known)
  workers.ready()
  while not workers.draining() do
    task.sleep(TICK)
    attend(set, service, known, recorded, log)
  end
  service:drain(GRACE)
  tell_report(recorded, known, log)
  return 0
end

return M
