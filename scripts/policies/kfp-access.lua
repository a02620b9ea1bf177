-- kfp-access: what a profile namespace needs so that its pods may call Kubeflow Pipelines, and act as themselves.
--
-- Three things stand in the way of a pod that calls Pipelines: it has no token that Pipelines accepts; its
-- account may not; and the mesh lets nobody through. For each profile namespace this policy keeps
--   a PodDefault    that gives pods with the label access-ml-pipeline a token for the audience of Pipelines,
--   a RoleBinding   of default-editor to kubeflow-edit (Pipelines asks by user, never by group),
--   an AuthorizationPolicy in Pipelines' namespace that lets the namespace's own accounts in, but only without
--                   the identity header: a pod acts as its service account, never as a person it names.
-- People act as themselves through the gateway, or with a token of their own.
--
-- It repairs what was deleted or edited, serves a Profile made after its namespace, and says what it chose in
-- an annotation. Where PodDefaults are not installed it mounts the token itself (the mutation below).
--
-- `legacy_header` is for clusters whose Pipelines cannot read tokens: an EnvoyFilter then sets the identity
-- header of the namespace's owner on what its pods send. It gives every pod of the namespace the owner's rights
-- in Pipelines, contributors' pods too; it overwrites what a pod sends itself.

local policy = require "policy"

policy.config {
  kubeflow_namespace = { type = "string", default = "kubeflow", doc = "where Pipelines runs" },
  audience = { type = "string", default = "pipelines.kubeflow.org", doc = "of the token" },
  user_header = { type = "string", default = "kubeflow-userid", doc = "the identity header" },
  trust_domain = { type = "string", default = "cluster.local", doc = "of the mesh" },
  pod_defaults = { type = "bool", default = true, doc = "PodDefaults are installed" },
  accounts = { type = "list", default = { "default-editor" }, doc = "accounts that may call Pipelines" },
  legacy_header = { type = "bool", default = false, doc = "see above; never needed with Pipelines 1.7 and later" },
}

policy.grant {
  reads = { "profiles.kubeflow.org", "poddefaults.kubeflow.org", "rolebindings.rbac.authorization.k8s.io",
    "authorizationpolicies.security.istio.io", "envoyfilters.networking.istio.io" },
  writes = {
    { resource = "poddefaults.kubeflow.org", verbs = { "create", "patch" } },
    { resource = "rolebindings.rbac.authorization.k8s.io", verbs = { "create", "patch" } },
    { resource = "authorizationpolicies.security.istio.io", verbs = { "create", "patch", "delete" } },
    { resource = "envoyfilters.networking.istio.io", verbs = { "create", "patch", "delete" } },
  },
}

local PROFILE = "app.kubernetes.io/part-of=kubeflow-profile"
local LABEL = "access-ml-pipeline"
local TOKEN = "/var/run/secrets/kubeflow/pipelines"
local VOLUME = "volume-kf-pipeline-token"
local CHOSEN = "policy.kfhost.io/kfp-access"
local MANAGED = { ["app.kubernetes.io/managed-by"] = "kfhost" }

local function metadata(namespace, name, chosen)
  return { namespace = namespace, name = name, labels = MANAGED, annotations = { [CHOSEN] = chosen } }
end

local function token_volume(config)
  return { name = VOLUME, projected = { sources = { { serviceAccountToken = {
    path = "token", expirationSeconds = 7200, audience = config.audience } } } } }
end

local function pod_default(namespace, config)
  return { apiVersion = "kubeflow.org/v1alpha1", kind = "PodDefault",
    metadata = metadata(namespace, LABEL, "token: the pod shows its own account's"),
    spec = { desc = "Allow access to Kubeflow Pipelines", selector = { matchLabels = { [LABEL] = "true" } },
      env = { { name = "KF_PIPELINES_SA_TOKEN_PATH", value = TOKEN .. "/token" } },
      volumes = { token_volume(config) },
      volumeMounts = { { name = VOLUME, mountPath = TOKEN, readOnly = true } } } }
end

local function role_binding(namespace, config)
  local subjects = {}
  for i, account in ipairs(config.accounts) do
    subjects[i] = { kind = "ServiceAccount", name = account, namespace = namespace }
  end
  return { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding",
    metadata = metadata(namespace, "kfhost-kfp-access", "by user: Pipelines passes no groups"), subjects = subjects,
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "kubeflow-edit" } }
end

-- Each rule for a profile's principals asks that the identity header is absent: it could name anyone.
local function authorization_policy(namespace, config)
  local principals = {}
  for i, account in ipairs(config.accounts) do
    principals[i] = ("%s/ns/%s/sa/%s"):format(config.trust_domain, namespace, account)
  end
  return { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy",
    metadata = metadata(config.kubeflow_namespace, "kfhost-kfp-access-" .. namespace, "accounts, without the header"),
    spec = { action = "ALLOW", selector = { matchLabels = { app = "ml-pipeline" } }, rules = { {
      from = { { source = { principals = principals } } },
      when = { { key = ("request.headers[%s]"):format(config.user_header), notValues = { "*" } } } } } } }
end

local LUA_FILTER = [[
function envoy_on_request(handle)
  handle:headers():replace("%s", "%s")
end
]]

local function envoy_filter(namespace, owner, config)
  return { apiVersion = "networking.istio.io/v1alpha3", kind = "EnvoyFilter",
    metadata = metadata(namespace, "kfhost-kfp-owner-header", "every pod here acts as " .. owner),
    spec = { configPatches = { { applyTo = "HTTP_FILTER",
      match = { context = "SIDECAR_OUTBOUND", listener = { portNumber = 8888,
        filterChain = { filter = { name = "envoy.filters.network.http_connection_manager" } } } },
      patch = { operation = "INSERT_BEFORE", value = { name = "kfhost.owner_header", typed_config = {
        ["@type"] = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        inlineCode = LUA_FILTER:format(config.user_header, owner) } } } } } } }
end

-- Applies an object when the one that is there differs from it in what it says.
local function keep(ctx, kind, object)
  local there = ctx:get(kind, object.metadata.namespace, object.metadata.name)
  if there and ctx.contains(there, object) then return false end
  ctx:apply(object, { force = true })
  return true
end

local function owner_of(profile)
  return profile and profile.spec and profile.spec.owner and profile.spec.owner.name
end

-- The Profile of a namespace: the one of its name.
local function serve(namespace, ctx)
  local name, config = namespace.metadata.name, ctx.config
  local changed = {}
  local function note(kind, object)
    if keep(ctx, kind, object) then changed[#changed + 1] = object.kind end
  end
  if config.pod_defaults then note("poddefaults.kubeflow.org", pod_default(name, config)) end
  note("rolebindings.rbac.authorization.k8s.io", role_binding(name, config))
  note("authorizationpolicies.security.istio.io", authorization_policy(name, config))
  if config.legacy_header then
    local owner = owner_of(ctx:get("profiles.kubeflow.org", nil, name))
    if owner then note("envoyfilters.networking.istio.io", envoy_filter(name, owner, config)) end
    ctx:event(namespace, "Warning", "OwnerHeader", "every pod of this namespace acts as its owner in Pipelines")
  end
  if #changed > 0 then
    ctx:event(namespace, "Normal", "PipelinesAccess", "set %s", table.concat(changed, ", "))
  end
end

policy.watch {
  name = "kfp-access",
  doc = "keeps what a profile namespace needs to call Pipelines",
  resource = "namespaces",
  label = PROFILE,
  resync = "5m", -- what was deleted or edited meanwhile comes back
  reconcile = serve,
  finalize = function(namespace, ctx)
    local name = "kfhost-kfp-access-" .. namespace.metadata.name
    local there = ctx:get("authorizationpolicies.security.istio.io", ctx.config.kubeflow_namespace, name)
    if there then ctx:delete(there) end
  end,
}

-- --- without PodDefaults ------------------------------------------------------------------------------------------

local function has(list, field, value)
  for _, one in ipairs(list or {}) do
    if one[field] == value then return true end
  end
  return false
end

policy.mutate {
  name = "kfp-token",
  doc = "gives pods with the label their token where no PodDefault does",
  match = { resource = "pods", operations = { "CREATE" }, label = LABEL .. "=true",
    namespaces = { label = PROFILE } },
  apply = function(req)
    if req.config.pod_defaults then return end
    local spec = req.object.spec
    spec.volumes = spec.volumes or {}
    if not has(spec.volumes, "name", VOLUME) then table.insert(spec.volumes, token_volume(req.config)) end
    for _, container in ipairs(spec.containers) do
      if not has(container.volumeMounts, "mountPath", TOKEN) then
        container.volumeMounts = container.volumeMounts or {}
        table.insert(container.volumeMounts, { name = VOLUME, mountPath = TOKEN, readOnly = true })
      end
      if not has(container.env, "name", "KF_PIPELINES_SA_TOKEN_PATH") then
        container.env = container.env or {}
        table.insert(container.env, { name = "KF_PIPELINES_SA_TOKEN_PATH", value = TOKEN .. "/token" })
      end
    end
  end,
}

-- --- tests --------------------------------------------------------------------------------------------------------

local NAMESPACE = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {
  ["app.kubernetes.io/part-of"] = "kubeflow-profile" } } }

policy.test { name = "a profile namespace gets token, binding and a rule that forbids the header",
  watch = "kfp-access", object = NAMESPACE, expect = { writes = {
    { verb = "apply", object = { kind = "PodDefault", metadata = { namespace = "team-a" } } },
    { verb = "apply", object = { kind = "RoleBinding", subjects = { { name = "default-editor" } } } },
    { verb = "apply", object = { kind = "AuthorizationPolicy", metadata = { namespace = "kubeflow" }, spec = {
      rules = { { from = { { source = { principals = { "cluster.local/ns/team-a/sa/default-editor" } } } },
        when = { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } } } } } } },
    { verb = "event", reason = "PipelinesAccess" } } } }

local DEFAULTS = { audience = "pipelines.kubeflow.org", accounts = { "default-editor" }, trust_domain = "cluster.local",
  kubeflow_namespace = "kubeflow", user_header = "kubeflow-userid" }

policy.test { name = "what is as it should be is left alone", watch = "kfp-access", object = NAMESPACE,
  objects = { pod_default("team-a", DEFAULTS), role_binding("team-a", DEFAULTS),
    authorization_policy("team-a", DEFAULTS) }, expect = { writes = {} } }

local edited = role_binding("team-a", DEFAULTS)
edited.subjects = {}

policy.test { name = "an edited binding is repaired", watch = "kfp-access", object = NAMESPACE,
  objects = { pod_default("team-a", DEFAULTS), edited, authorization_policy("team-a", DEFAULTS) },
  expect = { writes = { { verb = "apply", object = { kind = "RoleBinding" } }, { verb = "event" } } } }

policy.test { name = "the owner's header is set only on demand, with a warning", watch = "kfp-access",
  config = { legacy_header = true }, object = NAMESPACE,
  objects = { pod_default("team-a", DEFAULTS), role_binding("team-a", DEFAULTS),
    authorization_policy("team-a", DEFAULTS),
    { apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = "team-a" },
      spec = { owner = { kind = "User", name = "ann@site" } } } },
  expect = { writes = { { verb = "apply", object = { kind = "EnvoyFilter" } },
    { verb = "event", type = "Warning" }, { verb = "event", type = "Normal" } } } }

policy.test { name = "a pod gets its token where there are no PodDefaults", config = { pod_defaults = false },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a",
    labels = { [LABEL] = "true" } }, spec = { containers = { { name = "main", image = "x" } } } },
  expect = { object = { spec = { containers = { { env = { { name = "KF_PIPELINES_SA_TOKEN_PATH" } } } } } } } }
