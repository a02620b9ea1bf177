-- doctor.support: what a support engineer needs, in one file: findings, objects, events and logs, secrets masked.
-- Not for finding anything (doctor), nor for what is masked (doctor.masked). Objects are read again, page by page.
--   support.write(client, "support.tar.gz", doctor.visit(client))

local collect = require "doctor.collect"
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local masked = require "doctor.masked"
local page = require "doctor.page"
local proc = require "proc"
local report = require "doctor.report"
local yaml = require "yaml"

local M = {}

local TAIL <const> = 500 -- lines of each log
local LONGEST <const> = 1048576 -- bytes of each log
local MOST_LOGS <const> = 60
local PLATFORM = { kubeflow = true, ["istio-system"] = true }

-- --- objects ------------------------------------------------------------------------------------------------

-- Logs are wanted of what is not well, and of the platform.
local function wants_logs(pod, found)
  if PLATFORM[pod.metadata.namespace] then return true end
  local title = ("Pod %s/%s"):format(pod.metadata.namespace, pod.metadata.name)
  for _, finding in ipairs(found.findings) do
    if finding.where == title then return true end
  end
  return false
end

local function note_pod(pods, object, found)
  if object.kind == "Pod" and #pods < MOST_LOGS and wants_logs(object, found) then
    pods[#pods + 1] = { name = object.metadata.name, namespace = object.metadata.namespace }
  end
end

-- All objects of a kind into a file, one after the other; what could not be read stands at its end.
local function write_kind(client, path, kind, found, pods)
  local file <close> = assert(io.open(path, "w"))
  local ok, problem = pcall(function()
    for object in client:each(kind[1], { namespace = not kind.cluster and "*" or nil }) do
      object.kind, object.apiVersion = object.kind, object.apiVersion -- a list says them once for all
      note_pod(pods, object, found)
      file:write(yaml.encode(masked.object(object), { sort = true }), "---\n")
    end
  end)
  if ok then return end
  if not errors.is(problem) or errors.is(problem, "Cancelled") then error(problem, 0) end
  file:write("# not read: ", (errors.text(problem):gsub("\n", " ")), "\n")
end

local MORE = { { "secrets", "Secret" }, { "nodes", "Node", cluster = true } }

local function write_objects(client, folder, found)
  local pods, files = {}, 0
  for _, kinds in ipairs { collect.kinds(), MORE } do
    for _, kind in ipairs(kinds) do
      write_kind(client, fs.join(folder, "objects", kind[2] .. ".yaml"), kind, found, pods)
      files = files + 1
    end
  end
  return pods, files
end

-- --- logs ---------------------------------------------------------------------------------------------------

local function write_log(client, folder, pod)
  local text, problem = client.try:logs { pod = pod.name, namespace = pod.namespace, tail = TAIL,
    all_containers = true, limit_bytes = LONGEST }
  if type(text) ~= "string" then text = "no log: " .. errors.text(problem) .. "\n" end
  fs.write(fs.join(folder, "logs", pod.namespace .. "-" .. pod.name .. ".log"), masked.text(text))
end

-- --- the file -----------------------------------------------------------------------------------------------

local function pack(folder, path)
  local whole = path .. ".partial"
  local done = proc.run { "sh", "-c", 'umask 077; exec tar -czf "$1" -C "$2" "$3"', "sh", whole, fs.dirname(folder),
    fs.basename(folder), stderr = "pipe" }
  if done.code ~= 0 then
    if fs.exists(whole) then fs.remove(whole) end
    errors.raise { code = "Exit", message = ("tar: %s"):format(done.stderr), exit = done.code }
  end
  fs.rename(whole, path)
end

local function write_findings(folder, found)
  local texts = { ["findings.txt"] = report.text(found, 100), ["findings.json"] = report.json(found),
    ["findings.html"] = page.html(found),
    ["about.json"] = json.encode(found.about, { sort = true, indent = 2 }) .. "\n" }
  local count = 0
  for name, text in pairs(texts) do
    fs.write(fs.join(folder, name), name:find "json$" and text or masked.text(text))
    count = count + 1
  end
  return count
end

---Writes the file, which only this user may read.
---@param client table
---@param path string of a .tar.gz
---@param found doctor.Report
---@return {files: integer, logs: integer, bytes: integer}
function M.write(client, path, found)
  local parent = fs.tmpdir "kfhost-bundle"
  local folder = fs.join(parent, "kfhost-bundle")
  local _ <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    pcall(fs.remove, parent, { recursive = true })
  end })
  for _, name in ipairs { "objects", "logs" } do fs.mkdir(fs.join(folder, name), { parents = true }) end
  local files = write_findings(folder, masked.object(found))
  local pods, kinds = write_objects(client, folder, found)
  for _, pod in ipairs(pods) do write_log(client, folder, pod) end
  pack(folder, path)
  return { files = files + kinds + #pods, logs = #pods, bytes = fs.stat(path).size }
end

return M
