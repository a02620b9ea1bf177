-- Starting a run exactly once, although the server does not promise it: with an id of our own it is looked for before
-- and after each attempt; what a second attempt left behind is taken away. A part of kfp.client.
--   local run, how = k.runs:start({ run_id = id, display_name = "trial" }, { kube = c, namespace = "team" })
local errors = require "errors"
local task = require "task"

local M = {}

local LOOK, BUDGET, PATIENCE = 10, 600, 60
local SYSTEM = "kubeflow" -- where workflows are when the server knows no users

-- The server, or the way to it, is not there at the moment: nobody knows whether the run was made.
local PASSING = { Connection = true, TLS = true, Timeout = true, Unavailable = true, ResourceExhausted = true }
local PASSING_STATUS = { [429] = true, [502] = true, [503] = true, [504] = true }

-- Refusals that end by themselves while a pod's network and rights come up.
local EARLY = { Denied = true, Unauthenticated = true }

---Whether it may be better in a moment.
---@param problem table
---@param since number when it was first asked
---@return boolean
function M.is_passing(problem, since)
  if PASSING[problem.code] or PASSING_STATUS[problem.status] then return true end
  return EARLY[problem.code] == true and task.now() - since < PATIENCE
end

local function is_duplicate(problem)
  local text = (problem.message or "") .. " " .. (problem.details or "")
  return problem.code == "AlreadyExists" or text:find("Duplicate entry", 1, true) ~= nil
end

-- nil when the server says that there is no such run, or cannot say anything.
local function look(runs, id)
  local run, problem = errors.try(runs):get(id)
  return run, problem
end

---The workflows of a run, as far as they may be seen.
---@param kube table a client of the cluster
---@param namespace string?
---@param id string
---@return table[]
function M.workflows(kube, namespace, id)
  for _, place in ipairs { namespace, SYSTEM } do
    local where = { namespace = place, labels = "pipeline/runid=" .. id, timeout = "10s" }
    local ok, list = pcall(kube.list, kube, "workflows.argoproj.io", where)
    if not ok and errors.is(list, "Cancelled") then error(list, 0) end
    if ok and #list > 0 then return list end
  end
  return {}
end

local function workflows_of(options, id)
  local kube = type(options.kube) == "function" and options.kube() or options.kube
  return kube and M.workflows(kube, options.namespace, id) or {}, kube
end

-- A workflow without its run means that the server is at it: it gets more time.
local function look_for_a_while(runs, id, options)
  local began = task.now()
  while true do
    local run = look(runs, id)
    local past = task.now() - began
    if run or past >= PATIENCE or past >= LOOK and #workflows_of(options, id) == 0 then return run end
    task.sleep(1)
  end
end

-- A second attempt makes a second workflow even where the run is refused: the first one stays.
local function remove_younger(options, id)
  local workflows, kube = workflows_of(options, id)
  table.sort(workflows, function(a, b)
    local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
    return x < y or (x == y and a.metadata.name < b.metadata.name)
  end)
  for i = 2, #workflows do
    local metadata = workflows[i].metadata
    pcall(kube.delete, kube, "workflows.argoproj.io", metadata.name,
      { namespace = metadata.namespace or options.namespace })
  end
end

local function adopt(runs, id, options, attempts)
  local run = look_for_a_while(runs, id, options)
  if not run then return nil end
  if attempts > 1 then remove_younger(options, id) end
  return run, "adopted"
end

-- The run of an id that is there already; waits while the server cannot say.
local function find_first(runs, id, began)
  while true do
    local run, problem = look(runs, id)
    if run or problem.code == "NotFound" then return run end
    if not M.is_passing(problem, began) or task.now() - began > BUDGET then error(problem, 0) end
    task.sleep(1)
  end
end

---Starts a run once, or takes over the one that is there.
---@param runs table
---@param run table with run_id
---@param options {kube: table|function|nil, namespace: string?}? kube: a client, or what makes one when it is needed,
---  to look for workflows and to take a second one away
---@return table run, "created"|"adopted" how # raises what the server refuses for good
function M.start(runs, run, options)
  options = options or {}
  local id, began, attempts = run.run_id, task.now(), 0
  if type(id) ~= "string" or id == "" then error("run_id expected", 2) end
  local found = find_first(runs, id, began)
  if found then return found, "adopted" end
  while true do
    attempts = attempts + 1
    local made, problem = errors.try(runs):create(run)
    if made then
      if attempts > 1 then remove_younger(options, id) end
      return made, "created"
    end
    local known = is_duplicate(problem) or M.is_passing(problem, began)
    if not known then error(problem, 0) end
    local taken, how = adopt(runs, id, options, is_duplicate(problem) and 2 or attempts)
    if taken then return taken, how end
    if task.now() - began > BUDGET then error(problem, 0) end
  end
end

return M
