-- P3, the riddle: a trial ends with 0, and its job fails, or never ends. Here a training, a metrics collector and
-- a proxy are real processes in a pod of the lab; the collector is wrapped as trial-sidecar (way d) wraps it.
local test = require "test"
local policy = require "policy"
local trial = require "policy.trial"
local pods = dofile "tests/lua/support/pods.lua"

local MESSAGE = "accuracy=0.97\n\tloss=0,1 – Ende"

-- A proxy: quits when it is asked to ("quits"); is gone before that ("gone"); refuses, until somebody ends it ("403").
local PROXY = [[
local mode, root = ..., os.getenv "KFHOST_ROOT" or ""
local fs, task = require "fs", require "task"
if mode == "gone" then return end
local over = task.event()
local listening = require "server".listen { port = 15020, handler = function(request)
  if request.method ~= "POST" or request.path ~= "/quitquitquit" then return { status = 405 } end
  if mode == "403" then return { status = 403, body = "" } end
  over:set()
  return { status = 200, body = "OK" }
end }
fs.write(root .. "/shared/ready", "")
if mode == "quits" then
  over:wait()
  task.sleep(0.1)
else
  while not fs.exists(root .. "/shared/reported") do task.sleep(0.05) end
  task.sleep(0.1)
end
listening:close()
]]

-- As Katib's collector: waits for the training, reports, says so in the termination message, ends with its own code.
local COLLECTOR = [[
cd "$KFHOST_ROOT/shared"
while [ ! -e done ]; do /bin/sleep 0.05; done
printf '%s' "$MESSAGE" >"$KFHOST_ROOT/dev/termination-log"
echo reported >reported
exit $CODE
]]

local function container(name, image, command, env)
  return { name = name, image = image, command = command, env = env,
    volumeMounts = { { name = "shared", mountPath = "/shared" } } }
end

local function pod(case)
  local training = ('cd "$KFHOST_ROOT/shared"; echo done >done; exit %d'):format(case.training)
  if case.proxy ~= "gone" then
    training = 'while [ ! -e "$KFHOST_ROOT/shared/ready" ]; do sleep 0.05; done; ' .. training
  end
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "t", namespace = "default" }, spec = {
    restartPolicy = "Never", volumes = { { name = "shared", emptyDir = {} } }, containers = {
      container("main", "busybox", { "sh", "-c", training }),
      container("istio-proxy", "kfhost", { "kfhost", "-e", PROXY, case.proxy }),
      container("metrics-logger-and-collector", "busybox", { "/bin/sh", "-c", COLLECTOR },
        { { name = "MESSAGE", value = MESSAGE }, { name = "CODE", value = tostring(case.collector or 0) } }),
    } } }
end

local function find(list, name)
  for _, one in ipairs(list) do
    if one.name == name then return one end
  end
end

local function eventually(what, check) return pods.eventually(what, check, 30) end

-- A cluster whose pods are processes, for as long as the function runs.
local function with_lab(run)
  pods.with({}, function(_, call) run(call) end)
end

-- The job that runs the pod of a case, as the policy left it; its pod, once the job has ended.
local function play(call, case, config)
  local set = policy.load("trial-sidecar", { config = config })
  local answer = trial.apply(set, pod(case))
  set:close()
  test.equal(answer.allowed, true)
  local spec = answer.object.spec
  if case.absent then
    local collector = find(spec.containers, "metrics-logger-and-collector")
    collector.command[1] = "/bin/sh"
    table.insert(collector.env, { name = "PATH", value = "/nowhere" })
  end
  local jobs = "/apis/batch/v1/namespaces/default/jobs"
  call("POST", jobs, { metadata = { name = case.name }, spec = { backoffLimit = 0, template = { spec = spec } } })
  local job = eventually(case.name .. " has ended", function()
    local conditions = call("GET", jobs .. "/" .. case.name).status.conditions or {}
    return conditions[#conditions]
  end)
  for _, one in ipairs(call("GET", "/api/v1/namespaces/default/pods").items) do
    if one.metadata.labels["job-name"] == case.name then return job, one end
  end
end

local function check(job, pod_of, case)
  local succeeded = case.training == 0
  test.equal(job.type, succeeded and "Complete" or "Failed")
  test.equal(pod_of.status.phase, succeeded and "Succeeded" or "Failed")
  local ended = find(pod_of.status.containerStatuses, "metrics-logger-and-collector").state.terminated
  test.equal(ended.exitCode, 0)
  test.equal(ended.message, MESSAGE)
  test.equal(find(pod_of.status.containerStatuses, "main").state.terminated.exitCode, case.training)
end

local CASES = {
  { name = "quits-0", training = 0, proxy = "quits" }, { name = "quits-3", training = 3, proxy = "quits" },
  { name = "gone-0", training = 0, proxy = "gone" }, { name = "gone-3", training = 3, proxy = "gone" },
  { name = "refuses-0", training = 0, proxy = "403" }, { name = "refuses-3", training = 3, proxy = "403" },
  { name = "absent-0", training = 0, proxy = "403", absent = true },
  { name = "absent-3", training = 3, proxy = "403", absent = true },
}

local function play_all(config, cases)
  with_lab(function(call)
    for _, case in ipairs(cases) do
      local job, pod_of = play(call, case, config)
      local ok, problem = pcall(check, job, pod_of, case)
      if not ok then error(case.name .. ": " .. tostring(problem), 0) end
    end
  end)
end

test("P3: pod and job end as the training did: the proxy quits, is gone, refuses, or cannot be asked", function()
  play_all({ way = "d" }, CASES)
end)

test("P3: so they do where the wrapper is kfhost, which needs no shell and no program of the image", function()
  play_all({ way = "d", wrapper = "kfhost" }, { table.unpack(CASES, 1, 6) })
end)

test("P3: a collector that fails keeps its exit code, with either wrapper; the proxy quits all the same", function()
  with_lab(function(call)
    for _, wrapper in ipairs { "sh", "kfhost" } do
      local case = { name = "own-code-" .. wrapper, training = 0, collector = 7, proxy = "quits" }
      local _, pod_of = play(call, case, { way = "d", wrapper = wrapper })
      local ended = find(pod_of.status.containerStatuses, "metrics-logger-and-collector").state.terminated
      test.same({ ended.exitCode, ended.message }, { 7, MESSAGE })
      test.equal(find(pod_of.status.containerStatuses, "istio-proxy").state.terminated.exitCode, 0)
    end
  end)
end)
