-- Tasks that need no process: importers, and volumes that are made and removed.
-- Not for steps: see kfp.executor.
--   local results = builtin.importer(t, place, context)
local errors = require "errors"
local executor = require "kfp.executor"
local json = require "json"
local placeholders = require "kfp.placeholders"

local M = {}

-- All texts of a structure with their placeholders replaced.
local function fill_all(value, input, names)
  if type(value) == "string" then return placeholders.fill(value, input, names) end
  if type(value) ~= "table" then return value end
  local filled = json.is_array(value) and json.array {} or json.object {}
  for key, inner in pairs(value) do filled[key] = fill_all(inner, input, names) end
  return filled
end

---An artifact that is somewhere already.
---@param t table a task of kfp.check
---@param place table directory, parameters, artifacts
---@param context table
---@return {parameters: table, artifacts: table, metrics: table} # raises "Pipeline"
function M.importer(t, place, context)
  local importer, input = t.importer, executor.input(t, place)
  local from = importer.artifactUri or {}
  local uri = from.constant or (from.runtimeParameter and place.parameters[from.runtimeParameter])
    or place.parameters.uri
  if type(uri) ~= "string" or uri == "" then
    errors.raise { code = "Pipeline", message = "the importer has no address of an artifact" }
  end
  local artifact = {
    name = "artifact", uri = placeholders.fill(uri, input, context.names), type = importer.typeSchema,
    metadata = fill_all(importer.metadata or json.object {}, input, context.names),
  }
  local results = { parameters = {}, artifacts = {}, metrics = {} }
  for name in pairs((t.component.outputDefinitions or {}).artifacts or {}) do results.artifacts[name] = { artifact } end
  return results
end

---A claim: here a folder of the run that bears its name.
---@param t table
---@param place table
---@param context table
---@return {parameters: table, artifacts: table, metrics: table}
function M.volume(t, place, context)
  local given = place.parameters
  local name = given.pvc_name
  if not name or name == "" then name = context.id .. (given.pvc_name_suffix or "") end
  local source = type(given.data_source) == "table" and given.data_source or {}
  local clone_of = source.kind == "PersistentVolumeClaim" and source.name or nil
  if t.volume == "create" then context.claims:make(name, given.volume_name, clone_of)
  else context.claims:remove(name) end
  return { parameters = t.volume == "create" and { name = name } or {}, artifacts = {}, metrics = {} }
end

return M
