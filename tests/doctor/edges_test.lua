-- What the doctor says of a cluster that it cannot look at, or not at all of it: missing rights, servers that are not
-- there, hang or break, parts that are not installed. By processes beside a lab.
local test = require "test"
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local faults = dofile "tests/doctor/faults.lua"
local lab_of = dofile "tests/doctor/lab.lua"

local TEAM <const> = "kubeflow-user-example-com"

local function report_of(done)
  return json.decode(done.stdout), done.code
end

local function whats(report)
  local list = {}
  for index, entry in ipairs(report.not_checked) do list[index] = entry.what end
  return list
end

local function codes(report)
  local list = {}
  for index, finding in ipairs(report.findings) do list[index] = finding.code end
  return list
end

local function fault(lab, body) lab.client:request("POST", "/lab/fault", { body = body }) end

-- An account with these rules, in one namespace or everywhere; its kubeconfig.
local function account(lab, name, rules, namespace)
  local version, kind = "rbac.authorization.k8s.io/v1", namespace and "Role" or "ClusterRole"
  lab.client:create { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = name, namespace = "default" } }
  if rules then
    lab.client:create { apiVersion = version, kind = kind, metadata = { name = name, namespace = namespace },
      rules = rules }
    lab.client:create { apiVersion = version, kind = kind .. "Binding", metadata = { name = name,
      namespace = namespace }, roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = kind, name = name },
      subjects = { { kind = "ServiceAccount", name = name, namespace = "default" } } }
  end
  return lab:kubeconfig_of(name)
end

-- The ClusterRole that the guide gives.
local function documented_rules()
  local text = fs.read "docs/guide/doctor.md"
  return require("yaml").decode(text:match "```yaml\n(apiVersion: rbac.-)```").rules
end

test("without rights nothing is found, and what was not looked at is said", function()
  local lab <close> = lab_of.start(test.tmpdir())
  faults.list[4][3](lab)
  local nobody = account(lab, "nobody")
  local report, code = report_of(lab:doctor({ "--json" }, nobody))
  test.same({ #report.findings, #report.not_checked, code }, { 0, 24, 3 })
  test.equal(report.not_checked[1].code, "Forbidden")
  local text = lab:doctor({}, nobody).stdout
  assert(text:find("Nothing could be looked at.", 1, true), text)
  assert(text:find("system:serviceaccount:default:nobody may not list them", 1, true), text)
end)

test("the rights of the guide are enough, and the fewest", function()
  local lab <close> = lab_of.start(test.tmpdir())
  faults.list[4][3](lab)
  local report, code = report_of(lab:doctor({ "--json" }, account(lab, "guide", documented_rules())))
  test.same({ codes(report), whats(report), code }, { { "forged-header" }, {}, 1 })
  local given, used = {}, {}
  for _, rule in ipairs(documented_rules()) do
    for _, resource in ipairs(rule.resources) do given[resource] = resource ~= "*" or nil end
  end
  faults.list[1][3](lab) -- a pod whose log is wanted
  lab:doctor { "--bundle", fs.join(lab.folder, "bundle.tar.gz") }
  for _, event in ipairs(lab:audited()) do
    local about = event.objectRef or {}
    local is_istio = (about.apiGroup or ""):find "istio%.io$"
    if event.verb ~= "create" and about.resource and not is_istio then
      used[about.resource .. (about.subresource and "/" .. about.subresource or "")] = true
    end
  end
  test.same(used, given)
end)

test("what may not be read is not taken for missing", function()
  local lab <close> = lab_of.start(test.tmpdir())
  local authority, certificate = faults.certificate("cache-webhook", os.time() - 60)
  faults.service_webhook(lab, "cache-webhook", certificate, authority)
  lab:create(faults.experiment("native", { labels = { team = "a" } }))
  lab:create(faults.pod("caller", { labels = { ["access-ml-pipeline"] = "true" } }))
  local rules = documented_rules()
  -- no Secrets, no ConfigMaps, no services, no policies, no PodDefaults
  local hidden = { secrets = true, configmaps = true, services = true, poddefaults = true, namespaces = true }
  local kept = {}
  for _, one in ipairs(rules) do
    local resources = json.array {}
    for _, resource in ipairs(one.resources) do
      if not hidden[resource] then resources[#resources + 1] = resource end
    end
    one.resources = resources
    if one.apiGroups[1] ~= "security.istio.io" then kept[#kept + 1] = one end
  end
  local report, code = report_of(lab:doctor({ "--json" }, account(lab, "half", kept)))
  test.same({ codes(report), code }, { {}, 3 })
  local text = table.concat(whats(report), " ")
  assert(text:find("secrets in kubeflow (certificates of webhooks)", 1, true), text)
end)

test("who may read one namespace looks at that", function()
  local lab <close> = lab_of.start(test.tmpdir())
  faults.list[4][3](lab)
  local kubeconfig = account(lab, "tenant", { { apiGroups = { "*" }, resources = { "*" },
    verbs = { "get", "list" } } }, TEAM)
  local report, code = report_of(lab:doctor({ "--json", "--namespace", TEAM }, kubeconfig))
  test.same({ codes(report), code }, { { "forged-header" }, 1 })
  assert(table.concat(whats(report), " "):find("envoyfilters outside " .. TEAM, 1, true))
end)

test("a namespace that is not there is not called healthy", function()
  local lab <close> = lab_of.start(test.tmpdir())
  local report, code = report_of(lab:doctor { "--json", "--namespace", "team-x" })
  test.same({ codes(report), whats(report), code }, { {}, { "namespace team-x" }, 3 })
  report, code = report_of(lab:doctor { "--json", "--namespace", TEAM })
  test.same({ codes(report), whats(report), code }, { {}, {}, 0 })
end)

test("a kind that fails or hangs is not checked; the others are", function()
  local lab <close> = lab_of.start(test.tmpdir())
  faults.list[4][3](lab)
  for _, body in ipairs { { kind = "error", status = 503, match = "/experiments$" },
    { kind = "error", status = 500, match = "/experiments$" }, { kind = "reset", match = "/experiments$" },
    { kind = "slow", delay = 1000, match = "/experiments$" } } do
    fault(lab, body)
    local report, code = report_of(lab:doctor { "--json", "--timeout", body.kind == "slow" and "10s" or "30s" })
    fault(lab, { kind = "clear" })
    test.same({ codes(report), whats(report), code }, { { "forged-header" }, { "experiments" }, 1 })
  end
end)

test("a cluster that does not answer is one finding, in each form", function()
  local lab <close> = lab_of.start(test.tmpdir())
  local nowhere = fs.join(lab.folder, "nowhere")
  fs.write(nowhere, (fs.read(lab.kubeconfig):gsub("127%.0%.0%.1:%d+", "127.0.0.1:1")))
  fault(lab, { kind = "slow", delay = 1000 })
  for _, kubeconfig in ipairs { nowhere, fs.join(lab.folder, "no-file"), lab.reader } do
    local report, code = report_of(lab:doctor({ "--json", "--timeout", "1s", "--html", fs.join(lab.folder, "p.html") },
      kubeconfig))
    test.same({ codes(report), code }, { { "connection" }, 1 })
    assert(fs.read(fs.join(lab.folder, "p.html")):find("nothing can be looked at", 1, true))
  end
  fault(lab, { kind = "clear" })
end)

test("what is not installed is said, and is no finding", function()
  local done = proc.run { host.executable(), "--lab", "doctor", "--json", stderr = "pipe",
    env = { TMPDIR = test.tmpdir() } }
  local report, code = report_of(done)
  test.same({ report.findings, report.not_checked, code }, { {}, {}, 0 })
  test.same(report.not_installed, { "Istio", "Katib", "Kubeflow's PodDefaults", "Kubeflow's notebooks",
    "Kubeflow's profiles" })
end)

test("what Kubeflow publishes gives no finding in a lab that holds it", function()
  local lab <close> = lab_of.start(test.tmpdir())
  local folder, count = "tests/fixtures/kubeflow-manifests", 0
  for _, name in ipairs { "istiod istio-system", "katib-controller kubeflow", "admission-webhook-service kubeflow",
    "poddefaults-webhook-service kubeflow" } do
    local service, namespace = name:match "(%S+) (%S+)"
    lab.client:create(faults.object("v1", "Service", namespace, service, { spec = { ports = { { port = 443 } } } }))
  end
  for _, file in ipairs(fs.list(folder)) do
    for _, object in ipairs(file:find "%.yaml$" and require("yaml").decode_all(fs.read(fs.join(folder, file))) or {}) do
      -- what a lab has no kind for, such as Sidecars, is left out
      local held = type(object) == "table" and object.kind and lab.client.try:apply(object, { force = true })
      if held then count = count + 1 end
    end
  end
  assert(count >= 30, count)
  test.same((lab:findings()), {})
end)
