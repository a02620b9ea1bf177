-- Installing packages in a step, as compiled components begin with: what the interpreter has is left alone, what it
-- lacks goes into a folder of the step's own, never into the interpreter's. A part of kfp.images.
--   local folder = pip.folder(root, "/usr/bin/python3"); pip.environment(env, words, step_folder)
local fs = require "fs"
local proc = require "proc"

local M = {}

-- Takes the place of `python -m pip install …`. Where a place is said by its words, or all is to be made new, pip gets
-- them as they are.
local INSTALL = [[
import os, sys

WITH_VALUE = {"-i", "--index-url", "--extra-index-url", "--trusted-host", "-f", "--find-links", "-c", "--constraint",
              "--cert", "--client-cert", "--proxy", "--timeout", "--retries", "--cache-dir", "--no-binary",
              "--only-binary", "--progress-bar", "--log", "--platform", "--python-version", "--implementation", "--abi"}
PLACES = {"-t", "--target", "--prefix", "--root", "--user", "-e", "--editable", "--dry-run"}
ANEW = {"-r", "--requirement", "-U", "--upgrade", "--force-reinstall", "-I", "--ignore-installed"}


def is_there(text):
    try:
        from importlib.metadata import version
        from pip._vendor.packaging.requirements import Requirement

        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            return True
        if wanted.url or wanted.extras:
            return False
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except Exception:
        return False


words = sys.argv[1:]
names = {word.split("=", 1)[0] for word in words if word.startswith("-")}
folder = os.environ.get("KFHOST_STEP_PACKAGES")
in_venv = bool(os.environ.get("VIRTUAL_ENV")) and os.environ.get("KFHOST_VIRTUAL_ENV") != os.environ["VIRTUAL_ENV"]
if folder and not in_venv and not names & PLACES:
    kept, left, value = [], 0, False
    for word in words:
        if value or word.startswith("-"):
            kept.append(word)
            value = not value and word in WITH_VALUE
        elif not names & ANEW and is_there(word):
            continue
        else:
            kept.append(word)
            left += 1
    if left == 0 and not names & {"-r", "--requirement"}:
        sys.exit(0)
    words = ["--target", folder, "--upgrade", *kept]
os.execv(sys.executable, [sys.executable, "-m", "pip", "install", *words])
]]

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local WRAPPERS = {
  python = { test = '"$1 $2 $3" = "-m pip install"', skip = 3, words = "" },
  pip = { test = '"$1" = install', skip = 1, words = " -m pip" },
}

---A folder whose python3, python and pip are the interpreter, for commands that begin with a shell.
---@param root string of the run
---@param interpreter string
---@return string
function M.folder(root, interpreter)
  local folder = fs.join(root, ".bin")
  if fs.exists(fs.join(folder, "pip")) then return folder end
  local program = proc.which(interpreter) or interpreter
  fs.mkdir(folder, { parents = true })
  local install = fs.join(folder, "install.py")
  fs.write(install, INSTALL)
  for _, name in ipairs { "python", "python3", "pip3", "pip" } do
    local wrapper = WRAPPERS[name:match "^%a+"]
    fs.write(fs.join(folder, name), ('#!/bin/sh\n[ %s ] && shift %d && exec %s %s "$@"\nexec %s%s "$@"\n'):format(
      wrapper.test, wrapper.skip, quoted(program), quoted(install), quoted(program), wrapper.words), { mode = 493 })
  end
  return folder
end

---What a step that installs packages finds in its environment.
---@param env table<string, string> changed
---@param words string[]
---@param folder string where the packages go
function M.environment(env, words, folder)
  local installs = false
  for _, word in ipairs(words) do installs = installs or word:find "pip3? install" ~= nil end
  if not installs then return end
  local old = env.PYTHONPATH or os.getenv "PYTHONPATH"
  env.KFHOST_STEP_PACKAGES, env.KFHOST_VIRTUAL_ENV = folder, env.VIRTUAL_ENV or os.getenv "VIRTUAL_ENV"
  env.PYTHONPATH = old and old ~= "" and folder .. ":" .. old or folder
end

return M
