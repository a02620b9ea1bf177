-- lab.status: the errors of the API: Status objects with the real server's reasons, causes and texts.
-- Not for errors of the lab itself: those are raised as they are, and answered as InternalError.
--   status.not_found(resource, "web")      raises; the handler answers it

local json = require "json"

local M = {}

local mt = {}
mt.__index = mt
mt.__tostring = function(self) return self.body.message end

---@class lab.Status
---@field status integer HTTP status
---@field body table the Status object
---@field headers table<string, string>?

---@param code integer
---@param reason string? empty for none
---@param message string
---@param details table? nil: no field at all
---@param headers table<string, string>?
---@return lab.Status
function M.new(code, reason, message, details, headers)
  local body = {
    kind = "Status", apiVersion = "v1", metadata = json.object {}, status = "Failure",
    message = message, reason = reason, details = details and json.object(details), code = code,
  }
  return setmetatable({ status = code, body = body, headers = headers }, mt)
end

---@param value any what was raised
---@return boolean
function M.is(value) return getmetatable(value) == mt end

---Raises an error of the API.
function M.raise(...) error(M.new(...), 0) end

---The name of a resource in messages: "pods", "jobs.batch".
---@param resource {group: string, plural: string}
---@return string
function M.resource_name(resource)
  return resource.group == "" and resource.plural or resource.plural .. "." .. resource.group
end

local function details_of(resource, name)
  return { name = name ~= "" and name or nil, group = resource.group ~= "" and resource.group or nil,
           kind = resource.plural }
end

function M.not_found(resource, name)
  M.raise(404, "NotFound", ('%s "%s" not found'):format(M.resource_name(resource), name), details_of(resource, name))
end

---There is no such resource, or no such path below it.
function M.no_resource()
  M.raise(404, "NotFound", "the server could not find the requested resource", {})
end

function M.already_exists(resource, name, deleting)
  local text = ('%s%s "%s" already exists'):format(
    deleting and "object is being deleted: " or "", M.resource_name(resource), name)
  M.raise(409, "AlreadyExists", text, details_of(resource, name))
end

function M.conflict(resource, name, why)
  why = why or "the object has been modified; please apply your changes to the latest version and try again"
  local text = ('Operation cannot be fulfilled on %s "%s": %s'):format(M.resource_name(resource), name, why)
  M.raise(409, "Conflict", text, details_of(resource, name))
end

function M.forbidden(resource, name, why, causes)
  local named = M.resource_name(resource)
  if name and name ~= "" then named = ('%s "%s"'):format(named, name) end
  local details = details_of(resource, name)
  details.causes = causes
  M.raise(403, "Forbidden", named .. " is forbidden: " .. why, details)
end

function M.bad_request(format, ...)
  M.raise(400, "BadRequest", select("#", ...) > 0 and format:format(...) or format)
end

function M.internal(format, ...)
  local text = select("#", ...) > 0 and format:format(...) or format
  M.raise(500, "InternalError", "Internal error occurred: " .. text, { causes = { { message = text } } })
end

---An error that the real server answers as 500 without a reason.
function M.plain_500(message) M.raise(500, nil, message) end

function M.unauthorized() M.raise(401, "Unauthorized", "Unauthorized") end

function M.method_not_allowed()
  M.raise(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})
end

function M.unprocessable()
  M.raise(422, "Invalid", "the server rejected our request due to an error in our request", {})
end

function M.expired(message, continue)
  local raised = M.new(410, "Expired", message)
  if continue then raised.body.metadata = { continue = continue } end
  error(raised, 0)
end

---The version asked for is newer than what there is.
function M.too_large_version(asked, current)
  M.raise(504, "Timeout", ("Timeout: Too large resource version: %s, current: %d"):format(asked, current), {
    causes = { { reason = "ResourceVersionTooLarge", message = "Too large resource version" } },
    retryAfterSeconds = 1,
  }, { ["Retry-After"] = "1" })
end

-- --- causes ---------------------------------------------------------------------------------------

local REASONS = {
  required = "FieldValueRequired", invalid = "FieldValueInvalid", type = "FieldValueTypeInvalid",
  supported = "FieldValueNotSupported", duplicate = "FieldValueDuplicate", forbidden = "FieldValueForbidden",
  not_found = "FieldValueNotFound", long = "FieldValueTooLong", many = "FieldValueTooMany",
}

-- A value as Go's validation prints it.
local function shown(value)
  if value == nil or value == json.null then return "null" end
  if type(value) == "string" then return '"' .. value:gsub('[\\"]', "\\%0"):gsub("\n", "\\n") .. '"' end
  if type(value) == "table" then return json.encode(value, { sort = true }) end
  return tostring(value)
end
M.shown = shown

---@class lab.Causes a list that collects what is wrong with an object
local causes_methods = {}
causes_methods.__index = causes_methods

---@return lab.Causes
function M.causes() return setmetatable({}, causes_methods) end

local function add(self, reason, field, message)
  self[#self + 1] = { reason = REASONS[reason], message = message, field = field }
end

function causes_methods:required(field, why)
  add(self, "required", field, "Required value" .. (why and why ~= "" and ": " .. why or ""))
end

function causes_methods:invalid(field, value, why)
  add(self, "invalid", field, ("Invalid value: %s: %s"):format(shown(value), why))
end

function causes_methods:wrong_type(field, value, why)
  add(self, "type", field, ("Invalid value: %s: %s"):format(shown(value), why))
end

function causes_methods:unsupported(field, value, supported)
  local list = {}
  for i, one in ipairs(supported) do list[i] = shown(one) end
  add(self, "supported", field,
    ("Unsupported value: %s: supported values: %s"):format(shown(value), table.concat(list, ", ")))
end

function causes_methods:duplicate(field, value)
  add(self, "duplicate", field, "Duplicate value: " .. shown(value))
end

function causes_methods:forbidden(field, why) add(self, "forbidden", field, "Forbidden: " .. why) end

function causes_methods:not_found(field, value) add(self, "not_found", field, "Not found: " .. shown(value)) end

function causes_methods:too_long(field, most)
  add(self, "long", field, ("Too long: may not be more than %d bytes"):format(most))
end

function causes_methods:too_many(field, count, most)
  add(self, "many", field, ("Too many: %d: must have at most %d items"):format(count, most))
end

---@param kind {group: string, kind: string}
---@param name string
---@param causes table[]
---@return lab.Status
function M.invalid_status(kind, name, causes)
  local texts, seen, unique = {}, {}, {}
  for _, cause in ipairs(causes) do
    unique[#unique + 1] = cause
    local text = cause.field .. ": " .. cause.message
    if not seen[text] then
      seen[text] = true
      texts[#texts + 1] = text
    end
  end
  local joined = #texts == 1 and texts[1] or "[" .. table.concat(texts, ", ") .. "]"
  local named = kind.group == "" and kind.kind or kind.kind .. "." .. kind.group
  return M.new(422, "Invalid", ('%s "%s" is invalid: %s'):format(named, name, joined), {
    name = name ~= "" and name or nil, group = kind.group ~= "" and kind.group or nil,
    kind = kind.kind ~= "" and kind.kind or nil, causes = json.array(unique),
  })
end

---Raises Invalid when there are causes.
function M.check(kind, name, causes)
  if #causes > 0 then error(M.invalid_status(kind, name or "", causes), 0) end
end

---The body of a successful answer that is no object.
function M.success(details, code)
  return { kind = "Status", apiVersion = "v1", metadata = json.object {}, status = "Success", details = details,
           code = code }
end

return M
