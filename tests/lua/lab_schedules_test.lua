-- The ScheduledWorkflow object of each recurring run: as the real server makes it, and what its controller does.
local clock = require "lab.clock"
local fs = require "fs"
local json = require "json"
local macros = require "lab.kfp.macros"
local schedule = require "lab.kfp.schedule"
local test = require "test"
local wait_until = dofile "tests/lua/support/wait.lua"

local KIND, WORKFLOWS = "scheduledworkflows.kubeflow.org", "workflows.argoproj.io"
local HOUR = 3600

local support = dofile "tests/lua/support/kfp.lua"
local one_step, with_lab = support.pipeline, support.with_lab

-- A pipeline with parameters: a number and a text.
local function pipeline(command)
  local spec = one_step(command or "true")
  spec.root.inputDefinitions = { parameters = { epochs = { parameterType = "NUMBER_INTEGER", defaultValue = 1 },
    tag = { parameterType = "STRING", defaultValue = "" } } }
  return spec
end

local function ago(hours) return clock.text(os.time() - math.floor(hours * HOUR)) end

-- Each hour, since so many hours.
local function hourly(hours, fields)
  local body = { display_name = "each hour", pipeline_spec = pipeline(), max_concurrency = 1, mode = "ENABLE",
    trigger = { periodic_schedule = { interval_second = HOUR, start_time = ago(hours) } } }
  for name, value in pairs(fields or {}) do body[name] = value end
  return body
end

local function object_of(c, recurring)
  for _, one in ipairs(c:list(KIND, { namespace = "kubeflow" })) do
    if one.metadata.uid == recurring.recurring_run_id then return one end
  end
  return nil
end

local function runs_of(k, recurring)
  local list = {}
  for run in k.runs:list { sort_by = "scheduled_at" } do
    if run.recurring_run_id == recurring.recurring_run_id then list[#list + 1] = run end
  end
  return list
end

-- The object when its status fits.
local function settled(c, recurring, what, fits)
  return wait_until(what, function()
    local object = object_of(c, recurring)
    local status = object and object.status
    return status and status.conditions and fits(status, object) and object
  end)
end

local function completed(count)
  return function(status)
    return #((status.workflowHistory or {}).completed or {}) == count and not status.workflowHistory.active
  end
end

-- --- the object ----------------------------------------------------------------------------------------------------

local function recorded(name)
  return json.decode(fs.read(("tests/fixtures/wire-kfp/%s.json"):format(name)), { duplicates = "last" })
end

-- A spec without what differs from server to server: ids, and the workflow that Argo gets.
local function plain(spec)
  local copy = json.decode(json.encode(spec))
  for _, field in ipairs { "experimentId", "pipelineId", "pipelineVersionId" } do
    copy[field] = copy[field] and "ID"
  end
  copy.workflow.spec = copy.workflow.spec and "WORKFLOW"
  return copy
end

local function like_recorded(exchange, object_file, change)
  with_lab(function(c, k)
    local spec = pipeline()
    local first = k:upload(spec, { name = "iris" })
    spec.pipelineInfo.description = "another"
    local second = k:upload(spec, { name = "iris" })
    test.equal(second.pipeline_id, first.pipeline_id)
    local body, wanted = recorded(exchange).request.body, recorded(object_file).object
    body.experiment_id, body.mode = nil, "DISABLE"
    local reference = body.pipeline_version_reference
    reference.pipeline_id = first.pipeline_id
    reference.pipeline_version_id = reference.pipeline_version_id and second.version_id
    local made = k.recurring:create(body)
    local object = object_of(c, made)
    test.equal(object.metadata.generateName, wanted.metadata.generateName)
    test.equal(object.metadata.namespace, wanted.metadata.namespace)
    wanted.spec.enabled = nil
    change(wanted.spec, second.version_id and k.versions:get(second.version_id))
    test.same(plain(object.spec), plain(wanted.spec))
  end, "none")
end

test("a recurring run has an object as the real server makes it, of a version and of the latest", function()
  like_recorded("377-recurring-create-cron", "902-object-scheduledworkflow-1", function(spec, version)
    spec.pipelineName = version.name
  end)
  like_recorded("380-recurring-create-floating", "904-object-scheduledworkflow-3", function() end)
end)

test("kubectl lists the objects by each of their names", function()
  with_lab(function(c, k)
    k.recurring:create(hourly(0, { mode = "DISABLE" }))
    for _, word in ipairs { "swf", "scheduledworkflows", "ScheduledWorkflow" } do
      test.equal(#c:table(word, { namespace = "kubeflow" }).rows, 1)
    end
  end, "none")
end)

-- --- what the controller does --------------------------------------------------------------------------------------

test("runs that are due are made one after the other, and the status says which", function()
  with_lab(function(c, k)
    local body = hourly(3.5, { runtime_config = { parameters = { epochs = 5,
      tag = "[[Index]] at [[ScheduledTime.15]]" } } })
    local started = clock.parse(body.trigger.periodic_schedule.start_time)
    local made = k.recurring:create(body)
    local object = settled(c, made, "three runs", completed(3))
    local runs = runs_of(k, made)
    test.equal(#runs, 3)
    for i, run in ipairs(runs) do
      local at = started + i * HOUR
      test.equal(run.scheduled_at, clock.text(at))
      test.equal(run.state, "SUCCEEDED")
      test.same(run.runtime_config.parameters, { epochs = 5, tag = ("%d at %s"):format(i, os.date("!%H", at)) })
      local workflow = c:get(WORKFLOWS, run.display_name, { namespace = "kubeflow" })
      local owner = workflow.metadata.ownerReferences[1]
      test.same({ owner.kind, owner.name, owner.uid, owner.controller }, { "ScheduledWorkflow", object.metadata.name,
        made.recurring_run_id, true })
      test.equal(workflow.metadata.labels["pipeline/runid"], run.run_id)
      test.equal(workflow.metadata.labels["scheduledworkflows.kubeflow.org/workflowIndex"], tostring(i))
    end
    test.same(object.status.conditions, { { type = "Enabled", status = "True", reason = "Enabled",
      message = "The schedule is enabled." } })
    test.same(object.status.trigger, { lastTriggeredTime = clock.text(started + 3 * HOUR), lastWorkflowIndex = 3,
      nextTriggeredTime = clock.text(started + 4 * HOUR) })
    local indices = {}
    for i, one in ipairs(object.status.workflowHistory.completed) do
      indices[i] = one.index
      test.equal(one.phase, "Succeeded")
    end
    test.same(indices, { 3, 2, 1 })
    test.equal(object.metadata.labels["scheduledworkflows.kubeflow.org/status"], "Enabled")
  end)
end)

test("without catching up only the last of the missed runs is made", function()
  with_lab(function(c, k)
    local made = k.recurring:create(hourly(3.5, { no_catchup = true }))
    settled(c, made, "one run", completed(1))
    local runs = runs_of(k, made)
    test.equal(#runs, 1)
    test.equal(runs[1].scheduled_at, clock.text(clock.parse(made.trigger.periodic_schedule.start_time) + 3 * HOUR))
  end)
end)

test("no more runs than allowed are under way at once", function()
  with_lab(function(c, k)
    local made = k.recurring:create(hourly(5.5, { max_concurrency = 2 }))
    local function active(status) return #((status.workflowHistory or {}).active or {}) end
    settled(c, made, "two runs", function(status) return active(status) == 2 end)
    test.equal(#runs_of(k, made), 2)
    k.runs:delete(runs_of(k, made)[1].run_id)
    settled(c, made, "the third", function(status) return status.trigger.lastWorkflowIndex == 3 end)
    test.equal(#c:list(WORKFLOWS, { namespace = "kubeflow" }), 2)
  end, "none")
end)

test("switching off and on reaches the object, and a change of the object the recurring run", function()
  with_lab(function(c, k)
    local made = k.recurring:create(hourly(1.5, { mode = "DISABLE" }))
    local id = made.recurring_run_id
    local object = settled(c, made, "disabled", function(status) return status.conditions[1].type == "Disabled" end)
    test.equal(object.metadata.labels["scheduledworkflows.kubeflow.org/enabled"], "false")
    c:patch(KIND, object.metadata.name, { spec = { enabled = true, maxConcurrency = 3 } }, { type = "merge",
      namespace = "kubeflow" })
    settled(c, made, "a run", completed(1))
    local shown = k.recurring:get(id)
    test.same({ shown.status, shown.mode, shown.max_concurrency }, { "ENABLED", "ENABLE", "3" })
    k.recurring:disable(id)
    test.equal(object_of(c, made).spec.enabled, false)
    k.recurring:enable(id)
    test.equal(object_of(c, made).spec.enabled, true)
    k.experiments:archive(made.experiment_id)
    test.equal(object_of(c, made).spec.enabled, false)
  end)
end)

test("without a trigger there is one run, and then the schedule has succeeded", function()
  with_lab(function(c, k)
    local body = hourly(0)
    body.trigger = nil
    local made = k.recurring:create(body)
    local object = settled(c, made, "the end", function(status) return status.conditions[1].type == "Succeeded" end)
    test.equal(object.status.conditions[1].message, "The one-off schedule has succeeded.")
    test.equal(#runs_of(k, made), 1)
  end)
end)

test("a schedule of a pipeline runs its latest version, one of a version runs that even when it is gone", function()
  with_lab(function(c, k)
    local first = k:upload(pipeline "echo first", { name = "p" })
    local function reference(version)
      return { pipeline_version_reference = { pipeline_id = first.pipeline_id, pipeline_version_id = version },
        pipeline_spec = false, mode = "DISABLE" }
    end
    local function create(version)
      local body = hourly(1.5, reference(version))
      body.pipeline_spec = nil
      return k.recurring:create(body)
    end
    local floating, pinned = create(), create(first.version_id)
    local second = k:upload(pipeline "echo second", { name = "p" })
    k.versions:delete(first.version_id, { pipeline_id = first.pipeline_id })
    for made, version in pairs { [floating] = second.version_id, [pinned] = first.version_id } do
      k.recurring:enable(made.recurring_run_id)
      settled(c, made, "a run", completed(1))
      local run = runs_of(k, made)[1]
      test.equal(run.state, "SUCCEEDED")
      test.equal(run.pipeline_version_reference.pipeline_version_id, version)
    end
  end)
end)

test("an object that was made by hand runs the latest version of its pipeline, if there is such a pipeline", function()
  with_lab(function(c, k)
    local up = k:upload(pipeline(), { name = "p" })
    local function create(name, pipeline_id)
      return c:create { apiVersion = "kubeflow.org/v1beta1", kind = "ScheduledWorkflow",
        metadata = { name = name, namespace = "kubeflow" }, spec = { enabled = true, pipelineId = pipeline_id,
          trigger = { periodicSchedule = { intervalSecond = HOUR, startTime = ago(1.5) } },
          workflow = { parameters = { { name = "epochs", value = "7" }, { name = "tag", value = '"x"' } } } } }
    end
    local known = create("known", up.pipeline_id)
    local unknown = create("unknown", "11111111-2222-4333-8444-555555555555")
    settled(c, { recurring_run_id = known.metadata.uid }, "a run", completed(1))
    local run = k.runs:list()()
    test.same(run.runtime_config.parameters, { epochs = 7, tag = "x" })
    test.equal(run.pipeline_version_reference.pipeline_version_id, up.version_id)
    local left = settled(c, { recurring_run_id = unknown.metadata.uid }, "a status", function() return true end)
    test.equal(left.status.trigger.lastTriggeredTime, nil)
    test.equal(#c:list(WORKFLOWS, { namespace = "kubeflow" }), 1)
  end)
end)

test("with a recurring run go its object and its workflows, unless they are to be left; its runs stay", function()
  with_lab(function(c, k)
    for i, policy in ipairs { "BACKGROUND", "ORPHAN" } do
      local made = k.recurring:create(hourly(1.5))
      settled(c, made, "a run", completed(1))
      local run = runs_of(k, made)[1]
      k.recurring:delete(made.recurring_run_id, { propagation_policy = policy })
      wait_until("no object", function() return object_of(c, made) == nil end)
      wait_until("workflows", function() return #c:list(WORKFLOWS, { namespace = "kubeflow" }) == i - 1 end)
      test.equal(k.runs:get(run.run_id).state, "SUCCEEDED")
    end
  end)
end)

test("a workflow that is taken away takes what its run has started with it", function()
  with_lab(function(c, k)
    local run = k.runs:create { display_name = "one", pipeline_spec = pipeline "exec sleep 600" }
    wait_until("running", function() return k.runs:get(run.run_id).state == "RUNNING" end)
    c:delete(WORKFLOWS, c:list(WORKFLOWS, { namespace = "kubeflow" })[1].metadata.name, { namespace = "kubeflow" })
    test.equal(k.runs:wait(run.run_id, { timeout = "30s" }).state, "FAILED")
  end)
end)

-- --- times and values ----------------------------------------------------------------------------------------------

local function scheduled(trigger, fields)
  local object = { metadata = { name = "s", creationTimestamp = "2026-01-01T00:00:00Z" }, spec = { enabled = true,
    trigger = trigger } }
  for name, value in pairs(fields or {}) do object.spec[name] = value end
  return object
end

test("times are as the controller reckons them", function()
  local now = clock.parse "2026-01-02T12:00:00Z"
  local function next_of(trigger, fields)
    local at = schedule.next(scheduled(trigger, fields), now)
    return at and clock.text(at)
  end
  test.equal(next_of { cronSchedule = { cron = "0 30 3 * * *" } }, "2026-01-01T03:30:00Z")
  test.equal(next_of { cronSchedule = { cron = "0 3 * * *" } }, "2026-01-01T00:03:00Z") -- five fields: minute 3
  test.equal(next_of { cronSchedule = { cron = "@every 90m" } }, "2026-01-01T01:30:00Z")
  test.equal(next_of { cronSchedule = { cron = "TZ=Asia/Tokyo 0 0 12 * * *" } }, "2026-01-01T03:00:00Z")
  test.equal(next_of({ cronSchedule = { cron = "0 0 * * * *" } }, { noCatchup = true }), "2026-01-02T12:00:00Z")
  test.equal(next_of { cronSchedule = { cron = "0 0 * * * *", endTime = "2026-01-01T00:30:00Z" } }, nil)
  test.equal(next_of { periodicSchedule = { intervalSecond = 60, startTime = "2026-02-01T00:00:00Z" } },
    "2026-02-01T00:01:00Z")
  test.equal(next_of { cronSchedule = { cron = "no line" } }, nil)
end)

test("a run's name is its index and the FNV of both", function()
  local object = scheduled({})
  object.status = { trigger = { lastWorkflowIndex = 0 } }
  test.equal(schedule.next_name(object), "s-1-412855716")
  test.equal(schedule.prefix "My *Long* Name of a Schedule That Goes On", "mylongnameofaschedulethat")
  test.equal(schedule.prefix "\u{e9}", "job-")
end)

test("a parameter's macros stand for the run, its times and its index", function()
  local about = { scheduled = clock.parse "2026-03-04T05:06:07Z", now = clock.parse "2026-03-05T00:00:00Z", index = 7,
    id = "11111111-2222-4333-8444-555555555555" }
  local cases = {
    ["[[ScheduledTime]]"] = "20260304050607", ["[[CurrentTime]]"] = "20260305000000", ["[[Index]]"] = "7",
    ["[[RunUUID]]/x"] = "11111111-2222-4333-8444-555555555555/x",
    ["[[ScheduledTime.2006-1-2T15:04:05Z07:00]]"] = "2026-3-4T05:06:07Z",
    ["[[ScheduledTime.Monday, 02-Jan-06 3PM]]"] = "Wednesday, 04-Mar-26 5AM", ["[[Other]]"] = "[[Other]]",
    ["{{$.scheduledTime.strftime('%Y-%m')}}"] = "2026-03", ["plain"] = "plain",
  }
  for text, wanted in pairs(cases) do test.equal(macros.fill(text, about), wanted) end
  test.same(macros.fill({ a = { "[[Index]]", 1 } }, about), { a = { "7", 1 } })
end)
