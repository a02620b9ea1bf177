-- A lab as a site that policies are served to, with its administrator's client, and what tests wait for in it.
--   local site = dofile "tests/lua/support/site.lua"; site.with({ nodes = 1 }, function(lab, c) … end)
local kube = require "kube"
local serve = require "lab.serve"
local wait = dofile "tests/lua/support/wait.lua"

local M = {}

---A lab that ends with the function.
---@param options table of lab.serve.start
---@param run fun(lab: lab.Running, client: table)
function M.with(options, run)
  local lab = serve.start(options)
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  local ok, problem = pcall(run, lab, c)
  c:close()
  lab:close()
  if not ok then error(problem, 0) end
end

---Waits until a function gives something.
function M.eventually(what, check) return wait(what, check, 30) end

---An object's event of a reason.
function M.event_of(c, namespace, name, reason)
  return M.eventually(("%s has an event %s"):format(name, reason), function()
    for _, event in ipairs(c:list("events", { namespace = namespace })) do
      if event.involvedObject.name == name and event.reason == reason then return event end
    end
  end)
end

return M
