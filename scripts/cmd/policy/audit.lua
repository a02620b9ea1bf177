-- kfhost policy audit: what policies would say of objects that are already there.
local cli = require "cli"

local function print_table(findings)
  local term = require "term"
  local rows = { { "RESULT", "POLICY", "OBJECT", "WHAT" } }
  for _, finding in ipairs(findings) do
    if finding.result ~= "pass" then
      local what = finding.message or finding.paths and "would change " .. table.concat(finding.paths, ", ") or ""
      rows[#rows + 1] = { finding.result, finding.policy, finding.object, what }
    end
  end
  if #rows > 1 then io.write(term.table(rows), "\n") end
  local counts = require "policy.audit".summary(findings)
  print(("%d fail, %d warn, %d error, %d pass"):format(counts.fail, counts.warn, counts.error, counts.pass))
end

local function names_cluster()
  local options = require "host".options()
  return options.kubeconfig or options.context or os.getenv "KUBECONFIG" or os.getenv "KUBERNETES_SERVICE_HOST"
end

return cli.main {
  name = "policy audit",
  summary = "Judges objects that are already there; changes nothing.",
  description = "The objects of the cluster that --kubeconfig or KUBECONFIG names, or those of files; without both, "
    .. "those of standard input. Exit code 1 when a policy would refuse one, or fails.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "-f, --filename FILE", "objects from YAML or JSON files; - is standard input", repeated = true },
    { "-n, --namespace NAME", "of a cluster: only this namespace" },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
    { "--report", "PolicyReport objects as YAML" },
  },
  run = function(args)
    local command, audit = require "policy.command", require "policy.audit"
    local set = command.load(args)
    local findings
    if #args.filename == 0 and names_cluster() then
      findings = audit.cluster(set, command.connect(), args.namespace)
    else
      local objects = command.objects(args.filename)
      set:know(objects)
      findings = audit.findings(set, objects)
    end
    if args.report then
      for _, report in ipairs(audit.reports(findings)) do io.write("---\n", require "yaml".encode(report)) end
    elseif args.json then
      local json = require "json"
      print(json.encode({ findings = json.array(findings), summary = audit.summary(findings) }, { sort = true }))
    else
      print_table(findings)
    end
    local counts = audit.summary(findings)
    return (counts.fail > 0 or counts.error > 0) and 1 or 0
  end,
}(...)
