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
---@class kube.Splitter cuts a text that comes in pieces into objects
local Splitter = {}
---@param text string the next piece; what was fed before must have been read by next()
function Splitter:feed(text) end
---@return string? text of the next complete object; nil: feed more; raises "Protocol"
function Splitter:next() end
---Goes to the next object and stops at it: text() gives it, store:take() reads it, until the splitter goes on.
---@return string|true|nil # type of the event, or true at an element of the list; nil: feed more; raises "Protocol"
function Splitter:step() end
---@return string # text of the object at which step() stopped
function Splitter:text() end
---@return string text without the elements of the list; raises "Protocol" when it was cut off
function Splitter:rest() end
---@return boolean # whether an object has begun whose end has not come
function Splitter:pending() end

---@param member string? the array whose elements are the objects ("items"); none: a stream of objects
---@return kube.Splitter
function core.splitter(member) end

---@param text string of an object
---@return string key "namespace/name", or the name alone
---@return string? uid
---@return string? resource_version; raises "Protocol"
function core.facts(text) end

---@class kube.Store objects as packed bytes, by key
local Store = {}
---@param text string of an object, which takes the place of the one of its key
---@return string key; raises "Protocol"
function Store:put(text) end
---Takes in the object at which a splitter is. In a list that was begun with objects in the store, one that is
---known with uid and version is "same", and nothing else is said of it.
---@param splitter kube.Splitter
---@param wants_before boolean?
---@return "new"|"changed"|"replaced"|"same" # replaced: by another object of the same name
---@return string? key
---@return string? resource_version
---@return string? before its text until now, if wanted; raises "Protocol"
function Store:take(splitter, wants_before) end
---@param key string
---@return string?
function Store:text(key) end
---@param key string
---@return string? uid
---@return string? resource_version
function Store:known(key) end
---@param key string
---@return boolean # whether it was there
function Store:remove(key) end
---From now on, what is neither put nor taken in becomes stale.
function Store:begin() end
---@return string[] keys
function Store:stale() end
---@param index string "namespace", "owner" (term: a uid), "label:NAME", or one that terms() has set
---@param term string
---@return string[] keys
function Store:find(index, term) end
---@param key string
---@param index string
---@param terms string[]
function Store:terms(key, index, terms) end
---@return string[]
function Store:keys() end
---@return integer objects
---@return integer bytes that they take
---@return integer dictionary bytes of what they share
function Store:size() end
function Store:close() end

---@param options {keep_managed_fields: boolean?}?
---@return kube.Store
function core.store(options) end

---@class kube.Quantity: userdata
---@operator add(kube.Quantity|string|number): kube.Quantity
---@operator sub(kube.Quantity|string|number): kube.Quantity
---@operator unm: kube.Quantity
local Quantity = {}
---@param other kube.Quantity|string|number
---@return kube.Quantity # in the format of the first one that is not zero
function Quantity:add(other) end
---@param other kube.Quantity|string|number
---@return kube.Quantity
function Quantity:sub(other) end
---@param other kube.Quantity|string|number
---@return -1|0|1 # by value: 1Gi is 1024Mi; <, <= and == compare the same way
function Quantity:cmp(other) end
---@return integer # rounded away from zero; raises "Quantity" when it does not fit
function Quantity:value() end
---@return integer # a thousand times the quantity, rounded away from zero
function Quantity:milli() end
---@return integer? # nil when the quantity is no integer, or does not fit
function Quantity:integer() end
---@return -1|0|1
function Quantity:sign() end
---@return "DecimalSI"|"BinarySI"|"DecimalExponent"
function Quantity:format() end
---@return string # as Kubernetes prints it; tostring gives the same
function Quantity:text() end

---A quantity of Kubernetes, exact.
---@param text string|number|kube.Quantity
---@return kube.Quantity # raises "Quantity" with Kubernetes' words
function core.quantity(text) end

---@class kube.Selector: userdata
local Selector = {}
---@param labels table<string, string>?
---@return boolean
function Selector:matches(labels) end
---@return {key: string, operator: string, values: string[]}[] # sorted by key; operators in notin = == != > < exists !
function Selector:requirements() end
---@return string # the canonical text; tostring gives the same
function Selector:text() end

---A label selector in kubectl's syntax (kube.selector also takes a LabelSelector).
---@param text string
---@return kube.Selector # raises "Selector" with the API server's words
function core.selector(text) end

---JSONPath in kubectl's dialect; a template without braces is the inside of one (.a.b is {.a.b}).
---@param template string
---@param object any
---@param options {strict: boolean?}? # strict: a missing field is an error
---@return string # what kubectl prints
---@return any[] # all values found
---@nodiscard
function core.jsonpath(template, object, options) end

return core
