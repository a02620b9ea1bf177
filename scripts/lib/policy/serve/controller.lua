-- policy.serve.controller: the process beside the workers: certificates, health and metrics of them all.
-- Not for reviews. What watches and writes hooks into `options.start`.
--   controller.run { names = { "host.ns.svc" } }

local answer = require "policy.serve.answer"
local certificates = require "policy.serve.certificates"
local errors = require "errors"
local json = require "json"
local keepers = require "policy.serve.keeper"
local server = require "server"
local sums = require "policy.serve.totals"
local task = require "task"
local workers = require "workers"
local x509 = require "x509"

local M = {}

local TICK = 0.25
local GRACE = 5

-- --- metrics of all workers -----------------------------------------------------------------------

local function ready_workers()
  local ready = 0
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" and process.ready then ready = ready + 1 end
  end
  return ready
end

local function gauge(name, help, value)
  return ("# HELP %s %s\n# TYPE %s gauge\n%s %d"):format(name, help, name, name, value)
end

local function metrics_text(state, options)
  state.totals:look()
  local texts = state.totals:texts()
  local function add(...) texts[#texts + 1] = gauge(...) end
  add("kfhost_policy_workers", "processes that can answer reviews", ready_workers())
  if options.leads then add("kfhost_policy_leads", "whether this replica leads", options.leads() and 1 or 0) end
  if state.bundle then
    local ends = x509.parse(state.bundle.certificate).not_after
    add("kfhost_policy_certificate_expires", "when the certificate in use ends, in seconds since 1970", ends)
  end
  return sums.sum(texts)
end

-- What this process itself has counted, where the others are: it stays when this one ends.
local function tell_report(state, recorded)
  local mark = recorded and recorded:mark()
  if mark == state.mark then return end
  state.mark = mark
  workers.try.publish("report", recorded:text())
end

-- --- health ---------------------------------------------------------------------------------------

-- A controller that drains because of a reload is still asked: what counts is whether reviews are answered.
local function is_ready(state)
  if workers.leaving() then return false, "leaving" end
  local synced, why = state.synced()
  if not synced then return false, why or "the first look at the cluster is not over" end
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" and process.ready and not process.draining then return true end
  end
  return false, workers.draining() and "draining" or "no worker is ready"
end

-- --- certificates ---------------------------------------------------------------------------------

local LOOK = 10 -- seconds between two looks at what is kept elsewhere

local function publish(state, bundle)
  local before = state.bundle or {}
  if before.certificate == bundle.certificate and before.key == bundle.key
    and before.authorities == bundle.authorities then return end
  state.bundle = bundle
  workers.publish("certificate", json.encode(bundle))
  if bundle.authorities and state.on_authorities then state.on_authorities(bundle.authorities) end
end

-- One look at the certificate: those of files are read again (they are two, and may be read while they change: what
-- does not belong together is not used), others are renewed when it is time.
local function look(state, options)
  if options.read_files then
    local before = state.bundle or keepers.memory().load()
    local ok, bundle = pcall(function() return certificates.of_files(options.read_files()) end)
    if not ok then
      if before then publish(state, before) end -- what a controller before this one has read is in use
      error(bundle, 0)
    end
    bundle.registered = before and before.registered
    return publish(state, bundle)
  end
  local bundle = state.keeper:turn(options.clock())
  if bundle then publish(state, bundle) end
end

local function pause_of(options)
  local pause = options.store and LOOK or TICK
  return options.days and math.min(pause, options.days * 86400 / 24) or pause
end

local function keep_certificate(state, options)
  local pause = pause_of(options)
  while true do
    local ok, problem = pcall(look, state, options)
    if not ok and not keepers.is_transient(problem) then error(problem, 0) end
    local text = not ok and "certificate: " .. errors.text(problem) or nil
    if text and text ~= state.said then state.log(text) end
    state.said = text
    state.looked:set()
    task.sleep(state.bundle and pause or math.min(pause, 1))
  end
end

-- --- the process ----------------------------------------------------------------------------------

---@class policy.ServeController
local Service = {}
Service.__index = Service

---@return boolean ready
---@return string? why not
function Service:ready() return is_ready(self) end

---@return string[] names of the configurations that were made once
function Service:registered() return self.bundle.registered or {} end

---@param names string[]
function Service:note_registered(names)
  local keeper = self.keeper
  for _ = 1, 5 do
    if not keeper or keeper:note_registered(names, self.bundle) then break end
  end
  workers.publish("certificate", json.encode(self.bundle))
end

---Runs until it is told to finish.
---@param options {names: string[], days: number?, swap: number?, store: table?, clock: (fun(): integer)?,
---  read_files: (fun(): string, string)?, announced: (fun(pem: string): boolean)?, log: fun(message: string)?,
---  on_authorities: fun(pem: string)?, synced: (fun(): boolean, string?)?, status: (fun(): table)?, tick: fun()?,
---  on_start: fun(service: policy.ServeController, ports: table)?, metrics: table?, leads: (fun(): boolean)?}
---  store: where the certificate is kept (policy.serve.keeper), else in memory; read_files: a site's own certificate
---  instead; on_authorities: what `caBundle` is to hold from now on; synced: whether reviews may come, for
---  all that is known of the cluster
---@return integer code of the process
function M.run(options)
  options.clock = options.clock or os.time
  local state = setmetatable({ synced = options.synced or function() return true end, looked = task.event(),
    log = options.log or function() end, on_authorities = options.on_authorities }, Service)
  if not options.read_files then
    state.keeper = keepers.new { store = options.store or keepers.memory(), names = options.names,
      days = options.days, swap = options.swap, announced = options.announced }
  end
  state.totals = sums.new(workers)
  local health = { metrics = { text = function() return metrics_text(state, options) end }, status = options.status,
    ready = function() return is_ready(state) end }
  local service <close> = server.listen { fd = workers.listener "operations", handler = answer.operations(health) }
  local keeping = task.spawn(keep_certificate, state, options)
  while not state.bundle and not workers.draining() do
    state.looked:clear()
    state.looked:wait(TICK)
  end
  if state.bundle and options.on_start then
    options.on_start(state, { webhook = workers.port "webhook", operations = service.port })
  end
  workers.ready()
  while not workers.draining() do
    task.sleep(TICK)
    tell_report(state, options.metrics)
    state.totals:look()
    if options.tick then options.tick() end
  end
  tell_report(state, options.metrics)
  keeping:cancel()
  service:drain(GRACE)
  return 0
end

return M
