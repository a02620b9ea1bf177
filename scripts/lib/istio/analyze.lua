-- What is wrong with objects when they are looked at together: the analyzers of istioctl that matter for a
-- profile, by their codes, and some of our own (KF…). Not for the fields of one object: see validate.
--   for _, m in ipairs(analyze.analyze(objects)) do print(m.code, m.object, m.message) end
local read = require "istio.analyze.read"

local M = {}

---@class istio.Analysis
---@field objects table[]
---@field options table
---@field messages table[]
---@field namespaces table<string, table> by name
---@field pods table[] pods, and the templates of workloads, as {labels, annotations, spec, namespace, object}
local Analysis = {}
Analysis.__index = Analysis

function Analysis:add(code, severity, object, message, ...)
  local text = select("#", ...) > 0 and message:format(...) or message
  self.messages[#self.messages + 1] = { code = code, severity = severity, message = text, object = read.title(object) }
end

local PARTS = {
  "istio.analyze.injection", "istio.analyze.annotations", "istio.analyze.references", "istio.analyze.routes",
  "istio.analyze.envoy", "istio.analyze.policies", "istio.analyze.kubeflow",
}

---Analyzes objects of one cluster.
---@param objects table[]
---@param options table? root_namespace, injection (see inject), native_sidecars (true), late_webhooks (names that must
---  come after Istio's and Katib's), only (some of the parts, by module)
---@return {code: string, severity: "error"|"warning"|"info", message: string, object: string}[] sorted
function M.analyze(objects, options)
  local analysis = setmetatable({
    objects = objects, options = options or {}, messages = {}, namespaces = read.namespaces(objects),
    pods = read.pods(objects),
  }, Analysis)
  for _, part in ipairs((options or {}).only or PARTS) do
    for _, check in pairs(require(part)) do check(analysis) end
  end
  table.sort(analysis.messages, function(x, y)
    if x.object ~= y.object then return x.object < y.object end
    if x.code ~= y.code then return x.code < y.code end
    return x.message < y.message
  end)
  return analysis.messages
end

return M
