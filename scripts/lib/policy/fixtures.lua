-- policy.fixtures: test cases that stand beside a policy file, and reviews that a server has recorded.
-- Not for cases in the file itself (policy.test).
--   site.lua has its cases in site.test.yaml: a list of what policy.test takes; a text for an object names a file
--   fixtures.beside "policies/site.lua" -> { {name=, object=, expect=}, … }

local errors = require "errors"
local fs = require "fs"
local json = require "json"
local yaml = require "yaml"

local M = {}

local function fail(path, format, ...)
  errors.raise { code = "Object", path = path, message = format:format(...) }
end

-- What a case says of an object: the object, or the path of a file beside the case.
local function resolve(value, directory)
  if type(value) ~= "string" then return value end
  local path = value:sub(1, 1) == "/" and value or fs.join(directory, value)
  return yaml.decode(fs.read(path))
end

local function resolve_case(case, path, number)
  if type(case) ~= "table" then fail(path, "case %d is no map", number) end
  local directory = fs.dirname(path)
  for _, field in ipairs { "object", "old", "review" } do case[field] = resolve(case[field], directory) end
  for i, object in ipairs(case.objects or {}) do case.objects[i] = resolve(object, directory) end
  return case
end

---The cases beside a policy file.
---@param path string of the policy file
---@return table[] cases as policy.test takes them; none without that file; raises "Object", YAML and file errors
function M.beside(path)
  local place = path:gsub("%.lua$", "") .. ".test.yaml"
  if not fs.exists(place) then return {} end
  local cases = yaml.decode(fs.read(place)) or {}
  local is_list = type(cases) == "table" and (next(cases) == nil or cases[1] ~= nil)
  if not is_list then fail(place, "there is no list of cases") end
  for number, case in ipairs(cases) do resolve_case(case, place, number) end
  return cases
end

-- The reviews of a text: one, several documents, or lines of JSON; a bare request counts, too.
local function reviews_of(text, path)
  local list = {}
  for _, document in ipairs(yaml.decode_all(text)) do
    if type(document) == "table" and document ~= json.null then
      if document.request == nil and document.uid and document.operation then
        document = { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = document }
      end
      if document.kind ~= "AdmissionReview" then fail(path, "document %d is no AdmissionReview", #list + 1) end
      list[#list + 1] = document
    end
  end
  return list
end

---Recorded reviews; each may hold the `response` that was given to it.
---@param path string JSON or YAML
---@return table[] reviews raises "Object", YAML and file errors
function M.recorded(path)
  return reviews_of(fs.read(path), path)
end

return M
