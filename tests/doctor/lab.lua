-- A lab with a Kubeflow and a mesh as a process of its own, the doctor as another, and writes that can be taken back.
-- Not for what is broken (faults.lua) nor what may be found (doctor_test.lua).
--   local lab <close> = dofile("tests/doctor/lab.lua").start(folder); lab:create(object); lab:doctor {}; lab:undo()

local fs = require "fs"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local task = require "task"

local M = {}

local LOOKS = tonumber(os.getenv "KFHOST_DOCTOR_LOOKS") or 400 -- until something must be so
local OTHER <const> = "team-b" -- a second profile

local lab = {}
lab.__index = lab

-- --- the processes -----------------------------------------------------------------------------------------

-- Nobody but the doctor is this user, so the audit log says what it did. It may read everything, and review itself.
local READER = {
  { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "doctor", namespace = "default" } },
  { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = "doctor" }, rules = {
    { apiGroups = { "*" }, resources = { "*" }, verbs = { "*" } }, -- also writes: it must not want to
    { nonResourceURLs = { "*" }, verbs = { "get" } } } },
  { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRoleBinding", metadata = { name = "doctor" },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "doctor" },
    subjects = { { kind = "ServiceAccount", name = "doctor", namespace = "default" } } },
}

---A kubeconfig of a service account of the lab.
---@param name string of an account in the namespace default
---@return string path
function lab:kubeconfig_of(name)
  local answer = self.client:request("POST", "/api/v1/namespaces/default/serviceaccounts/" .. name .. "/token", {
    body = { apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest", spec = { expirationSeconds = 36000 } } })
  local body = type(answer.body) == "string" and json.decode(answer.body) or answer.body or answer
  local config = require("yaml").decode(fs.read(self.kubeconfig))
  config.users[1].user = { token = body.status.token }
  local path = fs.join(self.folder, name .. ".kubeconfig")
  fs.write(path, require("yaml").encode(config), { mode = 384 })
  return path
end

---@param folder string for its files
---@param options string[]? more words for `lab up`
function M.start(folder, options)
  local words = { host.executable(), "lab", "up", "--kubeflow", "--mesh", "--profile", "vsphere", "--nodes", "2",
    "--plain-pods", "--time-scale", "0.02", "--json", "--kubeconfig", fs.join(folder, "kubeconfig"), "--audit",
    fs.join(folder, "audit.log"), table.unpack(options or {}) }
  words.stderr, words.env = "null", { TMPDIR = folder }
  local self = setmetatable({ folder = folder, process = proc.spawn(words), undone = {} }, lab)
  self.facts = json.decode((assert(self.process:read_line(), "the lab did not start")))
  self.kubeconfig = self.facts.kubeconfig
  self.client = kube.connect { kubeconfig = self.kubeconfig, log = function() end }
  for _, object in ipairs(READER) do self.client:create(object) end
  self.reader = self:kubeconfig_of "doctor"
  self.nodes = {}
  for index, node in ipairs(self.client:list "nodes") do self.nodes[index] = node.metadata.name end
  self.client:create { apiVersion = "kubeflow.org/v1", kind = "Profile", metadata = { name = OTHER },
    spec = { owner = { kind = "User", name = "other@example.com" } } }
  self.client:wait { kind = "Profile", name = OTHER, condition = "Successful", timeout = "60s" }
  return self
end

function lab:close()
  self.client:close()
  self.process:kill "TERM"
  self.process:wait()
end
lab.__close = lab.close

---Runs the doctor.
---@param words string[]
---@param kubeconfig string? the reader's without it
---@return {code: integer, stdout: string, stderr: string}
function lab:doctor(words, kubeconfig)
  local command = { host.executable(), "doctor", table.unpack(words) }
  command.env = { KUBECONFIG = kubeconfig or self.reader, TMPDIR = self.folder, COLUMNS = "100" }
  command.stderr = "pipe"
  return proc.run(command)
end

---What it finds: "code Kind namespace/name", in its order.
---@return string[] findings, table report as --json gives it
function lab:findings()
  local done = self:doctor { "--json" }
  local report = json.decode(done.stdout)
  local list = {}
  for index, finding in ipairs(report.findings) do list[index] = finding.code .. " " .. finding.where end
  return list, report
end

---Waits until the doctor finds this and nothing else; says what it found last.
---@param expected string[] in any order
---@return boolean is_so, string[] found
function lab:comes_to(expected)
  local wanted, found = table.concat(expected, "\n"), nil
  for _ = 1, LOOKS do
    found = self:findings()
    if table.concat(found, "\n") == wanted then return true, found end
    task.sleep(0.02)
  end
  return false, found
end

---Waits until a condition holds.
function lab.until_(_, what, condition)
  for _ = 1, LOOKS * 5 do
    local value = condition()
    if value then return value end
    task.sleep(0.01)
  end
  error("it never came: " .. what, 2)
end

-- --- what people do ----------------------------------------------------------------------------------------

local function environment(self)
  return { KUBECONFIG = self.kubeconfig, TMPDIR = self.folder, HOME = self.folder }
end

---Runs a line in a shell, as the lab's administrator.
function lab:shell(line)
  local done = proc.run { "sh", "-c", line, env = environment(self), stderr = "pipe" }
  if done.code ~= 0 then error(("%s: %s%s"):format(line, done.stdout, done.stderr), 2) end
end

---Runs `kfhost policy serve …` until the function that it returns is called.
---@param command string
---@return fun() stop
function lab:serve(command)
  local words = { host.executable(), "--kubeconfig", self.kubeconfig }
  for word in command:gmatch "%S+" do
    if word ~= "kfhost" then words[#words + 1] = word end
  end
  table.move({ "--register", "true", "--port", "0", "--ops-port", "0" }, 1, 6, #words + 1, words)
  words.stderr, words.stdout, words.env = "null", "null", environment(self)
  local process = proc.spawn(words)
  return function()
    process:kill "TERM"
    process:wait()
  end
end

-- --- writes that are taken back ----------------------------------------------------------------------------

local function kind_of(object)
  local group, version = object.apiVersion:match "^(.*)/(.*)$"
  return group and ("%s.%s.%s"):format(object.kind, version, group) or object.kind
end

local function remember(self, undo) self.undone[#self.undone + 1] = undo end

---@return table object
function lab:create(object)
  local made = self.client:create(object)
  local kind, name = kind_of(object), made.metadata.name
  remember(self, function()
    self.client.try:delete(kind, name, { namespace = made.metadata.namespace, grace = 0, propagation = "Background" })
    self:until_(kind .. " " .. name .. " is gone", function()
      return self.client.try:get(kind, name, { namespace = made.metadata.namespace }) == nil
    end)
  end)
  return made
end

-- What the server writes itself, and refuses or ignores when it is sent.
local function bare(object)
  local copy = json.decode(json.encode(object))
  for _, field in ipairs { "resourceVersion", "uid", "creationTimestamp", "generation", "managedFields" } do
    copy.metadata[field] = nil
  end
  return copy
end

---What comes before everything else that is taken back.
---@param deed fun()
function lab:before_undo(deed)
  remember(self, deed)
end

---Deletes what is there.
function lab:delete(kind, namespace, name)
  local before = self.client:get(kind, name, { namespace = namespace })
  self.client:delete(kind, name, { namespace = namespace, grace = 0 })
  remember(self, function() self.client:apply(bare(before), { force = true }) end)
end

---Changes what is there.
---@param change fun(object: table)
function lab:change(kind, namespace, name, change)
  local before = self.client:get(kind, name, { namespace = namespace })
  self.client:edit(kind, name, function(object)
    change(object)
    return object
  end, { namespace = namespace })
  remember(self, function()
    self.client:edit(kind, name, function(object)
      for key in pairs(object) do
        if key ~= "metadata" and key ~= "status" then object[key] = before[key] end
      end
      for _, key in ipairs { "labels", "annotations" } do object.metadata[key] = before.metadata[key] end
      return object
    end, { namespace = namespace })
  end)
end

---Does something as if it were some time ago.
---@param seconds number
---@param deed fun()
function lab:ago(seconds, deed)
  local function skew(by)
    self.client:request("POST", "/lab/fault", { body = { kind = "clock-skew", delay = by } })
  end
  skew(-seconds)
  local ok, problem = pcall(deed)
  skew(0)
  if not ok then error(problem, 0) end
end

---Takes back what was written since the last time, last first.
function lab:undo()
  local undone = self.undone
  self.undone = {}
  for index = #undone, 1, -1 do undone[index]() end
end

---What the audit log has of the doctor.
---@return table[] events
function lab:audited()
  local events = {}
  for line in io.lines(fs.join(self.folder, "audit.log")) do
    local event = json.decode(line)
    if event.user.username == "system:serviceaccount:default:doctor" then events[#events + 1] = event end
  end
  return events
end

return M
