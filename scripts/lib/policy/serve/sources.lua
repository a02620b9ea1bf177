-- policy.serve.sources: what the processes of one host have loaded: read once, tested, and kept in the memory that they
-- share. So a process that replaces another one has the same, whatever stands in the files meanwhile.
-- Not for the first look at the files, before there are processes.
--   local set = sources.load(function(found) return load(args, found) end, check_tests)

local errors = require "errors"
local hash = require "hash"
local json = require "json"
local task = require "task"
local workers = require "workers"

local M = {}

local LOOK = 0.02
local PATIENCE = 60 -- seconds for the one that reads and tests

-- A policy file may hold any bytes.
local function encode(set)
  local files = json.array {}
  for i, file in ipairs(set.list) do
    files[i] = { stem = file.stem, name = file.name, text = hash.base64(file.text) }
  end
  return json.encode { files = files, configs = json.object(set.options.configs or {}) }
end

local function decode(text)
  local known = json.decode(text)
  for _, file in ipairs(known.files) do file.text = hash.unbase64(file.text) end
  return known
end

-- What cannot be shared is read by each of them.
local function publish(set)
  local ok, text = pcall(encode, set)
  if ok and pcall(workers.publish, "sources", text) then return end
  workers.publish("sources", "")
end

-- The text; nil when this process is to end: the one that loads has failed.
local function wait()
  local deadline = task.now() + PATIENCE
  while workers.version "sources" == 0 do
    if workers.draining() then return nil end
    if task.now() > deadline then
      errors.raise { code = "Policy", message = "the process that loads the policies has not done it" }
    end
    task.sleep(LOOK)
  end
  return (workers.read "sources")
end

---@param load fun(found: {files: table[], configs: table}?): policy.Set without an argument: from the files
---@param check fun(set: policy.Set) raises when the set is not to be served
---@return policy.Set? set nil: there is nothing to serve, and this process is to end
function M.load(load, check)
  if workers.claim() then
    local set = load()
    check(set)
    set:renew() -- what its tests have put there, is no object of the cluster, and what they changed is as it was
    publish(set)
    return set
  end
  local text = wait()
  if not text then return nil end
  return load(text ~= "" and decode(text) or nil)
end

return M
