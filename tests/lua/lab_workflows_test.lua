-- The Workflow object that each run has in the lab's cluster, and what ends with a run: its object, its processes.
local errors = require "errors"
local fs = require "fs"
local test = require "test"
local wait_until = dofile "tests/lua/support/wait.lua"

local KIND = "workflows.argoproj.io"

local support = dofile "tests/lua/support/kfp.lua"
local pipeline, with_lab = support.pipeline, support.with_lab

local function of_run(c, id)
  return c:list(KIND, { namespace = "kubeflow", labels = "pipeline/runid=" .. id })
end

local function phase_of(c, id, wanted)
  return wait_until("phase " .. wanted, function()
    local workflow = of_run(c, id)[1]
    return workflow and (workflow.status or {}).phase == wanted and workflow
  end)
end

test("a run has a workflow that goes through its phases, and goes with it", function()
  with_lab(function(c, k)
    local run = k.runs:create { display_name = "one", pipeline_spec = pipeline "true" }
    local made = of_run(c, run.run_id)
    test.equal(#made, 1)
    test.equal(made[1].metadata.generateName, "hello-")
    test.equal(made[1].metadata.annotations["pipelines.kubeflow.org/run_name"], "one")
    test.equal(k.runs:wait(run.run_id).state, "SUCCEEDED")
    local workflow = phase_of(c, run.run_id, "Succeeded")
    test.equal(workflow.metadata.name, made[1].metadata.name)
    test.equal(workflow.metadata.labels["workflows.argoproj.io/completed"], "true")
    test.equal(workflow.status.nodes.say.phase, "Succeeded")
    k.runs:delete(run.run_id)
    test.equal(#of_run(c, run.run_id), 0)
  end)
end)

test("a run that is terminated ends with its workflow and with every process it started", function()
  with_lab(function(c, k)
    local folder = test.tmpdir()
    -- A step that will not hear of it, and leaves processes behind, one of which has turned away from its parent.
    local command = ([[trap '' TERM INT; cd %s
      setsid sh -c 'trap "" TERM; echo $$ > away; exec sleep 600' &
      sh -c 'trap "" TERM; echo $$ > child; exec sleep 600' &
      while ! [ -s away ]; do sleep 0.01; done; echo $$ > step; wait; sleep 600]]):format(folder)
    local run = k.runs:create { display_name = "one", pipeline_spec = pipeline(command) }
    local pids = {}
    for _, name in ipairs { "step", "child", "away" } do
      pids[name] = wait_until(name, function()
        return fs.exists(folder .. "/" .. name) and fs.read(folder .. "/" .. name):match "%d+"
      end)
    end
    k.runs:terminate(run.run_id)
    test.equal(k.runs:get(run.run_id).state, "CANCELING")
    test.equal(k.runs:wait(run.run_id, { timeout = "30s" }).state, "FAILED")
    for name, pid in pairs(pids) do
      wait_until(name .. " is gone", function()
        local stat = fs.try.read(("/proc/%s/stat"):format(pid))
        return not stat or stat:find "%) Z" ~= nil
      end)
    end
    local workflow = phase_of(c, run.run_id, "Failed")
    test.equal(workflow.spec.activeDeadlineSeconds, 0)
  end)
end)

test("the same id twice leaves one run, and a second workflow that a careful client takes away", function()
  with_lab(function(c, k)
    local id = "11111111-2222-4333-8444-555555555555"
    local body = { display_name = "one", run_id = id, pipeline_spec = pipeline "exec sleep 600" }
    local first = k.runs:create(body)
    test.equal(first.run_id, id)
    local err = test.raises("Internal", function() k.runs:create(body) end)
    assert(err.details:find("Duplicate entry", 1, true), err.details)
    test.equal(#of_run(c, id), 2)
    local taken, how = k.runs:start(body, { kube = c, namespace = "kubeflow" })
    test.same({ taken.run_id, how }, { id, "adopted" })
    k.runs:terminate(id)
    test.equal(k.runs:wait(id, { timeout = "30s" }).state, "FAILED")
  end)
end)

test("an answer that is cut after the commit 100 times leaves 100 runs and 100 workflows", function()
  with_lab(function(c, k)
    local send, cut = k.transport, 0
    k.transport = function(request)
      local response = send(request)
      if request.method ~= "POST" then return response end
      cut = cut + 1
      errors.raise { code = "Connection", message = "the connection ended without an answer" }
    end
    local body = pipeline "true"
    for i = 1, 100 do
      local id = ("11111111-2222-4333-8444-%012d"):format(i)
      local run, how = k.runs:start({ run_id = id, display_name = "run " .. i, pipeline_spec = body }, { kube = c,
        namespace = "kubeflow" })
      test.same({ run.run_id, how }, { id, "adopted" })
    end
    test.equal(cut, 100)
    local _, _, total = k.runs:page { page_size = 1 }
    test.equal(total, 100)
    test.equal(#c:list(KIND, { namespace = "kubeflow" }), 100)
  end, "none")
end)
