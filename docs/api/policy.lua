---@meta policy
-- Policies. In a program: policy.load and policy.review. In a policy file, `require "policy"` is what declares policies,
-- watches, schedules, settings, rights and tests (policy.Author); docs/guide/policy-reference.md says more.

local policy = {}

---Loads policy files or bundled policies into a sandbox of their own.
---@param name string|string[] a path or the name of a bundled policy, or several
---@param options {config: table?, configs: table<string, table>?, bypass_groups: string[]?, own_namespace: string?}?
---@return policy.Set set # raises "NotFound", "Syntax", "Config", or what the file raised, with its place
function policy.load(name, options) end

---Asks a set about a review.
---@param set policy.Set
---@param review string|table an AdmissionReview or its JSON
---@param options {objects: table[]?}? objects: what the policies may look at, namespaces with their labels above all
---@return table answer an AdmissionReview with `response` # raises "BadReview", or a JSON error
function policy.review(set, review, options) end

---@class policy.Set
local Set = {}
---@return {policy: string, kind: string, matches: boolean, why: string?}[]
function Set:explain(review) end
function Set:close() end

---@class policy.Author what a policy file gets
---@field config fun(specs: table<string, policy.Setting>): table the settings as the site has set them
---@field grant fun(spec: policy.Grant)
---@field mutate fun(spec: policy.Mutation)
---@field validate fun(spec: policy.Validation)
---@field watch fun(spec: policy.Watch)
---@field schedule fun(spec: policy.Schedule)
---@field explain fun(spec: {resource: string, run: fun(object: table, ctx: policy.Context): string[]})
---@field test fun(spec: policy.Test)
---@field seconds fun(duration: string|number): number? "1h30m" is 5400; nil when it is none
---@field absent table in what a test expects: nothing is there

---@class policy.Setting
---@field type "string"|"int"|"number"|"bool"|"duration"|"quantity"|"list"|"map"
---@field enum any[]?
---@field default any
---@field required boolean?
---@field doc string?

---@class policy.Grant
---@field reads string[]? what reviews, watches and schedules may look at
---@field follows string[]? what only watches and schedules may look at
---@field writes {resource: string, verbs: string[], names: string[]?}[]?
---@field hosts string[]?
---@field memory string|integer|nil "16MiB"

---@class policy.Match
---@field resource string "pods | jobs.batch | pods/exec"; "*" is all but Secrets
---@field operations ("CREATE"|"UPDATE"|"DELETE"|"CONNECT")[]? default: CREATE and UPDATE
---@field namespaces {names: string[]?, exclude: string[]?, label: string?}?
---@field label string? a selector
---@field fields table<string, any>? by paths such as "spec.nodeName"
---@field when string? CEL

---@class policy.Mutation
---@field name string
---@field match policy.Match|policy.Match[]
---@field apply fun(req: policy.Request)
---@field mode "enforce"|"warn"|"audit"|"dry"|nil
---@field on_error "fail"|"allow"|nil default: allow
---@field position "early"|"late"|nil
---@field verify boolean? refuse what it would still change when all other webhooks are through
---@field timeout string|number|nil default: "1s"
---@field memory string|integer|nil default: "16MiB"
---@field doc string?

---@class policy.Validation
---@field name string
---@field match policy.Match|policy.Match[]
---@field check fun(req: policy.Request): any
---@field mode "enforce"|"warn"|"audit"|"dry"|nil
---@field on_error "fail"|"allow"|nil default: fail
---@field timeout string|number|nil
---@field memory string|integer|nil
---@field doc string?

---@class policy.Watch
---@field name string
---@field resource string
---@field namespaces {names: string[]?, exclude: string[]?, label: string?}|nil
---@field label string?
---@field initial (fun(objects: table[], ctx: policy.Context))? what is there, in one call
---@field reconcile (fun(object: table, ctx: policy.Context))?
---@field deleted (fun(object: table, ctx: policy.Context))? gone, or no longer what the watch is about
---@field finalize (fun(object: table, ctx: policy.Context))? before it goes: a finalizer holds it
---@field resync string|number|nil
---@field doc string?

---@class policy.Schedule
---@field name string
---@field cron string? six fields, seconds first
---@field every string|number|nil
---@field zone string? "Europe/Berlin"
---@field run fun(ctx: policy.Context)
---@field doc string?

---@class policy.Test
---@field name string
---@field object table?
---@field old table?
---@field review table?
---@field operation string?
---@field namespace string?
---@field resource string? "deployments/scale": where the object's kind does not say it
---@field subresource string?
---@field user string|table|nil
---@field dry_run boolean?
---@field options table?
---@field config table?
---@field objects table[]?
---@field watch string?
---@field schedule string?
---@field answers table[]?
---@field expect {allowed: boolean?, object: table?, patch: table[]?, warnings: string|string[]|integer|nil, message: string?, code: integer?, writes: table[]?}

---@class policy.Request
---@field uid string
---@field operation "CREATE"|"UPDATE"|"DELETE"|"CONNECT"
---@field dry_run boolean
---@field kind {group: string, version: string, kind: string}
---@field resource {group: string, version: string, resource: string}
---@field subresource string?
---@field namespace string?
---@field name string?
---@field user {name: string, groups: string[], uid: string?, extra: table}
---@field object table? nil when it is deleted
---@field old table?
---@field options table?
---@field config table
---@field matched integer which of the policy's matches holds
---@field cache_age number? seconds
local Request = {}
---@param format string
function Request:warn(format, ...) end
---@param format string|{message: string, code: integer?, reason: string?, causes: table[]?}
---@return table verdict so that a handler can return it
function Request:deny(format, ...) end
---@param key string
---@param value any
function Request:audit(key, value) end
---@param resource string of the declared reads
---@param namespace string?
---@param name string
---@return table? object
function Request:lookup(resource, namespace, name) end
---@param resource string
---@param options {namespace: string?, labels: string?, fields: table?}?
---@return table[] objects
function Request:find(resource, options) end
---@param list any[]?
---@param value any
---@return boolean
function Request.contains(list, value) end

---@class policy.Context
---@field config table
local Context = {}
---@return table? object
function Context:get(resource, namespace, name) end
---@param options {namespace: string?, labels: string?}?
---@return table[] objects
function Context:list(resource, options) end
---@param options {force: boolean?}?
---@return table object
function Context:apply(object, options) end
---@param object table its apiVersion, kind and name
---@param patch table
---@param options {type: "json"|"merge"|"strategic"|nil, subresource: string?, dry_run: boolean?}?
---@return table object
---@return string[]? warnings
function Context:patch(object, patch, options) end
---@return table object
function Context:create(object) end
---@param options {uid: string?, resource_version: string?, propagation: string?}?
function Context:delete(object, options) end
---@param type "Normal"|"Warning"
function Context:event(object, type, reason, format, ...) end
---@param time string|number
function Context:requeue(time) end
function Context:log(format, ...) end
---@return boolean whether the object says all that is wanted
function Context.contains(object, wanted) end

return policy
