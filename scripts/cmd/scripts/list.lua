-- kfhost scripts list: the bundled scripts and the files that stand before them.

local cli = require "cli"
local scripts = require "scripts"

local function run(args)
  local entries = {}
  for _, name in ipairs(scripts.names()) do
    local path, place = scripts.override(name)
    entries[#entries + 1] = { name = name, path = path, place = place,
      outdated = path ~= nil and scripts.is_outdated(path, name) or nil }
  end
  if args.json then
    print(require("json").encode(entries, { sort = true }))
    return 0
  end
  for _, entry in ipairs(entries) do
    local note = ""
    if entry.path then
      note = ("  <- %s (%s%s)"):format(entry.path, entry.place, entry.outdated and ", outdated" or "")
    end
    print(entry.name .. note)
  end
  return 0
end

return cli.main {
  name = "scripts list",
  summary = "names the bundled scripts and the files that stand before them",
  options = { { "--json", "machine output" } },
  run = run,
} (...)
