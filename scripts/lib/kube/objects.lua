-- kube.objects: one object at a time: get, create, update, apply, patch, delete, edit; and raw requests.
-- Not for lists (kube.lists) and not for waiting (kube.wait).
--   c:apply { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "a" }, data = { k = "v" } }

local errors = require "errors"
local json = require "json"
local options_of = require "kube.options"
local rest = require "kube.rest"
local task = require "task"

local M = {}

local PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
local MEDIA = {
  json = "application/json-patch+json", merge = "application/merge-patch+json",
  strategic = "application/strategic-merge-patch+json", apply = "application/apply-patch+yaml",
}

-- Kinds that are created below another object.
local BELOW = {
  Eviction = { "pods", "eviction" }, TokenRequest = { "serviceaccounts", "token" }, Binding = { "pods", "binding" },
}

-- --- what a request is about --------------------------------------------------------------------------------

---The namespace for a resource, or nil for the cluster (and for all of them, in lists).
---@param client table
---@param resource kube.Resource
---@param options table
---@param object table?
---@return string?
function M.namespace_of(client, resource, options, object)
  if not resource.namespaced then return nil end
  local metadata = object and type(object.metadata) == "table" and object.metadata
  local namespace = options.namespace or metadata and metadata.namespace or client.namespace
  if namespace == "*" then return nil end
  return namespace
end

-- The request for an object, without its method.
local function about(resource, namespace, name, options)
  return {
    path = rest.path(resource, namespace, name, options.subresource), kind = resource.kind,
    resource = resource.plural, namespace = namespace, name = name, subresource = options.subresource,
    timeout = options.timeout, exempt = options.exempt, transport = options.transport,
    accept = options.metadata_only and PARTIAL or nil,
  }
end

local function check_name(name, level)
  if type(name) ~= "string" or name == "" then error("a name is expected, got " .. tostring(name), level + 1) end
end

local function check_object(object, level)
  if type(object) ~= "table" then error("an object (a table) is expected, got " .. type(object), level + 1) end
end

local function send(client, request)
  local response = rest.send(client, request)
  return rest.decode(response, request, client), response
end

-- The resource that an object is of, and the subresource and parent of kinds that are created below another.
local function target(client, object, options)
  if options.kind then return client.discovery:resolve(options.kind), options end
  local kind, version = object.kind, object.apiVersion
  if type(kind) ~= "string" or type(version) ~= "string" then
    error("the object has no apiVersion and kind, and no option `kind` says them", 4)
  end
  local below = BELOW[kind]
  if not below then return client.discovery:of(version, kind), options end
  local copy = { subresource = below[2] }
  for name, value in pairs(options) do copy[name] = value end
  return client.discovery:resolve(below[1]), copy
end

-- The text of an object; one from a list gets the kind that its list had.
local function body_of(object)
  if rawget(object, "kind") == nil and object.kind then
    local copy = json.object { apiVersion = object.apiVersion, kind = object.kind }
    for key, value in next, object do copy[key] = value end
    object = copy
  end
  return json.encode(object)
end

local function name_in(object)
  return type(object.metadata) == "table" and object.metadata.name or nil
end

-- --- reading ------------------------------------------------------------------------------------------------

---The resource that a name means.
---@param kind string
---@return kube.Resource; raises {code="NotFound"}
function M:resource(kind)
  return self.discovery:resolve(kind)
end

---@param kind string
---@param name string
---@param options table?
---@return table object
---raises {code="NotFound"} and what else the server says
function M:get(kind, name, options)
  options = options_of.check(options, 2)
  check_name(name, 2)
  local resource = self.discovery:resolve(kind)
  local request = about(resource, M.namespace_of(self, resource, options), name, options)
  request.method, request.verb, request.query = "GET", "get", options_of.read_query(options)
  return (send(self, request))
end

-- --- writing ------------------------------------------------------------------------------------------------

---@param object table
---@param options table?
---@return table object, string[] warnings
function M:create(object, options)
  options = options_of.check(options, 2)
  check_object(object, 2)
  local resource
  resource, options = target(self, object, options)
  local namespace = M.namespace_of(self, resource, options, object)
  local parent = options.subresource and (options.name or name_in(object))
  local request = about(resource, namespace, parent, options)
  request.method, request.verb, request.body = "POST", "create", body_of(object)
  request.name = parent or name_in(object)
  request.query = options_of.write_query(options, self)
  local created, response = send(self, request)
  return created, response.warnings
end

---Puts the object in the place of the one with its name; a resourceVersion in it must be the current one.
---@param object table
---@param options table?
---@return table object, string[] warnings
function M:update(object, options)
  options = options_of.check(options, 2)
  check_object(object, 2)
  local resource
  resource, options = target(self, object, options)
  local name = options.name or name_in(object)
  check_name(name, 2)
  local request = about(resource, M.namespace_of(self, resource, options, object), name, options)
  request.method, request.verb, request.body = "PUT", "update", body_of(object)
  request.query = options_of.write_query(options, self)
  local updated, response = send(self, request)
  return updated, response.warnings
end

-- The conflicts of an apply as sentences: who has which field.
local function readable_conflicts(problem)
  local list = {}
  for _, cause in ipairs(problem.causes or {}) do
    if cause.reason == "FieldManagerConflict" then
      local manager = cause.message:match 'conflict with "([^"]*)"'
      list[#list + 1] = { field = cause.field, manager = manager, message = cause.message }
    end
  end
  if #list > 0 then problem.conflicts = list end
end

---Server-side apply: the fields of the object become this manager's.
---@param object table
---@param options table? force: take fields that others have
---@return table object, string[] warnings
---raises {code="Conflict"} with `conflicts`, a list of {field, manager, message}
function M:apply(object, options)
  options = options_of.check(options, 2)
  check_object(object, 2)
  local resource
  resource, options = target(self, object, options)
  local name = options.name or name_in(object)
  check_name(name, 2)
  local request = about(resource, M.namespace_of(self, resource, options, object), name, options)
  request.method, request.verb, request.body, request.content_type = "PATCH", "apply", body_of(object), MEDIA.apply
  request.query = options_of.write_query(options, self)
  request.query.fieldManager = request.query.fieldManager or "kfhost"
  local ok, applied, response = pcall(send, self, request)
  if ok then return applied, response.warnings end
  if errors.is(applied, "Conflict") then readable_conflicts(applied) end
  error(applied, 0)
end

---@param kind string
---@param name string
---@param body table|string
---@param options table? type: "json", "merge" (default) or "strategic"
---@return table object, string[] warnings
function M:patch(kind, name, body, options)
  options = options_of.check(options, 2)
  check_name(name, 2)
  local media = MEDIA[options.type or "merge"]
  if not media then error(("no patch type '%s': json, merge or strategic"):format(tostring(options.type)), 2) end
  local resource = self.discovery:resolve(kind)
  local request = about(resource, M.namespace_of(self, resource, options), name, options)
  request.method, request.verb, request.content_type = "PATCH", "patch", media
  if type(body) == "table" then
    request.body = json.encode(options.type == "json" and json.array(table.move(body, 1, #body, 1, {})) or body)
  else
    request.body = body
  end
  request.query = options_of.write_query(options, self)
  local patched, response = send(self, request)
  return patched, response.warnings
end

---@param kind string
---@param name string
---@param options table? propagation, grace, uid, resource_version, dry_run; wait: seconds, or true, until it is gone
---@return table # the object, or a Status
function M:delete(kind, name, options)
  options = options_of.check(options, 2)
  check_name(name, 2)
  local resource = self.discovery:resolve(kind)
  local request = about(resource, M.namespace_of(self, resource, options), name, options)
  request.method, request.verb = "DELETE", "delete"
  local body
  request.query, body = options_of.delete_parts(options)
  request.body = body and json.encode(body)
  local deleted = send(self, request)
  if options.wait and not (options.dry_run or self.dry_run) then
    self:wait {
      kind = kind, name = name, namespace = request.namespace, deleted = true,
      timeout = options.wait ~= true and options.wait or nil,
      uid = deleted.metadata and deleted.metadata.uid or deleted.details and deleted.details.uid,
    }
  end
  return deleted
end

---Deletes what the selectors name; without one, `all = true` must say that all are meant.
---@param kind string
---@param options table? labels, fields, all, propagation, grace, dry_run
---@return table # the list of what is deleted, or a Status
function M:delete_collection(kind, options)
  options = options_of.check(options, 2)
  if not (options.labels or options.fields or options.all) then
    error("delete_collection: labels or fields, or all = true, must say what is meant", 2)
  end
  local resource = self.discovery:resolve(kind)
  local request = about(resource, M.namespace_of(self, resource, options), nil, options)
  request.method, request.verb = "DELETE", "deletecollection"
  local body
  request.query, body = options_of.delete_parts(options)
  request.body = body and json.encode(body)
  return (send(self, request))
end

---Evicts a pod: a delete that respects disruption budgets.
---@param name string
---@param options table? namespace, grace, dry_run
---@return table Status; raises {code="TooManyRequests"} when a budget is in the way
function M:evict(name, options)
  options = options_of.check(options, 2)
  local delete_options = options.grace and { gracePeriodSeconds = options.grace } or nil
  return (self:create({
    apiVersion = "policy/v1", kind = "Eviction", metadata = { name = name }, deleteOptions = delete_options,
  }, { namespace = options.namespace, dry_run = options.dry_run, timeout = options.timeout }))
end

local FIRST_PAUSE <const>, TRIES <const> = 0.05, 8

---Changes an object: fn gets it and changes it (or returns another); a conflict reads it again and repeats.
---@param kind string
---@param name string
---@param fn fun(object: table): table|false|nil false: leave it as it is
---@param options table? tries (8)
---@return table object, string[]? warnings
function M:edit(kind, name, fn, options)
  options = options_of.check(options, 2)
  local tries = options.tries or TRIES
  for number = 1, tries do
    local object = self:get(kind, name, { namespace = options.namespace, subresource = options.subresource })
    local changed = fn(object)
    if changed == false then return object end
    if changed == nil then changed = object end
    local ok, updated, warnings = pcall(self.update, self, changed, {
      kind = kind, name = name, namespace = options.namespace, subresource = options.subresource,
      manager = options.manager, validation = options.validation, dry_run = options.dry_run, timeout = options.timeout,
    })
    if ok then return updated, warnings end
    if not errors.is(updated, "Conflict") or number == tries then error(updated, 0) end
    task.sleep(FIRST_PAUSE * 2 ^ (number - 1) * (0.5 + math.random()))
  end
end

-- --- rights -------------------------------------------------------------------------------------------------

---Whether this user may do something.
---@param verb string "get", "create", …
---@param kind string
---@param options table? namespace, name, subresource
---@return boolean allowed, string? reason
function M:can_i(verb, kind, options)
  options = options_of.check(options, 2)
  local resource = self.discovery:resolve(kind)
  local attributes = {
    verb = verb, resource = resource.plural, subresource = options.subresource, name = options.name,
    group = resource.group ~= "" and resource.group or nil, namespace = M.namespace_of(self, resource, options),
  }
  local review = self:create({ spec = { resourceAttributes = attributes } }, { kind = "selfsubjectaccessreviews" })
  return review.status.allowed == true, review.status.reason
end

---Who the server takes this client for.
---@return {username: string, groups: string[], uid: string?}
function M:whoami()
  local request = {
    method = "POST", verb = "create", path = "/apis/authentication.k8s.io/v1/selfsubjectreviews", body = "{}",
    resource = "selfsubjectreviews",
  }
  return (send(self, request)).status.userInfo
end

-- --- raw ----------------------------------------------------------------------------------------------------

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- What a path is about, however it is written: resource, namespace, name, subresource.
local function parse_path(path)
  path = unescaped(path):gsub("/+", "/"):gsub("/$", "")
  local rest_of = path:match "^/api/[^/]+/(.*)$" or path:match "^/apis/[^/]+/[^/]+/(.*)$"
  if not rest_of then return {} end
  local namespace, below = rest_of:match "^namespaces/([^/]+)/(.+)$"
  local resource, name, subresource = (below or rest_of):match "^([^/]+)/?([^/]*)/?(.*)$"
  local function given(text) return text ~= "" and text or nil end
  return { resource = resource, namespace = namespace, name = given(name), subresource = given(subresource) }
end

---A request as it is: nothing is added but credentials, and an answer of 400 or more is no error.
---@param method string
---@param path string
---@param options {query: table?, headers: table?, body: string|table|nil, timeout: number|string|nil}?
---@return {status: integer, headers: table, body: string}
function M:request(method, path, options)
  options = options or {}
  local body = options.body
  if type(body) == "table" then body = json.encode(body) end
  local given_path, given_query = path:match "^([^?#]*)%??([^#]*)" -- what follows a # is sent to nobody
  local query = {}
  for name, value in pairs(options.query or {}) do query[name] = value end
  for name, value in given_query:gmatch "([^&=]+)=?([^&]*)" do
    query[name] = unescaped(value)
  end
  local request = parse_path(given_path)
  request.method, request.path, request.query, request.body = method, given_path, query, body
  request.headers, request.timeout, request.raw = options.headers, options.timeout, true
  return rest.send(self, request)
end

return M
