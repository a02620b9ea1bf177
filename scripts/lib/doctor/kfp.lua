-- doctor.kfp: may the pods of profiles call Kubeflow Pipelines, and do they show a token that it takes.
-- A room of checks; see doctor.

local istio = require "istio"
local trim = require "doctor.trim"
local world = require "doctor.world"

local M = {}

local get, list = world.get, world.list
local AUDIENCE <const> = "pipelines.kubeflow.org"
local KUBEFLOW <const> = "kubeflow"
local USE_POLICY <const> = "`kfhost policy serve kfp-access`"

-- --- tokens --------------------------------------------------------------------------------------------

-- The audience that this Pipelines asks for.
local function wanted_audience(w)
  local deployment = w:find("Deployment", KUBEFLOW, "ml-pipeline")
  for _, container in ipairs(list(get(deployment, "spec", "template", "spec", "containers"))) do
    for _, variable in ipairs(list(container.env)) do
      if variable.name == "TOKEN_REVIEW_AUDIENCE" and variable.value then return variable.value end
    end
  end
  return AUDIENCE
end

-- The projected tokens of a list of volumes: {name, audience, path}.
local function tokens_of(volumes)
  local found = {}
  for _, volume in ipairs(list(volumes)) do
    for _, source in ipairs(list(get(volume, "projected", "sources"))) do
      local token = get(source, "serviceAccountToken")
      if type(token) == "table" then
        found[#found + 1] = { name = volume.name, audience = token.audience, path = token.path }
      end
    end
  end
  return found
end

-- --- where a token is expected ---------------------------------------------------------------------------

local TOKEN_PLACES = { "pipelines", "kfhost/kfp" }

local function is_token_place(path)
  for _, place in ipairs(TOKEN_PLACES) do
    if path:find(place, 1, true) then return true end
  end
  return false
end

-- Where a container expects its token: the path of the variable, or the place where kale trial looks.
local function expected_path(container)
  for _, variable in ipairs(list(container.env)) do
    if variable.name == "KF_PIPELINES_SA_TOKEN_PATH" then return variable.value end
    if variable.name == "KFHOST_TRIAL" then return "/var/run/secrets/kfhost/kfp/token" end
  end
end

local function is_below(path, directory)
  if type(directory) ~= "string" then return false end
  directory = directory:gsub("/+$", "")
  return path:sub(1, #directory + 1) == directory .. "/"
end

local function has_volume(volumes, name)
  for _, volume in ipairs(list(volumes)) do
    if volume.name == name then return true end
  end
  return false
end

local function is_mounted(of, volumes, path)
  for _, mount in ipairs(list(get(of, "volumeMounts"))) do
    if is_below(path, mount.mountPath) and has_volume(volumes, mount.name) then return true end
  end
  return false
end

-- The labels that a pod of this will have.
local function labels_of(pod)
  if pod.object.kind ~= "Notebook" then return pod.labels end
  local labels = {}
  for _, from in ipairs { list(pod.object.metadata.labels), pod.labels } do
    for key, value in pairs(from) do labels[key] = value end
  end
  return labels
end

-- Whether a PodDefault will mount something over a path when a pod is made of a template.
local function default_brings(w, pod, path)
  if not pod.is_template then return false end
  if not w:knows "PodDefault" then return true end
  local labels = labels_of(pod)
  for _, default in ipairs(w:of "PodDefault") do
    local here = default.metadata.namespace == pod.namespace and world.selects(get(default, "spec", "selector"), labels)
    if here and is_mounted(trim.container(default.spec), get(default, "spec", "volumes"), path) then return true end
  end
  return false
end

-- Whether a pod has a token that is for Pipelines, or that stands where one is looked for.
local function has_token(w, pod)
  local wanted = wanted_audience(w)
  for _, token in ipairs(tokens_of(pod.spec.volumes)) do
    if token.audience == wanted then return true end
  end
  for _, container in ipairs(world.containers(pod)) do
    for _, mount in ipairs(list(container.volumeMounts)) do
      if is_token_place(mount.mountPath or "") and has_volume(pod.spec.volumes, mount.name) then return true end
    end
  end
  return false
end

local function missing_token(w, pod)
  for _, container in ipairs(world.containers(pod)) do
    local path = expected_path(container)
    if path and not is_mounted(container, pod.spec.volumes, path) and not default_brings(w, pod, path) then
      return ("container %s expects a token at %s, and no volume brings one"):format(container.name, path)
    end
  end
  local labelled = pod.labels["access-ml-pipeline"] == "true" and not pod.is_template
  if labelled and not has_token(w, pod) then
    return "the label access-ml-pipeline asks for a token, and the pod has none"
  end
end

---A pod that is to call Pipelines has a token.
function M.token_volume(w)
  for _, pod in ipairs(w.pods) do
    local what = not pod.is_over and not w:experiment_of(pod.object) and missing_token(w, pod)
    if what then
      w:add("no-token", "error", pod.object, {
        what = what, why = "Pipelines in a cluster of several users answers 401 to whoever shows no token",
        fix = USE_POLICY .. " keeps the PodDefault access-ml-pipeline in each profile; then make the pod again",
      })
    end
  end
end

-- --- whom a token is for -----------------------------------------------------------------------------------

-- The names of volumes that a token for Pipelines may be in: mounted where one is looked for.
local function token_mounts(containers, own)
  local names = {}
  local function note(mounts, path)
    for _, mount in ipairs(list(mounts)) do
      local here = is_token_place(mount.mountPath or "") or path and is_below(path, mount.mountPath)
      if here then names[mount.name] = true end
    end
  end
  for _, container in ipairs(list(containers)) do note(container.volumeMounts, expected_path(container)) end
  if own then note(own.volumeMounts, expected_path(own)) end
  return names
end

-- A PodDefault can be mended in place; whatever else has the volume must be made again.
local function audience_fix(object, wanted)
  if object.kind ~= "PodDefault" then
    return ("make it again with serviceAccountToken.audience: %s"):format(wanted)
  end
  local metadata = object.metadata
  for index, volume in ipairs(list(get(object, "spec", "volumes"))) do
    for place, source in ipairs(list(get(volume, "projected", "sources"))) do
      local token = source.serviceAccountToken
      if token and token.audience ~= wanted then
        return ("`kubectl patch poddefault -n %s %s --type json -p '[{\"op\":\"add\",\"path\":\"/spec/volumes/%d/"
          .. "projected/sources/%d/serviceAccountToken/audience\",\"value\":\"%s\"}]'`"):format(metadata.namespace,
          metadata.name, index - 1, place - 1, wanted)
      end
    end
  end
end

local function check_audience(w, object, volumes, names)
  local wanted = wanted_audience(w)
  for _, token in ipairs(tokens_of(volumes)) do
    if names[token.name] and token.audience ~= wanted then
      w:add("wrong-audience", "error", object, {
        what = ("the token in volume %s is for %s, and Pipelines takes %s"):format(token.name,
          token.audience or "the API server", wanted),
        why = "Pipelines reviews each token for its own audience and answers 401 to any other",
        fix = audience_fix(object, wanted),
      })
    end
  end
end

---Tokens that are mounted for Pipelines are for its audience.
function M.audience(w)
  for _, pod in ipairs(w.pods) do
    if not pod.is_over and not w:experiment_of(pod.object) then
      check_audience(w, pod.object, pod.spec.volumes, token_mounts(world.containers(pod)))
    end
  end
  for _, default in ipairs(w:of "PodDefault") do
    local own = trim.container(default.spec) -- it has the fields of one
    check_audience(w, default, get(default, "spec", "volumes"), token_mounts(nil, own))
  end
end

-- --- the way through the mesh ----------------------------------------------------------------------------

-- The policy of a profile is written by the profile controller, whether a mesh reads it or not.
local function has_mesh(w)
  if w:has_injector() then return true end
  local profiles = w:profiles()
  for _, policy in ipairs(w:of "AuthorizationPolicy") do
    if not profiles[policy.metadata.namespace] then return true end
  end
  return false
end

local LABELS <const> = { app = "ml-pipeline" }

-- Whether the account of a profile gets through to Pipelines, and why not; without one: a pod without a sidecar.
local function passes(w, profile)
  local request = {
    source = { principal = profile and ("cluster.local/ns/%s/sa/default-editor"):format(profile) }, method = "GET",
    path = "/apis/v2beta1/runs", host = "ml-pipeline.kubeflow.svc.cluster.local:8888", port = 8888, headers = {},
    protocol = "http",
  }
  local workload = { namespace = KUBEFLOW, labels = LABELS, ports = { [8888] = "http" } }
  return istio.allowed(w.objects, workload, request)
end

local function selects_pipelines(w)
  for _, policy in ipairs(w:of "AuthorizationPolicy") do
    local selector = get(policy, "spec", "selector")
    local everywhere = selector == nil and #list(get(policy, "spec", "rules")) > 0
    if policy.metadata.namespace == KUBEFLOW and (everywhere or world.selects(selector, LABELS)) then return true end
  end
  return false
end

---Some policy says who may call Pipelines, and it lets the profiles in.
function M.access(w)
  local service = w:find("Service", KUBEFLOW, "ml-pipeline")
  if not service or not w:knows "AuthorizationPolicy" or not has_mesh(w) or next(w:profiles()) == nil then return end
  if not selects_pipelines(w) then
    w:add("kfp-policy-absent", "error", service, {
      what = "no AuthorizationPolicy is for app=ml-pipeline",
      why = "the mesh either refuses every profile's pods (403 RBAC: access denied), or lets anyone name any user",
      fix = USE_POLICY,
    })
    return
  end
  for name in pairs(w:profiles()) do
    local allowed, why = passes(w, name)
    if allowed == false then
      w:add("kfp-refused", "error", w.namespaces[name] or ("Namespace " .. name), {
        what = ("default-editor may not call ml-pipeline: %s%s"):format(why.stage,
          why.policy and " (" .. why.policy .. (why.rule and ", rule " .. why.rule or "") .. ")" or ""),
        why = "notebooks, trials and pipelines of this profile get 403 RBAC: access denied",
        fix = USE_POLICY,
      })
    end
  end
end

-- A pod of a profile that means to call Pipelines, and is out of the mesh.
local function plain_caller(w)
  for _, pod in ipairs(w.pods) do
    if w:is_plain(pod) then
      for _, container in ipairs(world.containers(pod)) do
        if expected_path(container) then return pod end
      end
    end
  end
end

---Pods without a sidecar that call Pipelines are let in by some rule.
function M.plaintext(w)
  if not w:find("Service", KUBEFLOW, "ml-pipeline") or not has_mesh(w) or not selects_pipelines(w) then return end
  local pod = w:knows "AuthorizationPolicy" and plain_caller(w)
  if not pod then return end
  local allowed, why = passes(w, nil)
  if allowed == false and why.stage == "allow" then
    w:add("plaintext-refused", "error", w:find("Service", KUBEFLOW, "ml-pipeline"), {
      what = ("no rule for app=ml-pipeline admits a peer without identity, and %s, which calls it, has no sidecar")
        :format(pod.where),
      why = "its calls get 403 RBAC: access denied", fix = USE_POLICY,
    })
  end
end

-- --- identities that somebody else writes ------------------------------------------------------------------

local HEADER <const> = "kubeflow-userid"
local CODE = { inlineCode = true, inline_code = true, inlineString = true, inline_string = true }

-- Whether a Lua filter sets the header; one that reads it or takes it off sets nothing.
local function code_sets(text)
  text = text:lower()
  for _, verb in ipairs { "add", "replace" } do
    if text:find(":" .. verb .. "%s*%(%s*[\"']" .. HEADER:gsub("%-", "%%-") .. "[\"']") then return true end
  end
  return false
end

-- A value of Envoy that adds a header is {key, value}; one that only matches it has a name, or no value.
local function adds_identity(value)
  if type(value) ~= "table" then return false end
  if type(value.key) == "string" and value.key:lower() == HEADER and value.value ~= nil then return true end
  for key, inner in pairs(value) do
    if CODE[key] and type(inner) == "string" and code_sets(inner) or adds_identity(inner) then return true end
  end
  return false
end

-- Whether a patch is for what sidecars send. Those of the gateway set the identity that the login found.
local function is_outbound(filter, entry)
  local context = get(entry, "match", "context") or "ANY"
  if context == "SIDECAR_OUTBOUND" then return true end
  local everywhere = filter.metadata.namespace ~= "istio-system" or get(filter, "spec", "workloadSelector") == nil
  return context == "ANY" and everywhere
end

local function forges(filter)
  for _, entry in ipairs(list(get(filter, "spec", "configPatches"))) do
    if is_outbound(filter, entry) and get(entry, "patch", "operation") ~= "REMOVE"
      and adds_identity(get(entry, "patch", "value")) then
      return true
    end
  end
  return false
end

---No EnvoyFilter writes somebody's identity into requests.
function M.forged_header(w)
  for _, filter in ipairs(w:of "EnvoyFilter") do
    if forges(filter) then
      w:add("forged-header", "error", filter, {
        what = "it sets the header kubeflow-userid on what pods of its namespace send",
        why = "each such pod acts in Pipelines as that person, whoever made the pod",
        fix = ("`kubectl delete envoyfilter -n %s %s`; pods show tokens instead: %s"):format(filter.metadata.namespace,
          filter.metadata.name, USE_POLICY),
      })
    end
  end
end

return M
