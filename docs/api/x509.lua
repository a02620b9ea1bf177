---@meta x509
-- A private certificate authority, leaf certificates, and what a certificate says. P-256 keys.

local x509 = {}

---@class x509.Pair
---@field certificate string PEM
---@field key string PEM (PKCS 8)

---@class x509.Certificate
---@field subject string the common name
---@field organizations string[] of the subject
---@field issuer string the issuer's common name
---@field not_before integer seconds since 1970
---@field not_after integer seconds since 1970
---@field names string[] host names, addresses and URIs it is valid for
---@field serial string hexadecimal
---@field fingerprint string SHA-256 of the certificate, hexadecimal
---@field authority boolean whether it may sign others
---@field server boolean whether it may be a server's
---@field client boolean whether it may be a client's

---@class x509.Options
---@field name string? the common name
---@field organizations string[]? Kubernetes takes a client's for groups
---@field days number? from now on (and from five minutes ago: clocks differ)
---@field not_before integer? seconds since 1970, instead
---@field not_after integer?

---@class x509.LeafOptions: x509.Options
---@field names string[]? host names, addresses and URIs; needed for a server
---@field usage "server"|"client"|"both"|nil default "server"

---Makes a self-signed certificate authority (path length 0).
---@param options x509.Options name is needed; days: 365 by default
---@return x509.Pair
function x509.authority(options) end

---Makes a leaf certificate.
---@param authority x509.Pair
---@param options x509.LeafOptions days: 90 by default
---@return x509.Pair # raises "Certificate" when the authority cannot be read
function x509.issue(authority, options) end

---Reads the first certificate of a PEM text.
---@param pem string
---@return x509.Certificate # raises "Certificate"
function x509.parse(pem) end

---Reads all certificates of a PEM text.
---@param pem string
---@return x509.Certificate[] # raises "Certificate" when there is none
function x509.parse_all(pem) end

---Whether a certificate is signed by one of the authorities, or is one of them, valid, and good for what is asked.
---@param certificate string PEM; more certificates after it are its chain
---@param authorities string PEM, one or more, roots or not
---@param options { name: string?, usage: "server"|"client"|nil, at: integer? }? at: seconds since 1970, default now
---@return boolean good
---@return string? reason
function x509.verify(certificate, authorities, options) end

---Whether a private key is the certificate's.
---@param certificate string PEM
---@param key string PEM
---@return boolean # raises "Certificate" when one cannot be read
function x509.matches(certificate, key) end

return x509
