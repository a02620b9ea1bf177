-- policy.serve.answer: a set of policies as the handler of an HTTP server.
-- Not for listening: policy.serve does that.
--   server.listen { handler = answer.handler(set, { metrics = metrics, audit = function(line) … end }) }

local errors = require "errors"
local json = require "json"
local match = require "policy.inside.match"
local task = require "task"

local M = {}

local JSON = { ["content-type"] = "application/json" }
local MARGIN = 0.2 -- seconds of the API server's timeout that are left for the way back

local function refuse(state, status, message)
  state.metrics:refusal(status)
  local headers = { ["content-type"] = "text/plain" }
  if status == 405 then headers.allow = "POST" end
  if status == 503 then headers["retry-after"] = "1" end
  return { status = status, headers = headers, body = message .. "\n" }
end

-- What each path asks for: {kind=, policy=, selected=}. On the path of a webhook's entry come the reviews that the API
-- server has selected by it.
local function routes_of(set)
  local routes = {}
  for _, kind in ipairs { "mutate", "validate" } do
    routes["/" .. kind] = { kind = kind }
    routes["/" .. kind .. "/"] = { kind = kind }
  end
  for _, policy in ipairs(set.description.policies) do
    local path = ("/%s/%s"):format(policy.kind, policy.name)
    local entries = #match.groups(policy.match)
    routes[path] = { kind = policy.kind, policy = policy.name, selected = entries == 1 and 1 or nil }
    for number = 1, entries do
      routes[("%s/%d"):format(path, number)] = { kind = policy.kind, policy = policy.name, selected = number }
    end
  end
  return routes
end

local function is_json(request)
  local kind = request.headers["content-type"] or ""
  return kind:match "^%s*application/json%s*$" ~= nil or kind:match "^%s*application/json%s*;" ~= nil
end

-- The time that the API server gives us, less the margin; nil when it does not say.
local function time_of(query)
  local text = query and ("&" .. query):match "&timeout=([%w.]+)"
  local ok, seconds = pcall(task.seconds, text)
  if not ok or not seconds then return nil end
  return math.max(seconds - MARGIN, seconds / 2)
end

-- What the files had until a moment ago: the API server has not learned yet that they have it no more. Nothing is said
-- against what such a review is about.
local function retired_route(state, path)
  local kind, policy
  if state.retired then kind, policy = state.retired(path) end
  return kind and { kind = kind, policy = policy, retired = true }
end

local function audit_line(records, facts, seconds)
  return { uid = facts.uid, operation = facts.operation, resource = facts.resource, group = facts.group,
    namespace = facts.namespace, name = facts.name, user = facts.user, dry_run = facts.dry_run or nil,
    allowed = not facts.denied, bypass = facts.bypass, policies = records,
    seconds = (seconds * 1e6 + 0.5) // 1 / 1e6 }
end

---@param set policy.Set
---@param state {metrics: table, audit: fun(line: table), retired: (fun(path: string): string?, string?)?} retired: the
---  kind and policy of a path that was answered here before these files
---@return fun(request: server.Request): server.Response
function M.handler(set, state)
  local routes = routes_of(set)
  return function(request)
    local asked = routes[request.path] or retired_route(state, request.path)
    if not asked then return refuse(state, 404, "no such policy: paths are /mutate[/NAME] and /validate[/NAME]") end
    if request.method ~= "POST" then return refuse(state, 405, "a review is sent by POST") end
    if not is_json(request) then return refuse(state, 415, "a review is application/json") end
    if request.body == "" then return refuse(state, 400, "the body is empty") end
    if state.overloaded and state.overloaded() then
      return refuse(state, 503, "too many reviews wait here: ask again, or another replica")
    end
    local started = task.now()
    local ok, answer, records, facts = pcall(set.answer, set, request.body, { kind = asked.kind, policy = asked.policy,
      selected = asked.selected, as = "text", cache_age = state.cache_age and state.cache_age(),
      seconds = time_of(request.query) })
    if not ok then
      if not errors.is(answer) then error(answer, 0) end
      return refuse(state, 400, ("this is no review: %s"):format(answer.message))
    end
    if asked.retired then records = { { policy = asked.policy, verdict = "retired" } } end
    state.metrics:review(records, facts)
    if #records > 0 or facts.bypass then state.audit(audit_line(records, facts, task.now() - started)) end
    return { status = 200, headers = JSON, body = answer }
  end
end

---@param state {ready: fun(): boolean, string?; metrics: table}
---@return fun(request: server.Request): server.Response handler of the second port
function M.operations(state)
  local function text(status, body)
    return { status = status, headers = { ["content-type"] = "text/plain" }, body = body }
  end
  return function(request)
    if request.path == "/healthz" then return text(200, "ok") end
    if request.path == "/readyz" then
      local ready, why = state.ready()
      return text(ready and 200 or 503, ready and "ok" or why or "not ready")
    end
    if request.path == "/metrics" then
      return { status = 200, headers = { ["content-type"] = "text/plain; version=0.0.4" }, body = state.metrics:text() }
    end
    if request.path == "/status" and state.status then
      return { status = 200, headers = JSON, body = json.encode(state.status(), { sort = true }) .. "\n" }
    end
    return text(404, "paths are /healthz, /readyz, /metrics, /status")
  end
end

return M
