-- lab.bootstrap: what a new cluster holds: namespaces, roles, priorities, the service of the API.
-- Not for nodes and classes, which profiles bring.
--   bootstrap.run(cluster)

local ids = require "lab.ids"
local json = require "json"
local managed = require "lab.managed"

local M = {}

local RBAC = "rbac.authorization.k8s.io"

local function rule(groups, resources, verbs)
  local function list(text)
    local words = json.array {}
    for word in text:gmatch "%S+" do words[#words + 1] = word == "core" and "" or word end
    return words
  end
  return { apiGroups = list(groups), resources = list(resources), verbs = list(verbs) }
end

local function paths(list, verbs)
  return { nonResourceURLs = json.array(list), verbs = json.array(verbs or { "get" }) }
end

local ALL = "create delete deletecollection patch update"
local READ = "get list watch"

local CORE = "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
  .. "replicationcontrollers/scale serviceaccounts services services/status"
local CORE_READ = "bindings events limitranges namespaces namespaces/status pods/log pods/status "
  .. "replicationcontrollers/status resourcequotas resourcequotas/status"
local APPS = "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
  .. "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"
local APPS_WRITE = "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets "
  .. "statefulsets/scale"
local BATCH = "cronjobs cronjobs/status jobs jobs/status"

local function view_rules()
  return {
    rule("core", CORE .. " " .. CORE_READ, READ), rule("apps", APPS, READ), rule("batch", BATCH, READ),
    rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
    rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ),
    rule("discovery.k8s.io", "endpointslices", READ), rule("events.k8s.io", "events", READ),
  }
end

local function edit_rules()
  return {
    rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", READ),
    rule("core", "serviceaccounts", "impersonate"),
    rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", ALL),
    rule("core", "pods/eviction", "create"),
    rule("core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
      .. "serviceaccounts services services/proxy events", ALL),
    rule("core", "serviceaccounts/token", "create"), rule("apps", APPS_WRITE, ALL), rule("batch", "cronjobs jobs", ALL),
    rule("policy", "poddisruptionbudgets", ALL), rule("networking.k8s.io", "ingresses networkpolicies", ALL),
    rule("coordination.k8s.io", "leases", "create delete deletecollection get list patch update watch"),
  }
end

local function admin_rules()
  return { rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
           rule(RBAC, "rolebindings roles", "create delete deletecollection get list patch update watch") }
end

local function aggregated(label)
  return { clusterRoleSelectors = json.array { { matchLabels = {
    ["rbac.authorization.k8s.io/aggregate-to-" .. label] = "true" } } } }
end

local DISCOVERY = { "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
                    "/version", "/version/" }

local function cluster_roles()
  return {
    { "cluster-admin", { rule("*", "*", "*"), paths({ "*" }, { "*" }) } },
    { "system:discovery", { paths(DISCOVERY) } },
    { "system:public-info-viewer", { paths { "/healthz", "/livez", "/readyz", "/version", "/version/" } } },
    { "system:basic-user", {
      rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
      rule("authentication.k8s.io", "selfsubjectreviews", "create") } },
    { "system:service-account-issuer-discovery", { paths { "/.well-known/openid-configuration",
      "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/" } } },
    { "system:aggregate-to-view", view_rules(), aggregate = "view" },
    { "system:aggregate-to-edit", edit_rules(), aggregate = "edit" },
    { "system:aggregate-to-admin", admin_rules(), aggregate = "admin" },
    { "system:cluster-trust-bundle-discovery",
      { rule("certificates.k8s.io", "clustertrustbundles", "get list watch") } },
    { "view", {}, from = "view", aggregate = "edit" },
    { "edit", {}, from = "edit", aggregate = "admin" },
    { "admin", {}, from = "admin" },
  }
end

local BINDINGS = {
  { "cluster-admin", "Group", "system:masters" }, { "system:discovery", "Group", "system:authenticated" },
  { "system:basic-user", "Group", "system:authenticated" },
  { "system:public-info-viewer", "Group", "system:authenticated", "system:unauthenticated" },
  { "system:service-account-issuer-discovery", "Group", "system:serviceaccounts" },
  { "system:cluster-trust-bundle-discovery", "Group", "system:serviceaccounts" },
}

-- --- writing --------------------------------------------------------------------------------------

-- Who has made what a cluster begins with.
local MANAGERS = { namespaces = "kube-apiserver", services = "kube-apiserver", configmaps = "kube-controller-manager" }

local function own(cluster, resource, object)
  local manager = MANAGERS[resource.stored]
  if not manager then return end
  -- The finalizer of a namespace is nobody's.
  local spec = resource.stored == "services" and object.spec or nil
  local owned = { metadata = object.metadata, data = object.data, spec = spec }
  managed.created({ cluster = cluster, manager = manager }, resource, owned)
end

local function put(cluster, group, version, plural, object)
  local resource = cluster.registry:find(group, version, plural)
  local m = object.metadata
  own(cluster, resource, object)
  m.uid, m.creationTimestamp = ids.uid(), cluster:time()
  if resource.generation then m.generation = 1 end
  local rules = cluster.rules[resource.stored]
  local fields = rules and rules.fields and rules.fields(object)
  return cluster.store:write(cluster:collection(resource), nil, object, fields)
end

local BOOTSTRAP = { ["kubernetes.io/bootstrapping"] = "rbac-defaults" }

local function put_roles(cluster)
  for _, row in ipairs(cluster_roles()) do
    local labels = { ["kubernetes.io/bootstrapping"] = "rbac-defaults" }
    if row.aggregate then labels["rbac.authorization.k8s.io/aggregate-to-" .. row.aggregate] = "true" end
    local role = { metadata = { name = row[1], labels = labels }, rules = json.array(row[2]) }
    if row.from then
      role.aggregationRule = aggregated(row.from)
      role.rules = json.array(cluster.rbac:aggregate(role))
    end
    put(cluster, RBAC, "v1", "clusterroles", role)
  end
  for _, row in ipairs(BINDINGS) do
    local subjects = json.array {}
    for i = 3, #row do subjects[#subjects + 1] = { kind = row[2], apiGroup = RBAC, name = row[i] } end
    put(cluster, RBAC, "v1", "clusterrolebindings", {
      metadata = { name = row[1], labels = BOOTSTRAP }, subjects = subjects,
      roleRef = { apiGroup = RBAC, kind = "ClusterRole", name = row[1] },
    })
  end
end

local function put_namespaces(cluster)
  for _, name in ipairs { "default", "kube-system", "kube-public", "kube-node-lease" } do
    put(cluster, "", "v1", "namespaces", {
      metadata = { name = name, labels = { ["kubernetes.io/metadata.name"] = name } },
      spec = { finalizers = json.array { "kubernetes" } }, status = { phase = "Active" },
    })
  end
end

---Fills a new cluster.
---@param cluster lab.Cluster
function M.run(cluster)
  put_namespaces(cluster)
  put_roles(cluster)
  for name, value in pairs { ["system-cluster-critical"] = 2000000000, ["system-node-critical"] = 2000001000 } do
    put(cluster, "scheduling.k8s.io", "v1", "priorityclasses",
      { metadata = { name = name }, value = value, preemptionPolicy = "PreemptLowerPriority" })
  end
  put(cluster, "", "v1", "services", {
    metadata = { name = "kubernetes", namespace = "default",
                 labels = { component = "apiserver", provider = "kubernetes" } },
    spec = { ports = json.array { { name = "https", protocol = "TCP", port = 443, targetPort = 6443 } },
             clusterIP = "10.96.0.1", clusterIPs = json.array { "10.96.0.1" }, type = "ClusterIP",
             sessionAffinity = "None", ipFamilies = json.array { "IPv4" }, ipFamilyPolicy = "SingleStack",
             internalTrafficPolicy = "Cluster" },
    status = { loadBalancer = json.object {} },
  })
end

M.put = put

return M
