-- lab.kfp.state: what the lab's KFP server knows: experiments, pipelines, versions, runs, recurring runs.
-- Not for how it looks on the wire.
--   local state = states.new {}; state.experiments[id]

local hash = require "hash"

local M = {}

M.EPOCH = "1970-01-01T00:00:00Z"

---@return string now in seconds, RFC 3339
function M.now()
  return os.date "!%Y-%m-%dT%H:%M:%SZ" --[[@as string]]
end

---@return string uuid random
function M.uuid()
  local hex = hash.random_hex(16)
  local variant = ("89ab"):sub((tonumber(hex:sub(17, 17), 16) % 4) + 1, (tonumber(hex:sub(17, 17), 16) % 4) + 1)
  return ("%s-%s-4%s-%s%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), variant, hex:sub(18, 20),
    hex:sub(21, 32))
end

---The rows of a table, in no order.
---@param map table<string, table>
---@param fits (fun(row: table): boolean)?
---@return table[]
function M.rows(map, fits)
  local rows = {}
  for _, row in pairs(map) do
    if not fits or fits(row) then rows[#rows + 1] = row end
  end
  return rows
end

---@param options {multi_user: boolean?, namespace: string?, engine: table?}
---@return table state
function M.new(options)
  local state = { experiments = {}, pipelines = {}, versions = {}, runs = {}, recurring = {},
    multi_user = options.multi_user or false, namespace = options.namespace or "kubeflow", engine = options.engine }
  if not state.multi_user then
    local id = M.uuid()
    state.default_experiment = id
    state.experiments[id] = { experiment_id = id, display_name = "Default", namespace = "",
      description = "All runs created without specifying an experiment will be grouped here.",
      created_at = M.now(), storage_state = "AVAILABLE", last_run_created_at = M.EPOCH }
  end
  return state
end

return M
