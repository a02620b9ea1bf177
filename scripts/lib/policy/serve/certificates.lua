-- policy.serve.certificates: the serving certificate, made and made anew at two thirds of its life.
-- Not for files that a site brings: those are published as they are.
--   local bundle = certificates.make({ "host.ns.svc" }); certificates.is_due(bundle, os.time())

local x509 = require "x509"

local M = {}

local DAYS = 90
local AUTHORITY_DAYS = 180 -- longer than what it signs

---@class policy.Bundle
---@field certificate string PEM
---@field key string PEM
---@field authorities string PEM: for `caBundle`; the new one first, then the one before; "": whom the API server
---  trusts anyway, or what others write there
---@field made boolean whether it was made here, and so is to be made anew

---@param text string PEM
---@return string[] certificates each with its newline
function M.split(text)
  local list = {}
  for pem in text:gmatch "%-%-%-%-%-BEGIN CERTIFICATE.-END CERTIFICATE%-%-%-%-%-" do list[#list + 1] = pem .. "\n" end
  return list
end

---The bundle of a site's own files: who is to trust them trusts what authorities the chain brings along.
---@param chain string PEM
---@param key string PEM
---@return policy.Bundle bundle raises "Certificate" when they do not belong together
function M.of_files(chain, key)
  if not x509.matches(chain, key) then
    require "errors".raise { code = "Certificate", message = "the key is not that of the certificate" }
  end
  local authorities = {}
  for _, pem in ipairs(M.split(chain)) do
    local one = x509.parse(pem)
    if one.authority or one.issuer == one.subject then authorities[#authorities + 1] = pem end
  end
  return { certificate = chain, key = key, authorities = table.concat(authorities), made = false }
end

---@param names string[] host names and addresses
---@param before policy.Bundle? whose authority stays in the bundle beside the new one
---@param days number? of validity; default 90
---@return policy.Bundle
function M.make(names, before, days)
  local authority = x509.authority { name = "kfhost policy", days = math.max(AUTHORITY_DAYS, 2 * (days or 0)) }
  local pair = x509.issue(authority, { names = names, name = names[1], days = days or DAYS })
  local authorities = authority.certificate
  if before and before.authorities then
    local last = before.authorities:match "^.-%-%-%-%-%-END CERTIFICATE%-%-%-%-%-\n?"
    authorities = authorities .. last
  end
  return { certificate = pair.certificate, key = pair.key, authorities = authorities, made = true }
end

---Whether two thirds of its life are over.
---@param bundle policy.Bundle
---@param now integer seconds since 1970
---@return boolean
function M.is_due(bundle, now)
  if not bundle.made then return false end
  local certificate = x509.parse(bundle.certificate)
  return now >= certificate.not_before + (certificate.not_after - certificate.not_before) * 2 // 3
end

return M
