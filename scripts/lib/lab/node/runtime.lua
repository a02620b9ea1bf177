-- lab.node.runtime: containers as processes: in namespaces of their own where the kernel allows, else plain.
-- Not for when they start and end (lab.node.worker).
--   local r = runtime.new(cluster, root); local sandbox = r:sandbox(pod); local c = r:start(sandbox, container, …)
--
-- Plain processes do not have the paths of their mounts: $KFHOST_ROOT is a folder that has them, and all
-- pods share this machine's network and processes (lab.network.proxy). An event says so.

local environment = require "lab.node.environment"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local image = require "lab.image"
local json = require "json"
local link = require "lab.network.link"
local pod = require "pod"
local proc = require "proc"
local process = require "lab.node.process"
local switch = require "lab.network.switch"

local M = {}

-- A program that images bring along and that is a module of the lab.
local PROGRAM = [[#!/bin/sh
exec kfhost -e 'os.exit(require("%s").main { ... })' -- "$@"
]]

local PATIENCE = 30 -- seconds that a killed process may take: a machine under load ends namespaces slowly

---@class lab.Runtime
local runtime = {}
runtime.__index = runtime

---@param cluster lab.Cluster
---@param options {root: string, plain: boolean?, alone: string?} alone: why connections are not to be caught
---@return lab.Runtime
function M.new(cluster, options)
  fs.mkdir(options.root, { parents = true, mode = 448 })
  local bin = fs.join(options.root, "bin")
  fs.mkdir(bin, { parents = true })
  fs.symlink(host.executable(), fs.join(bin, "kfhost"))
  return setmetatable({ cluster = cluster, root = options.root, bin = bin, plain = options.plain, addresses = 0,
    alone = options.alone, switch = switch.new(cluster), network = tonumber(hash.random_hex(2), 16),
    running = {}, children = {} }, runtime)
end

-- --- sandboxes ------------------------------------------------------------------------------------------

-- Of 127.64.0.0/10, from a place that other labs of this machine hardly take, too.
local function loopback_address(self, n)
  local place = self.network + n // 250
  return ("127.%d.%d.%d"):format(64 + place // 250 % 64, place % 250, n % 250 + 2)
end

---What containers of a pod share.
---@param object table the pod
---@return table sandbox
function runtime:sandbox(object)
  local directory = fs.join(self.root, "pods", object.metadata.uid)
  fs.mkdir(directory, { parents = true, mode = 448 })
  self.addresses = self.addresses + 1
  local n = self.addresses
  local sandbox = { directory = directory, pod = object, ip = ("10.244.%d.%d"):format(n // 250 % 250, n % 250 + 2) }
  if not self.plain then
    local name = object.spec.hostname or object.metadata.name
    sandbox.link, sandbox.problem = link.start(fs.join(self.root, "link-" .. n), { name = name, address = sandbox.ip,
      alone = self.alone, shares = object.spec.shareProcessNamespace, children = self.children })
    if not sandbox.link then self.plain = sandbox.problem end
    sandbox.alone = sandbox.link and sandbox.problem
  else
    sandbox.problem = type(self.plain) == "string" and self.plain or "it was started with --plain-pods"
  end
  if not sandbox.link then sandbox.ip = loopback_address(self, n) end
  self.switch:name(sandbox)
  local ok, problem = pcall(self.switch.add, self.switch, sandbox)
  if ok then return sandbox end
  self:remove(sandbox)
  error(problem, 0)
end

-- A plain process may have left its group: what has the pod's folder in its environment is the pod's.
local function kill_strays(sandbox)
  local mark = "KFHOST_ROOT=" .. sandbox.directory .. "/"
  for _, name in ipairs(fs.list "/proc") do
    local pid = math.tointeger(tonumber(name))
    local text = pid and fs.try.read(("/proc/%d/environ"):format(pid))
    if text and text:find(mark, 1, true) then pod.kill(pid, 9) end
  end
end

---Ends what is left of a pod and removes its files.
function runtime:remove(sandbox)
  self.switch:remove(sandbox)
  if not sandbox.link then kill_strays(sandbox) end
  if sandbox.link then sandbox.link:close() end
  pcall(fs.remove, sandbox.directory, { recursive = true })
  return self
end

-- --- a container ----------------------------------------------------------------------------------------

local BASE = { HOME = "/root", PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               LANG = "C.UTF-8", TERM = "xterm" }

local PROXY_SOCKET = "/var/run/kfhost/proxy"

-- What the program of a sidecar needs to tell the lab that it is there.
local function proxy_variables(self, sandbox, all)
  local time_scale = self.cluster.nodes and self.cluster.nodes.scale or 1
  all.KFHOST_TIME_SCALE = tostring(time_scale)
  all.KFHOST_PROXY_SOCKET = sandbox.link and PROXY_SOCKET or sandbox.proxy_path
  if not sandbox.link then all.KFHOST_PROXY_ADDRESS = sandbox.ip end
end

local function variables(self, sandbox, container)
  local values = environment.of(self.cluster, sandbox.pod, container)
  local all = {}
  for name, value in pairs(BASE) do all[name] = value end
  all.HOSTNAME = sandbox.pod.spec.hostname or sandbox.pod.metadata.name
  for name, value in pairs(environment.services(self.cluster, sandbox)) do all[name] = value end
  if container.name == "istio-proxy" then proxy_variables(self, sandbox, all) end
  for name, value in pairs(values) do all[name] = value end
  return all
end

-- What an image's line says that it has: { ["/app/program"] = "lab.module" }.
local function add_programs(self, container, list)
  for path, module in pairs(image.find(container.image).programs or {}) do
    local script = fs.join(self.root, module)
    if not fs.exists(script) then fs.write(script, PROGRAM:format(module), { mode = 493 }) end
    list[#list + 1] = { source = script, target = path, read_only = true }
  end
end

local function mounts(self, sandbox, container, directories)
  local list = {}
  for _, mount in ipairs(container.volumeMounts or {}) do
    local source = directories[mount.name]
    local sub = mount.subPath or mount.subPathExpr
    if sub then
      source = fs.join(source, require("lab.node.volumes").safe(sub))
      if not fs.exists(source) then fs.mkdir(source, { parents = true }) end
      local real, base = fs.realpath(source), fs.realpath(directories[mount.name])
      if real ~= base and real:sub(1, #base + 1) ~= base .. "/" then
        error(("subPath %q leaves the volume %q"):format(sub, mount.name), 0)
      end
    end
    list[#list + 1] = { source = source, target = mount.mountPath, read_only = mount.readOnly or false }
  end
  list[#list + 1] = { source = host.executable(), target = "/kfhost/kfhost", read_only = true }
  if container.name == "istio-proxy" and sandbox.proxy_path then
    list[#list + 1] = { source = sandbox.proxy_path, target = PROXY_SOCKET }
  end
  add_programs(self, container, list)
  table.sort(list, function(a, b) return #a.target < #b.target end)
  return list
end

local ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"

-- Nobody answers there: names are in the hosts file.
local RESOLVER = "search %s.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"

local function words(container, values)
  local line = image.find(container.image)
  local list = image.command(container, line)
  for i, word in ipairs(list) do list[i] = environment.expand(word, values) end
  return list
end

-- Without namespaces the volume that Katib mounts is elsewhere: what its wrapper writes there is told so.
local function move_metrics(container, list, directories)
  for _, mount in ipairs(container.volumeMounts or {}) do
    if mount.name == "metrics-volume" then
      local pattern = mount.mountPath:gsub("/+$", ""):gsub("%p", "%%%0")
      local place = directories[mount.name]:gsub("%%", "%%%%")
      for i, word in ipairs(list) do list[i] = word:gsub(pattern, place) end
    end
  end
end

-- In namespaces: a process of ours sets them up and becomes the command.
local function confined(self, sandbox, container, place, list, values, directories)
  local binds = mounts(self, sandbox, container, directories)
  local message = fs.join(place, "termination-log")
  fs.write(message, "")
  binds[#binds + 1] = { source = message, target = container.terminationMessagePath or "/dev/termination-log" }
  binds[#binds + 1] = { source = fs.join(sandbox.directory, "hosts"), target = "/etc/hosts" }
  local line = image.find(container.image)
  values.PATH = (line.path and line.path .. ":" or "") .. values.PATH .. ":/kfhost"
  local root = fs.join(place, "root")
  fs.mkdir(root, { parents = true })
  local spec = fs.join(place, "spec.json")
  fs.write(spec, json.encode {
    holder = sandbox.link.pid, shares = sandbox.pod.spec.shareProcessNamespace, root = root, mounts = binds,
    failure = fs.join(place, "failure"),
    argv = json.array(list),
    environment = json.array(process.pairs_of(values)), directory = container.workingDir or line.directory or "/",
    files = { ["/etc/passwd"] = ACCOUNTS, ["/etc/group"] = "root:x:0:\nnogroup:x:65534:\n",
              ["/etc/resolv.conf"] = RESOLVER:format(sandbox.pod.metadata.namespace),
              ["/etc/hostname"] = sandbox.pod.metadata.name .. "\n",
              ["/etc/nsswitch.conf"] = "hosts: files\n" },
  })
  local code = ("require('lab.container').run(%q)"):format(spec)
  return { host.executable(), "-e", code, env = { PATH = "/usr/bin:/bin" } }, message
end

-- Without namespaces: the command itself, with a folder that has the paths.
local function unconfined(self, sandbox, container, place, list, values, directories)
  local root = fs.join(place, "root")
  fs.mkdir(root, { parents = true })
  for _, mount in ipairs(mounts(self, sandbox, container, directories)) do
    local target = fs.join(root, (mount.target:gsub("^/+", "")))
    fs.mkdir(fs.dirname(target), { parents = true })
    fs.symlink(mount.source, target)
  end
  local message = fs.join(root, ((container.terminationMessagePath or "/dev/termination-log"):gsub("^/+", "")))
  fs.mkdir(fs.dirname(message), { parents = true })
  fs.write(message, "")
  move_metrics(container, list, directories)
  values.KFHOST_ROOT = root
  values.HOME = root
  local line = image.find(container.image)
  values.PATH = ("%s%s:%s/kfhost:%s"):format(line.path and root .. line.path .. ":" or "", self.bin, root, values.PATH)
  list[1] = process.program(list[1], values.PATH)
  if container.tty then list = table.move(list, 1, #list, 4, { "setsid", "-c", "-w" }) end
  list.env = values
  list.cwd = root .. (not container.workingDir and line.directory or "")
  return list, message
end

-- A container whose image means a task of the lab.
local function start_builtin(self, sandbox, container, place)
  local line = image.find(container.image)
  if not line.builtin or container.command then return nil end
  local started = require "lab.node.builtin".start(self, { module = line.builtin, sandbox = sandbox,
    container = container, place = place })
  sandbox.processes[container.name] = started
  return started
end

---Starts a container.
---@param sandbox table
---@param container table
---@param directories table<string, string> of volumes
---@param count integer how often it was started before
---@return lab.Process
function runtime:start(sandbox, container, directories, count)
  local place = fs.join(sandbox.directory, container.name, tostring(count))
  fs.mkdir(place, { parents = true })
  sandbox.processes = sandbox.processes or {}
  local builtin = start_builtin(self, sandbox, container, place)
  if builtin then return builtin end
  local values = variables(self, sandbox, container)
  local list = words(container, values)
  if #list == 0 then error("no command specified", 0) end
  local build = sandbox.link and confined or unconfined
  local options, message = build(self, sandbox, container, place, list, values, directories)
  options.clear_env, options.rlimits = true, { core = 0 }
  local started = process.start(self, { options = options, container = container, log = fs.join(place, "log"),
    message = message, failure = fs.join(place, "failure"), values = values, confined = sandbox.link ~= nil,
    shares = sandbox.pod.spec.shareProcessNamespace, place = place })
  sandbox.processes[container.name] = started
  return started
end

---Runs a command beside a container to its end. What is cut off is ended with the lab.
---@param options table of proc.spawn
---@param timeout number
---@return proc.Exit? exit nil when it took too long
---@return string text what it printed
function runtime:run(options, timeout)
  options.ends_group = true -- nobody else holds its output open
  local child = proc.spawn(options)
  self.children[child] = true
  local ok, exit = pcall(child.wait, child, timeout)
  if not ok then
    child:kill "KILL"
    if require("errors").is(exit, "Cancelled") then error(exit, 0) end
    pcall(child.wait, child, 5)
  end
  self.children[child] = nil
  local read, text = pcall(child.read, child, "stdout", 1)
  return ok and exit or nil, read and text or ""
end

---Kills what still runs, and waits for its end.
function runtime:close()
  local list = {}
  for one in pairs(self.running) do list[#list + 1] = one end
  for _, one in ipairs(list) do one:kill() end
  for _, one in ipairs(list) do one:wait(PATIENCE) end
  for child in pairs(self.children) do
    child:kill "KILL"
    pcall(child.wait, child, PATIENCE)
  end
end

return M
