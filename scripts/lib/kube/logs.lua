-- kube.logs: what containers print: of a pod, of all its containers, of all pods of a selector; also while it grows.
-- Not for events (c:events).
--   print(c:logs { pod = "web-0", tail = 20 })
--   for line in c:logs { labels = "app=web", follow = true, prefix = true } do print(line) end

local errors = require "errors"
local failure = require "kube.failure"
local options_of = require "kube.options"
local rest = require "kube.rest"
local task = require "task"

local M = {}

local OPTIONS = {}
for name in ([[ pod name namespace container all_containers labels prefix follow since since_time tail previous
  timestamps limit_bytes timeout ]]):gmatch "%S+" do
  OPTIONS[name] = true
end

local function check(options)
  if type(options) ~= "table" then error("logs: a table expected", 3) end
  for name in pairs(options) do
    if not OPTIONS[name] then error(("logs: unknown option '%s'"):format(tostring(name)), 3) end
  end
  if not (options.pod or options.name or options.labels) then error("logs: pod or labels expected", 3) end
end

local function query_of(options, container)
  return {
    container = container, follow = options.follow and "true" or nil, previous = options.previous and "true" or nil,
    timestamps = options.timestamps and "true" or nil, tailLines = options.tail, limitBytes = options.limit_bytes,
    sinceSeconds = options.since and math.ceil(task.seconds(options.since)) or nil, sinceTime = options.since_time,
  }
end

-- --- whose logs -------------------------------------------------------------------------------------------

-- The containers that the options mean: {pod, container, namespace}.
local function sources_of(client, options, namespace)
  local pod_name = options.pod or options.name
  if pod_name and not options.all_containers then
    return { { pod = pod_name, container = options.container, namespace = namespace } }
  end
  local pods
  if pod_name then pods = { client:get("pods", pod_name, { namespace = namespace }) }
  else pods = client:list("pods", { namespace = options.namespace, labels = options.labels }) end
  local sources = {}
  for _, pod in ipairs(pods) do
    local all = options.all_containers and require("kube.containers").names(pod.spec)
    for _, container in ipairs(all or { options.container or pod.spec.containers[1].name }) do
      sources[#sources + 1] = { pod = pod.metadata.name, container = container, namespace = pod.metadata.namespace }
    end
  end
  return sources
end

local function prefix_of(source)
  return ("[pod/%s/%s] "):format(source.pod, source.container or "")
end

-- --- reading ----------------------------------------------------------------------------------------------

local function request_for(client, options, source)
  local resource = client.discovery:resolve "pods"
  return {
    method = "GET", verb = "get", path = rest.path(resource, source.namespace, source.pod, "log"), resource = "pods",
    subresource = "log", namespace = source.namespace, name = source.pod,
    query = query_of(options, source.container), accept = "*/*", timeout = options.timeout,
  }
end

local function whole(client, options, source)
  local text = rest.send(client, request_for(client, options, source)).body or ""
  if not options.prefix then return text end
  local prefix = prefix_of(source)
  return (text:gsub("([^\n]*\n?)", function(line) return line ~= "" and prefix .. line or "" end))
end

-- Hands the lines of a stream to `emit`; what has no line end yet waits for it.
local function read_lines(client, source, stream, emit)
  local rest_of_line = ""
  while true do
    local ok, piece = pcall(stream.read, stream)
    if not ok then
      error(failure.of_transport(piece, {
        verb = "get", resource = "pods/log", namespace = source.namespace, name = source.pod,
        context = client.context, server = client.server,
      }), 0)
    end
    if not piece then break end
    local text = rest_of_line .. piece
    local last = 1
    for line, after in text:gmatch "([^\n]*)\n()" do
      emit(line)
      last = after
    end
    rest_of_line = text:sub(last)
  end
  if rest_of_line ~= "" then emit(rest_of_line) end
end

-- Follows one container.
local function follow(client, options, source, emit)
  local request = request_for(client, options, source)
  request.stream = true
  local stream = rest.send(client, request)
  local closer <close> = setmetatable({}, { __close = function() stream:close() end }) -- luacheck: ignore
  local prefix = options.prefix and prefix_of(source) or ""
  read_lines(client, source, stream, function(line) emit(prefix .. line) end)
end

-- An iterator over what tasks, one for each container, have read.
local function follow_all(client, options, sources)
  local lines, first, last, left, problem = {}, 1, 0, #sources, nil
  local wake, tasks = task.event(), {}
  local function emit(line)
    last = last + 1
    lines[last] = line
    wake:set()
  end
  for index, source in ipairs(sources) do
    tasks[index] = task.spawn(function()
      local ok, err = pcall(follow, client, options, source, emit)
      left = left - 1
      if not ok and not errors.is(err, "Cancelled") then problem = problem or err end
      wake:set()
    end)
  end
  local function stop()
    for _, one in ipairs(tasks) do one:cancel() end
  end
  local function next_line()
    while first > last do
      if problem then
        stop()
        error(problem, 0)
      end
      if left == 0 then return nil end
      wake:clear()
      wake:wait()
    end
    local line = lines[first]
    lines[first] = nil
    first = first + 1
    return line
  end
  return next_line, nil, nil, setmetatable({}, { __close = stop })
end

---The log of a pod, or of the pods of a selector.
---@param options {pod: string?, labels: string|table|nil, namespace: string?, container: string?,
---  all_containers: boolean?, prefix: boolean?, follow: boolean?, since: number|string|nil, since_time: string?,
---  tail: integer?, previous: boolean?, timestamps: boolean?, limit_bytes: integer?, timeout: number|string|nil}
---@return string|fun(): string? # the text; with follow: an iterator over lines, for a loop
function M:logs(options)
  check(options)
  local namespace = options.namespace ~= "*" and options.namespace or self.namespace
  options.labels = options_of.selector(options.labels)
  local sources = sources_of(self, options, namespace)
  if options.follow then return follow_all(self, options, sources) end
  local texts = {}
  for index, source in ipairs(sources) do texts[index] = whole(self, options, source) end
  return table.concat(texts)
end

return M
