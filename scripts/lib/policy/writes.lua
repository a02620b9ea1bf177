-- policy.writes: does what handlers of watches and schedules ask for.
-- Not for checking rights: the sandbox has done that.
--   local result, problem = writes.perform(client, { verb = "delete", reference = {…} }, log)

local errors = require "errors"
local json = require "json"
local resources = require "policy.inside.resources"

local M = {}

local MANAGER = "kfhost-policy"

-- The kind as the client takes it.
local function kind_of(api_version, kind)
  local resource = resources.of_kind(api_version, kind)
  if resource.group == "" then return resource.plural end
  return ("%s.%s.%s"):format(resource.plural, resource.version, resource.group)
end

local function object_of(reference, uid)
  return { apiVersion = reference.api_version, kind = reference.kind,
    metadata = { namespace = reference.namespace, name = reference.name, uid = uid } }
end

local function merged(options, more)
  local all = {}
  for field, value in pairs(options or {}) do all[field] = value end
  for field, value in pairs(more) do all[field] = value end
  return all
end

local verbs = {}

function verbs.apply(client, write)
  return client:apply(write.object, merged(write.options, { manager = MANAGER }))
end

function verbs.create(client, write)
  return client:create(write.object, { manager = MANAGER })
end

function verbs.patch(client, write)
  local reference = write.reference
  return client:patch(kind_of(reference.api_version, reference.kind), reference.name, write.patch,
    merged(write.options, { namespace = reference.namespace, manager = MANAGER }))
end

function verbs.delete(client, write)
  local reference = write.reference
  client:delete(kind_of(reference.api_version, reference.kind), reference.name,
    merged(write.options, { namespace = reference.namespace }))
  return nil
end

function verbs.event(client, write)
  client:event(object_of(write.reference, write.uid), write.type, write.reason, "%s", write.message)
  return nil
end

function verbs.log(_, write, log)
  log(write.message)
  return nil
end

-- What of an error can cross into the sandbox.
local function plain(problem)
  return { code = problem.code, message = problem.message, status = problem.status }
end

---@param client table of kube.connect
---@param write table {verb=, …}
---@param log fun(message: string)
---@return table result an object, or an empty one
---@return table? problem {code, message, status} of a write that was refused
---@return string[]? warnings of the API server
function M.perform(client, write, log)
  local ok, result, warnings = pcall(verbs[write.verb], client, write, log)
  if ok then return result or json.object {}, nil, warnings end
  if not errors.is(result) or result.code == "Cancelled" then error(result, 0) end
  return json.object {}, plain(result)
end

return M
