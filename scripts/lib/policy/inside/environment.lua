-- policy.inside.environment: the globals of a policy file: a base that cannot be changed, and names of
-- its own that can be set only while the file loads.
-- Not for limits of time and memory: the sandbox has those.
--   local environment, seal = environment.new(); load(text, name, "t", environment)(); seal()

local values = require "policy.inside.values"

local M = {}

local function refuse(what)
  return function(_, key)
    error(("%s.%s cannot be set: what policies share is read-only"):format(what, tostring(key)), 2)
  end
end

local views = setmetatable({}, { __mode = "k" }) -- table -> its view; a view -> itself
local targets = setmetatable({}, { __mode = "k" }) -- view -> table
local own_metatables = setmetatable({}, { __mode = "k" }) -- made by policies: they may change them
local OPAQUE = { [values.absent] = true } -- known by what it is

local function has_tables(target)
  for _, value in next, target do
    if type(value) == "table" then return true end
  end
  return false
end

-- A view of a table through which nothing can be changed, neither in it nor in what it holds.
local function view(name, target)
  local function inner(_, key) return M.read_only(name .. "." .. tostring(key), target[key]) end
  local nested = has_tables(target) or getmetatable(target) ~= nil
  local function step(_, key)
    local following, value = next(target, key)
    return following, M.read_only(name, value)
  end
  return setmetatable({}, {
    __index = nested and inner or target,
    __newindex = refuse(name),
    __len = function() return #target end,
    __call = function(_, ...) return target(...) end,
    __pairs = function(shown) return step, shown, nil end,
    __metatable = false,
  })
end

---@param name string for messages
---@param value any
---@return any value a table as a read-only view of it, anything else as it is
function M.read_only(name, value)
  if type(value) ~= "table" or OPAQUE[value] then return value end
  if not views[value] then
    local shown = view(name, value)
    views[value], views[shown], targets[shown] = shown, shown, value
  end
  return views[value]
end

-- What policies may do with the base in a way of ours.
local functions = {}

function functions.rawset(target, key, value)
  if views[target] == target then error("what policies share is read-only", 2) end
  return rawset(target, key, value)
end

function functions.require(name)
  if type(name) == "string" and name:find "^policy%." then
    error(("'%s' is no module of policies: there is `require \"policy\"`"):format(name), 2)
  end
  return M.read_only(name, require(name))
end

-- Marks of arrays and the like are shared by all values: they can be looked at, and given to others.
function functions.getmetatable(value)
  local metatable = getmetatable(value)
  if type(metatable) == "table" and not own_metatables[metatable] then
    return M.read_only("metatable", metatable)
  end
  return metatable
end

function functions.setmetatable(value, metatable)
  if views[value] == value and value ~= nil then error("what policies share is read-only", 2) end
  local real = metatable ~= nil and targets[metatable]
  if real then return setmetatable(value, real) end
  if type(metatable) == "table" then own_metatables[metatable] = true end
  return setmetatable(value, metatable)
end

local function base(environment, name)
  local globals = {}
  for key, value in pairs(_G) do
    if key ~= "_G" then globals[key] = M.read_only(key, value) end
  end
  for key, value in pairs(functions) do globals[key] = value end
  -- Texts that are loaded have the same globals, and are told apart in messages.
  globals.load = function(chunk, chunk_name, _, own)
    if own == nil then own = environment end
    return load(chunk, chunk_name or ("=%s (a loaded text)"):format(name), "t", own)
  end
  return globals
end

---@param name string of the file
---@return table environment for load
---@return function seal from then on a global that is set is an error: reviews share no state
function M.new(name)
  local own, environment
  local sealed = false
  environment = {}
  own = base(environment, name)
  setmetatable(environment, {
    __index = own,
    __newindex = function(_, key, value)
      if sealed then
        error(("global '%s' is set in a handler: use a local, reviews share no state"):format(tostring(key)), 2)
      end
      own[key] = M.read_only(tostring(key), value)
    end,
    __metatable = false,
  })
  views[environment] = environment
  own._G = environment
  return environment, function() sealed = true end
end

return M
