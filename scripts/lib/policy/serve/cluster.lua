-- policy.serve.cluster: what the controller process does with the cluster: it follows what reviews may look at, leads
-- (watches, schedules, their writes), registers the webhooks and keeps their caBundle right, and says how it is.
-- Not for answering reviews.
--   local c = cluster.start(set, connect, { release = "kfhost-policy", … }); c:authorities(pem)

local controller = require "policy.controller"
local errors = require "errors"
local json = require "json"
local paths = require "policy.serve.paths"
local registrations = require "policy.serve.registration"
local reports = require "policy.serve.report"
local rights = require "policy.rights"
local rollouts = require "policy.serve.rollout"
local task = require "task"
local webhooks = require "policy.webhooks"
local workers = require "workers"

local M = {}

local PUBLISH_PAUSE = 0.2 -- seconds: changes that come together are published together
local START_PAUSE = 0.05
local LOOK_PAUSE = 5 -- seconds between two looks at caBundle
local REGISTER_PAUSE = 2 -- and between two looks at the replicas, for who registers
local JOIN = 45 -- seconds after which a replica takes reviews although some are for policies that it does not have
local PUBLISH_BYTES = 20e6 -- in a second: a large cache is published less often
local LEAVE = 5 -- seconds to give the lease back
local KEPT_ERRORS = 5
local MOST_WAITS = 20 -- that are told one by one

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
    configurations = self.states, waits = self.waits, address = self.address })
end

-- Written when it has changed, and now and then, so that its time tells that this replica lives.
local function say_status(self)
  local status = self:status()
  local time = status.time
  status.time = nil
  local text = json.encode(status, { sort = true })
  if task.now() < self.say_again and (text == self.said or text == self.failed) then return end
  status.time = time
  local ok, problem = pcall(reports.write, self.client, self.options, status)
  if not ok and (errors.is(problem, "Cancelled") or not errors.is(problem)) then error(problem, 0) end
  self.said, self.failed, self.say_again = ok and text, not ok and text, task.now() + reports.EVERY
  local trouble = not ok and "status: " .. errors.text(problem)
  if trouble and trouble ~= self.trouble then self.log(trouble) end
  self.trouble = trouble
end

-- --- registration ---------------------------------------------------------------------------------------------

-- Makes what was not made before; what was made once and is gone was deleted, and stays deleted.
local function register(self, plan, there)
  local made, names = {}, self.options.registered()
  for _, name in ipairs(names) do made[name] = true end
  local done = self.registration:register(plan, self.pem, there, { only = function(configuration)
    local name = configuration.metadata.name
    return there[name] ~= nil or not made[name]
  end })
  local now = {}
  for _, one in ipairs(done) do
    self.log(("registered %s %s"):format(one.kind, one.name))
    now[one.name] = true
  end
  for name in pairs(there) do now[name] = true end
  for name in pairs(now) do
    if not made[name] then names[#names + 1] = name end
  end
  self.options.note_registered(names)
end

local function same_list(one, other)
  return table.concat(one, "\n") == table.concat(other, "\n")
end

-- What stands between the files and the configurations, when it has changed.
local function tell_waits(self, waits)
  if #waits > MOST_WAITS then
    local more = ("and %d more"):format(#waits - MOST_WAITS)
    waits = table.move(waits, 1, MOST_WAITS, 1, {})
    waits[MOST_WAITS + 1] = more
  end
  if same_list(waits, self.waits) then return end
  for _, text in ipairs(waits) do self.log(text) end
  if #waits == 0 then self.log "every replica has what is registered" end
  self.waits = waits
end

-- Registers what all replicas can answer, and takes out what one of them cannot, whenever that has changed.
local function follow_replicas(self, there)
  local plan = self.registration:plan(self.pem, there, function(path) return self.rollout:lacking(path) end)
  local waits = {}
  for i, text in ipairs(plan.waits) do waits[i] = "not registered: " .. text end
  tell_waits(self, waits)
  if plan.key == self.registered then return plan, there end
  register(self, plan, there)
  self.registered = plan.key
  return plan, self.registration:there()
end

-- What the replicas have written, for whoever leads; lines that dead ones have left go after a while.
local function look_at_replicas(self)
  self.rollout:look(reports.read(self.client, self.options))
  for _, identity in ipairs(self.rollout:forgotten()) do
    reports.remove(self.client, self.options, identity)
    self.log(("%s is long gone: what it wrote is removed"):format(identity))
  end
end

-- Until the API server asks for nothing that these files do not have, reviews are for the others: they are told that we
-- are there, and the one that leads takes out of the configurations what we lack. It is not waited for for ever.
local function join(self, foreign)
  if self.joined then return end
  if #foreign == 0 then
    self.joined = true
    return
  end
  self.why = ("%s is still registered, and not in these files"):format(table.concat(foreign, ", "))
  if self.why ~= self.said_why then self.log(self.why) end
  self.said_why = self.why
end

-- Others have registered what this replica does not have: it cannot but refuse such reviews.
local function tell_foreign(self, foreign)
  local waits = {}
  for i, path in ipairs(foreign) do
    waits[i] = ("%s is registered, and %s does not have it"):format(path:sub(2), self.options.identity)
  end
  tell_waits(self, waits)
end

-- The leader's plan; else what should be there, where that is not for a leader to decide.
local function attend(self)
  local there, expected = self.registration:there(), {}
  if self.leads then look_at_replicas(self) end
  if not self.options.register then
    expected = self.registration:expected()
  elseif self.leads then
    local plan
    plan, there = follow_replicas(self, there)
    expected = plan.configurations
  end
  local foreign = self.registration:foreign(there, self.own_paths)
  if not self.options.register then tell_foreign(self, foreign) end
  join(self, foreign)
  self.states = self.registration:look(self.pem, there, expected, function(text)
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

-- One look; what fails is tried again.
local function try_to_attend(self)
  if not self.pem then return end
  local ok, problem = pcall(attend, self)
  if ok then return end
  if errors.is(problem, "Cancelled") or not errors.is(problem) then error(problem, 0) end
  self.log(("not registered yet: %s"):format(errors.text(problem)))
end

local function is_over(self)
  if self.joined or task.now() < self.join_until then return end
  self.joined = true
  self.log("ready all the same: " .. (self.why or "the configurations cannot be read"))
end

-- Registers what is to be registered, then keeps caBundle right.
-- Nothing is registered before a worker can answer: what the API server asks until then would be lost or refused; nor
-- before what reviews look at has been read: what is decided without that would be wrong. But the other replicas are
-- told at once: what this one does not answer must be gone before it is asked.
local function keep_attending(self)
  say_status(self)
  while not (can_answer() and self:synced()) do task.sleep(START_PAUSE) end
  local pause = self.options.register and REGISTER_PAUSE or LOOK_PAUSE
  while true do
    self.asked:clear()
    try_to_attend(self)
    is_over(self)
    say_status(self)
    self.asked:wait(pause)
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
        self.leads, self.registered, self.waits = false, nil, {} -- who leads meanwhile may register other things
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

-- Those that its account may look at: with no right to register, only what the manifests have made.
local function places_of(description, options)
  if options.register then return nil end
  local client, places = function() return {} end, {}
  for i, one in ipairs(webhooks.configurations(description,
    { name = options.release, namespace = options.namespace, client = client })) do
    places[i] = { kind = one.kind, name = one.metadata.name }
  end
  return places
end

local function new(set, client, options)
  local own = paths.of(set.description)
  local address = options.url or ("%s.%s.svc"):format(options.release, options.namespace)
  return setmetatable({ set = set, client = client, options = options, log = options.log, errors = {},
    published = true, cache_bytes = 0, say_again = 0, waits = {}, own_paths = own, address = address,
    joined = not (options.register and options.first), join_until = task.now() + JOIN,
    rollout = rollouts.new(options.identity, own, address),
    changed = task.event(), asked = task.event(), leaving = task.event(), tasks = {}, states = {}, leads = false,
    registration = registrations.new(client, set.description, { name = options.release, namespace = options.namespace,
      url = options.url, places = places_of(set.description, options) }) }, Cluster)
end

---@param set policy.Set
---@param connect fun(): table makes a client
---@param options {release: string, namespace: string, identity: string, url: string?, register: boolean,
---  leader_election: boolean, log: fun(message: string), ready: (fun(): boolean, string?), first: boolean,
---  metrics: table, registered: (fun(): string[]), note_registered: fun(names: string[])}
---  url: where the API server finds the webhooks; first: whether no process of this host has answered reviews before
---@return policy.Cluster
function M.start(set, connect, options)
  local client = connect()
  local self = new(set, client, options)
  if needs_cluster(set.description) then
    self.controller = controller.start(set, client, { log = options.log, wait_for_lead = options.leader_election,
      own_namespace = options.namespace, on_publish = function() self.changed:set() end,
      on_failure = function(text) self:note(text) end, metrics = options.metrics })
    spawn(self, publish_changes)
    if options.leader_election then
      self.leader = connect() -- of its own: the fence of the lease is about the controller's writes only
    end
  end
  self.leads = not self.leader
  if self.leader then self.leading = spawn(self, lead) end
  spawn(self, keep_attending)
  return self
end

---Ends all of it; the lease is given back. What others know of this replica stays for the controller after this one.
function Cluster:stop()
  local stays = self.registered and self.options.url
  self.leaving:set()
  if self.leading and self.leads then pcall(self.leading.wait, self.leading, LEAVE) end
  if workers.leaving() then
    pcall(reports.remove, self.client, self.options)
    if stays then self.log "the webhooks stay registered: `kfhost policy uninstall` takes them out" end
  end
  for _, one in ipairs(self.tasks) do one:cancel() end
  if self.controller then self.controller:stop() end
  if self.leader then self.leader:close() end
  self.client:close()
end

---@return boolean whether what reviews may look at is known
function Cluster:synced()
  return not self.controller or workers.version "cache" > 0
end

---@return boolean whether reviews may come
---@return string? why not
function Cluster:is_ready()
  if not self:synced() then return false, "the first look at the cluster is not over" end
  return self.joined, self.why
end

---The cache is as fresh as it can be, if it is: workers are told by its age.
function Cluster:touch()
  if self.controller and self.published and self.controller:is_live() then workers.touch() end
end

return M
