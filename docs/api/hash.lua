---@meta hash
-- Digests, base64, compression and identifiers. hash.try.NAME returns nil and the error instead of raising.

local hash = {}

---@param text string
---@return string # 64 hexadecimal digits
function hash.sha256(text) end

---For names, not for safety.
---@param text string
---@return string # 40 hexadecimal digits
function hash.sha1(text) end

---The checksum of iSCSI and of TensorFlow's files (Castagnoli's polynomial).
---@param bytes string
---@return integer # 32 bits
function hash.crc32c(bytes) end

---@param bytes string
---@return string # padded, on one line
function hash.base64(bytes) end

---@param text string padded; blanks and line ends are passed over
---@return string # the bytes; raises "Base64" with the offset
function hash.unbase64(text) end

---Compressed as zlib does it (RFC 1950), quickly rather than as small as can be.
---@param bytes string
---@return string
function hash.deflate(bytes) end

---The UUID that a name has in a namespace: the same each time.
---@param namespace string a UUID
---@param name string
---@return string
function hash.uuid5(namespace, name) end

---@param bytes integer 1 to 256
---@return string # twice as many hexadecimal digits, from the kernel's generator
function hash.random_hex(bytes) end

return hash
