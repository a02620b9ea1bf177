-- policy.serve.cluster: what the controller process does with the cluster: it follows what reviews may look at, leads
-- (watches, schedules, their writes), registers the webhooks and keeps their caBundle right, and says how it is.
-- Not for answering reviews.
--   local c = cluster.start(set, connect, { release = "kfhost-policy", … }); c:authorities(pem)

local controller = require "policy.controller"
local errors = require "errors"
local json = require "json"
local registrations = require "policy.serve.registration"
local reports = require "policy.serve.report"
local rights = require "policy.rights"
local task = require "task"
local workers = require "workers"

local M = {}

local PUBLISH_PAUSE = 0.2 -- seconds: changes that come together are published together
local START_PAUSE = 0.05
local LOOK_PAUSE = 5 -- seconds between two looks at caBundle
local PUBLISH_BYTES = 20e6 -- in a second: a large cache is published less often
local LEAVE = 5 -- seconds to give the lease back
local KEPT_ERRORS = 5

---@class policy.Cluster
local Cluster = {}
Cluster.__index = Cluster

-- --- what reviews may look at ---------------------------------------------------------------------------------

-- Only what is whole is published: until then workers have what a controller before this one has left.
local function publish_changes(self)
  self.controller:sync()
  self.changed:set()
  while true do
    self.changed:wait()
    self.changed:clear()
    local text = table.concat(self.controller:texts())
    local ok, problem = pcall(workers.publish, "cache", text)
    if not ok and self.published then self:note("cache: " .. errors.text(problem)) end
    self.published = ok -- else what workers have grows old, and they say so by its age
    self.cache_bytes = #text
    task.sleep(PUBLISH_PAUSE + #text / PUBLISH_BYTES)
  end
end

-- --- what is said of this replica -------------------------------------------------------------------------------

---Keeps an error for `policy status`; it was logged already.
---@param text string
function Cluster:note(text)
  local list = self.errors
  list[#list + 1] = { time = os.date "!%Y-%m-%dT%H:%M:%SZ", message = text }
  if #list > KEPT_ERRORS then table.remove(list, 1) end
end

---@return table status of this replica
function Cluster:status()
  local ready, why = self.options.ready()
  return reports.status(self.set, { ready = ready, why = why, leads = self.leads, errors = self.errors,
    configurations = self.states, cluster = self.client.server })
end

-- Written when it has changed, and now and then, so that its time tells that this replica lives.
local function say_status(self)
  local status = self:status()
  local time = status.time
  status.time = nil
  local text = json.encode(status, { sort = true })
  if text == self.said and task.now() < self.say_again then return end
  status.time = time
  local ok, problem = pcall(reports.write, self.client, self.options, status)
  if ok then
    self.said, self.say_again = text, task.now() + reports.EVERY
    return
  end
  if errors.is(problem, "Cancelled") or not errors.is(problem) then error(problem, 0) end
  self.log("status: " .. errors.text(problem))
end

-- --- registration ---------------------------------------------------------------------------------------------

-- Makes what was not made before; what was made once and is gone was deleted, and stays deleted.
local function register(self)
  local made = {}
  for _, name in ipairs(self.options.registered()) do made[name] = true end
  local done = self.registration:register(self.pem, { only = function(configuration)
    return not made[configuration.metadata.name] or self.registration:get(configuration) ~= nil
  end })
  local names = {}
  for _, one in ipairs(self.registration:expected()) do names[#names + 1] = one.metadata.name end
  self.options.note_registered(names)
  for _, one in ipairs(done) do self.log(("registered %s %s"):format(one.kind, one.name)) end
end

local function attend(self)
  if self.options.register and not self.registered then
    register(self)
    self.registered = true
  end
  self.states = self.registration:look(self.pem, function(text)
    self.log(text)
    if not text:find "is right again$" then self:note(text) end
  end)
  self.announced = self.pem
end

local function can_answer()
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" and process.ready then return true end
  end
  return false
end

-- Registers what is to be registered, then keeps caBundle right; what fails is tried again.
-- Nothing is registered before a worker can answer: what the API server asks until then would be lost or refused; nor
-- before what reviews look at has been read: what is decided without that would be wrong.
local function keep_attending(self)
  while not (can_answer() and self:synced()) do task.sleep(START_PAUSE) end
  while true do
    self.asked:clear()
    if self.pem then
      local ok, problem = pcall(attend, self)
      if not ok then
        if errors.is(problem, "Cancelled") or not errors.is(problem) then error(problem, 0) end
        self.log(("not registered yet: %s"):format(errors.text(problem)))
      end
    end
    say_status(self)
    self.asked:wait(LOOK_PAUSE)
  end
end

---The authorities that sign our certificates from now on.
---@param pem string
function Cluster:authorities(pem)
  self.pem = pem
  self.asked:set()
end

---@param pem string
---@return boolean whether every configuration that is there was seen to hold these authorities
function Cluster:holds(pem)
  return self.announced == pem
end

-- --- the whole ------------------------------------------------------------------------------------------------

-- Leads until it is told to leave, then gives the lease back; when the lease is lost, it rests and asks for it again.
local function lead(self)
  self.leader:lead { name = self.options.release, namespace = self.options.namespace, identity = self.options.identity,
    run = function(client)
      self.log "leads"
      local rest <close> = setmetatable({}, { __close = function() -- luacheck: ignore
        self.leads = false
        self.controller:rest()
      end })
      self.leads = true
      self.asked:set()
      self.controller:lead(client)
      self.leaving:wait()
    end }
end

local function needs_cluster(description)
  return #rights.reads(description) + #description.watches + #description.schedules > 0
end

local function spawn(self, run)
  local one = task.spawn(run, self)
  self.tasks[#self.tasks + 1] = one
  return one
end

---@param set policy.Set
---@param connect fun(): table makes a client
---@param options {release: string, namespace: string, identity: string, url: string?, register: boolean,
---  leader_election: boolean, log: fun(message: string), ready: (fun(): boolean, string?),
---  registered: (fun(): string[]), note_registered: fun(names: string[])} url: where the API server finds the webhooks
---@return policy.Cluster
function M.start(set, connect, options)
  local client = connect()
  local self = setmetatable({ set = set, client = client, options = options, log = options.log, errors = {},
    published = true, cache_bytes = 0,
    changed = task.event(), asked = task.event(), leaving = task.event(), tasks = {}, states = {}, leads = false,
    registration = registrations.new(client, set.description,
      { name = options.release, namespace = options.namespace, url = options.url }) }, Cluster)
  if needs_cluster(set.description) then
    self.controller = controller.start(set, client, { log = options.log, wait_for_lead = options.leader_election,
      own_namespace = options.namespace, on_publish = function() self.changed:set() end,
      on_failure = function(text) self:note(text) end })
    spawn(self, publish_changes)
    if options.leader_election then
      self.leader = connect() -- of its own: the fence of the lease is about the controller's writes only
      self.leading = spawn(self, lead)
    else
      self.leads = true
    end
  end
  spawn(self, keep_attending)
  return self
end

---Ends all of it; the lease is given back.
function Cluster:stop()
  self.leaving:set()
  if self.leading and self.leads then pcall(self.leading.wait, self.leading, LEAVE) end
  pcall(reports.remove, self.client, self.options)
  for _, one in ipairs(self.tasks) do one:cancel() end
  if self.controller then self.controller:stop() end
  if self.leader then self.leader:close() end
  self.client:close()
end

---@return boolean whether what reviews may look at is known
function Cluster:synced()
  return not self.controller or workers.version "cache" > 0
end

---The cache is as fresh as it can be, if it is: workers are told by its age.
function Cluster:touch()
  if self.controller and self.published and self.controller:is_live() then workers.touch() end
end

return M
