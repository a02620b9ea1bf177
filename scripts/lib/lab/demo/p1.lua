-- P1: pods of a profile namespace may not call Pipelines: no token, no right, no way through the mesh. Repaired by
-- kfp-access.
local stage = require "lab.demo.stage"

local PLACE <const> = "team-a"

-- What a step, a notebook or a trial does first; the exit code says whether it was let in.
local PROGRAM <const> = [[
local ok, problem = pcall(function()
  local k = require("kfp").connect { namespace = "team-a" }
  local runs = 0
  for _ in k.runs:list() do runs = runs + 1 end
  print(("Pipelines answers: %d runs"):format(runs))
end)
if not ok then print(require("errors").text(problem)) end
return ok and 0 or 1
]]

local function before(on) on:profile(PLACE) end

local function act(on)
  on:creates(stage.job(PLACE, "ask", { image = "kfhost", command = { "kfhost", "-e", PROGRAM } },
    { serviceAccountName = "default-editor", labels = { ["access-ml-pipeline"] = "true" } }))
  on:ended(PLACE, "ask")
  on:hears("%s", on:printed(PLACE, "ask", "main"))
  return on:printed(PLACE, "ask", "main"):find("Pipelines answers", 1, true) ~= nil
end

return {
  number = "P1", title = "pods of a profile namespace may not call Pipelines", policies = { "kfp-access" },
  lab = { nodes = 1, time_scale = 0.05, mesh = true }, kubeflow = true,
  picture = { { name = "pod", note = "default-editor of team-a" }, { name = "mesh", note = "who is it?" },
    { name = "ml-pipeline", note = "may it?", state = "failed" } },
  why = "Pipelines wants to know who asks: by a token for its own audience, which no pod has of itself, and then asks "
    .. "the cluster whether that account may. The policy gives pods the token and the account the right; a pod acts as "
    .. "itself, never as a person whose name it puts into a header.",
  before = before, act = act,
}
