-- An engineer's day at the REPL, task by task, in a lab with running pods; each also with kubectl, where there is one.
local test = require "test"
local proc = require "proc"

local folder = (debug.getinfo(1, "S").source:match "^@(.*/)" or "./")
local tasks = dofile(folder .. "tasks.lua")

test("each of the twenty tasks is done in the lab", function()
  local day <close> = dofile(folder .. "lab.lua").start(test.tmpdir())
  for _, one in ipairs(tasks) do
    local text = day:type(one.typed)
    if not text:find(one.shows) then error(("%s: %q shows\n%s"):format(one.name, one.typed[1], text), 0) end
    assert(not text:find "^kfhost:", text)
  end
  test.equal(#tasks, 20)
  test.equal(day.client:get("configmaps", "settings").data.color, "blue")
  local csv = require("fs").read(require("fs").join(day.folder, "pods.csv"))
  assert(csv:find "^[^\n]*NAME,READY" and csv:find "\n[^\n]*web%-", csv)
  test.equal(day.client:get("deployments", "web").spec.replicas, 2)
end)

if proc.which "kubectl" then
  test("kubectl is asked for the same", function()
    local day <close> = dofile(folder .. "lab.lua").start(test.tmpdir())
    for _, one in ipairs(tasks) do
      local text = day:shell(one.shell)
      if not one.needs_explain and not text:find(one.shows) then
        error(("%s: %s shows\n%s"):format(one.name, one.shell[1], text), 0)
      end
    end
  end)
end
