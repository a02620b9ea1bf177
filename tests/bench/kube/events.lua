-- Events of a watch, each handed to a handler as an object: kfhost events.lua URL COUNT
-- Prints events a second, and microseconds of CPU an event.
local task = require "task"
local c = require "kube".connect { server = arg[1], cache = false }
local wanted, handled, phases = math.tointeger(arg[2]), 0, {}
local done = task.event()
local i <close> = c:informer { kind = "pods", namespace = "*", handler = function(_, pod)
  handled = handled + 1
  phases[pod.status.phase] = true
end }
i:sync "5m"
while i:stats().pending > 0 do task.sleep(0.01) end
local began, first, clock = task.now(), i:stats().events, os.clock()
while i:stats().events < wanted or i:stats().pending > 0 do done:wait(0.005) end
local stats = i:stats()
assert(phases.Running and handled + stats.coalesced >= wanted, "not all were handled")
local count = stats.events - first
print(count / (task.now() - began), (os.clock() - clock) / count * 1e6)
