-- A run while it goes on and what is left of it: waiting, tasks, logs, metrics, artifacts. A part of kfp.client.
local errors = require "errors"
local hash = require "hash"
local reply = require "kfp.client.reply"
local task = require "task"

local M = {}

-- A run that was terminated ends FAILED; CANCELED is here for servers that say it.
local TERMINAL = { SUCCEEDED = true, SKIPPED = true, FAILED = true, CANCELED = true }

-- What a waiting client lives through.
local PASSING = { Connection = true, Unavailable = true, ResourceExhausted = true, Timeout = true, Protocol = true }

local FIRST_PAUSE, LONGEST_PAUSE, BUDGET = 0.5, 5, 600

local function poll(runs, id, failing)
  local run, problem = errors.try(runs):get(id)
  if run then return run, nil end
  local gateway = problem.status == 502 or problem.status == 504
  if not PASSING[problem.code] and not gateway then error(problem, 0) end
  failing = failing or task.now()
  if task.now() - failing > BUDGET then error(problem, 0) end
  return nil, failing
end

---Waits until a run is over, in whatever state.
---@param runs table
---@param id string
---@param options {timeout: number|string|nil, on_state: fun(state: string, run: table)?}?
---@return table run # raises "Timeout", and what the server refuses for good
function M.wait(runs, id, options)
  options = options or {}
  local deadline = options.timeout and task.now() + task.seconds(options.timeout)
  local state, failing, pause = nil, nil, FIRST_PAUSE
  while true do
    local run
    run, failing = poll(runs, id, failing)
    if run and run.state ~= state then
      state, pause = run.state, FIRST_PAUSE
      if options.on_state then options.on_state(state, run) end
    end
    if run and TERMINAL[run.state] then return run end
    local left = deadline and deadline - task.now()
    if left and left <= 0 then
      errors.raise { code = "Timeout", message = ("run %s is still %s"):format(id, tostring(state or "unknown")) }
    end
    task.sleep(left and math.min(pause, left) or pause)
    pause = math.min(pause * 1.5, LONGEST_PAUSE)
  end
end

-- --- tasks ---------------------------------------------------------------------------------------------------

-- The pod, or node, that ran a task: its own, or that of its executor.
local function node_of(details)
  if (details.pod_name or "") ~= "" then return details.pod_name end
  for _, child in ipairs(reply.list(details, "child_tasks")) do
    if (child.pod_name or "") ~= "" then return child.pod_name end
  end
end

---The tasks of a run, from either place that servers put them.
---@param runs table
---@param run string|table an id, or the run
---@return table[] tasks {name, id, state, node, started, ended, details}
function M.tasks(runs, run)
  if type(run) == "string" then run = runs:get(run) end
  local list = {}
  local within = type(run.run_details) == "table" and run.run_details or {}
  for i, details in ipairs(within.task_details and reply.list(within, "task_details") or reply.list(run, "tasks")) do
    list[i] = {
      name = details.display_name or details.name, id = details.task_id, state = details.state, node = node_of(details),
      started = details.start_time, ended = details.end_time, details = details,
    }
  end
  return list
end

local function find_task(runs, run, name)
  for _, entry in ipairs(M.tasks(runs, run)) do
    if entry.name == name or entry.node == name or entry.id == name then return entry end
  end
  errors.raise { code = "NotFound", message = ("the run has no task '%s'"):format(name) }
end

-- --- logs --------------------------------------------------------------------------------------------------------

---The log of a node, as the server has it.
---@return string
function M.read_log(runs, id, node)
  local escape = require "kfp.client.query".escape
  local path = ("/apis/v1alpha1/runs/%s/nodes/%s/log"):format(escape(id), escape(node))
  local response, request = runs.client:send("GET", path)
  return reply.text(response, request)
end

-- The server has no way to follow: the text is asked for again, and what is new is given.
local function follow(runs, id, name)
  local seen, over = 0, false
  return function()
    while true do
      local entry = find_task(runs, id, name)
      local ended = TERMINAL[entry.state] or (entry.state or ""):find "^CACHED" ~= nil
      local text = entry.node and errors.try { read = M.read_log }.read(runs, id, entry.node) or ""
      if #text > seen then
        local piece = text:sub(seen + 1)
        seen = #text
        return piece
      end
      if over then return nil end
      over = ended
      if not ended then task.sleep(1) end
    end
  end
end

---The log of a step; with follow an iterator over what comes.
---@param runs table
---@param id string
---@param step string the name of a task, or a node
---@param options {follow: boolean?}?
---@return string|fun(): string?
function M.logs(runs, id, step, options)
  if options and options.follow then return follow(runs, id, step) end
  local entry = find_task(runs, id, step)
  if not entry.node then
    errors.raise { code = "NotFound", message = ("task '%s' has no pod, thus no log"):format(step) }
  end
  return M.read_log(runs, id, entry.node)
end

---The metrics of a run; see kfp.client.metrics.
function M.metrics(runs, id, options)
  return require "kfp.client.metrics".of(runs, id, options)
end

-- --- artifacts -----------------------------------------------------------------------------------------------------

---What tasks say of their artifacts: the ids that the metadata store knows them by.
---@param runs table
---@param id string
---@return {task: string, direction: "inputs"|"outputs", name: string, ids: string[]}[]
function M.artifacts(runs, id)
  local list = {}
  for _, entry in ipairs(M.tasks(runs, id)) do
    for _, direction in ipairs { "inputs", "outputs" } do
      local group = entry.details[direction]
      for name, value in pairs(type(group) == "table" and group or {}) do
        list[#list + 1] = { task = entry.name, direction = direction, name = name,
          ids = type(value) == "table" and value.artifact_ids or {} }
      end
    end
  end
  table.sort(list, function(a, b) return a.task .. a.direction .. a.name < b.task .. b.direction .. b.name end)
  return list
end

---The bytes of an artifact.
---@param runs table
---@param id string
---@param node string
---@param name string
---@return string
function M.artifact(runs, id, node, name)
  local escape = require "kfp.client.query".escape
  local path = ("/apis/v2beta1/runs/%s/nodes/%s/artifacts/%s:read"):format(escape(id), escape(node), escape(name))
  return hash.unbase64(runs.client:request("GET", path).data or "")
end

return M
