-- All pods as Lua tables: kfhost list.lua URL
local c = require "kube".connect { server = arg[1], cache = false }
print(#(c:list("pods", { namespace = "*" })))
c:close()
