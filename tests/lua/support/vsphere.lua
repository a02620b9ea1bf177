-- A lab that behaves as vSphere, with profiles, claims and pods that use them, for tests of vsphere-rwo.
--   local vsphere = dofile "tests/lua/support/vsphere.lua"; vsphere.with_policy(SETTINGS, function(c, site) … end)
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local M = {}

M.LAB = { profile = "vsphere", nodes = 2, time_scale = 0.002 }
M.BLOCK = "vsan-default-storage-policy"

---Makes a profile namespace.
function M.profile(c, name, labels)
  labels = labels or {}
  labels["app.kubernetes.io/part-of"] = "kubeflow-profile"
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

---@return table claim that asks for ReadWriteMany, of disks
function M.claim(namespace, name, annotations)
  return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = name, namespace = namespace,
    annotations = annotations }, spec = { accessModes = { "ReadWriteMany" }, storageClassName = M.BLOCK,
    resources = { requests = { storage = "1Gi" } } } }
end

---@param node string? where it has to run
---@param names string[] of its claims
---@param more table? further fields of its spec
---@return table pod of team-a that runs until it is deleted
function M.pod(name, node, names, more)
  local volumes, mounts = {}, {}
  for i, one in ipairs(names) do
    volumes[i] = { name = one, persistentVolumeClaim = { claimName = one } }
    mounts[i] = { name = one, mountPath = "/" .. one }
  end
  local spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 0, volumes = volumes,
    nodeSelector = node and { ["kubernetes.io/hostname"] = node } or nil,
    containers = { { name = "main", image = "busybox", volumeMounts = mounts,
      command = { "sh", "-c", "sleep 60" } } } }
  for field, value in pairs(more or {}) do spec[field] = value end
  return { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "team-a" }, spec = spec }
end

---Waits until a pod of team-a runs.
---@return table pod
function M.is_running(c, name)
  return site_of.eventually(name .. " runs", function()
    local pod = c:get("pods", name, { namespace = "team-a" })
    return pod.status.phase == "Running" and pod
  end)
end

---A profile that has opted in, and one host of the policy, with settings.
---@param settings string YAML
---@param run fun(c: table, site: table)
function M.with_policy(settings, run)
  site_of.with(M.LAB, function(lab, c)
    M.profile(c, "team-a", { ["storage.kfhost.io/co-schedule"] = "true" })
    local site <close> = replicas.new(lab, c, { "vsphere-rwo" }, settings, 1)
    site:register(1)
    run(c, site)
  end)
end

return M
