-- Says what is wrong with an Experiment: first what Katib refuses, then what it lets pass although it cannot work.
--   kfhost check-experiment.lua experiment.yaml
local fs = require "fs"
local katib = require "katib"
local yaml = require "yaml"

local experiment = yaml.decode(fs.read(arg[1]))
local findings = katib.validate(experiment)

for _, finding in ipairs(findings) do
  local who = finding.stage == "webhook" and "refused" or finding.severity
  print(("%-8s %s: %s"):format(who, finding.path, finding.message))
end

if #findings == 0 then
  local first = katib.suggest(experiment, {}, 1, { seed = 1 })[1]
  print "nothing is wrong with it; a first trial could be:"
  for _, assignment in ipairs(first) do print(("  %s = %s"):format(assignment.name, assignment.value)) end
end
