-- trial-sidecar among other webhooks: Istio's and Katib's come before it or after it, and the pod is the same.
local test = require "test"
local hash = require "hash"
local json = require "json"
local kube = require "kube"
local serve = require "lab.serve"
local server = require "server"
local x509 = require "x509"
local replicas = dofile "tests/lua/support/replicas.lua"

local function has(containers, name)
  for _, one in ipairs(containers) do
    if one.name == name then return true end
  end
  return false
end

-- What Istio and Katib add to a pod, unless it is there.
local ADDED = { ["/istio"] = { name = "istio-proxy", image = "proxyv2" },
  ["/katib"] = { name = "metrics-logger-and-collector", image = "katib/file-metrics-collector:v0.19.0",
    args = { "-t", "trial-1" } } }

local function answer(request)
  local review = json.decode(request.body).request
  local added = ADDED[request.path]
  local response = { uid = review.uid, allowed = true }
  if not has(review.object.spec.containers, added.name) then
    response.patchType = "JSONPatch"
    response.patch = hash.base64(json.encode { { op = "add", path = "/spec/containers/-", value = added } })
  end
  return { status = 200, body = json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview",
    response = response } }
end

local function configuration(name, path, port, ca)
  return { apiVersion = "admissionregistration.k8s.io/v1", kind = "MutatingWebhookConfiguration",
    metadata = { name = name }, webhooks = { { name = name .. ".hooks.test", sideEffects = "None",
      admissionReviewVersions = { "v1" }, reinvocationPolicy = "IfNeeded", clientConfig = {
        url = ("https://127.0.0.1:%d%s"):format(port, path), caBundle = hash.base64(ca) },
      rules = { { apiGroups = { "" }, apiVersions = { "v1" }, resources = { "pods" },
        operations = { "CREATE" } } } } } }
end

local function trial(name)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = name, namespace = "team-a", ownerReferences = {
    { apiVersion = "kubeflow.org/v1beta1", kind = "Trial", name = name,
      uid = "5165d5f4-b18a-4af6-8f2a-de087b2d3b94" } } },
    spec = { suspend = true, template = { spec = { restartPolicy = "Never",
      containers = { { name = "main", image = "busybox" } } } } } }
end

-- The containers of a trial's pod, as the API server stored them.
local function pod_of(c, name)
  local template = c:create(trial(name)).spec.template
  test.equal(template.metadata.annotations["proxy.istio.io/config"], '{"holdApplicationUntilProxyStarts":true}')
  local pod = c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "team-a",
    labels = template.metadata.labels }, spec = { restartPolicy = "Never", containers = template.spec.containers } }
  local collector
  for _, one in ipairs(pod.spec.containers) do
    if one.name == "metrics-logger-and-collector" then collector = one end
  end
  return { collector.command[1], collector.command[4], collector.command[6], table.concat(collector.args, " ") }
end

test("P2, P3: the collector is wrapped once, whichever webhook comes first; not at all without the policy", function()
  local authority = x509.authority { name = "test" }
  local pair = x509.issue(authority, { name = "hooks", usage = "server", names = { "127.0.0.1" } })
  local hooks = server.listen { certificate = pair.certificate, key = pair.key, handler = answer }
  local lab = serve.start { nodes = 0 }
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  local ok, problem = pcall(function()
    c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a",
      labels = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" } } }
    for path, name in pairs { ["/istio"] = "istio-sidecar-injector", ["/katib"] = "katib.kubeflow.org" } do
      c:create(configuration(name, path, hooks.port, authority.certificate))
    end
    local before = c:create { apiVersion = "v1", kind = "Pod", metadata = { name = "before", namespace = "team-a" },
      spec = { containers = { { name = "main", image = "busybox" } } } }
    test.equal(#before.spec.containers, 3)
    for _, one in ipairs(before.spec.containers) do test.equal(one.command, nil) end

    local site = replicas.new(lab, c, { "trial-sidecar" }, "trial-sidecar: {way: d}\n", 1)
    local wrapped = { "sh", "kfhost-collector", "./file-metricscollector", "-t trial-1 -w false" }
    site:register(1)
    test.same(pod_of(c, "as-named"), wrapped)
    site:withdraw()
    site.rename = function(name) -- what is to come early comes late, and the other way round
      return (name:gsub("^a%-", "x-"):gsub("^zz%-", "a-"):gsub("^x%-", "zz-"))
    end
    site:register(1)
    test.same(pod_of(c, "exchanged"), wrapped)
    site:stop()
  end)
  c:close()
  lab:close()
  hooks:close()
  if not ok then error(problem, 0) end
end)
