-- Notebooks are stopped at night; whoever works on marks his with keep-running.
local policy = require "policy"

policy.grant {
  reads = { "notebooks.kubeflow.org" },
  writes = { { resource = "notebooks.kubeflow.org", verbs = { "patch" } } },
}

local STOPPED = "kubeflow-resource-stopped" -- what Kubeflow's own controller looks at

policy.schedule {
  name = "stop-idle-notebooks",
  cron = "0 0 20 * * MON-FRI",
  run = function(ctx)
    for _, notebook in ipairs(ctx:list "notebooks.kubeflow.org") do
      local annotations = notebook.metadata.annotations or {}
      if not annotations[STOPPED] and annotations["keep-running"] ~= "true" then
        ctx:patch(notebook, { metadata = { annotations = { [STOPPED] = "20:00" } } }, { type = "merge" })
        ctx:event(notebook, "Normal", "Stopped", "stopped for the night")
      end
    end
  end,
}

local function notebook(name, annotations)
  return { apiVersion = "kubeflow.org/v1", kind = "Notebook",
    metadata = { name = name, namespace = "team-a", annotations = annotations } }
end

policy.test { name = "running ones are stopped, others are left", schedule = "stop-idle-notebooks",
  objects = { notebook "one", notebook("two", { ["keep-running"] = "true" }), notebook("three", { [STOPPED] = "x" }) },
  expect = { writes = { { verb = "patch", reference = { name = "one" } }, { verb = "event" } } } }
