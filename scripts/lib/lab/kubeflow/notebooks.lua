-- lab.kubeflow.notebooks: what the notebook controller makes of a Notebook: a pod that stays, and a service before it.
-- Not for Jupyter: a lab has no such image; the pod runs what its image means here.
--   notebooks.look(client, notebook)

local json = require "json"

local M = {}

M.KIND = "notebooks.v1.kubeflow.org"
local STOPPED = "kubeflow-resource-stopped"
local PORT = 8888

local function owner_of(notebook)
  return { apiVersion = notebook.apiVersion, kind = "Notebook", name = notebook.metadata.name,
    uid = notebook.metadata.uid, controller = true, blockOwnerDeletion = true }
end

local function labels_of(notebook)
  local labels = { statefulset = notebook.metadata.name, ["notebook-name"] = notebook.metadata.name }
  for key, value in pairs(notebook.metadata.labels or {}) do labels[key] = value end
  return labels
end

local function pod_of(notebook)
  local m = notebook.metadata
  local spec = json.decode(json.encode(notebook.spec.template.spec))
  local main = spec.containers[1]
  main.name = main.name or m.name
  main.env = main.env or json.array {}
  table.insert(main.env, { name = "NB_PREFIX", value = ("/notebook/%s/%s"):format(m.namespace, m.name) })
  main.ports = main.ports or { { name = "notebook-port", containerPort = PORT, protocol = "TCP" } }
  main.workingDir = main.workingDir or "/home/jovyan"
  return { apiVersion = "v1", kind = "Pod", metadata = { name = m.name .. "-0", namespace = m.namespace,
    labels = labels_of(notebook), ownerReferences = { owner_of(notebook) } }, spec = spec }
end

local function service_of(notebook)
  local m = notebook.metadata
  return { apiVersion = "v1", kind = "Service", metadata = { name = m.name, namespace = m.namespace,
    ownerReferences = { owner_of(notebook) } }, spec = { type = "ClusterIP", selector = { statefulset = m.name },
    ports = { { name = "http-" .. m.name, port = 80, targetPort = PORT, protocol = "TCP" } } } }
end

local function status_of(pod)
  if not pod then return { readyReplicas = 0, conditions = json.array {}, containerState = json.object {} } end
  local statuses, ready = pod.status and pod.status.containerStatuses or {}, false
  for _, one in ipairs(pod.status and pod.status.conditions or {}) do
    if one.type == "Ready" then ready = one.status == "True" end
  end
  return { readyReplicas = ready and 1 or 0, conditions = pod.status and pod.status.conditions or json.array {},
    containerState = statuses[1] and statuses[1].state or json.object {} }
end

---Brings one notebook in order.
---@param client table of kube.connect
---@param notebook table
function M.look(client, notebook)
  local m = notebook.metadata
  if m.deletionTimestamp then return end
  local where = { namespace = m.namespace }
  local pod = client.try:get("pods", m.name .. "-0", where)
  local stopped = (m.annotations or {})[STOPPED] ~= nil
  if stopped and pod and not pod.metadata.deletionTimestamp then
    client.try:delete("pods", m.name .. "-0", where)
  elseif not stopped and not pod then
    local problem
    pod, problem = client.try:create(pod_of(notebook))
    if problem and problem.code ~= "AlreadyExists" then error(problem, 0) end
  end
  if not client.try:get("services", m.name, where) then client.try:create(service_of(notebook)) end
  local now = status_of(not stopped and pod or nil)
  if json.encode(now, { sort = true }) ~= json.encode(notebook.status or {}, { sort = true }) then
    client:patch(M.KIND, m.name, { status = now }, { namespace = m.namespace, subresource = "status", type = "merge" })
  end
end

return M
