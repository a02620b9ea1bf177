-- What stands in for nodes in a lab without them: the pods of suggestions become ready, those of trials run, report
-- and end as a test says.
-- Not a kubelet.
--   local driver = dofile "tests/lua/support/katib.lua".start(kubeflow, "team-a", function(pod, number) … end)
local json = require "json"

local M = {}

local Driver = {}
Driver.__index = Driver

local function patch_status(self, kind, object, status)
  self.client.try:patch(kind, object.metadata.name, { status = status },
    { namespace = object.metadata.namespace, subresource = "status", type = "merge" })
end

-- A pod of a suggestion's Deployment is ready at once.
local function make_ready(self, object)
  if object.metadata.deletionTimestamp or object.status and object.status.phase == "Running" then return end
  local statuses, time = json.array {}, "2026-01-01T00:00:00Z"
  for i, container in ipairs(object.spec.containers) do
    statuses[i] = { name = container.name, ready = true, started = true, restartCount = 0, image = container.image,
      imageID = "", state = { running = { startedAt = time } } }
  end
  patch_status(self, "pods", object, { phase = "Running", containerStatuses = statuses, conditions = {
    { type = "Ready", status = "True", lastTransitionTime = time },
    { type = "ContainersReady", status = "True", lastTransitionTime = time } } })
end

---Reports metrics as a collector does: {name, value} pairs.
function Driver:report(trial, metrics)
  local logs = {}
  for i, one in ipairs(metrics) do
    logs[i] = { name = one[1], value = one[2], timestamp = ("2026-01-01T10:00:%02dZ"):format(i) }
  end
  self.katib.database:report(trial, logs)
  self.katib:reported(trial)
end

-- A pod of a trial: the test says what becomes of it.
local function run_pod(self, object)
  local labels = object.metadata.labels or {}
  if labels["katib.kubeflow.org/suggestion"] then return make_ready(self, object) end
  local trial = labels["katib.kubeflow.org/trial"]
  if not trial or self.seen[object.metadata.uid] or object.metadata.deletionTimestamp then return end
  self.seen[object.metadata.uid] = true
  local experiment = object.metadata.labels["katib.kubeflow.org/experiment"]
  self.numbers[experiment] = (self.numbers[experiment] or 0) + 1
  local phase = self.play(self, { trial = trial, experiment = experiment, number = self.numbers[experiment],
    pod = object })
  local code = phase == "Failed" and 1 or 0
  local statuses = json.array {}
  for i, container in ipairs(object.spec.containers) do
    statuses[i] = { name = container.name, ready = false, restartCount = 0, image = container.image, imageID = "",
      state = { terminated = { exitCode = code, reason = code == 0 and "Completed" or "Error" } } }
  end
  patch_status(self, "pods", object, { phase = phase, containerStatuses = statuses })
end

---@param kubeflow lab.Kubeflow
---@param namespace string
---@param play fun(driver: table, run: table): "Succeeded"|"Failed"
function M.start(kubeflow, namespace, play)
  local self = setmetatable({ client = kubeflow.client, katib = kubeflow.katib, play = play, seen = {}, numbers = {} },
    Driver)
  self.pods = self.client:informer { kind = "pods", namespace = namespace, handler = function(_, object)
    if object then run_pod(self, object) end
  end }
  return self
end

function Driver:stop() self.pods:stop() end

return M
