-- kale-trial: the trials of an older Kale run `kfhost kale trial` instead of Kale's own program.
--
-- An older Kale writes trials as Jobs whose one command imports `create_and_wait_kfp_run`. That program polls every
-- 30 seconds and dies of the first poll that fails (P4), calls before the network of its pod is up (P5), and does
-- not understand Pipelines 2 at all. Here the Job keeps its name, its container and its parameters, and gets a program
-- that waits for readiness, bears failures, adopts its run after a restart, and ends it when it is told to stop.
--
-- A run whose trial is gone, or has ended, is ended as well: its workflow gets no more time, which is what Pipelines
-- does itself when a run is terminated.

local policy = require "policy"
local workload = require "katib.workload"
local hash = require "hash"
local json = require "json"

policy.config {
  runner = { type = "string", enum = { "kfhost", "python" },
    doc = "what runs trials; kfhost where trial_image is set, else python: a program of Python's own library, in the "
      .. "image that the trial has" },
  trial_image = { type = "string", doc = "an image with kfhost and a shell" },
  service_account = { type = "string", default = "default-editor", doc = "what trials run as" },
  endpoint = { type = "string", doc = "of the KFP API, where it is not the cluster's own" },
}

policy.grant { reads = { "trials.kubeflow.org" }, follows = { "workflows.argoproj.io" },
  writes = { { resource = "workflows.argoproj.io", verbs = { "patch" } },
    { resource = "trials.kubeflow.org", verbs = { "patch" } } } }

local PROGRAM = "create_and_wait_kfp_run"
local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }
local RUN_NOTE = "kubeflow-kale.org/kfp-run-uuid"
local LOOK_AGAIN = 5 -- seconds, while a trial has no run yet
local RUN_NAMES = "6ba7b811-9dad-11d1-80b4-00c04fd430c8" -- of the ids that `kale trial` gives its runs

-- --- what the older program was told ----------------------------------------------------------------------------

-- Its keyword arguments with values in quotes: {pipeline_id = "…", nodes_number = "251"}, and their order.
local function arguments_of(text)
  local _, at = text:find(PROGRAM .. "%s*%(")
  local values, order = {}, {}
  while at do
    local _, quote_at, name, quote = text:find([[([%a_][%w_]*)%s*=%s*(["'])]], at)
    if not quote_at then break end
    local last = quote_at
    repeat last = text:find(quote, last + 1, true) until not last or text:sub(last - 1, last - 1) ~= "\\"
    if not last then break end
    values[name] = text:sub(quote_at + 1, last - 1):gsub("\\(.)", "%1")
    order[#order + 1] = name
    at = last + 1
  end
  return values, order
end

local OWN = { pipeline_id = true, version_id = true, run_name = true, experiment_name = true, api_version = true }

-- The one container whose command is the older program, and that command.
local function older_program(job)
  local containers = job.spec.template.spec.containers or {}
  if #containers ~= 1 then return nil end
  local words = {}
  for _, list in ipairs { containers[1].command or {}, containers[1].args or {} } do
    table.move(list, 1, #list, #words + 1, words)
  end
  local text = table.concat(words, " ")
  if not text:find("import[^;\n]*" .. PROGRAM) then return nil end
  return containers[1], text
end

-- --- what it gets -------------------------------------------------------------------------------------------------

local RESTRICTED = { allowPrivilegeEscalation = false, runAsNonRoot = true, runAsUser = 1000,
  capabilities = { drop = { "ALL" } }, seccompProfile = { type = "RuntimeDefault" } }

local function environment_of(trial, values, order, config)
  local environment, parameters = {}, {}
  for _, name in ipairs(order) do
    if not OWN[name] then
      parameters[#parameters + 1] = { name = name, type = "AUTO" }
      environment[#environment + 1] = { name = "KFHOST_P_" .. #parameters, value = values[name] }
    end
  end
  trial.parameters = #parameters > 0 and parameters or nil
  environment[#environment + 1] = { name = "KFHOST_TRIAL", value = json.encode(trial, { sort = true }) }
  if config.endpoint then
    environment[#environment + 1] = { name = "KF_PIPELINES_ENDPOINT", value = config.endpoint }
  end
  return environment
end

-- Katib appends to the command what it needs: no `exec` in front of it.
local run_by = {}

function run_by.kfhost(container, config)
  container.image, container.command = config.trial_image or container.image, { "sh", "-c" }
  container.args = { "kfhost kale trial" }
  container.lifecycle = { preStop = { exec = { command = { "kfhost", "kale", "trial", "--cancel" } } } }
end

function run_by.python(container)
  table.insert(container.env, { name = "KFHOST_RUNNER", value = require "kale.trial_program" })
  container.command, container.args = { "sh", "-c" }, { 'python3 -u -c "$KFHOST_RUNNER"' }
  container.lifecycle = { preStop = { exec = { command = { "sh", "-c", 'python3 -c "$KFHOST_RUNNER" --cancel' } } } }
end

policy.mutate {
  name = "older-kale-trial",
  doc = "gives the trial of an older Kale the program that waits, bears failures, and ends its run",
  match = { resource = "jobs.batch", operations = { "CREATE" }, namespaces = PROFILES },
  apply = function(req)
    local job, config = req.object, req.config
    local owner = workload.trial_of(job)
    if not owner then return end
    local container, text = older_program(job)
    if not container then return end
    local values, order = arguments_of(text)
    if not values.pipeline_id then return req:warn "its program is an older Kale's, but it names no pipeline_id" end
    local known = req:lookup("trials.kubeflow.org", req.namespace, owner.name)
    local trial = { trial = owner.name, uid = owner.uid, namespace = req.namespace, pipeline_id = values.pipeline_id,
      pipeline_version_id = values.version_id, experiment = values.experiment_name or "Default",
      objective = known and known.spec.objective and known.spec.objective.objectiveMetricName or nil }
    container.env = environment_of(trial, values, order, config)
    run_by[config.runner or (config.trial_image and "kfhost" or "python")](container, config)
    container.securityContext = container.securityContext or RESTRICTED
    local template = job.spec.template
    template.spec.serviceAccountName = config.service_account
    template.spec.terminationGracePeriodSeconds = 30
    workload.add_token(template)
    req:warn("this trial runs `%s` in the place of an older Kale's program", container.args[1])
  end,
}

-- --- runs whose trial is gone -----------------------------------------------------------------------------------

local ENDED = { Succeeded = true, Failed = true, Killed = true, EarlyStopped = true, MetricsUnavailable = true }

local function has_ended(trial)
  for _, condition in ipairs(trial.status and trial.status.conditions or {}) do
    if ENDED[condition.type] and condition.status == "True" then return true end
  end
  return false
end

local OVER = { Succeeded = true, Failed = true, Error = true }

-- A run's id is made of its trial's uid, or of its name where the trial does not know its uid.
local function each_workflow(trial, ctx, visit)
  local metadata = trial.metadata
  for _, name in ipairs { metadata.uid or "", ("%s/%s"):format(metadata.namespace, metadata.name) } do
    local id = hash.uuid5(RUN_NAMES, name)
    local where = { namespace = metadata.namespace, labels = "pipeline/runid=" .. id }
    for _, workflow in ipairs(ctx:list("workflows.argoproj.io", where)) do visit(workflow, id) end
  end
end

local function end_runs(trial, ctx)
  each_workflow(trial, ctx, function(workflow)
    local open = not OVER[workflow.status and workflow.status.phase] and workflow.spec.activeDeadlineSeconds ~= 0
    if open then
      ctx:patch(workflow, { spec = { activeDeadlineSeconds = 0 } }, { type = "merge" })
      ctx:event(workflow, "Normal", "TrialGone", "trial %s is over, and so is its run", trial.metadata.name)
    end
  end)
end

-- Whether its pod asks for a run, or is made to.
local function has_run(trial)
  local text = json.encode(trial.spec and trial.spec.runSpec or {})
  return text:find("KFHOST_TRIAL", 1, true) ~= nil or text:find(PROGRAM, 1, true) ~= nil
end

-- Katib's interface links a trial to the run that its annotation names.
local function name_run(trial, ctx)
  local known
  local function note(object, id)
    if (object.metadata.annotations or {})[RUN_NOTE] == id then return end
    ctx:patch(object, { metadata = { annotations = { [RUN_NOTE] = id } } }, { type = "merge" })
  end
  each_workflow(trial, ctx, function(workflow, id)
    known = id
    note(workflow, id)
  end)
  if known then
    note(trial, known)
  elseif has_run(trial) then
    ctx:requeue(LOOK_AGAIN)
  end
end

policy.watch {
  name = "runs-of-trials",
  doc = "ends the run of a trial that has ended or is deleted; writes into trials which run is theirs",
  resource = "trials.kubeflow.org",
  reconcile = function(trial, ctx)
    if has_ended(trial) then end_runs(trial, ctx) else name_run(trial, ctx) end
  end,
  finalize = end_runs,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local UID = "1b5f7a8a-a84a-4969-b6f8-21b432ba1834"
local COMMAND = [[python3 -u -c "from kale.common.kfputils import create_and_wait_kfp_run; ]]
  .. [[create_and_wait_kfp_run(pipeline_id='79bd62a0', version_id='v-1', run_name='t-1', experiment_name='dogs', ]]
  .. [[api_version='v1beta1', nodes_number='251', title='it\'s \"big\"', )"]]

local function job(command, args)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "t-1", namespace = "team-a",
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "t-1", uid = UID } } },
    spec = { backoffLimit = 0, template = { spec = { restartPolicy = "Never", serviceAccountName = "pipeline-runner",
      containers = { { name = "main", image = "kale/trial", command = command, args = args } } } } } }
end

local SITE = { trial_image = "site/kfhost:1" }

local function served(name, object)
  policy.test { name = name, config = SITE, object = object, expect = { warnings = "kfhost kale trial",
    object = { spec = { backoffLimit = 0, template = { spec = { serviceAccountName = "default-editor",
      terminationGracePeriodSeconds = 30, volumes = { { name = workload.TOKEN.volume } }, containers = { {
        name = "main", image = "site/kfhost:1", command = { "sh", "-c" }, args = { "kfhost kale trial" },
        lifecycle = { preStop = { exec = { command = { "kfhost", "kale", "trial", "--cancel" } } } },
        env = { { name = "KFHOST_P_1", value = "251" }, { name = "KFHOST_P_2", value = 'it\'s "big"' },
          { name = "KFHOST_TRIAL", value = '{"experiment":"dogs","namespace":"team-a","parameters":['
            .. '{"name":"nodes_number","type":"AUTO"},{"name":"title","type":"AUTO"}],"pipeline_id":"79bd62a0",'
            .. '"pipeline_version_id":"v-1","trial":"t-1","uid":"' .. UID .. '"}' } } } } } } } } } }
end

served("an older Kale's trial gets the new program, with its parameters", job { COMMAND })
served("also where the command is a list", job({ "sh", "-c" }, { COMMAND }))

policy.test { name = "a trial that is served is not served again", config = SITE, expect = { patch = {} },
  object = job({ "sh", "-c" }, { "kfhost kale trial" }) }
policy.test { name = "another trial is left alone", config = SITE, object = job { "python3", "train.py" },
  expect = { allowed = true, patch = {} } }
policy.test { name = "a job that is no trial's is left alone", config = SITE, expect = { allowed = true, patch = {} },
  object = { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", namespace = "team-a" },
    spec = { template = { spec = { containers = { { name = "main", command = { COMMAND } } } } } } } }
policy.test { name = "without an image Python runs it, in the image that the trial has", object = job { COMMAND },
  expect = { warnings = 'python3 %-u %-c "$KFHOST_RUNNER"', object = { spec = { template = { spec = { containers = { {
    image = "kale/trial", command = { "sh", "-c" }, args = { 'python3 -u -c "$KFHOST_RUNNER"' },
    env = { { name = "KFHOST_P_1" }, { name = "KFHOST_P_2" }, { name = "KFHOST_TRIAL" },
      { name = "KFHOST_RUNNER", value = require "kale.trial_program" } } } } } } } } } }
policy.test { name = "a trial that Python runs is not served again", expect = { patch = {} },
  object = job({ "sh", "-c" }, { 'python3 -u -c "$KFHOST_RUNNER"' }) }

local function trial(condition, deleted)
  return { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", metadata = { name = "t-1", namespace = "team-a",
    uid = UID, deletionTimestamp = deleted and "2026-11-26T10:00:00Z" or nil },
    status = { conditions = { { type = condition, status = "True" } } } }
end

local function workflow(name, phase)
  return { apiVersion = "argoproj.io/v1alpha1", kind = "Workflow", metadata = { name = "wf", namespace = "team-a",
    labels = { ["pipeline/runid"] = hash.uuid5(RUN_NAMES, name) } }, spec = {}, status = { phase = phase } }
end

local TERMINATED = { { verb = "patch", patch = { spec = { activeDeadlineSeconds = 0 } } }, { verb = "event" } }

local function reaped(name, object, flow, writes)
  policy.test { name = name, watch = "runs-of-trials", object = object, objects = { flow },
    expect = { writes = writes } }
end

reaped("the run of a trial that is deleted ends", trial("Running", true), workflow(UID, "Running"), TERMINATED)
reaped("so does that of one that was killed", trial "Killed", workflow(UID, "Running"), TERMINATED)
reaped("also where its id is of the trial's name", trial "Killed", workflow("team-a/t-1", "Running"), TERMINATED)
local NOTED = { verb = "patch", patch = { metadata = { annotations = { [RUN_NOTE] = hash.uuid5(RUN_NAMES, UID) } } } }
reaped("a run whose trial goes on goes on; both say that they belong together", trial "Running",
  workflow(UID, "Running"), { NOTED, NOTED })
reaped("a trial without a run says nothing", trial "Running", workflow("other", "Running"), {})
reaped("a run that is over is left alone", trial "Succeeded", workflow(UID, "Succeeded"), {})
