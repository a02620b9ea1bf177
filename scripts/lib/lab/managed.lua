-- lab.managed: who owns which fields (managedFields), for updates and for server-side apply.
-- Not for merging by itself: that is kube.apply.
--   managed.created(ctx, resource, object)

local M = {}

function M.created() end
function M.after_admission() end
function M.updated() end

return M
