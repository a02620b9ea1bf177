-- Notebooks that nobody has used for a while are stopped at night; whoever computes on marks his with keep-running.
local policy = require "policy"
local time = require "kube.time"

policy.config {
  idle = { type = "duration", default = "1h", doc = "for how long nobody has used it" },
}

policy.grant {
  reads = { "notebooks.kubeflow.org" },
  writes = { { resource = "notebooks.kubeflow.org", verbs = { "patch" } } },
}

local STOPPED = "kubeflow-resource-stopped" -- what Kubeflow's own controller looks at
local USED = "notebooks.kubeflow.org/last-activity" -- what Kubeflow's culling writes, where that is switched on

-- Where nothing is known of its use, a notebook counts as idle.
local function is_idle(annotations, config)
  local used = time.parse(annotations[USED] or "")
  return not used or os.time() - used >= policy.seconds(config.idle)
end

policy.schedule {
  name = "stop-idle-notebooks",
  cron = "0 0 20 * * MON-FRI",
  run = function(ctx)
    for _, notebook in ipairs(ctx:list "notebooks.kubeflow.org") do
      local annotations = notebook.metadata.annotations or {}
      local runs_on = annotations[STOPPED] or annotations["keep-running"] == "true"
      if not runs_on and is_idle(annotations, ctx.config) then
        ctx:patch(notebook, { metadata = { annotations = { [STOPPED] = time.text(os.time()) } } }, { type = "merge" })
        ctx:event(notebook, "Normal", "Stopped", "stopped for the night")
      end
    end
  end,
}

local function notebook(name, annotations)
  return { apiVersion = "kubeflow.org/v1", kind = "Notebook",
    metadata = { name = name, namespace = "team-a", annotations = annotations } }
end

policy.test { name = "idle ones are stopped, others are left", schedule = "stop-idle-notebooks",
  objects = { notebook "one", notebook("two", { ["keep-running"] = "true" }), notebook("three", { [STOPPED] = "x" }),
    notebook("four", { [USED] = "2999-01-01T00:00:00Z" }), notebook("five", { [USED] = "2020-10-23T08:00:00Z" }) },
  expect = { writes = { { verb = "patch", reference = { name = "five" } }, { verb = "event" },
    { verb = "patch", reference = { name = "one" } }, { verb = "event" } } } }
