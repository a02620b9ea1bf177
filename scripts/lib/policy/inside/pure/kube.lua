-- kube, as policies have it: the functions that need no cluster.
-- Not for connections: a policy reads what it has declared by req:find and ctx.
--   require "kube".quantity "1Gi"

return require "kube.core"
