-- kube.failure: what went wrong with a request, as an error table that says who asked for what, and where.
-- Not for deciding about another try (kube.rest); nothing of a request's body or headers gets in here.
--   error(failure.of_response(response, about), 0)

local errors = require "errors"
local json = require "json"

local M = {}

---@class kube.About what an error and a log line tell of a request
---@field verb string
---@field resource string? plural
---@field namespace string?
---@field name string?
---@field user string?
---@field context string?
---@field server string

local TOLD = { "verb", "resource", "namespace", "name", "user", "context", "server" }

local function with_place(problem, about)
  for _, field in ipairs(TOLD) do
    if problem[field] == nil then problem[field] = about[field] end
  end
  return errors.new(problem)
end

local function given(value)
  if value == nil or value == json.null or value == "" then return nil end
  return value
end

-- --- answers ------------------------------------------------------------------------------------------------

local function status_of(body)
  if not body:find "^%s*{" then return nil end
  local value = json.try.decode(body, { duplicates = "last" })
  return type(value) == "table" and value.kind == "Status" and value or nil
end

local function what(about)
  local text = about.verb .. (about.resource and " " .. about.resource or "")
  if about.name then text = text .. " '" .. about.name .. "'" end
  if about.namespace then text = text .. " in namespace '" .. about.namespace .. "'" end
  return text
end

-- A page for a browser: some proxy, gateway or login page answered in the API server's place.
local function page_message(body, response)
  local title = body:match "<[tT][iI][tT][lL][eE][^>]*>%s*(.-)%s*</"
  return ("a web page came instead of an answer of the API server: a proxy or login page is in between%s (HTTP %d)")
    :format(title and title ~= "" and (" ('%s')"):format(title:sub(1, 80)) or "", response.status)
end

local function is_page(body, response)
  local kind = (response.headers or {})["content-type"] or ""
  return kind:find("text/html", 1, true) ~= nil or body:find "^%s*<[!hH][dDtT]" ~= nil
end

local HINTS = {
  [401] = "the credentials are not accepted",
  [403] = "not allowed",
  [404] = "the server does not know this path",
  [502] = "the proxy cannot reach the API server",
  [503] = "the API server is not ready",
  [504] = "the API server did not answer in time",
}

local function plain_message(body, response, about)
  if is_page(body, response) then return page_message(body, response) end
  local first = body:match "^%s*([^\r\n]*)"
  local text = HINTS[response.status] or "HTTP " .. response.status
  if #first > 0 and #first < 200 and not first:find "^[{%[]" then text = first end
  return ("%s: %s"):format(what(about), text)
end

local function retry_after(response, details)
  local seconds = tonumber((response.headers or {})["retry-after"] or nil)
  return seconds or details and given(details.retryAfterSeconds)
end

---The error of an answer with a status of 400 or more.
---@param response {status: integer, headers: table, body: string}
---@param about kube.About
---@param remedy string? what helps after a 401
---@return errors.Error code is the Status' reason, or "HTTP<n>"
function M.of_response(response, about, remedy)
  local body = response.body or ""
  local status = status_of(body)
  local details = status and given(status.details)
  local problem = {
    code = status and given(status.reason) or "HTTP" .. response.status,
    message = status and given(status.message) or plain_message(body, response, about),
    status = response.status, details = details, causes = details and given(details.causes),
    retry_after = retry_after(response, details), object = status,
  }
  if response.status == 401 and remedy then
    if not status then problem.code = "Unauthorized" end
    problem.message = problem.message .. ": " .. remedy
  end
  if response.status == 403 and not status then
    problem.message = ("%s as user '%s': %s"):format(what(about), about.user or "unknown",
      is_page(body, response) and page_message(body, response) or "not allowed")
  end
  return with_place(problem, about)
end

---The error of an answer that is none of an API server: a redirection, or a web page with a good status; nil for
---others. What a pod or service behind the proxy subresource answers is its own matter.
---@param response {status: integer, headers: table, body: string?}
---@param about kube.About
---@param path string of the request
---@return errors.Error?
function M.of_stranger(response, about, path)
  if path:find("/proxy", 1, true) then return nil end
  local headers = response.headers or {}
  local kind, body = headers["content-type"], response.body or ""
  local message
  if response.status >= 300 then
    message = ("the server sends elsewhere (HTTP %d%s): a proxy or login page is in between"):format(response.status,
      headers.location and ", to " .. headers.location:match "^[^?#]*" or "")
  elseif kind and kind:find("text/html", 1, true) or not kind and is_page(body, response) then
    message = page_message(body, response)
  end
  if not message then return nil end
  return with_place({ code = "Protocol", message = message, status = response.status }, about)
end

---The error of a Status that came as an object, in a watch.
---@param status table
---@param about kube.About
---@return errors.Error
function M.of_status(status, about)
  return M.of_response({ status = given(status.code) or 500, headers = {}, body = json.encode(status) }, about)
end

-- --- no answer -----------------------------------------------------------------------------------------------

-- What a message of the transport usually means: code, pattern, likely cause.
local CAUSES = {
  { "TLS", "expired", "a certificate has expired: the server's, the client's, or this machine's clock is wrong" },
  { "TLS", "host ?name", "the certificate is for another name: set tls-server-name, or use the name it has" },
  { "TLS", "not match", "the certificate is for another name: set tls-server-name, or use the name it has" },
  { "TLS", "alert", "the server refuses the client's certificate" },
  { "TLS", "", "the server's certificate is not signed by the context's certificate-authority (another cluster, or a "
    .. "proxy that looks into TLS)" },
  { "Connection", "[rR]esol", "the server's name is unknown here: is a VPN missing, or is the name misspelt?" },
  { "Connection", "refused", "nothing listens there: is the cluster up, or a tunnel gone?" },
  { "Connection", "connect to server", "nothing listens there: is the cluster up, or a tunnel gone?" },
  { "Connection", "proxy", "the proxy does not let the connection through" },
  { "Connection", "", "the connection broke off" },
  { "Timeout", "", "no answer in time: is a firewall or VPN in the way, or the server overloaded?" },
}

local function likely_cause(problem)
  for _, entry in ipairs(CAUSES) do
    if entry[1] == problem.code and problem.message:find(entry[2]) then return entry[3] end
  end
end

---The error of a request that got no answer.
---@param problem any what the transport raised
---@param about kube.About
---@return any # an error table that names context, server and the likely cause; other values as they are
function M.of_transport(problem, about)
  if not errors.is(problem) or problem.code == "Cancelled" then return problem end
  local cause = likely_cause(problem)
  return with_place({
    code = problem.code, cause = problem.cause, likely_cause = cause,
    message = ("%s: no answer from %s%s: %s%s"):format(what(about), about.server,
      about.context and (" (context '%s')"):format(about.context) or "", problem.message,
      cause and "; " .. cause or ""),
  }, about)
end

return M
