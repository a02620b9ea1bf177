-- A lab whose objects outlast it: it is killed at any moment, and nothing that it acknowledged is lost.
local api = require "lab.api"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local state = require "lab.state"
local test = require "test"

local MAPS = "/api/v1/namespaces/default/configmaps"

local function open(directory)
  local kept = state.open(directory)
  local cluster = api.new { state = kept, token_secret = kept:token_secret() }
  return cluster, kept
end

test("objects, versions and custom resources are there again", function()
  local directory = test.tmpdir()
  local cluster, kept = open(directory)
  cluster:call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", { body = {
    metadata = { name = "toys.play.example" }, spec = { group = "play.example", scope = "Namespaced",
      names = { plural = "toys", kind = "Toy" }, versions = { { name = "v1", served = true, storage = true,
        schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } } })
  cluster:call("POST", "/apis/play.example/v1/namespaces/default/toys", { body = { apiVersion = "play.example/v1",
    kind = "Toy", metadata = { name = "t" }, size = 3 } })
  cluster:call("POST", MAPS, { body = { metadata = { name = "a" }, data = { k = "v" } } })
  cluster:call("POST", MAPS, { body = { metadata = { name = "b" } } })
  cluster:call("DELETE", MAPS .. "/b")
  local before = cluster:call("GET", MAPS .. "/a")
  local revision = cluster.store.revision
  kept:close()
  local again, other = open(directory)
  test.same(again:call("GET", MAPS .. "/a"), before)
  test.equal((again:call("GET", MAPS .. "/b")), nil)
  test.equal(again:call("GET", "/apis/play.example/v1/namespaces/default/toys/t").size, 3)
  test.equal(again.store.revision, revision)
  other:close()
end)

-- Writes one object after the other and says each that was acknowledged, until it is killed.
local WRITER = [[
local api, state = require "lab.api", require "lab.state"
local kept = state.open(arg[1])
local cluster = api.new { state = kept }
for i = 1, 100000 do
  local name = arg[2] .. "-" .. i
  cluster:call("POST", "/api/v1/namespaces/default/configmaps", { body = { metadata = { name = name } } })
  io.stdout:write(name, "\n")
  io.stdout:flush()
end]]

test("killed at any moment: what was acknowledged is there", function()
  local directory = test.tmpdir()
  local script = fs.join(test.tmpdir(), "writer.lua")
  fs.write(script, WRITER)
  local acknowledged = {}
  for round = 1, 12 do
    local writer = proc.spawn { host.executable(), script, fs.join(directory, "state"), "r" .. round }
    for _ = 1, round * 7 % 23 + 1 do acknowledged[#acknowledged + 1] = writer:read_line() end
    writer:kill "KILL"
    writer:wait()
    for line in writer:lines() do acknowledged[#acknowledged + 1] = line end
  end
  local cluster, kept = open(fs.join(directory, "state"))
  local there = {}
  for _, item in ipairs(cluster:call("GET", MAPS).items) do there[item.metadata.name] = true end
  local lost = {}
  for _, name in ipairs(acknowledged) do
    if not there[name] then lost[#lost + 1] = name end
  end
  test.same(lost, {})
  test.equal(#acknowledged >= 12, true)
  kept:close()
end)

test("a kubeconfig stays good: the token and the authority are kept", function()
  local directory = test.tmpdir()
  local kept = state.open(directory)
  local token = kept:fact("admin_token", function() return "one" end)
  kept:close()
  kept = state.open(directory)
  test.equal(kept:fact("admin_token", function() return "two" end), token)
  kept:close()
end)
