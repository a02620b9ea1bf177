-- An informer in sync with all pods: kfhost informer.lua URL
local c = require "kube".connect { server = arg[1], cache = false }
local i <close> = c:informer { kind = "pods", namespace = "*" }
i:sync "5m"
print(i:stats().objects)
