-- All pods as the table that `kubectl get pods -A` shows: kfhost table.lua URL
local c = require "kube".connect { server = arg[1], cache = false }
print(#c:table("pods", { namespace = "*" }).rows)
c:close()
