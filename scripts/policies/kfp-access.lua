-- kfp-access: what a profile namespace needs so that its pods may call Kubeflow Pipelines, and act as themselves.
--
-- Three things stand in the way of a pod that calls Pipelines: it has no token that Pipelines accepts; its account may
-- not; and the mesh lets nobody through. For each profile namespace this policy keeps what the cluster in front of it
-- needs, and says in an annotation and an event what it chose and why:
--   a PodDefault    that gives pods with the label access-ml-pipeline a token for the audience of Pipelines; where none
--                   selects a pod with the label, the token is mounted by the mutation below;
--   a RoleBinding   of default-editor to kubeflow-edit (Pipelines asks by user, never by group), and once a ClusterRole
--                   that lets editors read workflows;
--   an AuthorizationPolicy in Pipelines' namespace that lets the namespace's own accounts in, only without the identity
--                   header: a pod acts as its service account, never as a person it names. It is written only where the
--                   mesh guards Pipelines: the first ALLOW rule of a workload would shut out everybody else.
-- People act as themselves, contributors too: through the gateway, or with a token of their own.
--
-- A namespace counts when it has the profile label, or when there is a Profile of its name and owner (also one made
-- after it). What was edited or deleted is repaired at once.
--
-- `legacy_header` is for clusters whose Pipelines cannot read tokens: an EnvoyFilter then sets the identity header of
-- the namespace's owner on what labelled pods send, in the place of whatever they send themselves. It gives each of
-- these pods the owner's rights in Pipelines, contributors' pods too. The site's own rules must let the header in: no
-- rule that is written here does.

local policy = require "policy"

local settings = policy.config {
  kubeflow_namespace = { type = "string", default = "kubeflow", doc = "where Pipelines runs" },
  audience = { type = "string", default = "pipelines.kubeflow.org", doc = "of the token" },
  user_header = { type = "string", default = "kubeflow-userid", doc = "the identity header" },
  trust_domain = { type = "string", default = "cluster.local", doc = "of the mesh" },
  pod_defaults = { type = "bool", default = true, doc = "PodDefaults are installed" },
  mesh = { type = "bool", default = true, doc = "Istio is installed" },
  accounts = { type = "list", default = { "default-editor" }, doc = "accounts that may call Pipelines" },
  legacy_header = { type = "bool", default = false, doc = "see above; never needed with Pipelines 1.7 and later" },
  repair_every = { type = "duration", default = "5m",
    doc = "how often what was deleted while nobody looked is looked for" },
}

-- The kinds that are kept in a profile, by what makes them needed.
local POD_DEFAULTS, BINDINGS = "poddefaults.kubeflow.org", "rolebindings.rbac.authorization.k8s.io"
local POLICIES, FILTERS = "authorizationpolicies.security.istio.io", "envoyfilters.networking.istio.io"
local KINDS = { BINDINGS }
if settings.pod_defaults then KINDS[#KINDS + 1] = POD_DEFAULTS end
if settings.mesh then KINDS[#KINDS + 1] = POLICIES end
if settings.mesh and settings.legacy_header then KINDS[#KINDS + 1] = FILTERS end

local ROLES = "clusterroles.rbac.authorization.k8s.io"
local ROLE = "kfhost-kfp-access"

local writes = { { resource = ROLES, verbs = { "create" } },
  { resource = ROLES, verbs = { "patch" }, names = { ROLE } },
  { resource = ROLES, verbs = { "bind" }, names = { "kubeflow-edit" } },
  { resource = "workflows.argoproj.io", verbs = { "get", "list", "watch" } } } -- what it gives, it must have
for _, kind in ipairs(KINDS) do writes[#writes + 1] = { resource = kind, verbs = { "create", "patch", "delete" } } end
local follows = { "profiles.kubeflow.org", ROLES, table.unpack(KINDS) }
policy.grant { reads = { "namespaces", settings.pod_defaults and POD_DEFAULTS or nil }, follows = follows,
  writes = writes }

local PART_OF, OF_PROFILE = "app.kubernetes.io/part-of", "kubeflow-profile"
local PROFILE = PART_OF .. "=" .. OF_PROFILE
local LABEL = "access-ml-pipeline"
local TOKEN = "/var/run/secrets/kubeflow/pipelines"
local VOLUME = "volume-kf-pipeline-token"
local CHOSEN = "policy.kfhost.io/kfp-access"
local MANAGED = { ["app.kubernetes.io/managed-by"] = "kfhost", ["policy.kfhost.io/name"] = "kfp-access" }

-- --- the objects -------------------------------------------------------------------------------------------

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

-- Editors of a profile may read its workflows: an aggregated role, one for the cluster.
local function workflows_role()
  local role = { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole",
    metadata = metadata(nil, ROLE, "editors see the workflows of their runs"),
    rules = { { apiGroups = { "argoproj.io" }, resources = { "workflows" }, verbs = { "get", "list", "watch" } } } }
  role.metadata.labels = { ["rbac.authorization.kubeflow.org/aggregate-to-kubeflow-edit"] = "true" }
  for label, value in pairs(MANAGED) do role.metadata.labels[label] = value end
  return role
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

local function principals_of(namespace, config)
  local principals = {}
  for i, account in ipairs(config.accounts) do
    principals[i] = require "istio".build.principal(namespace, account, config.trust_domain)
  end
  return principals
end

-- Each rule for a profile's principals asks that the identity header is absent: it could name anyone.
local function authorization_policy(namespace, config)
  local object = require "istio".build.allow(config.kubeflow_namespace, "kfhost-kfp-access-" .. namespace,
    { principals = principals_of(namespace, config), forbid_header = config.user_header }, { app = "ml-pipeline" })
  object.metadata = metadata(config.kubeflow_namespace, object.metadata.name, "accounts, without the header")
  return object
end

-- The owner's name is data in this program, whatever it contains.
local LUA_FILTER = [[
function envoy_on_request(handle)
  handle:headers():replace(%q, %q)
end
]]

local function envoy_filter(namespace, owner, config)
  return { apiVersion = "networking.istio.io/v1alpha3", kind = "EnvoyFilter",
    metadata = metadata(namespace, "kfhost-kfp-owner-header", "every labelled pod here acts as " .. owner),
    spec = { workloadSelector = { labels = { [LABEL] = "true" } }, configPatches = { { applyTo = "HTTP_FILTER",
      match = { context = "SIDECAR_OUTBOUND", listener = { portNumber = 8888,
        filterChain = { filter = { name = "envoy.filters.network.http_connection_manager" } } } },
      patch = { operation = "INSERT_BEFORE", value = { name = "kfhost.owner_header", typed_config = {
        ["@type"] = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        inlineCode = LUA_FILTER:format(config.user_header, owner) } } } } } } }
end

-- --- what is needed ----------------------------------------------------------------------------------------

-- Whether the mesh lets only some through to Pipelines: a stranger who names a user is not heard.
local function is_guarded(ctx)
  local others = {}
  for _, object in ipairs(ctx:list(POLICIES)) do
    local name = object.metadata.name
    if name:sub(1, #"kfhost-kfp-access-") ~= "kfhost-kfp-access-" then others[#others + 1] = object end
  end
  local config = ctx.config
  return require "istio".allowed(others, { namespace = config.kubeflow_namespace, labels = { app = "ml-pipeline" },
    ports = { [8888] = "http" } }, { source = { principal = config.trust_domain .. "/ns/stranger/sa/stranger" },
    method = "GET", port = 8888, protocol = "http", path = "/apis/v2beta1/runs", host = "ml-pipeline",
    headers = { [config.user_header] = "stranger" } }) == false
end

local function owner_of(profile)
  return profile and profile.spec and profile.spec.owner and profile.spec.owner.name
end

-- Whether a namespace is a profile's; a Profile may come after it.
local function is_profile(namespace, ctx)
  local labels, annotations = namespace.metadata.labels or {}, namespace.metadata.annotations or {}
  if labels[PART_OF] == OF_PROFILE then return true end
  local owner = owner_of(ctx:get("profiles.kubeflow.org", nil, namespace.metadata.name))
  return owner ~= nil and annotations.owner == owner
end

-- The objects that a namespace needs: {kind, object} each.
local function needed(namespace, ctx)
  local name, config = namespace.metadata.name, ctx.config
  local list = { { ROLES, workflows_role() }, { BINDINGS, role_binding(name, config) } }
  if config.pod_defaults then table.insert(list, 1, { POD_DEFAULTS, pod_default(name, config) }) end
  if config.mesh and is_guarded(ctx) then list[#list + 1] = { POLICIES, authorization_policy(name, config) } end
  local owner = config.mesh and config.legacy_header and owner_of(ctx:get("profiles.kubeflow.org", nil, name))
  if owner then list[#list + 1] = { FILTERS, envoy_filter(name, owner, config) } end
  return list
end

-- Groups that were given a role here: Pipelines will not know them.
local function bound_groups(namespace, ctx)
  local groups = {}
  for _, binding in ipairs(ctx:list(BINDINGS, { namespace = namespace })) do
    local theirs = binding.roleRef and binding.roleRef.name:find "^kubeflow%-"
    for _, subject in ipairs(theirs and binding.subjects or {}) do
      if subject.kind == "Group" then groups[#groups + 1] = subject.name end
    end
  end
  return groups
end

-- What was written, and what it means.
local function say(namespace, changed, ctx)
  ctx:event(namespace, "Normal", "PipelinesAccess", "set %s", table.concat(changed, ", "))
  if ctx.config.legacy_header then
    ctx:event(namespace, "Warning", "OwnerHeader", "every pod here with the label %s acts as the namespace's owner in "
      .. "Pipelines, contributors' pods too", LABEL)
  end
  local groups = bound_groups(namespace.metadata.name, ctx)
  if #groups > 0 then
    ctx:event(namespace, "Warning", "GroupsUnknown", "Pipelines asks by user and does not know the groups that are "
      .. "bound here: %s", table.concat(groups, ", "))
  end
end

local function serve(namespace, ctx)
  if namespace.metadata.deletionTimestamp or not is_profile(namespace, ctx) then return end
  local changed, failure = {}, nil
  for _, one in ipairs(needed(namespace, ctx)) do
    local kind, object = one[1], one[2]
    local there = ctx:get(kind, object.metadata.namespace, object.metadata.name)
    if not (there and ctx.contains(there, object)) then
      local ok, problem = pcall(ctx.apply, ctx, object, { force = true })
      if ok then changed[#changed + 1] = ("%s (%s)"):format(object.kind, object.metadata.annotations[CHOSEN]) end
      failure = failure or not ok and problem or nil -- what can be kept is kept all the same
    end
  end
  if #changed > 0 then say(namespace, changed, ctx) end
  if failure then error(failure, 0) end
end

policy.watch {
  name = "kfp-access",
  doc = "keeps what a profile namespace needs to call Pipelines",
  resource = "namespaces",
  label = PROFILE,
  resync = settings.repair_every, -- what was deleted while nobody looked comes back
  reconcile = serve,
  finalize = function(namespace, ctx)
    local name = "kfhost-kfp-access-" .. namespace.metadata.name
    local there = ctx.config.mesh and ctx:get(POLICIES, ctx.config.kubeflow_namespace, name)
    if there then ctx:delete(there) end
  end,
}

policy.watch {
  name = "kfp-access-of-profiles",
  doc = "serves a Profile that is made after its namespace",
  resource = "profiles.kubeflow.org",
  resync = settings.repair_every,
  reconcile = function(profile, ctx)
    local namespace = ctx:get("namespaces", nil, profile.metadata.name)
    if namespace then serve(namespace, ctx) end
  end,
}

-- An object of ours was edited, or has gone.
local function put_right(object, ctx)
  local name = object.metadata.name:match "^kfhost%-kfp%-access%-(.+)$" or object.metadata.namespace
  local namespace = ctx:get("namespaces", nil, name)
  if namespace then serve(namespace, ctx) end
end

for _, kind in ipairs(KINDS) do
  policy.watch {
    name = "kfp-access-of-" .. kind:match "^%a+",
    doc = "repairs what is edited or deleted",
    resource = kind,
    label = "policy.kfhost.io/name=kfp-access",
    reconcile = put_right,
    deleted = put_right,
  }
end

policy.explain {
  resource = "namespaces",
  run = function(namespace, ctx)
    if not is_profile(namespace, ctx) then return { "Pipelines: no profile's namespace, nothing is kept here" } end
    local lines = {}
    for _, one in ipairs(needed(namespace, ctx)) do
      local object = one[2]
      local there = ctx:get(one[1], object.metadata.namespace, object.metadata.name)
      lines[#lines + 1] = ("%s %s: %s%s"):format(object.kind, object.metadata.name,
        object.metadata.annotations[CHOSEN], there and "" or " (not there yet)")
    end
    if not (ctx.config.mesh and is_guarded(ctx)) then
      lines[#lines + 1] = "no AuthorizationPolicy: the mesh guards Pipelines with none, and ours would shut out others"
    end
    return lines
  end,
}

-- --- without PodDefaults ------------------------------------------------------------------------------------------

local function has(list, field, value)
  for _, one in ipairs(list or {}) do
    if one[field] == value then return true end
  end
  return false
end

-- Whether a PodDefault of the namespace gives the pod its token.
local function is_given(req)
  if not req.config.pod_defaults then return false end
  for _, one in ipairs(req:find(POD_DEFAULTS)) do
    local selector = one.spec and one.spec.selector and one.spec.selector.matchLabels or {}
    if selector[LABEL] == "true" and has(one.spec.volumeMounts, "mountPath", TOKEN) then return true end
  end
  return false
end

policy.mutate {
  name = "kfp-token",
  doc = "gives pods with the label their token where no PodDefault does",
  match = { resource = "pods", operations = { "CREATE" }, label = LABEL .. "=true",
    namespaces = { label = PROFILE } },
  apply = function(req)
    if is_given(req) then return end
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

local NAMESPACE = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a",
  labels = { [PART_OF] = OF_PROFILE } } }

-- What a Kubeflow has in front of Pipelines: its own accounts, and whoever names no user.
local GUARD = { apiVersion = "security.istio.io/v1beta1", kind = "AuthorizationPolicy",
  metadata = { name = "ml-pipeline", namespace = "kubeflow" }, spec = {
    selector = { matchLabels = { app = "ml-pipeline" } }, rules = {
      { from = { { source = { principals = { "cluster.local/ns/kubeflow/sa/ml-pipeline-ui" } } } } },
      { when = { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } } } } } }

local DEFAULTS = { audience = "pipelines.kubeflow.org", accounts = { "default-editor" }, trust_domain = "cluster.local",
  kubeflow_namespace = "kubeflow", user_header = "kubeflow-userid" }

local function kept(change)
  local objects = { GUARD, pod_default("team-a", DEFAULTS), workflows_role(), role_binding("team-a", DEFAULTS),
    authorization_policy("team-a", DEFAULTS) }
  if change then change(objects) end
  return objects
end

local function watched(name, spec)
  spec.name, spec.watch = name, spec.watch or "kfp-access"
  if not spec.old then spec.object = spec.object or NAMESPACE end
  spec.expect = { writes = spec.writes }
  spec.writes = nil
  policy.test(spec)
end

local RULE = { from = { { source = { principals = { "cluster.local/ns/team-a/sa/default-editor" } } } },
  when = { { key = "request.headers[kubeflow-userid]", notValues = { "*" } } } }

watched("a profile namespace gets token, roles and a rule that forbids the header", { objects = { GUARD }, writes = {
  { verb = "apply", object = { kind = "PodDefault", metadata = { namespace = "team-a" } } },
  { verb = "apply", object = { kind = "ClusterRole", metadata = { labels = {
    ["rbac.authorization.kubeflow.org/aggregate-to-kubeflow-edit"] = "true" } } } },
  { verb = "apply", object = { kind = "RoleBinding", subjects = { { name = "default-editor" } } } },
  { verb = "apply", object = { kind = "AuthorizationPolicy", metadata = { namespace = "kubeflow" },
    spec = { rules = { RULE } } } },
  { verb = "event", reason = "PipelinesAccess" } } })

watched("where the mesh guards Pipelines with no rule, ours would shut out everybody else: it is not written",
  { objects = {}, writes = { { object = { kind = "PodDefault" } }, { object = { kind = "ClusterRole" } },
    { object = { kind = "RoleBinding" } }, { verb = "event" } } })

watched("what is as it should be is left alone", { objects = kept(), writes = {} })

local REPAIRED = { { verb = "apply", object = { kind = "RoleBinding" } }, { verb = "event" } }
watched("a deleted binding is repaired", { writes = REPAIRED,
  objects = kept(function(list) table.remove(list, 4) end) })
watched("an edited binding is repaired", { writes = REPAIRED,
  objects = kept(function(list) list[4].subjects = {} end) })

local edited = role_binding("team-a", DEFAULTS)
edited.subjects = {}
local with_namespace = kept(function(list)
  list[4] = edited
  list[#list + 1] = NAMESPACE
end)
watched("an edit is seen at once", { watch = "kfp-access-of-rolebindings", object = edited, objects = with_namespace,
  writes = REPAIRED })

watched("a deletion is seen at once", { watch = "kfp-access-of-rolebindings", old = role_binding("team-a", DEFAULTS),
  objects = kept(function(list) list[4] = NAMESPACE end), writes = REPAIRED })
local LEAVING = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a",
  labels = NAMESPACE.metadata.labels, deletionTimestamp = "2020-10-23T08:00:00Z" } }
watched("where the namespace goes, nothing is kept", { watch = "kfp-access-of-rolebindings",
  old = role_binding("team-a", DEFAULTS), objects = { LEAVING }, writes = {} })

local function profile(owner)
  return { apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = "team-a" },
    spec = { owner = { kind = "User", name = owner } } }
end

local OWNED = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a",
  annotations = { owner = "ann@site" } } }

watched("a Profile that is made after its namespace is served", { watch = "kfp-access-of-profiles",
  object = profile "ann@site", objects = { OWNED, profile "ann@site" }, writes = { { object = { kind = "PodDefault" } },
    { object = { kind = "ClusterRole" } }, { object = { kind = "RoleBinding" } }, { verb = "event" } } })
watched("a namespace of another owner is not", { watch = "kfp-access-of-profiles", object = profile "bob@site",
  objects = { OWNED, profile "bob@site" }, writes = {} })

watched("the owner's header is set only on demand, in the place of what a pod sends, with a warning", {
  config = { legacy_header = true }, objects = kept(function(list) list[#list + 1] = profile 'an"n@site' end),
  writes = { { verb = "apply", object = { kind = "EnvoyFilter", spec = {
    workloadSelector = { labels = { [LABEL] = "true" } }, configPatches = { { patch = { value = { typed_config = {
      inlineCode = LUA_FILTER:format("kubeflow-userid", 'an"n@site') } } } } } } } },
    { verb = "event", type = "Normal" }, { verb = "event", type = "Warning", reason = "OwnerHeader" } } })

local GROUP = { apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding",
  metadata = { name = "all", namespace = "team-a" }, roleRef = { kind = "ClusterRole", name = "kubeflow-edit" },
  subjects = { { kind = "Group", name = "scientists" } } }
watched("a group that is bound is told: Pipelines does not know it", { objects = kept(function(list)
  list[4] = GROUP
end), writes = { REPAIRED[1], { reason = "PipelinesAccess" }, { type = "Warning", reason = "GroupsUnknown" } } })

local function caller()
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a",
    labels = { [LABEL] = "true" } }, spec = { containers = { { name = "main", image = "x" } } } }
end
local GIVEN = { spec = { containers = { { env = { { name = "KF_PIPELINES_SA_TOKEN_PATH" } } } } } }

policy.test { name = "a pod gets its token where there are no PodDefaults", config = { pod_defaults = false },
  object = caller(), expect = { object = GIVEN } }
policy.test { name = "a pod gets its token where no PodDefault gives it", object = caller(),
  expect = { object = GIVEN } }
policy.test { name = "a PodDefault that gives it is left to it", object = caller(),
  objects = { pod_default("team-a", DEFAULTS) }, expect = { patch = {} } }
