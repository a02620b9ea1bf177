-- The doctor's reports, what it reads of a cluster, its guide, and objects that are not as they should be.
local test = require "test"
local doctor = require "doctor"
local json = require "json"
local report = require "doctor.report"
local support = dofile "tests/lua/support/doctor.lua"

local kubeflow, FAULTS, examine, codes = support.kubeflow, support.faults, support.examine, support.codes
local report_of, NOW = support.report_of, kubeflow.NOW

-- --- a cluster ---------------------------------------------------------------------------------------------

test("the doctor reads a cluster and sends nothing but questions", function()
  local r = dofile("tests/lua/support/repl.lua").new()
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" },
    data = { password = "eA==", ["tls.crt"] = "eA==" } }
  local methods, transport = {}, r.client.transport
  r.client.transport = { stream = transport.stream, request = transport.request }
  for _, name in ipairs { "request", "stream" } do
    r.client.transport[name] = function(_, options)
      methods[options.method or "GET"] = true
      return transport[name](transport, options)
    end
  end
  r:make(kubeflow.object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", nil, "x", { webhooks = {
    { name = "x.test.io", sideEffects = "None", admissionReviewVersions = { "v1" }, failurePolicy = "Ignore",
      clientConfig = { service = { name = "x", namespace = "default" } } } } }))
  for method in pairs(methods) do methods[method] = nil end
  local seen = require("doctor.collect").all(r.client)
  local objects = seen.objects
  test.same({ methods, seen.not_checked }, { { GET = true }, {} })
  local secret
  for _, one in ipairs(objects) do
    assert(one.kind and one.metadata.name, "each object says what it is")
    if one.kind == "Secret" then secret = one end
  end
  test.same(secret.data, { ["tls.crt"] = "eA==" })
  test.same(doctor.examine(objects), {})
end)

test("what the site of 2020 had is found in its own objects: an older Kale's job, a claim that block devices refuse",
  function()
    local fs, objects = require "fs", {
      kubeflow.object("v1", "Namespace", nil, "admin-ns", { labels = { ["istio-injection"] = "enabled" } }),
      kubeflow.object("storage.k8s.io/v1", "StorageClass", nil, "gold-tanzu-kubernetes-storage-policy",
        { provisioner = "csi.vsphere.vmware.com" }) }
    for _, name in ipairs { "claim-readwritemany", "job-review", "trial-review" } do
      local review = json.decode(fs.read(("tests/fixtures/wire-site/%s-2020.json"):format(name)))
      local one = review.request.object
      if one.kind == "PersistentVolumeClaim" then one.status = { phase = "Pending" } end
      objects[#objects + 1] = require("doctor.trim").object(one)
    end
    local findings, broken = doctor.examine(objects, { now = NOW })
    test.same({ codes(findings), broken }, { {
      "rwx-pending PersistentVolumeClaim vsphere-extensions/test-pvc",
      "older-kale Job admin-ns/dog-breed-with-webhook-katib-v4-fbcuv-65jk8jqj" }, {} })
  end)

test("of an object is kept what the checks look at, and of a Secret never a key", function()
  local trim = require "doctor.trim"
  local applied = "kubectl.kubernetes.io/last-applied-configuration"
  local metadata = { name = "p", namespace = "team-a", managedFields = { {} }, uid = "1", labels = { app = "x" },
    annotations = { [applied] = "{}", note = "x", ["sidecar.istio.io/status"] = "{}" } }
  test.same(trim.object { apiVersion = "v1", kind = "Pod", metadata = metadata, spec = { nodeName = "n", priority = 1,
    volumes = { { name = "kube-api-access-x1" }, { name = "data" } }, containers = { { name = "main", image = "i:1",
      imagePullPolicy = "Always", command = { "sh", 1 }, env = { { name = "A", value = "1" } },
      volumeMounts = { { name = "kube-api-access-x1", mountPath = "/x" }, { name = "data", mountPath = "/d" } } } } },
    status = { phase = "Running", containerStatuses = { {} } } }, {
    apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a", labels = { app = "x" },
      annotations = { ["sidecar.istio.io/status"] = "{}" } }, spec = { nodeName = "n", volumes = { { name = "data" } },
      initContainers = {}, containers = { { name = "main", image = "i:1", command = { "sh" }, env = { { name = "A",
        value = "1" } }, volumeMounts = { { name = "data", mountPath = "/d" } } } } }, status = { phase = "Running" } })
  test.same(trim.object { apiVersion = "v1", kind = "Secret", metadata = metadata,
    data = { ["tls.crt"] = "eA==", ["tls.key"] = "eQ==" } }, { apiVersion = "v1", kind = "Secret", metadata = {
    name = "p", namespace = "team-a", labels = { app = "x" }, annotations = { note = "x",
      ["sidecar.istio.io/status"] = "{}" } }, data = { ["tls.crt"] = "eA==" } })
end)

-- --- reports -------------------------------------------------------------------------------------------------

test("a namespace's findings can be had alone", function()
  local k = kubeflow.new()
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  local findings = doctor.examine(k.objects, { now = NOW, namespace = "team-b" })
  for _, finding in ipairs(findings) do
    assert(finding.namespace == nil or finding.namespace == "team-b", finding.where)
  end
  test.equal(findings[#findings].where, "Experiment team-b/tune")
end)

test("the report is text, JSON or a page, and the exit code says the worst", function()
  local k = kubeflow.new()
  test.equal(report.text(report_of(examine(k))), "Nothing is wrong that the doctor knows of.\n")
  test.equal(report.exit_code(report_of {}), 0)
  k:get("ResourceQuota", "team-a", "kf-resource-quota").status.used.cpu = "10"
  local findings = examine(k)
  test.equal(report.exit_code(report_of(findings)), 3)
  test.equal(report.text(report_of(findings), 100), [[
warning quota-full  ResourceQuota team-a/kf-resource-quota
  nothing is left of cpu 10 of 10
  why: new pods and claims of this namespace are refused: exceeded quota
  fix: raise it: `kubectl edit profile team-a` (spec.resourceQuotaSpec); or delete what is done

0 errors, 1 warning
]])
  test.equal(json.decode(report.json(report_of(findings))).findings[1].code, "quota-full")
  k:get("Profile", nil, "team-a").spec.owner.name = "<script>"
  local page = require("doctor.page").html(report_of(examine(k)))
  assert(page:find("its profile &lt;script&gt;", 1, true))
  test.equal(report.exit_code(report_of(examine(k))), 1)
end)

test("what could not be looked at is no finding, and is not silence", function()
  local seen = report_of({}, { not_checked = { { what = "secrets", reason = "Forbidden: may not list secrets" } },
    not_installed = { "Istio", "Katib" } })
  test.equal(report.exit_code(seen), 3)
  test.equal(report.text(seen, 100), [[
not checked: secrets: Forbidden: may not list secrets

not installed: Istio, Katib
Nothing is wrong in what could be looked at, 1 thing not checked.
]])
  local value = json.decode(report.json(seen))
  test.same({ value.errors, value.warnings, #value.findings, value.not_installed }, { 0, 0, 0, { "Istio", "Katib" } })
end)

test("lines of the report are as wide as the terminal, and no wider than can be read", function()
  local k = kubeflow.new()
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  for _, columns in ipairs { 20, 40, 72, 300 } do
    for line in report.text(report_of(examine(k)), columns):gmatch "[^\n]+" do
      local widest = math.max(40, math.min(columns, 100))
      local is_title, of_manifest = not line:find "^%s", line:find "^       .*%l: " or line:find "^       %- "
      local is_word = not line:gsub("^%s*%a*:?%s*", ""):gsub("`[^`]*`", "command"):find "%s"
      assert(#line <= widest or is_title or of_manifest or is_word, line)
    end
  end
end)

-- --- the guide -------------------------------------------------------------------------------------------------

-- The codes that the checks use, as their sources name them.
local function codes_in_sources()
  local fs, found = require "fs", { connection = true }
  for _, name in ipairs(fs.list "scripts/lib/doctor") do
    local text = fs.read(fs.join("scripts/lib/doctor", name))
    for _, pattern in ipairs { 'w:add%("([%l%-]+)"', 'note%(notes, "([%l%-]+)"', 'KF%d+ = { "([%l%-]+)"',
      'or "([%l]+%-[%l%-]+)"\n' } do
      for code in text:gmatch(pattern) do found[code] = true end
    end
  end
  return found
end

test("the guide names each code, and no other", function()
  local text, known = require("fs").read "docs/guide/doctor.md", codes_in_sources()
  local named = {}
  for code in text:gmatch "\n| `([%l%-]+)` | %l+ |" do named[code] = true end
  test.same(named, known)
end)

test("the guide shows a finding as it is printed", function()
  local k = kubeflow.new()
  for _, fault in ipairs(FAULTS) do
    if fault[1] == "no label for Katib's injection" then fault[3](k) end
  end
  local shown = require("fs").read "docs/guide/doctor.md":match "\n%$ kfhost doctor\n(.-)```"
  test.equal(report.text(report_of(examine(k)), 100), shown)
end)

-- Kinds whose definitions may let anything in; the API server sees to the shape of its own.
local LOOSE = { Profile = true, PodDefault = true, Experiment = true, Trial = true, Notebook = true,
  AuthorizationPolicy = true, PeerAuthentication = true, EnvoyFilter = true }
local ODD = { 1, "x", false, json.null, json.array {}, json.object {}, { 1 }, { x = { y = 1 } } }

-- Each value below in turn is something else.
local function spoil(value, look)
  for key, inner in pairs(value) do
    for _, odd in ipairs(ODD) do
      value[key] = odd
      look(key)
    end
    value[key] = inner
    if type(inner) == "table" then spoil(inner, look) end
  end
end

-- The API server sees to the metadata of every kind.
local function spoil_object(object_of, look)
  for _, field in ipairs(LOOSE[object_of.kind] and { "spec", "status" } or {}) do
    local part = { [field] = object_of[field] }
    setmetatable(object_of, { __index = part })
    object_of[field] = nil
    spoil(part, look)
    object_of[field] = part[field]
    setmetatable(object_of, nil)
  end
end

test("an object of another shape than expected stops no check", function()
  local k, stopped = kubeflow.new(), {}
  for _, fault in ipairs(FAULTS) do fault[3](k) end
  local around = { k:get("Namespace", nil, "team-a"), k:get("Service", "kubeflow", "ml-pipeline"),
    k:get("Deployment", "istio-system", "istiod"), k:get("Pod", "team-a", "notebook-0") }
  for _, object_of in ipairs(k.objects) do
    local few = table.move(around, 1, #around, 2, { object_of })
    spoil_object(object_of, function(key)
      for _, one in ipairs(select(2, doctor.examine(few, { now = NOW }))) do
        stopped[("%s.%s: %s"):format(object_of.kind, key, one.reason)] = true
      end
    end)
  end
  local list = {}
  for text in pairs(stopped) do list[#list + 1] = text end
  table.sort(list)
  test.same(list, {})
end)

test("a check that an object breaks is said to be not done; the others are done", function()
  local k = kubeflow.new()
  k:remove("AuthorizationPolicy", "kubeflow", "ml-pipeline")
  k:get("ResourceQuota", "team-a", "kf-resource-quota").status.hard.cpu = {}
  local findings, broken = examine(k)
  test.same(codes(findings), { "kfp-policy-absent Service kubeflow/ml-pipeline" })
  test.equal(broken[1].what, "check doctor.namespaces.quotas")
end)
