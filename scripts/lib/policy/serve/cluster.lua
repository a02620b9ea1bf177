-- policy.serve.cluster: what the controller process does with the cluster: it follows what reviews may look at,
-- runs watches and schedules, registers the webhooks, and keeps their caBundle right.
-- Not for answering reviews.
--   local c = cluster.start(set, client, { ports = ports, log = log }); c:authorities(pem)

local controller = require "policy.controller"
local errors = require "errors"
local hash = require "hash"
local task = require "task"
local webhooks = require "policy.webhooks"
local workers = require "workers"

local M = {}

local PUBLISH_PAUSE = 0.2 -- seconds: changes that come together are published together
local RELEASE_SECONDS = 2
local START_PAUSE = 0.05
local LOOK_PAUSE = 10 -- seconds between two looks at caBundle
local CONFIGURATIONS = { MutatingWebhookConfiguration = "mutatingwebhookconfigurations.admissionregistration.k8s.io",
  ValidatingWebhookConfiguration = "validatingwebhookconfigurations.admissionregistration.k8s.io" }

---@class policy.Cluster
local Cluster = {}
Cluster.__index = Cluster

-- --- what reviews may look at ---------------------------------------------------------------------------------

local function publish_changes(self)
  while true do
    self.changed:wait()
    self.changed:clear()
    local ok, problem = pcall(workers.publish, "cache", "[" .. table.concat(self.controller:texts(), ",") .. "]")
    if not ok then self.log("cache: " .. errors.text(problem)) end
    task.sleep(PUBLISH_PAUSE)
  end
end

-- --- registration ---------------------------------------------------------------------------------------------

local function expected(self)
  local ca = self.pem and hash.base64(self.pem)
  return webhooks.configurations(self.set.description, { name = self.options.name, namespace = self.options.namespace,
    client = function(path)
      return { url = ("https://%s:%d%s"):format(self.options.host, self.options.port, path), caBundle = ca }
    end })
end

---Makes the webhook configurations; each is applied whole.
function Cluster:register()
  for _, configuration in ipairs(expected(self)) do
    self.client:apply(configuration, { force = true, manager = "kfhost-policy" })
    self.log(("registered %s %s"):format(configuration.kind, configuration.metadata.name))
  end
end

-- Writes caBundle where a configuration of ours has another one. One that was deleted stays deleted: that is the
-- way out of an emergency.
local function repair(self, configuration)
  local kind = CONFIGURATIONS[configuration.kind]
  local there, problem = self.client.try:get(kind, configuration.metadata.name)
  if not there then
    if problem.status ~= 404 then error(problem, 0) end
    return
  end
  local ca, changed = hash.base64(self.pem), false
  for _, webhook in ipairs(there.webhooks or {}) do
    if webhook.clientConfig.caBundle ~= ca then
      webhook.clientConfig.caBundle, changed = ca, true
    end
  end
  if not changed then return end
  self.client:update(there, { manager = "kfhost-policy" })
  self.log(("caBundle of %s is right again"):format(there.metadata.name))
end

function Cluster:look()
  for _, configuration in ipairs(expected(self)) do
    local ok, problem = pcall(repair, self, configuration)
    if not ok then
      if errors.is(problem, "Cancelled") then error(problem, 0) end
      self.log(errors.text(problem))
    end
  end
end

-- Registers what is to be registered, then keeps caBundle right; what fails is tried again.
local function attend(self)
  if not self.pem then return end
  if self.registering then return end
  if not self.options.register or self.registered then return self:look() end
  self.registering = true
  local ok, problem = pcall(self.register, self)
  self.registering, self.registered = false, ok
  if ok then return end
  if errors.is(problem, "Cancelled") or not errors.is(problem) then error(problem, 0) end
  self.log(("not registered yet: %s"):format(errors.text(problem)))
end

local function can_answer()
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" and process.ready then return true end
  end
  return false
end

-- Nothing is registered before a worker can answer: what the API server asks until then would be lost or refused.
local function keep_attending(self)
  while not can_answer() do task.sleep(START_PAUSE) end
  self.answers = true
  while true do
    attend(self)
    task.sleep(LOOK_PAUSE)
  end
end

---The authorities that sign our certificates from now on.
---@param pem string
function Cluster:authorities(pem)
  self.pem = pem
  if self.answers then attend(self) end
end

-- --- the whole ------------------------------------------------------------------------------------------------

local function lead(self)
  self.client:lead { name = self.options.name, namespace = self.options.namespace, run = function(client)
    self.log "leads"
    self.controller:lead(client)
    self.over:wait()
  end }
end

local function needs_cluster(description)
  local rights = require "policy.rights"
  return #rights.reads(description) + #description.watches + #description.schedules > 0
end

function Cluster:spawn(run)
  local one = task.spawn(run, self)
  self.tasks[#self.tasks + 1] = one
  return one
end

---@param set policy.Set
---@param client table of kube.connect
---@param options {name: string, namespace: string, host: string, port: integer, register: boolean,
---  leader_election: boolean, log: fun(message: string)} host, port: where the API server finds the webhooks
---@return policy.Cluster
function M.start(set, client, options)
  local self = setmetatable({ set = set, client = client, options = options, log = options.log,
    changed = task.event(), over = task.event(), tasks = {} }, Cluster)
  if needs_cluster(set.description) then
    self.controller = controller.start(set, client, { log = options.log, wait_for_lead = options.leader_election,
      on_publish = function() self.changed:set() end })
    self:spawn(publish_changes)
    if options.leader_election then self.leading = self:spawn(lead) end
  end
  self:spawn(keep_attending)
  return self
end

---Ends all of it; a lease is given back, so that another replica takes over at once.
function Cluster:stop()
  self.over:set()
  if self.leading then pcall(self.leading.wait, self.leading, RELEASE_SECONDS) end
  for _, one in ipairs(self.tasks) do one:cancel() end
  if self.controller then self.controller:stop() end
  self.client:close()
end

---@return boolean whether what reviews may look at is known
function Cluster:synced()
  return not self.controller or self.controller:is_synced()
end

return M
