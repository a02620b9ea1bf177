-- Katib's metrics database: what trials reported, by gRPC. Plaintext and without authentication, as it is there.
-- Not for reading logs: see metrics.
--   local db = database.connect "katib-db-manager.kubeflow:6789"      local log = db:history "demo-x1"
local M = {}

local SERVICE = "/api.v1.beta1.DBManager/"

local messages

local function all_messages()
  if messages then return messages end
  local message = require "grpc.proto".message
  local metric = message { name = { 1, "string" }, value = { 2, "string" } }
  local entry = message { time_stamp = { 1, "string" }, metric = { 2, metric } }
  local log = message { metric_logs = { 1, entry, repeated = true } }
  messages = {
    Report = message { trial_name = { 1, "string" }, observation_log = { 2, log } },
    Get = message {
      trial_name = { 1, "string" }, metric_name = { 2, "string" }, start_time = { 3, "string" },
      end_time = { 4, "string" },
    },
    GetReply = message { observation_log = { 1, log } },
    Delete = message { trial_name = { 1, "string" } },
  }
  return messages
end

---The messages of the DB manager, which both sides speak: Report, Get, GetReply, Delete.
---@return table<string, grpc.Message>
function M.messages() return all_messages() end

---@class katib.Database
---@field call fun(path: string, bytes: string): string
local Database = {}
Database.__index = Database

---What a trial reported, in the order of time.
---@param trial string
---@param metric string? all without it
---@return {name: string, value: string, timestamp: string}[]
function Database:history(trial, metric)
  local kinds = all_messages()
  local bytes = self.call(SERVICE .. "GetObservationLog", kinds.Get:encode { trial_name = trial, metric_name = metric })
  local list = {}
  for i, entry in ipairs((kinds.GetReply:decode(bytes).observation_log or {}).metric_logs or {}) do
    list[i] = { name = entry.metric.name, value = entry.metric.value, timestamp = entry.time_stamp }
  end
  return list
end

---Reports metrics of a trial. Each needs a time: the database drops those without, and says nothing.
---@param trial string
---@param metrics {name: string, value: string|number, timestamp: string}[]
function Database:report(trial, metrics)
  local logs = {}
  for i, entry in ipairs(metrics) do
    if not entry.timestamp then error(("metric %d has no timestamp"):format(i), 2) end
    logs[i] = { time_stamp = entry.timestamp, metric = { name = entry.name, value = tostring(entry.value) } }
  end
  if #logs == 0 then return end
  self.call(SERVICE .. "ReportObservationLog", all_messages().Report:encode {
    trial_name = trial, observation_log = { metric_logs = logs },
  })
end

---Forgets what a trial reported.
---@param trial string
function Database:forget(trial)
  self.call(SERVICE .. "DeleteObservationLog", all_messages().Delete:encode { trial_name = trial })
end

---@param address string|(fun(path: string, bytes: string): string) "host:port", or what makes a call
---@param options {timeout: number|string|nil, proxy: string?}?
---@return katib.Database
function M.connect(address, options)
  options = options or {}
  if type(address) == "function" then return setmetatable({ call = address }, Database) end
  local client
  return setmetatable({ call = function(path, bytes)
    client = client or require "grpc".connect { address = address, proxy = options.proxy }
    return client:call(path, bytes, { timeout = options.timeout or "120s" })
  end }, Database)
end

return M
