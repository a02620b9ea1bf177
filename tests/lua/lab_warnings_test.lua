-- What a client is warned of in pods and templates, in the words and the order of the API server.
local api = require "lab.api"
local json = require "json"
local test = require "test"

local function warnings(path, object)
  local cluster = api.new {}
  cluster:call("POST", "/api/v1/namespaces/default/serviceaccounts", { body = { metadata = { name = "default" } } })
  local response = cluster:handle { method = "POST", path = path, query = "dryRun=All", body = json.encode(object),
    headers = { authorization = "Bearer " .. cluster.auth.admin_token, ["content-type"] = "application/json" } }
  test.equal(response.status, 201)
  local list = {}
  for i, line in ipairs(response.headers.Warning or {}) do list[i] = line:match '^299 %- "(.*)"$':gsub('\\"', '"') end
  return list
end

local POD = { metadata = { name = "p", annotations = { ["seccomp.security.alpha.kubernetes.io/pod"] = "x",
    ["container.seccomp.security.alpha.kubernetes.io/c"] = "x" } }, spec = {
  nodeSelector = { ["beta.kubernetes.io/os"] = "linux", fine = "x" },
  imagePullSecrets = { { name = "a" }, { name = "a" } },
  hostAliases = { { ip = "10.0.0.1" }, { ip = "10.0.0.1" } },
  containers = { { name = "c", image = "x", resources = { requests = { memory = "100m" } },
    env = { { name = "A", value = "1" }, { name = "A", value = "$(A)2" }, { name = "A", value = "3" } },
    ports = { { containerPort = 80 }, { containerPort = 80, hostPort = 8080 } } } },
  affinity = { podAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { { topologyKey = "zone" } } } } } }

test("a pod is warned of deprecated labels, names twice, fractions, hidden variables and ports", function()
  test.same(warnings("/api/v1/namespaces/default/pods", POD), {
    'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
    'spec.hostAliases[1].ip: duplicate ip "10.0.0.1"', 'spec.imagePullSecrets[1].name: duplicate name "a"',
    'metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the '
      .. '"seccompProfile" field instead',
    'metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the '
      .. '"seccompProfile" field instead',
    'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer',
    'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
    "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector "
      .. "results in matching no pod" })
end)

test("a template is warned of by its path", function()
  local spec = { restartPolicy = "Never", containers = { { name = "c", image = "x",
    env = { { name = "A", value = "1" }, { name = "A", value = "2" } } } } }
  local said = ".spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply"
  test.same(warnings("/apis/batch/v1/namespaces/default/jobs", { metadata = { name = "j" },
    spec = { template = { spec = spec } } }), { "spec.template" .. said })
  test.same(warnings("/apis/batch/v1/namespaces/default/cronjobs", { metadata = { name = "j" }, spec = {
    schedule = "0 * * * *", jobTemplate = { spec = { template = { spec = spec } } } } }),
    { "spec.jobTemplate.spec.template" .. said })
end)
