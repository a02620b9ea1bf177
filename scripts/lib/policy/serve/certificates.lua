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
---@field authorities string? PEM: for `caBundle`; the new one first, then the one before
---@field made boolean whether it was made here, and so is to be made anew

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
