-- The notebook's metadata: what Kale keeps under kubeflow_notebook, of both eras.
-- Not for cells' tags: see kale.cells.
--   local metadata = require "kale.metadata".read(nb, report); print(metadata.base_image)
local json = require "json"
local names = require "kale.names"
local quantity = require "kale.quantity"
local tags = require "kale.tags"
local sorted_keys = require "kfhost.keys".sorted

local M = {}

-- --- kinds of values --------------------------------------------------------------------------------------

local function is_list(value) return type(value) == "table" and (json.is_array(value) or next(value) == nil) end

-- Each gives the value to keep, or nil and what was wanted.
local function text(value)
  if type(value) == "string" then return value end
  return nil, "a text"
end

local function flag(value)
  if type(value) == "boolean" then return value end
  if value == "true" or value == "True" then return true end
  if value == "false" or value == "False" then return false end
  return nil, "true or false"
end

local function seconds(value)
  local number = math.tointeger(type(value) == "string" and tags.seconds_of(value) or value)
  if number and number > 0 then return number end
  return nil, "a number of seconds"
end

local function object(value)
  if type(value) == "table" and not (is_list(value) and next(value)) then return value end
  return nil, "an object"
end

local function list(value)
  if is_list(value) then return value end
  return nil, "a list"
end

local MODES = { rom = "ReadOnlyMany", rwo = "ReadWriteOnce", rwm = "ReadWriteMany" }

local function access_mode(value)
  for short, long in pairs(MODES) do
    if value == short or value == long then return long end
  end
  return nil, "rom, rwo or rwm"
end

-- --- the keys -----------------------------------------------------------------------------------------------

-- key -> kind, and for keys that change nothing here: the value that asks for nothing, and why.
local KEYS = {
  experiment_name = { text }, experiment = { object }, pipeline_name = { text }, pipeline_description = { text },
  docker_image = { text }, base_image = { text }, volumes = { list }, katib_run = { flag }, katib_metadata = { object },
  abs_working_dir = { text }, steps_defaults = { list }, storage_class_name = { text },
  volume_access_mode = { access_mode }, timeout = { seconds }, kfp_host = { text }, enable_caching = { flag },
  security_context = { object },
  marshal_volume = { flag, nothing = { [true] = true, [false] = true } },
  marshal_path = { text, nothing = {}, why = "values cross as artifacts, through no volume" },
  autosnapshot = { flag, nothing = { [false] = true }, why = "Rok's snapshots are gone" },
  snapshot_volumes = { flag, nothing = { [false] = true }, why = "Rok's snapshots are gone" },
  output_path = { text, nothing = { [".kale"] = true }, why = "kale compile -o says where to write" },
}

-- --- volumes -------------------------------------------------------------------------------------------------

local VOLUME_TYPES = { pv = "create", new_pvc = "create", clone = "create", pvc = "use" }

local function volume_size(volume)
  local size = volume.size
  if size == nil or size == "" then return nil end
  size = math.type(size) and ("%g"):format(size) or tostring(size)
  local unit = type(volume.size_type) == "string" and volume.size_type or ""
  return quantity.read(size) and not size:find "%a$" and size .. unit or size
end

local function pairs_of(annotations)
  local result = {}
  for _, entry in ipairs(is_list(annotations) and annotations or {}) do
    if type(entry) == "table" and type(entry.key) == "string" and entry.key ~= "" then
      result[entry.key] = tostring(entry.value or "")
    end
  end
  return result
end

-- The annotation that says which snapshot a new claim is filled from.
local function snapshot_key(annotations)
  for _, key in ipairs(sorted_keys(annotations)) do
    if key:find "^rok[./]" or key:find "^rok%-" or key:find "rok%.arrikto%.com/" then return key end
  end
end

local function storage_class_of(volume, metadata)
  local own = volume.storage_class_name
  return type(own) == "string" and own ~= "" and own or metadata.storage_class_name
end

local function environment_name(name) return "KALE_VOLUME_" .. name:upper():gsub("[^A-Z0-9]", "_") end

local VOLUME_KEYS = {}
for key in ([[name mount_point type size size_type annotations snapshot snapshot_name storage_class_name
  volume_access_mode expose_as_env_var]]):gmatch "%S+" do VOLUME_KEYS[key] = true end

local function read_volume(volume, metadata, report)
  local function wrong(wanted)
    report("volume-wrong", { name = type(volume) == "table" and tostring(volume.name) or "?", wanted = wanted })
  end
  if type(volume) ~= "table" then return wrong "an object with name, type and mount_point" end
  local name, path = volume.name, volume.mount_point
  if type(name) ~= "string" or #name > 253 or not name:find "^[a-z0-9]" or name:find "[^a-z0-9.-]" then
    return wrong "a 'name' of letters a-z, digits, '-' and '.'"
  end
  if not tags.is_mount_path(path) then return wrong "a 'mount_point' as Kubernetes takes it: /PATH without ':'" end
  local kind = VOLUME_TYPES[volume.type]
  if not kind then return wrong "a 'type' of pvc, new_pvc, clone or pv" end
  if volume.snapshot == true then report("metadata-ignored", { key = "volumes." .. name .. ".snapshot",
    why = "Rok's snapshots are gone" }) end
  for _, key in ipairs(sorted_keys(volume)) do
    if not VOLUME_KEYS[key] then report("metadata-unknown", { key = ("volumes.%s.%s"):format(name, key) }) end
  end
  local mode = volume.volume_access_mode
  if mode == nil or mode == "" or mode == json.null then mode = metadata.volume_access_mode or "rwm" end
  local known_mode = access_mode(mode)
  if not known_mode then return wrong "a 'volume_access_mode' of rom, rwo or rwm" end
  local size = volume_size(volume)
  if size and not quantity.read(size) then return wrong "a 'size' as Kubernetes writes it, for instance 5Gi" end
  if kind == "create" and volume.type ~= "pv" and not size then return wrong "a 'size'" end
  local annotations = pairs_of(volume.annotations)
  local snapshot = volume.type == "new_pvc" and snapshot_key(annotations)
  if snapshot then report("volume-rok", { name = name, key = snapshot }) end
  if volume.type == "clone" then report("volume-clone", { name = name }) end
  return {
    name = name, path = path, kind = kind, size = size, access_mode = known_mode,
    storage_class = storage_class_of(volume, metadata),
    volume = volume.type == "pv" and name or nil, clone_of = volume.type == "clone" and name or nil,
    annotations = annotations,
    env = flag(volume.expose_as_env_var) and environment_name(name) or nil,
  }
end

-- Outer folders are mounted before those in them.
local function by_path(a, b)
  if #a.path ~= #b.path then return #a.path < #b.path end
  return a.path < b.path
end

local function read_volumes(metadata, report)
  local volumes, paths, variables = {}, {}, {}
  for _, entry in ipairs(metadata.volumes or {}) do
    local volume = read_volume(entry, metadata, report)
    if volume and paths[volume.path] then
      report("volume-wrong", { name = volume.name, wanted = "a 'mount_point' of its own" })
    elseif volume and volume.env and variables[volume.env] then
      local wanted = "a name that gives a variable of its own, not " .. volume.env
      report("volume-wrong", { name = volume.name, wanted = wanted })
    elseif volume then
      paths[volume.path], variables[volume.env or ""] = true, volume.env and true
      volumes[#volumes + 1] = volume
    end
  end
  table.sort(volumes, by_path)
  return volumes
end

-- --- the rest ----------------------------------------------------------------------------------------------

local function read_defaults(metadata, report)
  local result = {}
  for _, entry in ipairs(metadata.steps_defaults or {}) do
    local tag, code, fields = tags.read(entry)
    if tag and tags.OPTION[tag.kind] then
      result[#result + 1] = tag
    else
      report(code or "default-wrong", fields or { tag = tostring(entry) })
    end
  end
  return result
end

local function read_security(given, report)
  if not given or given.enabled ~= true then return nil end
  local context = { runAsUser = 65534, runAsGroup = 0, runAsNonRoot = true }
  local fields = { run_as_user = "runAsUser", run_as_group = "runAsGroup", run_as_non_root = "runAsNonRoot" }
  for key, value in pairs(given) do
    local field = fields[key]
    local kept
    if field == "runAsNonRoot" then kept = flag(value) elseif field then kept = math.tointeger(tonumber(value)) end
    if field and kept ~= nil then context[field] = kept
    elseif field then report("metadata-value", { key = "security_context." .. key, wanted = "a number" })
    elseif key ~= "enabled" then report("metadata-unknown", { key = "security_context." .. key }) end
  end
  return context
end

---@param nb table of kale.notebook
---@param report fun(code: string, fields: table)
---@return table metadata the keys that are set; besides: step_defaults (tags), mounts (volumes), security
function M.read(nb, report)
  local metadata = { step_defaults = {}, mounts = {} }
  local given = nb.metadata.kubeflow_notebook
  if given == nil or given == json.null then return metadata end
  if not object(given) then
    report("metadata-value", { key = "kubeflow_notebook", wanted = "an object" })
    return metadata
  end
  for _, key in ipairs(sorted_keys(given)) do
    local value, entry = given[key], KEYS[key]
    if value ~= "" and value ~= json.null then
      if not entry then
        report("metadata-unknown", { key = key })
      else
        local kept, wanted = entry[1](value)
        if kept == nil then report("metadata-value", { key = key, wanted = wanted })
        else metadata[key] = kept end
        if kept ~= nil and entry.nothing and not entry.nothing[kept] then
          report("metadata-ignored", { key = key, why = entry.why })
        end
      end
    end
  end
  local name = metadata.pipeline_name
  if name and not (name:find "^[a-z0-9][-a-z0-9]*$" and name:sub(-1) ~= "-" and #name <= 124) then
    report("pipeline-name", { name = name, legal = names.legal(name, "pipeline", 124) })
  end
  metadata.base_image = metadata.base_image or metadata.docker_image
  metadata.step_defaults = read_defaults(metadata, report)
  metadata.mounts = read_volumes(metadata, report)
  metadata.security = read_security(metadata.security_context, report)
  return metadata
end

return M
