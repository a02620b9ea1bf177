---@meta http.core
-- What scripts/lib/http.lua is built from; use `require "http"`.

local core = {}

---@class http.core.Session
local Session = {}
---@param options http.Options
---@return http.Response
function Session:request(options) end
---@param options http.Options upload: the body comes by write and finish
---@return http.core.Transfer
function Session:start(options) end
---@param options http.Options
---@return http.core.Transfer # a bare connection
function Session:connect(options) end
function Session:close() end

---@class http.core.Transfer
local Transfer = {}
---@param timeout number|string|nil
---@return { status: integer, headers: table<string, string>, version: string }
function Transfer:head(timeout) end
---@param timeout number|string|nil
---@return string?
function Transfer:read(timeout) end
---@param text string
function Transfer:write(text) end
function Transfer:finish() end
---@param text string
function Transfer:send(text) end
---@param timeout number|string|nil
---@return string?
function Transfer:receive(timeout) end
function Transfer:close() end

---@return http.core.Session
function core.session() end

return core
