-- policy.inside.match: which reviews a policy is asked about.
-- Not for verdicts. A namespace that is not known here matches, and the reason says so.
--   local matches = match.compile({ resource = "pods", operations = { "CREATE" } }); matches(request)

local json = require "json"
local objects = require "policy.inside.objects"
local resources = require "policy.inside.resources"
local values = require "policy.inside.values"

local M = {}

local FIELDS = { resource = "string", operations = "table", namespaces = "table", label = "string",
  fields = "table", when = "string" }
local NAMESPACE_FIELDS = { names = "table", exclude = "table", label = "string" }
local OPERATIONS = { CREATE = true, UPDATE = true, DELETE = true, CONNECT = true }

-- Namespaces that no policy touches unless it names them.
M.protected = { ["kube-system"] = true }

local function check_fields(what, spec, allowed)
  for field, value in pairs(spec) do
    local want = allowed[field]
    if not want then error(("%s has an unknown field '%s'"):format(what, tostring(field)), 0) end
    if type(value) ~= want then error(("%s: %s must be a %s"):format(what, field, want), 0) end
  end
end

local function parse_resources(text)
  local list = {}
  for name in text:gmatch "[^|%s]+" do
    local ok, parsed = pcall(resources.parse, name)
    if not ok then error("match.resource: " .. parsed:gsub("^[^:]+:%d+: ", ""), 0) end
    list[#list + 1] = parsed
  end
  if #list == 0 then error("match.resource names no resource", 0) end
  return list
end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list or {}) do set[value] = true end
  return set
end

-- Each test is a function request -> ok, why not (or what was not known); all must hold.
local function test_resource(list)
  return function(request)
    local plural, group = request.resource.resource, request.resource.group or ""
    local subresource = request.subResource
    if subresource == "" then subresource = nil end
    for _, want in ipairs(list) do
      local name_fits = want.plural == plural or want.plural == "*" and plural ~= "secrets"
      local group_fits = want.group == nil or want.group == group
      if name_fits and group_fits and want.subresource == subresource then return true end
    end
    return false, ("the resource is %s"):format(plural .. (subresource and "/" .. subresource or ""))
  end
end

local function test_operation(set)
  return function(request)
    if set[request.operation] then return true end
    return false, ("the operation is %s"):format(request.operation)
  end
end

-- The labels of a review's namespace: its own where it is one; nil when not known.
local function namespace_labels(request)
  local object = request.resource.resource == "namespaces" and request.object
    or objects.get("namespaces", "", nil, request.namespace)
  if not object then return nil end
  return object.metadata and object.metadata.labels or {}
end

-- Whether the API server can judge by a selector: it has no < and >.
local function is_selectable(selector)
  for _, requirement in ipairs(selector:requirements()) do
    if requirement.operator == "<" or requirement.operator == ">" then return false end
  end
  return true
end

-- The labels of a namespace are known here some moments later than to the API server: where its selector has judged
-- (selected), that holds.
local function test_namespace(spec)
  local names, exclude = spec.names and set_of(spec.names), set_of(spec.exclude)
  local selector = spec.label and require "kube".selector(spec.label)
  local selectable = selector and is_selectable(selector)
  return function(request, selected)
    local namespace = request.namespace
    if request.resource.resource == "namespaces" then namespace = request.name end
    if not namespace or namespace == "" then return true end
    if names and not names[namespace] then return false, ("the namespace is %s"):format(namespace) end
    if exclude[namespace] then return false, ("the namespace %s is left out"):format(namespace) end
    if M.protected[namespace] and not (names and names[namespace]) then
      return false, ("the namespace %s is left out unless a policy names it"):format(namespace)
    end
    if not selector or selected and selectable then return true end
    local labels = namespace_labels(request)
    if not labels then return true, ("the labels of namespace %s are not known here"):format(namespace) end
    if selector:matches(labels) then return true end
    return false, ("the namespace is not %s"):format(spec.label)
  end
end

local function has_labels(selector, object)
  local metadata = type(object) == "table" and object.metadata
  return object ~= nil and selector:matches(type(metadata) == "table" and metadata.labels or {})
end

-- As the API server's objectSelector: the object as it was counts, too, or whoever takes a label off would be free.
local function test_label(text)
  local selector = require "kube".selector(text)
  return function(request)
    if has_labels(selector, request.object) or has_labels(selector, request.oldObject) then return true end
    return false, ("the object is not %s"):format(text)
  end
end

local function test_fields(fields)
  local paths = values.sorted_keys(fields)
  return function(request)
    local object = request.object or request.oldObject or {}
    for _, path in ipairs(paths) do
      if values.subset(fields[path], values.at(object, path)) then
        return false, ("%s is not %s"):format(path, tostring(fields[path]))
      end
    end
    return true
  end
end

-- An expression that cannot be evaluated, because a field is not there above all, raises: the policy has failed then.
local function test_when(text)
  local program = require "cel".compile(text, {
    variables = { "object", "oldObject", "request", "namespaceObject" }, result = "bool",
  })
  local about_namespace = text:find("namespaceObject", 1, true)
  return function(request)
    local namespace = objects.get("namespaces", "", nil, request.namespace or "")
    if about_namespace and not namespace and request.namespace then
      return true, ("namespace %s is not known here"):format(request.namespace)
    end
    local ok, value = pcall(program.eval, program, { object = request.object, oldObject = request.oldObject,
      request = request, namespaceObject = namespace })
    if not ok then
      local message = type(value) == "table" and value.message or tostring(value)
      error({ code = "CEL", message = ("match.when '%s': %s"):format(text, message) }, 0)
    end
    if value == true then return true end
    return false, ("'%s' does not hold"):format(text)
  end
end

local function compile_one(spec)
  check_fields("match", spec, FIELDS)
  if not spec.resource then error("match needs a resource", 0) end
  check_fields("match.namespaces", spec.namespaces or {}, NAMESPACE_FIELDS)
  if spec.namespaces and spec.namespaces.names and #spec.namespaces.names == 0 then
    error("match.namespaces.names is empty: no namespace is meant", 0)
  end
  local operations = spec.operations or { "CREATE", "UPDATE" }
  if #operations == 0 then error("match.operations is empty", 0) end
  for _, operation in ipairs(operations) do
    if not OPERATIONS[operation] then error(("match.operations: '%s' is none"):format(tostring(operation)), 0) end
  end
  local tests = {
    test_resource(parse_resources(spec.resource)),
    test_operation(set_of(operations)),
    test_namespace(spec.namespaces or {}),
  }
  if spec.label then tests[#tests + 1] = test_label(spec.label) end
  if spec.fields then tests[#tests + 1] = test_fields(spec.fields) end
  if spec.when then tests[#tests + 1] = test_when(spec.when) end
  return function(request, selected)
    local note
    for _, test in ipairs(tests) do
      local ok, why = test(request, selected)
      if not ok then return false, why end
      note = note or why
    end
    return true, note
  end
end

-- What a match asks of namespaces, as a text.
local function namespaces_key(one)
  local spec = one.namespaces or {}
  local function sorted(list)
    local copy = table.move(list or {}, 1, #(list or {}), 1, json.array {})
    table.sort(copy)
    return copy
  end
  return json.encode({ names = spec.names and sorted(spec.names), exclude = sorted(spec.exclude), label = spec.label },
    { sort = true })
end

---The alternatives of a match that ask the same of namespaces: one selector of the API server judges for them all.
---@param alternatives table[]
---@return integer[][] groups numbers of alternatives
function M.groups(alternatives)
  local groups, by_key = {}, {}
  for number, one in ipairs(alternatives) do
    local key = namespaces_key(one)
    if not by_key[key] then
      by_key[key] = {}
      groups[#groups + 1] = by_key[key]
    end
    table.insert(by_key[key], number)
  end
  return groups
end

---@param spec table a match, or a list of which one must hold; raises a text that says what is wrong
---@return fun(request: table, selected: integer?): boolean, string?, integer? matches also why not, or what was not
---  known; and the number of the alternative that holds; selected: the group whose namespaces the API server's selector
---  has judged already
---@return table[] alternatives the list, for webhook rules
function M.compile(spec)
  local alternatives = spec[1] and spec or { spec }
  local tests, all = {}, {}
  for i, one in ipairs(alternatives) do tests[i], all[i] = compile_one(one), i end
  local groups = M.groups(alternatives)
  return function(request, selected)
    local why
    for _, number in ipairs(selected and groups[selected] or all) do
      local ok, reason = tests[number](request, selected)
      if ok then return true, reason, number end
      why = reason
    end
    return false, why
  end, alternatives
end

return M
