-- lab.kfp.reports: reports of workflows, by which the states of runs move where no engine of the lab's own runs.
-- Not for the engine, which tells the states itself.
--   reports.workflow(state, request)

local failure = require "lab.kfp.failure"
local json = require "json"
local runs = require "lab.kfp.runs"
local states = require "lab.kfp.state"

local M = {}

local BEFORE = "Report workflow failed"
local PHASES = { Pending = "PENDING", Running = "RUNNING", Succeeded = "SUCCEEDED", Skipped = "SKIPPED",
  Failed = "FAILED", Error = "FAILED", Omitted = "SKIPPED" }

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

local function read_workflow(request)
  local text = read_text(request)
  local workflow = json.try.decode(text, { duplicates = "last" })
  if type(workflow) ~= "table" then
    local short = "Could not unmarshal workflow"
    failure.raise(3, short, ("%s: Invalid input error: %s: InvalidInputError: Failed to unmarshal the inputs: invalid "
      .. "character: %s"):format(BEFORE, short, text))
  end
  local metadata = workflow.metadata or {}
  for field, what in pairs { namespace = "namespace", uid = "UID" } do
    if (metadata[field] or "") == "" then failure.invalid(BEFORE, "The workflow must have a " .. what) end
  end
  return workflow
end

local function details_of(run, nodes)
  local details = json.array {}
  for id, node in pairs(nodes or {}) do
    local state = PHASES[node.phase] or "PENDING"
    details[#details + 1] = { run_id = run.run_id, task_id = states.uuid(), display_name = node.displayName,
      pod_name = id, create_time = node.startedAt, start_time = node.startedAt, end_time = node.finishedAt,
      state = state, state_history = json.array { { update_time = states.now(), state = state } } }
  end
  return details
end

function M.workflow(state, request)
  local workflow = read_workflow(request)
  local id = (workflow.metadata.labels or {})["pipeline/runid"] or ""
  local before = ("Failed to report workflow: Failed to report workflow name=%q namespace=%q runId=%q"):format(
    workflow.metadata.name or "", workflow.metadata.namespace, id)
  local run = runs.find(state, id, before)
  local status = workflow.status or {}
  local new = PHASES[status.phase]
  if new and not (run.state == "CANCELING" and new == "RUNNING") then runs.set_state(run, new, status.message) end
  run.task_details = details_of(run, status.nodes)
  return {}
end

---Scheduled workflows are taken, and change nothing here.
function M.scheduled(_, request)
  read_workflow(request)
  return {}
end

return M
