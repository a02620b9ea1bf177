-- kube.kubeconfig: reads and merges kubeconfig files by kubectl's rules, and checks them.
-- Not for credentials in use (kube.auth): here they are only fields.
--   local config = kubeconfig.load(); print(config["current-context"], config:context().server)

local errors = require "errors"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local locate = require "kube.locate"
local yaml = require "yaml"

local M = {}

local SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

-- --- what a file may hold -------------------------------------------------------------------------

local FIELDS = {
  cluster = {
    server = "text", ["tls-server-name"] = "text", ["insecure-skip-tls-verify"] = "flag",
    ["certificate-authority"] = "file", ["certificate-authority-data"] = "base64", ["proxy-url"] = "text",
    ["disable-compression"] = "flag",
  },
  user = {
    token = "text", tokenFile = "file", username = "text", password = "text",
    ["client-certificate"] = "file", ["client-certificate-data"] = "base64",
    ["client-key"] = "file", ["client-key-data"] = "base64",
    ["as"] = "text", ["as-uid"] = "text", ["as-groups"] = "texts", ["as-user-extra"] = "map",
    exec = "map", ["auth-provider"] = "map",
  },
  context = { cluster = "text", user = "text", namespace = "text" },
}

local function is_map(value)
  return type(value) == "table" and not json.is_array(value)
end

local function are_texts(value)
  if type(value) ~= "table" or (next(value) ~= nil and not json.is_array(value)) then return false end
  for _, element in ipairs(value) do
    if type(element) ~= "string" then return false end
  end
  return true
end

-- Each kind of field: a test, and what the message calls it.
local KINDS = {
  text = { function(value) return type(value) == "string" end, "a text" },
  file = { function(value) return type(value) == "string" end, "a path" },
  flag = { function(value) return type(value) == "boolean" end, "true or false" },
  base64 = { function(value) return type(value) == "string" and hash.try.unbase64(value) ~= nil end, "Base64" },
  texts = { are_texts, "a list of texts" },
  map = { is_map, "a map" },
}

local function fail(source, path, format, ...)
  local key = {}
  for index, step in ipairs(path) do
    key[#key + 1] = type(step) == "number" and ("[%d]"):format(step - 1) or (index > 1 and "." or "") .. step
  end
  key = table.concat(key)
  errors.raise {
    code = "Kubeconfig", path = source.path, line = #path > 0 and locate.line(source.text, path) or nil, key = key,
    message = (key ~= "" and key .. ": " or "") .. format:format(...),
  }
end

-- A path with more steps at its end.
local function field_path(path, ...)
  local longer = table.move(path, 1, #path, 1, {})
  for _, step in ipairs { ... } do longer[#longer + 1] = step end
  return longer
end

-- A field's value; nothing for null and for an empty text.
local function given(value)
  if value == json.null or value == "" then return nil end
  return value
end

-- `env: null` and the like are as good as nothing; a command with a / lies beside the file.
local function clean_exec(exec, directory)
  local copy = json.object {}
  for name, field in pairs(exec) do copy[name] = given(field) end
  if type(copy.command) == "string" and copy.command:find "/" then copy.command = fs.join(directory, copy.command) end
  return copy
end

local function clean(kind, value, directory)
  local copy = json.object {}
  for name, field in pairs(value) do
    field = given(field)
    if FIELDS[kind][name] == "file" and field then field = fs.join(directory, field) end
    copy[name] = field
  end
  if copy.exec then copy.exec = clean_exec(copy.exec, directory) end
  return copy
end

-- --- reading a file -----------------------------------------------------------------------------------

local function decode(source)
  local value, problem = yaml.try.decode(source.text)
  if problem then
    errors.raise {
      code = "Kubeconfig", path = source.path, line = problem.line, column = problem.column,
      message = "not a kubeconfig: " .. problem.message, cause = problem,
    }
  end
  if value == json.null then return {} end
  if not is_map(value) then fail(source, {}, "not a kubeconfig: a map expected") end
  return value
end

local LISTS = { { "clusters", "cluster" }, { "users", "user" }, { "contexts", "context" } }

local function read_entry(source, list, kind, index, entry, seen)
  local path = { list, index }
  if not is_map(entry) then fail(source, path, "a map expected") end
  if type(entry.name) ~= "string" then fail(source, field_path(path, "name"), "a text expected") end
  if seen[entry.name] then fail(source, field_path(path, "name"), "there are two named '%s'", entry.name) end
  local value = given(entry[kind]) or {}
  if not is_map(value) then fail(source, field_path(path, kind), "a map expected") end
  for name, rule in pairs(FIELDS[kind]) do
    local field = given(value[name])
    if field ~= nil and not KINDS[rule][1](field) then
      fail(source, field_path(path, kind, name), "%s expected", KINDS[rule][2])
    end
  end
  return {
    name = entry.name, source = source, path = field_path(path, kind),
    value = clean(kind, value, fs.dirname(source.path)),
  }
end

-- One file: its entries by list, in their order.
local function read_file(path, text)
  local source = { path = path, text = text }
  local value = decode(source)
  local file = { current = given(value["current-context"]) }
  if file.current and type(file.current) ~= "string" then fail(source, { "current-context" }, "a text expected") end
  file.source = source
  for _, list in ipairs(LISTS) do
    local entries, seen = given(value[list[1]]) or {}, {}
    if type(entries) ~= "table" or (next(entries) ~= nil and not json.is_array(entries)) then
      fail(source, { list[1] }, "a list expected")
    end
    file[list[1]] = {}
    for index, entry in ipairs(entries) do
      local read = read_entry(source, list[1], list[2], index, entry, seen)
      seen[read.name] = true
      table.insert(file[list[1]], read)
    end
  end
  return file
end

-- --- merging ------------------------------------------------------------------------------------------

local config_methods = {}
config_methods.__index = config_methods

-- What the merged configuration keeps besides kubectl's fields: where each entry comes from.
local origins = setmetatable({}, { __mode = "k" })

local function merge(files)
  local config = setmetatable({ apiVersion = "v1", kind = "Config" }, config_methods)
  local origin = { clusters = {}, users = {}, contexts = {}, files = {} }
  for _, list in ipairs(LISTS) do config[list[1]] = json.array {} end
  for _, file in ipairs(files) do
    table.insert(origin.files, file.source.path)
    if not config["current-context"] and file.current then
      config["current-context"], origin.current = file.current, file.source
    end
    for _, list in ipairs(LISTS) do
      for _, entry in ipairs(file[list[1]]) do
        if not origin[list[1]][entry.name] then
          origin[list[1]][entry.name] = entry
          table.insert(config[list[1]], { name = entry.name, [list[2]] = entry.value })
        end
      end
    end
  end
  origins[config] = origin
  return config
end

local function default_path()
  local home = os.getenv "HOME"
  return home and home .. "/.kube/config"
end

-- The files to read, and whether a missing one is an error.
local function paths_of(given_path)
  if given_path then return { given_path }, true end
  local list, seen = {}, {}
  for path in (os.getenv "KUBECONFIG" or ""):gmatch "[^:]+" do
    if not seen[path] then list[#list + 1] = path end
    seen[path] = true
  end
  if #list > 0 then return list, false end
  return { default_path() }, false
end

---The configuration that a text holds.
---@param text string
---@param path string of the file it came from
---@return table config; raises {code="Kubeconfig"}
function M.parse(text, path)
  return merge { read_file(path, text) }
end

---Reads a kubeconfig: the file, or those of KUBECONFIG, or ~/.kube/config; the first entry of a name wins.
---@param path string?
---@return table config kubectl's fields (clusters, users, contexts, current-context), and :context(name)
---raises {code="Kubeconfig"} with path, line and key
function M.load(path)
  local paths, needed = paths_of(path)
  local files = {}
  for _, one in ipairs(paths) do
    local text, problem = fs.try.read(one)
    if text then
      files[#files + 1] = read_file(fs.realpath(one), text)
    elseif needed or problem.code ~= "ENOENT" then
      errors.raise { code = "Kubeconfig", path = one, message = "cannot be read", cause = problem }
    end
  end
  return merge(files)
end

-- --- a context ----------------------------------------------------------------------------------------

local function names(entries)
  local list = {}
  for name in pairs(entries) do list[#list + 1] = name end
  table.sort(list)
  return #list > 0 and "there are: " .. table.concat(list, ", ") or "there are none"
end

local function entry_of(origin, list, name, said_in)
  local entry = origin[list][name]
  if entry then return entry end
  local source = said_in and said_in.source or origin.current or { path = origin.files[1] or "", text = "" }
  local path = said_in and field_path(said_in.path, list == "clusters" and "cluster" or "user")
    or { "current-context" }
  fail(source, path, "no %s named '%s'; %s", list:sub(1, -2), name, names(origin[list]))
end

-- The bytes of a field that is given inline or as a file; inline wins, as with kubectl.
local function material(entry, name)
  local inline = entry.value[name .. "-data"]
  if inline then return hash.unbase64(inline) end
  local path = entry.value[name]
  if not path then return nil end
  local text, problem = fs.try.read(path)
  if text then return text end
  local key = field_path(entry.path, name)
  errors.raise {
    code = "Kubeconfig", path = entry.source.path, line = locate.line(entry.source.text, key), key = name,
    message = ("%s: %s cannot be read"):format(name, path), cause = problem,
  }
end

local function check_cluster(entry)
  local cluster = entry.value
  if not cluster.server then fail(entry.source, field_path(entry.path, "server"), "the server is missing") end
  if not cluster.server:find "^https?://[^/]" then
    fail(entry.source, field_path(entry.path, "server"), "'%s' is no http or https address", cluster.server)
  end
  if cluster["insecure-skip-tls-verify"] and (cluster["certificate-authority"]
    or cluster["certificate-authority-data"]) then
    fail(entry.source, field_path(entry.path, "insecure-skip-tls-verify"),
      "a certificate authority is given too; only one of both can be meant")
  end
end

local function check_user(entry)
  local user = entry.value
  if user.token and user.username then
    fail(entry.source, field_path(entry.path, "token"), "a token and a user name: only one of both can be used")
  end
  local key, certificate = user["client-key"] or user["client-key-data"],
    user["client-certificate"] or user["client-certificate-data"]
  if certificate and not key then
    fail(entry.source, field_path(entry.path, "client-key"), "a client certificate without its key")
  end
end

---@class kube.Context what a connection needs to know
---@field context string?
---@field server string
---@field namespace string?
---@field user_name string?
---@field user table the user's fields
---@field ca string? PEM
---@field certificate string? PEM
---@field key string? PEM
---@field insecure boolean?
---@field server_name string?
---@field proxy string?
---@field path string? the file that names the user

---The context of that name, or the current one, with its cluster and user.
---@param name string?
---@return kube.Context
---raises {code="Kubeconfig"} with path, line and key
function config_methods:context(name)
  local origin = origins[self]
  name = name or self["current-context"]
  if not name then
    errors.raise {
      code = "Kubeconfig", path = origin.files[1],
      message = "no current-context, and no --context; " .. names(origin.contexts),
    }
  end
  local context = entry_of(origin, "contexts", name)
  if not context.value.cluster then
    fail(context.source, field_path(context.path, "cluster"), "the cluster is missing")
  end
  local cluster = entry_of(origin, "clusters", context.value.cluster, context)
  local user = context.value.user and entry_of(origin, "users", context.value.user, context)
  check_cluster(cluster)
  if user then check_user(user) end
  return {
    context = name, server = (cluster.value.server:gsub("/+$", "")), namespace = context.value.namespace,
    insecure = cluster.value["insecure-skip-tls-verify"], server_name = cluster.value["tls-server-name"],
    proxy = cluster.value["proxy-url"], ca = material(cluster, "certificate-authority"),
    cluster = cluster.value, user_name = context.value.user, user = user and user.value or {},
    certificate = user and material(user, "client-certificate"), key = user and material(user, "client-key"),
    path = user and user.source.path,
  }
end

---Whether the configuration says nothing at all.
---@return boolean
function config_methods:is_empty()
  return #self.contexts == 0 and #self.clusters == 0 and not self["current-context"]
end

---The context that a pod finds in its own files; nil outside of a cluster.
---@param directory string? of the service account's files
---@return kube.Context?
function M.in_cluster(directory)
  local host, port = os.getenv "KUBERNETES_SERVICE_HOST", os.getenv "KUBERNETES_SERVICE_PORT"
  directory = directory or (os.getenv "KFHOST_ROOT" or "") .. SERVICE_ACCOUNT -- where plain pods of the lab have it
  if not host or not port or not fs.exists(directory .. "/token") then return nil end
  if host:find ":" then host = "[" .. host .. "]" end
  local namespace = fs.try.read(directory .. "/namespace")
  return {
    context = "in-cluster", server = ("https://%s:%s"):format(host, port),
    namespace = namespace and given(namespace:match "^%s*(.-)%s*$"), ca = fs.try.read(directory .. "/ca.crt"),
    cluster = {}, user = { tokenFile = directory .. "/token" }, user_name = "the pod's service account",
  }
end

return M
