-- policy.files: where a policy file is, and the library that it may use inside its sandbox.
-- Not for what it declares: that is known once it was loaded.
--   files.find "vsphere-rwo" -> { stem = "vsphere-rwo", name = "@kfhost/policies/vsphere-rwo.lua", text = "…" }

local errors = require "errors"
local fixtures = require "policy.fixtures"
local fs = require "fs"
local scripts = require "scripts"

local M = {}

local INSIDE = "lib/policy/inside/"
-- What policies may require beside `policy`: libraries of functions that need no cluster, by folder or file.
local PURE = { "lib/kube/init.lua", "lib/kube/selectors.lua", "lib/kube/pod_security.lua", "lib/kube/schema.lua",
  "lib/kube/time.lua", "lib/kube/containers.lua", "lib/kfhost/", "lib/katib/", "lib/istio/", "lib/vsphere/" }
local PURE_IN_C = { "kube.core", "katib.core", "regex", "cel", "yaml" }

local function is_path(name)
  return name:find "/" ~= nil or name:find "%.lua$" ~= nil
end

---Where a path of a pod's command line is on this machine: plain pods of the lab have their files below $KFHOST_ROOT.
---@param path string
---@return string
function M.place(path)
  local root = os.getenv "KFHOST_ROOT"
  if root and path:sub(1, 1) == "/" and fs.exists(root .. path) then return root .. path end
  return path
end

---@param name string a path, or the name of a bundled policy
---@return {stem: string, name: string, text: string} file raises "NotFound"
function M.find(name)
  local stem = name:match "([^/]+)$":gsub("%.lua$", "")
  if is_path(name) then
    local place = M.place(name)
    return { stem = stem, name = "@" .. name, text = fs.read(place), cases = fixtures.beside(place) }
  end
  local bundled = "policies/" .. name .. ".lua"
  local path = scripts.override(bundled)
  if path then return { stem = stem, name = "@" .. path, text = fs.read(path) } end
  local ok, text = pcall(scripts.source, bundled)
  if not ok then
    local known = {}
    for _, one in ipairs(scripts.names()) do
      local policy = one:match "^policies/([^/]+)%.lua$"
      if policy then known[#known + 1] = policy end
    end
    errors.raise { code = "NotFound", message =
      ("no bundled policy '%s' (there are %s); a file is written as a path"):format(name, table.concat(known, ", ")) }
  end
  return { stem = stem, name = "@kfhost/" .. bundled, text = text }
end

local function has(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

local function is_pure(name)
  for _, prefix in ipairs(PURE) do
    if name:sub(1, #prefix) == prefix then return true end
  end
  return false
end

-- The name that `require` knows a bundled file by: lib/katib/init.lua is katib.
local function module_name(name)
  return (name:gsub("^lib/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

---@return table modules for sandbox.open: C modules by number, texts by name
function M.library()
  local modules = { "json", "hash" }
  for _, name in ipairs(PURE_IN_C) do
    if has(scripts.linked(), name) then modules[#modules + 1] = name end
  end
  for _, name in ipairs(scripts.names()) do
    if name:find(INSIDE, 1, true) == 1 or is_pure(name) then
      modules[module_name(name)] = { scripts.source(name), "@kfhost/" .. name }
    end
  end
  -- What runs where there is no kfhost: the program of a trial, as a text.
  modules["kale.trial_program"] = { ("return %q"):format(scripts.source "kale/runtime/trial.py"),
    "@kfhost/kale/runtime/trial.py" }
  modules.policy = modules["policy.inside.author"]
  return modules
end

---@return string text
---@return string name of the chunk that runs first in the sandbox
function M.main()
  return scripts.source(INSIDE .. "main.lua"), "@kfhost/" .. INSIDE .. "main.lua"
end

return M
