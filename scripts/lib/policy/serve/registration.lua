-- policy.serve.registration: the webhook configurations of a set of policies in a cluster: made, kept right, compared,
-- removed.
-- Not for what they say (policy.webhooks).
--   local r = registration.new(client, description, { name=, namespace=, service = true }); r:register(pem)

local certificates = require "policy.serve.certificates"
local errors = require "errors"
local hash = require "hash"
local json = require "json"
local values = require "policy.inside.values"
local webhooks = require "policy.webhooks"
local x509 = require "x509"

local M = {}

local MANAGER = "kfhost-policy"
M.KINDS = { MutatingWebhookConfiguration = "mutatingwebhookconfigurations.admissionregistration.k8s.io",
  ValidatingWebhookConfiguration = "validatingwebhookconfigurations.admissionregistration.k8s.io" }

---@class policy.Registration
local Registration = {}
Registration.__index = Registration

---@param client table of kube.connect
---@param description table of a policy.Set
---@param options {name: string, namespace: string, url: string?} url: where the webhooks are found instead of the
---  Service of that name
---@return policy.Registration
function M.new(client, description, options)
  return setmetatable({ client = client, description = description, options = options, said = {} }, Registration)
end

-- --- authorities -------------------------------------------------------------------------------------------------

---The authorities, and the newest of those before that is still valid: what a caBundle is to hold during a change.
---@param new string PEM
---@param before string? PEM
---@return string PEM
function M.together(new, before)
  local have, list = {}, certificates.split(new)
  for _, pem in ipairs(list) do have[x509.parse(pem).fingerprint] = true end
  for _, pem in ipairs(certificates.split(before or "")) do
    local ok, certificate = pcall(x509.parse, pem)
    if ok and not have[certificate.fingerprint] and certificate.not_after > os.time() then
      list[#list + 1] = pem
      break
    end
  end
  return table.concat(list)
end

-- --- making ------------------------------------------------------------------------------------------------------

---@param pem string? authorities; "": what there is in caBundle is not ours
---@return table[] configurations as they should be
function Registration:expected(pem)
  local options, ca = self.options, pem and pem ~= "" and hash.base64(pem) or nil
  return webhooks.configurations(self.description, { name = options.name, namespace = options.namespace,
    client = function(path)
      if options.url then return { url = options.url .. path, caBundle = ca } end
      return { caBundle = ca,
        service = { name = options.name, namespace = options.namespace, path = path, port = 443 } }
    end })
end

---@return table? object nil when it is not there
function Registration:get(configuration)
  local there, problem = self.client.try:get(M.KINDS[configuration.kind], configuration.metadata.name)
  if not there and problem.status ~= 404 then error(problem, 0) end
  return there
end

local function bundle_of(there)
  local first = (there.webhooks or {})[1]
  local text = first and first.clientConfig.caBundle
  local ok, pem = pcall(hash.unbase64, text or "")
  return ok and pem or ""
end

---Makes the configurations, or brings them up to date; each is applied whole.
---@param pem string? authorities; those that are there stay beside them
---@param options {dry_run: boolean?, only: (fun(configuration: table): boolean)?}?
---@return {kind: string, name: string, change: "created"|"updated"|"unchanged", object: table}[]
function Registration:register(pem, options)
  options = options or {}
  local done = {}
  for _, configuration in ipairs(self:expected(pem)) do
    local there = self:get(configuration)
    if there and pem and pem ~= "" then
      local both = hash.base64(M.together(pem, bundle_of(there)))
      for _, webhook in ipairs(configuration.webhooks) do webhook.clientConfig.caBundle = both end
    end
    if not options.only or options.only(configuration) then
      local object = self.client:apply(configuration, { force = true, manager = MANAGER, dry_run = options.dry_run })
      local same = there and there.metadata.generation == object.metadata.generation
      done[#done + 1] = { kind = configuration.kind, name = configuration.metadata.name, object = object,
        change = not there and "created" or same and "unchanged" or "updated" }
    end
  end
  return done
end

-- --- keeping right -------------------------------------------------------------------------------------------------

-- Writes caBundle where a configuration of ours has another one. One that was deleted stays deleted: that is the way
-- out of an emergency.
local function repair(self, configuration, pem)
  local there = self:get(configuration)
  if not there then return "deleted" end
  local ca, operations = hash.base64(pem), json.array {}
  for i, webhook in ipairs(there.webhooks or {}) do
    if pem ~= "" and webhook.clientConfig.caBundle ~= ca then
      local at = ("/webhooks/%d/"):format(i - 1)
      operations[#operations + 1] = { op = "test", path = at .. "name", value = webhook.name }
      operations[#operations + 1] = { op = "add", path = at .. "clientConfig/caBundle", value = ca }
    end
  end
  if #operations == 0 then return "right", there end
  self.client:patch(M.KINDS[configuration.kind], there.metadata.name, operations,
    { type = "json", manager = MANAGER })
  return "repaired", there
end

-- What somebody has changed in a configuration of ours; nil when nothing.
local function difference(configuration, there)
  for _, webhook in ipairs(configuration.webhooks) do webhook.clientConfig.caBundle = nil end
  return values.subset(configuration.webhooks, there.webhooks or {}, "webhooks")
end

---Looks at the configurations that are there: caBundle is repaired, other edits are told, not undone.
---@param pem string
---@param log fun(message: string)
---@return table<string, string> states by name: "right", "repaired", "deleted", or what differs
function Registration:look(pem, log)
  local states = {}
  for _, configuration in ipairs(self:expected()) do
    local name = configuration.metadata.name
    local ok, state, there = pcall(repair, self, configuration, pem)
    if not ok then
      if errors.is(state, "Cancelled") then error(state, 0) end
      state = errors.text(state)
    elseif there then
      local edit = difference(configuration, there)
      if state == "repaired" then log(("caBundle of %s is right again"):format(name)) end
      if edit then state = "was changed by somebody: " .. edit end
    end
    local telling = state ~= "right" and state ~= "repaired" and ("%s: %s"):format(name, state)
    if telling and self.said[name] ~= state then log(telling) end
    self.said[name], states[name] = state, state
  end
  return states
end

---@param pem string
---@return boolean whether every configuration that is there holds these authorities
function Registration:holds(pem)
  local ca = hash.base64(pem)
  for _, configuration in ipairs(self:expected()) do
    local there = self:get(configuration)
    for _, webhook in ipairs(there and there.webhooks or {}) do
      if pem ~= "" and webhook.clientConfig.caBundle ~= ca then return false end
    end
  end
  return true
end

return M
