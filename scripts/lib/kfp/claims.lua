-- kfp.claims: a cluster's volume claims as folders of this machine. Those that a run makes end with it, all others
-- stay for later runs. Not for how a step comes to see one: see kfp.mounts.
--   local claims = kfp_claims.new(root, "runs/volumes", { data = "/big/disk" }); print(claims:find("data").folder)
--
-- What a step left in a claim is no output of it, so an equal step of an earlier run stands for it only while the
-- claim is as the last run left it, and no step of this run has changed it.
local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local json = require "json"

local M = {}

---@class kfp.Claim
---@field name string
---@field folder string
---@field record string? file that says what the last run left in it; nil for one that this run made

local Claims = {}
Claims.__index = Claims

local function safe(name) return (name:gsub("[^%w._-]", "_"):gsub("^%.", "_")) end

---@param root string the run's folder
---@param folder string where claims lie that stay
---@param given table<string, string>? folders that the user names, by claim
---@return table claims # raises "Usage" for a folder that is not there
function M.new(root, folder, given)
  local claims = setmetatable({ root = root, folder = folder, given = {}, made = {}, states = {} }, Claims)
  for name, path in pairs(given or {}) do
    local stat = fs.stat(path)
    if not stat or stat.type ~= "directory" then
      errors.raise { code = "Usage", message = ("there is no folder %s for the claim '%s'"):format(path, name) }
    end
    claims.given[name] = fs.realpath(path)
  end
  return claims
end

local function copy(from, to)
  local stat = fs.stat(from, { follow = false })
  if stat.type == "link" then return fs.symlink(fs.readlink(from), to) end
  if stat.type == "file" then return fs.copy(from, to) end
  if stat.type ~= "directory" then return end
  fs.mkdir(to, { parents = true })
  for _, name in ipairs(fs.list(from)) do copy(fs.join(from, name), fs.join(to, name)) end
end

---A new claim of this run; one of a volume that is there already is that volume, a clone begins as the other claim is.
---@param name string
---@param volume string? name of the volume
---@param clone_of string? name of a claim
---@return string folder
function Claims:make(name, volume, clone_of)
  local folder = fs.join(self.root, ".volumes", safe(name))
  if volume and volume ~= "" then
    folder = fs.join(self.folder, "volume." .. safe(volume))
    self.given[name] = folder
  else
    self.made[name] = folder
  end
  fs.mkdir(folder, { parents = true })
  local source = clone_of and self:find(clone_of).folder
  if source and fs.exists(source) then copy(source, folder) end
  return folder
end

---@param name string
function Claims:remove(name)
  fs.remove(fs.join(self.root, ".volumes", safe(name)), { recursive = true })
  self.made[name] = nil
end

---@param name string
---@return kfp.Claim
function Claims:find(name)
  local made = self.made[name]
  if made then return { name = name, folder = made } end
  local claim = { name = name, folder = self.given[name] or fs.join(self.folder, safe(name)) }
  claim.record = fs.join(self.folder, "." .. safe(name) .. ".json")
  return claim
end

-- --- what is in them --------------------------------------------------------------------------------------

-- Names, sizes and times of all that is in a folder.
local function digest(folder)
  local parts = {}
  local function walk(path, name)
    local stat = fs.try.stat(path, { follow = false })
    if not stat then return end
    local size = stat.type == "directory" and 0 or stat.size
    parts[#parts + 1] = ("%s %s %d %.9f"):format(name, stat.type, size, stat.mtime)
    if stat.type ~= "directory" then return end
    for _, inner in ipairs(fs.try.list(path) or {}) do walk(fs.join(path, inner), name .. "/" .. inner) end
  end
  walk(folder, "")
  return hash.sha256(folder .. "\n" .. table.concat(parts, "\n"))
end

-- What is known of a claim in this run: as it was left, and whether it is otherwise now.
function Claims:state(claim)
  local state = self.states[claim.name]
  if state then return state end
  local text = claim.record and fs.try.read(claim.record)
  local known = text and json.try.decode(text)
  state = { digest = digest(claim.folder), steps = {} }
  if type(known) == "table" and known.digest == state.digest and type(known.steps) == "table" then
    for path, key in pairs(known.steps) do state.steps[path] = key end
  else
    state.changed = true
  end
  self.states[claim.name] = state
  return state
end

---Whether what a step left in its claims is there.
---@param list kfp.Claim[]
---@param path string of the step
---@param key string of the cache
---@return boolean
function Claims:holds(list, path, key)
  for _, claim in ipairs(list) do
    local state = self:state(claim)
    if not claim.record or state.changed or state.steps[path] ~= key then return false end
  end
  return true
end

---A step is about to run.
---@param list kfp.Claim[]
function Claims:before(list)
  for _, claim in ipairs(list) do
    if claim.record then fs.mkdir(claim.folder, { parents = true }) end
    self:state(claim)
  end
end

---A step has run.
---@param list kfp.Claim[]
---@param path string
---@param key string? its key, when it ended well
function Claims:after(list, path, key)
  for _, claim in ipairs(list) do
    local state, now = self:state(claim), digest(claim.folder)
    state.changed = state.changed or now ~= state.digest
    state.digest, state.steps[path] = now, key
    if claim.record and key then
      fs.mkdir(self.folder, { parents = true })
      fs.write(claim.record, json.encode({ digest = now, steps = json.object(state.steps) }, { sort = true }))
    end
  end
end

return M
