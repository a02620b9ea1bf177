-- kfp.mounts: what a step finds mounted, by its part of the platform document: claims, secrets, empty folders.
-- Where the kernel lets a process have mounts of its own, the step sees them at their paths. Not for making them:
-- that is kfp.mounted, in the step's process.
--   local mounts, notes = mounts.of(t, place, scope, context)
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"

local M = {}

---@class kfp.Mount
---@field target string
---@field source string? folder
---@field files table<string, string>? instead of source
---@field read_only boolean?
---@field claim kfp.Claim?

-- --- what is wanted ----------------------------------------------------------------------------------------

---What a value of the platform document stands for: a constant, an input of the task, or an output of another.
---@param from table
---@param place table
---@param scope table
---@return any
function M.resolve(from, place, scope)
  if from.componentInputParameter then return place.parameters[from.componentInputParameter] end
  local source = from.taskOutputParameter
  if not source then return (from.runtimeValue or {}).constant end
  local results = scope.results[source.producerTask]
  return results and results.parameters[source.outputParameterKey]
end

---The name of a claim, secret or config map, given in one of the ways of the platform document.
---@param entry table
---@param parameter string name of the field that says it
---@param old string name of the field that said it once
---@param place table
---@param scope table
---@return any
function M.name_of(entry, parameter, old, place, scope)
  local value = M.resolve(entry[parameter] or entry, place, scope)
  if value == nil then return entry[old] end
  return value
end

---@param entry table of secretAsEnv or secretAsVolume
---@param place table
---@param scope table
---@return string?
function M.secret_name(entry, place, scope)
  return M.name_of(entry, "secretNameParameter", "secretName", place, scope)
end

local function clean(path)
  local parts = {}
  for part in tostring(path):gmatch "[^/]+" do
    if part ~= "." and part ~= ".." then parts[#parts + 1] = part end
  end
  return "/" .. table.concat(parts, "/")
end

local function add_claims(list, t, place, scope, context)
  for _, entry in ipairs(t.platform.pvcMount or {}) do
    local name = M.name_of(entry, "pvcNameParameter", "constant", place, scope)
    if type(name) == "string" and entry.mountPath then
      local claim = context.claims:find(name)
      local source = claim.folder
      if entry.subPath and entry.subPath ~= "" then source = source .. clean(entry.subPath) end
      list[#list + 1] = { target = clean(entry.mountPath), source = source, claim = claim }
    end
  end
end

local function add_secrets(list, notes, t, place, scope, context)
  for _, entry in ipairs(t.platform.secretAsVolume or {}) do
    local name = M.secret_name(entry, place, scope)
    local files = context.secrets[name]
    if files then
      list[#list + 1] = { target = clean(entry.mountPath), files = files, read_only = true }
    elseif not entry.optional then
      notes[#notes + 1] = ("secret '%s' is mounted at %s on a cluster; nothing stands for it here"):format(
        tostring(name), entry.mountPath)
    end
  end
end

local function add_empty(list, t, place)
  for _, group in ipairs { "emptyDirMounts", "genericEphemeralVolume" } do
    for i, entry in ipairs(t.platform[group] or {}) do
      if entry.mountPath then
        local source = fs.join(place.directory, (".%s-%d"):format(group, i))
        list[#list + 1] = { target = clean(entry.mountPath), source = source }
      end
    end
  end
end

local NOT_HERE = {
  configMapAsVolume = "config maps", configMapAsEnv = "variables of config maps", fieldPathAsEnv = "fields of the pod",
}

---@param t table a task of kfp.check
---@param place table
---@param scope kfp.Scope
---@param context table claims of kfp.claims, secrets of kfp.secrets
---@param without_volumes boolean? claims and secrets are mounted elsewhere
---@return kfp.Mount[]
---@return string[] notes what cannot be had here
function M.of(t, place, scope, context, without_volumes)
  local list, notes = {}, {}
  if not without_volumes then
    add_claims(list, t, place, scope, context)
    add_secrets(list, notes, t, place, scope, context)
  end
  add_empty(list, t, place)
  for group, what in pairs(NOT_HERE) do
    if next(t.platform[group] or {}) then notes[#notes + 1] = what .. " are there on a cluster only" end
  end
  table.sort(notes)
  table.sort(list, function(a, b)
    if #a.target ~= #b.target then return #a.target < #b.target end
    return a.target < b.target
  end)
  return list, notes
end

-- --- whether, and how ----------------------------------------------------------------------------------------

local known

---Whether this machine lets a process have mounts of its own.
---@return boolean
---@return string? why not
function M.are_possible()
  if known then return known.possible, known.why end
  local folder = fs.tmpdir "mount"
  local code = ("require('kfp.mounted').probe(%q)"):format(folder)
  local result = proc.run { host.executable(), "-e", code, stdin = "null" }
  fs.try.remove(folder, { recursive = true })
  local why = result.code ~= 0 and (result.stderr:match "[^\n]+" or "the kernel refuses") or nil
  known = { possible = result.code == 0, why = why }
  return known.possible, known.why
end

---Takes the step's words to ones that begin it within its mounts. Where there can be none, variables that are the
---path of a mount get the folder's instead.
---@param words string[]
---@param env table<string, string> changed
---@param list kfp.Mount[]
---@param place {directory: string, cwd: string}
---@return string[] words
---@return string[] notes
function M.start(words, env, list, place)
  if #list == 0 then return words, {} end
  for _, mount in ipairs(list) do
    if mount.source then fs.mkdir(mount.source, { parents = true }) end
  end
  local possible, why = M.are_possible()
  if possible then
    local path = fs.join(place.directory, ".mounts.json")
    local mounts = json.array {}
    for i, mount in ipairs(list) do
      mounts[i] = { target = mount.target, source = mount.source, files = mount.files and json.object(mount.files),
        read_only = mount.read_only }
    end
    fs.write(path, json.encode { mounts = mounts, directory = place.cwd, scratch = fs.join(place.directory, ".root"),
      argv = json.array(words) }, { mode = 384 })
    return { host.executable(), "-e", ("require('kfp.mounted').run(%q)"):format(path) }, {}
  end
  local notes = {}
  for _, mount in ipairs(list) do
    if mount.source then
      notes[#notes + 1] = ("%s cannot be mounted here (%s); it is the folder %s"):format(mount.target, why,
        mount.source)
    else
      notes[#notes + 1] = ("%s cannot be mounted here (%s)"):format(mount.target, why)
    end
    for name, value in pairs(env) do
      if value == mount.target and mount.source then env[name] = mount.source end
    end
  end
  return words, notes
end

return M
