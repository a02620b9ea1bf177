-- policy.audit: what policies would say of objects that are already there.
-- Not for changing them; references and patch paths only, no values of objects.
--   local findings = audit.findings(set, objects); local reports = audit.reports(findings)

local command = require "policy.command"
local trial = require "policy.trial"

local M = {}

local RESULTS = { denied = "fail", ["would-deny"] = "fail", patched = "warn", ["would-patch"] = "warn",
  error = "error", allowed = "pass", unchanged = "pass" }

---@param set policy.Set
---@param objects table[]
---@return {object: string, reference: table, policy: string, result: string, message: string?, paths: string[]?}[]
function M.findings(set, objects)
  local findings = {}
  for _, object in ipairs(objects) do
    local metadata = object.metadata or {}
    for _, record in ipairs(trial.apply(set, object).records) do
      findings[#findings + 1] = { object = command.name_of(object), policy = record.policy,
        result = RESULTS[record.verdict] or "error", message = record.message, paths = record.paths,
        reference = { apiVersion = object.apiVersion, kind = object.kind, namespace = metadata.namespace,
          name = metadata.name, uid = metadata.uid } }
    end
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
