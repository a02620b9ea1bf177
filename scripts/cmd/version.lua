-- kfhost version: which kfhost this is, and the libraries in it.
local cli = require "cli"

local function print_text(this)
  print("kfhost " .. this.version)
  local names = {}
  for name in pairs(this.libraries) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do print(("  %-12s %s"):format(name, this.libraries[name])) end
end

return cli.main {
  name = "version",
  summary = "Says which kfhost this is, and the libraries in it.",
  options = { { "--json", "machine output" } },
  run = function(args)
    local host = require "host"
    local this = { version = host.version, libraries = host.libraries() }
    if args.json then
      print(require("json").encode(this, { sort = true }))
    else
      print_text(this)
    end
  end,
}(...)
