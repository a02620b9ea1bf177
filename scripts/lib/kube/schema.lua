-- What Kubernetes' own types say of its built-in kinds: fields, types, how lists and maps are kept.
-- Not for custom resources (their schema comes from the server), and not for what fields mean.
--   local schema = require "kube.schema"; print(schema.type(schema.kind "v1/Pod").fields.spec.name)
local core = require "kube.core".schema

local M = { kind = core.kind, kinds = core.kinds }

local types = {}

---@class kube.schema.Field
---@field type string # string boolean int32 int64 float quantity time micro_time duration int_or_string bytes any
---   list map struct
---@field of kube.schema.Field? # of a list or a map
---@field name string? # of a struct
---@field required true?
---@field written true? # Go writes it even when there is nothing in it
---@field left_out true? # Go leaves it out when it is zero, false or an empty text
---@field list "map"|"set"|"atomic"|nil # how a list is owned and merged
---@field keys string[]? # the keys of a list of maps
---@field atomic true? # owned and merged as one value
---@field patch_strategy string?
---@field merge_key string?
---@field default string? # as JSON

---@class kube.schema.Type
---@field name string
---@field atomic true?
---@field fields table<string, kube.schema.Field>
---@field order string[] # names of the fields as they are declared

---A type by its name ("core.v1.Pod"); the table is shared, so it is only for reading.
---@param name string
---@return kube.schema.Type? # nil when there is none
function M.type(name)
  local found = types[name]
  if not found then
    found = core.type(name)
    types[name] = found
  end
  return found
end

return M
