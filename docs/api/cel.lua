---@meta cel
-- CEL, the expression language of Kubernetes (match conditions, CRD rules) and of KFP's conditions: the language
-- with its macros and optional values, and the libraries of Kubernetes 1.37 (strings, lists, sets, regular
-- expressions, quantities, URLs, IP addresses and networks, times). Not there: messages of protocol buffers, authorizer,
-- format, semver, time zones by name. Types are checked while an expression runs, and before with `result`. Errors have code "CEL" and offset.

local cel = {}

---@class cel.Program
local Program = {}
---@param variables table<string, any>? # values by name
---@return any # texts for times, durations, addresses, types; null for an optional without value
---@return string # the type's name: "int", "string", "list", "google.protobuf.Timestamp" …
function Program:eval(variables) end
---@return string # the expression
function Program:text() end

---@class cel.Options
---@field variables string[]? # the names that may be used; without it any name may
---@field functions string[]? # functions that must be asked for: "parseJson"
---@field result string? # "bool", "string" …, or "any": types are checked before it runs; 1 == 1.0 is an error then
---@field cost integer? # the limit, about one for a step (1000000)

---Compiles an expression. Unknown functions are errors here, and names that are not among the variables.
---@param text string
---@param options cel.Options?
---@return cel.Program # raises "CEL"
function cel.compile(text, options) end

return cel
