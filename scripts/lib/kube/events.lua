-- kube.events: the Events of an object: reading them, and leaving one.
-- Not for watch events (kube.watch).
--   c:event(pod, "Warning", "Stuck", "no node fits for 10 minutes")

local hash = require "hash"
local host = require "host"
local json = require "json"
local rest = require "kube.rest"
local time = require "kube.time"

local M = {}

local LONGEST <const> = 1024 -- characters of a note

local function reference_of(object)
  local metadata = object.metadata
  return {
    apiVersion = object.apiVersion, kind = object.kind, namespace = metadata.namespace, name = metadata.name,
    uid = metadata.uid, resourceVersion = metadata.resourceVersion,
  }
end

-- Cluster objects have their events in "default".
local function namespace_of(object)
  return object.metadata.namespace or "default"
end

local function send(client, request)
  return rest.decode(rest.send(client, request), request, client)
end

-- The same event again counts up, as long as it is there.
local function repeat_event(client, known, now)
  local body = { count = known.count + 1, lastTimestamp = time.text(now) }
  local request = {
    method = "PATCH", verb = "patch", resource = "events", namespace = known.namespace, name = known.name,
    path = ("/api/v1/namespaces/%s/events/%s"):format(known.namespace, known.name), body = json.encode(body),
    content_type = "application/strategic-merge-patch+json", exempt = true,
  }
  local ok, event = pcall(send, client, request)
  if not ok then return nil end
  known.count = known.count + 1
  return event
end

---Leaves an Event on an object; the same one again counts up.
---@param object table
---@param type "Normal"|"Warning"
---@param reason string a word
---@param format string as of string.format
---@return table event
function M:event(object, type, reason, format, ...)
  local now = os.time()
  local message = (select("#", ...) > 0 and format:format(...) or format):sub(1, LONGEST)
  local reference, namespace = reference_of(object), namespace_of(object)
  local key = table.concat({ namespace, reference.kind or "", reference.name, reference.uid or "", type, reason,
    message }, "\0")
  self.own_events = self.own_events or {}
  local known = self.own_events[key]
  local repeated = known and repeat_event(self, known, now)
  if repeated then return repeated end
  local component = self.manager or "kfhost"
  local name = ("%s.%s"):format(reference.name:sub(1, 200), hash.random_hex(8))
  local body = {
    apiVersion = "v1", kind = "Event", metadata = { name = name, namespace = namespace }, involvedObject = reference,
    reason = reason, message = message, type = type, count = 1, firstTimestamp = time.text(now),
    lastTimestamp = time.text(now), source = { component = component }, reportingComponent = component,
    reportingInstance = ("%s-%d"):format(component, host.pid()),
  }
  local event = send(self, {
    method = "POST", verb = "create", resource = "events", namespace = namespace, name = name,
    path = ("/api/v1/namespaces/%s/events"):format(namespace), body = json.encode(body), exempt = true,
  })
  self.own_events[key] = { name = name, namespace = namespace, count = 1 }
  return event
end

local function moment(event)
  local series = type(event.series) == "table" and event.series or {}
  for _, field in ipairs { series.lastObservedTime or false, event.lastTimestamp, event.eventTime,
    event.metadata.creationTimestamp } do
    local seconds = type(field) == "string" and time.parse(field)
    if seconds then return seconds end
  end
  return 0
end

---The events of an object, or of a namespace, the oldest first.
---@param object table? or {kind, name, namespace}
---@param options {namespace: string?}?
---@return table[]
function M:events(object, options)
  local fields, namespace
  if object then
    local metadata = object.metadata or object
    namespace = metadata.namespace or options and options.namespace
    local parts = { "involvedObject.name=" .. metadata.name }
    if object.kind then parts[#parts + 1] = "involvedObject.kind=" .. object.kind end
    if metadata.uid then parts[#parts + 1] = "involvedObject.uid=" .. metadata.uid end
    fields = table.concat(parts, ",")
  end
  local list = self:list("events", { namespace = namespace or options and options.namespace, fields = fields })
  local moments = {}
  for _, event in ipairs(list) do moments[event] = moment(event) end
  table.sort(list, function(a, b) return moments[a] < moments[b] end)
  return list
end

return M
