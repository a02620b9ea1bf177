-- kfhost kale jupyter: puts the extension where a notebook's Python finds it.

local bundle = require "bundle"
local cli = require "cli"
local errors = require "errors"
local fs = require "fs"
local proc = require "proc"

local FILE <const> = "kale/jupyter/kfhost.py"

-- The folder of a Python's own packages; a user's own where that may not be written.
local function packages_of(python)
  local code = "import site, sysconfig, os\n"
    .. "own = sysconfig.get_paths()['purelib']\n"
    .. "print(own if os.access(own, os.W_OK) else site.getusersitepackages())"
  local done = proc.run { python, "-c", code, timeout = 30 }
  if done.code ~= 0 then
    errors.raise { code = "Exit", message = ("%s: %s"):format(python, done.stderr), exit = done.code }
  end
  return (done.stdout:gsub("%s+$", ""))
end

local function run(args)
  local folder = args.dir or packages_of(args.python or "python3")
  local path = fs.join(folder, "kfhost.py")
  local text = bundle.heading(FILE) .. require("scripts").source(FILE)
  if fs.exists(path) and not fs.read(path):find("kfhost in a notebook", 1, true) then
    errors.raise { code = "EEXIST", message = "another kfhost.py is there; it is left as it is", path = path }
  end
  fs.mkdir(folder, { parents = true })
  fs.write(path, text)
  print(path)
  print "in a notebook: %load_ext kfhost, then %kale check, %kale run, %kale tune"
  return 0
end

return cli.main {
  name = "kale jupyter",
  summary = "installs the extension for Jupyter: %load_ext kfhost",
  arguments = { { "[DIR]", "where to (the packages of the Python)" } },
  options = { { "--python FILE", "the Python that runs notebooks (python3)" } },
  run = run,
} (...)
