-- Two profiles on one Kubeflow: the same notebook is tuned in both at once, under the same name. Nothing of the one is
-- seen in the other; a contributor is let in, a stranger is told why not, and nobody passes by another's name.
local test = require "test"
local fs = require "fs"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local serve = require "lab.serve"
local task = require "task"
local trial = require "kale.trial"
local replicas = dofile "tests/lua/support/replicas.lua"

local PATIENCE <const> = 180 -- seconds that a pod may take, on a machine that has much else to do
local POLICIES = { "kfp-access", "trial-sidecar", "kale-trial", "experiment-guard" }
local BASE <const> = "http://ml-pipeline.kubeflow.svc.cluster.local:8888/apis/v2beta1/"
local TOKEN <const> = "/var/run/secrets/kubeflow/pipelines/token"

-- The first step's value crosses as an artifact: it is the second one's that is the metric.
local NOTEBOOK = [[# %% [pipeline-parameters]
x = 2.0
# %% [step:make]
pair = [x, 3.0]
# %% [step:judge prev:make]
loss = (pair[0] - pair[1]) ** 2
# %% [pipeline-metrics]
print(loss)
]]

-- --- the site ---------------------------------------------------------------------------------------------

local function with_site(run)
  local clock = proc.spawn { "sleep", "600" } -- while a process is pending, real time runs
  local lab = serve.start { nodes = 1, time_scale = 0.05, mesh = true }
  local root = test.tmpdir()
  local kubeflow = require("lab.kubeflow").attach(lab, { root = root, multi_user = true })
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  local ok, problem = pcall(run, { lab = lab, kubeflow = kubeflow, client = c, root = root })
  c:close()
  kubeflow:close()
  lab:close()
  clock:kill "KILL"
  clock:wait()
  if not ok then error(problem, 0) end
end

local function wait_for(what, check)
  local last = task.now() + PATIENCE
  while task.now() < last do
    if check() then return end
    task.sleep(0.05)
  end
  error("it never happened that " .. what, 2)
end

-- A pod of an account; its words, once it has ended.
local function run_pod(c, namespace, name, container, more)
  container.name, container.image = "main", container.image or "kfhost"
  local spec = { restartPolicy = "Never", serviceAccountName = more.account or "default-editor",
    terminationGracePeriodSeconds = 1, containers = { container } }
  local labels = { ["access-ml-pipeline"] = more.token ~= false and "true" or nil,
    ["sidecar.istio.io/inject"] = more.proxy == false and "false" or nil }
  c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = namespace, labels = labels },
    spec = spec }
  return function()
    wait_for(("%s of %s has ended"):format(name, namespace), function()
      local phase = c:get("pods", name, { namespace = namespace }).status.phase
      return phase == "Succeeded" or phase == "Failed"
    end)
    return c:logs { pod = name, namespace = namespace, container = "main" }
  end
end

local TUNE <const> = 'cd && printf %s "$NOTEBOOK" >train.py && exec kfhost kale tune train.py --tune "x=$RANGE" '
  .. "--minimize --objective loss --algorithm grid --trials 3 --parallel 2 --name tuned --trial-image kfhost --json"

local function tune(c, namespace, range)
  return run_pod(c, namespace, "notebook", { command = { "sh", "-c", TUNE }, env = {
    { name = "NOTEBOOK", value = NOTEBOOK }, { name = "RANGE", value = range } } }, {})
end

-- What the pods of a namespace have come to, and said.
local function what_happened(c, namespace)
  local lines = {}
  for _, pod in ipairs(c:list("pods", { namespace = namespace })) do
    lines[#lines + 1] = pod.metadata.name .. " " .. json.encode(pod.status.containerStatuses or {})
    local text = c.try:logs { pod = pod.metadata.name, namespace = namespace, container = "main" }
    lines[#lines + 1] = type(text) == "string" and text or ""
  end
  return table.concat(lines, "\n")
end

-- The one line of JSON among what a program has said.
local function result_of(text)
  return json.decode(text:match "(%b{})%s*$" or error(text, 2))
end

-- --- asking Pipelines ---------------------------------------------------------------------------------------

-- Asks as it is told, and prints status and answer; a name of a header goes out as it is written.
local ASK <const> = [[
import http.client, json, os, sys
path = os.environ.get("KFHOST_ROOT", "") + sys.argv[1]
token = os.environ.get("TOKEN") or (open(path).read() if os.path.exists(path) else None)
for line in sys.argv[2:]:
    method, url, *headers = line.split(" ")
    host, at = url[7:].split("/", 1)
    c = http.client.HTTPConnection(host, timeout=60)
    c.putrequest(method, "/" + at)
    if token: c.putheader("Authorization", "Bearer " + token)
    for h in headers: c.putheader(*h.split("=", 1))
    body = b'{"display_name": "mine"}' if method == "POST" else b""
    c.putheader("Content-Type", "application/json")
    c.putheader("Content-Length", str(len(body)))
    c.endheaders(body)
    a = c.getresponse()
    print(json.dumps([a.status, a.read().decode()]))
]]

-- What Pipelines, or the mesh before them, answer: {status, body} each.
local function ask(c, namespace, name, more, ...)
  local text = run_pod(c, namespace, name, { image = "python:3",
    command = { "python3", "-u", "-c", ASK, TOKEN, ... }, env = { { name = "TOKEN", value = more.shows } } }, more)()
  local answers = {}
  for line in text:gmatch "[^\n]+" do answers[#answers + 1] = json.try.decode(line) or error(text, 2) end
  return answers
end

local function statuses(answers)
  local list = {}
  for i, answer in ipairs(answers) do list[i] = answer[1] end
  return list
end

-- --- what must hold -------------------------------------------------------------------------------------------

local SPACES = { ["team-a"] = { "1..3/1", { 1, 2, 3 } }, ["team-b"] = { "11..13/1", { 11, 12, 13 } } }

local function loss_of(x) return (x - 3) ^ 2 end

-- The trials of a namespace, their values, runs, metrics and files: all of them its own.
local function check_trials(site, namespace, found)
  local trials = site.client:list("trials.kubeflow.org", { namespace = namespace })
  local values = {}
  for i, one in ipairs(trials) do
    local x = tonumber(one.spec.parameterAssignments[1].value)
    values[i] = x
    local id = trial.run_id { uid = one.metadata.uid, trial = one.metadata.name, namespace = namespace }
    local run = site.kubeflow.pipelines.state.runs[id]
      or site.kubeflow.pipelines.state.runs[trial.run_id { trial = one.metadata.name, namespace = namespace }]
    test.same({ run.namespace, run.runtime_config.parameters.x, run.state }, { namespace, x, "SUCCEEDED" })
    test.equal(one.status.observation.metrics[1].latest + 0.0, loss_of(x))
    for _, metric in ipairs(site.kubeflow.katib.database:history(one.metadata.name)) do
      test.equal(tonumber(metric.value), loss_of(x))
    end
    test.equal(fs.exists(fs.join(site.root, run.run_id)), true)
    test.equal(found[run.run_id], nil) -- a run of its own
    found[run.run_id] = namespace
  end
  table.sort(values)
  test.same(values, SPACES[namespace][2])
end

-- The values that crossed from step to step, as they lie on the disk of each run.
local READ <const> = [[
import pickle, sys
for path in sys.argv[1:]:
    with open(path, "rb") as f:
        f.readline()
        print(pickle.load(f)["pair"][0])
]]

local function check_artifacts(site, found)
  local words, values = { "/usr/bin/python3", "-c", READ }, {}
  for id in pairs(found) do
    words[#words + 1] = fs.join(site.root, id, "make", "pair")
    values[#values + 1] = site.kubeflow.pipelines.state.runs[id].runtime_config.parameters.x
  end
  local done, number = proc.run(words), 0
  for line in done.stdout:gmatch "[^\n]+" do
    number = number + 1
    test.equal(tonumber(line), values[number] + 0.0)
  end
  test.equal(number, 6)
end

-- The other profile's runs, by their ids: its pods and what Kubernetes has of its trials are out of reach.
local function check_walls(site, found)
  local c, theirs = site.client, nil
  for id, namespace in pairs(found) do
    if namespace == "team-b" then theirs = id end
  end
  local answers = ask(c, "team-a", "over-the-wall", {}, "GET " .. BASE .. "runs?namespace=team-a",
    "GET " .. BASE .. "runs?namespace=team-b", "GET " .. BASE .. "runs/" .. theirs,
    "POST " .. BASE .. "runs/" .. theirs .. ":terminate", "GET " .. BASE .. "experiments?namespace=team-b",
    "GET " .. BASE .. "pipelines?namespace=team-b")
  test.same(statuses(answers), { 200, 403, 403, 403, 403, 403 })
  local own = json.decode(answers[1][2]).runs
  test.equal(#own, 3)
  for _, run in ipairs(own) do test.equal(found[run.run_id], "team-a") end
  local account = kube.connect { server = site.lab.url, ca = site.lab.ca, manager = "test", log = function() end,
    token = c:create({ apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest", spec = json.object {},
      metadata = { name = "default-editor", namespace = "team-a" } }, { subresource = "token" }).status.token }
  for _, kind in ipairs { "experiments.kubeflow.org", "trials.kubeflow.org", "pods", "secrets" } do
    test.equal(#account:list(kind, { namespace = "team-a" }) >= 0, true)
    local _, problem = account.try:list(kind, { namespace = "team-b" })
    test.equal(problem.code, "Forbidden")
  end
  account:close()
end

test("the same notebook is tuned in two profiles at once, and no run, metric or artifact crosses", function()
  with_site(function(site)
    local c = site.client
    site.kubeflow.tenants:profile("team-a", "ann@site")
    site.kubeflow.tenants:profile("team-b", "ben@site")
    local hosts <close> = replicas.new(site.lab, c, POLICIES, "{}\n", 2)
    hosts:register(1, 2)
    local waiting = {}
    for namespace, space in pairs(SPACES) do waiting[namespace] = tune(c, namespace, space[1]) end
    local found, names = {}, {}
    for namespace in pairs(SPACES) do
      local said = result_of(waiting[namespace]())
      if said.succeeded ~= 3 then error(what_happened(c, namespace), 0) end
      test.same({ said.state, said.trials }, { "Succeeded", 3 })
      test.equal(tonumber(said.best.metrics.loss), loss_of(tonumber(said.best.values.x)))
      test.equal(said.best.values.x, ({ ["team-a"] = "3", ["team-b"] = "11" })[namespace])
      names[namespace] = said.experiment
      check_trials(site, namespace, found)
      hosts:audited("trial-labels", { verdict = "patched", namespace = namespace })
    end
    test.equal(names["team-a"] ~= names["team-b"], true) -- Katib tells trials by the experiment's name alone
    check_artifacts(site, found)
    check_walls(site, found)

    -- The name that team-a has, written by hand into team-b: Katib would mix the trials up.
    local twin = c:get("experiments.kubeflow.org", names["team-a"], { namespace = "team-a" })
    twin.metadata, twin.status = { name = names["team-a"], namespace = "team-b" }, nil
    local _, problem = c.try:create(twin)
    test.equal(problem.message:find("namespace team-a has an experiment of this name", 1, true) ~= nil, true)
    hosts:audited("experiment-guard", { verdict = "denied", namespace = "team-b" })
  end)
end)

-- --- who is who -----------------------------------------------------------------------------------------------

-- As Kubeflow's access management binds a contributor.
local function contribute(c, user, namespace)
  c:create { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding", metadata = { namespace = namespace,
    name = "user-carl-site-clusterrole-edit", annotations = { user = user, role = "edit" } },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "kubeflow-edit" },
    subjects = { { apiGroup = "rbac.authorization.k8s.io", kind = "User", name = user } } }
end

local DIAGNOSE <const> = [[
local k = require "kfp".connect { namespace = "team-a" }
for _, one in ipairs(k:diagnose()) do
  if not one.ok then print(("%s: %s\n%s"):format(one.check, one.message, one.fix)) end
end
local ok, problem = pcall(function() return k.runs:page {} end)
print(ok, not ok and problem.code, not ok and problem.status)
]]

test("a contributor is let in as himself; a stranger's 403 says who he is and what he lacks", function()
  with_site(function(site)
    local c = site.client
    site.kubeflow.tenants:profile("team-a", "ann@site")
    site.kubeflow.tenants:profile("team-c", "eve@site")
    contribute(c, "carl@site", "team-a")
    c:create { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "ml-pipeline-ui",
      namespace = "kubeflow" } }
    c:patch("namespaces", "kubeflow", { metadata = { labels = { ["istio-injection"] = "enabled" } } },
      { type = "merge" })
    local hosts <close> = replicas.new(site.lab, c, POLICIES, "{}\n", 1)
    hosts:register(1)

    -- People come through the gateway and the user interface, which may say who they are.
    local list, own = "GET " .. BASE .. "runs?namespace=team-a kubeflow-userid=",
      "GET " .. BASE .. "runs?namespace=team-c kubeflow-userid="
    local answers = ask(c, "kubeflow", "ui", { account = "ml-pipeline-ui", token = false }, list .. "ann@site",
      list .. "carl@site", own .. "carl@site", list .. "eve@site", own .. "eve@site")
    test.same(statuses(answers), { 200, 200, 403, 403, 200 })
    test.equal(answers[4][2]:find("User 'eve@site' is not authorized", 1, true) ~= nil, true)

    -- Or with a token of their own, which says who they are, wherever it is sent from: from a stranger's pod, too.
    local shown = site.lab.cluster.auth:add_user("carl@site", {})
    answers = ask(c, "team-c", "carl", { shows = shown }, "GET " .. BASE .. "runs?namespace=team-a",
      "GET " .. BASE .. "runs?namespace=team-c", "GET " .. BASE .. "runs?namespace=team-a kubeflow-userid=ann@site")
    test.same(statuses(answers), { 200, 403, 403 })

    -- A stranger's pod with a token of its own.
    local said = run_pod(c, "team-c", "stranger", { command = { "kfhost", "-e", DIAGNOSE } }, {})()
    for _, piece in ipairs { "list runs: ", "User 'system:serviceaccount:team-c:default-editor' is not authorized",
      "Namespace:team-a,Verb:list,Group:pipelines.kubeflow.org", "bind the role kubeflow-edit to the caller in that "
      .. "namespace (policy kfp-access)", "PermissionDenied\t403" } do
      if not said:find(piece, 1, true) then error(("'%s' is not in:\n%s"):format(piece, said), 0) end
    end
  end)
end)

-- A site with one profile, and the policies served.
local function with_profile(run)
  with_site(function(site)
    site.kubeflow.tenants:profile("team-a", "ann@site")
    local hosts <close> = replicas.new(site.lab, site.client, POLICIES, "{}\n", 1)
    hosts:register(1)
    run(site, site.client)
  end)
end

test("a pod that names a user is refused: with a proxy and without one, whatever the letters of the header", function()
  with_profile(function(site, c)
    local decisions = site.lab.cluster.mesh.decisions
    for _, proxy in ipairs { true, false } do
      local first = #decisions
      local answers = ask(c, "team-a", proxy and "with" or "without", { proxy = proxy },
        "GET " .. BASE .. "runs?namespace=team-a", "GET " .. BASE .. "runs?namespace=team-a kubeflow-userid=ann@site",
        "GET " .. BASE .. "runs?namespace=team-a Kubeflow-UserID=ann@site",
        "POST " .. BASE .. "runs?namespace=team-a KUBEFLOW-USERID=ann@site",
        "GET " .. BASE .. "runs?namespace=team-a kubeflow-userid=system:serviceaccount:team-a:default-editor",
        "GET " .. BASE .. "runs?namespace=team-a kubeflow-userid=")
      test.same(statuses(answers), { 200, 403, 403, 403, 403, 403 })
      for i = 2, 6 do
        test.equal(answers[i][2], "RBAC: access denied")
        local one = decisions[first + i]
        test.same({ one.source, one.allowed, one.why.stage }, { proxy
          and "cluster.local/ns/team-a/sa/default-editor" or "plaintext", false, "allow" })
      end
    end
    test.equal(next(site.kubeflow.pipelines.state.runs), nil)
  end)
end)

-- A notebook whose run would take an hour.
local SLOW = [[# %% [pipeline-parameters]
x = 2.0
# %% [step:wait]
import time
time.sleep(3600)
loss = x
# %% [pipeline-metrics]
print(loss)
]]

test("the run of a trial that is deleted ends, though nobody is left to end it", function()
  with_profile(function(site, c)
    run_pod(c, "team-a", "notebook", { command = { "sh", "-c", TUNE }, env = {
      { name = "NOTEBOOK", value = SLOW }, { name = "RANGE", value = "1..3/1" } } }, {})
    local function first_run()
      for _, run in pairs(site.kubeflow.pipelines.state.runs) do
        if run.state == "RUNNING" and run.workflow then return run end
      end
    end
    wait_for("a run is under way", first_run)
    local run = first_run()
    -- The tuner goes, and the pods of trials have no time to say anything; then the trials are deleted.
    c:delete("pods", "notebook", { namespace = "team-a", grace = 0 })
    for _, pod in ipairs(c:list("pods", { namespace = "team-a", labels = "katib.kubeflow.org/trial" })) do
      c:delete("pods", pod.metadata.name, { namespace = "team-a", grace = 0 })
    end
    for _, one in ipairs(c:list("experiments.kubeflow.org", { namespace = "team-a" })) do
      c:delete("experiments.kubeflow.org", one.metadata.name, { namespace = "team-a" })
    end
    wait_for("the run has ended", function() return run.state == "FAILED" end)
    test.equal(c:get("workflows.argoproj.io", run.workflow, { namespace = "team-a" }).spec.activeDeadlineSeconds, 0)
  end)
end)
