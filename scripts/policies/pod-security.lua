-- pod-security: profile namespaces get the labels of Pod Security that the site wants.
--
-- A profile namespace without labels takes the cluster's default, which on vSphere is "restricted": most pods of
-- notebooks and pipelines are refused there. This policy sets the configured level, and never lowers one that an
-- administrator has set: a stricter or an unknown label stays, and so does one that someone edited after us.
--
-- Old clusters (1.24 and before) have pod security policies instead; there this binding does the same:
--   kind: RoleBinding, roleRef: ClusterRole psp:vmware-system-privileged,
--   subjects: Group system:serviceaccounts:NAMESPACE

local policy = require "policy"

policy.config {
  enforce = { type = "string", enum = { "privileged", "baseline", "restricted" }, default = "baseline",
    doc = "what pods must keep to: baseline with Istio's CNI, privileged without" },
  warn = { type = "string", enum = { "privileged", "baseline", "restricted" }, default = "restricted",
    doc = "what users are warned about" },
  version = { type = "string", default = "latest", doc = "of the standards" },
}

policy.grant { reads = { "namespaces" }, writes = { { resource = "namespaces", verbs = { "patch" } } } }

local PREFIX = "pod-security.kubernetes.io/"
local OURS = "policy.kfhost.io/pod-security" -- annotation: the labels as we set them
local PROFILE = "app.kubernetes.io/part-of=kubeflow-profile"

-- What the labels of a namespace lack; a label that is there is left, whoever set it.
local function missing(labels, config)
  local wanted = { enforce = config.enforce, warn = config.warn }
  local changes = {}
  for mode, level in pairs(wanted) do
    if labels[PREFIX .. mode] == nil then
      changes[PREFIX .. mode] = level
      if labels[PREFIX .. mode .. "-version"] == nil then changes[PREFIX .. mode .. "-version"] = config.version end
    end
  end
  return changes
end

local function said(changes)
  local words = {}
  for label, value in pairs(changes) do words[#words + 1] = label:sub(#PREFIX + 1) .. "=" .. value end
  table.sort(words)
  return table.concat(words, ",")
end

policy.watch {
  name = "profile-pod-security",
  doc = "labels profile namespaces, also those that become one later or lose a label",
  resource = "namespaces",
  label = PROFILE,
  reconcile = function(namespace, ctx)
    local changes = missing(namespace.metadata.labels or {}, ctx.config)
    if next(changes) == nil then return end
    local text = said(changes)
    ctx:patch(namespace, { metadata = { labels = changes, annotations = { [OURS] = text } } }, { type = "merge" })
    ctx:event(namespace, "Normal", "PodSecurityLabels", "set %s", text)
  end,
}

policy.mutate {
  name = "new-profile-pod-security",
  doc = "a namespace that is created as a profile's has its labels before its first pod comes",
  match = { resource = "namespaces", operations = { "CREATE" }, label = PROFILE },
  apply = function(req)
    local labels = req.object.metadata.labels
    for label, value in pairs(missing(labels, req.config)) do labels[label] = value end
  end,
}

-- --- tests ----------------------------------------------------------------------------------------------------

local function namespace(labels)
  labels["app.kubernetes.io/part-of"] = "kubeflow-profile"
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = labels } }
end

policy.test { name = "a profile namespace without labels gets them", watch = "profile-pod-security",
  object = namespace {},
  expect = { writes = { { verb = "patch", patch = { metadata = { labels = {
    [PREFIX .. "enforce"] = "baseline", [PREFIX .. "enforce-version"] = "latest",
    [PREFIX .. "warn"] = "restricted", [PREFIX .. "warn-version"] = "latest" } } } }, { verb = "event" } } } }

policy.test { name = "what an administrator has set is left, stricter or not", watch = "profile-pod-security",
  object = namespace { [PREFIX .. "enforce"] = "restricted", [PREFIX .. "warn"] = "baseline" },
  expect = { writes = {} } }

policy.test { name = "a label that was removed comes back alone", watch = "profile-pod-security",
  object = namespace { [PREFIX .. "enforce"] = "baseline", [PREFIX .. "enforce-version"] = "v1.30",
    [PREFIX .. "warn-version"] = "latest" },
  expect = { writes = { { verb = "patch", patch = { metadata = { labels = {
    [PREFIX .. "warn"] = "restricted" } } } }, { verb = "event" } } } }

policy.test { name = "a new profile namespace is labelled at once", object = namespace {},
  config = { enforce = "privileged" },
  expect = { allowed = true, object = { metadata = { labels = { [PREFIX .. "enforce"] = "privileged" } } } } }

policy.test { name = "another namespace is left alone", expect = { allowed = true, patch = {} },
  object = { apiVersion = "v1", kind = "Namespace", metadata = { name = "other", labels = {} } } }
