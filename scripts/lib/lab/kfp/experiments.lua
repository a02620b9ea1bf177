-- lab.kfp.experiments: experiments of the KFP API.
-- Not for Katib's experiments.
--   experiments.create(state, request)

local body = require "lab.kfp.body"
local failure = require "lab.kfp.failure"
local lists = require "lab.kfp.lists"
local states = require "lab.kfp.state"

local M = {}

local FROM_MODEL = "InternalServerError: Failed to convert API experiment to model experiment: Invalid input error: "
local CREATE = "[ExperimentServer]: Failed to create a experiment due to conversion error: "

---@return table shown the object as the API gives it
function M.show(experiment)
  return { experiment_id = experiment.experiment_id, display_name = experiment.display_name,
    description = experiment.description ~= "" and experiment.description or nil, created_at = experiment.created_at,
    namespace = experiment.namespace ~= "" and experiment.namespace or nil,
    storage_state = experiment.storage_state, last_run_created_at = experiment.last_run_created_at }
end

---@return table experiment raises 404
function M.find(state, id, before)
  return state.experiments[id] or failure.missing("Experiment", id, before or "Failed to fetch experiment")
end

local function same_name(state, name, namespace)
  for _, one in pairs(state.experiments) do
    if one.display_name == name and one.namespace == namespace then return one end
  end
  return nil
end

function M.create(state, request)
  local given = body.decode(request.body, body.EXPERIMENT)
  local name = given.display_name or ""
  if name == "" then failure.internal(CREATE .. FROM_MODEL .. "Experiment must have a non-empty name") end
  if utf8.len(name) > 128 then
    failure.internal(CREATE .. FROM_MODEL .. "Experiment.Name length cannot exceed 128")
  end
  local namespace = state.multi_user and given.namespace or ""
  if state.multi_user and namespace == "" then
    failure.invalid("Failed to create a experiment", "Invalid resource references for experiment. Namespace is empty")
  end
  request.allow("create", "experiments", namespace, name)
  if same_name(state, name, namespace) then
    local short = ("Failed to create a new experiment. The name %s already exists. Please specify a new name")
      :format(name)
    failure.raise(6, short, "Failed to create a experiment: Already exist error: " .. short)
  end
  local experiment = { experiment_id = states.uuid(), display_name = name, description = given.description or "",
    namespace = namespace, created_at = states.now(), storage_state = "AVAILABLE",
    last_run_created_at = states.EPOCH }
  state.experiments[experiment.experiment_id] = experiment
  return M.show(experiment)
end

function M.get(state, request)
  local experiment = M.find(state, request.id)
  request.allow("get", "experiments", experiment.namespace, experiment.display_name)
  return M.show(experiment)
end

function M.list(state, request)
  local namespace = state.multi_user and (request.query.namespace or "")
  if state.multi_user then request.allow("list", "experiments", namespace) end
  local rows = states.rows(state.experiments, namespace and function(row) return row.namespace == namespace end)
  return lists.page(rows, request.query, lists.EXPERIMENT)
end

---An experiment takes its runs with it; its recurring runs stop. One that is unknown is no fault.
function M.archive(state, request)
  local experiment = state.experiments[request.id]
  if not experiment then return {} end
  request.allow("archive", "experiments", experiment.namespace, experiment.display_name)
  experiment.storage_state = "ARCHIVED"
  for _, run in pairs(state.runs) do
    if run.experiment_id == request.id then run.storage_state = "ARCHIVED" end
  end
  for _, one in pairs(state.recurring) do
    if one.experiment_id == request.id then require("lab.kfp.recurring").set_mode(state, one, "DISABLE") end
  end
  return {}
end

---Its runs stay archived.
function M.unarchive(state, request)
  local experiment = state.experiments[request.id]
  if not experiment then return {} end
  request.allow("unarchive", "experiments", experiment.namespace, experiment.display_name)
  experiment.storage_state = "AVAILABLE"
  return {}
end

function M.delete(state, request)
  local before = ("Failed to delete experiment: Failed to delete experiment %s due to error fetching it")
    :format(request.id)
  local experiment = M.find(state, request.id, before)
  request.allow("delete", "experiments", experiment.namespace, experiment.display_name)
  state.experiments[request.id] = nil
  return {}
end

return M
