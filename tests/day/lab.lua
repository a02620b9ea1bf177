-- A lab with what an engineer's day is about, and the two ways to work in it: the REPL's lines, and a shell's.
-- Not for measuring (measure.lua) nor judging (day_test.lua).
--   local day <close> = dofile("tests/day/lab.lua").start(folder); local text, seconds = day:type { "pods" }

local fs = require "fs"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local task = require "task"

local M = {}

local END <const> = "end of the answer"

local day = {}
day.__index = day

-- --- what is there ----------------------------------------------------------------------------------------

local function pod_spec(command, more)
  local container = { name = "main", image = "busybox", command = { "sh", "-c", command } }
  local spec = { containers = { container }, terminationGracePeriodSeconds = 0 }
  for key, value in pairs(more or {}) do
    if key == "mounts" then container.volumeMounts = value
    elseif key == "image" then container.image = value
    else spec[key] = value end
  end
  return spec
end

local WEB <const> = "echo $HOSTNAME is ready; sleep 1000"
local LOGS <const> = "echo begin; echo accuracy=0.9"

local OBJECTS = {
  { apiVersion = "v1", kind = "Namespace", metadata = { name = "team-a" } },
  { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "settings" }, data = { level = "old" } },
  { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data" }, spec = {
    accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } },
  { apiVersion = "v1", kind = "Pod", metadata = { name = "writer" }, spec = pod_spec(
    "echo kept >/data/note; sleep 1000", { mounts = { { name = "d", mountPath = "/data" } },
      volumes = { { name = "d", persistentVolumeClaim = { claimName = "data" } } } }) },
  { apiVersion = "v1", kind = "Pod", metadata = { name = "broken" },
    spec = pod_spec("true", { image = "registry.example/none" }) },
  { apiVersion = "v1", kind = "Pod", metadata = { name = "web-of-a", namespace = "team-a" }, spec = pod_spec(WEB) },
  { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web", labels = { app = "web" } }, spec = {
    replicas = 2, selector = { matchLabels = { app = "web" } },
    template = { metadata = { labels = { app = "web" } }, spec = pod_spec(WEB) } } },
  { apiVersion = "batch/v1", kind = "Job", metadata = { name = "train" }, spec = {
    template = { spec = pod_spec(LOGS, { restartPolicy = "Never" }) } } },
}

local SITE <const> = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\n"
  .. "data: {color: blue}\n"
local EDITOR <const> = '#!/bin/sh\nsed -i "s/color: blue/color: red/; s/color: green/color: blue/" "$1"\n'

local function is_ready(client)
  local running = 0
  for _, pod in ipairs(client:list("pods", { labels = "app=web" })) do
    if pod.status.phase == "Running" then running = running + 1 end
  end
  return running == 2 and client:get("pods", "writer").status.phase == "Running"
    and (client:get("jobs", "train").status or {}).succeeded == 1
    and #client:list("events", { fields = "involvedObject.name=broken" }) > 1
end

local function fill(client)
  for _, object in ipairs(OBJECTS) do client:create(object) end
  for _ = 1, 600 do
    if is_ready(client) then return end
    task.sleep(0.1)
  end
  error "the lab's pods never came up"
end

-- --- the two ways -----------------------------------------------------------------------------------------

---Types lines at the REPL.
---@param lines string[]
---@return string text what it showed, number seconds
function day:type(lines)
  local started, pieces = task.now(), {}
  for _, line in ipairs(lines) do self.repl:write(line .. "\n") end
  self.repl:write(("print '%s'\n"):format(END))
  for line in self.repl:lines() do
    if line:find(END, 1, true) then break end
    pieces[#pieces + 1] = line
  end
  return table.concat(pieces, "\n"), task.now() - started
end

---Runs lines in a shell, each in a process of its own as people do.
---@param lines string[]
---@return string text, number seconds
function day:shell(lines)
  local started, pieces = task.now(), {}
  for index, line in ipairs(lines) do
    local done = proc.run { shell = line, env = self.env, cwd = self.folder, timeout = 60 }
    pieces[index] = done.stdout .. done.stderr
  end
  return table.concat(pieces), task.now() - started
end

day.__close = function(self)
  self.repl:close_stdin()
  self.repl:wait()
  self.lab:stop()
  self.lab:wait()
end

---@param folder string an empty one
---@return table
function M.start(folder)
  local kubeconfig = fs.join(folder, "kubeconfig")
  local lab = proc.spawn { host.executable(), "lab", "up", "--json", "--kubeconfig", kubeconfig }
  local said = json.decode(lab:read_line())
  local client = kube.connect { kubeconfig = said.kubeconfig, log = function() end }
  fill(client)
  fs.write(fs.join(folder, "site.yaml"), SITE)
  fs.write(fs.join(folder, "editor"), EDITOR, { mode = 493 })
  local env = { HOME = folder, KUBECONFIG = kubeconfig, EDITOR = fs.join(folder, "editor"), XDG_CONFIG_HOME = folder,
    NO_COLOR = "1" }
  local repl = proc.spawn { host.executable(), "-i", stdin = "pipe", stderr = "stdout", cwd = folder, env = env }
  return setmetatable({ lab = lab, client = client, repl = repl, env = env, folder = folder }, day)
end

return M
