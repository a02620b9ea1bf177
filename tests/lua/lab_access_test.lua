-- Who may do what in a lab: tokens, certificates, impersonation, roles, and the questions that clients ask about it.
local api = require "lab.api"
local json = require "json"
local test = require "test"

local RBAC = "/apis/rbac.authorization.k8s.io/v1/"
local ASK = "/apis/authorization.k8s.io/v1/"

local NOW = 1700000000

-- A lab, and a function that asks it as somebody: call(user, method, path, body, headers) -> status, value.
local function lab()
  local clock = { now = NOW }
  local cluster = api.new { now = function() return clock.now end }
  local tokens = { admin = cluster.auth.admin_token }
  local function call(user, method, path, body, headers)
    tokens[user] = tokens[user] or cluster.auth:add_user(user, { "people" })
    local all = { ["user-agent"] = "test", ["content-type"] = "application/json",
                  authorization = "Bearer " .. tokens[user] }
    for name, value in pairs(headers or {}) do all[name] = value or nil end
    local response = cluster:handle { method = method, path = path, headers = all, body = body and json.encode(body) }
    local value = response.body
    return response.status, value and value:match "^{" and json.decode(value) or value
  end
  return call, cluster, clock, tokens
end

local function rule(groups, resources, verbs, names)
  return { apiGroups = groups, resources = resources, verbs = verbs, resourceNames = names }
end

-- Gives a user the rules of a cluster role, in the cluster or in a namespace.
local function grant(call, user, name, rules, namespace)
  test.equal((call("admin", "POST", RBAC .. "clusterroles", { metadata = { name = name }, rules = rules })), 201)
  local path = namespace and ("namespaces/%s/rolebindings"):format(namespace) or "clusterrolebindings"
  test.equal((call("admin", "POST", RBAC .. path, { metadata = { name = name },
    roleRef = { kind = "ClusterRole", name = name }, subjects = { { kind = "User", name = user } } })), 201)
end

-- --- granting -------------------------------------------------------------------------------------------------

test("a role may not grant what its author has not, unless he may escalate", function()
  local call = lab()
  grant(call, "jane", "author", { rule({ "rbac.authorization.k8s.io" }, { "roles" }, { "create", "update" }),
    rule({ "" }, { "pods" }, { "get" }) })
  local roles = RBAC .. "namespaces/default/roles"
  local mine = { metadata = { name = "mine" }, rules = { rule({ "" }, { "pods" }, { "get" }) } }
  test.equal((call("jane", "POST", roles, mine)), 201)
  local more = { metadata = { name = "more" }, rules = { rule({ "" }, { "pods", "secrets" }, { "get", "list" }),
    rule({ "apps" }, { "deployments" }, { "get" }, { "one" }) } }
  local code, problem = call("jane", "POST", roles, more)
  test.equal(code, 403)
  test.equal(problem.reason, "Forbidden")
  test.equal(problem.message, 'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["people" '
    .. '"system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
    .. '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}\n'
    .. '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}\n'
    .. '{APIGroups:["apps"], Resources:["deployments"], ResourceNames:["one"], Verbs:["get"]}')
  mine.rules = more.rules
  test.equal((call("jane", "PUT", roles .. "/mine", mine)), 403)
  grant(call, "jane", "escalator", { rule({ "rbac.authorization.k8s.io" }, { "roles" }, { "escalate" }) })
  test.equal((call("jane", "POST", roles, more)), 201)
end)

test("a binding may not give a role that its author has not, unless he may bind it", function()
  local call = lab()
  grant(call, "jane", "binder", { rule({ "rbac.authorization.k8s.io" }, { "rolebindings" }, { "create" }) })
  local bindings = RBAC .. "namespaces/default/rolebindings"
  local binding = { metadata = { name = "b" }, roleRef = { kind = "ClusterRole", name = "view" },
                    subjects = { { kind = "User", name = "jane" } } }
  local code, problem = call("jane", "POST", bindings, binding)
  test.equal(code, 403)
  test.equal(problem.message:find('^rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "jane"') ~= nil, true)
  binding.roleRef.name = "nowhere"
  test.equal((call("jane", "POST", bindings, binding)), 404)
  grant(call, "jane", "view-binder", { rule({ "rbac.authorization.k8s.io" }, { "clusterroles" }, { "bind" },
    { "view" }) })
  test.equal((call("jane", "POST", bindings, binding)), 404)
  binding.roleRef.name = "view"
  test.equal((call("jane", "POST", bindings, binding)), 201)
  test.equal((call("jane", "GET", "/api/v1/namespaces/default/pods")), 200)
  test.equal((call("jane", "GET", "/api/v1/namespaces/kube-system/pods")), 403)
end)

test("a role that is made of others follows them", function()
  local call = lab()
  grant(call, "jane", "jane-edits", {})
  call("admin", "POST", RBAC .. "clusterrolebindings", { metadata = { name = "jane-view" },
    roleRef = { kind = "ClusterRole", name = "view" }, subjects = { { kind = "User", name = "jane" } } })
  test.equal((call("jane", "GET", "/apis/apps/v1/deployments")), 200)
  test.equal((call("jane", "GET", "/api/v1/nodes")), 403)
  call("admin", "POST", RBAC .. "clusterroles", { rules = { rule({ "" }, { "nodes" }, { "list" }) },
    metadata = { name = "more-view", labels = { ["rbac.authorization.k8s.io/aggregate-to-view"] = "true" } } })
  test.equal((call("jane", "GET", "/api/v1/nodes")), 200)
  call("admin", "DELETE", RBAC .. "clusterroles/more-view")
  test.equal((call("jane", "GET", "/api/v1/nodes")), 403)
end)

-- --- questions ------------------------------------------------------------------------------------------------

test("access reviews: of oneself, of others, in a namespace; and a list of rules", function()
  local call = lab()
  grant(call, "jane", "reader", { rule({ "" }, { "configmaps" }, { "get", "list" }, { "one" }) }, "default")
  local function asks(user, kind, spec, namespace)
    local path = ASK .. (namespace and "namespaces/" .. namespace .. "/" or "") .. kind
    local code, answer = call(user, "POST", path, { metadata = { namespace = namespace }, spec = spec })
    test.equal(code, 201)
    return answer.status
  end
  local get = { verb = "get", resource = "configmaps", name = "one", namespace = "default" }
  test.equal(asks("jane", "selfsubjectaccessreviews", { resourceAttributes = get }).allowed, true)
  test.equal(asks("jane", "selfsubjectaccessreviews", { resourceAttributes = get }).reason,
    'RBAC: allowed by RoleBinding "reader/default" of ClusterRole "reader" to User "jane"')
  get.name = "two"
  test.equal(asks("jane", "selfsubjectaccessreviews", { resourceAttributes = get }).allowed, false)
  test.equal(asks("admin", "subjectaccessreviews", { user = "jane", resourceAttributes = get }).allowed, false)
  get.name = "one"
  test.equal(asks("admin", "localsubjectaccessreviews", { user = "jane", resourceAttributes = get }, "default").allowed,
    true)
  local of_others = { spec = { user = "a", resourceAttributes = get } }
  test.equal((call("jane", "POST", ASK .. "subjectaccessreviews", of_others)), 403)
  local rules = asks("jane", "selfsubjectrulesreviews", { namespace = "default" })
  local found
  for _, one in ipairs(rules.resourceRules) do found = found or one.resourceNames and one.resourceNames[1] == "one" end
  test.equal(found, true)
  test.equal(rules.incomplete, false)
  local path = { verb = "get", path = "/version" }
  test.equal(asks("jane", "selfsubjectaccessreviews", { nonResourceAttributes = path }).allowed, true)
end)

test("who am I: the user of a token, of a certificate, nobody", function()
  local call, cluster = lab()
  local path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
  local _, me = call("jane", "POST", path, { kind = "SelfSubjectReview" })
  test.same(me.status.userInfo, { username = "jane", groups = { "people", "system:authenticated" } })
  local response = cluster:handle { method = "POST", path = path, body = "{}", headers = {},
    peer = { address = "127.0.0.1", common_name = "cert-user", organizations = { "ops" } } }
  test.same(json.decode(response.body).status.userInfo,
    { username = "cert-user", groups = { "ops", "system:authenticated" } })
  response = cluster:handle { method = "GET", path = "/api/v1/pods", headers = {} }
  test.equal(response.status, 403)
  test.equal(json.decode(response.body).message:find 'User "system:anonymous"' ~= nil, true)
  response = cluster:handle { method = "GET", path = "/api/v1/pods", headers = { authorization = "Bearer wrong" } }
  test.equal(response.status, 401)
end)

-- --- acting as others -----------------------------------------------------------------------------------------

test("impersonation wants a right for the user, each group, the uid and each extra", function()
  local call = lab()
  local path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
  local function as(headers) return call("jane", "POST", path, { kind = "SelfSubjectReview" }, headers) end
  test.equal((as { ["impersonate-user"] = "bob" }), 403)
  grant(call, "jane", "act-as-bob", { rule({ "" }, { "users" }, { "impersonate" }, { "bob" }),
    rule({ "" }, { "groups" }, { "impersonate" }, { "dev" }) })
  local _, me = as { ["impersonate-user"] = "bob", ["impersonate-group"] = "dev" }
  test.same(me.status.userInfo, { username = "bob", groups = { "dev", "system:authenticated" } })
  test.equal((as { ["impersonate-user"] = "bob", ["impersonate-group"] = "ops" }), 403)
  local whole = { ["impersonate-user"] = "bob", ["impersonate-uid"] = "u-1", ["impersonate-extra-scopes"] = "view" }
  test.equal((as(whole)), 403)
  grant(call, "jane", "act-as-more", { rule({ "authentication.k8s.io" }, { "uids" }, { "impersonate" }, { "u-1" }) })
  test.equal((as(whole)), 403)
  grant(call, "jane", "act-as-most", { rule({ "authentication.k8s.io" }, { "userextras/scopes" }, { "impersonate" },
    { "view" }) })
  _, me = as(whole)
  test.same(me.status.userInfo, { username = "bob", uid = "u-1", groups = { "system:authenticated" },
    extra = { scopes = { "view" } } })
  test.equal((as { ["impersonate-group"] = "dev" }), 500)
end)

test("an impersonated service account has its groups", function()
  local call = lab()
  local _, me = call("admin", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    { kind = "SelfSubjectReview" }, { ["impersonate-user"] = "system:serviceaccount:default:robot" })
  test.same(me.status.userInfo.groups, { "system:serviceaccounts", "system:serviceaccounts:default",
    "system:authenticated" })
end)

-- --- tokens of accounts ---------------------------------------------------------------------------------------

local function account(call)
  call("admin", "POST", "/api/v1/namespaces/default/serviceaccounts", { metadata = { name = "robot" } })
  return function(spec)
    return call("admin", "POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", { spec = spec })
  end
end

local function review(call, token, audiences)
  local _, answer = call("admin", "POST", "/apis/authentication.k8s.io/v1/tokenreviews",
    { spec = { token = token, audiences = audiences } })
  return answer.status
end

test("a token for an audience is good for it alone", function()
  local call, _, _, tokens = lab()
  local request = account(call)
  local code, answer = request { audiences = { "pipelines" } }
  test.equal(code, 201)
  local token = answer.status.token
  local seen = review(call, token, { "other", "pipelines" })
  test.equal(seen.authenticated, true)
  test.same(seen.audiences, { "pipelines" })
  test.equal(seen.user.username, "system:serviceaccount:default:robot")
  test.equal(review(call, token, { "other" }).authenticated, nil)
  tokens.robot = token
  test.equal((call("robot", "GET", "/version")), 401)
  local _, usual = request {}
  tokens.robot = usual.status.token
  test.equal((call("robot", "GET", "/version")), 200)
end)

test("a token ends at its time, with its account, and with the pod that it is bound to", function()
  local call, _, clock, tokens = lab()
  local request = account(call)
  test.equal((request { expirationSeconds = 60 }), 422)
  local _, answer = request { expirationSeconds = 600 }
  test.equal(answer.spec.expirationSeconds, 600)
  tokens.robot = answer.status.token
  test.equal((call("robot", "GET", "/version")), 200)
  clock.now = NOW + 601
  test.equal((call("robot", "GET", "/version")), 401)
  call("admin", "POST", "/api/v1/namespaces/default/pods", { metadata = { name = "p" },
    spec = { serviceAccountName = "robot", containers = { { name = "c", image = "x" } } } })
  local _, bound = request { boundObjectRef = { kind = "Pod", apiVersion = "v1", name = "p" } }
  local _, free = request {}
  tokens.bound, tokens.free = bound.status.token, free.status.token
  test.equal((call("bound", "GET", "/version")), 200)
  call("admin", "DELETE", "/api/v1/namespaces/default/pods/p")
  test.equal((call("bound", "GET", "/version")), 401)
  test.equal((call("free", "GET", "/version")), 200)
  call("admin", "DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
  test.equal((call("free", "GET", "/version")), 401)
end)
