-- Copies a secret to all namespaces with a label; run again, it brings the copies up to date.
-- Each copy says where it comes from; a secret of that name from elsewhere is left alone.
--   kfhost copy-secret.lua NAMESPACE/NAME LABEL      kfhost copy-secret.lua kubeflow/registry team=ml
local kube = require "kube"

local from, label = arg[1] or "", arg[2]
local namespace, name = from:match "^([^/]+)/([^/]+)$"
if not (name and label) then error("usage: kfhost copy-secret.lua NAMESPACE/NAME LABEL", 0) end

local SOURCE = "example.kfhost/copied-from"
local c = kube.connect { manager = "copy-secret" }
local secret = c:get("secrets", name, { namespace = namespace })

-- Makes the copy, or brings it up to date; what was done.
local function copy_to(place)
  local there, problem = c.try:get("secrets", name, { namespace = place, metadata_only = true })
  if not there then
    if problem.code ~= "NotFound" then error(problem, 0) end
    c:create {
      apiVersion = "v1", kind = "Secret", type = secret.type, data = secret.data,
      metadata = { name = name, namespace = place, annotations = { [SOURCE] = from } },
    }
    return "copied"
  end
  if (there.metadata.annotations or {})[SOURCE] ~= from then
    return "has a secret of that name from elsewhere, left alone"
  end
  c:edit("secrets", name, function(copy) copy.data = secret.data end, { namespace = place })
  return "up to date"
end

for target in c:each("namespaces", { labels = label }) do
  local place = target.metadata.name
  print(place .. ": " .. (place == namespace and "the original" or copy_to(place)))
end
