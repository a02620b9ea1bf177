-- policy.serve.registration: the webhook configurations of a set of policies in a cluster: made, kept right, compared,
-- removed.
-- Not for what they say (policy.webhooks).
--   local r = registration.new(client, description, { name=, namespace= }); local there = r:there()
--   r:register(r:plan(pem, there), pem, there)

local certificates = require "policy.serve.certificates"
local errors = require "errors"
local hash = require "hash"
local json = require "json"
local paths = require "policy.serve.paths"
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
---@param options {name: string, namespace: string, url: string?, places: table[]?} url: where the webhooks are found
---  instead of the Service of that name; places: the configurations that may be looked at (policy.webhooks.places)
---@return policy.Registration
function M.new(client, description, options)
  return setmetatable({ client = client, description = description, options = options, said = {},
    places = options.places or webhooks.places(options.name, options.namespace) }, Registration)
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

---@return table<string, table> there the configurations of the release that are there, by name
function Registration:there()
  local there = {}
  for _, place in ipairs(self.places) do
    local object, problem = self.client.try:get(M.KINDS[place.kind], place.name)
    if not object and problem.status ~= 404 then error(problem, 0) end
    there[place.name] = object
  end
  return there
end

local function bundle_of(there)
  local first = (there.webhooks or {})[1]
  local text = first and first.clientConfig.caBundle
  local ok, pem = pcall(hash.unbase64, text or "")
  return ok and pem or ""
end

-- The path of a webhook, where it is one of ours; nil for what leads elsewhere.
local function path_of(self, webhook)
  local options, config = self.options, webhook.clientConfig or {}
  local service = config.service
  if options.url then
    local url = config.url or ""
    return url:sub(1, #options.url) == options.url and url:sub(#options.url + 1) or nil
  end
  return service and service.name == options.name and service.namespace == options.namespace and service.path or nil
end

-- The webhooks of a configuration by their policies, in their order.
local function by_policy(self, list)
  local groups = {}
  for _, webhook in ipairs(list) do
    local path = path_of(self, webhook)
    local policy = path and paths.parse(path)
    if policy and not groups[policy] then
      groups[policy] = {}
      groups[#groups + 1] = { policy = policy, webhooks = groups[policy] }
    end
    if policy then table.insert(groups[policy], webhook) end
  end
  return groups
end

-- Who cannot answer one of these webhooks.
local function lacking_any(self, list, lacking)
  local seen, names = {}, {}
  for _, webhook in ipairs(list) do
    for _, name in ipairs(lacking(path_of(self, webhook))) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names)
  return names
end

-- What a configuration is to hold: of each policy all webhooks, where every replica can answer them, else those that
-- are there, if every replica can answer these; half of them would leave out some namespaces.
local function plan_one(self, configuration, there, lacking, waits)
  local result, old = {}, by_policy(self, there and there.webhooks or {})
  for _, group in ipairs(by_policy(self, configuration.webhooks)) do
    local names = lacking_any(self, group.webhooks, lacking)
    local chosen = group.webhooks
    if #names > 0 then
      waits[#waits + 1] = ("%s waits for %s"):format(group.policy, table.concat(names, ", "))
      chosen = old[group.policy] or {}
      if #lacking_any(self, chosen, lacking) > 0 then chosen = {} end
    end
    table.move(chosen, 1, #chosen, #result + 1, result)
  end
  return result
end

-- What is there alike has the same: names and places of the webhooks.
local function key_of(configurations)
  local parts = {}
  for _, configuration in ipairs(configurations) do
    parts[#parts + 1] = configuration.metadata.name
    for _, webhook in ipairs(configuration.webhooks) do parts[#parts + 1] = webhook.name end
  end
  return table.concat(parts, " ")
end

---What the configurations are to hold now.
---@param pem string? authorities
---@param there table<string, table> of Registration:there
---@param lacking (fun(path: string): string[])? who cannot answer for a path; without it everybody can
---@return {configurations: table[], waits: string[], key: string} plan key: changes with what is to be registered
function Registration:plan(pem, there, lacking)
  local expected, waits, list = {}, {}, {}
  for _, configuration in ipairs(self:expected(pem)) do expected[configuration.metadata.name] = configuration end
  for _, place in ipairs(self.places) do
    local configuration, old = expected[place.name], there[place.name]
    if configuration and lacking then
      configuration.webhooks = plan_one(self, configuration, old, lacking, waits)
    end
    configuration = configuration or webhooks.configuration(place, {})
    local none = #configuration.webhooks == 0
    if none then configuration.webhooks = json.array {} end
    if not none or old and #(old.webhooks or {}) > 0 then list[#list + 1] = configuration end
  end
  return { configurations = list, waits = waits, key = key_of(list) }
end

-- What is there is changed as a whole: an apply would leave parts of a webhook that goes, those that another manager
-- owns (whoever repaired caBundle). What somebody else has put there, stays.
local function write(self, configuration, old, options)
  local more = { manager = MANAGER, dry_run = options.dry_run }
  if not old then
    more.force = true
    return self.client:apply(configuration, more)
  end
  local list = json.array { table.unpack(configuration.webhooks) }
  for _, webhook in ipairs(old.webhooks or {}) do
    if not webhook.name:find(webhooks.DOMAIN, 1, true) then list[#list + 1] = webhook end
  end
  more.type = "json"
  return self.client:patch(M.KINDS[configuration.kind], old.metadata.name, json.array {
    { op = "test", path = "/metadata/resourceVersion", value = old.metadata.resourceVersion },
    { op = "add", path = "/webhooks", value = list } }, more)
end

---Makes the configurations of a plan, or brings them up to date.
---@param plan table of Registration:plan
---@param pem string? authorities; those that are there stay beside them
---@param there table<string, table>
---@param options {dry_run: boolean?, only: (fun(configuration: table): boolean)?}?
---@return {kind: string, name: string, change: "created"|"updated"|"unchanged", object: table}[]
function Registration:register(plan, pem, there, options)
  options = options or {}
  local done = {}
  for _, configuration in ipairs(plan.configurations) do
    local name = configuration.metadata.name
    local old = there[name]
    if old and pem and pem ~= "" then
      local both = hash.base64(M.together(pem, bundle_of(old)))
      for _, webhook in ipairs(configuration.webhooks) do webhook.clientConfig.caBundle = both end
    end
    if not options.only or options.only(configuration) then
      local object = write(self, configuration, old, options)
      local same = old and old.metadata.generation == object.metadata.generation
      done[#done + 1] = { kind = configuration.kind, name = name, object = object,
        change = not old and "created" or same and "unchanged" or "updated" }
    end
  end
  return done
end

---@param there table<string, table>
---@param own table<string, integer> paths of this replica (policy.serve.paths)
---@return string[] paths under which the API server asks for what this replica does not have
function Registration:foreign(there, own)
  local list = {}
  for _, object in pairs(there) do
    for _, webhook in ipairs(object.webhooks or {}) do
      local path = path_of(self, webhook)
      if path and not paths.serves(own, path) then list[#list + 1] = path end
    end
  end
  table.sort(list)
  return list
end

-- --- keeping right -------------------------------------------------------------------------------------------------

-- Writes caBundle where a configuration of ours has another one. One that was deleted stays deleted: that is the way
-- out of an emergency.
local function repair(self, configuration, there, pem)
  if not there then return "deleted" end
  local ca, operations = hash.base64(pem), json.array {}
  for i, webhook in ipairs(there.webhooks or {}) do
    if pem ~= "" and webhook.clientConfig.caBundle ~= ca then
      local at = ("/webhooks/%d/"):format(i - 1)
      operations[#operations + 1] = { op = "test", path = at .. "name", value = webhook.name }
      operations[#operations + 1] = { op = "add", path = at .. "clientConfig/caBundle", value = ca }
    end
  end
  if #operations == 0 then return "right" end
  self.client:patch(M.KINDS[configuration.kind], there.metadata.name, operations,
    { type = "json", manager = MANAGER })
  return "repaired"
end

-- What somebody has changed in a configuration of ours; nil when nothing.
local function difference(configuration, there)
  for _, webhook in ipairs(configuration.webhooks) do webhook.clientConfig.caBundle = nil end
  return values.subset(configuration.webhooks, there.webhooks or {}, "webhooks")
end

---Looks at the configurations that are there: caBundle is repaired, other edits are told, not undone.
---@param pem string
---@param there table<string, table>
---@param configurations table[] as they should be
---@param log fun(message: string)
---@return table<string, string> states by name: "right", "repaired", "deleted", or what differs
function Registration:look(pem, there, configurations, log)
  local states = {}
  for _, configuration in ipairs(configurations) do
    local name = configuration.metadata.name
    local ok, state = pcall(repair, self, configuration, there[name], pem)
    if not ok then
      if errors.is(state, "Cancelled") then error(state, 0) end
      state = errors.text(state)
    elseif there[name] then
      local edit = difference(configuration, there[name])
      if state == "repaired" then log(("caBundle of %s is right again"):format(name)) end
      if edit then state = "was changed by somebody: " .. edit end
    end
    local telling = state ~= "right" and state ~= "repaired" and ("%s: %s"):format(name,
      state == "deleted" and "is not registered; `kfhost policy register` does it" or state)
    if telling and self.said[name] ~= state then log(telling) end
    self.said[name], states[name] = state, state
  end
  return states
end

return M
