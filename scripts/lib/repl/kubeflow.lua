-- repl.kubeflow: the words of Kubeflow: runs as graphs, experiments as curves, who may call whom, the doctor.
-- Not for changes. What is drawn and judged are pure functions of objects.
--   kubeflow.run(session, "train-x7", "graph")

local errors = require "errors"
local json = require "json"
local objects = require "repl.objects"
local show = require "repl.show"
local term = require "term"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

local function list(value)
  return type(value) == "table" and value or {}
end

-- --- runs ---------------------------------------------------------------------------------------------------

local MARKS = { Succeeded = "✓", Failed = "✗", Error = "✗", Running = "▶", Pending = "…", Skipped = "-", Omitted = "-" }

-- A step that only groups others is not shown; its children stand in its place.
local GROUPS = { DAG = true, Steps = true, StepGroup = true, TaskGroup = true, Retry = true }

local COLOURS = { Succeeded = "green", Failed = "red", Error = "red", Running = "yellow", Pending = "yellow" }

local function node_text(node)
  local name = node.displayName or node.name or "?"
  local phase = node.phase == "Succeeded" and "" or "  " .. (node.phase or "")
  local text = ("%s %s%s"):format(MARKS[node.phase] or "?", name, phase)
  return term.style(text, COLOURS[node.phase] or "gray")
end

local function visible_children(nodes, node, found)
  found = found or {}
  for _, id in ipairs(list(node.children)) do
    local child = nodes[id]
    if child and GROUPS[child.type] and #found < 1000 then visible_children(nodes, child, found)
    elseif child then found[#found + 1] = { id = id, node = child } end
  end
  return found
end

local function run_tree(nodes, node, seen)
  local tree = { text = node_text(node), children = {} }
  for _, child in ipairs(visible_children(nodes, node)) do
    if seen[child.id] then
      tree.children[#tree.children + 1] = { text = node_text(child.node) .. "  (above)" }
    else
      seen[child.id] = true
      tree.children[#tree.children + 1] = run_tree(nodes, child.node, seen)
    end
  end
  return tree
end

---The steps of a workflow as a tree with their states: pure.
---@param workflow table
---@return table tree
function M.graph(workflow)
  local nodes = list(list(workflow.status).nodes)
  local root = nodes[workflow.metadata.name]
  if not root then
    for _, node in pairs(nodes) do
      if node.name == workflow.metadata.name then root = node end
    end
  end
  if not root then return { text = workflow.metadata.name .. "  no step yet" } end
  local tree = run_tree(nodes, root, {})
  tree.text = ("%s  %s"):format(workflow.metadata.name, list(workflow.status).phase or "Pending")
  return tree
end

---One run, with the states of its steps.
function M.run(self, name, ...)
  if not name then fail "run NAME [graph]" end
  local _, options = objects.arguments(...)
  local workflow
  if type(name) == "table" then workflow = objects.one(self, nil, name)
  else workflow = self:client():get("workflows", name, { namespace = options.namespace }) end
  local tree = M.graph(workflow)
  tree.object = workflow
  return show.as_tree(tree)
end

-- --- experiments ----------------------------------------------------------------------------------------------

local BLOCKS = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

---Numbers as a row of blocks.
---@param values number[]
---@return string
function M.spark(values)
  local least, most = math.huge, -math.huge
  for _, value in ipairs(values) do least, most = math.min(least, value), math.max(most, value) end
  local blocks = {}
  for index, value in ipairs(values) do
    local share = most > least and (value - least) / (most - least) or 0.5
    blocks[index] = BLOCKS[1 + math.floor(share * (#BLOCKS - 1) + 0.5)]
  end
  return table.concat(blocks)
end

---A curve of numbers in `height` rows, with its highest and lowest value beside it.
---@param values number[]
---@param width integer
---@param height integer
---@return string[]
function M.curve(values, width, height)
  local least, most = math.huge, -math.huge
  for _, value in ipairs(values) do least, most = math.min(least, value), math.max(most, value) end
  local rows = {}
  for row = 1, height do rows[row] = {} end
  local columns = math.min(width, #values)
  for column = 1, columns do
    local value = values[1 + math.floor((column - 1) * (#values - 1) / math.max(columns - 1, 1) + 0.5)]
    local share = most > least and (value - least) / (most - least) or 0.5
    local at = height - math.floor(share * (height - 1) + 0.5)
    for row = 1, height do rows[row][column] = row == at and "●" or " " end
  end
  for row = 1, height do
    local label = row == 1 and ("%.4g"):format(most) or row == height and ("%.4g"):format(least) or ""
    rows[row] = (("%10s │%s"):format(label, table.concat(rows[row])):gsub("%s+$", ""))
  end
  rows[height + 1] = (" "):rep(11) .. "└" .. ("─"):rep(math.max(columns, 1))
  return rows
end

local function observed(trial, metric)
  for _, entry in ipairs(list(list(list(trial.status).observation).metrics)) do
    if entry.name == metric then return tonumber(entry.latest) or tonumber(entry.max) end
  end
end

local function state_of(object)
  local last
  for _, condition in ipairs(list(list(object.status).conditions)) do
    if condition.status == "True" then last = condition.type end
  end
  return last or "Created"
end

local function assignments(trial)
  local parts = {}
  for _, assignment in ipairs(list(list(trial.spec).parameterAssignments)) do
    parts[#parts + 1] = assignment.name .. "=" .. assignment.value
  end
  return table.concat(parts, " ")
end

---An experiment with its trials as text: pure.
---@param experiment table
---@param trials table[]
---@param plot boolean?
---@return string
function M.experiment_text(experiment, trials, plot)
  local objective = list(list(experiment.spec).objective)
  local metric = objective.objectiveMetricName or "?"
  table.sort(trials, function(a, b)
    local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
    if x ~= y then return x < y end
    return a.metadata.name < b.metadata.name
  end)
  local rows, values, best, best_name = {}, {}, nil, nil
  local sign = objective.type == "minimize" and -1 or 1
  for index, trial in ipairs(trials) do
    local value = observed(trial, metric)
    values[#values + 1] = value
    if value and (not best or sign * value > sign * best) then best, best_name = value, trial.metadata.name end
    rows[index] = { trial.metadata.name, state_of(trial), value and ("%.6g"):format(value) or "", assignments(trial) }
  end
  local text = ("%s  %s, %s %s%s\n"):format(experiment.metadata.name, state_of(experiment),
    objective.type or "optimize", metric, best and ("; best %.6g by %s"):format(best, best_name) or "")
  if #values > 0 then
    text = text .. (plot and table.concat(M.curve(values, 60, 10), "\n") .. "\n" or M.spark(values) .. "\n")
  end
  return text .. show.grid({ "TRIAL", "STATE", metric:upper(), "PARAMETERS" }, rows, { lines = false })
end

---One experiment and its trials; with "plot" the objective as a curve.
function M.experiment(self, name, ...)
  if not name then fail "experiment NAME [plot]" end
  local given, options = objects.arguments(...)
  local client = self:client()
  local experiment
  if type(name) == "table" then experiment = objects.one(self, nil, name)
  else experiment = client:get("experiments", name, { namespace = options.namespace }) end
  local trials = client:list("trials", { namespace = experiment.metadata.namespace,
    labels = "katib.kubeflow.org/experiment=" .. experiment.metadata.name })
  local text = M.experiment_text(experiment, trials, given[1] == "plot")
  return show.as_text({ object = experiment, trials = trials }, text)
end

-- --- the mesh ----------------------------------------------------------------------------------------------------

local POLICIES = { "authorizationpolicies", "peerauthentications", "requestauthentications" }

local function mesh_objects(client)
  local all = {}
  for _, kind in ipairs(POLICIES) do
    local found = client.try:list(kind .. ".security.istio.io", { namespace = "*" }) or {}
    for _, object in ipairs(found) do
      object.kind, object.apiVersion = object.kind, object.apiVersion
      all[#all + 1] = object
    end
  end
  return all
end

-- "api", "api.kubeflow:8888" or "http://api.kubeflow:8888/": name, namespace, port.
local function parse_service(text, namespace)
  local host, port = text:gsub("^%a+://", ""):match "^([^:/]+):?(%d*)"
  local name, place = host:match "^([^.]+)%.([^.]+)"
  return name or host, place or namespace, tonumber(port ~= "" and port or nil)
end

local function has_sidecar(pod) return require("istio.analyze.read").has_proxy(pod) ~= nil end

---Whether Istio lets a pod's call to a service pass, and by which policy and rule.
function M.allowed(self, pod, arrow, service, ...)
  local given, options = objects.arguments(...)
  if arrow ~= "->" or not service then fail "allowed POD -> SERVICE METHOD PATH" end
  local client = self:client()
  local source = objects.one(self, "pods", pod, options)
  local name, namespace, port = parse_service(service, source.metadata.namespace)
  local target = client:get("services", name, { namespace = namespace })
  port = port or list(list(target.spec).ports)[1].port
  local account = list(source.spec).serviceAccountName or "default"
  local principal = has_sidecar(source)
    and ("cluster.local/ns/%s/sa/%s"):format(source.metadata.namespace, account) or nil
  local allowed, why = require("istio").allowed(mesh_objects(client), {
    namespace = namespace, labels = list(target.spec.selector), ports = { [port] = "http" },
  }, {
    source = { principal = principal, ip = list(source.status).podIP }, method = given[1] or "GET",
    path = given[2] or "/", host = ("%s.%s.svc.cluster.local:%d"):format(name, namespace, port), port = port,
    headers = {}, protocol = "http",
  })
  local verdict = allowed and "allowed" or allowed == false and "refused" or "not decided here"
  local text = ("%s (%s%s%s%s)\ncaller: %s\n"):format(verdict, why.stage or "?",
    why.policy and ", policy " .. why.policy or "", why.rule and ", rule " .. why.rule or "",
    why.field and ", " .. why.field or "", principal or "nobody, the pod has no sidecar")
  return show.as_text({ allowed = allowed, why = why }, text)
end

---Whether a pod gets a sidecar, and why.
function M.injected(self, ...)
  local pod = objects.one(self, "pods", ...)
  local namespace = self:client():get("namespaces", pod.metadata.namespace)
  local yes, why = require("istio").would_inject(namespace, pod)
  local has = has_sidecar(pod)
  return show.as_text({ injected = yes, has = has }, ("%s: %s%s\n"):format(yes and "yes" or "no", why,
    has ~= yes and (has and "; yet the pod has one" or "; yet the pod has none") or ""))
end

-- --- the doctor ------------------------------------------------------------------------------------------------------

---What is wrong with the Kubeflow here.
function M.doctor(self, options)
  local found = require("doctor").visit(self:client(), { namespace = options and options.namespace })
  return show.as_text(json.array(found.findings), function() return require("doctor.report").text(found) end)
end

return M
