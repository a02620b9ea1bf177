-- repl.complete: what may stand where the cursor is: words, kinds, names, namespaces, Lua fields, files.
-- Not for drawing. Nothing here waits: what is not in a cache is asked for in the background, and comes next time.
--   complete.at(session, "pods we", 8) -> 6, { "web-1", "web-2" }

local M = {}

local FRESH <const> = 10 -- seconds that names stay good

-- --- caches ---------------------------------------------------------------------------------------------

local function cache_of(self)
  self.caches = self.caches or { names = {} }
  return self.caches
end

-- Asks something in the background, once at a time; what comes is put into the cache.
local function ask(self, cache, question)
  if cache.asking or not self.connected then return end
  cache.asking = true
  self:spawn(function()
    local ok = pcall(question)
    cache.asking, cache.at = false, self.now()
    if ok and self.on_cache then self.on_cache() end
  end)
end

local function is_old(self, cache) return not cache.at or self.now() - cache.at > FRESH end

-- The cache of a name, made when it is first looked at.
local function cache_named(self, room, name, empty)
  local all = cache_of(self)
  all[room] = all[room] or {}
  all[room][name] = all[room][name] or empty
  return all[room][name]
end

-- Asks for the names of a kind, once at a time.
local function refresh(self, cache, kind, namespace)
  ask(self, cache, function() -- page by page: there may be very many
    local names, labels = {}, {}
    for object in self:client():each(kind, { namespace = namespace, metadata_only = true, timeout = 5 }) do
      names[#names + 1] = object.metadata.name
      for key, value in pairs(object.metadata.labels or {}) do labels[key .. "=" .. value] = true end
    end
    cache.names, cache.labels = names, labels
  end)
end

---What is known of a kind's objects.
---@param self repl.Session
---@param kind string
---@param namespace string?
---@return {names: string[], labels: table<string, boolean>}
function M.known(self, kind, namespace)
  if not self.connected then pcall(self.client, self) end -- asks nobody yet
  namespace = namespace or self.connected and self.connected.namespace
  local cache = cache_named(self, "names", (namespace or "") .. "/" .. kind, { names = {}, labels = {} })
  if is_old(self, cache) then refresh(self, cache, kind, namespace) end
  return cache
end

-- The containers of one pod.
local function containers_of(self, pod, namespace)
  local cache = cache_named(self, "containers", (namespace or "") .. "/" .. pod, { list = {} })
  if is_old(self, cache) then
    ask(self, cache, function()
      local found = self:client():get("pods", pod, { namespace = namespace, timeout = 5 })
      cache.list = require("kube.containers").names(found.spec)
    end)
  end
  return cache.list
end

-- Asks the server once which kinds it has, beside those that are known.
local function refresh_kinds(self)
  local cache = cache_named(self, "kinds", "", {})
  if not cache.at then ask(self, cache, function() self:client().discovery:all() end) end
end

-- --- sources ----------------------------------------------------------------------------------------------

local function kinds(self)
  local list = {}
  if not self.connected then pcall(self.client, self) end -- asks nobody yet
  refresh_kinds(self)
  local discovery = self.connected and self.connected.discovery
  for _, resources in ipairs { require("kube.builtin").resources(), discovery and discovery.list or {} } do
    for _, resource in ipairs(resources) do
      list[#list + 1] = resource.plural
      for _, short in ipairs(resource.short or {}) do list[#list + 1] = short end
    end
  end
  return list
end

local function contexts()
  local ok, config = pcall(function() return require("kube").kubeconfig() end)
  local list = {}
  for index, context in ipairs(ok and config.contexts or {}) do list[index] = context.name end
  return list
end

local function keys_of(map)
  local list = {}
  for key in pairs(map) do list[#list + 1] = key end
  return list
end

local function files(prefix)
  local fs = require "fs"
  local folder = prefix:match "^(.*/)" or ""
  local list = {}
  for index, name in ipairs(fs.try.list(folder == "" and "." or folder) or {}) do
    local stat = fs.try.stat(folder .. name)
    list[index] = folder .. name .. (stat and stat.type == "directory" and "/" or "")
  end
  return list
end

-- What follows -l: keys, then the values of the key; after a comma the next one.
local function label_candidates(labels, fragment)
  local before, part = fragment:match "^(.*,)([^,]*)$"
  before, part = before or "", part or fragment
  local list, seen = {}, {}
  for pair in pairs(labels) do
    local key = pair:match "^[^=]*"
    local candidate = before .. (part:find("=", 1, true) and pair or key .. "=")
    if not seen[candidate] then list[#list + 1] = candidate end
    seen[candidate] = true
  end
  return list
end

-- The columns of the listing shown last, by which may be sorted.
local function columns_of(self)
  local list = {}
  for _, column in ipairs(self.last and self.last.columns or {}) do
    list[#list + 1] = column.name:lower():gsub(" ", "")
    list[#list + 1] = "-" .. list[#list]
  end
  return list
end

-- The fields below a path such as pods.spec.containers, from the program's own types.
local function schema_fields(self, path)
  local schema, kube_builtin = require "kube.schema", require "kube.builtin"
  local parts = {}
  for part in path:gmatch "[^.]+" do parts[#parts + 1] = part end
  local kind = table.remove(parts, 1) or ""
  local spec = self.vocabulary.words[self.vocabulary.aliases[kind] or kind]
  kind = spec and spec.kind or kind
  for _, resource in ipairs(kube_builtin.resources()) do
    local is_it = resource.plural == kind or resource.singular == kind or resource.kind == kind
    for _, short in ipairs(resource.short or {}) do is_it = is_it or short == kind end
    if is_it then
      local found = schema.type(schema.kind((resource.group == "" and "" or resource.group .. "/") .. resource.version
        .. "/" .. resource.kind) or "")
      for _, part in ipairs(parts) do
        local field = found and found.fields[part]
        while field and (field.type == "list" or field.type == "map") do field = field.of end
        found = field and field.name and schema.type(field.name) or nil
      end
      return found and found.order or {}
    end
  end
  return {}
end

-- Programs for a shell line's first word, files for the others.
local function shell_candidates(text, fragment)
  if text:find "^%s*$" and not fragment:find "/" then
    local list, fs = {}, require "fs"
    for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
      for _, name in ipairs(fs.try.list(folder) or {}) do list[#list + 1] = name end
    end
    return list
  end
  return files(fragment)
end

-- Words that take the name of one kind.
local OF_KIND = { logs = "pods", exec = "pods", ["port-forward"] = "pods", ["injected?"] = "pods", allowed = "pods",
  run = "workflows", experiment = "experiments", cordon = "nodes", uncordon = "nodes", drain = "nodes", cp = "pods" }
local KIND_FIRST = { get = true, watch = true }
local REFERENCE = { describe = true, why = true, tree = true, ["used-by"] = true, edit = true, scale = true,
  restart = true, delete = true, patch = true, label = true, annotate = true, rollout = true, wait = true }

local VERBS = { "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "use",
  "bind", "escalate" }

-- Candidates for an argument of the form kind/name.
local function references(self, fragment, namespace)
  local kind = fragment:match "^([^/]+)/"
  local list = {}
  if not kind then
    for index, name in ipairs(kinds(self)) do list[index] = name .. "/" end
    return list
  end
  local names = M.known(self, kind, namespace).names
  for index, name in ipairs(names) do list[index] = kind .. "/" .. name end
  return list
end

local function flags(spec)
  local list = {}
  for flag in pairs(spec.flags or {}) do list[#list + 1] = flag:match "^%S+" end
  return list
end

-- Candidates for a word of a line of words. `given`: the words before the fragment, the first is the word.
local function for_word(self, given, fragment)
  local name = given[1]
  local alias = self.vocabulary.aliases[name]
  name = alias and alias:match "^%S+" or name
  local spec = self.vocabulary.words[name]
  local previous = given[#given]
  local namespace
  for index = 2, #given - 1 do
    if given[index] == "-n" then namespace = given[index + 1] end
  end
  if not spec then return {} end
  if previous == "-n" or name == "ns" then return M.known(self, "namespaces").names end
  if previous == "-f" and name == "apply" or name == "save" or previous == ">" then return files(fragment) end
  local kind = spec.kind or OF_KIND[name] or KIND_FIRST[name] and given[2]
  if previous == "-l" then return label_candidates(M.known(self, kind or "pods", namespace).labels, fragment) end
  if previous == "--sort" then return columns_of(self) end
  if previous == "-o" then return keys_of(spec.formats or {}) end
  if previous == "-c" or (name == "logs" and #given == 2 and fragment ~= "" and not fragment:find "^%-") then
    local pod = given[2] or ""
    local list = containers_of(self, pod, namespace)
    if previous == "-c" or #list > 0 then return list end
  end
  if name == "can-i" then
    if #given == 1 then return VERBS end
    if #given == 2 then return kinds(self) end
  end
  if fragment:find "^%-" then return flags(spec) end
  if name == "ctx" then return contexts() end
  if name == "help" then return keys_of(self.vocabulary.words) end
  if KIND_FIRST[name] and #given == 1 then return kinds(self) end
  if REFERENCE[name] then return references(self, fragment, namespace) end
  if not kind then return {} end
  local known = M.known(self, kind, namespace)
  if known.asking and not known.at then return {} end -- a form alone would be taken for the only candidate
  local list = table.move(known.names, 1, #known.names, 1, {})
  for format in pairs(spec.formats or {}) do list[#list + 1] = format end
  return list
end

-- --- Lua ------------------------------------------------------------------------------------------------------

local LUA_WORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
  "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

-- A field without calling anything: what a row has of its object only when that was fetched before.
local function field(value, key)
  if type(value) == "string" then value = string end
  if type(value) ~= "table" then return nil end
  local found = rawget(value, key)
  if found == nil and rawget(value, "whole") then found = rawget(value, "whole")[key] end
  if found == nil and rawget(value, "rows") then found = rawget(value, "rows")[key] end
  local meta = getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  if found == nil and type(index) == "table" then return field(index, key) end
  return found
end

local function add_fields(seen, value, methods_only)
  if type(value) == "string" then value = string end
  if type(value) ~= "table" then return end
  for key, of in next, value do
    if type(key) == "string" and (not methods_only or type(of) == "function") then seen[key] = true end
  end
  local whole = rawget(value, "whole")
  if whole then add_fields(seen, whole, methods_only) end
  local meta = getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  if type(index) == "table" then add_fields(seen, index, methods_only) end
end

-- The value of a path such as a.b[2].c, without calling anything.
local function value_of(self, path)
  local name, rest = path:match "^([%a_][%w_]*)(.*)$"
  if not name then return nil end
  local value = rawget(self.environment, name)
  if value == nil then value = _G[name] end
  while rest ~= "" and value ~= nil do
    local key, following = rest:match "^%.([%a_][%w_]*)(.*)$"
    if not key then
      key, following = rest:match "^%[(%d+)%](.*)$"
      key = key and math.tointeger(tonumber(key))
    end
    if not key then return nil end
    value, rest = field(value, key), following
  end
  return value
end

-- The fields that the schema has below a path whose beginning is an object or a row: x.spec, _[1].spec.
local function schema_of_path(self, path)
  for at = #path, 1, -1 do
    local value = value_of(self, path:sub(1, at))
    local kind = type(value) == "table" and (rawget(value, "kind") or rawget(value, "whole") and value.kind)
    local is_end = at == #path or path:find("^[.%[]", at + 1)
    if is_end and type(kind) == "string" and (rawget(value, "metadata") or rawget(value, "cells")) then
      return schema_fields(self, kind .. path:sub(at + 1):gsub("%[%d+%]", ""))
    end
  end
  return {}
end

local function for_lua(self, text)
  local path, mark, fragment = text:match "([%a_][%w_.%[%]]*)([.:])([%w_]*)$"
  local seen = {}
  if path then
    add_fields(seen, value_of(self, path), mark == ":")
    if mark == "." then
      for _, name in ipairs(schema_of_path(self, path)) do seen[name] = true end
    end
    return fragment, keys_of(seen)
  end
  fragment = text:match "[%a_][%w_]*$" or ""
  if fragment == "" then return fragment, {} end
  for _, word in ipairs(LUA_WORDS) do seen[word] = true end
  for _, map in ipairs { _G, self.environment } do
    for key in next, map do
      if type(key) == "string" then seen[key] = true end
    end
  end
  for name in pairs(self.vocabulary.words) do seen[name] = true end
  return fragment, keys_of(seen)
end

-- --- all of it -----------------------------------------------------------------------------------------------

-- Those that begin with the fragment, sorted, each once.
local function matching(list, fragment, before)
  local kept, seen = {}, {}
  for _, candidate in ipairs(list) do
    if candidate:sub(1, #fragment) == fragment and not seen[candidate] then
      seen[candidate] = true
      kept[#kept + 1] = (before or "") .. candidate
    end
  end
  table.sort(kept)
  return kept
end

-- After ?: kinds, then fields.
local function for_help(self, cursor, text)
  local path, fragment = text:match "^(.*)%.([^.]*)$"
  if not path then return cursor - #text, matching(kinds(self), text) end
  return cursor - #fragment, matching(schema_fields(self, path), fragment)
end

local function first_words(self, text)
  local colon = text:match "^:" or ""
  local list = {}
  for name, spec in pairs(self.vocabulary.words) do
    if colon ~= "" or not spec.colon then list[#list + 1] = colon .. name end
    if colon == "" and spec.colon then list[#list + 1] = ":" .. name end
  end
  for name in pairs(self.vocabulary.aliases) do list[#list + 1] = colon .. name end
  return list
end

---Candidates at a place of a line.
---@param self repl.Session
---@param text string
---@param cursor integer the byte before which the cursor stands
---@return integer from where what they replace begins
---@return string[] candidates whole words, sorted
function M.at(self, text, cursor)
  local left = text:sub(1, cursor - 1)
  local body = left:match "^%s*:?%s*[%d,.]*%s*()"
  local fragment = left:match "%S*$"
  local from = cursor - #fragment
  local help = left:match "^%s*%?([%w.%-]*)$"
  if help then return for_help(self, cursor, help) end
  local command, piped = left:match "^%s*!(.*)$", left:match "%s|%s*([^|]*)$"
  if command or piped and self.vocabulary:kind(left) == "words" then
    local before = (command or piped):match "^(.-)%S*$"
    return from, matching(shell_candidates(before, fragment:gsub("^!", "")), (fragment:gsub("^!", "")), command
      and before == "" and "!" or nil)
  end
  if from <= body then
    local found = matching(first_words(self, left:match "^%s*(.-)$"), fragment)
    if #found > 0 then return from, found end
  end
  if self.vocabulary:kind(left) == "words" and not left:find "^%s*!" then
    local given = {}
    for word in left:sub(body, from - 1):gmatch "%S+" do given[#given + 1] = word end
    return from, matching(for_word(self, given, fragment), fragment)
  end
  local piece, list = for_lua(self, left)
  return cursor - #piece, matching(list, piece)
end

---What all candidates have in common.
---@param candidates string[]
---@return string
function M.common(candidates)
  local common = candidates[1] or ""
  for _, candidate in ipairs(candidates) do
    local length = 0
    while length < #common and common:byte(length + 1) == candidate:byte(length + 1) do length = length + 1 end
    common = common:sub(1, length)
  end
  return common
end

return M
