-- lab.admission.webhooks: mutating and validating webhooks, called as the API server calls them.
-- Not for registrations (lab.rules.webhooks). Only addresses on this machine are called.
--   webhooks:mutate(ctx, attributes) -> whether the object was changed

local errors = require "errors"
local go_json = require "lab.go_json"
local hash = require "hash"
local json = require "json"
local kube = require "kube"
local matching = require "lab.admission.matching"
local status = require "lab.status"
local store = require "lab.store"
local task = require "task"
local yaml = require "yaml"
local writes = nil -- loaded when it is first needed: it needs this file

local M = {}

local GROUP = "admissionregistration.k8s.io/"

---@class lab.Webhooks
local webhooks = {}
webhooks.__index = webhooks

function M.new(cluster) return setmetatable({ cluster = cluster }, webhooks) end

function webhooks:forget() self.mutating, self.validating = nil, nil end

-- The hooks of all configurations, in the order of their names.
local function hooks_of(self, kind)
  if not self[kind] then
    local list = {}
    local c = self.cluster.store:collection(GROUP .. kind .. "webhookconfigurations")
    for _, record in ipairs(c:records()) do
      for _, hook in ipairs(store.view(record).webhooks or {}) do
        list[#list + 1] = { hook = hook, configuration = record.name }
      end
    end
    self[kind] = list
  end
  return self[kind]
end

-- --- which are called -----------------------------------------------------------------------------

local function failed(entry, text)
  local said = ('failed calling webhook "%s": %s'):format(entry.hook.name, text)
  return status.new(500, "InternalError", "Internal error occurred: " .. said, { causes = { { message = said } } })
end

local function is_meant(ctx, entry, a)
  local hook = entry.hook
  return matching.rules(hook.rules, a, hook.matchPolicy) and matching.namespace(ctx, hook.namespaceSelector, a)
    and matching.object(hook.objectSelector, a)
end

-- Whether the conditions of a hook let it be called; they may fail.
local function conditions_hold(ctx, entry, a, request)
  local conditions = entry.hook.matchConditions
  if not conditions or #conditions == 0 then return true end
  local holds, problem = matching.conditions(conditions, matching.values(ctx, a, request))
  if holds ~= nil then return holds end
  if entry.hook.failurePolicy == "Ignore" then return false end
  status.raise(403, "Forbidden", ("%s is forbidden: %s"):format(status.resource_name(a.resource), problem))
end

-- --- one call -------------------------------------------------------------------------------------

local LOOPBACK = { ["127.0.0.1"] = true, localhost = true, ["[::1]"] = true }

-- The address of a pod that is ready behind a service, and the port there.
local function address_of(self, service)
  local inside = require "lab.inside"
  local endpoints = inside.view(self.cluster, "endpoints", service.namespace, service.name)
  local declared = inside.view(self.cluster, "services", service.namespace, service.name)
  if not declared then return nil, ('service "%s" not found'):format(service.name) end
  local number = service.port or 443
  local name
  for _, port in ipairs(declared.spec.ports or {}) do
    if port.port == number then name = port.name or "" end
  end
  if not name then return nil, ("no service port %d found for service %q"):format(number, service.name) end
  local ready = {}
  for _, subset in ipairs(endpoints and endpoints.subsets or {}) do
    for _, port in ipairs(subset.ports or {}) do
      if (port.name or "") == name then
        for _, one in ipairs(subset.addresses or {}) do ready[#ready + 1] = { one.ip, port.port } end
      end
    end
  end
  if #ready == 0 then return nil, ("no endpoints available for service %q"):format(service.name) end
  self.turn = (self.turn or 0) + 1 -- in turns, so that every replica is asked
  return table.unpack(ready[self.turn % #ready + 1])
end

-- Where a hook is called: its url, the host name that its certificate must have where that is another one, and the pod
-- where only the lab reaches its network.
local function url_of(self, entry)
  local config = entry.hook.clientConfig
  local timeout = entry.hook.timeoutSeconds
  if not config.url then
    local service = config.service
    local shown = ("https://%s.%s.svc:%d%s?timeout=%ds"):format(service.name, service.namespace, service.port or 443,
      service.path or "/", timeout)
    local address, port = address_of(self, service)
    if not address then return nil, ('Post "%s": %s'):format(shown, port) end
    local url = ("https://%s:%d%s?timeout=%ds"):format(address, port, service.path or "/", timeout)
    local nodes = self.cluster.nodes
    local sandbox = nodes and nodes.runtime.switch.by_address[address]
    return url, ("%s.%s.svc"):format(service.name, service.namespace), sandbox and sandbox.link and
      { sandbox = sandbox, port = port }
  end
  local host = config.url:match "^https://([^/:]+)" or config.url:match "^https://(%[[^%]]*%])"
  local url = ("%s?timeout=%ds"):format(config.url, timeout)
  if not host or not (LOOPBACK[host] or host:match "^127%.") then
    return nil, ('Post "%s": the lab calls addresses on this machine only'):format(url)
  end
  return url
end

-- A failure to connect, in the words of the real server.
local function connection_text(url, problem)
  local text
  if problem.code == "Timeout" then
    text = "context deadline exceeded"
  elseif problem.code == "TLS" then
    text = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
  else
    text = ("dial tcp %s: connect: connection refused"):format(url:match "^https://([^/?]+)")
  end
  return ('Post "%s": %s'):format(url, text)
end

local function session_of(self)
  self.session = self.session or require("http").session { http2 = false }
  return self.session
end

---Ends the connections to webhooks.
function webhooks:close()
  if self.session then self.session:close() end
  self.session = nil
end

local function send(self, options, pod)
  if not pod then return session_of(self):request(options) end
  local forward = require "lab.network.forward"
  return forward.through(self.cluster.nodes.runtime.switch, pod.sandbox, pod.port, function(path)
    options.unix_socket = path
    return require("http").request(options)
  end)
end

local function post(self, entry, review)
  local url, server_name, pod = url_of(self, entry)
  if not url then return nil, "failed to call webhook: " .. server_name end
  local bundle = entry.hook.clientConfig.caBundle
  local ok, response = pcall(send, self, {
    url = url, method = "POST", body = review, timeout = entry.hook.timeoutSeconds, http2 = false,
    ca = bundle and hash.unbase64(bundle) or nil, max_body = 16 * 1048576, proxy = "", server_name = server_name,
    headers = { ["Content-Type"] = "application/json", Accept = "application/json, */*",
                ["User-Agent"] = "kube-apiserver-admission" },
  }, pod)
  if not ok then
    if not errors.is(response) or errors.is(response, "Cancelled") then error(response, 0) end
    return nil, "failed to call webhook: " .. connection_text(url, response)
  end
  if response.status < 200 or response.status > 299 then
    return nil, ('failed to call webhook: an error on the server ("%s") has prevented the request from succeeding')
      :format(response.body)
  end
  return response.body
end

local function read_answer(text, uid)
  local ok, answer = pcall(json.decode, text)
  if not ok then ok, answer = pcall(yaml.decode, text) end
  if not ok or type(answer) ~= "table" or json.is_array(answer) then
    return nil, "failed to call webhook: couldn't get version/kind; json parse error: "
      .. (not ok and go_json.fault(text) or ("json: cannot unmarshal %s into Go value of type struct { APIVersion "
      .. 'string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'):format(
        require("lab.types").json_name(answer)))
  end
  if answer.apiVersion ~= nil and answer.apiVersion ~= "admission.k8s.io/v1" then
    return nil, ("failed to call webhook: converting (%s.AdmissionReview) to (v1.AdmissionReview): unknown conversion")
      :format(tostring(answer.apiVersion):match "[^/]*$")
  end
  local response = answer.response
  if type(response) ~= "table" then return nil, "received invalid webhook response: webhook response was absent" end
  if answer.kind ~= "AdmissionReview" then
    return nil, "received invalid webhook response: expected webhook response of admission.k8s.io/v1, "
      .. ("Kind=AdmissionReview, got %s, Kind=%s"):format(tostring(answer.apiVersion), tostring(answer.kind))
  end
  if response.uid ~= uid then
    return nil, ('received invalid webhook response: expected response.uid="%s", got "%s"'):format(
      uid, tostring(response.uid))
  end
  return response
end

local function check_patch(response, mutating)
  if response.patch ~= nil and not mutating then
    return "received invalid webhook response: validating webhook may not return response.patch"
  end
  if response.patch ~= nil and response.patchType == nil then
    return "received invalid webhook response: webhook returned response.patch but not response.patchType"
  end
  if response.patch == nil and response.patchType ~= nil then
    return "received invalid webhook response: webhook returned response.patchType but not response.patch"
  end
  if response.patchType ~= nil and response.patchType ~= "JSONPatch" then
    return ("received invalid webhook response: unsupported patchType %q"):format(tostring(response.patchType))
  end
end

local function denial(entry, response)
  local given = type(response.status) == "table" and response.status or {}
  local text = ('admission webhook "%s" denied the request'):format(entry.hook.name)
  if (given.message or "") ~= "" then
    text = text .. ": " .. given.message
  elseif (given.reason or "") ~= "" then
    text = text .. ": " .. given.reason
  else
    text = text .. " without explanation"
  end
  local code = math.type(given.code) == "integer" and given.code > 0 and given.code or 400
  return status.new(code, given.reason, text, given.details)
end

-- Calls a hook. Returns its response, or nothing when its failure is to be passed over; raises otherwise.
local function call(self, ctx, entry, request, mutating)
  request.uid = require("lab.ids").uid()
  local review = json.encode({ kind = "AdmissionReview", apiVersion = "admission.k8s.io/v1", request = request },
    { sort = true })
  local text, problem = post(self, entry, review)
  local response
  if text then response, problem = read_answer(text, request.uid) end
  if response then problem = check_patch(response, mutating) end
  if problem then
    if entry.hook.failurePolicy == "Ignore" then return nil end
    error(failed(entry, problem), 0)
  end
  for _, warning in ipairs(type(response.warnings) == "table" and response.warnings or {}) do
    ctx.warnings[#ctx.warnings + 1] = warning
  end
  if not response.allowed then error(denial(entry, response), 0) end
  return response
end

local function check_side_effects(entry, a)
  local effects = entry.hook.sideEffects
  if a.dry_run and effects ~= "None" and effects ~= "NoneOnDryRun" then
    status.bad_request('admission webhook "%s" does not support dry run', entry.hook.name)
  end
end

-- --- mutation -------------------------------------------------------------------------------------

local function apply_patch(entry, response, object)
  local text = hash.unbase64(response.patch)
  local ok, ops = pcall(json.decode, text)
  if not ok or not json.is_array(ops) then
    error(failed(entry, "received undecodable patch in webhook response: " .. (not ok and go_json.fault(text)
      or ("json: cannot unmarshal %s into Go value of type jsonpatch.Patch"):format(
        require("lab.types").json_name(ops)))), 0)
  end
  local applied, result = pcall(kube.patch.json, object, ops)
  if not applied then
    if not errors.is(result) then error(result, 0) end
    status.internal("%s", result.message)
  end
  return result
end

-- Runs one mutating hook; whether it changed the object.
local function mutate_one(self, ctx, entry, a)
  if not is_meant(ctx, entry, a) then return nil end
  local request = matching.request(ctx, a)
  if not conditions_hold(ctx, entry, a, request) then return nil end
  check_side_effects(entry, a)
  local response = call(self, ctx, entry, request, true)
  if not response or response.patch == nil or a.operation == "DELETE" then return false end
  local result = apply_patch(entry, response, a.object)
  writes = writes or require "lab.writes"
  if writes.same(result, a.object) then return false end
  a.object = result
  return true
end

-- Registrations are not admitted by webhooks: that would lock everybody out.
local function is_registration(a) return a.resource.stored:find "webhookconfigurations$" ~= nil end

---@return boolean changed
function webhooks:mutate(ctx, a)
  local hooks = hooks_of(self, "mutating")
  if #hooks == 0 or is_registration(a) then return false end
  local changed, called = false, {}
  for _, entry in ipairs(hooks) do
    local result = mutate_one(self, ctx, entry, a)
    if result then
      changed = true
      for _, earlier in ipairs(called) do earlier.again = true end
    end
    if result ~= nil then called[#called + 1] = { entry = entry } end
  end
  -- Once more, in their order: who comes after one that changes something then, is asked again as well.
  for number, one in ipairs(called) do
    if one.again and one.entry.hook.reinvocationPolicy == "IfNeeded" and mutate_one(self, ctx, one.entry, a) then
      for later = number + 1, #called do called[later].again = true end
    end
  end
  return changed
end

-- --- validation -----------------------------------------------------------------------------------

function webhooks:validate(ctx, a)
  local hooks = hooks_of(self, "validating")
  if #hooks == 0 or is_registration(a) then return end
  local calls = {}
  for _, entry in ipairs(hooks) do
    if is_meant(ctx, entry, a) then
      local request = matching.request(ctx, a)
      if conditions_hold(ctx, entry, a, request) then
        check_side_effects(entry, a)
        calls[#calls + 1] = function() return call(self, ctx, entry, request, false) or true end
      end
    end
  end
  if #calls == 1 then
    calls[1]()
  elseif #calls > 1 then
    task.all(calls)
  end
end

return M
