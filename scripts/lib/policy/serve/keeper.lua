-- policy.serve.keeper: keeps the serving certificate of a host, or of all replicas of one, and renews it: the new
-- authority is announced first, and what it signed is used a little later.
-- Not for files that a site brings: those stay as they are.
--   local k = keeper.new { store = keeper.secret(client, namespace, name), names = names }; k:turn(os.time())

local certificates = require "policy.serve.certificates"
local errors = require "errors"
local hash = require "hash"
local json = require "json"
local workers = require "workers"
local x509 = require "x509"

local M = {}

local SWAP = 30 -- seconds between a new authority in caBundle and the use of what it signed

---@class policy.Keeper
local Keeper = {}
Keeper.__index = Keeper

-- --- where it is kept -------------------------------------------------------------------------------------------

---The memory that the processes of this host share: another controller after this one finds it there.
---@return table store {load, save}
function M.memory()
  local store = {}
  function store.load()
    local text = workers.read "certificate"
    return text and json.decode(text) or nil
  end
  function store.save() return true end -- what is in use is published there anyway
  return store
end

local function from_secret(secret)
  local data = secret.data or {}
  if not data["tls.crt"] or not data["tls.key"] or not data["ca.crt"] then return nil end
  local more = data.state and json.decode(hash.unbase64(data.state)) or {}
  return { certificate = hash.unbase64(data["tls.crt"]), key = hash.unbase64(data["tls.key"]),
    authorities = hash.unbase64(data["ca.crt"]), made = true, next = more.next, swap = more.swap,
    registered = more.registered }
end

local function to_data(bundle)
  local more = { next = bundle.next, swap = bundle.swap, registered = bundle.registered }
  return { ["tls.crt"] = hash.base64(bundle.certificate), ["tls.key"] = hash.base64(bundle.key),
    ["ca.crt"] = hash.base64(bundle.authorities), state = hash.base64(json.encode(json.object(more), { sort = true })) }
end

---A Secret, which the replicas of a service share; who comes second with a change reads the first one's.
---@param client table of kube.connect
---@param namespace string
---@param name string
---@return table store
function M.secret(client, namespace, name)
  local store = {}
  function store.load()
    local found, problem = client.try:get("secrets", name, { namespace = namespace })
    if not found and problem.status ~= 404 then error(problem, 0) end
    return found and from_secret(found), found
  end
  function store.save(bundle, there)
    local object = there or { apiVersion = "v1", kind = "Secret", type = "Opaque", metadata = { name = name,
      namespace = namespace, labels = { ["app.kubernetes.io/part-of"] = "kfhost" } } }
    object.data = to_data(bundle)
    local saved, problem = client.try[there and "update" or "create"](client.try, object)
    if saved then return true end
    if problem.status == 409 then return false end
    error(problem, 0)
  end
  return store
end

-- --- its life ---------------------------------------------------------------------------------------------------

---@param options {store: table, names: string[], days: number?, swap: number?, announced: (fun(pem: string): boolean)?}
---  announced: whether caBundle holds those authorities everywhere
---@return policy.Keeper
function M.new(options)
  local days = options.days
  return setmetatable({ store = options.store, names = options.names, days = days,
    swap = options.swap or (days and math.min(SWAP, days * 86400 / 12)) or SWAP,
    announced = options.announced or function() return true end }, Keeper)
end

-- The next state of a bundle, or nil when it stays as it is.
local function change(self, bundle, now)
  local usable = bundle and x509.verify(bundle.certificate, bundle.authorities, { name = self.names[1], at = now })
  if not usable then
    local made = certificates.make(self.names, bundle, self.days)
    made.registered = bundle and bundle.registered
    return made
  end
  if bundle.next then
    if now < bundle.swap or not self.announced(bundle.authorities) then return nil end
    return { certificate = bundle.next.certificate, key = bundle.next.key, authorities = bundle.authorities,
      made = true, registered = bundle.registered }
  end
  if not certificates.is_due(bundle, now) then return nil end
  local coming = certificates.make(self.names, bundle, self.days)
  return { certificate = bundle.certificate, key = bundle.key, authorities = coming.authorities, made = true,
    registered = bundle.registered, swap = now + self.swap,
    next = { certificate = coming.certificate, key = coming.key } }
end

---Looks whether something is due, and does it.
---@param now integer seconds since 1970
---@return policy.Bundle? bundle that is in use; nil when another replica was first, and it is to be asked again
function Keeper:turn(now)
  local bundle, version = self.store.load()
  local coming = change(self, bundle, now)
  if not coming then return bundle end
  if not self.store.save(coming, version) then return nil end
  return coming
end

---Notes that these configurations were made once: from then on a deleted one stays deleted.
---@param names string[]
---@param bundle policy.Bundle in use
---@return boolean saved false: another replica was first, and it is to be asked again
function Keeper:note_registered(names, bundle)
  local now_there, version = self.store.load()
  local changed = now_there or bundle
  changed.registered = names
  bundle.registered = names
  return self.store.save(changed, version)
end

---@param problem any
---@return boolean whether it is to be tried again later
function M.is_transient(problem)
  return errors.is(problem) and problem.code ~= "Cancelled"
end

return M
