-- The policies that are bundled: their own tests, and the reviews of a real site.
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local json = require "json"
local policy = require "policy"
local proc = require "proc"
local scripts = require "scripts"

for _, name in ipairs(scripts.names()) do
  local bundled = name:match "^policies/([^/]+)%.lua$"
  if bundled then
    test(("the tests of %s hold"):format(bundled), function()
      local results = require "policy.trial".tests(policy.load(bundled))
      test.equal(#results > 0, true)
      for _, result in ipairs(results) do
        if #result.problems > 0 then error(result.name .. ": " .. table.concat(result.problems, "; "), 0) end
      end
    end)
  end
end

test("the tests of trial-sidecar hold as well when katib-config is followed", function()
  local results = require "policy.trial".tests(policy.load("trial-sidecar", { configs = {
    ["trial-sidecar"] = { way = "c" } } }))
  for _, result in ipairs(results) do test.same({ result.name, result.problems }, { result.name, {} }) end
  test.equal(results[#results].name, "or put right, where that is allowed")
end)

test("the tests of vsphere-rwo hold as well where claims are made anew", function()
  local results = require "policy.trial".tests(policy.load("vsphere-rwo", { configs = {
    ["vsphere-rwo"] = { repair_pending = true } } }))
  for _, result in ipairs(results) do test.same({ result.name, result.problems }, { result.name, {} }) end
  test.equal(results[#results].name, "one that a pod has come to use stays")
end)

test("the tests of all bundled policies hold when all are loaded together: each file's are about that file", function()
  local names = {}
  for _, name in ipairs(scripts.names()) do names[#names + 1] = name:match "^policies/([^/]+)%.lua$" end
  for _, result in ipairs(require "policy.trial".tests(policy.load(names))) do
    test.same({ result.name, result.problems }, { result.name, {} })
  end
end)

test("each bundled policy has a page that names all its settings", function()
  for _, name in ipairs(scripts.names()) do
    local bundled = name:match "^policies/([^/]+)%.lua$"
    if bundled then
      local page = fs.read(("docs/guide/policies/%s.md"):format(bundled))
      test.equal(fs.read("docs/guide/policies.md"):find(("(policies/%s.md)"):format(bundled), 1, true) ~= nil, true)
      for setting in pairs(policy.load(bundled).description.files[1].specs) do
        if not page:find(("| `%s` |"):format(setting), 1, true) then error(bundled .. ": " .. setting, 0) end
      end
    end
  end
end)

-- What a command prints, once it has ended well.
local function output(words)
  words.env = { KFHOST_PATH = false, KUBECONFIG = false }
  local process <close> = proc.spawn(words)
  local lines = {}
  for line in process:lines() do lines[#lines + 1] = line end
  test.equal(process:wait("60s").code, 0)
  return table.concat(lines, "\n")
end

test("each bundled policy can be ejected, and the changed copy is used, by its path and by its name", function()
  for _, name in ipairs(scripts.names()) do
    local bundled = name:match "^policies/([^/]+)%.lua$"
    if bundled then
      local directory = test.tmpdir()
      output { host.executable(), "scripts", "eject", name, directory }
      local path = ("%s/%s"):format(directory, name)
      local changed = fs.read(path):gsub("%-%- %-%-%- tests .*$", "") .. [[
policy.validate { name = "changed-by-us", match = { resource = "pods" }, check = function() end }
policy.test { name = "the change is there", object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" },
  spec = { containers = {} } }, expect = { allowed = true } }
]]
      fs.write(path, changed)
      for _, words in ipairs { { "policy", "test", path }, { "--scripts", directory, "policy", "test", bundled } } do
        local said = output { host.executable(), table.unpack(words) }
        test.equal(said:find(bundled .. ": the change is there", 1, true) ~= nil, true)
        test.equal(said:find "1 passed, 0 failed" ~= nil, true)
      end
    end
  end
end)

-- The failure policies of a webhook by its policy.
local function failure_policies(...)
  local words = { host.executable(), "policy", "manifests", "--image", "kfhost", ... }
  local found = {}
  for _, object in ipairs(require "yaml".decode_all(output(words))) do
    for _, webhook in ipairs(object.kind == "MutatingWebhookConfiguration" and object.webhooks or {}) do
      local path = webhook.clientConfig.service.path
      found[path:match "^/mutate/([^/]+)"] = webhook.failurePolicy
    end
  end
  return found
end

test("while the host is away no claim, pod or trial of a profile passes by what it depends on", function()
  test.same(failure_policies("vsphere-rwo", "trial-sidecar"), { ["claims-on-vsphere"] = "Fail",
    ["pods-beside-their-claim"] = "Fail", ["trial-labels"] = "Fail", ["trial-collector"] = "Fail" })
end)

-- The answer to a review of the site: allowed, and the patch by path.
local function answer(name, config, review)
  local set = policy.load(name, { config = config })
  local response = policy.review(set, fs.read(("tests/fixtures/wire-site/%s-2020.json"):format(review))).response
  local patch = {}
  for _, operation in ipairs(response.patch and json.decode(hash.unbase64(response.patch)) or {}) do
    patch[operation.path] = operation.value
  end
  return response.allowed, patch
end

local TEMPLATE = "/spec/template/"
local INJECT = "sidecar.istio.io~1inject"

test("the site's trial of an older Katib passes", function()
  local allowed, patch = answer("trial-sidecar", {}, "trial-review")
  test.equal(allowed, true)
  test.same(patch, {})
end)

test("the site's job gets no sidecar, the profile's account and a token", function()
  local allowed, patch = answer("trial-sidecar", {}, "job-review")
  test.equal(allowed, true)
  test.equal(patch[TEMPLATE .. "metadata/labels/" .. INJECT], "false")
  test.equal(patch[TEMPLATE .. "spec/serviceAccountName"], "default-editor")
  local volume = patch[TEMPLATE .. "spec/volumes/0"]
  test.equal(volume.projected.sources[1].serviceAccountToken.audience, "pipelines.kubeflow.org")
end)

test("the site's job with a wrapped collector gets a sidecar, by annotation and label", function()
  local _, patch = answer("trial-sidecar", { way = "d" }, "job-review")
  test.equal(patch[TEMPLATE .. "metadata/annotations/" .. INJECT], "true")
  test.equal(patch[TEMPLATE .. "metadata/labels/" .. INJECT], "true")
  test.equal(patch[TEMPLATE .. "spec/serviceAccountName"], "default-editor")
end)

test("the site's job of an older Kale gets the program that waits and bears failures", function()
  local allowed, patch = answer("kale-trial", { trial_image = "site/kfhost:1" }, "job-review")
  test.equal(allowed, true)
  local place = TEMPLATE .. "spec/containers/0/"
  test.equal(patch[place .. "image"], "site/kfhost:1")
  test.equal(patch[place .. "args/0"], "kfhost kale trial")
  local said = json.decode(patch[place .. "env/1"].value)
  test.same({ said.pipeline_id, said.experiment, patch[place .. "env/0"] },
    { "79bd62a0-6452-456f-b6db-1fd20c040369", "dog-breed-with-webhook-katib-v4-fbcuv",
      { name = "KFHOST_P_1", value = "251" } })
end)

test("the site's claim is moved by one operation, whatever its size is written as", function()
  local allowed, patch = answer("vsphere-rwo", { rwx_class = "nfs" }, "claim-readwritemany")
  test.equal(allowed, true)
  test.same(patch, { ["/spec/storageClassName"] = "nfs" })
  allowed, patch = answer("vsphere-rwo", { rwx_class = "nfs" }, "claim-readwriteonce")
  test.equal(allowed, true)
  test.same(patch, {})
end)

test("auto waits for a trial that a served host will come to know; elsewhere it takes d", function()
  local set = policy.load("trial-sidecar", { config = { way = "auto" } })
  set:know { { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication", spec = { mtls = { mode = "STRICT" } },
    metadata = { name = "default", namespace = "istio-system" } } }
  local review = fs.read "tests/fixtures/wire-site/job-review-2020.json"
  local trial = json.decode(review).request.object.metadata.ownerReferences[1].name
  local response = set:answer(review, { cache_age = 0.5 }).response
  test.same({ response.allowed, response.status.code, response.status.message }, { false, 503,
    ("policy trial-labels: trial %s is not known here yet: try again"):format(trial) })
  test.equal(set:answer(review).response.auditAnnotations["trial-labels.way"], "d")
  set:close()
end)

for _, name in ipairs(fs.list "examples/policies") do
  test(("the tests of the example %s hold"):format(name), function()
    local results = require "policy.trial".tests(policy.load("examples/policies/" .. name))
    test.equal(#results > 0, true)
    for _, result in ipairs(results) do test.same(result.problems, {}) end
  end)
end
