-- lab.kfp.workflows: the Workflow object of each run in the lab's cluster, as Argo and Pipelines would leave it.
-- Not for running anything (lab.kfp.engine): the object says what the run is at, and has no templates.
--   state.workflows = workflows.new(client); run.workflow = state.workflows:create(run)

local errors = require "errors"
local hash = require "hash"
local json = require "json"
local task = require "task"

local M = {}

local KIND = "workflows.argoproj.io"
local PHASES = { PENDING = "Pending", RUNNING = "Running", SUCCEEDED = "Succeeded", FAILED = "Failed",
  SKIPPED = "Skipped", CANCELING = "Running" }
local FINAL = { SUCCEEDED = true, FAILED = true, SKIPPED = true }

---@class lab.Workflows
local Workflows = {}
Workflows.__index = Workflows

---The name that a run's workflow would get.
---@param run table with spec
---@return string prefix "hello-"
function M.prefix(run)
  local spec = run.spec or {}
  local name = (spec.pipelineInfo or {}).name or ((spec.metadata or {}).generateName or "workflow-"):gsub("%-$", "")
  return name:match "([^/]*)$" .. "-"
end

---@param run table
---@return string name for a lab without a cluster
function M.name(run)
  return M.prefix(run) .. hash.random_hex(3):sub(1, 5)
end

local function labels_of(run)
  local final = FINAL[run.state]
  return { ["pipeline/runid"] = run.run_id, ["workflows.argoproj.io/phase"] = PHASES[run.state],
    ["workflows.argoproj.io/completed"] = final and "true" or "false",
    ["pipeline/persistedFinalState"] = final and "true" or nil }
end

---The nodes of a run's tasks.
---@param run table
---@return table<string, table>
function M.nodes(run)
  local nodes = json.object {}
  for _, one in ipairs(run.task_details) do
    local id = one.pod_name or one.task_id
    nodes[id] = { id = id, name = id, displayName = one.display_name, type = "Pod", phase = PHASES[one.state],
      startedAt = one.start_time, finishedAt = one.end_time }
  end
  return nodes
end

local function status_of(run)
  local final = FINAL[run.state]
  return { phase = PHASES[run.state], startedAt = run.created_at, finishedAt = final and run.finished_at or json.null,
    message = run.error and run.error.message or nil, nodes = M.nodes(run) }
end

---Makes the object; the server makes it before it knows whether the run's id is free.
---@param run table
---@param given {name: string, labels: table, ownerReferences: table}? of a run that a schedule makes
---@return string name # raises what the cluster refuses
function Workflows:create(run, given)
  local labels = { ["pipeline/runid"] = run.run_id }
  for name, value in pairs((given or {}).labels or {}) do labels[name] = value end
  local made = self.client:create { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow",
    metadata = { generateName = not given and M.prefix(run) or nil, name = given and given.name,
      namespace = run.namespace, labels = labels, ownerReferences = given and given.ownerReferences,
      annotations = { ["pipelines.kubeflow.org/run_name"] = run.display_name,
        ["workflows.argoproj.io/pod-name-format"] = "v2" } },
    spec = { entrypoint = "entrypoint", serviceAccountName = run.service_account,
      podMetadata = { labels = { ["pipeline/runid"] = run.run_id } } },
    status = { startedAt = json.null, finishedAt = json.null } }
  return made.metadata.name
end

-- What is on its way is the newest when it arrives: one write at a time for each run.
local function write(self, run)
  while run.workflow_stale do
    run.workflow_stale = false
    local patch = { metadata = { labels = labels_of(run) }, status = status_of(run),
      spec = { activeDeadlineSeconds = run.state == "CANCELING" and 0 or nil } }
    local made, problem = errors.try(self.client):patch(KIND, run.workflow, patch, { type = "merge",
      namespace = run.namespace })
    local quiet = made or errors.is(problem, "NotFound") or errors.is(problem, "Cancelled")
    if not quiet then self.log(errors.text(problem)) end
  end
  run.workflow_writer = nil
end

---A run is in a new state, or its tasks are.
---@param run table
function Workflows:changed(run)
  run.workflow_stale = true
  if self.closed or run.workflow_writer then return end
  run.workflow_writer = task.spawn(write, self, run)
end

---@param run table
function Workflows:delete(run)
  errors.try(self.client):delete(KIND, run.workflow, { namespace = run.namespace })
end

---Waits until all that is known is written, and writes no more.
---@param runs table<string, table>
function Workflows:close(runs)
  self.closed = true
  for _, run in pairs(runs) do
    if run.workflow_writer then pcall(run.workflow_writer.wait, run.workflow_writer, 15) end
  end
end

---@param client table of kube.connect
---@param log fun(text: string)?
---@return lab.Workflows
function M.new(client, log)
  return setmetatable({ client = client, log = log or function() end }, Workflows)
end

return M
