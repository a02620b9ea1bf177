-- lab.rules: what is particular to each built-in kind: defaults, checks, fields that selectors may ask for.
-- Not for custom resources (lab.crd) and not for what all objects share (lab.meta, lab.writes).
--   cluster.rules["pods"].default(pod, ctx)
--
-- A kind's rules are a table with any of: default(object, ctx), prepare_create(object, ctx),
-- prepare_update(object, old, ctx, subresource), validate(object, causes, ctx, old),
-- validate_update(object, old, causes, ctx, subresource), warn(object, warnings), fields(object),
-- allocate(object, ctx), after(ctx, object, old), on_delete(object, ctx).

local M = {}

local FILES = { "core", "pods", "workloads", "services", "storage", "access", "events", "webhooks", "policies",
                "definitions" }

---Gives a cluster the rules of all kinds.
---@param cluster lab.Cluster
function M.attach(cluster)
  local rules = {}
  for _, name in ipairs(FILES) do
    for stored, entry in pairs(require("lab.rules." .. name)) do
      if entry.field_list then
        entry.field_names = {}
        for _, field in ipairs(entry.field_list) do entry.field_names[field] = true end
      end
      rules[stored] = entry
    end
  end
  cluster.rules = rules
end

return M
