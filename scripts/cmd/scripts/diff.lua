-- kfhost scripts diff: what the files that stand before bundled scripts have changed.

local bundle = require "bundle"
local cli = require "cli"
local fs = require "fs"
local scripts = require "scripts"

local unified = require("diff").unified

local function differences(name)
  local path = scripts.override(name)
  if not path then return "" end
  return unified(scripts.source(name), bundle.without_heading(fs.read(path)),
    { from = "kfhost/" .. name, to = path })
end

local function run(args)
  local names = args.name and { bundle.resolve(args.name) } or scripts.names()
  for _, name in ipairs(names) do io.stdout:write(differences(name)) end
  return 0
end

return cli.main {
  name = "scripts diff",
  summary = "shows what the files that stand before bundled scripts have changed",
  arguments = { { "[NAME]", "a bundled script; all of them when absent" } },
  run = run,
} (...)
