-- lab.kfp.reports: reports of workflows, by which the states of runs move where no engine of the lab's own runs.
-- Not for the engine, which tells the states itself.
--   reports.workflow(state, request)

local failure = require "lab.kfp.failure"
local json = require "json"
local runs = require "lab.kfp.runs"
local schedules = require "lab.kfp.schedules"
local states = require "lab.kfp.state"

local M = {}

local PHASES = { Pending = "PENDING", Running = "RUNNING", Succeeded = "SUCCEEDED", Skipped = "SKIPPED",
  Failed = "FAILED", Error = "FAILED" }
local NEVER = "0001-01-01T00:00:00Z" -- the time of what has not happened yet

-- The body is JSON that holds a text, and the text is JSON again.
local function read_text(request)
  local text, problem = json.try.decode(request.body)
  if problem then failure.decoder "unexpected EOF" end
  if type(text) ~= "string" then
    failure.decoder(("json: cannot unmarshal %s into Go value of type string"):format(
      type(text) == "table" and (json.is_array(text) and "array" or "object") or type(text)))
  end
  return text
end

local function read_object(request, kind, before)
  local text = read_text(request)
  local object = json.try.decode(text, { duplicates = "last" })
  if type(object) ~= "table" then
    failure.invalid(before, ("Could not unmarshal %s: invalid character '%s' looking for beginning of value: %s")
      :format(kind, text:sub(1, 1), text))
  end
  local metadata = object.metadata or {}
  for _, field in ipairs { "namespace", "uid" } do
    if (metadata[field] or "") == "" then
      failure.invalid(before, ("The %s must have a %s"):format(kind, field == "uid" and "UID" or field))
    end
  end
  return object
end

-- --- what a workflow says of tasks ------------------------------------------------------------------------------

local function children_of(node)
  if not node.children or #node.children == 0 then return nil end
  local list = json.array {}
  for i, child in ipairs(node.children) do list[i] = { pod_name = child } end
  return list
end

local function given(value)
  return value ~= json.null and value or nil
end

-- The detail of a node: the one of earlier reports, with what is new.
local function detail_of(run, id, node)
  run.nodes = run.nodes or {}
  local detail = run.nodes[id]
  if not detail then
    detail = { run_id = run.run_id, task_id = states.uuid(), create_time = run.created_at,
      state_history = json.array {} }
    run.nodes[id] = detail
  end
  local state = PHASES[node.phase] -- none for what was left out
  if detail.state ~= state or #detail.state_history == 0 then
    table.insert(detail.state_history, { update_time = states.now(), state = state })
  end
  detail.state, detail.display_name, detail.child_tasks = state, node.displayName, children_of(node)
  detail.start_time, detail.end_time = given(node.startedAt) or NEVER, given(node.finishedAt) or NEVER
  return detail
end

local function update_details(run, nodes)
  local details = json.array {}
  for id, node in pairs(nodes or {}) do details[#details + 1] = detail_of(run, id, node) end
  table.sort(details, function(a, b) return a.task_id < b.task_id end)
  run.task_details = details
end

function M.workflow(state, request)
  local workflow = read_object(request, "workflow", "Report workflow failed")
  request.allow("report", "workflows", "")
  local id = (workflow.metadata.labels or {})["pipeline/runid"] or ""
  local before = ("Failed to report workflow: Failed to report workflow name=%q namespace=%q runId=%q"):format(
    workflow.metadata.name or "", workflow.metadata.namespace, id)
  local run = runs.find(state, id, before)
  local status = workflow.status or {}
  local new = PHASES[status.phase]
  if new and not (run.state == "CANCELING" and new == "RUNNING") then
    runs.set_state(run, new, status.message)
    run.finished_at = given(status.finishedAt) or states.EPOCH
  end
  update_details(run, status.nodes)
  run.reported_workflow = workflow
  return {}
end

---What was changed in the object of a recurring run holds here too.
function M.scheduled(state, request)
  local object = read_object(request, "scheduled workflow", "Report scheduled workflow failed")
  request.allow("report", "scheduledworkflows", "")
  local one = state.recurring[object.metadata.uid]
  if one then schedules.take_over(one, object) end
  return {}
end

return M
