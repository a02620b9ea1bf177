-- Replicas of the host of policies beside a lab, for tests: real processes, whose webhooks are registered in
-- configurations of the test's own, so that each review may go to whichever replica the test says.
--   local site = dofile "tests/lua/support/replicas.lua".new(lab, client, { "vsphere-rwo" }, "vsphere-rwo: {…}\n", 2)
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local http = require "http"
local json = require "json"
local policy = require "policy"
local proc = require "proc"
local task = require "task"
local webhooks = require "policy.webhooks"
local yaml = require "yaml"

local M = {}

local Replica = {}
Replica.__index = Replica

---Waits for a line of the process that has the text.
function Replica:said(text)
  for _ = 1, 2000 do
    for _, line in ipairs(self.log) do
      if line:find(text, 1, true) then return line end
    end
    if self.ended then break end
    pcall(self.heard.wait, self.heard, 0.1)
    self.heard:clear()
  end
  error(("a replica never said '%s':\n%s"):format(text, table.concat(self.log, "\n")), 2)
end

function Replica:is_leader()
  return table.concat(self.log, "\n"):find("leads", 1, true) ~= nil
end

local function listen(self)
  while true do
    local line = self.process:read_line("stderr", 120)
    if not line then break end
    self.log[#self.log + 1] = line
    self.heard:set()
  end
  self.ended = true
  self.heard:set()
end

-- The audit: a line of JSON for each review that a policy judged.
local function keep_audit(self)
  while true do
    local line = self.process:read_line("stdout", 120)
    if not line then break end
    self.audit[#self.audit + 1] = json.decode(line)
  end
end

function Replica:stop()
  if self.stopped then return end
  self.stopped = true
  self.process:kill "TERM"
  self.process:wait(60)
  self.reader:wait(60)
  self.auditor:wait(60)
end

local function start(site, number)
  local self = setmetatable({ log = {}, audit = {}, heard = task.event() }, Replica)
  self.ca = ("%s/ca-%d.pem"):format(site.directory, number)
  local words = { host.executable(), "policy", "serve", "--port", "0", "--ops-port", "0", "--workers", "1",
    "--ca-out", self.ca, "--config", site.directory .. "/site.yaml", stdout = "pipe", stderr = "pipe",
    env = { KUBECONFIG = site.directory .. "/config", KFHOST_PATH = false, ASAN_OPTIONS = "detect_leaks=0" } }
  if site.count > 1 then words[#words + 1] = "--leader-election" end
  for _, name in ipairs(site.names) do words[#words + 1] = name end
  self.process = proc.spawn(words)
  self.reader = task.spawn(listen, self)
  self.auditor = task.spawn(keep_audit, self)
  return self
end

local function is_ready(replica)
  local url = ("http://127.0.0.1:%s/readyz"):format(replica.operations)
  local ok, answer = pcall(http.request, { url = url, timeout = 20 })
  return ok and answer.status == 200
end

local Site = {}
Site.__index = Site

---Takes the webhooks back.
function Site:withdraw()
  for _, kind in ipairs { "mutatingwebhookconfigurations", "validatingwebhookconfigurations" } do
    for _, one in ipairs(self.client:list(kind .. ".admissionregistration.k8s.io")) do
      if one.metadata.labels and one.metadata.labels["app.kubernetes.io/managed-by"] == "kfhost" then
        self.client:delete(kind .. ".admissionregistration.k8s.io", one.metadata.name)
      end
    end
  end
end

---Registers the webhooks: the first of them at the first of the replicas named, the next at the next, and round.
---@param ... integer numbers of replicas
function Site:register(...)
  local turn, chosen = 0, { ... }
  local configurations = webhooks.configurations(self.set.description, { name = "site", namespace = "kfhost-system",
    client = function(path)
      turn = turn + 1
      local replica = self[chosen[(turn - 1) % #chosen + 1]]
      return { url = ("https://127.0.0.1:%s%s"):format(replica.port, path),
        caBundle = hash.base64(fs.read(replica.ca)) }
    end })
  for _, configuration in ipairs(configurations) do
    configuration.metadata.name = self.rename and self.rename(configuration.metadata.name)
      or configuration.metadata.name
    self.client:apply(configuration, { force = true, manager = "test" })
  end
end

---Waits until each replica that runs is ready.
function Site:wait_until_ready()
  for _, replica in ipairs(self) do
    while not replica.stopped and not is_ready(replica) do task.sleep(0.02) end
  end
end

---The replica that leads, and the others; waits until one does.
function Site:leader()
  for _ = 1, 3000 do
    for i, replica in ipairs(self) do
      if not replica.stopped and replica:is_leader() then return i end
    end
    task.sleep(0.02)
  end
  error("no replica leads", 2)
end

---What the audits of all replicas say of a policy, once they say something that is looked for: by namespace and name
---of the object, and the verdict.
---@param name string of the policy
---@param wanted {verdict: string, namespace: string?, name: string?, dry_run: boolean?}
---@return table record
function Site:audited(name, wanted)
  for _ = 1, 1500 do
    for _, replica in ipairs(self) do
      for _, line in ipairs(replica.audit) do
        for _, record in ipairs(line.policies) do
          local fits = record.policy == name and record.verdict == wanted.verdict
          for _, field in ipairs { "namespace", "name", "dry_run", "resource" } do
            fits = fits and (wanted[field] == nil or line[field] == wanted[field])
          end
          if fits then return record end
        end
      end
    end
    task.sleep(0.02)
  end
  error(("no audit says that %s has %s it"):format(name, wanted.verdict), 2)
end

function Site:stop()
  if self.stopped then return end
  self.stopped = true
  for _, replica in ipairs(self) do replica:stop() end
  self.set:close()
end
Site.__close = Site.stop

-- What the manifests give the host: its account with its rights, and no others.
local RIGHTS = { Namespace = true, ServiceAccount = true, ClusterRole = true, ClusterRoleBinding = true, Role = true,
  RoleBinding = true, ConfigMap = true }

-- The replicas are that account.
local function write_kubeconfig(site, lab, objects)
  for _, object in ipairs(objects) do
    if RIGHTS[object.kind] then site.client:apply(object, { force = true, manager = "test" }) end
  end
  local answer = site.client:request("POST", "/api/v1/namespaces/kfhost-system/serviceaccounts/kfhost-policy/token",
    { body = json.encode { apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest", spec = json.object {} } })
  local kubeconfig = lab:kubeconfig()
  kubeconfig.users[1].user = { token = json.decode(answer.body).status.token }
  fs.write(site.directory .. "/config", yaml.encode(kubeconfig))
end

---@param lab table of lab.serve
---@param client table of kube.connect
---@param names string[] policies
---@param config string the site's settings as YAML
---@param count integer of replicas
function M.new(lab, client, names, config, count)
  local site = setmetatable({ client = client, names = names, count = count, directory = test.tmpdir() }, Site)
  local configs = yaml.decode(config)
  fs.write(site.directory .. "/site.yaml", config)
  site.set = policy.load(names, { configs = configs })
  write_kubeconfig(site, lab, require "policy.manifests".objects(site.set, { image = "kfhost", configs = configs }))
  for i = 1, count do site[i] = start(site, i) end
  for _, replica in ipairs(site) do
    local line = replica:said "webhooks on"
    replica.port, replica.operations = line:match ":(%d+), health on http://127%.0%.0%.1:(%d+)"
  end
  site:wait_until_ready()
  return site
end

return M
