-- Which requests to a workload Istio's policies let through, and which policy, rule and field decides.
--   kfhost who-may-call.lua policies.yaml NAMESPACE LABEL=VALUE …
local fs = require "fs"
local istio = require "istio"
local yaml = require "yaml"

local objects = yaml.decode_all(fs.read(arg[1]))
local workload = { namespace = arg[2], labels = {} }
for i = 3, #arg do
  local label, value = arg[i]:match "^([^=]+)=(.*)$"
  workload.labels[label] = value
end

local callers = {
  { "a pod without a sidecar", {} },
  { "the same, naming a user", {}, { ["kubeflow-userid"] = "alice" } },
  { "a pod of the namespace", { principal = istio.build.principal(arg[2], "default-editor") } },
  { "a pod of another one", { principal = istio.build.principal("other", "default-editor") } },
  { "the gateway, for alice",
    { principal = istio.build.principal("istio-system", "istio-ingressgateway-service-account") },
    { ["kubeflow-userid"] = "alice" } },
}

for _, caller in ipairs(callers) do
  local request = { source = caller[2], headers = caller[3] or {}, method = "GET", path = "/", port = 8080 }
  local ok, why = istio.allowed(objects, workload, request)
  local words = ok == nil and "asks its authorizer" or ok and "may" or "may not"
  print(("%-26s %s: stage %s, policy %s, rule %s%s"):format(caller[1], words, why.stage, why.policy or "none",
    why.rule or "none", why.field and ", because of " .. why.field or ""))
end
