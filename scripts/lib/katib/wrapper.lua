-- katib.wrapper: wraps the metrics collector of a trial's pod, so that a classic sidecar ends when it has ended.
-- Not for the sidecar itself, nor for saying which pods need it (policies/trial-sidecar.lua).
--   if not wrapper.is_wrapped(collector) then wrapper.wrap(pod.spec, collector, config) end

local M = {}

-- Runs the collector, keeps its exit code, and asks the sidecar to quit, whatever comes of that. Nothing here writes
-- to the termination log: it stays the collector's own. A second after the collector has begun a mark says so: the
-- training waits for it (below).
M.SHELL = [[
mark=$1
shift
{ sleep 1; echo collecting >"$mark"; } &
"$@"
code=$?
quit=http://127.0.0.1:15020/quitquitquit
request='POST /quitquitquit HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n'
{ wget -q -T 5 -O - --post-data= "$quit" || curl -fsS -m 5 -X POST "$quit" ||
  printf "$request" | nc -w 5 127.0.0.1 15020 ||
  bash -c 'exec 3<>/dev/tcp/127.0.0.1/15020 && printf "$0" >&3 && cat <&3' "$request"
} >/dev/null 2>&1
exit $code
]]

-- The same for an image without a shell, run by a kfhost that was copied into the pod.
M.LUA = [[
local task = require "task"
local ok, ended = pcall(function(_, mark, ...)
  local collector = require "proc".spawn { stdout = "inherit", stderr = "inherit", ... }
  local marking = task.spawn(function()
    task.sleep(1)
    pcall(require "fs".write, mark, "collecting\n")
  end)
  local ended = collector:wait()
  marking:cancel()
  return ended
end, ...)
if not ok then io.stderr:write(tostring(ended), "\n") end
pcall(require "http".request, { url = "http://127.0.0.1:15020/quitquitquit", method = "POST", timeout = 5 })
os.exit(ok and (ended.code or 128 + ended.signal) or 1)
]]

-- Copies kfhost with the libraries that it uses: what is mapped once it has done what the wrapper does.
M.COPY = [[
local fs = require "fs"
local place = ...
pcall(require "http".request, { url = "http://127.0.0.1:1/", timeout = 1 })
require "proc".spawn({ "/proc/self/exe", "version", stdout = "null" }):wait()
for path in fs.read "/proc/self/maps":gmatch " (/%S+)\n" do
  local name = path:find "/ld%-" and "loader" or path:match "[^/]+$"
  if fs.exists(path) and not fs.exists(place .. "/" .. name) then
    fs.write(place .. "/" .. name, fs.read(path), { mode = 493 })
  end
end
]]

M.MARK = "kfhost-collector"
M.PLACE = "/kfhost-copy"

local MARK, PLACE = M.MARK, M.PLACE
local WAITS = "-w" -- of Katib's collector: whether it waits for all processes of the pod

local function program_of(collector, programs)
  for part, program in pairs(programs) do
    if collector.image and collector.image:find(part, 1, true) then return program end
  end
  return "./file-metricscollector"
end

---@param container table
---@return boolean
function M.is_wrapped(container)
  for _, word in ipairs(container.command or {}) do
    if word == MARK then return true end
  end
  return false
end

-- Of the collector's own arguments only one is changed: it waits for the training, not for the sidecar as well.
local function wait_for_training_alone(collector)
  collector.args = collector.args or {}
  for i, word in ipairs(collector.args) do
    if word == WAITS then
      collector.args[i + 1] = "false"
      return
    end
  end
  table.move({ WAITS, "false" }, 1, 2, #collector.args + 1, collector.args)
end

local function with_kfhost(spec, collector, image)
  spec.volumes = spec.volumes or {}
  table.insert(spec.volumes, { name = MARK, emptyDir = {} })
  collector.volumeMounts = collector.volumeMounts or {}
  table.insert(collector.volumeMounts, { name = MARK, mountPath = PLACE, readOnly = true })
  spec.initContainers = spec.initContainers or {}
  table.insert(spec.initContainers, { name = MARK, image = image, command = { "kfhost", "-e", M.COPY, PLACE },
    volumeMounts = { { name = MARK, mountPath = PLACE } }, securityContext = collector.securityContext })
  return { PLACE .. "/loader", "--library-path", PLACE, PLACE .. "/kfhost", "-e", M.LUA, MARK }
end

-- Katib's collector looks for the training once, when it begins: one that was over by then would never be found, and
-- the sidecar be waited for instead. So the training, which Katib has made a shell's, begins after the collector.
local function hold_training(spec)
  local mark = "/var/log/katib/" .. MARK
  for _, container in ipairs(spec.containers) do
    local args = container.args or {}
    local script = args[#args]
    local directory = type(script) == "string" and script:match "echo completed > (/%S+)/[^/%s]+%.pid"
    if directory then
      mark = directory .. "/" .. MARK
      args[#args] = ("until [ -e %s ]; do sleep 0.2; done; %s"):format(mark, script)
    end
  end
  return mark
end

---@param spec table of the pod
---@param collector table one of its containers
---@param config table programs, wrapper, kfhost_image: settings of trial-sidecar
function M.wrap(spec, collector, config)
  local own = collector.command
  if not own then
    own = {}
    for word in program_of(collector, config.programs):gmatch "%S+" do own[#own + 1] = word end
  end
  local command = config.wrapper == "sh" and { "sh", "-c", M.SHELL, MARK } or with_kfhost(spec, collector,
    config.kfhost_image)
  command[#command + 1] = hold_training(spec)
  collector.command = table.move(own, 1, #own, #command + 1, command)
  wait_for_training_alone(collector)
end

return M
