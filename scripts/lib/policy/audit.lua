-- policy.audit: what policies would say of objects that are already there.
-- Not for changing them; references and patch paths only, no values of objects.
--   local findings = audit.findings(set, objects); local reports = audit.reports(findings)

local command = require "policy.command"
local resources = require "policy.inside.resources"
local rights = require "policy.rights"
local trial = require "policy.trial"

local M = {}

local RESULTS = { denied = "fail", ["would-deny"] = "fail", patched = "warn", ["would-patch"] = "warn",
  error = "error", allowed = "pass", unchanged = "pass" }

local function has(list, value)
  for _, one in ipairs(list or { "CREATE", "UPDATE" }) do
    if one == value then return true end
  end
  return false
end

-- The policies that are asked about changes only: an object that is there is passed to them as one that is changed.
local function of_changes(set)
  local names = {}
  for _, policy in ipairs(set.description.policies) do
    local created, updated = false, false
    for _, match in ipairs(policy.match) do
      created, updated = created or has(match.operations, "CREATE"), updated or has(match.operations, "UPDATE")
    end
    if updated and not created then names[policy.name] = true end
  end
  return names
end

local function finding_of(object, record)
  local metadata = object.metadata or {}
  return { object = command.name_of(object), policy = record.policy, result = RESULTS[record.verdict] or "error",
    message = record.message, paths = record.paths, reference = { apiVersion = object.apiVersion, kind = object.kind,
      namespace = metadata.namespace, name = metadata.name, uid = metadata.uid } }
end

---@param set policy.Set
---@param objects table[]
---@param findings table[]? a list to add to
---@return {object: string, reference: table, policy: string, result: string, message: string?, paths: string[]?}[]
function M.findings(set, objects, findings)
  findings = findings or {}
  local changes = of_changes(set)
  for _, object in ipairs(objects) do
    for _, record in ipairs(trial.apply(set, object).records) do
      findings[#findings + 1] = finding_of(object, record)
    end
    if next(changes) then
      for _, record in ipairs(trial.apply(set, object, { operation = "UPDATE" }).records) do
        if changes[record.policy] then findings[#findings + 1] = finding_of(object, record) end
      end
    end
  end
  return findings
end

-- The kinds that policies match, as the client takes them; "*" stands for all that can be listed, but Secrets.
local function kinds_of(set, client)
  local kinds, seen = {}, {}
  local function add(kind)
    if not seen[kind] then kinds[#kinds + 1] = kind end
    seen[kind] = true
  end
  local function add_all()
    for _, resource in ipairs(client.discovery:all()) do
      if has(resource.verbs or {}, "list") and has(resource.verbs, "create") and resource.plural ~= "secrets" then
        add(resource.group ~= "" and resource.plural .. "." .. resource.group or resource.plural)
      end
    end
  end
  for _, policy in ipairs(set.description.policies) do
    for _, match in ipairs(policy.match) do
      for name in match.resource:gmatch "[^|%s]+" do
        local parsed = resources.parse(name)
        if parsed.plural == "*" then add_all()
        elseif not parsed.subresource then
          add((parsed.group or "") ~= "" and parsed.plural .. "." .. parsed.group or parsed.plural)
        end
      end
    end
  end
  return kinds
end

---What policies say of the objects of a cluster.
---@param set policy.Set
---@param client table of kube.connect; nothing is written
---@param namespace string? only this one's objects
---@return table[] findings
function M.cluster(set, client, namespace)
  local known = {}
  for _, kind in ipairs(rights.reads(set.description)) do
    command.each(client, kind, nil, function(object) known[#known + 1] = object end)
  end
  set:know(known)
  local findings = {}
  for _, kind in ipairs(kinds_of(set, client)) do
    command.each(client, kind, namespace, function(object) M.findings(set, { object }, findings) end)
  end
  return findings
end

---@param findings table[]
---@return table<string, integer> counts by result
function M.summary(findings)
  local counts = { pass = 0, fail = 0, warn = 0, error = 0, skip = 0 }
  for _, finding in ipairs(findings) do counts[finding.result] = counts[finding.result] + 1 end
  return counts
end

---@param findings table[]
---@return table[] reports PolicyReport objects (wgpolicyk8s.io/v1alpha2) by namespace, or ClusterPolicyReport
function M.reports(findings)
  local by_namespace, order = {}, {}
  for _, finding in ipairs(findings) do
    local namespace = finding.reference.namespace or ""
    if not by_namespace[namespace] then
      by_namespace[namespace] = {}
      order[#order + 1] = namespace
    end
    table.insert(by_namespace[namespace], finding)
  end
  table.sort(order)
  local reports = {}
  for _, namespace in ipairs(order) do
    local list = by_namespace[namespace]
    local results = {}
    for i, finding in ipairs(list) do
      local message = finding.message
      if not message and finding.paths then message = "would change " .. table.concat(finding.paths, ", ") end
      results[i] = { policy = finding.policy, result = finding.result, message = message, source = "kfhost",
        resources = { finding.reference } }
    end
    reports[#reports + 1] = { apiVersion = "wgpolicyk8s.io/v1alpha2",
      kind = namespace == "" and "ClusterPolicyReport" or "PolicyReport",
      metadata = { name = "kfhost", namespace = namespace ~= "" and namespace or nil },
      results = results, summary = M.summary(list) }
  end
  return reports
end

return M
