-- lab.container: what runs between the lab and a container's command: its namespaces and its files.
-- Not for deciding what runs (lab.node). It runs in a process of its own, which becomes the container.
--   kfhost -e 'require("lab.container").run "/path/spec.json"'
--
-- One process per pod holds the user, network, ipc and host name namespaces; each container joins them and
-- makes its own mount and pid namespaces: /usr and the like are this machine's, for reading only, the
-- rest is the pod's. Where containers share processes, they join the pid namespace of a child of that process.

local fs = require "fs"
local json = require "json"
local link = require "lab.network.link"
local net = require "net"
local pod = require "pod"

local M = {}

-- Folders of this machine that a container sees, for reading only.
local SEEN = { "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl", "/etc/alternatives", "/opt", "/nix" }
local DEVICES = { "null", "zero", "full", "random", "urandom", "tty" }

---Holds a pod's namespaces, and makes sockets in its network, until the lab hangs up.
---@param text string JSON {path, name, address, alone, shares}
function M.hold(text)
  local spec = json.decode(text)
  pod.unshare("user", "net", "ipc", "uts")
  if spec.shares then
    pod.unshare "pid"
    pod.pause()
  end
  pod.loopback()
  pod.hostname(spec.name:sub(1, 63))
  local problem = spec.alone
  if not problem then
    local _, failure = pod.try.network(spec.address, link.PORT)
    problem = failure and failure.message
  end
  link.serve(net.connect { path = spec.path }, problem)
end

local function bind(source, target, read_only)
  local stat = fs.stat(source)
  if not stat then return end
  if stat.type == "directory" then
    fs.mkdir(target, { parents = true })
  else
    fs.mkdir(fs.dirname(target), { parents = true })
    if not fs.exists(target) then fs.write(target, "") end
  end
  pod.mount(source, target, "", "", "bind", "rec")
  if read_only then
    -- What a mount of this machine forbids must stay forbidden, or the kernel refuses.
    local _ = pod.try.mount("none", target, "", "", "bind", "remount", "ro")
      or pod.try.mount("none", target, "", "", "bind", "remount", "ro", "nosuid", "nodev")
  end
end

local function copy_link(path, root)
  fs.symlink(fs.readlink(path), root .. path)
end

local function make_root(spec)
  local root = spec.root
  pod.mount("none", "/", "", "", "rec", "private")
  pod.mount("tmpfs", root, "tmpfs", "mode=0755")
  for _, path in ipairs(SEEN) do
    local stat = fs.stat(path, { follow = false })
    if stat and stat.type == "link" then
      fs.mkdir(fs.dirname(root .. path), { parents = true })
      copy_link(path, root)
    elseif stat then
      bind(path, root .. path, true)
    end
  end
  fs.mkdir(root .. "/dev", { parents = true })
  for _, name in ipairs(DEVICES) do bind("/dev/" .. name, root .. "/dev/" .. name) end
  fs.symlink("/proc/self/fd", root .. "/dev/fd")
  for _, name in ipairs { "/proc", "/tmp", "/root", "/var/run", "/etc", "/run" } do
    fs.mkdir(root .. name, { parents = true })
  end
  pod.mount("/proc", root .. "/proc", "", "", "bind", "rec")
  for name, text in pairs(spec.files or {}) do fs.write(root .. name, text) end
  for _, mount in ipairs(spec.mounts or {}) do bind(mount.source, root .. mount.target, mount.read_only) end
  return root
end

-- Why a command cannot be started, in the words of container runtimes.
local function missing(spec, root)
  local name = spec.argv[1]
  local text = ("exec: %q: "):format(name)
  if name:find("/", 1, true) then
    local stat = fs.stat(root .. (name:sub(1, 1) == "/" and name or fs.join(spec.directory, name)))
    local own = fs.stat(root .. name, { follow = false })
    return not stat and not own and ("exec: %q: stat %s: no such file or directory"):format(name, name) or nil
  end
  for _, variable in ipairs(spec.environment) do
    local path = variable:match "^PATH=(.*)$"
    for directory in (path or ""):gmatch "[^:]+" do
      if fs.stat(fs.join(root .. directory, name), { follow = false }) then return nil end
    end
  end
  return text .. "executable file not found in $PATH"
end

-- The process in whose pid namespace the containers of a pod are that share processes.
local function first_of(holder)
  return math.tointeger(tonumber(fs.read(("/proc/%d/task/%d/children"):format(holder, holder)):match "%d+"))
end

---Becomes a container.
---@param path string file with {holder, shares, root, mounts, files, argv, environment, directory, failure}
function M.run(path)
  local spec = json.decode(fs.read(path))
  local first = spec.shares and first_of(spec.holder)
  pod.enter(spec.holder, "user", "net", "ipc", "uts")
  if first then pod.enter(first, "pid") end
  pod.unshare(table.unpack(first and { "mnt" } or { "mnt", "pid" }))
  local root = make_root(spec)
  local problem = missing(spec, root)
  if problem then
    fs.write(spec.failure, problem)
    spec.argv = { "/bin/sh", "-c", "exit 128" }
  end
  pod.pivot(root)
  local directory = fs.exists(spec.directory) and spec.directory or "/"
  pod.run(spec.argv, spec.environment, directory, first ~= nil)
end

---Runs one more command in a container that runs.
---@param path string file with {holder, process, argv, environment, directory}
function M.exec(path)
  local spec = json.decode(fs.read(path))
  pod.enter(spec.holder, "user")
  pod.enter(spec.process, "net", "ipc", "uts", "pid", "mnt")
  pod.run(spec.argv, spec.environment, spec.directory)
end

return M
