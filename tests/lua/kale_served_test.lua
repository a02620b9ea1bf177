-- kale submit and tune, as commands, at a lab that serves Pipelines of several users.
local fs = require "fs"
local host = require "host"
local json = require "json"
local kfp = require "kfp"
local proc = require "proc"
local test = require "test"

local PROFILE, OWNER = "kubeflow-user-example-com", "user@example.com"
local NOTEBOOK = "# %% [pipeline-parameters]\nx = 2.0\n# %% [step:square]\nprint('squared')\nloss = x * x\n"
  .. "# %% [pipeline-metrics]\nprint(loss)\n"

-- use(kale, k): kale(COMMAND, …) gives what the command did for the notebook; k: Pipelines as the owner sees them.
local function with_lab(use)
  local folder = test.tmpdir()
  fs.write(folder .. "/square.py", NOTEBOOK)
  local lab <close> = proc.spawn { host.executable(), "lab", "up", "--kubeflow", "--json", "--kubeconfig",
    folder .. "/config" }
  local facts = json.decode(lab:read_line("stdout", "30s"))
  local env = { KUBECONFIG = folder .. "/config", HOME = folder, KFHOST_TRIAL_IMAGE = "kfhost",
    KF_PIPELINES_ENDPOINT = "" } -- through the API server
  local function kale(command, ...)
    return proc.run { host.executable(), "kale", command, folder .. "/square.py", env = env, ... }
  end
  use(kale, kfp.connect { endpoint = facts.kfp, user = OWNER, namespace = PROFILE })
  lab:stop()
  lab:wait()
end

local function refused(done, reason)
  test.equal(done.code, 2)
  if not done.stderr:find(reason, 1, true) then error(done.stderr, 0) end
end

test("who asks is said by option; what could not work is refused before anything is uploaded", function()
  with_lab(function(kale, k)
    local tune = { "--tune", "x=0..3/1", "--objective", "loss", "--algorithm", "grid", "--trials", "2", "--user",
      OWNER }
    local function tuned(...)
      return kale("tune", table.unpack(table.move(tune, 1, #tune, select("#", ...) + 1, { ... })))
    end
    refused(tuned("--namespace=" .. "default"), "lacks the label katib.kubeflow.org/metrics-collector-injection")
    refused(tuned("--name=" .. ("n"):rep(50)), "Katib takes 40")
    test.same({ k.pipelines:page {} }, { {}, nil, 0 })
    test.equal(kale("submit", "--namespace", PROFILE).stderr:find("User identity is empty", 1, true) ~= nil, true)
    local done = kale("submit", "--namespace", PROFILE, "--user", OWNER, "--json", "--quiet")
    if done.code ~= 0 then error(done.stderr, 0) end
    local said = json.decode(done.stdout)
    test.equal(said.metrics.loss, 4)
    test.equal(said.link, "/_/pipeline/#/runs/details/" .. said.run_id)
    local made = tuned("--namespace=" .. PROFILE, "--logs", "--json")
    if made.code ~= 0 then error(made.stderr, 0) end
    test.equal(json.decode(made.stdout).succeeded, 2)
    test.equal(made.stderr:find("square | squared", 1, true) ~= nil, true)
    test.equal(made.stderr:find("KFHOST-METRIC", 1, true), nil)
    refused(tuned("--namespace=" .. PROFILE), "--resume follows it")
  end)
end)
