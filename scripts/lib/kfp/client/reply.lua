-- What a server, or something in front of it, answered: the value, or an error table that says whose word it is.
-- Not for sending: see client.
--   local value = reply.value(response, { method = "GET", path = "runs/1" })
local errors = require "errors"
local json = require "json"

local M = {}

-- gRPC's codes, as KFP's errors carry them.
local CODES = {
  [1] = "Cancelled", [2] = "Unknown", [3] = "InvalidArgument", [4] = "Timeout", [5] = "NotFound",
  [6] = "AlreadyExists", [7] = "PermissionDenied", [8] = "ResourceExhausted", [9] = "FailedPrecondition",
  [10] = "Aborted", [11] = "OutOfRange", [12] = "Unimplemented", [13] = "Internal", [14] = "Unavailable",
  [16] = "Unauthenticated",
}

local BY_STATUS = {
  [400] = "InvalidArgument", [401] = "Unauthenticated", [403] = "PermissionDenied", [404] = "NotFound",
  [409] = "AlreadyExists", [429] = "ResourceExhausted", [500] = "Internal", [501] = "Unimplemented",
  [503] = "Unavailable",
}

-- Go appends its stack to some messages.
local function without_stack(text)
  local cut = text:find("\n<stack trace>", 1, true) or text:find "\ngoroutine %d+" or text:find "\n[%w./]+%.go:%d+"
    or text:find "\n[%w/._-]+%.%(?%*?%w+%)?%.%w+\n"
  return ((cut and text:sub(1, cut - 1) or text):gsub("%s+$", ""))
end

local function decoded(body)
  local value = body ~= "" and json.try.decode(body, { duplicates = "last" })
  return type(value) == "table" and not json.is_array(value) and value or nil
end

local function text_of(value)
  if value == nil or value == json.null or type(value) == "string" then return value ~= json.null and value or nil end
  return json.encode(value)
end

-- The message of one of KFP's three error shapes, and the code, and the long form.
local function said(object)
  if object.error_message then
    local details = type(object.error_details) == "string" and without_stack(object.error_details) or nil
    return text_of(object.error_message), nil, details
  end
  local first = type(object.details) == "table" and object.details[1]
  local long = type(object.message) == "string" and object.message or text_of(object.error)
  local short = type(first) == "table" and type(first.message) == "string" and first.message ~= "" and first.message
  return short or long, object.code or (type(first) == "table" and first.code) or nil, long
end

local function looks_like_error(object)
  if type(object.error_message) == "string" then return true end
  return type(object.code) == "number" and (object.message ~= nil or object.details ~= nil)
end

-- --- those in front --------------------------------------------------------------------------------------

local function is_html(response)
  local kind = response.headers["content-type"] or ""
  return kind:find "text/html" ~= nil or response.body:find "^%s*<![dD][oO][cC]" ~= nil
    or response.body:find "^%s*<html" ~= nil
end

-- A proxy that asks for a login and knows that no browser asks: JSON, but none of KFP's.
local function is_bare_refusal(response)
  local object = response.status == 401 and decoded(response.body)
  return response.status == 401 and (response.body == "" or object and object.code == nil and object.message == nil
    and object.error_message == nil) or false
end

-- An answer of a proxy, not of KFP: what it means.
local function in_front(response)
  local body = response.body
  if is_bare_refusal(response) then return "Login", "the gateway wants a login" end
  if response.status == 403 and body:find("RBAC: access denied", 1, true) then
    return "Denied", "RBAC: access denied: Istio's policy lets nobody through who asks like this"
  end
  local location = response.headers.location
  if response.status >= 300 and response.status < 400 then
    return "Login", ("the gateway wants a login (%s)"):format(location or "no place named")
  end
  if is_html(response) then
    if response.status == 401 or body:find "[Ll]og ?in" or body:find "[Ss]ign in" then
      return "Login", "a login page came back instead of KFP's answer"
    end
    return "Protocol", ("a page of a proxy came back instead of KFP's answer (status %d)"):format(response.status)
  end
end

---@param response table
---@return boolean # whether somebody in front of KFP wants a login first
function M.wants_login(response)
  return in_front(response) == "Login"
end

local function fail(request, response, code, message, more)
  local err = more or {}
  err.code, err.message, err.status = code, message, response.status
  err.method, err.url = request.method, request.url
  err.retry_after = tonumber(response.headers["retry-after"])
  errors.raise(err)
end

local function refuse(request, response)
  local code, message = in_front(response)
  if code then fail(request, response, code, message) end
  local object = decoded(response.body)
  local short, number, long
  if object then short, number, long = said(object) end
  local text = short or response.body
  if text == "" then text = ("the server answered with status %d"):format(response.status) end
  fail(request, response, CODES[number] or BY_STATUS[response.status] or ("HTTP%d"):format(response.status),
    without_stack(text), { details = long and without_stack(long) or nil })
end

-- --- parts of an answer ----------------------------------------------------------------------------------------

---A list of objects in an answer.
---@param object table
---@param name string
---@return table[] # empty when it is left out; raises "Protocol" when it is something else
function M.list(object, name)
  local list = object[name]
  if list == nil or list == json.null then return {} end
  local fits = type(list) == "table" and (json.is_array(list) or next(list) == nil)
  for _, one in ipairs(fits and list or {}) do fits = fits and type(one) == "table" and not json.is_array(one) end
  if not fits then
    errors.raise { code = "Protocol", message = ("'%s' of the answer is no list of objects"):format(name) }
  end
  return list
end

---A text in an answer.
---@param object table
---@param name string
---@return string # raises "Protocol" when it is not there
function M.string(object, name)
  if type(object[name]) == "string" then return object[name] end
  return errors.raise { code = "Protocol", message = ("the answer has no '%s'"):format(name) }
end

-- --- values ------------------------------------------------------------------------------------------------

---The object of an answer; raises what it refuses.
---@param response {status: integer, headers: table<string, string>, body: string}
---@param request {method: string, url: string}
---@return table value # raises a code of gRPC ("NotFound", …), "Denied", "Login", "Protocol"
function M.value(response, request)
  if response.status < 200 or response.status >= 300 then refuse(request, response) end
  if response.body == "" then return {} end
  local object = decoded(response.body)
  if not object then
    local code, message = in_front(response)
    fail(request, response, code or "Protocol", message or "the answer is no JSON object")
  end
  if looks_like_error(object) then refuse(request, response) end
  return object
end

---The text of an answer. The path of logs answers 200 also when it has an error to tell.
---@param response table
---@param request table
---@return string text # raises as value does
function M.text(response, request)
  if response.status < 200 or response.status >= 300 then refuse(request, response) end
  local object = response.body:find '^%s*{%s*"error_message"' and decoded(response.body)
  if object then refuse(request, response) end
  local code, message = in_front(response)
  if code then fail(request, response, code, message) end
  return response.body
end

return M
