-- images: where the images of pods come from: a site's own registry, and the secrets to pull from it.
--
-- A mapping rewrites the beginning of a name: with { ["docker.io/"] = "registry.site/hub/" } the image "busybox"
-- (which means docker.io/library/busybox) becomes registry.site/hub/library/busybox. The longest one that fits
-- wins. What is allowed is asked after that.

local policy = require "policy"

policy.config {
  mapping = { type = "map", default = {}, doc = "beginning of a name -> what takes its place" },
  allowed = { type = "list", default = {}, doc = "beginnings of the names that pods may use; none: all" },
  pull_secrets = { type = "list", default = {}, doc = "names of secrets that pods of profiles pull with" },
}

local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }
local LISTS = { "initContainers", "containers", "ephemeralContainers" }

-- The whole name that a short one stands for: the registry of Docker, and its "library".
local function whole(image)
  local first = image:match "^([^/]+)/"
  if not first then return "docker.io/library/" .. image end
  if not first:find "[.:]" and first ~= "localhost" then return "docker.io/" .. image end
  return image
end

local function longest_prefix(prefixes, name)
  local found
  for _, prefix in ipairs(prefixes) do
    if name:sub(1, #prefix) == prefix and (not found or #prefix > #found) then found = prefix end
  end
  return found
end

local function keys(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  return list
end

-- The place that the mapping gives an image, or nil when it stays.
local function mapped(config, image)
  local name = whole(image)
  local prefix = longest_prefix(keys(config.mapping), name)
  return prefix and config.mapping[prefix] .. name:sub(#prefix + 1)
end

local function each_container(pod)
  return coroutine.wrap(function()
    for _, list in ipairs(LISTS) do
      for _, container in ipairs(pod.spec[list] or {}) do coroutine.yield(container) end
    end
  end)
end

policy.mutate {
  name = "images-from-our-registry",
  doc = "rewrites the images of pods by the mapping, and adds the secrets to pull them",
  match = { resource = "pods", operations = { "CREATE", "UPDATE" }, namespaces = PROFILES },
  position = "late",
  apply = function(req)
    local pod, config = req.object, req.config
    for container in each_container(pod) do
      container.image = container.image and mapped(config, container.image) or container.image
    end
    if req.operation ~= "CREATE" then return end
    for _, name in ipairs(config.pull_secrets) do
      local known = false
      for _, secret in ipairs(pod.spec.imagePullSecrets or {}) do known = known or secret.name == name end
      if not known then
        pod.spec.imagePullSecrets = pod.spec.imagePullSecrets or {}
        table.insert(pod.spec.imagePullSecrets, { name = name })
      end
    end
  end,
}

policy.validate {
  name = "images-that-are-allowed",
  doc = "refuses pods with images from elsewhere",
  match = { resource = "pods", operations = { "CREATE", "UPDATE" }, namespaces = PROFILES },
  check = function(req)
    local allowed = req.config.allowed
    if #allowed == 0 then return end
    for container in each_container(req.object) do
      if container.image and not longest_prefix(allowed, whole(container.image)) then
        return req:deny("container %s: images come from %s here, not from %s", container.name,
          table.concat(allowed, ", "), container.image)
      end
    end
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function pod(image)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" },
    spec = { containers = { { name = "main", image = image } } } }
end

local SITE = { mapping = { ["docker.io/"] = "registry.site/hub/", ["docker.io/library/"] = "registry.site/official/",
  ["gcr.io/"] = "registry.site/gcr/" } }

for image, place in pairs {
  ["busybox"] = "registry.site/official/busybox",
  ["kubeflow/kale:1"] = "registry.site/hub/kubeflow/kale:1",
  ["gcr.io/a/b@sha256:0"] = "registry.site/gcr/a/b@sha256:0",
  ["localhost/x"] = "localhost/x",
  ["quay.io/x/y:1"] = "quay.io/x/y:1",
} do
  policy.test { name = image .. " is pulled from " .. place, config = SITE, object = pod(image),
    expect = { allowed = true, object = { spec = { containers = { { image = place } } } } } }
end

policy.test { name = "secrets to pull with are added once", config = { pull_secrets = { "site" } },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = {},
    imagePullSecrets = { { name = "site" } } } }, expect = { allowed = true, patch = {} } }

policy.test { name = "an image from elsewhere is refused", config = { allowed = { "registry.site/" } },
  object = pod "quay.io/x/y:1", expect = { allowed = false, message = "images come from registry.site/" } }

policy.test { name = "an image of ours is allowed", config = { allowed = { "registry.site/" } },
  object = pod "registry.site/x", expect = { allowed = true } }
