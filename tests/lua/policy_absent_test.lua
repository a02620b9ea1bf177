-- A policy that follows kinds which a cluster gets later, or never: the others are served all the same.
local test = require "test"
local controller = require "policy.controller"
local fs = require "fs"
local kube = require "kube"
local policy = require "policy"
local serve = require "lab.serve"
local task = require "task"

local FILE = [[
local policy = require "policy"
policy.grant { reads = { "configmaps", "widgets.example.com" },
  writes = { { resource = "configmaps", verbs = { "patch" } } } }
policy.watch { name = "widgets", resource = "widgets.example.com", reconcile = function(widget, ctx)
  local map = ctx:get("configmaps", "default", "seen")
  ctx:patch(map, { data = { [widget.metadata.name] = "yes" } }, { type = "merge" })
end }
]]

test("a kind that the cluster has not yet is looked for; what else is followed is there at once", function()
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", FILE)
  local lab = serve.start { nodes = 0 }
  local c = kube.connect { server = lab.url, token = lab.token, ca = lab.ca, manager = "test", log = function() end }
  local set, said = policy.load(directory .. "/site.lua"), {}
  c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "seen", namespace = "default" } }
  -- What is remembered of another cluster that was at this address: it had that kind.
  c.discovery.list = { { plural = "widgets", singular = "widget", kind = "Widget", group = "example.com",
    version = "v1", short = {}, namespaced = true, verbs = { "list", "watch" }, subresources = {} } }
  local running = controller.start(set, c, { look_seconds = 0.05, log = function(text) said[#said + 1] = text end })
  running:sync "30s"
  test.equal(running:is_synced(), true)
  test.equal(said[1], "the cluster has no widgets.example.com: it is looked for every 0.05 s")
  c:create { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = "widgets.example.com" }, spec = { group = "example.com", scope = "Namespaced",
      names = { kind = "Widget", plural = "widgets", singular = "widget" }, versions = { { name = "v1", served = true,
        storage = true, schema = { openAPIV3Schema = { type = "object" } } } } } }
  for _ = 1, 1000 do
    if c.try:create { apiVersion = "example.com/v1", kind = "Widget", metadata = { name = "w", namespace = "default" } }
    then break end
    task.sleep(0.02)
  end
  c:wait { kind = "configmaps", name = "seen", namespace = "default", jsonpath = "{.data.w}", value = "yes",
    timeout = "50s" }
  running:stop()
  set:close()
  c:close()
  lab:close()
end)
