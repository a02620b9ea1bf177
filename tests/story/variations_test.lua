-- The repaired scenes of the story where things are harder: with two replicas of the host that answer in turn, with
-- the leading one ended in the middle, with each object tried as a dry run first, with webhooks in the other order, and
-- with the policy's file deleted. Here all at once, scene by scene; `./dev story` plays each variation of each scene.
local test = require "test"
local demo = require "lab.demo"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local stage = require "lab.demo.stage"
local replicas = dofile "tests/lua/support/replicas.lua"

local PLACE <const> = "team-a"
local WHOLE <const> = os.getenv "KFHOST_STORY" == "whole"

-- --- variations -------------------------------------------------------------------------------------------------

-- What is to come early comes late, and the other way round.
local function exchange(name)
  return (name:gsub("^a%-", "x-"):gsub("^zz%-", "a-"):gsub("^x%-", "zz-"))
end

-- The leading replica ends, once the other one gets its reviews, as in a rolling update.
local function restart(site)
  local first = site:leader()
  site:register(#site + 1 - first)
  site[first]:stop()
end

-- An object is tried first: nothing of it may stay.
local function try_first(on, object)
  local metadata = object.metadata
  local options = { namespace = metadata.namespace, dry_run = true }
  on.client:create(object, options)
  test.equal(on.client.try:get(object.kind, metadata.name, { namespace = metadata.namespace }), nil)
end

-- Serves a scene's policies by replicas, from files, as a variation says.
local function server_of(variation, paths, keep)
  return function(on, scene, use)
    local site = replicas.new(on.lab, on.client, paths, scene.settings or "{}\n", variation.replicas or 1)
    site.rename = variation.exchanged and exchange or nil
    if variation.replicas then site:register(1, 2) else site:register(1) end
    keep.site = site
    local ok, result = pcall(use)
    site:stop()
    if not ok then error(result, 0) end
    return result
  end
end

local function hook_of(variation, keep)
  local middle = variation.restart
  return function(on, object)
    if not keep.site then return end -- before the policies are there
    if variation.dry then try_first(on, object) end
    if not middle then return end
    middle = false
    restart(keep.site)
  end
end

-- The scene's policies as files of the test's own.
local function eject(names)
  local directory, paths = test.tmpdir(), {}
  for i, name in ipairs(names) do
    local done = proc.run { host.executable(), "scripts", "eject", ("policies/%s.lua"):format(name), directory }
    test.equal(done.code, 0)
    paths[i] = ("%s/policies/%s.lua"):format(directory, name)
  end
  return paths
end

-- --- what there must be -------------------------------------------------------------------------------------------

local function names(list)
  local out = {}
  for i, one in ipairs(list or {}) do out[i] = one.name end
  return table.concat(out, " ")
end

local function only(c, kind, labels)
  local list = c:list(kind, { namespace = PLACE, labels = labels })
  test.equal(#list, 1)
  return list[1]
end

-- The one trial of an experiment: its job and pod; its metric in Katib's database.
local function check_trial(on, sidecar)
  local trial, job = only(on.client, "trials.kubeflow.org"), only(on.client, "jobs")
  test.equal(job.spec.template.metadata.labels["sidecar.istio.io/inject"], sidecar and "true" or "false")
  test.equal(job.spec.template.spec.serviceAccountName, "default-editor")
  test.equal(on.kubeflow.katib.database:history(trial.metadata.name)[1].value, "0.9")
  return trial, job, only(on.client, "pods", "katib.kubeflow.org/trial")
end

-- What an older Kale's job has become: its program, and one run, which is the trial's.
local function check_program(on)
  local trial, job = only(on.client, "trials.kubeflow.org"), only(on.client, "jobs")
  local container = job.spec.template.spec.containers[1]
  test.same({ container.image, container.args[#container.args] }, { "kfhost", "kfhost kale trial" })
  local id = require "kale.trial".run_id { uid = job.metadata.ownerReferences[1].uid, trial = trial.metadata.name,
    namespace = PLACE }
  local count = 0
  for run_id, run in pairs(on.kubeflow.pipelines.state.runs) do
    count = count + 1
    test.same({ run_id, run.state }, { id, "SUCCEEDED" })
  end
  test.equal(count, 1)
end

-- By scene: the policy, and of what kind of object, whose audit says that it acted; what the objects must be.
local CHECKS = {
  P1 = { { "kfp-token", "pods" }, function(on)
    local c = on.client
    local default = c:get("poddefaults.kubeflow.org", "access-ml-pipeline", { namespace = PLACE })
    test.equal(default.metadata.labels["policy.kfhost.io/name"], "kfp-access")
    local binding = c:get("rolebindings", "kfhost-kfp-access", { namespace = PLACE })
    test.same({ binding.subjects[1].name, binding.roleRef.name }, { "default-editor", "kubeflow-edit" })
    local rule = c:get("authorizationpolicies.security.istio.io", "kfhost-kfp-access-team-a",
      { namespace = "kubeflow" }).spec.rules[1]
    test.same(rule.from[1].source.principals, { "cluster.local/ns/team-a/sa/default-editor" })
    test.same(rule.when, { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } })
    local pod = only(c, "pods", "job-name=ask")
    test.equal(names(pod.spec.volumes):find("volume-kf-pipeline-token", 1, true) ~= nil, true)
    local decisions = on.lab.cluster.mesh.decisions
    local last = decisions[#decisions]
    test.same({ last.client, last.allowed }, { "team-a/" .. pod.metadata.name, true })
  end },
  P2 = { { "trial-labels", "jobs" }, function(on)
    local _, job, pod = check_trial(on, true)
    test.equal(job.spec.template.metadata.annotations["sidecar.istio.io/nativeSidecar"], "true")
    test.equal(names(pod.spec.initContainers), "istio-validation istio-proxy")
    local config = on.client:get("configmaps", "katib-config", { namespace = "kubeflow" })
    test.equal(config.data["katib-config.yaml"]:find("waitAllProcesses: false", 1, true) ~= nil, true)
  end },
  P3 = { { "trial-labels", "jobs" }, function(on)
    local _, _, pod = check_trial(on, false)
    test.equal(names(pod.spec.containers), "main metrics-logger-and-collector")
  end },
  P4 = { { "older-kale-trial", "jobs" }, check_program },
  P5 = { { "older-kale-trial", "jobs" }, check_program },
  P6 = { { "claims-on-vsphere", "persistentvolumeclaims" }, function(on)
    local claim = on.client:get("pvc", "data", { namespace = PLACE })
    test.same(claim.spec.accessModes, { "ReadWriteOnce" })
    test.equal(claim.metadata.annotations["storage.kfhost.io/original-access-modes"], "ReadWriteMany")
    local nodes = {}
    for _, pod in ipairs(on.client:list("pods", { namespace = PLACE })) do nodes[pod.spec.nodeName] = true end
    test.equal(next(nodes, next(nodes)), nil)
  end },
  P7 = { { "new-profile-pod-security", "namespaces" }, function(on)
    test.equal(on.client:get("namespaces", PLACE).metadata.labels["pod-security.kubernetes.io/enforce"], "baseline")
    test.equal(only(on.client, "pods", "job-name=train").status.phase, "Succeeded")
  end },
}

-- What dry runs have to say in the audit: of the objects that a scene makes by itself.
local TRIED = { P6 = { "claims-on-vsphere", "persistentvolumeclaims" } }

local function check_audit(site, number, variation)
  local policy, resource = table.unpack(CHECKS[number][1])
  -- A PodDefault has given the token already: then there is nothing to do, and that is recorded as well.
  site:audited(policy, { verdict = number == "P1" and "unchanged" or "patched", resource = resource })
  if not (variation.dry and TRIED[number]) then return end
  site:audited(TRIED[number][1], { verdict = "patched", resource = TRIED[number][2], dry_run = true })
end

-- --- the scenes -----------------------------------------------------------------------------------------------------

local function play(scene, options)
  local clock = proc.spawn { "sleep", "600" } -- while a process is pending, real time runs
  local told = {}
  options.root, options.say = test.tmpdir(), function(_, text) told[#told + 1] = text end
  local passed, problem = stage.with(scene, true, options)
  clock:kill "KILL"
  clock:wait()
  return passed, (problem or "") .. "\n" .. table.concat(told, "\n")
end

local function passes(number, variation)
  local paths, keep = eject(demo.scene(number).policies), {}
  local passed, told = play(demo.scene(number), { serve = server_of(variation, paths, keep),
    on_create = hook_of(variation, keep), after = function(on)
      CHECKS[number][2](on)
      check_audit(keep.site, number, variation)
    end })
  if not passed then error(told, 0) end
  return paths
end

local ALL = { replicas = 2, restart = true, dry = true, exchanged = true }

for _, number in ipairs(demo.NUMBERS) do
  test(number .. " holds with two replicas, a restart in the middle, dry runs and webhooks in the other order; "
    .. "not without its policy's file", function()
    local paths = passes(number, ALL)
    for _, path in ipairs(paths) do fs.remove(path) end
    local passed, told = play(setmetatable({ policies = paths }, { __index = demo.scene(number) }), {})
    test.equal(passed, false)
    if not told:find("cannot read " .. paths[1], 1, true) then error(told, 0) end
  end)
end

local EACH = { ["from its file"] = {}, ["two replicas"] = { replicas = 2 },
  ["two replicas, webhooks in the other order"] = { replicas = 2, exchanged = true },
  ["a restart in the middle"] = { replicas = 2, restart = true }, ["dry runs"] = { dry = true },
  ["webhooks in the other order"] = { exchanged = true },
  ["dry runs, a restart in the middle"] = { dry = true, replicas = 2, restart = true } }

for _, number in ipairs(WHOLE and demo.NUMBERS or {}) do
  for what, variation in pairs(EACH) do
    test(("%s: %s"):format(number, what), function() passes(number, variation) end)
  end
end
