-- What breaks on a multi-tenant Kubeflow, in the lab: without a policy, and with it, served by real processes.
local test = require "test"
local fs = require "fs"
local host = require "host"
local kube = require "kube"
local proc = require "proc"
local serve = require "lab.serve"

local PROFILE = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" }

local function claim(namespace)
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = namespace },
    spec = { accessModes = { "ReadWriteMany" }, resources = { requests = { storage = "1Gi" } } } }
end

local function trial_job(namespace)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = "trial-1", namespace = namespace,
    ownerReferences = { { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = "trial-1",
      uid = "5165d5f4-b18a-4af6-8f2a-de087b2d3b94" } } },
    spec = { suspend = true, template = { spec = { restartPolicy = "Never",
      containers = { { name = "main", image = "busybox" } } } } } }
end

-- Serves policies to the lab until `use` has returned.
local function with_policies(lab, names, use)
  local directory = test.tmpdir()
  lab:write_kubeconfig(directory .. "/config")
  fs.write(directory .. "/site.yaml", "vsphere-rwo: {rwx_class: files}\n")
  local words = { host.executable(), "policy", "serve", "--port", "0", "--ops-port", "0", "--workers", "1",
    "--register", "true", "--config", directory .. "/site.yaml",
    env = { KUBECONFIG = directory .. "/config", KFHOST_PATH = false },
    stdout = "null", stderr = "pipe" }
  for _, name in ipairs(names) do words[#words + 1] = name end
  local process <close> = proc.spawn(words)
  local wanted, said = #names > 1 and "registered ValidatingWebhookConfiguration" or "registered Mutating", {}
  repeat
    local line = process:read_line("stderr", "60s")
    said[#said + 1] = line
    if not line then error("the policies were not served:\n" .. table.concat(said, "\n"), 0) end
  until line:find(wanted, 1, true)
  local ok, problem = pcall(use)
  process:stop()
  process:wait()
  repeat until not process:read("stderr", "30s") -- its workers have ended, too
  if not ok then error(problem, 0) end
end

test("P2, P6, P7: what is refused or stuck without the policies is repaired with them", function()
  local lab = serve.start { nodes = 0 }
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "before", labels = PROFILE } }
  test.equal(c:create(claim "before").spec.storageClassName, nil)
  test.equal(c:create(trial_job "before").spec.template.metadata.labels["sidecar.istio.io/inject"], nil)
  test.equal(c:get("namespaces", "before").metadata.labels["pod-security.kubernetes.io/enforce"], nil)

  with_policies(lab, { "vsphere-rwo", "pod-security", "trial-sidecar" }, function()
    c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "after", labels = PROFILE } }
    local labels = c:get("namespaces", "after").metadata.labels -- at once, by the webhook
    test.equal(labels["pod-security.kubernetes.io/enforce"], "baseline")
    c:wait { kind = "namespaces", name = "before", timeout = "30s", value = "restricted", -- later, by the controller
      jsonpath = "{.metadata.labels.pod-security\\.kubernetes\\.io/warn}" }
    local made, warnings = c:create(claim "after")
    test.equal(made.spec.storageClassName, "files")
    test.equal(warnings[1], "ReadWriteMany is served by class files")
    local job = c:create(trial_job "after")
    test.equal(job.spec.template.metadata.labels["sidecar.istio.io/inject"], "false")
    test.equal(job.spec.template.spec.serviceAccountName, "default-editor")
  end)
  c:close()
  lab:close()
end)
