-- doctor.webhooks: do the certificates of webhooks hold, and does the API server trust them.
-- A room of checks; see doctor.

local hash = require "hash"
local time = require "kube.time"
local world = require "doctor.world"
local x509 = require "x509"

local M = {}

local get, list = world.get, world.list

local function decoded(text)
  return type(text) == "string" and hash.try.unbase64(text) or nil
end

-- The names that the API server asks a webhook's certificate for.
local function host_of(service)
  return ("%s.%s.svc"):format(service.name, service.namespace)
end

local function is_better(one, other)
  if not other then return true end
  if one.trusted ~= other.trusted then return one.trusted end
  return one.certificate.not_after > other.certificate.not_after
end

-- The certificate that a service's pods serve: in a Secret of its namespace, issued to the service's name. Of several
-- the one that is trusted, or the youngest: old ones may lie about.
local function served(w, service, bundle)
  local found
  for _, secret in ipairs(w:of "Secret") do
    local pem = secret.metadata.namespace == service.namespace and decoded(get(secret, "data", "tls.crt"))
    local certificate = pem and x509.try.parse(pem)
    for _, name in ipairs(certificate and certificate.names or {}) do
      if name == host_of(service) then
        local one = { certificate = certificate, secret = secret }
        if bundle then one.trusted, one.reason = x509.verify(pem, bundle, { name = name, at = w.now }) end
        if is_better(one, found) then found = one end
      end
    end
  end
  return found
end

local function date(seconds)
  return os.date("!%Y-%m-%d %H:%M UTC", seconds)
end

-- --- what is said of a configuration -----------------------------------------------------------------------

local WHY_CA <const> = "x509: certificate signed by unknown authority: every call of this webhook fails"
local FIX_CA <const> = "write the authority of the serving certificate into clientConfig.caBundle (`kfhost policy serve"
  .. " --register true` does so for ours, cert-manager's cainjector for others)"

local function why_expired(webhook)
  return webhook.failurePolicy == "Ignore" and "the API server goes on without this webhook, silently"
    or "the API server refuses what this webhook is asked about"
end

-- Notes something about a webhook; what several of a configuration have in common is said once.
local function note(notes, code, webhook, what, why, fix)
  for _, other in ipairs(notes) do
    if other.code == code and other.what == what then
      other.names[#other.names + 1] = webhook.name
      return
    end
  end
  notes[#notes + 1] = { code = code, names = { webhook.name }, what = what, why = why, fix = fix }
end

local function note_wrong(notes, webhook, what)
  note(notes, "wrong-ca", webhook, what, WHY_CA, FIX_CA)
end

-- --- one webhook -------------------------------------------------------------------------------------------

local function restart_hint(have, service)
  return ("let its operator make a new certificate: `kubectl delete secret -n %s %s`, then restart the pods of %s")
    :format(have.secret.metadata.namespace, have.secret.metadata.name, host_of(service))
end

local function check_expiry(w, notes, webhook, have)
  local certificate = have.certificate
  if certificate.not_after >= w.now then return false end
  note(notes, "certificate-expired", webhook, ("its certificate (Secret %s/%s) ended on %s"):format(
    have.secret.metadata.namespace, have.secret.metadata.name, date(certificate.not_after)), why_expired(webhook),
    restart_hint(have, webhook.clientConfig.service))
  return true
end

local function check_trust(notes, webhook, have)
  if not have.trusted then
    note_wrong(notes, webhook, ("caBundle does not vouch for the certificate in Secret %s/%s (%s)"):format(
      have.secret.metadata.namespace, have.secret.metadata.name, have.reason))
  end
end

-- What a server shows that can be reached from here.
local function check_server(w, notes, webhook, bundle)
  local url = get(webhook, "clientConfig", "url")
  local problem = url and w.probe(url, bundle)
  if not problem then return end
  local what = ("%s: %s"):format(url, problem)
  if problem:find "expired" then
    note(notes, "certificate-expired", webhook, what, why_expired(webhook), "let what serves it make a new certificate")
  else
    note_wrong(notes, webhook, what)
  end
end

local function are_over(w, authorities)
  for _, authority in ipairs(authorities) do
    if authority.not_after >= w.now then return false end
  end
  return true
end

local function check_webhook(w, notes, webhook)
  local service = get(webhook, "clientConfig", "service")
  local bundle_text = get(webhook, "clientConfig", "caBundle")
  local bundle = decoded(bundle_text)
  local authorities = bundle and bundle ~= "" and x509.try.parse_all(bundle)
  if bundle_text and bundle_text ~= "" and not authorities then
    return note_wrong(notes, webhook, "caBundle holds no certificate")
  end
  local have = service and served(w, service, authorities and bundle or nil)
  if have and check_expiry(w, notes, webhook, have) or not authorities then return end
  if are_over(w, authorities) then
    return note(notes, "certificate-expired", webhook, ("the authority in caBundle ended on %s"):format(
      date(authorities[1].not_after)), "no certificate of it is trusted any more",
      "renew the authority, and write it into caBundle")
  end
  if have then return check_trust(notes, webhook, have) end
  check_server(w, notes, webhook, bundle)
end

-- --- all configurations ------------------------------------------------------------------------------------

local function configurations(w)
  local all = {}
  for _, kind in ipairs { "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration" } do
    table.move(w:of(kind), 1, #w:of(kind), #all + 1, all)
  end
  return all
end

local function each_webhook(w, look)
  for _, configuration in ipairs(configurations(w)) do
    local notes = {}
    for _, webhook in ipairs(list(configuration.webhooks)) do look(notes, webhook, configuration) end
    for _, one in ipairs(notes) do
      w:add(one.code, "error", configuration, {
        what = ("webhook %s: %s"):format(table.concat(one.names, ", "), one.what), why = one.why, fix = one.fix,
      })
    end
  end
end

-- The certificates of webhooks.
local function certificates(w)
  each_webhook(w, function(notes, webhook) check_webhook(w, notes, webhook) end)
end

-- A webhook that fails closed has a service.
local function services(w)
  if not w:knows "Service" or #w:of "Service" == 0 then return end
  each_webhook(w, function(notes, webhook, configuration)
    local service = get(webhook, "clientConfig", "service")
    if service and webhook.failurePolicy ~= "Ignore" and not w:find("Service", service.namespace, service.name) then
      note(notes, "webhook-service", webhook, ("it calls the service %s/%s, which is not there"):format(
        service.namespace, service.name), "the API server refuses what this webhook is asked about",
        ("install it again, or `kubectl delete %s %s`"):format(configuration.kind:lower(), configuration.metadata.name))
    end
  end)
end

-- --- calls that fail ---------------------------------------------------------------------------------------

local RECENT <const> = 1800 -- seconds; controllers try again sooner

-- What the API server told controllers of a webhook lately, by the webhook's name.
local function failures(w)
  local found = {}
  for _, event in ipairs(w:of "Event") do
    local name, why = (event.message or ""):match 'failed calling webhook "([^"]+)": (.+)'
    local at = time.parse(world.moment_of(event))
    local about = event.involvedObject or {}
    local object = w:find(about.kind or "", about.namespace, about.name or "")
    local lives = object and not world.is_over(object) or not object and about.kind ~= "Job" and about.kind ~= "Pod"
    if name and lives and at and w.now - at < RECENT then
      found[name] = { why = why, about = about }
    end
  end
  return found
end

local function has_finding(w, configuration)
  for _, finding in ipairs(w.findings) do
    if finding.where == world.title(configuration) then return true end
  end
  return false
end

-- Calls of webhooks that failed lately, as those were told who made pods.
local function failing(w)
  local failed = failures(w)
  for _, configuration in ipairs(next(failed) and configurations(w) or {}) do
    for _, webhook in ipairs(has_finding(w, configuration) and {} or list(configuration.webhooks)) do
      local failure = failed[webhook.name]
      if failure then
        local code = failure.why:find "unknown authority" and "wrong-ca"
          or failure.why:find "has expired" and "certificate-expired" or "webhook-failing"
        w:add(code, "error", configuration, {
          what = ("webhook %s: for %s %s/%s: %s"):format(webhook.name, failure.about.kind,
            failure.about.namespace or "", failure.about.name, failure.why),
          why = "the API server refuses what this webhook is asked about",
          fix = code == "wrong-ca" and FIX_CA or "look at what serves it: its pods, its endpoints, its certificate",
        })
      end
    end
  end
end

---Whether webhooks can be called. What is known of one already is not said again because its calls fail.
---@param w doctor.World
function M.webhooks(w)
  certificates(w)
  services(w)
  failing(w)
end

return M
