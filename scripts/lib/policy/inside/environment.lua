-- policy.inside.environment: the globals of a policy file: a base that cannot be changed, and names of
-- its own that can be set only while the file loads.
-- Not for limits of time and memory: the sandbox has those.
--   local environment, seal = environment.new(); load(text, name, "t", environment)(); seal()

local M = {}

local function refuse(what)
  return function(_, key)
    error(("%s.%s cannot be set: what policies share is read-only"):format(what, tostring(key)), 2)
  end
end

-- A view of a table through which nothing can be changed.
local function view(name, target)
  return setmetatable({}, {
    __index = target,
    __newindex = refuse(name),
    __pairs = function() return next, target, nil end,
    __metatable = false,
  })
end

local views = setmetatable({}, { __mode = "k" })

---@param name string for messages
---@param value any
---@return any value a table as a read-only view of it, anything else as it is
function M.read_only(name, value)
  if type(value) ~= "table" then return value end
  if not views[value] then
    local shown = view(name, value)
    views[value] = shown
    views[shown] = shown
  end
  return views[value]
end

local function base()
  local globals = {}
  for name, value in pairs(_G) do
    if name ~= "_G" then globals[name] = M.read_only(name, value) end
  end
  globals.rawset = function(target, key, value)
    if views[target] == target then error("what policies share is read-only", 2) end
    return rawset(target, key, value)
  end
  globals.require = function(name) return M.read_only(name, require(name)) end
  return globals
end

---@return table environment for load
---@return function seal from then on a global that is set is an error: reviews share no state
function M.new()
  local own = base()
  local sealed = false
  local environment = setmetatable({}, {
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
