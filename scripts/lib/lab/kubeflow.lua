-- lab.kubeflow: a lab with Pipelines and Katib beside its Kubernetes API: a small Kubeflow in one process.
-- Not for a mesh (lab.mesh). Pods reach Pipelines as ml-pipeline.kubeflow.svc.
--   local kubeflow = kubeflow.start { root = "/tmp/lab" }; kubeflow.client; kubeflow.pipelines.url; kubeflow:close()

local hosted = require "lab.network.hosted"
local katib = require "lab.katib.controller"
local kube = require "kube"
local pipelines = require "lab.kfp.serve"
local schedules = require "lab.kfp.schedules"
local serve = require "lab.serve"
local tenants = require "lab.kubeflow.tenants"
local workflows = require "lab.kfp.workflows"

local M = {}

local ISSUER = require("lab.auth").ISSUER
local AUDIENCE = "pipelines.kubeflow.org" -- of tokens, and the group that access reviews name

---@class lab.Kubeflow
---@field lab lab.Running
---@field pipelines lab.Pipelines
---@field client table of kube.connect, as the lab's administrator
---@field tenants table of lab.kubeflow.tenants
---@field endpoint string of Pipelines, as pods know it
local Kubeflow = {}
Kubeflow.__index = Kubeflow

-- Multi-user Pipelines ask the cluster who a token is, and what a user may.
local function ask_cluster(client, state)
  function state.review_token(token)
    local review = client:create { apiVersion = "authentication.k8s.io/v1", kind = "TokenReview",
      spec = { token = token, audiences = { AUDIENCE } } }
    return review.status.authenticated and review.status.user.username or nil
  end
  function state.review_access(user, verb, resource, namespace)
    local review = client:create { apiVersion = "authorization.k8s.io/v1", kind = "SubjectAccessReview",
      spec = { user = user, resourceAttributes = { group = AUDIENCE, version = "v1beta1", verb = verb,
        resource = resource, namespace = namespace } } }
    return review.status.allowed == true
  end
end

-- With a mesh, what Kubeflow says of who reaches whom; without one only the kinds of such objects.
local function install_policies(client, lab)
  if not lab.mesh then return require("lab.mesh.kinds").put(lab.cluster) end
  client:apply({ apiVersion = "v1", kind = "Namespace", metadata = { name = "istio-system" } }, { force = true })
  for _, object in ipairs(require("lab.kubeflow.istio").all { issuer = ISSUER }) do
    client:apply(object, { force = true })
  end
end

-- A workflow that gets no more time ends, whoever says so: as Argo sees to it, and Pipelines hear of it. One that is
-- gone takes its processes with it.
local function end_with_workflow(own)
  return function(_, object, last)
    local metadata = (object or last or {}).metadata or {}
    local run = own.state.runs[(metadata.labels or {})["pipeline/runid"]]
    if not run or not run.task or not own.state.engine then return end
    local gone = not object and run.workflow == metadata.name
    if gone or object and (object.spec or {}).activeDeadlineSeconds == 0 then own.state.engine:stop(run) end
  end
end

-- What an installation for one user has: Pipelines, their account, Katib's experiments and trials in one namespace.
local function single_user(client)
  local where = { name = "pipeline-runner", namespace = "kubeflow" }
  local rbac = "rbac.authorization.k8s.io"
  for _, object in ipairs {
    { apiVersion = "v1", kind = "Namespace", metadata = { name = "kubeflow", labels = {
      ["katib.kubeflow.org/metrics-collector-injection"] = "enabled" } } },
    { apiVersion = "v1", kind = "ServiceAccount", metadata = where },
    { apiVersion = rbac .. "/v1", kind = "Role", metadata = where, rules = {
      { apiGroups = { "" }, resources = { "pods", "pods/exec", "pods/log", "services" }, verbs = { "*" } },
      { apiGroups = { "" }, resources = { "configmaps", "secrets" }, verbs = { "get", "list", "watch" } },
      { apiGroups = { "" }, resources = { "persistentvolumeclaims" }, verbs = { "*" } },
      { apiGroups = { "argoproj.io" }, resources = { "workflows" },
        verbs = { "get", "list", "watch", "update", "patch" } },
      { apiGroups = { "apps" }, resources = { "deployments", "replicasets" }, verbs = { "*" } },
      { apiGroups = { "kubeflow.org" }, resources = { "*" }, verbs = { "*" } },
      { apiGroups = { "batch" }, resources = { "jobs" }, verbs = { "*" } } } },
    { apiVersion = rbac .. "/v1", kind = "RoleBinding", metadata = where,
      roleRef = { apiGroup = rbac, kind = "Role", name = where.name },
      subjects = { { kind = "ServiceAccount", name = where.name, namespace = where.namespace } } },
  } do client:apply(object, { force = true }) end
end

---Adds Pipelines and Katib to a lab that runs.
---@param lab lab.Running
---@param options {root: string, multi_user: boolean?, engine: "local"|"none"|nil, jobs: integer?, images: table?,
---  cwd: string?, database: string?, log: fun(text: string)?} database: file of the metrics that trials report
---@return lab.Kubeflow
function M.attach(lab, options)
  local function connect(manager)
    return kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = manager, log = function() end }
  end
  local client, controller = connect "kfhost", connect "katib-controller"
  local own = pipelines.start { root = options.root, cwd = options.cwd, jobs = options.jobs,
    images = options.images,
    engine = options.engine, multi_user = options.multi_user, log = options.log }
  if options.multi_user then ask_cluster(client, own.state) end
  client:apply({ apiVersion = "v1", kind = "Namespace", metadata = { name = "kubeflow" } }, { force = true })
  if not options.multi_user then single_user(client) end
  install_policies(client, lab)
  hosted.put(lab.cluster, { namespace = "kubeflow", name = "ml-pipeline", labels = { app = "ml-pipeline" },
    account = "ml-pipeline", sidecar = true,
    ports = { { name = "http", port = 8888, local_port = own.port } } })
  lab.cluster.katib = katib.start(controller, { authority = lab.authority, cluster = lab.cluster,
    database = options.database, log = options.log })
  local people = tenants.start(controller, { authority = lab.authority, log = options.log })
  own.state.workflows = workflows.new(client, options.log)
  local scheduler = connect "ml-pipeline-scheduledworkflow"
  own.state.schedules = schedules.start(scheduler, own.state, { log = options.log,
    now = function() return lab.cluster:now() end })
  local ending = controller:informer { kind = "workflows.argoproj.io", namespace = "*",
    handler = end_with_workflow(own) }
  return setmetatable({ lab = lab, tenants = people, endpoint = "http://ml-pipeline.kubeflow.svc.cluster.local:8888",
    pipelines = own, client = client, controller = controller, katib = lab.cluster.katib, ending = ending,
    scheduler = scheduler }, Kubeflow)
end

---A small Kubeflow of its own, with profile namespaces; whoever asks may do everything.
---@param options {root: string, cwd: string?, jobs: integer?, images: table?, plain_pods: boolean?, nodes: integer?,
---  mesh: boolean|lab.MeshConfig|nil, profiles: string[]?, log: fun(text: string)?}
---@return lab.Kubeflow
function M.start(options)
  local self = M.attach(serve.start { plain_pods = options.plain_pods, nodes = options.nodes, mesh = options.mesh },
    options)
  self.owns_lab = true
  for _, name in ipairs(options.profiles or { "team-a" }) do self.tenants:profile(name, "user@example.com") end
  return self
end

function Kubeflow:close()
  self.tenants:stop()
  self.ending:stop()
  self.pipelines.state.schedules:stop()
  self.katib:stop()
  self.pipelines:close()
  self.client:close()
  self.controller:close()
  self.scheduler:close()
  if self.owns_lab then self.lab:close() end
end

return M
