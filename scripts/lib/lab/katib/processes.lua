-- lab.katib.processes: the containers' first processes in a pod that shares them, as a metrics collector sees them.
-- Not for starting any (lab.node.process).
--   local main, all = processes.find "/var/log/katib"; main.pid, main:is_running()
--
-- Those whose parent is not in the pod; where the kernel gives no namespaces, those whose variables name its folder.

local fs = require "fs"
local pod = require "pod"

local M = {}

---@class lab.KatibProcess
---@field id integer its number in /proc
---@field pid integer what it takes for its own number
---@field command string
local Process = {}
Process.__index = Process

local function read(id, name) return fs.try.read(("/proc/%s/%s"):format(id, name)) end

local function parent_of(id)
  return math.tointeger(tonumber((read(id, "status") or ""):match "\nPPid:%s*(%d+)"))
end

-- What tells whether a process is of this pod.
local function belongs()
  local root = os.getenv "KFHOST_ROOT"
  if root then
    local mark = "KFHOST_ROOT=" .. root:match "^(.*/)[^/]+/%d+/root$"
    return function(id) return ((read(id, "environ")) or ""):find(mark, 1, true) ~= nil end
  end
  local own = fs.readlink "/proc/self/ns/pid"
  return function(id) return fs.try.readlink(("/proc/%d/ns/pid"):format(id)) == own end
end

local function numbers()
  local list = {}
  for _, name in ipairs(fs.list "/proc") do list[#list + 1] = math.tointeger(tonumber(name)) end
  table.sort(list)
  return list
end

local function new(id)
  local own = (read(id, "status") or ""):match "\nNSpid:[^\n]-(%d+)\n"
  return own and setmetatable({ id = id, pid = math.tointeger(tonumber(own)),
    command = ((read(id, "cmdline")) or ""):gsub("%z", " ") }, Process)
end

---@return boolean
function Process:is_running() return fs.exists(("/proc/%d"):format(self.id)) end

---@return integer[] pids of its children
function Process:children()
  local list = {}
  for _, id in ipairs(numbers()) do
    local child = parent_of(id) == self.id and new(id)
    if child then list[#list + 1] = child.pid end
  end
  return list
end

---@param pid integer
function M.terminate(pid) pod.kill(pid, 15) end

---The first processes of the other containers, and among them the training's: the one whose command leaves a mark in a
---directory, else the first.
---@param directory string
---@return lab.KatibProcess? main nil when there is none
---@return lab.KatibProcess[] all
---@return boolean marked whether main's command leaves the mark
function M.find(directory)
  local ours, mark = belongs(), "echo completed > " .. directory
  local self = math.tointeger(tonumber(fs.readlink "/proc/self"))
  local main, all, marked = nil, {}, false
  for _, id in ipairs(numbers()) do
    local parent = id ~= self and ours(id) and parent_of(id)
    if parent and (parent == 0 or not ours(parent)) then
      local one = new(id)
      if one and one.pid ~= 1 then
        all[#all + 1] = one
        local leaves = one.command:find(mark, 1, true) ~= nil
        if not main or leaves then main, marked = one, leaves end
      end
    end
  end
  return main, all, marked
end

return M
