---@meta grpc.proto
-- Messages of Protocol Buffers (proto3) as Lua tables, by a table that names their fields.

local proto = {}

---@class grpc.Message
local Message = {}
---@param value table
---@return string bytes raises a text when a value is not of its field's type
function Message:encode(value) end
---@param bytes string
---@return table value fields that are not there are nil; raises "Proto"
function Message:decode(bytes) end

---Describes a message: name -> {number, type, repeated=, optional=} or {number, map = {key, value}}; a type is a name of
---proto3 ("string", "int64", "enum", …) or another message; optional: zero values are written too.
---@param fields table<string, table>
---@return grpc.Message
function proto.message(fields) end

return proto
