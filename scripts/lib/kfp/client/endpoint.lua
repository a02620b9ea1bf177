-- Where the KFP server is: an argument, the environment, the cluster around us, a kubeconfig, the SDK's context.
-- Not for talking to it.
local fs = require "fs"
local json = require "json"

local M = {}

local NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

local function normalized(endpoint)
  local whole = tostring(endpoint):find "://" and tostring(endpoint) or "https://" .. tostring(endpoint)
  if not whole:find "^https?://[^/]" then
    require "errors".raise { code = "InvalidArgument", message = ("'%s' is no address of Pipelines, as "
      .. "https://kubeflow.example.com/pipeline is"):format(tostring(endpoint)) }
  end
  return (whole:gsub("/+$", ""))
end

---The context file of the KFP SDK.
---@param environment fun(name: string): string?
---@return table
function M.context(environment)
  local home = environment "HOME"
  local text = home and fs.try.read(home .. "/.config/kfp/context.json")
  local context = text and json.try.decode(text)
  return type(context) == "table" and context or {}
end

---Where a path of a pod is: plain pods of the lab have theirs below $KFHOST_ROOT.
---@param path string
---@param environment fun(name: string): string?
---@return string
function M.in_pod(path, environment)
  return (environment "KFHOST_ROOT" or "") .. path
end

---The namespace of the pod that this runs in.
---@param environment fun(name: string): string?
---@return string?
function M.pod_namespace(environment)
  local text = fs.try.read(M.in_pod(NAMESPACE_FILE, environment))
  return text and text:match "^%s*(.-)%s*$"
end

---Where the server is.
---@param options {endpoint: string?, system_namespace: string?}
---@param environment fun(name: string): string?
---@return string? endpoint nil: ask by the API server of a kubeconfig
---@return "argument"|"environment"|"cluster"|"kubeconfig" how
function M.find(options, environment)
  local given = options.endpoint
  if given then return normalized(given), "argument" end
  local from_environment = environment "KF_PIPELINES_ENDPOINT"
  if from_environment and from_environment ~= "" then return normalized(from_environment), "environment" end
  local system = options.system_namespace or "kubeflow"
  if environment "KUBERNETES_SERVICE_HOST" and fs.exists(M.in_pod(NAMESPACE_FILE, environment)) then
    return ("http://ml-pipeline.%s.svc.cluster.local:8888"):format(system), "cluster"
  end
  return nil, "kubeconfig"
end

---A transport through the API server's proxy.
---@param options {kubeconfig: string?, context: string?, system_namespace: string?}
---@return function transport, string endpoint
function M.through_kubernetes(options)
  -- What goes through is no write to the cluster's objects: it is not told as one.
  local client = require "kube".connect { kubeconfig = options.kubeconfig, context = options.context,
    log = function() end }
  local system = options.system_namespace or "kubeflow"
  local prefix = ("/api/v1/namespaces/%s/services/ml-pipeline:http/proxy"):format(system)
  local base = "http://kubernetes" .. prefix
  return function(request)
    local path, query = request.url:sub(#"http://kubernetes" + 1):match "^([^?]*)%??(.*)$"
    local target = query ~= "" and path .. "?" .. query or path
    return client:request(request.method, target, { headers = request.headers, body = request.body })
  end, base
end

return M
