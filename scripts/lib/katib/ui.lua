-- What trials reported, asked of Katib's web interface: the way from outside a cluster, with a user's own rights.
-- Not for writing, nor for each value: of several in one second the interface shows the best alone (see database).
--   local ui = ui.connect({ endpoint = "https://kubeflow.example.org", cookie = "authservice_session=…" }, "team-a")
--   local log = ui:history "demo-x1"

local errors = require "errors"
local json = require "json"

local M = {}

local PATH = "/katib/fetch_hp_job_trial_info/"

---@class katib.Ui
---@field client kfp.Client which knows the ways to log in
---@field namespace string
local Ui = {}
Ui.__index = Ui

-- Lines "name,time,value"; a name may have commas of its own, a time has no zone and is UTC.
local function read_table(text, metric)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    local name, time, value = line:match "^(.*),(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d),([^,]*)$"
    if name and (not metric or name == metric) then
      list[#list + 1] = { name = name, value = value, timestamp = time .. "Z" }
    end
  end
  return list
end

---What a trial reported, in the order of time.
---@param trial string
---@param metric string? all without it
---@return {name: string, value: string, timestamp: string}[] # raises "Denied", "Login", "Protocol", "NotFound", …
function Ui:history(trial, metric)
  local query = require "kfp.client.query".encode { trialName = trial, namespace = self.namespace }
  local response, request = self.client:send("GET", PATH .. query)
  local body = require "kfp.client.reply".text(response, request)
  local text = json.try.decode(body)
  if type(text) ~= "string" or not text:find "^metricName,time,value" then
    errors.raise { code = "Protocol", status = response.status, url = request.url,
      message = "the answer is no table of metrics: is this Katib's web interface?" }
  end
  return read_table(text, metric)
end

---@param options string|table the address before "/katib/", or a table with it as `endpoint` and what kfp.connect takes
---  to log in: token_file | token | cookie | user | dex, ca, insecure, timeout
---@param namespace string
---@return katib.Ui
function M.connect(options, namespace)
  if type(options) == "string" then options = { endpoint = options } end
  if not options.endpoint then errors.raise { code = "Usage", message = "the web interface needs an endpoint" } end
  return setmetatable({ client = require "kfp".connect(options), namespace = namespace }, Ui)
end

return M
