-- policy.inside.testing: the cases that policy files bring with them, as reviews, and what they expect.
-- Not for running them: the host does that as it does with any review.
--   local case = testing.case(1)   -- {review, objects, config}
--   testing.verdict(1, review with response, records) -> list of problems

local hash = require "hash"
local json = require "json"
local resources = require "policy.inside.resources"
local set = require "policy.inside.set"
local values = require "policy.inside.values"

local M = {}

local function user_of(user)
  if type(user) == "string" then return { username = user, groups = { "system:authenticated" } } end
  user = user or {}
  return { username = user.name or "kubernetes-admin", uid = user.uid, extra = user.extra,
    groups = user.groups or { "system:authenticated" } }
end

local UID = "00000000-0000-4000-8000-000000000001"

-- The resource of a review: that of the object, but for subresources, which have kinds of their own
-- ("deployments/scale" is about a Scale).
local function resource_of(spec, kind)
  if not spec.resource then return { resource = kind.plural, group = kind.group, version = kind.version } end
  local named = resources.parse(spec.resource)
  local known = resources.of_plural(named.plural, named.group)
  return { resource = named.plural, group = named.group, version = known and known.version or kind.version },
    named.subresource
end

---@param spec table {object=, old=, operation=, user=, namespace=, resource=, subresource=, dry_run=, options=}
---@return table review an AdmissionReview as the API server would send it
function M.review(spec)
  local subject = spec.object or spec.old
  local metadata = subject.metadata or {}
  local resource = resources.of_kind(subject.apiVersion or "v1", subject.kind or "")
  local asked, subresource = resource_of(spec, resource)
  local operation = spec.operation
    or spec.object and spec.old and "UPDATE" or spec.object and "CREATE" or "DELETE"
  local namespace = spec.namespace or metadata.namespace
  if not namespace and resource.namespaced then namespace = "default" end
  if resource.kind == "Namespace" then namespace = metadata.name end
  return { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = {
    uid = UID, operation = operation, dryRun = spec.dry_run == true,
    kind = { group = resource.group, version = resource.version, kind = resource.kind },
    resource = asked, subResource = spec.subresource or subresource, namespace = namespace, name = metadata.name,
    userInfo = user_of(spec.user),
    object = operation ~= "DELETE" and spec.object or json.null, oldObject = spec.old or json.null,
    options = spec.options } }
end

-- The handler that a case calls instead of asking for a review, or nil.
local function handler_of(spec)
  for _, list in ipairs { "watch", "schedule" } do
    local declared = list == "watch" and set.watches or set.schedules
    for number, one in ipairs(declared) do
      if one.name == spec[list] then
        local metadata = spec.object and spec.object.metadata
        local ends = list == "watch" and one.finalize and metadata and metadata.deletionTimestamp
        local handler = list == "schedule" and "run" or ends and "finalize" or spec.object and "reconcile" or "deleted"
        return { list = list, number = number, handler = handler, argument = spec.object or spec.old }
      end
    end
    if spec[list] then error(("policy.test '%s': there is no %s '%s'"):format(spec.name, list, spec[list]), 0) end
  end
  return nil
end

---@param number integer
---@return {name: string, stem: string, objects: table[], config: table?, review: table?, handler: table?}
function M.case(number)
  local spec = set.tests[number]
  local handler = handler_of(spec)
  return { name = spec.name, stem = spec.file.stem, objects = spec.objects or {}, config = spec.config,
    handler = handler, answers = spec.answers, review = not handler and (spec.review or M.review(spec)) or nil }
end

local function patch_of(response)
  return response.patch and json.decode(hash.unbase64(response.patch)) or json.array {}
end

local checks = {}

function checks.allowed(want, response)
  if response.allowed == want then return nil end
  local said = response.status and response.status.message
  return ("allowed is %s%s"):format(tostring(response.allowed), said and (": " .. said) or "")
end

function checks.code(want, response)
  local code = response.status and response.status.code
  if code ~= want then return ("the code is %s, not %d"):format(tostring(code), want) end
end

function checks.message(want, response)
  local text = response.status and response.status.message or ""
  if not text:find(want) then return ("the message is '%s', which '%s' does not match"):format(text, want) end
end

function checks.warnings(want, response)
  local warnings = response.warnings or {}
  if type(want) == "number" then
    if #warnings ~= want then return ("there are %d warnings, not %d"):format(#warnings, want) end
    return nil
  end
  for i, pattern in ipairs(type(want) == "string" and { want } or want) do
    local found = false
    for _, text in ipairs(warnings) do found = found or text:find(pattern) ~= nil end
    if not found then return ("no warning matches expect.warnings[%d] '%s'"):format(i, pattern) end
  end
end

function checks.patch(want, response)
  local patch = patch_of(response)
  if #want ~= #patch then
    return ("the patch has %d operations, not %d: %s"):format(#patch, #want, json.encode(patch, { sort = true }))
  end
  return values.subset(want, patch, "patch")
end

function checks.object(want, response, request)
  local object = request.object
  if response.patch then object = require "kube".patch.json(object, patch_of(response)) end
  return values.subset(want, object, "object")
end

function checks.writes(want, _, _, writes)
  if #want ~= #writes then
    return ("there are %d writes, not %d: %s"):format(#writes, #want, json.encode(writes, { sort = true }))
  end
  return values.subset(want, writes, "writes")
end

---@param number integer
---@param review table? the AdmissionReview that came back
---@param writes table[]? what the handler of a watch or schedule wrote
---@return string[] problems none when the case holds
function M.verdict(number, review, writes)
  local spec = set.tests[number]
  local request = review and (spec.review or M.review(spec)).request
  local problems = {}
  for _, name in ipairs(values.sorted_keys(spec.expect)) do
    local problem = checks[name](spec.expect[name], review and review.response, request, writes)
    if problem then problems[#problems + 1] = problem end
  end
  return problems
end

return M
