-- lab.admission: what may change or refuse a write after its author was found to have the right to it.
-- Not for checks of fields (lab.rules). Each plugin is a file of its own.
--   cluster.admission:mutate(ctx, attributes) -> whether a webhook changed the object
--
-- Mutating: namespace lifecycle, limits, accounts, tolerations, priority, default class, webhooks.
-- Validating: limits, pod security, policies, webhooks. Quota comes last, with the write.

local accounts = require "lab.admission.accounts"
local defaults = require "lab.admission.defaults"
local limits = require "lab.admission.limits"
local namespaces = require "lab.admission.namespaces"
local policies = require "lab.admission.policies"
local quota = require "lab.admission.quota"
local security = require "lab.admission.security"
local webhooks = require "lab.admission.webhooks"

local M = {}

---@class lab.Admission
local admission = {}
admission.__index = admission

---@param cluster lab.Cluster
---@return lab.Admission
function M.new(cluster)
  local self = setmetatable({ cluster = cluster }, admission)
  self.webhooks = webhooks.new(cluster)
  self.policies = policies.new(cluster)
  return self
end

---Ends the connections to webhooks.
function admission:close()
  self.webhooks:close()
end

---The registrations have changed.
function admission:forget()
  self.webhooks:forget()
  self.policies:forget()
end

local function is_pod_create(a)
  return a.operation == "CREATE" and a.resource.stored == "pods" and not a.subresource
end

---@class lab.AdmissionAttributes
---@field operation "CREATE"|"UPDATE"|"DELETE"|"CONNECT"
---@field resource lab.Resource
---@field subresource string?
---@field object table? nil for DELETE
---@field old table?
---@field name string?
---@field namespace string?
---@field options table?
---@field dry_run boolean
---@field kind table? of the object, where it is not the resource's

---@param ctx lab.Context
---@param a lab.AdmissionAttributes
---@return boolean changed by a webhook
function admission:mutate(ctx, a)
  namespaces.check(ctx, a)
  if is_pod_create(a) then
    limits.default(ctx, a)
    accounts.mutate(ctx, a)
    defaults.tolerations(a.object)
    defaults.priority(ctx, a.object)
  elseif a.operation == "CREATE" and a.resource.stored == "persistentvolumeclaims" then
    defaults.class(ctx, a.object)
  end
  return self.webhooks:mutate(ctx, a)
end

---@param ctx lab.Context
---@param a lab.AdmissionAttributes
function admission:validate(ctx, a)
  if a.operation ~= "DELETE" then
    limits.validate(ctx, a)
    security.validate(ctx, a)
  end
  self.policies:validate(ctx, a)
  self.webhooks:validate(ctx, a)
end

---Asks about a connection to a pod: nothing is written.
---@param ctx lab.Context
---@param a lab.AdmissionAttributes
function admission:connect(ctx, a)
  self.webhooks:mutate(ctx, a)
  self.policies:validate(ctx, a)
  self.webhooks:validate(ctx, a)
end

---Counts a write against the quotas of its namespace.
function admission.charge(_, ctx, resource, object, old) quota.charge(ctx, resource, object, old) end

---Frees what a removed object was counted for.
function admission.release(_, ctx, resource, object) quota.release(ctx, resource, object) end

return M
