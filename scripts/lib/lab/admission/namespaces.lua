-- lab.admission.namespaces: nothing is created in a namespace that is missing or going.
-- Not for emptying namespaces (lab.controllers.namespaces).
--   namespaces.check(ctx, attributes)

local status = require "lab.status"
local store = require "lab.store"

local M = {}

local NAMESPACES = { group = "", plural = "namespaces" }
local KEPT = { default = true, ["kube-system"] = true, ["kube-public"] = true }

function M.check(ctx, a)
  if a.operation == "DELETE" then
    if a.resource.stored == "namespaces" and KEPT[a.name or ""] then
      status.forbidden(NAMESPACES, a.name, "this namespace may not be deleted")
    end
    return
  end
  if a.operation ~= "CREATE" or not a.resource.namespaced then return end
  local record = ctx.cluster.store:collection("namespaces"):get(nil, a.namespace)
  if not record then status.not_found(NAMESPACES, a.namespace) end
  if record.fields["status.phase"] == "Terminating" and store.view(record).metadata.deletionTimestamp then
    status.forbidden(a.resource, a.name, ("unable to create new content in namespace %s because it is being terminated")
      :format(a.namespace), { { reason = "NamespaceTerminating", field = "metadata.namespace",
      message = ("namespace %s is being terminated"):format(a.namespace) } })
  end
end

return M
