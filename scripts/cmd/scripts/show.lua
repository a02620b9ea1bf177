-- kfhost scripts show: the text of a bundled script.

local bundle = require "bundle"
local cli = require "cli"
local scripts = require "scripts"

local function run(args)
  io.stdout:write(scripts.source(bundle.resolve(args.name)))
  return 0
end

return cli.main {
  name = "scripts show",
  summary = "writes a bundled script",
  arguments = { { "NAME", "a bundled script, such as policies/vsphere-rwo.lua or vsphere-rwo" } },
  run = run,
} (...)
