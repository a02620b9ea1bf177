-- Profiles, PodDefaults and notebooks of a lab's Kubeflow.
local json = require "json"
local kubeflow = require "lab.kubeflow"
local poddefaults = require "lab.kubeflow.poddefaults"
local profiles = require "lab.kubeflow.profiles"
local test = require "test"
local wait = dofile "tests/lua/support/wait.lua"

local function wait_until(what, holds) return wait(what, holds, 30) end

local function with_lab(options, use)
  options.root = options.root or test.tmpdir()
  local cluster = kubeflow.start(options)
  local ok, problem = pcall(use, cluster.client, cluster)
  cluster:close()
  if not ok then error(problem, 0) end
end

test("a profile becomes a namespace with accounts, bindings and policy; its owner may, others may not", function()
  with_lab({ nodes = 0, profiles = { "team-a" } }, function(c)
    local namespace = c:get("namespaces", "team-a")
    test.equal(namespace.metadata.annotations.owner, "user@example.com")
    for key, value in pairs(profiles.LABELS) do test.equal(namespace.metadata.labels[key], value) end
    test.equal(namespace.metadata.ownerReferences[1].kind, "Profile")
    local where = { namespace = "team-a" }
    for name, role in pairs { ["default-editor"] = "kubeflow-edit", ["default-viewer"] = "kubeflow-view",
      namespaceAdmin = "kubeflow-admin" } do
      test.equal(c:get("rolebindings", name, where).roleRef.name, role)
    end
    test.equal(c:get("authorizationpolicies.v1.security.istio.io", "ns-owner-access-istio", where).spec.rules[1].when[1]
      .values[1], "user@example.com")
    test.equal(c:get("poddefaults.v1alpha1.kubeflow.org", "access-ml-pipeline", where).spec.env[1].name,
      "KF_PIPELINES_SA_TOKEN_PATH")
    local function may(user, verb, group, resource, ns)
      return c:create { apiVersion = "authorization.k8s.io/v1", kind = "SubjectAccessReview", spec = { user = user,
        resourceAttributes = { verb = verb, group = group, resource = resource, namespace = ns } } }.status.allowed
    end
    test.equal(may("user@example.com", "create", "pipelines.kubeflow.org", "runs", "team-a"), true)
    test.equal(may("system:serviceaccount:team-a:default-editor", "create", "pipelines.kubeflow.org", "runs", "team-a"),
      true)
    test.equal(may("system:serviceaccount:team-a:default-viewer", "create", "pipelines.kubeflow.org", "runs", "team-a"),
      false)
    test.equal(may("system:serviceaccount:team-a:default-viewer", "list", "pipelines.kubeflow.org", "runs", "team-a"),
      true)
    test.equal(may("system:serviceaccount:team-a:default-editor", "create", "security.istio.io",
      "authorizationpolicies", "team-a"), false)
    test.equal(may("other@example.com", "list", "", "pods", "team-a"), false)
  end)
end)

test("a quota comes and goes with the profile; a namespace of somebody else is left, and said", function()
  with_lab({ nodes = 0, profiles = { "team-a" } }, function(c)
    local where = { namespace = "team-a" }
    local function set(spec)
      c:patch(profiles.KIND, "team-a", { spec = spec }, { type = "merge" })
    end
    set { resourceQuotaSpec = { hard = { cpu = "4" } } }
    wait_until("the quota", function() return c.try:get("resourcequotas", "kf-resource-quota", where) end)
    set { resourceQuotaSpec = json.null }
    wait_until("its end", function() return not c.try:get("resourcequotas", "kf-resource-quota", where) end)
    c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "taken" } }
    c:create { apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = "taken" },
      spec = { owner = { kind = "User", name = "me@example.com" } } }
    local profile = wait_until("the refusal", function()
      local now = c:get(profiles.KIND, "taken")
      return now.status and now.status.conditions and now or nil
    end)
    test.equal(profile.status.conditions[1].type, "Failed")
    test.equal(profile.status.conditions[1].message,
      "namespace already exist, but not owned by profile creator me@example.com")
    c:delete(profiles.KIND, "team-a", { propagation = "Background" })
    wait_until("the end of the namespace", function() return not c.try:get("namespaces", "team-a") end)
  end)
end)

-- --- PodDefaults ----------------------------------------------------------------------------------------------

local function pod(changes)
  local made = { metadata = { name = "p", labels = { ["access-ml-pipeline"] = "true" } }, spec = { containers = {
    { name = "main", image = "busybox", command = { "run" } }, { name = "istio-proxy", image = "proxy" } },
    initContainers = { { name = "first", image = "busybox" } } } }
  for key, value in pairs(changes or {}) do made.spec[key] = value end
  return made
end

local function default(name, spec, labels)
  spec.selector = { matchLabels = labels or { ["access-ml-pipeline"] = "true" } }
  return { metadata = { name = name, resourceVersion = "7" }, spec = spec }
end

test("what fits by labels is merged into regular containers, and the pod says so", function()
  local token = profiles.pod_default "team-a"
  token.metadata.resourceVersion = "7"
  local made = poddefaults.apply(pod(), { token, default("other", { env = { { name = "X" } } }, { app = "else" }),
    default("more", { command = { "no" }, args = { "-v" }, labels = { team = "a" }, serviceAccountName = "editor",
      tolerations = { { key = "gpu", operator = "Exists" } } }) })
  for _, container in ipairs(made.spec.containers) do
    test.equal(container.env[1].name, "KF_PIPELINES_SA_TOKEN_PATH")
    test.equal(container.volumeMounts[1].mountPath, "/var/run/secrets/kubeflow/pipelines")
  end
  test.equal(made.spec.initContainers[1].env, nil)
  test.same(made.spec.containers[1].command, { "run" })
  test.same(made.spec.containers[1].args, { "-v" })
  test.equal(made.spec.containers[2].args, nil)
  test.equal(made.spec.serviceAccountName, "editor")
  test.equal(made.metadata.labels.team, "a")
  test.same(made.metadata.annotations, { ["poddefault.admission.kubeflow.org/poddefault-access-ml-pipeline"] = "7",
    ["poddefault.admission.kubeflow.org/poddefault-more"] = "7" })
end)

test("the same again is no conflict; another value under the same name or path is, and names it", function()
  local env = { { name = "A", value = "1" } }
  local made = poddefaults.apply(pod(), { default("a", { env = env }), default("b", { env = env }) })
  test.equal(#made.spec.containers[1].env, 1)
  for _, case in ipairs {
    { { env = { { name = "A", value = "1" } } }, { env = { { name = "A", value = "2" } } } },
    { { volumes = { { name = "v", emptyDir = {} } } },
      { volumes = { { name = "v", secret = { secretName = "s" } } } } },
    { { volumeMounts = { { name = "v", mountPath = "/x" } } },
      { volumeMounts = { { name = "w", mountPath = "/x" } } } },
    { { volumeMounts = { { name = "v", mountPath = "/x" } } },
      { volumeMounts = { { name = "v", mountPath = "/y" } } } },
    { { tolerations = { { key = "k", effect = "NoSchedule" } } },
      { tolerations = { { key = "k", effect = "NoExecute" } } } },
    { { labels = { l = "1" } }, { labels = { l = "2" } } },
  } do
    local none, problem = poddefaults.apply(pod(), { default("a", case[1]), default("b", case[2]) })
    test.equal(none, nil)
    test.equal(problem:find("conflict occurred while applying poddefaults: a,b on pod: p", 1, true) ~= nil, true)
  end
end)

test("excluded and mirror pods are left", function()
  for _, annotations in ipairs { { ["poddefault.admission.kubeflow.org/exclude"] = "true" },
    { ["kubernetes.io/config.mirror"] = "x" } } do
    local given = pod()
    given.metadata.annotations = annotations
    test.equal(poddefaults.apply(given, { default("a", { env = { { name = "A" } } }) }).spec.containers[1].env, nil)
  end
end)

test("the webhook serves profile namespaces; a conflict refuses the pod", function()
  with_lab({ nodes = 0, profiles = { "team-a" } }, function(c)
    local function create(name, namespace, env)
      return c.try:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = namespace,
        labels = { ["access-ml-pipeline"] = "true" } }, spec = { containers = { { name = "main", image = "busybox",
        env = env } } } }
    end
    local made = create("a", "team-a")
    test.equal(made.spec.containers[1].env[1].name, "KF_PIPELINES_SA_TOKEN_PATH")
    local volumes = {}
    for _, one in ipairs(made.spec.volumes) do volumes[one.name] = true end
    test.equal(volumes["volume-kf-pipeline-token"], true)
    test.equal(create("a", "default").spec.containers[1].env, nil)
    local none, problem = create("b", "team-a", { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = "/elsewhere" } })
    test.equal(none, nil)
    test.equal(problem.message:find("conflict occurred while applying poddefaults", 1, true) ~= nil, true)
  end)
end)

-- --- notebooks ------------------------------------------------------------------------------------------------

test("a notebook is a pod with a token for Pipelines, and a service; stopped, the pod goes", function()
  with_lab({ profiles = { "team-a" } }, function(c)
    local where = { namespace = "team-a" }
    c:create { apiVersion = "kubeflow.org/v1", kind = "Notebook", metadata = { name = "nb", namespace = "team-a",
      labels = { ["access-ml-pipeline"] = "true" } }, spec = { template = { spec = {
      serviceAccountName = "default-editor", containers = { { name = "nb",
        image = "ghcr.io/kubeflow/notebook-servers/jupyter-scipy:v1" } } } } } }
    local ready = wait_until("the notebook", function()
      local now = c:get("notebooks.v1.kubeflow.org", "nb", where)
      return now.status and now.status.readyReplicas == 1 and now or nil
    end)
    test.equal(ready.status.containerState.running ~= nil, true)
    local running = c:get("pods", "nb-0", where)
    local names = {}
    for _, one in ipairs(running.spec.containers[1].env) do names[one.name] = one.value end
    test.equal(names.NB_PREFIX, "/notebook/team-a/nb")
    test.equal(names.KF_PIPELINES_SA_TOKEN_PATH, "/var/run/secrets/kubeflow/pipelines/token")
    test.equal(c:get("services", "nb", where).spec.ports[1].targetPort, 8888)
    c:patch("notebooks.v1.kubeflow.org", "nb", { metadata = { annotations = {
      ["kubeflow-resource-stopped"] = "2026-01-01T00:00:00Z" } } }, { namespace = "team-a", type = "merge" })
    local doomed = wait_until("its stop", function()
      local now = c.try:get("pods", "nb-0", where)
      return (not now or now.metadata.deletionTimestamp) and (now or true)
    end)
    if doomed ~= true then c.try:delete("pods", "nb-0", { namespace = "team-a", grace = 0 }) end
    wait_until("its end", function()
      local now = c:get("notebooks.v1.kubeflow.org", "nb", where)
      return now.status.readyReplicas == 0 and not c.try:get("pods", "nb-0", where)
    end)
  end)
end)
