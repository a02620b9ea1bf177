-- kfhost scripts: the bundled scripts: which there are, what is in them, and copies to change.
-- Not for running one: that is `kfhost SCRIPT.lua`, or the command of that name.
--   kfhost scripts eject policies/vsphere-rwo.lua     then change the copy; it comes first from now on

return require("cli").main {
  name = "scripts",
  summary = "lists, shows and copies the bundled scripts",
  commands = {
    list = { "names them and the files that stand before them", module = "cmd.scripts.list" },
    show = { "writes one", module = "cmd.scripts.show" },
    eject = { "copies one, to change it", module = "cmd.scripts.eject" },
    diff = { "shows what was changed", module = "cmd.scripts.diff" },
  },
} (...)
