-- Profile namespaces get the secret to pull images with, also when someone deletes it.
local policy = require "policy"

policy.config {
  from = { type = "string", default = "kubeflow", doc = "namespace of the original" },
  name = { type = "string", default = "site-registry", doc = "of the secret" },
}

policy.grant {
  reads = { "secrets" },
  writes = { { resource = "secrets", verbs = { "create", "patch" } } },
}

policy.watch {
  name = "copy-pull-secrets",
  resource = "namespaces",
  label = "app.kubernetes.io/part-of=kubeflow-profile",
  resync = "10m",
  reconcile = function(namespace, ctx)
    local original = ctx:get("secrets", ctx.config.from, ctx.config.name)
    if not original then return ctx:requeue "1m" end
    local copy = { apiVersion = "v1", kind = "Secret", type = original.type, data = original.data,
      metadata = { name = ctx.config.name, namespace = namespace.metadata.name } }
    local there = ctx:get("secrets", namespace.metadata.name, ctx.config.name)
    if not there or not ctx.contains(there, copy) then ctx:apply(copy, { force = true }) end
  end,
}

local NAMESPACE = { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a", labels = {
  ["app.kubernetes.io/part-of"] = "kubeflow-profile" } } }
local function secret(namespace, data)
  return { apiVersion = "v1", kind = "Secret", type = "kubernetes.io/dockerconfigjson", data = { c = data },
    metadata = { name = "site-registry", namespace = namespace } }
end

policy.test { name = "the secret is copied", watch = "copy-pull-secrets", object = NAMESPACE,
  objects = { secret("kubeflow", "QQ==") },
  expect = { writes = { { verb = "apply",
    object = { metadata = { namespace = "team-a" }, data = { c = "QQ==" } } } } } }
policy.test { name = "an equal copy is left", watch = "copy-pull-secrets", object = NAMESPACE,
  objects = { secret("kubeflow", "QQ=="), secret("team-a", "QQ==") }, expect = { writes = {} } }
policy.test { name = "another one is repaired", watch = "copy-pull-secrets", object = NAMESPACE,
  objects = { secret("kubeflow", "QQ=="), secret("team-a", "Qg==") }, expect = { writes = { { verb = "apply" } } } }
