---@meta x509
-- A private certificate authority, leaf certificates, and what a certificate says. P-256 keys.

local x509 = {}

---@class x509.Pair
---@field certificate string PEM
---@field key string PEM (PKCS 8)

---@class x509.Certificate
---@field subject string the common name
---@field issuer string the issuer's common name
---@field not_before integer seconds since 1970
---@field not_after integer seconds since 1970
---@field names string[] host names and addresses it is valid for
---@field authority boolean whether it may sign others

---Makes a self-signed certificate authority (path length 0).
---@param options {name: string, days: number?} days: 365 by default
---@return x509.Pair
function x509.authority(options) end

---Makes a leaf certificate; valid from five minutes ago (clocks differ).
---@param authority x509.Pair
---@param options {names: string[]?, name: string?, days: number?, usage: "server"|"client"|nil}
---  names: host names and addresses, needed for a server; name: the common name; days: 90 by default
---@return x509.Pair # raises "Certificate" when the authority cannot be read
function x509.issue(authority, options) end

---Reads the first certificate of a PEM text.
---@param pem string
---@return x509.Certificate # raises "Certificate"
function x509.parse(pem) end

return x509
