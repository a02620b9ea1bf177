-- lab.mesh: Istio as far as pods can tell: sidecars, identities, and policies on every connection.
-- Not Istio: there is no Envoy and no TLS between pods; what its proxies would do is decided by `istio.allowed`.
--   local m = mesh.start(cluster, authority, {}); m:stop()

local base = require "lab.controllers.base"
local carry = require "lab.mesh.carry"
local errors = require "errors"
local injector = require "lab.mesh.injector"
local inside = require "lab.inside"
local istio = require "istio"
local kinds = require "lab.mesh.kinds"
local net = require "net"
local pump = require "lab.network.pump"
local store = require "lab.store"
local targets = require "lab.network.targets"
local task = require "task"

local M = {}

local ROOT, KEPT = "istio-system", 1000
local DIRECT = { [15020] = true, [15021] = true, [15090] = true } -- ports that no rule sends to the proxy
local KINDS = { "security.istio.io/authorizationpolicies", "security.istio.io/peerauthentications",
                "security.istio.io/requestauthentications", "networking.istio.io/destinationrules",
                "networking.istio.io/sidecars", "networking.istio.io/envoyfilters" }

---@class lab.Mesh
---@field decisions table[] the last ones, for those who want to see: {source, destination, method, path, allowed, why}
local mesh = {}
mesh.__index = mesh

---@class lab.Workload
---@field namespace string
---@field name string
---@field labels table<string, string>
---@field account string
---@field sidecar boolean? whether a proxy stands before it
---@field sandbox table?

-- --- objects ----------------------------------------------------------------------------------------

---The policies of the cluster, as istio.allowed takes them.
---@return table[]
function mesh:objects()
  if self.known then return self.known end
  local list = {}
  for _, stored in ipairs(KINDS) do
    local resource = inside.resource(self.cluster, stored)
    for _, record in ipairs(resource and self.cluster.store:collection(stored):records() or {}) do
      local object = store.object(record)
      object.kind, object.apiVersion = resource.kind, resource.group .. "/" .. resource.version
      list[#list + 1] = object
    end
  end
  self.known = list
  return list
end

-- --- sidecars ---------------------------------------------------------------------------------------

local function has_proxy(pod)
  for _, list in ipairs { pod.spec.containers, pod.spec.initContainers or {} } do
    for _, container in ipairs(list) do
      if container.name == "istio-proxy" then return true end
    end
  end
  return false
end

-- With an init container of its own a pod is caught when that has run; else from its start.
local function is_caught_later(pod)
  for _, container in ipairs(pod.spec.initContainers or {}) do
    if container.name == "istio-init" then return true end
  end
  return false
end

local function proxy_log(self, sandbox, text)
  local worker = self.cluster.nodes and self.cluster.nodes.workers[sandbox.pod.metadata.uid]
  for _, list in ipairs { worker and worker.main or {}, worker and worker.init or {} } do
    for _, c in ipairs(list) do
      if c.name == "istio-proxy" and c.process then c.process:say(text) end
    end
  end
end

-- What the program of the proxy says: it is ready, it is gone; it asks how many connections there are.
local function hear(self, sandbox, line)
  local switch = self.cluster.nodes.runtime.switch
  local proxy = sandbox.mesh
  for text in function() return line:read() end do
    for word in text:gmatch "%a+" do
      if word == "ready" then
        proxy.state = "ready"
        switch:listen(sandbox)
        line:write "caught\n"
      elseif word == "active" then
        line:write(("%d\n"):format(proxy.active))
      elseif word == "draining" then
        proxy.state = "draining"
      elseif word == "gone" then
        break
      end
    end
  end
end

local function accept(self, sandbox, listening)
  while true do
    local ok, line = pcall(listening.accept, listening)
    if not ok or not line then return end
    sandbox.mesh.line = line
    pcall(hear, self, sandbox, line)
    line:close()
    sandbox.mesh.state = "gone"
    if not sandbox.removed then self.cluster.nodes.runtime.switch:refuse(sandbox, true) end
  end
end

---A pod of the mesh: caught, and refused until its proxy is ready. Nothing for other pods.
---@param sandbox table
---@return boolean adopted
function mesh:adopt(sandbox)
  if not has_proxy(sandbox.pod) then return false end
  sandbox.proxy_path = sandbox.directory .. "/proxy"
  sandbox.mesh = { state = "starting", active = 0, later = is_caught_later(sandbox.pod), connections = {},
                   listening = net.listen { path = sandbox.proxy_path } }
  task.spawn(accept, self, sandbox, sandbox.mesh.listening)
  return not sandbox.mesh.later
end

---Of a container that has ended: istio-init lets nothing through from now on.
---@param sandbox table
---@param name string
function mesh:ended(sandbox, name)
  if name ~= "istio-init" or not sandbox.mesh or not sandbox.mesh.later then return end
  sandbox.mesh.later = false
  self.cluster.nodes.runtime.switch:refuse(sandbox, true)
end

-- --- who is who -------------------------------------------------------------------------------------

local function workload_of_pod(sandbox)
  local pod = sandbox.pod
  return { namespace = pod.metadata.namespace, name = pod.metadata.name, labels = pod.metadata.labels or {},
           account = pod.spec.serviceAccountName or "default", sandbox = sandbox,
           sidecar = sandbox.mesh ~= nil and not sandbox.mesh.later }
end

local function workload_at(self, address)
  local sandbox = self.cluster.nodes.runtime.switch.by_address[address]
  if sandbox then return workload_of_pod(sandbox) end
  local hosted = (self.cluster.hosted or {})[address]
  if not hosted then return nil end
  local labels = {}
  for key, value in pairs(hosted.labels) do labels[key] = value end
  if hosted.sidecar then labels["security.istio.io/tlsMode"] = "istio" end
  return { namespace = hosted.namespace, name = hosted.name, labels = labels, account = hosted.account,
           sidecar = hosted.sidecar }
end

-- A port that the pod keeps from its proxy counts as one of a pod without.
local function without_proxy(server, port)
  local annotations = server.sandbox and server.sandbox.pod.metadata.annotations or {}
  for number in (annotations["traffic.sidecar.istio.io/excludeInboundPorts"] or ""):gmatch "%d+" do
    if math.tointeger(tonumber(number)) == port then return true end
  end
  return DIRECT[port] == true
end

-- What the client's proxy sends: a service's own rules, or for a bare address nothing but the bytes.
local function kind_of(self, client, server, target)
  if not client.sidecar then return "plaintext" end
  local m = target.service and target.service.metadata
  if not m then return "plaintext" end
  return istio.client(self:objects(), client, { namespace = m.namespace, host = ("%s.%s"):format(m.name, m.namespace),
    port = target.port, labels = server.labels }, self.options)
end

-- --- connections ------------------------------------------------------------------------------------

---Connects to the other end, if its proxy is there.
---@param c lab.Carried
---@return net.Socket
function mesh:open(c)
  local proxy = c.server.sidecar and c.server.sandbox and c.server.sandbox.mesh
  if proxy and proxy.state ~= "ready" and proxy.state ~= "draining" then
    errors.raise { code = "ECONNREFUSED", message = "its proxy is not ready" }
  end
  -- The program behind a proxy sees the proxy's address.
  return self.cluster.nodes.runtime.switch:open(c.target, c.server.sidecar and "127.0.0.6" or c.source)
end

local function count(workload, by)
  local proxy = workload.sandbox and workload.sandbox.mesh
  if proxy then proxy.active = proxy.active + by end
end

function mesh.opened(_, c, other)
  count(c.client, 1)
  count(c.server, 1)
  if c.client.sandbox then c.client.sandbox.open[other] = true end
  if c.server.sandbox then c.server.sandbox.open[other] = true end
end

function mesh.closed(_, c, other)
  count(c.client, -1)
  count(c.server, -1)
  if c.client.sandbox then c.client.sandbox.open[other] = nil end
  if c.server.sandbox then c.server.sandbox.open[other] = nil end
end

---Carries one connection of a pod.
---@param sandbox table
---@param socket net.Socket
---@param address string
---@param port integer
function mesh:carry(sandbox, socket, address, port)
  local client = workload_of_pod(sandbox)
  local target, why = targets.find(self.cluster, address, port)
  local server = target and target.address and workload_at(self, target.address)
  if not target or target.address and not server then
    errors.raise { code = "ECONNREFUSED", message = why or "nobody has that address" }
  end
  if not server then return pump.both(socket, self.cluster.nodes.runtime.switch:open(target, sandbox.ip)) end
  if server.sidecar and without_proxy(server, target.port) then server.sidecar = false end
  carry.run(self, { socket = socket, client = client, server = server, target = target, source = sandbox.ip,
    kind = kind_of(self, client, server, target) })
end

-- --- what is said -----------------------------------------------------------------------------------

local function details(why)
  if why.stage == "jwt" then return "jwt_authn_access_denied" end
  local namespace, name = (why.policy or "none/none"):match "^(.-)/(.*)$"
  if why.stage ~= "deny" then return "rbac_access_denied_matched_policy[none]" end
  return ("rbac_access_denied_matched_policy[ns[%s]-policy[%s]-rule[%d]]"):format(namespace, name, (why.rule or 1) - 1)
end

local LINE = '[%s] "%s %s %s" %d - %s - "-" 0 0 0 - "-" "-" "-" "%s" "%s:%d" inbound|%d|| - %s:0 - default'

---Keeps a decision, and writes it into the log of the server's proxy as Envoy does.
function mesh:note(c, head, allowed, why, source)
  local list = self.decisions
  list[#list + 1] = { source = source.principal or "plaintext", client = c.client.namespace .. "/" .. c.client.name,
    destination = c.server.namespace .. "/" .. c.server.name, port = c.target.port, method = head and head.method,
    path = head and head.path, allowed = allowed, why = why }
  if #list > KEPT then table.remove(list, 1) end
  if not c.server.sandbox then return end
  local status = not head and 0 or allowed and (why.status or 200) or why.status or 403
  head = head or { method = "-", path = "-", headers = {} }
  proxy_log(self, c.server.sandbox, LINE:format(self.cluster:time(), head.method, head.path,
    head.version and "HTTP/" .. head.version or "-", status, allowed and "via_upstream" or details(why),
    head.headers.host or "-", c.target.address, c.target.port, c.target.port, c.source))
end

-- --- its life ---------------------------------------------------------------------------------------

-- Each namespace has the authority's certificate, which sidecars mount.
local function authority_controller(cluster, authority)
  return base.new(cluster, {
    name = "istio-ca",
    on = function(collection, event, add)
      if collection == "namespaces" and not event.removed then add(event.record.name) end
    end,
    look = function(name)
      if inside.view(cluster, "configmaps", name, "istio-ca-root-cert") then return end
      inside.create(cluster, "configmaps", { metadata = { name = "istio-ca-root-cert", namespace = name,
        labels = { ["istio.io/config"] = "true" } }, data = { ["root-cert.pem"] = authority.certificate } }, "istiod")
    end,
  })
end

---Adds a mesh to a lab.
---@param cluster lab.Cluster
---@param authority table of x509
---@param config lab.MeshConfig?
---@return lab.Mesh
function M.start(cluster, authority, config)
  config = config or {}
  config.trust_domain = config.trust_domain or "cluster.local"
  local self = setmetatable({ cluster = cluster, config = config, decisions = {},
    options = { root_namespace = ROOT, trust_domain = config.trust_domain } }, mesh)
  local wanted = {}
  for _, stored in ipairs(KINDS) do wanted[stored] = true end
  cluster.store:listen(function(collection)
    if wanted[collection] then self.known = nil end
  end)
  kinds.put(cluster)
  self.injector = injector.start(cluster, authority, config)
  self.controller = authority_controller(cluster, authority)
  cluster.mesh = self
  return self
end

function mesh:stop()
  self.cluster.mesh = nil
  self.controller:stop()
  self.injector:close()
end

return M
