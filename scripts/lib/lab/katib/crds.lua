-- lab.katib.crds: the resource definitions of Katib. They carry no schema, as the real ones.
-- Not for judging experiments (katib.validate).
--   for _, crd in ipairs(crds.all()) do client:apply(crd, { force = true }) end

local M = {}

local function crd(kind, plural)
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = plural .. ".kubeflow.org" },
    spec = { group = "kubeflow.org", scope = "Namespaced",
      names = { kind = kind, plural = plural, singular = kind:lower(), listKind = kind .. "List",
        categories = { "all", "kubeflow", "katib" } },
      versions = { { name = "v1beta1", served = true, storage = true,
        schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } },
        subresources = { status = require "json".object {} },
        additionalPrinterColumns = {
          { name = "Type", type = "string", jsonPath = '.status.conditions[-1:].type' },
          { name = "Status", type = "string", jsonPath = '.status.conditions[-1:].status' },
          { name = "Age", type = "date", jsonPath = ".metadata.creationTimestamp" },
        } } } } }
end

---@return table[] definitions
function M.all()
  return { crd("Experiment", "experiments"), crd("Trial", "trials"), crd("Suggestion", "suggestions") }
end

return M
