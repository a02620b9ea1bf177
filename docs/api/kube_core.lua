---@meta kube.core
-- The exact functions of Kubernetes in C; use `require "kube"`, which offers them under the same names.
-- NAME.try.f(…) returns nil and the error instead of raising it.

local core = {}

---@class kube.Patch
core.patch = {}

---Applies a JSON patch (RFC 6902) as the API server does: negative indices count from the end, replace may
---make a member, an operation without a value means null. The document stays as it is.
---@param doc any
---@param ops table[] # {op, path, value, from}
---@return any # a new value; raises "Patch" with index (the operation, from 1) and path
function core.patch.json(doc, ops) end

---Applies a merge patch (RFC 7386): json.null removes.
---@param doc any
---@param patch any
---@return any # a new value
function core.patch.merge(doc, patch) end

---Applies a strategic merge patch with the schema of a built-in kind; the directives are $patch (replace, merge,
---delete), $retainKeys, $setElementOrder/LIST and $deleteFromPrimitiveList/LIST.
---@param doc table
---@param patch table
---@param kind string # "apps/v1/Deployment", "v1/Pod"
---@return table # a new value; raises "Patch" with path, also for a kind that is not built in
function core.patch.strategic(doc, patch, kind) end

---The JSON patch that makes b of a; empty when they are equal. What is equal is not touched.
---@param a any
---@param b any
---@return table[]
function core.patch.diff(a, b) end

---@class kube.Schema
core.schema = {}

---The built-in kinds, as "apps/v1/Deployment".
---@return string[]
function core.schema.kinds() end

---The type of a built-in kind.
---@param kind string
---@return string? # its name ("apps.v1.Deployment"); nil when the kind is not built in
---@return "namespace"|"cluster"|nil
function core.schema.kind(kind) end

---What is known of a type; kube.schema keeps what it gives.
---@param name string
---@return kube.schema.Type?
function core.schema.type(name) end

return core
