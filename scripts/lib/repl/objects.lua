-- repl.objects: the words that read objects and move between namespaces and contexts.
-- Not for what is written (repl.changes). Each function gets the session first.
--   objects.get(session, "pods", { namespace = "*" })

local errors = require "errors"
local json = require "json"
local listing = require "repl.listing"
local show = require "repl.show"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

---The options at the end of a word's arguments, and the arguments before them.
---@return any[] arguments, table options
function M.arguments(...)
  local given = table.pack(...)
  local options = {}
  local last = given[given.n]
  if type(last) == "table" and getmetatable(last) == nil and last.metadata == nil and #last == 0 then
    options = last
    given[given.n] = nil
    given.n = given.n - 1
  end
  return given, options
end

-- --- what a word is about ---------------------------------------------------------------------------------

-- An object, a row or a selection of rows as references.
local function add_value(list, value)
  if rawget(value, "rows") then
    for _, row in ipairs(value.rows) do add_value(list, row) end
  elseif rawget(value, "cells") or rawget(value, "whole") then
    list[#list + 1] = { kind = value.kind, name = value.name, namespace = value.namespace, row = value }
  elseif type(value.metadata) == "table" then
    list[#list + 1] = {
      kind = value.apiVersion .. "/" .. value.kind, name = value.metadata.name, namespace = value.metadata.namespace,
    }
  else
    for _, element in ipairs(value) do add_value(list, element) end
  end
end

---The objects that arguments name: "kind/name", "kind", "name", rows, objects.
---@param given any[]
---@param default string? the kind of a name without one
---@param options table namespace
---@return {kind: string, name: string, namespace: string?}[]
function M.references(given, default, options)
  local list, kind = {}, nil
  for _, argument in ipairs(given) do
    if type(argument) == "table" then
      add_value(list, argument)
    else
      local of, name = argument:match "^([^/]+)/(.+)$"
      if of then list[#list + 1] = { kind = of, name = name, namespace = options.namespace }
      elseif kind or default then
        list[#list + 1] = { kind = kind or default, name = argument, namespace = options.namespace }
      else kind = argument end
    end
  end
  if #list == 0 then fail "KIND/NAME, or rows, are missing" end
  return list
end

---The one reference that arguments name.
---@param given any[]
---@param default string?
---@param options table namespace
---@param what string? what the arguments are to name ("object")
---@return table reference
function M.reference(given, default, options, what)
  local list = M.references(given, default, options)
  if #list > 1 then fail("one %s is expected, %d are named", what or "object", #list) end
  return list[1]
end

---A reference as people write it.
---@param reference {kind: string, name: string}
---@return string
function M.name_of(reference) return reference.kind .. "/" .. reference.name end

---The object of a reference.
---@param self repl.Session
---@param reference table
---@return table
function M.object(self, reference)
  if reference.row and rawget(reference.row, "whole") then return reference.row.whole end
  return self:client():get(reference.kind, reference.name, { namespace = reference.namespace })
end

---The one object that arguments name.
---@param self repl.Session
---@param default string?
---@return table object, table options
function M.one(self, default, ...)
  local given, options = M.arguments(...)
  return M.object(self, M.reference(given, default, options)), options
end

-- --- listings ------------------------------------------------------------------------------------------------

local NEEDS_OBJECTS = { yaml = true, json = true, kyaml = true, lua = true }

-- What of each object the server is to send with its row.
local function part_of(options, namespace)
  local output = options.output or ""
  if NEEDS_OBJECTS[output] or output:find "^jsonpath" or options.columns or options.where then
    return "Object"
  end
  return namespace == "*" and "Metadata" or "None"
end

local function fetcher(self, kind, namespace)
  return function(row)
    return self:client():get(kind, row.name, { namespace = row.namespace or namespace })
  end
end

-- The rows of several names are those of one table.
local function fetch_tables(client, kind, names, options, part)
  local query = {
    namespace = options.namespace, labels = options.labels, fields = options.fields, limit = options.limit,
    objects = part,
  }
  if #names == 0 then return client:table(kind, query) end
  local all
  for _, name in ipairs(names) do
    query.name = name
    local found = client:table(kind, query)
    if all then table.move(found.rows, 1, #found.rows, #all.rows + 1, all.rows) else all = found end
  end
  return all
end

local function is_single_document(names, options)
  return #names == 1 and NEEDS_OBJECTS[options.output or ""]
end

---A listing of a kind.
---@param self repl.Session
---@param kind string
---@return table listing
function M.list(self, kind, names, options)
  local client = self:client()
  local resource = client:resource(kind)
  local part = part_of(options, options.namespace)
  local found = fetch_tables(client, kind, names, options, part)
  if part == "Object" then
    for _, row in ipairs(found.rows) do row.whole = row.object end
  end
  local namespace = resource.namespaced and (options.namespace or client.namespace) or nil
  local list = listing.new {
    columns = found.columns, rows = found.rows, kind = resource.plural, options = options,
    version = found.resource_version,
    namespace = namespace ~= "*" and namespace or nil, spread = namespace == "*",
    fetch = fetcher(self, kind, namespace ~= "*" and namespace or nil),
  }
  list = list:filtered(options)
  if options.sort then list = list:sorted(options.sort) end
  return list
end

-- The rows of a selection in another form.
local function in_form(selection, options)
  local copy = listing.copy(selection, selection.rows)
  copy.options, copy.is_part = options, true
  return copy
end

local ALL <const> = "pods,services,daemonsets,deployments,replicasets,statefulsets,jobs,cronjobs"

-- Several kinds: a table of each that has any; rows of them cannot be picked by number.
local function list_kinds(self, kinds, given, options)
  local value, texts = {}, {}
  for kind in kinds:gmatch "[^,]+" do
    local list = M.list(self, kind, given, options)
    value[#value + 1] = list
    if #list.rows > 0 then
      texts[#texts + 1] = function(showing)
        local title = options.output ~= "name" and list.kind .. "\n" or ""
        return title .. list:text { columns = showing.columns, lines = showing.lines }
      end
    end
  end
  return show.as_text(value, function(_, showing)
    local shown = {}
    for index, text in ipairs(texts) do shown[index] = text(showing) end
    return #shown > 0 and table.concat(shown, options.output == "name" and "" or "\n") or "nothing is there\n"
  end)
end

---Lists a kind, or shows the objects that are named.
function M.get(self, kind, ...)
  local given, options = M.arguments(...)
  if type(kind) == "table" then -- rows
    if options.output and rawget(kind, "rows") then return in_form(kind, options) end
    local references, objects = M.references({ kind }, nil, options), {}
    for index, reference in ipairs(references) do objects[index] = M.object(self, reference) end
    return #objects == 1 and objects[1] or objects
  end
  if not kind then fail "get needs a kind" end
  if kind == "all" then kind = ALL end
  if kind:find(",", 1, true) then return list_kinds(self, kind, given, options) end
  local of, name = kind:match "^([^/]+)/([^/]+)$"
  if of and not of:find "^v%d" then
    kind = of
    table.insert(given, 1, name)
  end
  if options.watch then
    options.watch = nil
    return require("repl.watch").watch(self, kind, table.unpack(given), options)
  end
  if is_single_document(given, options) and options.output == "yaml" then
    return self:client():get(kind, given[1], { namespace = options.namespace })
  end
  return M.list(self, kind, given, options)
end

---The rows shown last, by number: rows "1,4..6".
function M.rows(self, text)
  local last = self.last or fail "no rows were shown yet"
  local rows, count = {}, #last.rows
  for part in text:gmatch "[^,]+" do
    local from, to = part:match "^(%d+)%.%.(%d+)$"
    from = math.tointeger(tonumber(from or part))
    to = to and math.tointeger(tonumber(to)) or from
    if not (from and to) or from > to then fail("'%s' is no row, nor a range of rows such as 4..6", part) end
    if from < 1 or to > count then
      fail("there is no row %d; rows 1 to %d were shown", from < 1 and from or to, count)
    end
    for index = from, to do rows[#rows + 1] = last.rows[index] end
  end
  return listing.copy(last, rows)
end

-- --- places -----------------------------------------------------------------------------------------------------

---Shows or changes the namespace; "-" goes back.
function M.ns(self, name)
  local client = self:client()
  if not name then return client.namespace end
  if name == "-" then name = self.previous_namespace or fail "there is no namespace before this one" end
  local found = name == "*" or client.try:get("namespaces", name)
  if not found then fail("there is no namespace '%s'", name) end
  self.previous_namespace, client.namespace = client.namespace, name
  return show.as_text({ name = name }, ("namespace %s\n"):format(name))
end

---Shows the contexts, or changes to one; "-" goes back.
function M.ctx(self, name)
  if name then
    if name == "-" then name = self.previous_context or fail "there is no context before this one" end
    local before = self.connected and self.connected.context
    self:switch(name)
    self.previous_context = before
    return show.as_text({ name = name }, ("context %s, namespace %s\n"):format(name, self:client().namespace))
  end
  local client, rows = self:client(), {}
  local ok, config = pcall(function() return require("kube").kubeconfig() end)
  for _, context in ipairs(ok and config.contexts or {}) do
    rows[#rows + 1] = { name = context.name, current = context.name == client.context and "*" or "" }
  end
  if #rows == 0 then rows[1] = { name = client.context or client.server, current = "*" } end
  return rows
end

---The connection, for what has no word.
function M.client(self)
  return self:client()
end

-- --- use ---------------------------------------------------------------------------------------------------

-- What the containers of a pod, or a node, use together.
local function use_of(metrics)
  local quantity, cpu, memory = require("kube").quantity, 0, 0
  for _, part in ipairs(metrics.containers or { metrics }) do
    cpu = cpu + quantity(part.usage.cpu):milli()
    memory = memory + quantity(part.usage.memory):milli() / 1000
  end
  return ("%dm"):format(math.ceil(cpu)), ("%dMi"):format(math.ceil(memory / 1048576))
end

---What pods or nodes use, as a metrics server has it.
function M.top(self, kind, options)
  kind, options = kind or "pods", options or {}
  if kind ~= "pods" and kind ~= "nodes" then fail "top pods|nodes" end
  local found = self:client():list(kind .. ".metrics.k8s.io", { namespace = options.namespace })
  local rows = {}
  for index, metrics in ipairs(found) do
    local cpu, memory = use_of(metrics)
    rows[index] = { cells = { metrics.metadata.name, cpu, memory }, object = metrics }
  end
  local list = listing.new { kind = kind, rows = rows, spread = options.namespace == "*", options = options,
    namespace = options.namespace, columns = { { name = "Name" }, { name = "CPU" }, { name = "Memory" } } }
  return options.sort and list:sorted(options.sort) or list
end

-- --- rights -----------------------------------------------------------------------------------------------------

---Whether the server lets me do that.
function M.can_i(self, verb, kind, ...)
  if not kind then fail "can-i VERB KIND [NAME]" end
  local given, options = M.arguments(...)
  local of, name = kind:match "^([^/]+)/(.+)$"
  name = name or given[1]
  local allowed, reason = self:client():can_i(verb, of or kind, { namespace = options.namespace, name = name })
  local answer = { allowed = allowed, reason = reason ~= json.null and reason or nil }
  local why = answer.reason and answer.reason ~= "" and " (" .. answer.reason .. ")" or ""
  return show.as_text(answer, (allowed and "yes" or "no") .. why .. "\n")
end

---Who the server takes me for.
function M.whoami(self)
  local info = self:client():whoami()
  return show.as_text(info, ("%s\n%s\n"):format(info.username, table.concat(info.groups or {}, ", ")))
end

return M
