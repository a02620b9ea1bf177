---@meta kube
-- Kubernetes: the client of a cluster, and exact functions that need none. Errors are error tables; kube.try.NAME and
-- c.try:NAME return nil and the error instead. Times are seconds, or texts such as "500ms".

local kube = {}

---@class kube.ConnectOptions
---@field kubeconfig string? path; else KUBECONFIG, ~/.kube/config, the pod's own files
---@field context string?
---@field namespace string?
---@field as string? user to act as
---@field as_groups string[]?
---@field manager string? field manager of writes; the server takes "kfhost" without it
---@field timeout number|string|nil for each request
---@field readonly boolean? every write raises "Refused"
---@field dry_run boolean? every write is tried by the server only
---@field approve boolean|(fun(question: string): boolean)|nil each write is asked about, with what it changes
---@field writes_per_minute integer? more raise "Refused"; leases and own events are exempt
---@field exec_plugins "allow"|"deny"|string[]|nil which credential plugins may run
---@field log (fun(record: table))? where the lines of writes and warnings go; default: standard error

---@class kube.Options
---@field namespace string? "*": all
---@field labels string|table|nil
---@field fields string|table|nil
---@field limit integer?
---@field continue string?
---@field resource_version string?
---@field resource_version_match string?
---@field metadata_only boolean?
---@field subresource string?
---@field dry_run boolean?
---@field validation "Strict"|"Warn"|"Ignore"|nil
---@field manager string?
---@field timeout number|string|nil

---@class kube.Client
---@field try kube.Client methods that return nil and the error instead of raising
---@field namespace string
---@field server string
---@field context string?
local Client = {}
---@param kind string "po", "pods", "Pod", "deployments.apps", "deployments.v1.apps"
---@param name string
---@param options kube.Options?
---@return table object
function Client:get(kind, name, options) end
---@param kind string
---@param options kube.Options? limit: one page
---@return table[] objects they know their kind without carrying it
---@return table meta resourceVersion, continue, remainingItemCount
function Client:list(kind, options) end
---@param kind string
---@param options kube.Options? limit: objects a page (500)
---@return fun(): table? # for a loop
function Client:each(kind, options) end
---@param kind string
---@param options table? name, objects ("Metadata", "Object"), and kube.Options
---@return {columns: table[], rows: table[]} # rows[i][j] is a cell
function Client:table(kind, options) end
---@param object table
---@param options kube.Options?
---@return table object
---@return string[] warnings
function Client:create(object, options) end
---@param object table
---@param options kube.Options?
---@return table object
---@return string[] warnings
function Client:update(object, options) end
---Server-side apply.
---@param object table
---@param options table? force, and kube.Options
---@return table object # raises "Conflict" with `conflicts`, a list of {field, manager}
function Client:apply(object, options) end
---@param kind string
---@param name string
---@param body table|string
---@param options table? type: "json", "merge" (default), "strategic"; and kube.Options
---@return table object
function Client:patch(kind, name, body, options) end
---@param kind string
---@param name string
---@param options table? propagation, grace, uid, resource_version, wait (seconds, or true); and kube.Options
---@return table # the object, or a Status
function Client:delete(kind, name, options) end
---@param kind string
---@param options table? labels, fields, or all = true; propagation, grace, dry_run
---@return table
function Client:delete_collection(kind, options) end
---Evicts a pod, as disruption budgets allow.
---@param name string
---@param options kube.Options?
---@return table
function Client:evict(name, options) end
---Changes an object; a conflict reads it again and repeats.
---@param kind string
---@param name string
---@param fn fun(object: table): table|false|nil false: leave it
---@param options table? tries, and kube.Options
---@return table object
function Client:edit(kind, name, fn, options) end
---@param verb string
---@param kind string
---@param options kube.Options?
---@return boolean allowed
---@return string? reason
function Client:can_i(verb, kind, options) end
---@return {username: string, groups: string[]}
function Client:whoami() end
---@param kind string
---@return kube.Resource
function Client:resource(kind) end
---A request as it is; an answer of 400 or more is no error.
---@param method string
---@param path string
---@param options {query: table?, headers: table?, body: string|table|nil, timeout: number|string|nil}?
---@return {status: integer, headers: table, body: string}
function Client:request(method, path, options) end
---@param options {kind: string, name: string, namespace: string?, condition: string?, jsonpath: string?, value: any,
---  deleted: boolean?, test: (fun(object: table): boolean)?, timeout: number|string|nil}
---@return table? object # raises "Timeout" with the last state in `last`
function Client:wait(options) end
---One watch, for a loop.
---@param kind string
---@param options table? bookmarks, initial_events, timeout, and kube.Options
---@return fun(): {type: string, object: table, resource_version: string?}? # raises "Expired" for 410
function Client:watch(kind, options) end
---@param options {kind: string, namespace: string?, labels: string|table|nil, fields: string|table|nil,
---  index: table<string, fun(object: table): any>?, keep_managed_fields: boolean?, workers: integer?,
---  handler: (fun(key: string, object: table?, last: table?))?}
---@return kube.Informer
function Client:informer(options) end
---@param options {pod: string?, labels: string|table|nil, namespace: string?, container: string?,
---  all_containers: boolean?, prefix: boolean?, follow: boolean?, since: number|string|nil, tail: integer?,
---  previous: boolean?, timestamps: boolean?}
---@return string|fun(): string? # with follow: lines, for a loop
function Client:logs(options) end
---@param options {pod: string, command: string[], namespace: string?, container: string?,
---  stdin: string|(fun(): string|{width: integer, height: integer}|nil)|nil (a table: the new size), stdout: (fun(text: string))?, stderr: (fun(text: string))?, tty: boolean?,
---  size: {width: integer, height: integer}?, timeout: number|string|nil}
---@return {code: integer, stdout: string?, stderr: string?}
function Client:exec(options) end
---@param options {pod: string, port: integer, local_port: integer?, namespace: string?}
---@return {port: integer} forward close it
function Client:port_forward(options) end
---Leaves an Event on an object; the same one again counts up.
---@param object table
---@param type "Normal"|"Warning"
---@param reason string
---@param format string
---@return table
function Client:event(object, type, reason, format, ...) end
---@param object table? or {kind, name, namespace}
---@param options {namespace: string?}?
---@return table[] events the oldest first
function Client:events(object, options) end
---Runs a function while a Lease is held.
---@param options {name: string, namespace: string?, identity: string?, run: fun(client: kube.Client): any,
---  once: boolean?}
---@return any
function Client:lead(options) end
---Ends the connections that are kept open.
function Client:close() end

---@class kube.Informer
local Informer = {}
---@param timeout number|string|nil
function Informer:sync(timeout) end
---@param namespace string?
---@param name string
---@return table? object
function Informer:get(namespace, name) end
---@param query {index: string?, key: any, labels: string|table|nil, namespace: string?}?
---@return table[] objects
function Informer:list(query) end
---@return table # objects, events, handled, failed, pending, poison, faults, relists, …
function Informer:stats() end
---@return boolean # whether its stream is open
function Informer:is_live() end
---Has the handler called again although nothing has changed.
---@param key string? "namespace/name"; all objects without it
function Informer:again(key) end
function Informer:stop() end

---@param options kube.ConnectOptions?
---@return kube.Client # raises "Kubeconfig"
function kube.connect(options) end

---The configuration that kubectl would use, as it would merge it.
---@param path string?
---@return table config kubectl's fields, and :context(name); raises "Kubeconfig" with path, line and key
function kube.kubeconfig(path) end

---@class kube.Patch
kube.patch = {}

---@param text string|number
---@return table # see docs/api/kube_core.lua
function kube.quantity(text) end
---@param text string
---@return table selector with :matches(labels)
function kube.selector(text) end
---@param expression string in kubectl's dialect
---@param object table
---@return any
function kube.jsonpath(expression, object) end
---@param pod table
---@param level "baseline"|"restricted"
---@param options {version: string?}?
---@return {check: string, path: string, message: string}[]
function kube.pod_security(pod, level, options) end

return kube
