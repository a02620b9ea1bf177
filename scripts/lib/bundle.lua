-- bundle: what the commands of `kfhost scripts` share: names that people write, headings of copies.
-- Not for loading: `require` and the C module `scripts` find files.
--   bundle.resolve "vsphere-rwo" -> "policies/vsphere-rwo.lua"

local errors = require "errors"
local host = require "host"
local scripts = require "scripts"

local M = {}

local function fits(name, wanted)
  for _, candidate in ipairs { wanted, wanted .. ".lua" } do
    if name == candidate or name:sub(-#candidate - 1) == "/" .. candidate then return true end
  end
  return false
end

---The bundled file that a word means: its name, or the end of it with or without ".lua".
---@param wanted string
---@return string name raises "NotFound" or "Ambiguous"
function M.resolve(wanted)
  local found = {}
  for _, name in ipairs(scripts.names()) do
    if name == wanted or name == wanted .. ".lua" then return name end
    if fits(name, wanted) then found[#found + 1] = name end
  end
  if #found == 1 then return found[1] end
  if #found == 0 then
    local message = ("no bundled script '%s' (see kfhost scripts list)"):format(wanted)
    errors.raise { code = "NotFound", message = message }
  end
  errors.raise {
    code = "Ambiguous",
    message = ("'%s' may be %s"):format(wanted, table.concat(found, " or ")),
  }
end

local COMMENTS = { lua = "--", py = "#" }

---What an ejected file begins with; nothing where the kind of file has no comments.
---@param name string
---@return string text
function M.heading(name)
  local comment = COMMENTS[name:match "%.(%w+)$"]
  if not comment then return "" end
  return ("%s kfhost %s %s %s\n"):format(comment, host.version, scripts.digest(name), name)
end

---@param text string of an ejected file
---@return string text without the heading
function M.without_heading(text)
  return (text:gsub("^%S+ kfhost %S+ %x+ [^\n]*\n", "", 1))
end

---The text of a bundled file as it is used: of the user's own copy, if there is one, without its heading.
---A copy of another version is said on standard error.
---@param name string
---@return string text raises "NotFound"
function M.text(name)
  local path = scripts.override(name)
  if not path then return scripts.source(name) end
  if scripts.is_outdated(path, name) then
    io.stderr:write(("kfhost: %s was ejected from another version of %s; see kfhost scripts diff %s\n"):format(
      path, name, name))
  end
  return M.without_heading(require("fs").read(path))
end

return M
