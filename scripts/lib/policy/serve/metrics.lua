-- policy.serve.metrics: what happened, by policy, in Prometheus' text format.
-- Not for names of objects or users: labels are policies and verdicts only.
--   local metrics = metrics.new(); metrics:record(record, 0.002); print(metrics:text())

local sorted = require "kfhost.keys".sorted

local M = {}

local BUCKETS = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5 }

local STOPS = { Timeout = true, Memory = true } -- of a handler that the sandbox has stopped

local Metrics = {}
Metrics.__index = Metrics

---@return table metrics
function M.new()
  return setmetatable({ verdicts = {}, times = {}, stops = {}, reviews = 0, errors = {}, refused = {}, bypasses = {},
    bytes = {}, gauges = {}, calls = {}, called = 0 }, Metrics)
end

local function bump(map, key)
  map[key] = (map[key] or 0) + 1
end

---A review was answered.
---@param records table[] of policy.Set:answer
---@param facts table
function Metrics:review(records, facts)
  self.reviews = self.reviews + 1
  if facts.bypass then bump(self.bypasses, facts.bypass) end
  for _, record in ipairs(records) do
    bump(self.verdicts, ('policy="%s",verdict="%s"'):format(record.policy, record.verdict))
    if record.verdict == "error" then bump(self.errors, record.policy) end
    if STOPS[record.code] then
      bump(self.stops, ('policy="%s",reason="%s"'):format(record.policy, record.code:lower()))
    end
  end
end

---A policy's handler took some time.
---@param policy string
---@param seconds number
function Metrics:time(policy, seconds)
  local times = self.times[policy]
  if not times then
    times = { count = 0, sum = 0, buckets = {} }
    for i in ipairs(BUCKETS) do times.buckets[i] = 0 end
    self.times[policy] = times
  end
  times.count, times.sum = times.count + 1, times.sum + seconds
  for i = #BUCKETS, 1, -1 do
    if seconds > BUCKETS[i] then break end
    times.buckets[i] = times.buckets[i] + 1
  end
end

---A policy's handler took some memory.
---@param policy string
---@param bytes integer
function Metrics:allocated(policy, bytes)
  self.bytes[policy] = (self.bytes[policy] or 0) + bytes
end

---A request was refused before it was a review.
---@param status integer
function Metrics:refusal(status)
  bump(self.refused, ('status="%d"'):format(status))
end

---What a server refuses by itself is counted as well.
---@param server table of server.listen
function Metrics:refusals_of(server)
  self.server = server
end

---A watch or a schedule was called.
---@param policy string
---@param seconds number with the writes that it asked for
---@param problem any what it failed with; nil when it did not
function Metrics:call(policy, seconds, problem)
  self.called = self.called + 1
  bump(self.calls, ('policy="%s",result="%s"'):format(policy, problem == nil and "done" or "failed"))
  self:time(policy, seconds)
  if problem == nil then return end
  bump(self.errors, policy)
  local code = type(problem) == "table" and problem.code
  if STOPS[code] then bump(self.stops, ('policy="%s",reason="%s"'):format(policy, code:lower())) end
end

-- Refusals by their labels: those of the handler and those of the server.
local function refusals(self)
  local map = {}
  for labels, count in pairs(self.refused) do map[labels] = count end
  for status, count in pairs(self.server and self.server:refused() or {}) do
    local labels = ('status="%d"'):format(status)
    map[labels] = (map[labels] or 0) + count
  end
  return map
end

---A number that changes when there is something new to tell.
---@return integer
function Metrics:mark()
  local sum = self.reviews + self.called
  for _, count in pairs(refusals(self)) do sum = sum + count end
  return sum + (self.server and select(2, self.server:refused()) or 0)
end

---@param name string
---@param help string
---@param read fun(): number
function Metrics:gauge(name, help, read)
  self.gauges[#self.gauges + 1] = { name = name, help = help, read = read, kind = "gauge" }
end

---@param name string
---@param help string
---@param read fun(): number
function Metrics:counter(name, help, read)
  self.gauges[#self.gauges + 1] = { name = name, help = help, read = read, kind = "counter" }
end

local function counter(lines, name, help, map)
  lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s counter"):format(name, help, name)
  for _, labels in ipairs(sorted(map)) do lines[#lines + 1] = ("%s{%s} %d"):format(name, labels, map[labels]) end
end

local function histogram(lines, times)
  local name = "kfhost_policy_seconds"
  lines[#lines + 1] = ("# HELP %s time of a policy's handler\n# TYPE %s histogram"):format(name, name)
  for _, policy in ipairs(sorted(times)) do
    local one = times[policy]
    for i, bound in ipairs(BUCKETS) do
      lines[#lines + 1] = ('%s_bucket{policy="%s",le="%g"} %d'):format(name, policy, bound, one.buckets[i])
    end
    lines[#lines + 1] = ('%s_bucket{policy="%s",le="+Inf"} %d'):format(name, policy, one.count)
    lines[#lines + 1] = ('%s_sum{policy="%s"} %.9g'):format(name, policy, one.sum)
    lines[#lines + 1] = ('%s_count{policy="%s"} %d'):format(name, policy, one.count)
  end
end

---@return string text of Prometheus' exposition format 0.0.4
function Metrics:text()
  local lines = { "# HELP kfhost_policy_reviews_total reviews answered\n# TYPE kfhost_policy_reviews_total counter",
    ("kfhost_policy_reviews_total %d"):format(self.reviews) }
  counter(lines, "kfhost_policy_verdicts_total", "verdicts by policy", self.verdicts)
  counter(lines, "kfhost_policy_calls_total", "calls of watches and schedules", self.calls)
  counter(lines, "kfhost_policy_stops_total", "handlers that were stopped", self.stops)
  counter(lines, "kfhost_policy_refused_total", "requests that were no reviews", refusals(self))
  local bypasses = {}
  for kind, count in pairs(self.bypasses) do bypasses[('label_on="%s"'):format(kind)] = count end
  counter(lines, "kfhost_policy_bypasses_total", "reviews that a bypass label let through", bypasses)
  local errors, bytes = {}, {}
  for policy, count in pairs(self.errors) do errors[('policy="%s"'):format(policy)] = count end
  for policy, count in pairs(self.bytes) do bytes[('policy="%s"'):format(policy)] = count end
  counter(lines, "kfhost_policy_errors_total", "handlers that failed or were stopped", errors)
  counter(lines, "kfhost_policy_allocated_bytes_total", "memory that handlers took", bytes)
  histogram(lines, self.times)
  for _, gauge in ipairs(self.gauges) do
    lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s %s\n%s %.14g"):format(gauge.name, gauge.help, gauge.name,
      gauge.kind, gauge.name, gauge.read())
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
