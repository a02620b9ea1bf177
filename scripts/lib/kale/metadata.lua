-- The notebook's metadata: what Kale keeps under kubeflow_notebook, of both eras.
-- Not for cells' tags: see kale.cells.
--   local metadata = require "kale.metadata".read(nb, report); print(metadata.base_image)
local json = require "json"

local M = {}

local ACTING = {
  experiment_name = true, experiment = true, pipeline_name = true, pipeline_description = true,
  docker_image = true, base_image = true, katib_run = true, katib_metadata = true, enable_caching = true,
  kfp_host = true, steps_defaults = true,
}
local EMPTY = {
  volumes = true, snapshot_volumes = true, autosnapshot = true, marshal_volume = true, output_path = true,
}

---@param nb table of kale.notebook
---@param report fun(code: string, fields: table)
---@return table metadata the keys that are set
function M.read(nb, report)
  local given = nb.metadata.kubeflow_notebook
  if type(given) ~= "table" then return {} end
  local metadata = {}
  for key, value in pairs(given) do
    if value ~= "" and value ~= json.null then metadata[key] = value end
    local is_empty = value == "" or value == json.null or value == false
      or type(value) == "table" and next(value) == nil
    if not ACTING[key] and not EMPTY[key] and not is_empty then report("metadata-ignored", { key = key }) end
  end
  metadata.base_image = metadata.base_image or metadata.docker_image
  return metadata
end

return M
