-- The runs of a KFP server that failed, newest first; when the server cannot be reached, why not.
--   kfhost failed-runs.lua [ENDPOINT]
local kfp = require "kfp"

local client = kfp.connect { endpoint = arg[1], timeout = "10s", tries = 1 }
local health, problem = client.try:health()
if not health then
  print(problem.message)
  for _, finding in ipairs(client:diagnose()) do
    print(("  %-10s %s"):format(finding.check, finding.message))
    if finding.fix then print((" "):rep(13) .. finding.fix) end
  end
  os.exit(1)
end

for run in client.runs:list { filter = { state = "FAILED" }, sort_by = "created_at desc" } do
  print(run.created_at, run.display_name, (run.error or {}).message or "")
end
