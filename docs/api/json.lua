---@meta json
-- JSON without loss: numbers that fit int64 are integers, arrays and objects keep their kind.
-- Errors have code "JSON" and offset (bytes before it), line, column, path ($.items[0].name);
-- json.try.NAME returns nil and the error instead.

local json = {}

---@type lightuserdata null; the same value as lua-cjson's
json.null = nil

---Strict RFC 8259: UTF-8, at most 500 levels, no byte order mark, no duplicate names.
---@param text string
---@param options {duplicates: "error"|"last"|nil, skip: table<string, boolean>?}? skip: names of
---  members to leave out wherever they are
---@return any # raises "JSON"
function json.decode(text, options) end

---@param value any tables marked or with element 1 are arrays, other tables objects
---@param options {sort: boolean?, indent: integer?}? sort: names in the order of their bytes
---@return string # raises "JSON" for holes, cycles, NaN, infinity, malformed UTF-8, functions …
function json.encode(value, options) end

---Marks a table as an array, so that it is written as [] even when it is empty.
---@generic T
---@param list T[]?
---@return T[]
function json.array(list) end

---Marks a table as an object.
---@generic T: table
---@param members T?
---@return T
function json.object(members) end

---@param value any
---@return boolean # whether it would be written as an array
function json.is_array(value) end

---A deep copy; arrays and objects stay what they are.
---@generic T
---@param value T
---@return T
function json.copy(value) end

return json
