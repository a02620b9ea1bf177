-- kfp.mounted: what runs between the runner and a step that finds something mounted: it makes the mounts, in a
-- namespace of its own, and becomes the step. Not for deciding what is mounted where: see kfp.mounts.
--   kfhost -e 'require("kfp.mounted").run "/path/mounts.json"'
local fs = require "fs"
local json = require "json"
local pod = require "pod"

local M = {}

-- Mounts of this process alone; nobody else's user rights change by it.
local function isolate()
  if not pod.try.unshare "mnt" then pod.unshare("self", "mnt") end
  pod.mount("none", "/", "", "", "rec", "private")
end

---Ends with 0 where this machine lets a process have mounts of its own.
---@param folder string to try it in
function M.probe(folder)
  isolate()
  pod.mount("tmpfs", folder, "tmpfs", "mode=0700")
end

local function is_within(path, folder) return folder == "/" or (path .. "/"):find(folder .. "/", 1, true) == 1 end

local function is_folder(path)
  local stat = fs.try.stat(path)
  return stat and stat.type == "directory"
end

local function bind(source, target)
  local stat = fs.try.stat(source, { follow = false })
  if not stat then return end
  if stat.type == "link" then return fs.try.symlink(fs.readlink(source), target) end
  if stat.type == "directory" then fs.mkdir(target) else fs.write(target, "") end
  pod.try.mount(source, target, "", "", "bind", "rec")
end

-- A folder that cannot be written to gets a copy of itself in memory, in which its entries are mounted.
local function cover(folder, scratch)
  fs.mkdir(scratch, { parents = true })
  local names = fs.list(folder)
  pod.mount("tmpfs", scratch, "tmpfs", "mode=0755")
  for _, name in ipairs(names) do bind(fs.join(folder, name), fs.join(scratch, name)) end
  if folder == "/" then pod.pivot(scratch) else pod.mount(scratch, folder, "", "", "bind", "rec") end
end

-- Makes the folder on which something is to be mounted. It is only made on disk in a volume, as in a cluster, or
-- around the working directory, where a copy in memory would swallow what the step writes.
local function make_folder(target, spec, done)
  if is_folder(target) then return end
  local above = fs.dirname(target)
  while not is_folder(above) do above = fs.dirname(above) end
  local on_disk = above ~= "/" and is_within(spec.directory, above)
  for _, mount in ipairs(done) do on_disk = on_disk or is_within(above, mount.target) end
  if on_disk and fs.try.mkdir(target, { parents = true }) then return end
  cover(above, ("%s-%d"):format(spec.scratch, #done))
  fs.mkdir(target, { parents = true })
end

---Becomes a step.
---@param path string file with {mounts = {{target, source?, files?, read_only?}}, scratch, directory, argv}; it is
---  removed, as files may be secret
function M.run(path)
  local spec = json.decode(fs.read(path))
  fs.remove(path)
  isolate()
  local done = {}
  for _, mount in ipairs(spec.mounts) do
    make_folder(mount.target, spec, done)
    if mount.files then
      pod.mount("tmpfs", mount.target, "tmpfs", "mode=0755")
      for name, text in pairs(mount.files) do fs.write(fs.join(mount.target, name), text) end
    else
      pod.mount(mount.source, mount.target, "", "", "bind", "rec")
    end
    if mount.read_only then
      local _ = pod.try.mount("none", mount.target, "", "", "bind", "remount", "ro")
        or pod.try.mount("none", mount.target, "", "", "bind", "remount", "ro", "nosuid", "nodev")
    end
    done[#done + 1] = mount
  end
  pod.exec(spec.argv, spec.directory)
end

return M
