-- policy.inside.review: one AdmissionReview, policy by policy: begin, handle each that matches, finish.
-- Not for deadlines: the host calls handle under the policy's own, and failed when it was stopped.
--   local numbers = review.begin(text); review.handle(numbers[1]); local answer = review.finish()

local hash = require "hash"
local json = require "json"
local match = require "policy.inside.match"
local new_request = require "policy.inside.request".new
local secrets = require "policy.inside.secrets"
local set = require "policy.inside.set"
local values = require "policy.inside.values"
local words = require "policy.inside.words"

local M = {}

local REASONS = { [400] = "BadRequest", [403] = "Forbidden", [404] = "NotFound", [409] = "Conflict",
  [422] = "Invalid", [429] = "TooManyRequests", [500] = "InternalError", [503] = "ServiceUnavailable" }
local VERSIONS = { ["admission.k8s.io/v1"] = true, ["admission.k8s.io/v1beta1"] = true }
local WARNINGS_LIMIT = 4096 -- bytes of all warnings that the API server passes on

M.bypass = { label = "policy.kfhost.io/bypass", groups = {} }

local now -- the review that is being answered

local function bad(format, ...)
  error({ code = "BadReview", message = format:format(...) }, 0)
end

-- Null and absent are the same here.
local function present(value)
  if value == json.null then return nil end
  return value
end

local function check_request(review)
  if type(review) ~= "table" or review.kind ~= "AdmissionReview" then bad("this is no AdmissionReview") end
  if not VERSIONS[review.apiVersion] then bad("apiVersion '%s' is not known", tostring(review.apiVersion)) end
  local request = present(review.request)
  if type(request) ~= "table" then bad("the AdmissionReview has no request") end
  if type(request.uid) ~= "string" or request.uid == "" then bad("request.uid is missing") end
  if type(request.operation) ~= "string" then bad("request.operation is missing") end
  if type(request.resource) ~= "table" or type(request.resource.resource) ~= "string" then
    bad("request.resource is missing")
  end
  for _, field in ipairs { "object", "oldObject", "options", "namespace", "name", "subResource", "userInfo" } do
    request[field] = present(request[field])
  end
  for _, field in ipairs { "object", "oldObject" } do
    if request[field] ~= nil and type(request[field]) ~= "table" then bad("request.%s is no object", field) end
  end
  return request
end

local function has_label(object)
  local metadata = present((object or {}).metadata)
  local labels = type(metadata) == "table" and present(metadata.labels)
  return type(labels) == "table" and labels[M.bypass.label] == "true"
end

-- Why no policy is asked, or nil.
local function bypassed(request)
  local namespace = require "policy.inside.objects".get("namespaces", "", nil, request.namespace or "")
  if has_label(namespace) then return "namespace" end
  if not has_label(request.object or request.oldObject) then return nil end
  for _, group in ipairs(request.userInfo and request.userInfo.groups or {}) do
    if values.contains(M.bypass.groups, group) then return "object" end
  end
  return nil
end

local KINDS = { mutate = { mutate = true }, validate = { validate = true }, both = { mutate = true, validate = true } }

local function wanted(policy, options)
  if options.policy and options.policy ~= policy.name then return false end
  if options.file and options.file ~= policy.file.stem then return false end
  if options.position and policy.kind == "mutate" and policy.position ~= options.position then return false end
  return KINDS[options.kind or "both"][policy.kind] ~= nil
end

-- --- one policy --------------------------------------------------------------------------------------

local function record(policy, verdict, more)
  local entry = more or {}
  entry.policy, entry.mode, entry.verdict = policy.name, policy.mode, verdict
  now.records[#now.records + 1] = entry
  return entry
end

local function keep_words(policy, said)
  for _, text in ipairs(said.warnings) do now.warnings[#now.warnings + 1] = text end
  for key, value in pairs(said.annotations) do now.annotations[policy.name .. "." .. key] = value end
end

local function paths_of(operations)
  local paths = {}
  for i, operation in ipairs(operations) do paths[i] = operation.path end
  return paths
end

local function deny(policy, verdict)
  local code = verdict.code or 403
  if policy.mode == "enforce" then
    now.denial = now.denial or { policy = policy.name, message = verdict.message, code = code,
      reason = verdict.reason or REASONS[code] or "Forbidden", causes = verdict.causes }
    return record(policy, "denied", { message = verdict.message })
  end
  if policy.mode == "warn" then
    now.warnings[#now.warnings + 1] = ("%s: %s"):format(policy.name, verdict.message)
  end
  return record(policy, "would-deny", { message = verdict.message })
end

-- What a mutation's edits mean under its mode.
local function take_edits(policy, edited)
  if type(edited) ~= "table" or json.is_array(edited) then error("req.object is no object any more", 0) end
  local before = now.object or {}
  local operations = require "kube".patch.diff(before, edited)
  if #operations == 0 then return record(policy, "unchanged") end
  if policy.mode == "enforce" then
    local text = json.encode(operations, { sort = true }) -- here, so that what is no JSON is this policy's failure
    now.patch = not now.changed and text or nil -- that of one change is the whole patch
    now.object = edited
    now.changed = true
    return record(policy, "patched", { paths = paths_of(operations) })
  end
  if policy.mode == "warn" then
    local paths = table.concat(paths_of(operations), ", ")
    now.warnings[#now.warnings + 1] = ("%s would change %s"):format(policy.name, paths)
  end
  return record(policy, "would-patch", { paths = paths_of(operations) })
end

---Asks one policy; to be called under its deadline. Raises what the policy raises.
---@param number integer
function M.handle(number)
  local policy = set.policies[number]
  local mutates = policy.kind == "mutate"
  local object = now.object
  if mutates then object = values.copy(object) end
  local req, said = new_request(now.request, policy, { object = object, cache_age = now.cache_age,
    secrets = now.secrets, matched = now.matched[number] })
  policy.handler(req)
  keep_words(policy, said)
  if said.denial then return deny(policy, said.denial) end
  if mutates and now.request.object ~= nil then return take_edits(policy, req.object) end
  return record(policy, "allowed")
end

---Says that a policy was stopped or failed: its own choice decides.
---@param number integer
---@param problem {code: string, message: string, path: string?, line: integer?}
function M.failed(number, problem)
  local policy = set.policies[number]
  local code = problem.code -- of the host, or what the policy put into its error
  if type(code) ~= "string" or not code:find "^%a%w*$" or #code > 40 then code = "Script" end
  local where = problem.path and ("%s:%s: "):format(problem.path, problem.line or "?") or ""
  local text = ("policy %s failed in review %s: %s%s: %s"):format(policy.name, now.request.uid, where,
    code, words.clean(problem.message or "?"))
  if policy.on_error == "fail" and policy.mode == "enforce" then
    now.denial = now.denial or { policy = policy.name, message = text, code = 500, reason = "InternalError" }
  else
    now.warnings[#now.warnings + 1] = text
  end
  record(policy, "error", { message = text, code = code })
end

-- --- which are asked -----------------------------------------------------------------------------

-- Whether a policy is asked; a match that cannot be evaluated is the policy's failure, and no other's.
local function concerns(number, request, selected)
  local ok, matches, _, alternative = pcall(set.policies[number].matches, request, selected)
  now.matched[number] = alternative
  if ok then return matches end
  M.failed(number, type(matches) == "table" and matches or { message = tostring(matches) })
  return false
end

---@param given string|table an AdmissionReview or its JSON
---@param options {kind: "mutate"|"validate"|"both"|nil, policy: string?, file: string?, cache_age: number?,
---  selected: integer?}? file: only the policies of the file of that stem; selected: the group of the match whose
---  namespaces the API server's selector has judged already
---@return integer[] numbers of the policies that match, mutations first; raises "BadReview", or a JSON error
function M.begin(given, options)
  options = options or {}
  local review = type(given) == "string" and json.decode(given) or given
  local request = check_request(review)
  now = { review = review, request = request, object = request.object, records = {}, warnings = {},
    annotations = {}, cache_age = options.cache_age, bypass = bypassed(request), secrets = secrets.new(), matched = {} }
  now.secrets:note(request.object)
  now.secrets:note(request.oldObject)
  local numbers = {}
  if now.bypass then return numbers end
  for _, kind in ipairs { "mutate", "validate" } do
    for number, policy in ipairs(set.policies) do
      if policy.kind == kind and wanted(policy, options) and concerns(number, request, options.selected) then
        numbers[#numbers + 1] = number
      end
    end
  end
  return numbers
end

-- --- the answer --------------------------------------------------------------------------------------

local function bounded(warnings)
  local list, size = json.array {}, 0
  for _, text in ipairs(warnings) do
    size = size + #text
    if size > WARNINGS_LIMIT then break end
    list[#list + 1] = text
  end
  return list
end

local function status_of(denial)
  local status = { code = denial.code, reason = denial.reason,
    message = ("policy %s: %s"):format(denial.policy, denial.message) }
  if denial.code == 500 then status.message = denial.message end
  if denial.causes then status.details = { causes = denial.causes } end
  return status
end

---@param as "text"|"table"|nil
---@return string|table review the AdmissionReview with its response
---@return table[] records {policy, mode, verdict, paths, message}: references only, no values of objects
---@return table facts {uid, operation, resource, namespace, name, user, bypass, denied}
function M.finish(as)
  local request = now.request
  local response = { uid = request.uid, allowed = now.denial == nil }
  local seen = now.secrets
  if now.denial then response.status = seen:mask_all(status_of(now.denial)) end
  if now.changed and not now.denial then
    local operations = not now.patch and require "kube".patch.diff(request.object, now.object)
    if now.patch or #operations > 0 then
      response.patchType = "JSONPatch"
      response.patch = hash.base64(now.patch or json.encode(operations, { sort = true }))
    end
  end
  if #now.warnings > 0 then response.warnings = bounded(seen:mask_all(now.warnings)) end
  if now.bypass then now.annotations["bypass"] = now.bypass end
  if next(now.annotations) then response.auditAnnotations = seen:mask_all(now.annotations) end
  local review = { apiVersion = now.review.apiVersion, kind = "AdmissionReview", response = response }
  local facts = { uid = request.uid, operation = request.operation, resource = request.resource.resource,
    group = request.resource.group, namespace = request.namespace, name = request.name,
    dry_run = request.dryRun == true, user = request.userInfo and request.userInfo.username, bypass = now.bypass,
    denied = now.denial ~= nil }
  local records = now.records
  for _, one in ipairs(records) do
    one.message, one.code, one.paths = seen:mask(one.message), seen:mask(one.code), seen:mask_all(one.paths)
  end
  now = nil
  return as == "text" and json.encode(review, { sort = true }) or review, records, facts
end

---Which policies would be asked, and why the others would not.
---@param given string|table
---@return {policy: string, kind: string, matches: boolean, why: string?}[]
function M.explain(given)
  local request = check_request(type(given) == "string" and json.decode(given) or given)
  local list = {}
  for i, policy in ipairs(set.policies) do
    local ok, matches, why = pcall(policy.matches, request)
    if not ok then
      local problem = type(matches) == "table" and matches.message or matches
      matches, why = false, words.clean(tostring(problem))
    end
    list[i] = { policy = policy.name, kind = policy.kind, mode = policy.mode, matches = matches, why = why }
  end
  return list
end

M.protected = match.protected

return M
