-- policy.inside.request: the `req` of a handler: the review's facts, the object, and what may be said.
-- Not for the answer: policy.inside.review makes that of what was said.
--   req.object.spec.replicas = 1   req:warn("…")   return req:deny("…")

local objects = require "policy.inside.objects"
local resources = require "policy.inside.resources"
local values = require "policy.inside.values"
local words = require "policy.inside.words"

local M = {}

local WARNINGS = 64 -- of one policy: the API server passes on 4096 bytes
local ANNOTATION = 1024
local AUDIT_KEY = "^[%w][%w._-]*$"

local methods = { contains = values.contains }

-- Copies that few handlers look at, made when one does: what a handler changes in them goes nowhere.
local lazy = {
  old = function(req) return values.copy(rawget(req, "_request").oldObject) end,
  options = function(req) return values.copy(rawget(req, "_request").options) end,
  config = function(req) return values.copy(rawget(req, "_file").config) end,
}

local request_metatable = {
  __index = function(req, key)
    if methods[key] then return methods[key] end
    local make = lazy[key]
    if not make then return nil end
    local value = make(req)
    rawset(req, key, value)
    return value
  end,
}

---A warning that the user sees; longer texts are cut at 256 bytes, and no more than 64 are kept.
function methods:warn(format, ...)
  local said = self._said
  if #said.warnings < WARNINGS then said.warnings[#said.warnings + 1] = words.cut(words.of(format, ...), 256) end
end

---Refuses the request: a text with arguments, or {message=, code=403, reason="Forbidden", causes=}.
---@return table verdict so that a handler can return it
function methods:deny(format, ...)
  local verdict = words.verdict(type(format) == "table" and format or { message = words.of(format, ...) })
  self._said.denial = self._said.denial or verdict
  return verdict
end

---A line of the API server's audit log.
function methods:audit(key, value)
  if type(key) ~= "string" or not key:find(AUDIT_KEY) then error("req:audit needs a plain key", 2) end
  self._said.annotations[key] = words.cut(words.of(value), ANNOTATION)
end

-- The resource that a policy may read; raises when its file has not declared it.
local function readable(file, text)
  local wanted = resources.parse(text)
  for _, declared in ipairs(file.grants.reads) do
    local granted = resources.parse(declared)
    if granted.plural == wanted.plural and granted.group == wanted.group then return wanted end
  end
  error(("reading %s is not declared: add it to policy.grant { reads = { … } }"):format(text), 3)
end

---@return table? object as it was some seconds ago; nil when it is not known
function methods:lookup(kind, namespace, name)
  local resource = readable(self._file, kind)
  local known = resources.of_plural(resource.plural, resource.group)
  if known and not known.namespaced then namespace = nil end
  local found = values.copy(objects.get(resource.plural, resource.group, namespace, name))
  self._secrets:note(found)
  return found
end

---@param options {namespace: string?, labels: string?, fields: table?}? namespace "*" is all, the review's by default
---@return table[] objects
function methods:find(kind, options)
  options = options or {}
  local resource = readable(self._file, kind)
  local namespace = options.namespace or self.namespace or "*"
  local selector = options.labels and require "kube".selector(options.labels)
  local found = {}
  for object in objects.each(resource.plural, resource.group) do
    local metadata = object.metadata
    local there = namespace == "*" or metadata.namespace == nil or metadata.namespace == namespace
    if there and selector then there = selector:matches(metadata.labels or {}) end
    if there and options.fields then
      for path, value in pairs(options.fields) do there = there and values.at(object, path) == value end
    end
    if there then
      self._secrets:note(object)
      found[#found + 1] = values.copy(object)
    end
  end
  return found
end

local function user_of(info)
  info = info or {}
  return { name = info.username or "", groups = info.groups or {}, uid = info.uid, extra = info.extra or {} }
end

---@param request table the request of an AdmissionReview
---@param policy table whose handler will see it
---@param more {object: table?, cache_age: number?, secrets: policy.Secrets, matched: integer?} object: what it may
---  edit; cache_age: seconds since the published objects were last changed by the controller; secrets: where values
---  of Secrets that it sees are noted; matched: which of the policy's matches holds
---@return table req
---@return table said {warnings, annotations, denial}
function M.new(request, policy, more)
  local said = { warnings = {}, annotations = {} }
  more.secrets:note(more.object)
  return setmetatable({
    uid = request.uid,
    operation = request.operation,
    dry_run = request.dryRun == true,
    kind = request.kind,
    resource = request.resource,
    subresource = request.subResource,
    namespace = request.namespace,
    name = request.name,
    user = user_of(request.userInfo),
    object = more.object,
    cache_age = more.cache_age,
    matched = more.matched,
    _said = said,
    _file = policy.file,
    _request = request,
    _secrets = more.secrets,
  }, request_metatable), said
end

return M
