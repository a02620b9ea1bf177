-- A notebook tuned from end to end in a lab of its own: experiment, trials, jobs, pods, runs, metrics.
local test = require "test"
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local tune = require "kale.tune"

local NOTEBOOK = [[# %% [pipeline-parameters]
x = 2.0
# %% [step:square]
loss = (x - 3) * (x - 3)
# %% [pipeline-metrics]
print(loss)
]]

test("a notebook is tuned in the lab", function()
  local path = test.tmpdir() .. "/square.py"
  fs.write(path, NOTEBOOK)
  local rooms = test.tmpdir() -- where the command and its lab make folders of their own
  local result = proc.run { host.executable(), "kale", "tune", path, "--lab", "--tune", "x=0..6/1", "--minimize",
    "--objective", "loss", "--algorithm", "grid", "--trials", "3", "--parallel", "2", "--json",
    env = { TMPDIR = rooms } }
  if result.code ~= 0 then error(result.stderr, 0) end
  local said = json.decode(result.stdout)
  test.equal(said.state, "Succeeded")
  test.equal(said.trials, 3)
  test.equal(said.succeeded, 3)
  local x = tonumber(said.best.values.x)
  test.equal(tonumber(said.best.metrics.loss), (x - 3) * (x - 3))
  test.equal(x, 2.0) -- of 0, 1 and 2 the best
  test.same(fs.list(rooms), {})
end)

test("what was found is told where no report can be written; a folder that is not there is known before", function()
  local folder = test.tmpdir()
  fs.write(folder .. "/square.py", NOTEBOOK)
  fs.write(folder .. "/.kfhost", "no folder")
  local function tuned(...)
    return proc.run { host.executable(), "kale", "tune", folder .. "/square.py", "--lab", "--tune", "x=2..3/1",
      "--minimize", "--objective", "loss", "--algorithm", "grid", "--trials", "1", "--parallel", "1", "--json", ... }
  end
  local done = tuned("--report", folder .. "/none/report.html")
  test.same({ done.code, done.stdout }, { 2, "" })
  assert(done.stderr:find("there is no folder", 1, true), done.stderr)
  done = tuned()
  test.equal(done.code, 1)
  assert(done.stderr:find("the report is not written", 1, true), done.stderr)
  local said = json.decode(done.stdout)
  test.same({ said.best.values.x ~= nil, said.report }, { true, json.null })
end)

test("hyperband gives the best trial of its first round more, once all of them have ended", function()
  local path = test.tmpdir() .. "/rounds.py"
  fs.write(path, NOTEBOOK:gsub("x = 2.0", "x = 2.0\nrounds = 1"):gsub("loss = ", "loss = rounds * 0 + "))
  local done = proc.run { host.executable(), "kale", "tune", path, "--lab", "--tune", "x=0..6", "--tune", "rounds=1..3",
    "--minimize", "--objective", "loss", "--algorithm", "hyperband", "--setting", "r_l=3", "--setting",
    "resource_name=rounds", "--trials", "4", "--parallel", "3", "--json", "--report", test.tmpdir() .. "/report.html" }
  if done.code ~= 0 then error(done.stderr, 0) end
  local said = json.decode(done.stdout)
  test.same({ said.trials, said.succeeded, said.state }, { 4, 4, "Succeeded" })
end)

test("nothing of a lab of its own is left when tune has ended", function()
  local folder = test.tmpdir()
  fs.mkdir(folder .. "/tmp")
  fs.write(folder .. "/square.py", NOTEBOOK)
  local done = proc.run { host.executable(), "kale", "tune", folder .. "/square.py", "--lab", "--tune", "x=0,1",
    "--objective", "loss", "--algorithm", "grid", "--trials", "1", "--parallel", "1",
    env = { TMPDIR = folder .. "/tmp" } }
  if done.code ~= 0 then error(done.stderr, 0) end
  test.same(fs.list(folder .. "/tmp"), {})
end)

local COMPILED = { ir = { root = { inputDefinitions = { parameters = { rate = { parameterType = "NUMBER_DOUBLE" },
  kind = { parameterType = "STRING" }, depth = { parameterType = "NUMBER_INTEGER" },
  loud = { parameterType = "BOOLEAN" } } } } } }

local function experiment(words)
  local settings = tune.settings(COMPILED, { tune = words, objective = "loss", direction = "minimize" })
  return tune.experiment(settings, { pipeline_id = "p", version_id = "v" }, { name = "digits", namespace = "team-a",
    image = "site/kfhost:1", kfp_experiment = "digits", definitions = COMPILED.ir.root.inputDefinitions.parameters })
end

test("the trial's template passes no sidecar, restricted pods, and values by environment only", function()
  local spec = experiment({ "rate=0.1..0.5" }).spec
  test.same(require "katib".try.validate(experiment { "rate=0.1..0.5" }), {})
  local template = spec.trialTemplate
  test.equal(template.retain, true)
  test.same(template.trialParameters[2], { name = "trialName", reference = "${trialSpec.Name}" })
  local job = template.trialSpec
  test.equal(job.spec.backoffLimit, 0)
  local pod = job.spec.template
  test.equal(pod.metadata.labels["sidecar.istio.io/inject"], "false")
  local container = pod.spec.containers[1]
  test.same(container.args, { "kfhost kale trial" })
  test.equal(container.env[1].value, "${trialParameters.rate}")
  test.equal(pod.spec.volumes[1].projected.sources[1].serviceAccountToken.audience, "pipelines.kubeflow.org")
  local refused = require "kube".pod_security({ spec = pod.spec, metadata = pod.metadata }, "restricted")
  test.same(refused, {})
end)

test("choices that JSON text would break are tuned as codes, and their table travels", function()
  local made = experiment { "kind=plain,it's,say \"no\"" }
  test.same(made.spec.parameters[1].feasibleSpace.list, { "c0", "c1", "c2" })
  local env = made.spec.trialTemplate.trialSpec.spec.template.spec.containers[1].env
  test.same(json.decode(env[2].value).parameters[1].choices, { c0 = "plain", c1 = "it's", c2 = 'say "no"' })
  test.same(experiment({ "kind=a,b" }).spec.parameters[1].feasibleSpace.list, { "a", "b" })
end)

test("choices keep their dollar signs on the way through Katib and the kubelet", function()
  local choices = { "$$HOME", "$(KFHOST_P_1)", "${trialParameters.rate}", '"trial":""' }
  local settings = tune.settings(COMPILED, { tune = { "kind=x", "rate=0..1" }, objective = "loss" })
  settings.parameters[1].feasibleSpace.list = choices
  local made = tune.experiment(settings, { pipeline_id = "p", version_id = "v" }, { name = "digits",
    namespace = "team-a", image = "i", kfp_experiment = "digits",
    definitions = COMPILED.ir.root.inputDefinitions.parameters })
  test.same(tune.check(nil, made), {})
  local rendered = require "katib".render(made, { trial = "t-1", assignments = {
    { name = "kind", value = "c0" }, { name = "rate", value = "0.5" } } })
  local container, values = rendered.spec.template.spec.containers[1], {}
  for _, one in ipairs(container.env) do
    values[one.name] = require "lab.node.environment".expand(one.value, values)
  end
  local told = json.decode(values.KFHOST_TRIAL)
  test.equal(told.trial, "t-1")
  test.same(told.parameters[1].choices, { c0 = choices[1], c1 = choices[2], c2 = choices[3], c3 = choices[4] })
end)

test("equal names in two namespaces differ; one that is too long is refused", function()
  test.equal(tune.name("digits", "team-a") ~= tune.name("digits", "team-b"), true)
  test.raises("Usage", function() tune.name(("n"):rep(40), "team-a") end)
  test.raises("Usage", function() tune.name("123", "team-a") end)
end)

test("a value that the pipeline would not take is refused, from the command line and from the notebook", function()
  for word, reason in pairs { ["loud=maybe,true"] = "'loud' is true or false, not 'maybe'",
    ["depth=1,2.5"] = "'depth' is an integer, not '2.5'", ["rate=0.1,x"] = "'rate' is a number, not 'x'" } do
    local problem = test.raises("Usage", function() experiment { word } end)
    assert(problem.message:find(reason, 1, true), problem.message)
  end
  local function written(name, kind, space)
    return tune.settings({ ir = COMPILED.ir, katib = { objective = { objectiveMetricName = "loss" }, parameters = {
      { name = name, parameterType = kind, feasibleSpace = space } } } }, {})
  end
  for reason, given in pairs {
    ["'depth' is an integer: its space is of type int"] = { "depth", "double", { min = "1", max = "5" } },
    ["'loud' is true or false: give a list"] = { "loud", "int", { min = "0", max = "1" } },
    ["no parameter 'deep'"] = { "deep", "int", { min = "0", max = "1" } },
  } do
    local problem = test.raises("Usage", function() written(table.unpack(given)) end)
    assert(problem.message:find(reason, 1, true), problem.message)
  end
  test.equal(written("depth", "double", { min = "1", max = "5", step = "2" }).maxTrialCount, 12)
  test.equal(#experiment { "loud=true,false", "depth=1..3" }.spec.parameters, 2)
end)

test("trials look for Pipelines by the service's name, unless another one in the cluster was named", function()
  for _, mine in ipairs { "http://127.0.0.1:8888", "localhost:8080", "https://kubeflow.example.com/pipeline" } do
    test.equal(tune.endpoint_of_trials(mine), nil)
  end
  for _, theirs in ipairs { "http://ml-pipeline.kfp.svc:8888", "ml-pipeline.kfp.svc.cluster.local:8888" } do
    test.equal(tune.endpoint_of_trials(theirs), theirs)
  end
  test.equal(tune.endpoint_of_trials(nil), nil)
end)

test("what is not said is a usage error", function()
  test.raises("Usage", function() tune.settings(COMPILED, {}) end)
  test.raises("Usage", function() tune.settings(COMPILED, { tune = { "rate=0.1..0.5" } }) end)
  test.raises("Usage", function() tune.settings(COMPILED, { tune = { "x=1..2" }, objective = "loss" }) end)
  test.raises("Usage", function() tune.settings(COMPILED, { tune = { "rate=a..b" }, objective = "loss" }) end)
end)

test("lab up --kubeflow says where Pipelines are, and asks the cluster who may", function()
  local folder = test.tmpdir()
  local process <close> = proc.spawn { host.executable(), "lab", "up", "--kubeflow", "--nodes", "0", "--json",
    "--kubeconfig", folder .. "/config" }
  local facts = json.decode(process:read_line("stdout", "30s"))
  local http = require "http"
  local health = json.decode(http.request { url = facts.kfp .. "/apis/v2beta1/healthz" }.body)
  test.equal(health.multi_user, true)
  local function list(token, namespace)
    return http.request { url = facts.kfp .. "/apis/v2beta1/experiments?namespace=" .. namespace,
      headers = { Authorization = token and "Bearer " .. token } }.status
  end
  local c = require "kube".connect { kubeconfig = folder .. "/config", log = function() end, cache = false }
  local function token(audience)
    return c:create({ apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest",
      metadata = { name = "default", namespace = "default" }, spec = { audiences = { audience } } },
      { subresource = "token" }).status.token
  end
  local rbac = "rbac.authorization.k8s.io"
  c:create { apiVersion = rbac .. "/v1", kind = "ClusterRole", metadata = { name = "kfp" },
    rules = { { apiGroups = { "pipelines.kubeflow.org" }, resources = { "*" }, verbs = { "*" } } } }
  c:create { apiVersion = rbac .. "/v1", kind = "RoleBinding", metadata = { name = "kfp", namespace = "default" },
    roleRef = { apiGroup = rbac, kind = "ClusterRole", name = "kfp" },
    subjects = { { kind = "ServiceAccount", name = "default", namespace = "default" } } }
  test.equal(list(nil, "default"), 401)
  test.equal(list(token "pipelines.kubeflow.org", "default"), 200)
  test.equal(list(token "pipelines.kubeflow.org", "kubeflow"), 403)
  test.equal(list(token "somewhere.else", "default"), 401)
  c:close()
  process:stop()
  process:wait()
end)

test("a command in a lab keeps its options; kale tune and submit have a Kubeflow there", function()
  local folder = test.tmpdir()
  fs.write(folder .. "/square.py", NOTEBOOK)
  local function run(...)
    local done = proc.run { host.executable(), "--lab", "kale", ... }
    if done.code ~= 0 then error(done.stderr, 0) end
    return json.decode(done.stdout)
  end
  local said = run("tune", folder .. "/square.py", "--tune", "x=2..3/1", "--minimize", "--objective", "loss",
    "--algorithm", "grid", "--trials", "2", "--parallel", "2", "--json")
  test.equal(said.state, "Succeeded")
  test.equal(said.best.values.x, "3")
  test.equal(fs.exists(said.report), true)
  test.equal(run("submit", folder .. "/square.py", "--json").metrics.loss, 1)
end)

test("a script in a lab with Kubeflow finds Pipelines, a profile and its objects", function()
  local path = test.tmpdir() .. "/look.lua"
  fs.write(path, [[
local c = require "kube".connect { log = function() end, cache = false }
local k = require "kfp".connect {}
print(c.namespace, c:get("rolebindings", "namespaceAdmin").subjects[1].name, #k.experiments:page {} > 0)
c:close()
]])
  local done = proc.run { host.executable(), "--lab", "--kubeflow", path }
  if done.code ~= 0 then error(done.stderr, 0) end
  test.equal(done.stdout, "kubeflow-user-example-com\tuser@example.com\ttrue\n")
end)
