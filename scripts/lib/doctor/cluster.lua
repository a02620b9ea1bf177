-- doctor.cluster: which versions meet, and which parts of Kubeflow are down.
-- A room of checks; see doctor.

local time = require "kube.time"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list

-- --- versions ---------------------------------------------------------------------------------------

-- "ghcr.io/kubeflow/kfp-api-server:2.15.0" -> 2, 15, "2.15.0"; nothing for tags that are no version.
local function version_of(image)
  local tag = type(image) == "string" and image:match ":(v?%d[%w.%-]*)$"
  if not tag then return nil end
  local major, minor = tag:match "^v?(%d+)%.(%d+)"
  if not major then return nil end
  return math.tointeger(major), math.tointeger(minor), tag
end

local function first_image(object)
  return get(object, "spec", "template", "spec", "containers", 1, "image")
end

-- The programs of one release, by a piece of their image's name.
local FAMILIES = {
  { name = "Pipelines", images = { "kfp%-api%-server", "kfp%-persistence%-agent",
    "kfp%-scheduled%-workflow%-controller", "kfp%-frontend", "kfp%-cache%-server" } },
  { name = "Katib", images = { "katib%-controller", "katib%-db%-manager", "katib%-ui" } },
}

local function members(w, family)
  local found = {}
  for _, object in ipairs(w:of "Deployment") do
    local image = first_image(object)
    for _, piece in ipairs(family.images) do
      if type(image) == "string" and image:find(piece) then found[#found + 1] = { object = object, image = image } end
    end
  end
  return found
end

---Programs of one release are of one release.
---@param w doctor.World
function M.releases(w)
  for _, family in ipairs(FAMILIES) do
    local first
    for _, member in ipairs(members(w, family)) do
      local major, minor, tag = version_of(member.image)
      if major and first and (major ~= first.major or minor ~= first.minor) then
        w:add("version-skew", "warning", member.object, {
          what = ("its image is %s, that of %s is %s"):format(tag, world.title(first.object), first.tag),
          why = ("the programs of %s speak with one database and one wire, which change between releases")
            :format(family.name),
          fix = "install one release: all images with the same tag",
        })
      elseif major and not first then
        first = { object = member.object, major = major, minor = minor, tag = tag }
      end
    end
  end
end

---Pipelines of Kale and of today's SDK need KFP 2.
---@param w doctor.World
function M.pipelines_version(w)
  for _, object in ipairs(w:of "Deployment") do
    local image = first_image(object)
    local major, _, tag = version_of(image)
    if major and major < 2 and image:find "api%-server" and object.metadata.name:find "^ml%-pipeline" then
      w:add("pipelines-version", "error", object, {
        what = ("its image is %s"):format(tag), why = "a pipeline of IR version 2 is refused by servers before KFP 2",
        fix = "upgrade Kubeflow Pipelines to 2.0 or newer",
      })
    end
  end
end

-- Sidecar containers are on by default since 1.29.
local NATIVE_SINCE <const> = 29

---Native sidecars need a Kubernetes that knows them.
---@param w doctor.World
function M.native_sidecars(w)
  local minor = math.tointeger(tonumber(tostring(get(w.version, "minor") or ""):match "^%d+"))
  if not minor or minor >= NATIVE_SINCE then return end
  for _, object in ipairs(w:of "Deployment") do
    for _, container in ipairs(list(get(object, "spec", "template", "spec", "containers"))) do
      for _, entry in ipairs(list(container.env)) do
        if object.metadata.name:find "^istiod" and entry.name == "ENABLE_NATIVE_SIDECARS" and entry.value == "true" then
          w:add("native-sidecar-version", "error", object, {
            what = ("ENABLE_NATIVE_SIDECARS is true, and the API server is 1.%d"):format(minor),
            why = "the proxy becomes an init container that never ends, and the pod never starts",
            fix = "upgrade to Kubernetes 1.29 or newer, or set ENABLE_NATIVE_SIDECARS=false",
          })
        end
      end
    end
  end
end

-- --- what is down -------------------------------------------------------------------------------------

local STARTING <const> = 60 -- seconds that a program may take

local function down_for(w, condition)
  local since = time.parse(condition.lastTransitionTime or "")
  return since and w.now - since or math.huge
end

local PLATFORM = { kubeflow = true, ["istio-system"] = true, ["knative-serving"] = true, auth = true,
  ["cert-manager"] = true, ["oauth2-proxy"] = true }

---The programs of the platform run.
---@param w doctor.World
function M.running(w)
  for _, object in ipairs(w:of "Deployment") do
    for _, condition in ipairs(list(get(object, "status", "conditions"))) do
      local down = condition.type == "Available" and condition.status == "False"
      if PLATFORM[object.metadata.namespace] and down and down_for(w, condition) > STARTING then
        w:add("component-down", "error", object, {
          what = ("it is not available: %s"):format(condition.message or condition.reason or "no reason is told"),
          why = "what it does for Kubeflow is not done",
          fix = ("`kfhost -c 'why deploy/%s -n %s'` says what keeps it"):format(object.metadata.name,
            object.metadata.namespace),
        })
      end
    end
  end
end

return M
