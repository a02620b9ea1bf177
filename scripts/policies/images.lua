-- images: where the images of pods come from: a site's own registry, what is allowed, and the secrets to pull with.
--
-- A mapping rewrites the beginning of a name: with { ["docker.io/"] = "registry.site/hub/" } the image "busybox"
-- (which means docker.io/library/busybox) becomes registry.site/hub/library/busybox. The longest one that fits wins,
-- and a name that has been rewritten stays. A long mapping is a file of its own (`mapping_file` in the settings).
--
-- A container without an image, or with the image "default", gets the one of its role: step of a pipeline, trial of an
-- experiment, notebook. What is allowed is asked last, of the names as they have become: `allowed` of every container,
-- `allowed_for` of those that are a role's own (not the helpers that Argo, Istio and Katib add).

local policy = require "policy"

policy.config {
  mapping = { type = "map", default = {}, doc = "beginning of a name -> what takes its place" },
  defaults = { type = "map", default = {}, doc = "step, trial, notebook -> image of a container that names none" },
  allowed = { type = "list", default = {}, doc = "beginnings of the names that pods may use; none: all" },
  allowed_for = { type = "map", default = {},
    doc = "step, trial, notebook -> beginnings of the names that these may use" },
  helpers = { type = "list", doc = "containers that are no one's own work", default = { "wait", "init", "kfp-launcher",
    "istio-proxy", "istio-init", "istio-validation", "metrics-logger-and-collector", "metrics-collector" } },
  pull_secrets = { type = "list", default = {}, doc = "names of secrets that pods of profiles pull with" },
}

local PROFILES = { label = "app.kubernetes.io/part-of=kubeflow-profile" }
local PODS = "pods | pods/ephemeralcontainers"
local LISTS = { "initContainers", "containers", "ephemeralContainers" }

-- --- names ------------------------------------------------------------------------------------------------------

-- The whole name that a short one stands for: the registry of Docker, and its "library".
local function whole(image)
  local first = image:match "^([^/]+)/"
  if not first or (not first:find "[.:]" and first ~= "localhost") then image = "docker.io/" .. image end
  image = image:gsub("^index%.docker%.io/", "docker.io/")
  return (image:gsub("^docker%.io/([^/]+)$", "docker.io/library/%1"))
end

-- A registry alone is that registry, and not another one whose name begins like it.
local function begins_with(name, prefix)
  if prefix == "" or name:sub(1, #prefix) ~= prefix then return false end
  return prefix:find("/", 1, true) ~= nil or name:sub(#prefix + 1, #prefix + 1) == "/"
end

local function longest_prefix(prefixes, name)
  local found
  for _, prefix in ipairs(prefixes) do
    if begins_with(name, prefix) and (not found or #prefix > #found) then found = prefix end
  end
  return found
end

local function keys_and_values(map)
  local keys, values = {}, {}
  for key, value in pairs(map) do
    keys[#keys + 1] = key
    values[#values + 1] = value
  end
  return keys, values
end

-- The name that the mapping gives an image; its own where it stays.
local function mapped(config, image)
  local from, to = keys_and_values(config.mapping)
  local name = whole(image)
  if longest_prefix(to, image) then return image end
  local prefix = longest_prefix(from, name)
  return prefix and config.mapping[prefix] .. name:sub(#prefix + 1) or image
end

-- --- pods ---------------------------------------------------------------------------------------------------------

-- What a pod pulls: its containers, and its volumes that are images. {what =, name = of a container, of =, field =}
local function pulls_of(pod)
  local all = {}
  for _, list in ipairs(LISTS) do
    for _, container in ipairs(pod.spec[list] or {}) do
      all[#all + 1] = { what = "container " .. container.name, name = container.name, of = container, field = "image" }
    end
  end
  for _, volume in ipairs(pod.spec.volumes or {}) do
    if volume.image then
      all[#all + 1] = { what = "volume " .. volume.name, of = volume.image, field = "reference" }
    end
  end
  return all
end

-- Those that are new or get another image. A pod that runs is changed by many (a Job takes its finalizer off): what it
-- has, it keeps, or its containers would be started anew, and its change be refused.
local function judged_pulls(req)
  local before, judged = {}, {}
  for _, pull in ipairs(req.old and pulls_of(req.old) or {}) do before[pull.what] = pull.of[pull.field] end
  for _, pull in ipairs(pulls_of(req.object)) do
    local image = pull.of[pull.field]
    local kept = image ~= nil and image == before[pull.what]
    if not kept then judged[#judged + 1] = pull end
  end
  return judged
end

local ROLES = {
  { "notebook", { "notebook-name" } },
  { "trial", { "katib.kubeflow.org/trial", "katib.kubeflow.org/experiment", "policy.kfhost.io/trial" } },
  { "step", { "pipeline/runid", "workflows.argoproj.io/workflow" } },
}

local function role_of(pod)
  local labels = pod.metadata.labels or {}
  for _, role in ipairs(ROLES) do
    for _, label in ipairs(role[2]) do
      if labels[label] then return role[1] end
    end
  end
  return nil
end

local function add_pull_secrets(pod, names)
  for _, name in ipairs(names) do
    local known = false
    for _, secret in ipairs(pod.spec.imagePullSecrets or {}) do known = known or secret.name == name end
    if not known then
      pod.spec.imagePullSecrets = pod.spec.imagePullSecrets or {}
      table.insert(pod.spec.imagePullSecrets, { name = name })
    end
  end
end

policy.mutate {
  name = "images-from-our-registry",
  doc = "gives containers their default image, rewrites images by the mapping, and adds the secrets to pull them",
  match = { resource = PODS, operations = { "CREATE", "UPDATE" }, namespaces = PROFILES },
  position = "late",
  apply = function(req)
    local pod, config = req.object, req.config
    local default = config.defaults[role_of(pod) or ""]
    for _, pull in ipairs(judged_pulls(req)) do
      local image = pull.of[pull.field]
      local is_open = pull.name and (not image or image == "" or image == "default")
      if is_open then image = default or image end
      if image then pull.of[pull.field] = mapped(config, image) end
    end
    if req.operation == "CREATE" then add_pull_secrets(pod, config.pull_secrets) end
  end,
}

-- --- what is allowed ----------------------------------------------------------------------------------------

local function is_allowed(image, prefixes)
  return not prefixes or #prefixes == 0 or longest_prefix(prefixes, whole(image)) ~= nil
end

policy.validate {
  name = "images-that-are-allowed",
  doc = "refuses pods with images from elsewhere",
  match = { resource = PODS, operations = { "CREATE", "UPDATE" }, namespaces = PROFILES },
  check = function(req)
    local config, role = req.config, role_of(req.object)
    local for_role = config.allowed_for[role or ""]
    for _, pull in ipairs(judged_pulls(req)) do
      local image = pull.of[pull.field] or ""
      if not is_allowed(image, config.allowed) then
        return req:deny("%s: images come from %s here, not from %s", pull.what, table.concat(config.allowed, ", "),
          image)
      end
      local is_own = pull.name and not req.contains(config.helpers, pull.name)
      if is_own and not is_allowed(image, for_role) then
        return req:deny("%s: a %s may use %s here, not %s", pull.what, role, table.concat(for_role, ", "), image)
      end
    end
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function pod(image, labels, name)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a", labels = labels },
    spec = { containers = { { name = name or "main", image = image } } } }
end

local SITE = { mapping = { ["docker.io/"] = "registry.site/hub/", ["docker.io/library/"] = "registry.site/official/",
  ["gcr.io/"] = "registry.site/gcr/", ["registry.site/"] = "mirror.site/" } }

for image, place in pairs {
  ["busybox"] = "registry.site/official/busybox",
  ["docker.io/busybox:1"] = "registry.site/official/busybox:1",
  ["index.docker.io/library/busybox"] = "registry.site/official/busybox",
  ["kubeflow/kale:1"] = "registry.site/hub/kubeflow/kale:1",
  ["gcr.io/a/b@sha256:0"] = "registry.site/gcr/a/b@sha256:0",
  ["registry.site/hub/x"] = "registry.site/hub/x",
  ["localhost/x"] = "localhost/x",
  ["localhost:5000/x"] = "localhost:5000/x",
  ["quay.io/x/y:1"] = "quay.io/x/y:1",
} do
  policy.test { name = image .. " is pulled from " .. place, config = SITE, object = pod(image),
    expect = { object = { spec = { containers = { { image = place } } } } } }
end

policy.test { name = "every list of containers is looked at", config = SITE,
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" }, spec = {
    initContainers = { { name = "a", image = "a" } }, containers = { { name = "b", image = "b" } },
    ephemeralContainers = { { name = "c", image = "c" } } } },
  expect = { object = { spec = { initContainers = { { image = "registry.site/official/a" } },
    containers = { { image = "registry.site/official/b" } },
    ephemeralContainers = { { image = "registry.site/official/c" } } } } } }

local function with_volume(reference)
  local object = pod "registry.site/x"
  object.spec.volumes = { { name = "model", image = { reference = reference, pullPolicy = "IfNotPresent" } },
    { name = "scratch", emptyDir = {} } }
  return object
end
policy.test { name = "a volume that is an image is pulled from the site's registry as well", config = SITE,
  object = with_volume "kubeflow/model:1", expect = { object = { spec = { volumes = {
    { image = { reference = "registry.site/hub/kubeflow/model:1", pullPolicy = "IfNotPresent" } }, {} } } } } }
policy.test { name = "no role's default is meant for it", config = { defaults = { step = "site/step:1" } },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", labels = { ["pipeline/runid"] = "x" } },
    spec = { containers = {}, volumes = { { name = "model", image = { reference = "default" } } } } },
  expect = { patch = {} } }
policy.test { name = "and has to be allowed", config = { allowed = { "registry.site/" } },
  object = with_volume "quay.io/x/model:1",
  expect = { allowed = false, message = "volume model: images come from registry.site/ here, not from quay.io/x/m" } }

for image, allowed in pairs { ["registry.site/x"] = true, ["registry.site.evil/x"] = false,
  ["registry.site:5000/x"] = false } do
  policy.test { name = ("a registry alone is that registry: %s"):format(image), object = pod(image),
    config = { allowed = { "registry.site" } }, expect = { allowed = allowed } }
end
policy.test { name = "a mapping of a registry alone as well", object = pod "gcr.io.evil/a/b",
  config = { mapping = { ["gcr.io"] = "registry.site/gcr" } }, expect = { patch = {} } }

policy.test { name = "secrets to pull with are added once", config = { pull_secrets = { "site", "more" } },
  object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = {},
    imagePullSecrets = { { name = "site" } } } },
  expect = { object = { spec = { imagePullSecrets = { { name = "site" }, { name = "more" } } } } } }

local IMAGES = { defaults = { step = "site/step:1", trial = "site/trial:1", notebook = "site/notebook:1" } }
for role, label in pairs { step = "pipeline/runid", trial = "katib.kubeflow.org/trial", notebook = "notebook-name" } do
  policy.test { name = ("a %s that names no image gets its default"):format(role), config = IMAGES,
    object = pod("default", { [label] = "x" }),
    expect = { object = { spec = { containers = { { image = ("site/%s:1"):format(role) } } } } } }
end

policy.test { name = "a default is mapped, too", object = pod(nil, { ["pipeline/runid"] = "x" }),
  config = { defaults = { step = "python:3.12" }, mapping = { ["docker.io/"] = "registry.site/" } },
  expect = { object = { spec = { containers = { { image = "registry.site/library/python:3.12" } } } } } }

policy.test { name = "an image from elsewhere is refused", config = { allowed = { "registry.site/" } },
  object = pod "quay.io/x/y:1", expect = { allowed = false, message = "images come from registry.site/" } }

policy.test { name = "an image of ours is allowed", config = { allowed = { "registry.site/" } },
  object = pod "registry.site/x", expect = { allowed = true } }

local STEPS = { allowed_for = { step = { "registry.site/steps/" } } }
local STEP = { ["pipeline/runid"] = "x" }

policy.test { name = "a pod that runs keeps its images, whoever changes what else", config = { allowed = { "site/" },
  mapping = SITE.mapping }, old = pod "busybox", object = pod("busybox", { note = "x" }),
  expect = { allowed = true, patch = {} } }
policy.test { name = "nor does a pod that runs get secrets, which it cannot have any more", old = pod "busybox",
  object = pod("busybox", { note = "x" }), config = { pull_secrets = { "site" } }, expect = { patch = {} } }
local looked_into = pod "busybox"
looked_into.spec.ephemeralContainers = { { name = "look", image = "alpine" } }
policy.test { name = "a container for a look into a pod is judged", config = SITE, old = pod "busybox",
  object = looked_into, resource = "pods/ephemeralcontainers", expect = { object = { spec = {
    containers = { { image = "busybox" } },
    ephemeralContainers = { { image = "registry.site/official/alpine" } } } } } }
policy.test { name = "another image for it is judged", config = { allowed = { "site/" } }, old = pod "busybox",
  object = pod "alpine", expect = { allowed = false, message = "not from alpine" } }
policy.test { name = "and mapped", config = SITE, old = pod "busybox", object = pod "alpine",
  expect = { object = { spec = { containers = { { image = "registry.site/official/alpine" } } } } } }

policy.test { name = "a step may use what steps may use", config = STEPS, object = pod("registry.site/steps/x", STEP),
  expect = { allowed = true } }
policy.test { name = "a step may not use what others may", config = STEPS, object = pod("registry.site/x", STEP),
  expect = { allowed = false, message = "a step may use registry.site/steps/ here" } }
policy.test { name = "a notebook is asked nothing of steps", config = STEPS,
  object = pod("registry.site/x", { ["notebook-name"] = "n" }), expect = { allowed = true } }
policy.test { name = "Argo's own container is no step's", config = STEPS,
  object = pod("quay.io/argoproj/argoexec:v3", STEP, "wait"), expect = { allowed = true } }
