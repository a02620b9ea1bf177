-- Outputs of earlier steps, found by what decided them: container, inputs by content, options.
-- Not for deciding whether a step may be taken from here: that says its cachingOptions.
--   local key = cache.key(job, salt); if not cache.restore(path, job) then … cache.remember(path, job) end
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local placeholders = require "kfp.placeholders"
local tree = require "kfp.tree"

local M = {}

-- A container that names what its words come to (KFHOST_CACHE_KEY) is known by that instead.
local function container_key(container)
  local env, named = {}, nil
  for _, pair in ipairs(container.env or {}) do
    if pair.name == "KFHOST_CACHE_KEY" then named = pair.value end
    env[#env + 1] = { pair.name, pair.value }
  end
  if named then return { image = container.image, env = env } end
  return { image = container.image, env = env, command = container.command, args = container.args }
end

-- The content of a file or folder.
local function content(path)
  local stat = fs.stat(path)
  if not stat then return "none" end
  if stat.type ~= "directory" then return hash.sha256(fs.read(path)) end
  local parts = {}
  for i, name in ipairs(fs.list(path)) do parts[i] = name .. " " .. content(fs.join(path, name)) end
  return hash.sha256(table.concat(parts, "\n"))
end

-- What a step is told of its own settings is for a workload elsewhere, and decides nothing: as on a cluster.
local function values_that_decide(job)
  local values = json.object {}
  local definitions = (job.task.component.inputDefinitions or {}).parameters or {}
  for name, value in pairs(job.input.inputs.parameterValues) do
    if (definitions[name] or {}).parameterType ~= "TASK_CONFIG" then values[name] = value end
  end
  return values
end

---What decides whether a step's outputs would be the same.
---@param job table of kfp.executor
---@param salt string? what else decides it
---@return string
function M.key(job, salt)
  local contents = {}
  for name, entry in pairs(job.input.inputs.artifacts) do
    local list = json.array {}
    for i, artifact in ipairs(entry.artifacts) do
      list[i] = { content(placeholders.local_path(artifact.uri)), artifact.metadata or json.object {} }
    end
    contents[name] = list
  end
  return hash.sha256(json.encode({
    container = container_key(job.task.container), parameters = values_that_decide(job),
    artifacts = contents, outputs = job.task.component.outputDefinitions or json.object {}, salt = salt,
    start = json.array { job.program or "" }, given = job.given and next(job.given) and job.given or nil,
  }, { sort = true }))
end

---Copies what an earlier step made in `directory` to where this one would make it.
---@param directory string
---@param job table
---@return boolean # false when that folder holds no finished step
function M.copy(directory, job)
  if not fs.exists(fs.join(directory, ".done")) then return false end
  for name, artifact in pairs(job.input.outputs.artifacts) do
    tree.copy(fs.join(directory, name), artifact.artifacts[1].uri)
  end
  for name, parameter in pairs(job.input.outputs.parameters) do
    tree.copy(fs.join(directory, "parameters", name), parameter.outputFile)
  end
  tree.copy(fs.join(directory, "log.txt"), job.log)
  local output = fs.try.read(fs.join(directory, "executor_output.json"))
  if output then
    -- Paths in it are those of the earlier step.
    output = output:gsub(directory:gsub("%p", "%%%0"), (job.directory:gsub("%%", "%%%%")))
    fs.write(job.input.outputs.outputFile, output)
  end
  return true
end

---@param folder string of the cache
---@param key string
---@param job table
---@return boolean # false when there is nothing, or its files are gone
function M.restore(folder, key, job)
  local text = fs.try.read(fs.join(folder, key .. ".json"))
  local entry = text and json.try.decode(text)
  return entry ~= nil and type(entry.directory) == "string" and M.copy(entry.directory, job)
end

---@param folder string of the cache
---@param key string
---@param job table
function M.remember(folder, key, job)
  fs.mkdir(folder, { parents = true })
  fs.write(fs.join(folder, key .. ".json"), json.encode { directory = job.directory })
end

return M
