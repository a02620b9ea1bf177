-- kube.options: the options of the client's methods, as queries of the API.
-- Not for values that only the server can judge.
--   options.read_query{ labels = { app = "web" }, limit = 4 } -> { labelSelector = "app=web", limit = 4 }

local M = {}

-- Every option there is; a misspelt one must not be passed over (think of a selector on a delete).
local KNOWN = {}
for name in ([[ namespace labels fields limit continue resource_version resource_version_match metadata_only
  subresource dry_run validation manager timeout propagation grace uid wait type force kind name columns objects
  bookmarks initial_events tries transport exempt query group version all orphan pretty ]]):gmatch "%S+" do
  KNOWN[name] = true
end

---Checks the names of options.
---@param options table?
---@param level integer of the function to blame
---@return table options
function M.check(options, level)
  if options == nil then return {} end
  if type(options) ~= "table" then error("options: a table expected, got " .. type(options), level + 1) end
  for name in pairs(options) do
    if not KNOWN[name] then error(("unknown option '%s'"):format(tostring(name)), level + 1) end
  end
  return options
end

---A selector as text: { app = "web", tier = "db" } is "app=web,tier=db".
---@param selector string|table|nil
---@return string?
function M.selector(selector)
  if type(selector) ~= "table" then return selector end
  local parts = {}
  for key, value in pairs(selector) do
    parts[#parts + 1] = type(key) == "number" and value or ("%s=%s"):format(key, tostring(value))
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

---A selector of equalities as a map; nil for any other.
---@param selector string?
---@return table<string, string>?
function M.equalities(selector)
  local map = {}
  for part in ((selector or "") .. ","):gmatch "([^,]*)," do
    local key, value = part:match "^%s*([%w./_-]+)%s*==?%s*([%w._-]*)%s*$"
    if not key then return nil end
    map[key] = value
  end
  return map
end

---@param options table
---@return table query of a get, list or watch
function M.read_query(options)
  return {
    labelSelector = M.selector(options.labels), fieldSelector = M.selector(options.fields),
    limit = options.limit, continue = options.continue, resourceVersion = options.resource_version,
    resourceVersionMatch = options.resource_version_match,
  }
end

local function dry_run(value)
  if value == true then return "All" end
  return value or nil
end

---@param options table
---@param client table
---@return table query of a create, update or patch
function M.write_query(options, client)
  return {
    dryRun = dry_run(options.dry_run), fieldValidation = options.validation,
    fieldManager = options.manager or client.manager,
    force = options.force ~= nil and tostring(options.force) or nil,
  }
end

---@param options table
---@return table query, table? body of a delete
function M.delete_parts(options)
  local body
  local preconditions = (options.uid or options.resource_version)
    and { uid = options.uid, resourceVersion = options.resource_version } or nil
  if options.propagation or options.grace or preconditions then
    body = {
      propagationPolicy = options.propagation, gracePeriodSeconds = options.grace, preconditions = preconditions,
    }
  end
  return {
    dryRun = dry_run(options.dry_run), labelSelector = M.selector(options.labels),
    fieldSelector = M.selector(options.fields),
  }, body
end

return M
