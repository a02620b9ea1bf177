-- kfhost scripts eject: a copy of a bundled script, to be changed.

local bundle = require "bundle"
local cli = require "cli"
local errors = require "errors"
local fs = require "fs"
local scripts = require "scripts"

local function run(args)
  local name = bundle.resolve(args.name)
  local path = fs.join(args.dir or scripts.user_directory(), name)
  if fs.exists(path) and not args.force then
    local message = "the file is there already (--force replaces it)"
    errors.raise { code = "EEXIST", message = message, path = path }
  end
  fs.mkdir(fs.dirname(path), { parents = true })
  fs.write(path, bundle.heading(name) .. scripts.source(name))
  print(path)
  return 0
end

return cli.main {
  name = "scripts eject",
  summary = "copies a bundled script, to change it",
  arguments = {
    { "NAME", "a bundled script, such as policies/vsphere-rwo.lua or vsphere-rwo" },
    { "[DIR]", "where to (the user's own scripts, which come first)" },
  },
  options = { { "--force", "replace a file that is there" } },
  run = run,
} (...)
