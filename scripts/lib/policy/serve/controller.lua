-- policy.serve.controller: the process beside the workers: certificates, health and metrics of them all.
-- Not for reviews. What watches and writes hooks into `options.start`.
--   controller.run { names = { "host.ns.svc" } }

local answer = require "policy.serve.answer"
local certificates = require "policy.serve.certificates"
local json = require "json"
local server = require "server"
local task = require "task"
local workers = require "workers"

local M = {}

local TICK = 0.25
local GRACE = 5
local SWAP = 30 -- seconds between a new authority in caBundle and the certificate that it signed

-- --- metrics of all workers -----------------------------------------------------------------------

-- The samples of a text, by the metric that they belong to; comments stand before the samples of their metric.
local function add_samples(families, text)
  local family
  for line in text:gmatch "[^\n]+" do
    local named = line:match "^# HELP (%S+)" or line:match "^# TYPE (%S+)"
    if named and (not family or family.name ~= named) then
      family = families[named] or { name = named, comments = {}, order = {}, values = {} }
      if not families[named] then families[#families + 1] = family end
      families[named] = family
    end
    local key, value = line:match "^([^#].*) (%S+)$"
    if not key then family.comments[line:match "^# %u+"] = line
    else
      if not family.values[key] then family.order[#family.order + 1] = key end
      family.values[key] = (family.values[key] or 0) + (tonumber(value) or 0)
    end
  end
end

---The sum of several texts of Prometheus' format.
---@param texts string[]
---@return string
function M.sum(texts)
  local families, lines = {}, {}
  for _, text in ipairs(texts) do add_samples(families, text) end
  for _, family in ipairs(families) do
    for _, kind in ipairs { "# HELP", "# TYPE" } do lines[#lines + 1] = family.comments[kind] end
    for _, key in ipairs(family.order) do lines[#lines + 1] = ("%s %.14g"):format(key, family.values[key]) end
  end
  return table.concat(lines, "\n") .. "\n"
end

local function metrics_text()
  local texts, ready = {}, 0
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" then
      if process.ready then ready = ready + 1 end
      texts[#texts + 1] = workers.read(process.slot)
    end
  end
  texts[#texts + 1] = ("# HELP kfhost_policy_workers processes that can answer reviews\n"
    .. "# TYPE kfhost_policy_workers gauge\nkfhost_policy_workers %d"):format(ready)
  return M.sum(texts)
end

-- --- health ---------------------------------------------------------------------------------------

local function is_ready(state)
  if workers.draining() then return false, "draining" end
  if not state.synced() then return false, "the first look at the cluster is not over" end
  for _, process in ipairs(workers.list()) do
    if process.role == "worker" and process.ready and not process.draining then return true end
  end
  return false, "no worker is ready"
end

-- --- certificates ---------------------------------------------------------------------------------

local function publish(bundle)
  workers.publish("certificate", json.encode(bundle))
end

-- The one that is published (by a controller before this one), the site's, or a new one.
local function first_bundle(options)
  local text = workers.read "certificate"
  local published = text and json.decode(text)
  if published and published.made and not options.certificate then return published end
  local bundle = options.certificate
    and { certificate = options.certificate, key = options.key, made = false }
    or certificates.make(options.names, nil, options.certificate_days)
  publish(bundle)
  return bundle
end

-- Makes a new one when it is time: its authority is announced first, and used a little later.
local function renew(state, options)
  local now = os.time()
  if state.next then
    if now < state.swap then return end
    state.bundle, state.next = state.next, nil
    publish(state.bundle)
  elseif certificates.is_due(state.bundle, now) then
    state.next = certificates.make(options.names, state.bundle, options.certificate_days)
    state.swap = now + (options.swap or SWAP)
    if options.on_authorities then options.on_authorities(state.next.authorities) end
  end
end

-- --- the process ----------------------------------------------------------------------------------

---Runs until it is told to finish.
---@param options {names: string[], certificate: string?, key: string?, certificate_days: number?, swap: number?,
---  on_authorities: fun(pem: string)?, synced: (fun(): boolean)?, on_start: fun(bundle: policy.Bundle, ports: table)?}
---  on_authorities: what `caBundle` is to hold from now on; synced: whether the cache is complete
---@return integer code of the process
function M.run(options)
  local state = { bundle = first_bundle(options), synced = options.synced or function() return true end }
  local health = { metrics = { text = metrics_text },
    ready = function() return is_ready(state) end }
  local service <close> = server.listen { fd = workers.listener "operations", handler = answer.operations(health) }
  local ports = { webhook = workers.port "webhook", operations = service.port }
  if options.on_authorities and state.bundle.authorities then options.on_authorities(state.bundle.authorities) end
  if options.on_start then options.on_start(state.bundle, ports) end
  workers.ready()
  while not workers.draining() do
    task.sleep(TICK)
    renew(state, options)
  end
  service:drain(GRACE)
  return 0
end

return M
