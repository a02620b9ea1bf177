-- kube.client: a connection to a cluster, made of a context, credentials, a transport and guard rails.
-- Not for configuration files (kube.kubeconfig). Methods come from the rooms that METHODS names.
--   local c = require "kube".connect { context = "team" }; print(c:get("pods", "web-0").status.phase)

local auth = require "kube.auth"
local discovery = require "kube.discovery"
local errors = require "errors"
local host = require "host"
local kubeconfig = require "kube.kubeconfig"
local log = require "kube.log"
local rest = require "kube.rest"

local M = {}

-- The room of each method; it is loaded when the method is first used.
local METHODS = {}
for room, names in pairs {
  objects = "get create update apply patch delete delete_collection edit can_i request resource evict whoami",
  lists = "list each table",
  watch = "watch",
  informer = "informer",
  wait = "wait",
  logs = "logs",
  exec = "exec",
  port_forward = "port_forward",
  lease = "lead",
  events = "event events",
} do
  for name in names:gmatch "%S+" do METHODS[name] = "kube." .. room end
end

local client = {}

function client.__index(_, name)
  local room = METHODS[name]
  return client[name] or room and require(room)[name]
end

-- --- options ----------------------------------------------------------------------------------------------

local OPTIONS = {}
for name in ([[ kubeconfig context namespace as as_groups manager timeout readonly dry_run approve
  writes_per_minute exec_plugins transport log clock cache server token ca insecure service_account ]])
  :gmatch "%S+" do
  OPTIONS[name] = true
end

-- What the command line says (kfhost --context NAME …), under what the script says; guard rails only add up.
local function with_global(given)
  local options, global = {}, host.options and host.options() or {}
  for name, value in pairs(global) do
    if OPTIONS[name] then options[name] = value end
  end
  for name, value in pairs(given) do
    if not OPTIONS[name] then error(("kube.connect: unknown option '%s'"):format(tostring(name)), 4) end
    options[name] = value
  end
  for _, rail in ipairs { "readonly", "dry_run", "approve" } do options[rail] = options[rail] or global[rail] end
  return options
end

-- --- the context ------------------------------------------------------------------------------------------

local function no_context()
  errors.raise {
    code = "Kubeconfig",
    message = "no cluster is named: neither --kubeconfig, KUBECONFIG nor ~/.kube/config, and this is not a pod",
  }
end

local function find_context(options)
  if options.server then
    return {
      context = options.context, server = options.server:gsub("/+$", ""), user = { token = options.token },
      ca = options.ca, insecure = options.insecure, cluster = {},
    }
  end
  local config = kubeconfig.load(options.kubeconfig)
  if config:is_empty() and not options.kubeconfig and not options.context then
    return kubeconfig.in_cluster(options.service_account) or no_context()
  end
  return config:context(options.context)
end

-- --- connecting -------------------------------------------------------------------------------------------

-- The decoded answer of a discovery request.
local function fetcher(self)
  return function(path, accept)
    local request = { method = "GET", verb = "discover", path = path, accept = accept }
    return rest.decode(rest.send(self, request), request, self) or {}
  end
end

local function default_transport()
  return require("http").session {}
end

local function as_list(value)
  if value == nil or type(value) == "table" then return value end
  return { value }
end

---Connects a client; the first request goes out when a method is called.
---@param given table? kubeconfig, context, namespace, as, as_groups, manager, timeout, readonly, dry_run, approve,
---  writes_per_minute, exec_plugins ("allow", "deny" or names)
---@return table client
---raises {code="Kubeconfig"}
function M.connect(given)
  if given ~= nil and type(given) ~= "table" then error("kube.connect: a table expected", 2) end
  local options = with_global(given or {})
  local context = find_context(options)
  local user = context.user
  local self = {
    context = context.context, server = context.server, namespace = options.namespace or context.namespace or "default",
    user = context.user_name, credentials = context, ca = context.ca, insecure = context.insecure,
    server_name = context.server_name, proxy = context.proxy, timeout = options.timeout,
    as = options.as or user["as"], as_groups = as_list(options.as_groups) or user["as-groups"],
    as_uid = user["as-uid"], as_extra = user["as-user-extra"],
    manager = options.manager, readonly = options.readonly, dry_run = options.dry_run, approve = options.approve,
    writes_per_minute = options.writes_per_minute, recent_writes = {}, warned = {},
    log = options.log or log.to_stderr, stats = { requests = 0, retries = 0 },
    user_agent = ("kfhost/%s (linux)"):format(host.version),
  }
  self.auth = auth.new(context, {
    exec_plugins = options.exec_plugins, clock = options.clock,
    warn = function(text) log.warn(self.log, text) end,
  })
  setmetatable(self, client)
  self.own_transport = not options.transport
  self.transport = options.transport or default_transport()
  local cached = options.cache ~= false and not options.transport
  self.discovery = discovery.new(fetcher(self), cached and self.server or nil)
  self.try = errors.try(self)
  return self
end

---A transport with connections of its own, for what must not wait behind others; a given one is shared.
function client:new_transport()
  return self.own_transport and default_transport() or self.transport
end

---Ends the connections that are kept open.
function client:close()
  if self.transport.close then self.transport:close() end
end

return M
