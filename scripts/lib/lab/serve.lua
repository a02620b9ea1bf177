-- lab.serve: a lab behind a server of its own: TLS, tokens, a kubeconfig.
-- Not for the API itself (lab.api) nor for the command (cmd.lab.up).
--   local running = serve.start{}; print(running.url); running:close()

local api = require "lab.api"
local fs = require "fs"
local hash = require "hash"
local server = require "server"
local x509 = require "x509"
local yaml = require "yaml"

local M = {}

local PAUSE = 150 -- per cent
local LARGEST = 4 * 1048576 -- above what the API itself refuses with a Status

---@class lab.Running
---@field url string
---@field port integer
---@field ca string PEM
---@field token string
---@field namespace string? of the kubeconfig's context
---@field cluster lab.Cluster
---@field mesh lab.Mesh?
local running = {}
running.__index = running

-- An authority that lasts as long as this lab, or its state.
local function certificates(kept)
  local authority = x509.authority { name = "kfhost lab" }
  if kept then
    local key = kept:fact("ca_key", function() return authority.key end)
    authority = { certificate = kept:fact("ca", function() return authority.certificate end), key = key }
  end
  local pair = x509.issue(authority, {
    name = "kube-apiserver", usage = "server",
    names = { "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
              "kubernetes.default.svc.cluster.local", "10.96.0.1" },
  })
  return authority, pair
end

---Starts a lab and serves it on loopback.
---@param options {port: integer?, profile: string?, nodes: integer?, time_scale: number?, state: string?,
---  plain_pods: boolean?, mesh: boolean|lab.MeshConfig|nil, pod_security: string?, audit: fun(event: table)?}?
---  pod_security: the level of namespaces that name none; audit: gets an event for each request
---@return lab.Running
function M.start(options)
  options = options or {}
  -- Most of what a lab holds are texts that the collector need not look into: it may come often.
  collectgarbage("setpause", PAUSE)
  local kept = options.state and require("lab.state").open(options.state) or nil
  local authority, pair = certificates(kept)
  local cluster = api.new {
    ca = authority.certificate, on_error = options.on_error, state = kept,
    admin_token = kept and kept:fact("admin_token", function() return hash.random_hex(16) end) or options.token,
    token_secret = kept and kept:token_secret() or nil,
  }
  cluster.port, cluster.pod_security, cluster.audit = options.port, options.pod_security, options.audit
  local listening = server.listen {
    port = options.port or 0, certificate = pair.certificate, key = pair.key, client_ca = authority.certificate,
    max_body = LARGEST, handler = function(request) return cluster:handle(request) end,
  }
  local self = setmetatable({
    cluster = cluster, state = kept, server = listening, port = listening.port, ca = authority.certificate,
    authority = authority,
    url = ("https://127.0.0.1:%d"):format(listening.port), token = cluster.auth.admin_token,
  }, running)
  cluster.port = listening.port
  require("kube.documents").forget(self.url) -- another lab may have been here, with other kinds
  cluster.control = function(ctx) return require("lab.control").run(self, ctx) end
  if options.mesh then
    self.mesh = require("lab.mesh").start(cluster, authority, options.mesh ~= true and options.mesh or nil)
  end
  require("lab.controllers").start(cluster, options)
  return self
end

---The kubeconfig of this lab.
---@return table
function running:kubeconfig()
  return {
    apiVersion = "v1", kind = "Config", ["current-context"] = "lab",
    clusters = { { name = "lab", cluster = { server = self.url,
      ["certificate-authority-data"] = hash.base64(self.ca) } } },
    users = { { name = "lab", user = { token = self.token } } },
    contexts = { { name = "lab", context = { cluster = "lab", user = "lab",
      namespace = self.namespace or "default" } } },
  }
end

---Writes the kubeconfig where no file is yet, for this user only. One of the same lab, killed before, may be there.
---@param path string
function running:write_kubeconfig(path)
  local text = yaml.encode(self:kubeconfig(), { sort = true })
  local there = fs.stat(path, { follow = false })
  if there and there.type == "file" and fs.read(path) == text then return end
  if there then
    require("errors").raise { code = "EEXIST", path = path,
      message = "there is a file already, and it is not replaced" }
  end
  fs.write(path, text, { mode = 384 })
end

---Ends the lab: streams end, controllers stop, connections close.
function running:close()
  self.cluster.closing = true
  require("lab.controllers").stop(self.cluster)
  if self.mesh then self.mesh:stop() end
  self.cluster.admission:close()
  self.server:close()
  if self.state then
    self.cluster.store.journal = nil
    self.state:close()
    self.state = nil
  end
end
running.__close = running.close

return M
