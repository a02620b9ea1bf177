-- lab.rules.events: events, which two groups serve in two forms.
-- Not for writing events (lab.controllers.base).
--   return { events = … }

local json = require "json"
local meta = require "lab.meta"

local FIELDS = { "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
                 "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
                 "reportingComponent", "source", "type" }

local events = { field_list = FIELDS }

function events.fields(event)
  local object = event.involvedObject or {}
  local fields = {
    reason = event.reason or "", reportingComponent = event.reportingComponent or "", type = event.type or "",
    source = event.source and event.source.component or "",
  }
  if fields.source == "" then fields.source = fields.reportingComponent end
  for _, name in ipairs { "kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath" } do
    fields["involvedObject." .. name] = object[name] or ""
  end
  return fields
end

-- --- the two forms --------------------------------------------------------------------------------

local PAIRS = {
  { "involvedObject", "regarding" }, { "message", "note" }, { "reportingComponent", "reportingController" },
  { "source", "deprecatedSource" }, { "firstTimestamp", "deprecatedFirstTimestamp" },
  { "lastTimestamp", "deprecatedLastTimestamp" }, { "count", "deprecatedCount" },
}

---Makes the stored form of one that events.k8s.io was given.
function events.to_core(event)
  for _, pair in ipairs(PAIRS) do
    event[pair[1]], event[pair[2]] = event[pair[2]], nil
  end
  return event
end

---Makes the form of events.k8s.io of a stored one.
function events.from_core(event)
  for _, pair in ipairs(PAIRS) do
    event[pair[2]], event[pair[1]] = event[pair[1]], nil
  end
  if event.deprecatedSource == nil then event.deprecatedSource = json.object {} end
  if event.reportingController == "" then event.reportingController = nil end
  if event.reportingInstance == "" then event.reportingInstance = nil end
  if event.regarding == nil then event.regarding = json.object {} end
  return event
end

-- --- rules ----------------------------------------------------------------------------------------

function events.default(event, ctx)
  if ctx.resource.group == "events.k8s.io" and not event.involvedObject then
    events.to_core(event)
    event.new_style = true
  end
  event.involvedObject = event.involvedObject or json.object {}
  event.source = event.source or json.object {}
  event.firstTimestamp = event.firstTimestamp or json.null
  event.lastTimestamp = event.lastTimestamp or json.null
  event.eventTime = event.eventTime or json.null
  event.reportingComponent = event.reportingComponent or ""
  event.reportingInstance = event.reportingInstance or ""
end

local function check_new(event, causes)
  local reporter = event.reportingComponent
  if reporter == "" then causes:required "reportingController" end
  for _, fault in ipairs(meta.qualified_faults(reporter)) do
    if not fault:find "^name part must be no more" then causes:invalid("reportingController", reporter, fault) end
  end
  if event.reportingInstance == "" then causes:required "reportingInstance" end
  if (event.action or "") == "" then causes:required "action" end
  if (event.reason or "") == "" then causes:required "reason" end
  if event.type ~= "Normal" and event.type ~= "Warning" then
    causes:invalid("type", "", "has invalid value: " .. (event.type or ""))
  end
end

function events.validate(event, causes)
  local new_style = event.new_style
  event.new_style = nil
  local namespace = event.involvedObject.namespace or ""
  if namespace == "" then
    if event.metadata.namespace ~= "default" and new_style then
      causes:invalid("involvedObject.namespace", "", "does not match event.namespace")
    end
  elseif namespace ~= event.metadata.namespace then
    causes:invalid("involvedObject.namespace", namespace, "does not match event.namespace")
  end
  if new_style then check_new(event, causes) end
end

function events.validate_update(event)
  event.new_style = nil
end

return { events = events }
