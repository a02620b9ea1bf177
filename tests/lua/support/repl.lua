-- support.repl: a session over a lab in this process, and what it prints.
-- Not for terminals (tests/terminal). The lab has no controllers: objects stay as the test made them.
--   local r = dofile("tests/lua/support/repl.lua").new(); r:make(object); test.equal(r:type "pods", "…")

local json = require "json"
local lab = require "lab.api"
local kube = require "kube"
local session = require "repl.session"
local task = require "task"

local M = {}
M.NOW = 1700000000

-- What a stream writes, for a reader in another task.
local function reader_of(stream)
  local pieces, come, ended = {}, task.event(), false
  local writer = task.spawn(function()
    pcall(stream, { write = function(_, text)
      pieces[#pieces + 1] = text
      come:set()
    end })
    ended = true
    come:set()
  end)
  local function read(_, timeout)
    while #pieces == 0 and not ended do
      come:clear()
      come:wait(timeout)
    end
    return table.remove(pieces, 1)
  end
  return read, function() writer:cancel() end
end

-- What kube.connect takes for a transport, over the lab's function from request to response.
local function transport_of(cluster)
  local transport = {}
  local function ask(options)
    local path, query = options.url:match "^%a+://[^/]+([^?]*)%??(.*)$"
    local headers = {}
    for name, value in pairs(options.headers or {}) do headers[name:lower()] = value end
    return cluster:handle {
      method = options.method or "GET", path = path, query = query ~= "" and query or nil, headers = headers,
      body = options.body,
    }
  end
  function transport.request(_, options)
    local response = ask(options)
    if response.stream then
      local pieces = {}
      response.stream { write = function(_, text)
        pieces[#pieces + 1] = type(text) == "table" and table.concat(text) or text
      end }
      response.body = table.concat(pieces)
    end
    return { status = response.status, headers = response.headers or {}, body = response.body or "" }
  end
  function transport.stream(_, options)
    local response = ask(options)
    local text = response.body or ""
    local read, close = reader_of(response.stream or function(w) w:write(text) end)
    return { status = response.status, headers = response.headers or {}, read = read, close = close }
  end
  return transport
end

local support = {}
support.__index = support

---@param options table? answers: what questions are answered with; context
---@return table
function M.new(options)
  options = options or {}
  local cluster = lab.new { now = function() return M.NOW end, on_error = function(_, text, traceback)
    error(text .. (traceback or ""), 0)
  end }
  local self = setmetatable({ cluster = cluster, printed = {}, asked = {} }, support)
  self.client = kube.connect {
    server = "https://lab", token = cluster.auth.admin_token, transport = transport_of(cluster), log = function() end,
    context = options.context or "lab",
  }
  self.session = session.new {
    client = self.client, out = function(text) self.printed[#self.printed + 1] = text end,
    ask = function(question)
      self.asked[#self.asked + 1] = question
      return options.answer ~= false
    end,
    now = function() return self.time or 0 end,
  }
  self.session.captured = true
  return self
end

---Makes an object as the lab's administrator, and gives it a status.
---@param object table
---@return table
function support:make(object)
  local status = object.status
  local namespace = object.metadata.namespace
  if namespace and not self.client.try:get("namespaces", namespace) then
    self.client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = namespace } }
  end
  if object.kind == "Pod" then self:service_account(namespace or "default") end
  local made = self.client:create(object)
  if status then
    made.status = json.object(status)
    local resource = self.client.discovery:of(object.apiVersion, object.kind)
    made = self.client:update(made, { subresource = "status", kind = resource.plural })
  end
  return made
end

function support:service_account(namespace)
  if not self.client.try:get("serviceaccounts", "default", { namespace = namespace }) then
    self.client:create {
      apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "default", namespace = namespace },
    }
  end
end

---Types lines, and gives what was printed; a failure is printed after "! ".
---@param text string
---@return string
function support:type(text)
  self.printed = {}
  for line in (text .. "\n"):gmatch "(.-)\n" do
    local ok, problem = self.session:line(line)
    if ok == false then
      self.printed[#self.printed + 1] = "! " .. require("errors").text(problem) .. "\n"
    end
  end
  return table.concat(self.printed)
end

---Fails unless all pieces are in a text.
---@param text string
---@param ... string
function M.contains(text, ...)
  for _, piece in ipairs { ... } do
    if not text:find(piece, 1, true) then error(("%q is not in:\n%s"):format(piece, text), 2) end
  end
end

---@param name string
---@param more table? namespace, labels, spec, status
---@return table pod
function M.pod(name, more)
  more = more or {}
  return {
    apiVersion = "v1", kind = "Pod",
    metadata = { name = name, namespace = more.namespace or "default", labels = more.labels,
      ownerReferences = more.owners },
    spec = more.spec or { containers = { { name = "main", image = "busybox" } } }, status = more.status,
  }
end

---@param name string
---@param replicas integer?
---@param image string?
---@return table deployment
function M.deployment(name, replicas, image)
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = name, namespace = "default" }, spec = {
    replicas = replicas, selector = { matchLabels = { app = name } },
    template = { metadata = { labels = { app = name } },
      spec = { containers = { { name = "main", image = image or "x" } } } } } }
end

return M
