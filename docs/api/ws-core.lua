---@meta ws.core
-- What scripts/lib/ws.lua is built from; use `require "ws"`.

local core = {}

---@class ws.core.Decoder
local Decoder = {}
---@param bytes string
function Decoder:feed(bytes) end
---@return "text"|"binary"|"close"|"ping"|"pong"|nil kind nil when more bytes are needed; raises "Protocol" with close_code
---@return string? data of a close frame: the reason
---@return integer? code of a close frame
function Decoder:next() end

---@param masked boolean the other side is a client
---@param limit integer bytes of a message
---@return ws.core.Decoder
function core.decoder(masked, limit) end

---@param kind "text"|"binary"|"close"|"ping"|"pong"
---@param data string
---@param masked boolean we are a client
---@return string bytes
function core.frame(kind, data, masked) end

---@param code integer
---@param reason string?
---@return string
function core.close_payload(code, reason) end

---@return string
function core.nonce() end

---@param key string
---@return string
function core.accept_key(key) end

return core
