-- pod-security: profile namespaces get the labels of Pod Security that the site wants.
--
-- A profile namespace without labels takes the cluster's default, on vSphere "restricted" (from 1.26 on): most
-- pods of notebooks and pipelines are refused there. This policy sets the configured level, and
--   - never lowers one that an administrator set: a label that was there before us, or that is stricter, stays;
--   - puts right what is ours: a label that was removed, or edited to less than the site wants;
--   - asks the API server first (a dry run on the namespace) whose pods the level would refuse, and names them;
--   - leaves a namespace with the annotation policy.kfhost.io/pod-security: "off" alone.
--
-- Old clusters (1.24 and before) have pod security policies instead; there this binding does the same, in each
-- profile namespace (docs/guide/policies/pod-security.md):
--   kind: RoleBinding, roleRef: ClusterRole psp:vmware-system-privileged,
--   subjects: Group system:serviceaccounts:NAMESPACE

local policy = require "policy"

local LEVELS = { "privileged", "baseline", "restricted" }

policy.config {
  enforce = { type = "string", enum = LEVELS, default = "baseline",
    doc = "what pods must keep to: baseline with Istio's CNI, privileged without" },
  warn = { type = "string", enum = LEVELS, default = "restricted", doc = "what users are warned about" },
  audit = { type = "string", enum = LEVELS, doc = "what the API server's audit log notes; nothing when unset" },
  version = { type = "string", default = "latest", doc = "of the standards" },
  if_refused = { type = "string", enum = { "enforce", "hold" }, default = "enforce",
    doc = "when pods that run would be refused: enforce all the same (they run on until they are made anew), or hold "
      .. "the label back and look again" },
}

policy.grant { reads = { "namespaces" }, follows = { "pods" },
  writes = { { resource = "namespaces", verbs = { "patch" } } } }

local PREFIX = "pod-security.kubernetes.io/"
local OURS = "policy.kfhost.io/pod-security" -- annotation: the labels as we set them, or "off"
local PROFILE = "app.kubernetes.io/part-of=kubeflow-profile"
local MODES = { "enforce", "warn", "audit" }
local RANK = { privileged = 1, baseline = 2, restricted = 3 }

-- --- which labels -----------------------------------------------------------------------------------------------

-- The labels as we set them last: {enforce = "baseline", ["enforce-version"] = "latest", …}.
local function recorded(metadata)
  local ours = {}
  for name, value in ((metadata.annotations or {})[OURS] or ""):gmatch "([%w-]+)=([%w.-]+)" do ours[name] = value end
  return ours
end

local function is_laxer(level, than)
  return (RANK[level] or 0) < (RANK[than] or 0)
end

-- What a label is to be, and whether it is ours; nil where it is somebody else's.
local function wanted(mode, there, before, want)
  if there == nil or there == before then return want end
  local edited_down = before and RANK[there] and is_laxer(there, want)
  local version_edited = before and not RANK[there] and mode:find "-version$"
  return (edited_down or version_edited) and want or nil
end

-- The labels to change, and all that are ours then.
local function plan(metadata, config)
  local labels, before = metadata.labels or {}, recorded(metadata)
  local changes, ours = {}, {}
  for _, mode in ipairs(MODES) do
    local level = config[mode] and wanted(mode, labels[PREFIX .. mode], before[mode], config[mode])
    local version = level and wanted(mode .. "-version", labels[PREFIX .. mode .. "-version"],
      before[mode .. "-version"], config.version)
    for name, value in pairs { [mode] = level, [mode .. "-version"] = version } do
      ours[name] = value
      if labels[PREFIX .. name] ~= value then changes[PREFIX .. name] = value end
    end
  end
  return changes, ours
end

local function said(ours)
  local words = {}
  for name, value in pairs(ours) do words[#words + 1] = name .. "=" .. value end
  table.sort(words)
  return table.concat(words, ",")
end

local function is_off(metadata)
  return (metadata.annotations or {})[OURS] == "off"
end

-- --- whose pods would be refused ----------------------------------------------------------------------------------

-- Who made a pod: the deployment behind a replica set is known by the set's name.
local function owner_of(pod)
  for _, owner in ipairs(pod and pod.metadata.ownerReferences or {}) do
    if owner.controller then
      local hash = (pod.metadata.labels or {})["pod-template-hash"]
      local deployment = owner.kind == "ReplicaSet" and hash and owner.name:match("^(.*)%-" .. hash .. "$")
      return deployment and "Deployment " .. deployment or owner.kind .. " " .. owner.name
    end
  end
  return "Pod " .. pod.metadata.name
end

-- What the API server says that a level would refuse: {"Deployment web: hostPath volumes", …}.
local function refused(namespace, changes, ctx)
  local _, warnings = ctx:patch(namespace, { metadata = { labels = changes } }, { type = "merge", dry_run = true })
  local pods, list = {}, {}
  for _, pod in ipairs(ctx:list("pods", { namespace = namespace.metadata.name })) do pods[pod.metadata.name] = pod end
  for _, warning in ipairs(warnings or {}) do
    local name, more, why = warning:match "^(%S+)( ?%(?[^:]*): (.*)$"
    if name and pods[name] then list[#list + 1] = ("%s%s: %s"):format(owner_of(pods[name]), more, why) end
  end
  return list
end

policy.watch {
  name = "profile-pod-security",
  doc = "labels profile namespaces, also those that become one later; restores labels of ours",
  resource = "namespaces",
  label = PROFILE,
  reconcile = function(namespace, ctx)
    local metadata = namespace.metadata
    if is_off(metadata) then return end
    local changes, ours = plan(metadata, ctx.config)
    local text = said(ours)
    if next(changes) == nil then return end
    if changes[PREFIX .. "enforce"] then
      local list = refused(namespace, changes, ctx)
      if #list > 0 then
        ctx:event(namespace, "Warning", "PodSecurityWouldRefuse", "%s would refuse pods that run here: %s",
          changes[PREFIX .. "enforce"], table.concat(list, "; "))
        if ctx.config.if_refused == "hold" then return ctx:requeue "1m" end
      end
    end
    ctx:patch(namespace, { metadata = { labels = changes, annotations = { [OURS] = text } } }, { type = "merge" })
    ctx:event(namespace, "Normal", "PodSecurityLabels", "set %s", text)
  end,
}

policy.mutate {
  name = "new-profile-pod-security",
  doc = "a namespace that is created as a profile's has its labels before its first pod comes",
  match = { resource = "namespaces", operations = { "CREATE" }, label = PROFILE },
  apply = function(req)
    local metadata = req.object.metadata
    if is_off(metadata) then return end
    local changes, ours = plan(metadata, req.config)
    if next(changes) == nil then return end
    for label, value in pairs(changes) do metadata.labels[label] = value end
    metadata.annotations = metadata.annotations or {}
    metadata.annotations[OURS] = said(ours)
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function namespace(labels, ours)
  labels["app.kubernetes.io/part-of"] = "kubeflow-profile"
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = labels,
    annotations = ours and { [OURS] = ours } } }
end

local ALL = "enforce-version=latest,enforce=baseline,warn-version=latest,warn=restricted"

local function labelled(change)
  local labels = { [PREFIX .. "enforce"] = "baseline", [PREFIX .. "enforce-version"] = "latest",
    [PREFIX .. "warn"] = "restricted", [PREFIX .. "warn-version"] = "latest" }
  for name, value in pairs(change or {}) do labels[PREFIX .. name] = value or nil end
  return labels
end

local ASKED = { verb = "patch", options = { dry_run = true } }

policy.test { name = "a profile namespace without labels gets them, after the API server was asked",
  watch = "profile-pod-security", object = namespace {},
  expect = { writes = { ASKED, { verb = "patch", patch = { metadata = { labels = labelled(),
    annotations = { [OURS] = ALL } } } }, { verb = "event" } } } }

-- What the API server says of a dry run, where pods would be refused.
local ANSWERS = { { warnings = { 'existing pods in namespace "team-a" violate the new PodSecurity enforce level '
  .. '"baseline:latest"', "web-5d8f-a1 (and 1 other pod): hostPath volumes", "alone: host namespaces" } } }
local PODS = { { apiVersion = "v1", kind = "Pod", metadata = { name = "web-5d8f-a1", namespace = "team-a",
  labels = { ["pod-template-hash"] = "5d8f" },
  ownerReferences = { { kind = "ReplicaSet", name = "web-5d8f", controller = true } } } },
  { apiVersion = "v1", kind = "Pod", metadata = { name = "alone", namespace = "team-a" } } }
local NAMED = { verb = "event", type = "Warning", reason = "PodSecurityWouldRefuse",
  message = "baseline would refuse pods that run here: Deployment web (and 1 other pod): hostPath volumes; "
    .. "Pod alone: host namespaces" }

policy.test { name = "whose running pods a level would refuse is said", watch = "profile-pod-security",
  object = namespace {}, objects = PODS, answers = ANSWERS,
  expect = { writes = { ASKED, NAMED, { verb = "patch" }, { verb = "event" } } } }

policy.test { name = "and the label waits for them, where the site wants that", watch = "profile-pod-security",
  object = namespace {}, objects = PODS, answers = ANSWERS, config = { if_refused = "hold" },
  expect = { writes = { ASKED, NAMED } } }

policy.test { name = "what is as it should be is left alone", watch = "profile-pod-security",
  object = namespace(labelled(), ALL), expect = { writes = {} } }

policy.test { name = "what an administrator has set is left, stricter or not", watch = "profile-pod-security",
  object = namespace { [PREFIX .. "enforce"] = "privileged", [PREFIX .. "warn"] = "baseline" },
  expect = { writes = {} } }

policy.test { name = "a stricter level that came after ours is an administrator's", watch = "profile-pod-security",
  object = namespace(labelled { enforce = "restricted" }, ALL), expect = { writes = {} } }

policy.test { name = "a label of ours that was edited to less is put right", watch = "profile-pod-security",
  object = namespace(labelled { enforce = "privileged" }, ALL),
  expect = { writes = { ASKED, { verb = "patch", patch = { metadata = { labels = {
    [PREFIX .. "enforce"] = "baseline" } } } }, { verb = "event" } } } }

policy.test { name = "so is a version of ours that was edited", watch = "profile-pod-security",
  object = namespace(labelled { ["warn-version"] = "v1.20" }, ALL), expect = { writes = { { verb = "patch", patch = {
    metadata = { labels = { [PREFIX .. "warn-version"] = "latest" } } } }, { verb = "event" } } } }

policy.test { name = "what the audit log is to note is labelled where the site says so", watch = "profile-pod-security",
  config = { audit = "restricted", version = "v1.37" }, object = namespace {}, expect = { writes = { ASKED,
    { verb = "patch", patch = { metadata = { labels = { [PREFIX .. "audit"] = "restricted",
      [PREFIX .. "audit-version"] = "v1.37", [PREFIX .. "enforce-version"] = "v1.37" } } } }, { verb = "event" } } } }

policy.test { name = "a label of ours that was removed comes back alone", watch = "profile-pod-security",
  object = namespace(labelled { warn = false }, ALL),
  expect = { writes = { { verb = "patch", patch = { metadata = { labels = { [PREFIX .. "warn"] = "restricted",
    [PREFIX .. "enforce"] = policy.absent } } } }, { verb = "event" } } } }

policy.test { name = "when the site changes its mind, labels of ours follow", watch = "profile-pod-security",
  config = { enforce = "privileged" }, object = namespace(labelled(), ALL),
  expect = { writes = { ASKED, { verb = "patch", patch = { metadata = { labels = {
    [PREFIX .. "enforce"] = "privileged" } } } }, { verb = "event" } } } }

policy.test { name = "a namespace may be left out", watch = "profile-pod-security", object = namespace({}, "off"),
  expect = { writes = {} } }

policy.test { name = "a new one as well", object = namespace({}, "off"), expect = { allowed = true, patch = {} } }

policy.test { name = "a new profile namespace is labelled at once", object = namespace {},
  config = { enforce = "privileged" },
  expect = { allowed = true, object = { metadata = { labels = { [PREFIX .. "enforce"] = "privileged" },
    annotations = { [OURS] = (ALL:gsub("baseline", "privileged")) } } } } }

policy.test { name = "another namespace is left alone", expect = { allowed = true, patch = {} },
  object = { apiVersion = "v1", kind = "Namespace", metadata = { name = "other", labels = {} } } }
