-- The client of a KFP server: pipelines, versions, experiments, runs, recurring runs, uploads, diagnosis.
-- Not for running pipelines here: kfp.run.
--   local k = client.connect { endpoint = "http://localhost:8888" }
--   for run in k.runs:list { filter = { state = "FAILED" } } do print(run.display_name) end
local auth = require "kfp.client.auth"
local endpoint = require "kfp.client.endpoint"
local errors = require "errors"
local json = require "json"
local query = require "kfp.client.query"
local reply = require "kfp.client.reply"
local resources = require "kfp.client.resources"
local task = require "task"

local M = {}

---@class kfp.Client
---@field endpoint string
---@field how string where the endpoint is known from
---@field namespace string?
---@field api "v2beta1"|"v1beta1"|nil what the server has; nil before it mattered
---@field options table
---@field transport fun(request: table): table
---@field pipelines table
---@field versions table
---@field experiments table
---@field runs table
---@field recurring table
local Client = {}
Client.__index = Client

-- --- requests ------------------------------------------------------------------------------------------------

local TRANSIENT = { [429] = true, [502] = true, [503] = true, [504] = true }
local TRIES, LONGEST_PAUSE = 4, 10

-- What may be sent again without harm, and whether it is worth it.
local function may_repeat(client, request, response, problem, try)
  if try >= (client.options.tries or TRIES) or request.method ~= "GET" then return false end
  if problem then return errors.is(problem, "Connection") end
  return TRANSIENT[response.status] == true
end

local function pause(response, try)
  local wanted = response and tonumber(response.headers["retry-after"]) or 0.25 * 2 ^ (try - 1)
  task.sleep(math.min(math.max(wanted, 0), LONGEST_PAUSE))
end

---Sends a request, again where that is harmless, and returns the answer as it is.
---@param method string
---@param path string below the endpoint, with its query
---@param options {body: string?, headers: table?, timeout: any}?
---@return {status: integer, headers: table, body: string} response, table request
function Client:send(method, path, options)
  options = options or {}
  local logged_in = false
  for try = 1, math.huge do
    local request = { method = method, url = self.endpoint .. path, body = options.body, headers = auth.headers(self),
      timeout = options.timeout or self.options.timeout or "60s" }
    for name, value in pairs(options.headers or {}) do request.headers[name] = value end
    local ok, response = pcall(self.transport, request)
    if ok and self.jar and not logged_in and reply.wants_login(response) then
      logged_in = true -- the session is over; the request has not come through
      self.jar = require "kfp.client.dex".login(self, self.options.dex)
    elseif may_repeat(self, request, response, not ok and response, try) then
      pause(ok and response or nil, try)
    elseif ok then return response, request
    else error(response, 0) end
  end
end

---Sends JSON and returns the object that comes back.
---@param method string
---@param path string as it is
---@param options {query: table?, body: table?, timeout: any}
---@return table # raises what the server, or a proxy in front of it, refuses
function Client:ask(method, path, options)
  local sent = { timeout = options.timeout, headers = { Accept = "application/json" } }
  if options.body then
    sent.body = json.encode(options.body)
    sent.headers["Content-Type"] = "application/json"
  end
  local response, request = self:send(method, path .. query.encode(options.query or {}), sent)
  return reply.value(response, request)
end

-- Whether a server that knows no such path has the older API alone.
local function is_older(client, problem)
  if client.api or problem.status ~= 404 or problem.code == "NotFound" and problem.message ~= "Not Found" then
    return false
  end
  local asked = errors.try(client)
  if asked:ask("GET", "/apis/v2beta1/healthz", {}) then client.api = "v2beta1"
  elseif asked:ask("GET", "/apis/v1beta1/healthz", {}) then client.api = "v1beta1" end
  return client.api == "v1beta1"
end

---Sends JSON and returns the object that comes back; asks a server that has only v1beta1 in that API's words.
---@param method string
---@param path string "/apis/v2beta1/runs"
---@param options {query: table?, body: table?, timeout: any}?
---@return table # raises what the server, or a proxy in front of it, refuses; "Unsupported" for what v1beta1 lacks
function Client:request(method, path, options)
  options = options or {}
  if self.api ~= "v1beta1" then
    local answer, problem = errors.try(self):ask(method, path, options)
    if answer then return answer end
    if not is_older(self, problem) then error(problem, 0) end
  end
  return require "kfp.client.older".request(self, method, path, options)
end

---What the server says of itself.
---@return table {multi_user, commit_sha, …}
function Client:health()
  if not self.healthz then self.healthz = self:request("GET", "/apis/v2beta1/healthz") end
  return self.healthz
end

---Uploads a pipeline, once: the same text under the same name is found again.
---@param ir string|table the text of a pipeline's file, or the PipelineSpec
---@param options {name: string?, description: string?}?
---@return {pipeline_id: string, version_id: string, created: boolean}
function Client:upload(ir, options)
  return require "kfp.client.upload".upload(self, ir, options or {})
end

---Looks for what is wrong with the way to the server: each check with what it found and what would help.
---@return {check: string, ok: boolean, message: string, fix: string?}[]
function Client:diagnose()
  return require "kfp.client.diagnose".diagnose(self)
end

-- --- connecting -----------------------------------------------------------------------------------------------

local function default_transport(options)
  local session
  return function(request)
    session = session or require "http".session {
      ca = options.ca, certificate = options.certificate, key = options.key, insecure = options.insecure,
    }
    return session:request(request)
  end
end

local function choose_identity(options, context, environment)
  local said = options.token or options.token_file or options.cookie or options.user or options.dex
  if said then return end
  options.cookie = context.client_authentication_cookie
  if not options.cookie then options.token_file = auth.default_token_file(environment) end
end

---Connects; nothing is sent before the first call, but for a login at Dex.
---@param options table? endpoint, namespace, token_file | token | cookie | user | dex {user, password, connector},
---  kubeconfig, context (of one), kube (a client, for diagnose), timeout, tries (of a question; 4), ca, insecure, api
---  ("v1beta1" for a server that is known to have no other; else it is found out), transport (a function request ->
---  response, for tests)
---@return kfp.Client # raises "Auth"
function M.connect(options)
  local given = {}
  for key, value in pairs(options or {}) do given[key] = value end
  local environment = given.environment or os.getenv
  auth.check(given)
  local context = endpoint.context(environment)
  choose_identity(given, context, environment)
  local place, how = endpoint.find(given, environment)
  local client = setmetatable({
    endpoint = place, how = how, options = given, transport = given.transport or default_transport(given),
    namespace = given.namespace or context.namespace or endpoint.pod_namespace(environment), api = given.api,
  }, Client)
  if not place then client.transport, client.endpoint = endpoint.through_kubernetes(given) end
  if given.dex then client.jar = require "kfp.client.dex".login(client, given.dex) end
  for name, resource in pairs(resources.of(client)) do client[name] = resource end
  client.try = errors.try(client)
  return client
end

return M
