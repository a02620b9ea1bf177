-- kfp-access in a lab that has Kubeflow's kinds: who may call Pipelines without the policy and with it, and what
-- becomes of its objects when they are edited or deleted while a replica of the host is restarted.
local test = require "test"
local istio = require "istio"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local eventually = site_of.eventually

local BINDING, POLICY = "rolebindings.rbac.authorization.k8s.io", "authorizationpolicies.security.istio.io"
local HEADER = "kubeflow-userid"

local function definition(group, version, kind, plural, scope)
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = plural .. "." .. group }, spec = { group = group, scope = scope or "Namespaced",
      names = { kind = kind, plural = plural, singular = kind:lower() }, versions = { { name = version, served = true,
        storage = true, schema = { openAPIV3Schema = { type = "object",
          ["x-kubernetes-preserve-unknown-fields"] = true } } } } } }
end

-- What of a Kubeflow stands in front of Pipelines.
local function install(c)
  for _, one in ipairs { definition("kubeflow.org", "v1", "Profile", "profiles", "Cluster"),
    definition("kubeflow.org", "v1alpha1", "PodDefault", "poddefaults"),
    definition("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    { apiVersion = "v1", kind = "Namespace", metadata = { name = "kubeflow" } },
    { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = "kubeflow-edit" },
      rules = { { apiGroups = { "pipelines.kubeflow.org" }, resources = { "runs" }, verbs = { "create" } } } } } do
    c:create(one)
  end
  eventually("there are policies", function()
    return c.try:create { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy",
      metadata = { name = "ml-pipeline", namespace = "kubeflow" }, spec = {
        selector = { matchLabels = { app = "ml-pipeline" } }, rules = {
          { from = { { source = { principals = { "cluster.local/ns/kubeflow/sa/ml-pipeline-ui" } } } } } } } }
  end)
end

-- Whether the mesh lets an account through to Pipelines.
local function passes(c, namespace, headers)
  return istio.allowed(c:list(POLICY, { namespace = "*" }), { namespace = "kubeflow", labels = { app = "ml-pipeline" },
    ports = { [8888] = "http" } }, {
    source = { principal = ("cluster.local/ns/%s/sa/default-editor"):format(namespace) },
    method = "POST", port = 8888, protocol = "http", path = "/apis/v2beta1/runs", host = "ml-pipeline.kubeflow",
    headers = headers or {} })
end

-- Whether Pipelines would let a user start runs in a namespace.
local function may(c, user, namespace)
  return c:create({ apiVersion = "authorization.k8s.io/v1", kind = "SubjectAccessReview", spec = { user = user,
    resourceAttributes = { group = "pipelines.kubeflow.org", version = "v1beta1", verb = "create", resource = "runs",
      namespace = namespace } } }).status.allowed
end

local function account(namespace) return ("system:serviceaccount:%s:default-editor"):format(namespace) end

local function binding(c, namespace)
  return c.try:get(BINDING, "kfhost-kfp-access", { namespace = namespace })
end

test("P1: a profile's pods may call Pipelines as themselves, and as nobody else", function()
  site_of.with({ nodes = 0 }, function(lab, c)
    install(c)
    for _, name in ipairs { "team-a", "team-b" } do
      c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name,
        labels = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" } } }
    end
    c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "late",
      annotations = { owner = "ann@site" } } }
    test.same({ passes(c, "team-a"), may(c, account "team-a", "team-a") }, { false, false })

    local site = replicas.new(lab, c, { "kfp-access" }, "kfp-access: {}\n", 2)
    local first = site:leader()
    eventually("team-a is served", function() return passes(c, "team-a") and may(c, account "team-a", "team-a") end)
    eventually("team-b is served", function() return passes(c, "team-b") end)
    test.equal(c:get("poddefaults.kubeflow.org", "access-ml-pipeline", { namespace = "team-a" }).spec.volumes[1]
      .projected.sources[1].serviceAccountToken.audience, "pipelines.kubeflow.org")

    -- Nobody is anybody else: a header that names a user is not heard, whatever its letters; nor is the other profile.
    for _, name in ipairs { HEADER, "Kubeflow-UserID" } do
      test.equal(passes(c, "team-a", { [name] = "ann@site" }), false)
    end
    test.equal(passes(c, "stranger"), false)
    test.equal(may(c, account "team-a", "team-b"), false)

    -- A contributor is bound by the user's name, and stays what he is; a stranger stays outside.
    c:create { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding", metadata = { name = "user-bob",
      namespace = "team-a" }, roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole",
      name = "kubeflow-edit" }, subjects = { { kind = "User", apiGroup = "rbac.authorization.k8s.io",
      name = "bob@site" } } }
    test.same({ may(c, "bob@site", "team-a"), may(c, "eve@site", "team-a") }, { true, false })

    -- A Profile that comes after its namespace.
    test.equal(binding(c, "late"), nil)
    c:create { apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = "late" },
      spec = { owner = { kind = "User", name = "ann@site" } } }
    eventually("late is served", function() return binding(c, "late") end)

    -- The replica that writes is restarted; what is edited or deleted comes back.
    site[first]:stop()
    c:patch(BINDING, "kfhost-kfp-access", { subjects = require "json".array {} },
      { namespace = "team-a", type = "merge" })
    c:delete(POLICY, "kfhost-kfp-access-team-b", { namespace = "kubeflow" })
    eventually("the binding is repaired", function() return #(binding(c, "team-a").subjects or {}) == 1 end)
    eventually("the rule is repaired", function() return passes(c, "team-b") end)
    site:stop()
  end)
end)
