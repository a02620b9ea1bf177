-- The first review after a host of policies has registered itself sees all that was in the cluster before.
local test = require "test"
local fs = require "fs"
local host = require "host"
local proc = require "proc"
local site = dofile "tests/lua/support/site.lua"

local COUNT <const> = 30

local SITE <const> = [[
local policy = require "policy"
policy.grant { reads = { "limitranges", "serviceaccounts", "configmaps" } }
policy.validate { name = "sees-all", match = { resource = "services" }, check = function(req)
  local found = {}
  for i, kind in ipairs { "configmaps", "limitranges", "serviceaccounts" } do
    local count = 0
    for _, one in ipairs(req:find(kind, { namespace = "default" })) do
      if one.metadata.name:find "^x%d+$" then count = count + 1 end
    end
    found[i] = kind .. "=" .. count
  end
  req:warn("%s", table.concat(found, " "))
end }
]]

test("the first review sees all that was there", function()
  site.with({ nodes = 0 }, function(lab, c)
    local directory = test.tmpdir()
    fs.write(directory .. "/site.lua", SITE)
    lab:write_kubeconfig(directory .. "/kubeconfig")
    for i = 1, COUNT do
      for _, kind in ipairs { "ConfigMap", "ServiceAccount", "LimitRange" } do
        c:create { apiVersion = "v1", kind = kind, metadata = { name = "x" .. i, namespace = "default" },
          spec = kind == "LimitRange" and { limits = {} } or nil }
      end
    end
    local process <close> = proc.spawn { host.executable(), "policy", "serve", directory .. "/site.lua", "--port", "0",
      "--ops-port", "0", "--workers", "1", "--register", "true", stdout = "null", stderr = "pipe",
      env = { KUBECONFIG = directory .. "/kubeconfig", KFHOST_PATH = false, ASAN_OPTIONS = "detect_leaks=0" } }
    repeat
      local line = process:read_line("stderr", 120)
      if not line then error("it ended before it was registered", 0) end
    until line:find("registered Validating", 1, true)
    local _, warnings = c:create { apiVersion = "v1", kind = "Service", metadata = { name = "s",
      namespace = "default" }, spec = { ports = { { port = 80 } } } }
    test.equal(table.concat(warnings, "\n"):match "configmaps=.*",
      ("configmaps=%d limitranges=%d serviceaccounts=%d"):format(COUNT, COUNT, COUNT))
    process:kill "TERM"
    process:wait(60)
  end)
end)
