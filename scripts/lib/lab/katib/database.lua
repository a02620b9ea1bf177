-- lab.katib.database: the metrics of trials, in SQLite, and the calls of Katib's DB manager on them.
-- Not for asking a DB manager (katib.database).
--   local db = database.open(); db:report("demo-x1", { { name = "acc", value = "0.5", timestamp = "2026-…Z" } })

local grpc = require "grpc"
local sqlite = require "sqlite"
local times = require "lab.katib.times"
local wire = require "katib.database"

local M = {}

local SERVICE = "/api.v1.beta1.DBManager/"
-- What MariaDB says of a statement whose list of values is empty.
local EMPTY = "Prepare SQL statement failed: Error 1064: You have an error in your SQL syntax; check the manual that "
  .. "corresponds to your MariaDB server version for the right syntax to use near '' at line 1"

---@class lab.KatibDatabase
local Database = {}
Database.__index = Database

local function parse(text)
  local parsed, problem = times.parse(text)
  if not parsed then grpc.fail("UNKNOWN", ("Error parsing start time %s: %s"):format(text, problem)) end
  return parsed
end

---Keeps what a trial reports; entries without a time are dropped.
---@param trial string
---@param metrics {name: string, value: string, timestamp: string}[]
function Database:report(trial, metrics)
  local rows = {}
  for _, one in ipairs(metrics) do
    if (one.timestamp or "") ~= "" then
      rows[#rows + 1] = { parse(one.timestamp), one.name or "", one.value or "" }
    end
  end
  if #rows == 0 then grpc.fail("UNKNOWN", EMPTY) end
  self.db:transaction(function()
    for _, row in ipairs(rows) do
      self.db:exec("INSERT INTO observation_logs (trial_name, time, metric_name, value) VALUES (?, ?, ?, ?)", trial,
        row[1], row[2], row[3])
    end
  end)
end

---@param trial string
---@param query {metric: string?, from: string?, to: string?}?
---@return {name: string, value: string, timestamp: string}[] in the order of time
function Database:history(trial, query)
  query = query or {}
  local sql, values = "SELECT time, metric_name, value FROM observation_logs WHERE trial_name = ?", { trial }
  local function restrict(text, value)
    sql = sql .. text
    values[#values + 1] = value
  end
  if (query.metric or "") ~= "" then restrict(" AND metric_name = ?", query.metric) end
  if (query.from or "") ~= "" then restrict(" AND time >= ?", parse(query.from)) end
  if (query.to or "") ~= "" then restrict(" AND time <= ?", parse(query.to)) end
  local list = {}
  for i, row in ipairs(self.db:query(sql .. " ORDER BY time, id", table.unpack(values))) do
    list[i] = { name = row.metric_name, value = row.value, timestamp = times.text(row.time) }
  end
  return list
end

---@param trial string
function Database:forget(trial)
  self.db:exec("DELETE FROM observation_logs WHERE trial_name = ?", trial)
end

-- --- over the wire ------------------------------------------------------------------------------------------

local function flat(log)
  local list = {}
  for i, entry in ipairs(log and log.metric_logs or {}) do
    local metric = entry.metric or {}
    list[i] = { name = metric.name, value = metric.value, timestamp = entry.time_stamp }
  end
  return list
end

---The methods of the DB manager, by their paths.
---@return table<string, fun(bytes: string): string>
function Database:methods()
  local kinds = wire.messages()
  return {
    [SERVICE .. "ReportObservationLog"] = function(bytes)
      local asked = kinds.Report:decode(bytes)
      self:report(asked.trial_name or "", flat(asked.observation_log))
      return ""
    end,
    [SERVICE .. "GetObservationLog"] = function(bytes)
      local asked = kinds.Get:decode(bytes)
      local logs = {}
      for i, one in ipairs(self:history(asked.trial_name or "",
        { metric = asked.metric_name, from = asked.start_time, to = asked.end_time })) do
        logs[i] = { time_stamp = one.timestamp, metric = { name = one.name, value = one.value } }
      end
      return kinds.GetReply:encode { observation_log = { metric_logs = logs } }
    end,
    [SERVICE .. "DeleteObservationLog"] = function(bytes)
      self:forget(kinds.Delete:decode(bytes).trial_name or "")
      return ""
    end,
  }
end

function Database:close() self.db:close() end

---@param path string? in memory without it
---@return lab.KatibDatabase
function M.open(path)
  local db = sqlite.open(path or ":memory:")
  db:exec [[CREATE TABLE IF NOT EXISTS observation_logs (id INTEGER PRIMARY KEY AUTOINCREMENT,
    trial_name TEXT NOT NULL, time TEXT NOT NULL, metric_name TEXT NOT NULL, value TEXT NOT NULL)]]
  db:exec "CREATE INDEX IF NOT EXISTS by_trial ON observation_logs (trial_name, time)"
  return setmetatable({ db = db }, Database)
end

return M
