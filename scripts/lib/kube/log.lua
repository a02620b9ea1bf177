-- kube.log: what the client says about itself: one line for each write, and warnings.
-- Not for bodies: a record holds references and results, nothing of an object's content.
--   log.write(sink, { verb = "create", resource = "pods", namespace = "a", name = "b", result = "ok" })

local json = require "json"
local term = require "term"
local time = require "kube.time"

local M = {}

local function reference(record)
  local name = record.namespace and record.namespace .. "/" .. (record.name or "") or record.name or ""
  local sub = record.subresource and "/" .. record.subresource or ""
  return ("%s%s %s"):format(record.resource or record.path, sub, name)
end

-- For a person at a terminal; programs get JSON.
local function sentence(record)
  if record.message then return ("kfhost: %s\n"):format(record.message) end
  local dry = record.dry_run and " (dry run)" or ""
  return ("kfhost: %s %s by %s: %s%s\n"):format(record.verb, reference(record), record.manager, record.result, dry)
end

---Where records go when a connection names nothing else: standard error, as JSON, or as sentences on a terminal.
---@param record table
function M.to_stderr(record)
  if term.is_terminal "stderr" then
    io.stderr:write(sentence(record))
  else
    io.stderr:write(json.encode(record, { sort = true }), "\n")
  end
end

---@param sink fun(record: table)
---@param record table gets `time` and `level`
function M.write(sink, record)
  record.time = time.text(os.time())
  record.level = record.level or "info"
  sink(record)
end

---@param sink fun(record: table)
---@param message string
function M.warn(sink, message)
  M.write(sink, { level = "warning", message = message })
end

return M
