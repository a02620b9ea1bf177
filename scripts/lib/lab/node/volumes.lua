-- lab.node.volumes: the volumes of a pod as directories of this machine.
-- Not for claims' binding (lab.controllers.volumes).
--   volumes.make(cluster, pod, directory) -> { name = "/path" }; raises a text that says what is missing

local environment = require "lab.node.environment"
local fs = require "fs"
local hash = require "hash"
local inside = require "lab.inside"
local pod_claims = require "lab.pod_claims"

local M = {}

-- A name below a volume: what leaves it is refused.
local function safe(path)
  for segment in path:gmatch "[^/]+" do
    if segment == ".." then error(("the path %q leaves the volume"):format(path), 0) end
  end
  return path
end

local function write(directory, name, text, mode)
  local path = fs.join(directory, safe(name))
  fs.mkdir(fs.dirname(path), { parents = true })
  local old = fs.stat(path)
  if old and old.type == "file" and fs.read(path) == text then return end
  fs.write(path, text, { mode = mode })
end

local function write_keys(directory, data, items, optional, what, mode)
  if not items then
    for key, value in pairs(data) do write(directory, key, value, mode) end
    return
  end
  for _, item in ipairs(items) do
    local value = data[item.key]
    if value == nil and not optional then
      error(("references non-existent %s key: %s"):format(what, item.key), 0)
    end
    if value then write(directory, item.path, value, item.mode or mode) end
  end
end

local function decoded(data)
  local out = {}
  for key, value in pairs(data or {}) do out[key] = hash.unbase64(value) end
  return out
end

local function config_data(object)
  local out = {}
  for key, value in pairs(object.data or {}) do out[key] = value end
  for key, value in pairs(object.binaryData or {}) do out[key] = hash.unbase64(value) end
  return out
end

local function put_config(cluster, pod, directory, source, mode)
  local object = environment.lookup(cluster, pod, "configmap", source)
  if object then write_keys(directory, config_data(object), source.items, source.optional, "config", mode) end
end

local function put_secret(cluster, pod, directory, source, mode)
  local object = environment.lookup(cluster, pod, "secret",
    { name = source.secretName or source.name, optional = source.optional })
  if object then write_keys(directory, decoded(object.data), source.items, source.optional, "secret", mode) end
end

local function put_fields(pod, directory, source, mode)
  for _, item in ipairs(source.items or {}) do
    local value
    if item.fieldRef then
      value = environment.field(pod, item.fieldRef.fieldPath)
    else
      local name = item.resourceFieldRef.containerName
      for _, container in ipairs(pod.spec.containers) do
        if container.name == name then value = environment.resource(container, item.resourceFieldRef) end
      end
    end
    write(directory, item.path, value or "", item.mode or mode)
  end
end

-- A token is written anew when four fifths of its time are over, as a kubelet does.
local function put_token(cluster, pod, directory, source)
  local path = fs.join(directory, safe(source.path))
  local claims = fs.exists(path) and cluster.auth.tokens:read(fs.read(path))
  local now = cluster:now()
  if claims and claims["kubernetes.io"].pod.uid == pod.metadata.uid
    and now < claims.iat + (claims.exp - claims.iat) * 0.8 then
    return
  end
  local account = inside.view(cluster, "serviceaccounts", pod.metadata.namespace, pod.spec.serviceAccountName)
  if not account then error(('serviceaccount "%s" not found'):format(pod.spec.serviceAccountName), 0) end
  local audience = source.audience ~= "" and source.audience or nil
  local token = cluster.auth:account_token(account, {
    audiences = { audience or require("lab.auth").ISSUER }, seconds = source.expirationSeconds or 3600, pod = pod })
  fs.mkdir(fs.dirname(path), { parents = true })
  fs.write(path, token, { mode = 420 })
end

local function put_projected(cluster, pod, directory, source, mode)
  for _, part in ipairs(source.sources or {}) do
    if part.serviceAccountToken then
      put_token(cluster, pod, directory, part.serviceAccountToken)
    elseif part.configMap then
      put_config(cluster, pod, directory, part.configMap, mode)
    elseif part.secret then
      put_secret(cluster, pod, directory, part.secret, mode)
    elseif part.downwardAPI then
      put_fields(pod, directory, part.downwardAPI, mode)
    end
  end
end

local function make_one(cluster, pod, directory, volume)
  local claim_name = pod_claims.name(pod, volume)
  if claim_name then
    local claim = inside.view(cluster, "persistentvolumeclaims", pod.metadata.namespace, claim_name)
    if not claim then error(('persistentvolumeclaim "%s" not found'):format(claim_name), 0) end
    if not cluster.volumes then error("this lab has no volumes", 0) end
    return cluster.volumes:directory(claim)
  end
  if volume.hostPath then
    error("the lab gives no paths of this machine to pods: use emptyDir or a claim", 0)
  end
  fs.mkdir(directory, { parents = true })
  local mode = function(source) return source.defaultMode or 420 end
  if volume.configMap then
    put_config(cluster, pod, directory, volume.configMap, mode(volume.configMap))
  elseif volume.secret then
    put_secret(cluster, pod, directory, volume.secret, mode(volume.secret))
  elseif volume.downwardAPI then
    put_fields(pod, directory, volume.downwardAPI, mode(volume.downwardAPI))
  elseif volume.projected then
    put_projected(cluster, pod, directory, volume.projected, mode(volume.projected))
  elseif not volume.emptyDir then
    for name in pairs(volume) do
      if name ~= "name" then error(("the lab has no volumes of the kind %s"):format(name), 0) end
    end
  end
  return directory
end

---@param cluster lab.Cluster
---@param pod table
---@param directory string
---@return table<string, string> directories by the names of volumes
function M.make(cluster, pod, directory)
  local made = {}
  for _, volume in ipairs(pod.spec.volumes or {}) do
    local ok, result = pcall(make_one, cluster, pod, fs.join(directory, volume.name), volume)
    if not ok then
      local text = type(result) == "string" and result or require("errors").text(result)
      error(('MountVolume.SetUp failed for volume "%s" : %s'):format(volume.name, text), 0)
    end
    made[volume.name] = result
  end
  return made
end

M.safe = safe

return M
