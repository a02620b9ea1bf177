-- doctor.webhooks: do the certificates of webhooks hold, and does the API server trust them.
-- A room of checks; see doctor.

local hash = require "hash"
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

-- The certificate that a service's pods serve: in a Secret of its namespace, issued to the service's name.
local function served(w, service)
  local found
  for _, secret in ipairs(w:of "Secret") do
    local pem = secret.metadata.namespace == service.namespace and decoded(get(secret, "data", "tls.crt"))
    local certificate = pem and x509.try.parse(pem)
    for _, name in ipairs(certificate and certificate.names or {}) do
      if name == host_of(service) then found = { pem = pem, certificate = certificate, secret = secret } end
    end
  end
  return found
end

local function date(seconds)
  return os.date("!%Y-%m-%d", seconds)
end

local function restart_hint(service)
  return ("let its operator make a new certificate: kubectl delete secret of %s, then restart its pods")
    :format(host_of(service))
end

local function check_expiry(w, configuration, webhook, have)
  local certificate = have.certificate
  if certificate.not_after >= w.now then return false end
  w:add("certificate-expired", "error", configuration, {
    what = ("webhook %s: its certificate (Secret %s/%s) ended on %s"):format(webhook.name,
      have.secret.metadata.namespace, have.secret.metadata.name, date(certificate.not_after)),
    why = webhook.failurePolicy == "Ignore" and "the API server goes on without this webhook, silently"
      or "the API server refuses what this webhook is asked about",
    fix = restart_hint(webhook.clientConfig.service),
  })
  return true
end

local function add_wrong(w, configuration, webhook, what)
  w:add("wrong-ca", "error", configuration, {
    what = ("webhook %s: %s"):format(webhook.name, what),
    why = "x509: certificate signed by unknown authority: every call of this webhook fails",
    fix = "write the authority of the serving certificate into clientConfig.caBundle (kfhost policy serve --register"
      .. " does so for ours; cert-manager's cainjector for others)",
  })
end

local function check_trust(w, configuration, webhook, bundle, have)
  local good, reason = x509.verify(have.pem, bundle, { name = host_of(webhook.clientConfig.service), at = w.now })
  if not good then
    add_wrong(w, configuration, webhook, ("caBundle does not vouch for the certificate in Secret %s/%s (%s)"):format(
      have.secret.metadata.namespace, have.secret.metadata.name, reason))
  end
end

local function check_webhook(w, configuration, webhook)
  local service = get(webhook, "clientConfig", "service")
  local bundle_text = get(webhook, "clientConfig", "caBundle")
  local bundle = decoded(bundle_text)
  local authorities = bundle and bundle ~= "" and x509.try.parse_all(bundle)
  if bundle_text and bundle_text ~= "" and not authorities then
    return add_wrong(w, configuration, webhook, "caBundle holds no certificate")
  end
  local have = service and served(w, service)
  if have and check_expiry(w, configuration, webhook, have) then return end
  if have and authorities then return check_trust(w, configuration, webhook, bundle, have) end
  for _, authority in ipairs(authorities or {}) do
    if authority.not_after >= w.now then return end
  end
  if authorities then
    w:add("certificate-expired", "error", configuration, {
      what = ("webhook %s: the authority in caBundle ended on %s"):format(webhook.name, date(authorities[1].not_after)),
      why = "no certificate of it is trusted any more", fix = "renew the authority, and write it into caBundle",
    })
  end
end

---The certificates of webhooks.
function M.certificates(w)
  for _, kind in ipairs { "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration" } do
    for _, configuration in ipairs(w:of(kind)) do
      for _, webhook in ipairs(list(configuration.webhooks)) do check_webhook(w, configuration, webhook) end
    end
  end
end

---A webhook that fails closed has a service.
function M.services(w)
  if #w:of "Service" == 0 then return end
  for _, kind in ipairs { "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration" } do
    for _, configuration in ipairs(w:of(kind)) do
      for _, webhook in ipairs(list(configuration.webhooks)) do
        local service = get(webhook, "clientConfig", "service")
        if service and webhook.failurePolicy ~= "Ignore" and not w:find("Service", service.namespace, service.name) then
          w:add("webhook-service", "error", configuration, {
            what = ("webhook %s calls the service %s/%s, which is not there"):format(webhook.name, service.namespace,
              service.name),
            why = "the API server refuses what this webhook is asked about",
            fix = ("install it again, or kubectl delete %s %s"):format(kind:lower(), configuration.metadata.name),
          })
        end
      end
    end
  end
end

return M
