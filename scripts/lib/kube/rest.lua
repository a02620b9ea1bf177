-- kube.rest: sends a request for a client: headers, credentials, other tries, errors, the line in the log.
-- Not for what a request means (kube.objects). The transport is whatever has :request and :stream as http has.
--   local response = rest.send(client, { verb = "get", method = "GET", path = "/version" })

local errors = require "errors"
local failure = require "kube.failure"
local guard = require "kube.guard"
local json = require "json"
local log = require "kube.log"
local task = require "task"

local M = {}

local MOST_TRIES <const> = 10 -- of a request that the server asks to send again later
local LONGEST_PAUSE <const> = 60 -- seconds; who asks for more gets its error
local CONNECT_TIMEOUT <const> = 30

-- --- paths and queries ------------------------------------------------------------------------------------

local function escape(text, keep)
  return (text:gsub("[^%w%-._~" .. keep .. "]", function(c) return ("%%%02X"):format(c:byte()) end))
end

---@param resource kube.Resource
---@param namespace string? nil: the cluster, or all namespaces
---@param name string?
---@param subresource string?
---@return string
function M.path(resource, namespace, name, subresource)
  local parts = { resource.group == "" and "/api" or "/apis/" .. resource.group, resource.version }
  if namespace then
    parts[#parts + 1] = "namespaces"
    parts[#parts + 1] = escape(namespace, "")
  end
  parts[#parts + 1] = resource.plural
  if name then parts[#parts + 1] = escape(name, ":@!$&'()*+,;=") end
  if subresource then parts[#parts + 1] = subresource end
  return table.concat(parts, "/")
end

local function sorted_names(map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return names
end

---@param query table<string, any> values are texts, numbers, booleans, or lists of them
---@return string # "?a=b&c=d", or ""
function M.query(query)
  local parts = {}
  for _, name in ipairs(sorted_names(query)) do
    local values = query[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      parts[#parts + 1] = escape(name, "") .. "=" .. escape(tostring(value), "")
    end
  end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

-- --- warnings ---------------------------------------------------------------------------------------------

---The texts of a Warning header: `299 - "text", 299 - "text"`.
---@param header string|string[]|nil
---@return string[]
function M.warnings(header)
  local list = {}
  for _, line in ipairs(type(header) == "table" and header or { header }) do
    local at = 1
    while true do
      local _, begin = line:find('%d%d%d%s+%S+%s+"', at)
      if not begin then break end
      local finish = begin + 1
      while finish <= #line and line:sub(finish, finish) ~= '"' do
        finish = finish + (line:sub(finish, finish) == "\\" and 2 or 1)
      end
      list[#list + 1] = line:sub(begin + 1, finish - 1):gsub("\\(.)", "%1")
      at = finish + 1
    end
  end
  return list
end

local function show_warnings(client, response)
  local list = M.warnings(response.headers and response.headers.warning)
  for _, text in ipairs(list) do
    if not client.warned[text] then
      client.warned[text] = true
      log.warn(client.log, text)
    end
  end
  return list
end

-- --- one try ----------------------------------------------------------------------------------------------

local function impersonation(client, headers)
  if client.as then headers["Impersonate-User"] = client.as end
  if client.as_uid then headers["Impersonate-Uid"] = client.as_uid end
  if client.as_groups and #client.as_groups > 0 then
    headers["Impersonate-Group"] = #client.as_groups == 1 and client.as_groups[1] or client.as_groups
  end
  for name, values in pairs(client.as_extra or {}) do
    headers["Impersonate-Extra-" .. escape(name:lower(), "")] = type(values) == "table" and #values == 1 and values[1]
      or values
  end
end

local function headers_of(client, request)
  local headers = { ["User-Agent"] = client.user_agent, Accept = request.accept or "application/json" }
  if request.body then headers["Content-Type"] = request.content_type or "application/json" end
  for name, value in pairs(client.auth:headers()) do headers[name] = value end
  impersonation(client, headers)
  for name, value in pairs(request.headers or {}) do headers[name] = value end
  return headers
end

local function left(deadline)
  return deadline and math.max(deadline - task.now(), 0.001)
end

-- The transport takes "." and ".." out of a path: what is left would be another object.
local function refuse_dots(path)
  for segment in path:gsub("%%2[eE]", "."):gmatch "[^/]+" do
    if segment == "." or segment == ".." then
      errors.raise { code = "Invalid", message = ("'%s' may not stand in the path %s"):format(segment, path) }
    end
  end
end

---What the transport needs for a request of this client.
---@param client table
---@param request table
---@param deadline number? of task.now
---@return table # raises "Invalid" for a path that leads elsewhere
function M.options(client, request, deadline)
  refuse_dots(request.path)
  local certificate, key = client.auth:certificate()
  return {
    url = client.server .. request.path .. M.query(request.query or {}), method = request.method,
    headers = headers_of(client, request), body = request.body, timeout = left(deadline),
    connect_timeout = CONNECT_TIMEOUT, certificate = certificate, key = key,
    ca = client.ca, insecure = client.insecure, server_name = client.server_name, proxy = client.proxy,
  }
end

local function about(client, request)
  return {
    verb = request.verb or request.method:lower(), resource = request.resource, namespace = request.namespace,
    name = request.name, user = client.as or client.user, context = client.context, server = client.server,
  }
end

-- The body of a stream that turned out to be an error.
local function read_all(stream)
  local pieces = {}
  for _ = 1, 1000 do
    local piece = stream:read(10)
    if not piece then break end
    pieces[#pieces + 1] = piece
  end
  stream:close()
  return table.concat(pieces)
end

local function try(client, request, deadline)
  local options = M.options(client, request, deadline)
  if request.write and client.fence then client.fence(request) end -- also after a pause
  local transport = request.transport or client.transport
  local method = request.stream and transport.stream or transport.request
  local ok, response = pcall(method, transport, options)
  if not ok then error(failure.of_transport(response, about(client, request)), 0) end
  if request.stream and response.status >= 400 then
    response = { status = response.status, headers = response.headers, body = read_all(response) }
  end
  return response
end

-- --- other tries ------------------------------------------------------------------------------------------

-- An eviction against a budget is an answer, not a busy server.
local function pause_of(response)
  if response.status ~= 429 and response.status ~= 503 then return nil end
  local seconds = tonumber(response.headers and response.headers["retry-after"] or nil)
  if not seconds or seconds > LONGEST_PAUSE then return nil end
  return math.max(seconds, 0.1)
end

local function answer(client, request, deadline)
  local renewed = false
  for number = 1, MOST_TRIES do
    local response = try(client, request, deadline)
    local pause = pause_of(response)
    if response.status == 401 and not renewed and client.auth:renew() then
      renewed = true
    elseif pause and number < MOST_TRIES and not (deadline and task.now() + pause >= deadline) then
      client.stats.retries = client.stats.retries + 1
      task.sleep(pause)
    else
      return response
    end
  end
end

-- --- all of it --------------------------------------------------------------------------------------------

-- The result of a write for the log: nothing of the body but its version.
local function result_of(response)
  if response.status >= 400 then return "failed" end
  return response.status == 201 and "created" or "ok"
end

local function log_write(client, request, response, problem)
  local name = request.name
  if not name and response and response.status < 300 and request.method == "POST" then
    name = (response.body or ""):match '"metadata":%s*{%s*"name":%s*"([^"]*)"' -- generateName
  end
  log.write(client.log, {
    event = "write", verb = request.verb or request.method:lower(), resource = request.resource,
    path = not request.resource and request.path or nil, subresource = request.subresource,
    namespace = request.namespace, name = name, manager = request.query.fieldManager or client.manager or "kfhost",
    result = problem and (errors.is(problem) and problem.code or "failed") or result_of(response),
    status = response and response.status or errors.is(problem) and problem.status or nil,
    dry_run = request.query.dryRun and true or nil, context = client.context,
  })
end

local function checked(client, request, deadline)
  local response = answer(client, request, deadline)
  response.warnings = show_warnings(client, response)
  if request.raw then return response end
  if response.status < 400 then
    local stranger = failure.of_stranger(response, about(client, request), request.path)
    if not stranger then return response end
    if response.close then response:close() end
    error(stranger, 0)
  end
  local remedy = response.status == 401 and require("kube.auth").remedy(client.credentials) or nil
  error(failure.of_response(response, about(client, request), remedy), 0)
end

---Sends a request.
---@param client table
---@param request {method: string, path: string, verb: string?, query: table?, headers: table?, body: string?,
---  content_type: string?, accept: string?, resource: string?, namespace: string?, name: string?,
---  subresource: string?, stream: boolean?, raw: boolean?, timeout: number|string|nil, exempt: boolean?}
---  raw: an answer of 400 or more is no error
---@return {status: integer, headers: table, body: string, warnings: string[]} # or a stream, which the caller closes
---raises what kube.failure makes, or "Refused"
function M.send(client, request)
  request.query = request.query or {}
  local timeout = request.timeout or (not request.stream and client.timeout) or nil
  local deadline = timeout and task.now() + task.seconds(timeout)
  client.stats.requests = client.stats.requests + 1
  request.write = guard.is_write(request)
  if not request.write then return checked(client, request, deadline) end
  guard.check(client, request)
  local ok, response = pcall(checked, client, request, deadline)
  if ok then log_write(client, request, response) else log_write(client, request, nil, response) end
  if not ok then error(response, 0) end
  return response
end

---@param response {body: string}
---@param request table
---@param client table
---@return any the decoded body; an empty one is nil
---raises {code="Protocol"}
function M.decode(response, request, client)
  local body = response.body
  if body == nil or body == "" then
    if request.method ~= "GET" then return nil end
    body = "" -- what is read has an answer
  end
  local value, problem = json.try.decode(body, { duplicates = "last" })
  if problem then
    errors.raise {
      code = "Protocol", message = ("%s %s: the answer is no JSON: %s"):format(request.method, request.path,
        problem.message), verb = request.verb, resource = request.resource, namespace = request.namespace,
      name = request.name, context = client.context, server = client.server, status = response.status,
    }
  end
  return value
end

return M
