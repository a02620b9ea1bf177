-- doctor.support: what a support engineer needs, in one file: findings, objects, events and logs, secrets masked.
-- Not for finding anything (doctor). Values of Secrets and everything that is named like one are only hashes there.
--   support.write(client, "support.tar.gz", { objects = objects, findings = findings, about = about })

local errors = require "errors"
local fs = require "fs"
local json = require "json"
local mask = require "kube.mask"
local proc = require "proc"
local report = require "doctor.report"
local yaml = require "yaml"

local M = {}

local TAIL <const> = 500 -- lines of each log
local MOST_LOGS <const> = 60
local PLATFORM = { kubeflow = true, ["istio-system"] = true, ["kube-system"] = false }

-- --- text without secrets ---------------------------------------------------------------------------------

-- Tokens and passwords in free text: of logs, and of values of ConfigMaps.
local function hide(name, between, value)
  local low = name:lower()
  local telling = low:find "passw" or low:find "secret$" or low:find "token$" or low:find "apikey" or low:find "api_key"
  if telling and value ~= "(hidden)" then return name .. between .. "(hidden)" end
end

---@param text string
---@return string
function M.masked_text(text)
  text = text:gsub("eyJ[%w_%-]+%.[%w_%-]+%.[%w_%-]*", "(hidden)")
  text = text:gsub("([Aa]uthorization:%s*%a+%s+)[^%s\"']+", "%1(hidden)")
  text = text:gsub("(%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY%-%-%-%-%-).-(%-%-%-%-%-END)", "%1(hidden)%2")
  text = text:gsub("(//[^/%s:@]+:)[^/%s@]+@", "%1(hidden)@") -- https://user:password@host
  text = text:gsub("([%w_%-]+)(\"?%s*[:=]%s*\")([^\"]+)", hide)
  return (text:gsub("([%w_%-]+)(\"?%s*[:=]%s*\"?)([^%s\"',]+)", hide))
end

local function masked_object(object)
  local copy = mask.object(object)
  if object.kind == "ConfigMap" and type(copy.data) == "table" then
    for key, value in pairs(copy.data) do
      if type(value) == "string" then copy.data[key] = M.masked_text(value) end
    end
  end
  return copy
end

-- --- the files --------------------------------------------------------------------------------------------

local function by_kind(objects)
  local kinds = {}
  for _, object in ipairs(objects) do
    kinds[object.kind] = kinds[object.kind] or {}
    table.insert(kinds[object.kind], masked_object(object))
  end
  return kinds
end

-- Logs are wanted of what is not well, and of the platform.
local function wants_logs(pod, findings)
  if PLATFORM[pod.metadata.namespace] then return true end
  for _, finding in ipairs(findings) do
    if finding.where:find(pod.metadata.namespace .. "/" .. pod.metadata.name, 1, true) then return true end
  end
  return false
end

local function write_logs(client, folder, given)
  local count = 0
  for _, pod in ipairs(given.objects) do
    if pod.kind == "Pod" and count < MOST_LOGS and wants_logs(pod, given.findings) then
      count = count + 1
      local text, problem = client.try:logs { pod = pod.metadata.name, namespace = pod.metadata.namespace, tail = TAIL,
        all_containers = true }
      if type(text) ~= "string" then text = "no log: " .. errors.text(problem) .. "\n" end
      fs.write(fs.join(folder, "logs", pod.metadata.namespace .. "-" .. pod.metadata.name .. ".log"),
        M.masked_text(text))
    end
  end
  return count
end

local function pack(folder, path)
  local whole = path .. ".partial"
  local done = proc.run { "tar", "-czf", whole, "-C", fs.dirname(folder), fs.basename(folder) }
  if done.code ~= 0 then
    fs.remove(whole)
    errors.raise { code = "Exit", message = ("tar: %s"):format(done.stderr), exit = done.code }
  end
  fs.rename(whole, path)
end

---Writes the file.
---@param client table
---@param path string of a .tar.gz
---@param given {objects: table[], findings: doctor.Finding[], about: table}
---@return {files: integer, logs: integer, bytes: integer}
function M.write(client, path, given)
  local folder = fs.join(fs.tmpdir "kfhost-bundle", "kfhost-bundle")
  for _, name in ipairs { "objects", "logs" } do fs.mkdir(fs.join(folder, name), { parents = true }) end
  fs.write(fs.join(folder, "findings.txt"), report.text(given.findings))
  fs.write(fs.join(folder, "findings.json"), report.json(given.findings))
  fs.write(fs.join(folder, "findings.html"), report.html(given.findings))
  fs.write(fs.join(folder, "about.json"), json.encode(given.about, { sort = true, indent = 2 }) .. "\n")
  local files = 4
  for kind, objects in pairs(by_kind(given.objects)) do
    local texts = {}
    for index, object in ipairs(objects) do texts[index] = yaml.encode(object, { sort = true }) end
    fs.write(fs.join(folder, "objects", kind .. ".yaml"), table.concat(texts, "---\n"))
    files = files + 1
  end
  local logs = write_logs(client, folder, given)
  pack(folder, path)
  return { files = files + logs, logs = logs, bytes = fs.stat(path).size }
end

return M
