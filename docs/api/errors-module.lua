---@meta errors

---Errors as values: {code, message, cause, path, line, column, offset, …}, which print well.
---@class errors
local errors = {}

---@class errors.Error
---@field code kfhost.code
---@field message string
---@field cause any?
---@field path string?
---@field line integer?
---@field column integer?
---@field offset integer?
---@field traceback string?

---Makes an error table of the fields (the same table, with the metatable that prints it).
---@param fields { code: string, message: string, [string]: any }
---@return errors.Error
function errors.new(fields) end

---Raises errors.new(fields).
---@param fields { code: string, message: string, [string]: any }
function errors.raise(fields) end

---@param value any
---@param code string?
---@return boolean whether the value is an error table, of that code when one is given
function errors.is(value, code) end

---@param value any what was raised
---@return string text that says it for people: message, place and causes
function errors.text(value) end

---@generic T
---@param object T
---@return T proxy whose functions and methods return nil and the error instead of raising; misuse still raises
function errors.try(object) end

return errors
