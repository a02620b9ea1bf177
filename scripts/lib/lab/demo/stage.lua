-- lab.demo.stage: the lab that a scene is played in, and the words in which it is told.
-- Not for what happens (the scenes).
--   stage.with(scene, repaired, { say = say, root = folder }) -> passed, problem

local errors = require "errors"
local fs = require "fs"
local host = require "host"
local kube = require "kube"
local proc = require "proc"
local serve = require "lab.serve"
local task = require "task"

local M = {}

local PATIENCE <const> = 60 -- seconds until what should come is given up

---@class lab.Stage
---@field lab lab.Running
---@field client table of kube.connect, as the lab's administrator
---@field kubeflow table?
---@field on_create fun(stage: lab.Stage, object: table)?
local stage = {}
stage.__index = stage

-- --- telling ----------------------------------------------------------------------------------------------

---A line that somebody types, or that a program does.
---@param format string
function stage:does(format, ...) self.say("does", format:format(...)) end

---What the cluster answers: its own words.
---@param format string
function stage:hears(format, ...) self.say("hears", format:format(...)) end

-- --- waiting ----------------------------------------------------------------------------------------------

---Waits until a function gives something; nil when it never does.
---@generic T
---@param check fun(): T?
---@param seconds number?
---@return T?
function stage.eventually(_, check, seconds)
  local last = task.now() + (seconds or PATIENCE)
  while task.now() < last do
    local value = check()
    if value then return value end
    task.sleep(0.05)
  end
end

---The message of an object's event.
---@param namespace string
---@param name string
---@param reason string a pattern
---@return string?
function stage:event(namespace, name, reason)
  return self:eventually(function()
    for _, event in ipairs(self.client:list("events", { namespace = namespace })) do
      if event.involvedObject.name:find(name, 1, true) and event.reason:find(reason) then return event.message end
    end
  end)
end

---How a job has ended: "Complete" or "Failed"; nil when it goes on.
---@param namespace string
---@param name string
---@param seconds number?
---@return string?
function stage:ended(namespace, name, seconds)
  return self:eventually(function()
    local job = self.client.try:get("jobs", name, { namespace = namespace })
    for _, condition in ipairs(job and job.status and job.status.conditions or {}) do
      local over = condition.type == "Complete" or condition.type == "Failed"
      if over and condition.status == "True" then return condition.type end
    end
  end, seconds)
end

---What the pod of a job has printed.
---@param namespace string
---@param job string
---@param container string?
---@return string
function stage:printed(namespace, job, container)
  local pods = self.client:list("pods", { namespace = namespace, labels = "job-name=" .. job })
  local last = pods[#pods]
  if not last then return "" end
  local text = self.client.try:logs { pod = last.metadata.name, namespace = namespace, container = container }
  return type(text) == "string" and text:gsub("%s+$", "") or ""
end

-- --- objects ----------------------------------------------------------------------------------------------

---Makes objects; each is told by its kind and name.
---@param ... table
function stage:creates(...)
  for _, object in ipairs { ... } do
    local metadata = object.metadata
    if self.on_create then self:on_create(object) end
    self:does("create %s %s%s", object.kind, metadata.namespace and metadata.namespace .. "/" or "", metadata.name)
    local _, warnings = self.client:create(object)
    for _, warning in ipairs(warnings or {}) do self:hears("Warning: %s", warning) end
  end
end

---A namespace of a profile, with its account; the mesh injects sidecars into its pods, Katib its collectors.
---@param name string
function stage:profile(name)
  self.client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = {
    ["app.kubernetes.io/part-of"] = "kubeflow-profile", ["istio-injection"] = "enabled",
    ["katib.kubeflow.org/metrics-collector-injection"] = "enabled" } } }
  self.client:create { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = "default-editor",
    namespace = name } }
  self:eventually(function()
    return self.client.try:get("configmaps", "istio-ca-root-cert", { namespace = name })
      and self.client.try:get("serviceaccounts", "default", { namespace = name })
  end, self.lab.mesh and PATIENCE or 0)
end

---A job with one container.
---@param namespace string
---@param name string
---@param container table
---@param more table? further fields of the pod's spec; labels for the pod
---@return table
function stage.job(namespace, name, container, more)
  local spec = { restartPolicy = "Never", terminationGracePeriodSeconds = 1, containers = { container } }
  local labels
  for key, value in pairs(more or {}) do
    if key == "labels" then labels = value else spec[key] = value end
  end
  container.name = container.name or "main"
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = name, namespace = namespace },
    spec = { backoffLimit = 0, template = { metadata = labels and { labels = labels } or nil, spec = spec } } }
end

-- --- the policies -----------------------------------------------------------------------------------------

-- Reads what the served policies say until one line is there; the rest is read in the background.
local function wait_for(process, wanted)
  local said = {}
  repeat
    local line = process:read_line("stderr", PATIENCE)
    if not line then
      errors.raise { code = "Exit", message = "the policies were not served:\n" .. table.concat(said, "\n") }
    end
    said[#said + 1] = line
  until line:find(wanted, 1, true)
  return task.spawn(function() repeat until not process:read("stderr") end)
end

-- Serves policies to the lab until `use` has returned.
local function with_policies(self, scene, use)
  if #scene.policies == 0 then return use() end
  local room <close> = require "kfhost.folder".new "kfhost-demo"
  local folder = room.path
  self.lab:write_kubeconfig(folder .. "/config")
  fs.write(folder .. "/settings.yaml", scene.settings or "{}\n")
  local words = { host.executable(), "policy", "serve", "--port", "0", "--ops-port", "0", "--workers", "1",
    "--register", "true", "--config", folder .. "/settings.yaml", env = { KUBECONFIG = folder .. "/config" },
    stdout = "null", stderr = "pipe" }
  table.move(scene.policies, 1, #scene.policies, #words + 1, words)
  self.say("does", "kfhost policy serve " .. table.concat(scene.policies, " "))
  local process <close> = proc.spawn(words)
  local reader = wait_for(process, "registered Mutating")
  local ok, result = pcall(use)
  process:stop()
  process:wait()
  reader:wait()
  if not ok then error(result, 0) end
  return result
end

-- --- the lab ----------------------------------------------------------------------------------------------

local function start(scene, options)
  local running = serve.start(scene.lab or {})
  local kubeflow
  if scene.kubeflow then
    kubeflow = require("lab.kubeflow").attach(running, { root = fs.join(options.root, scene.number),
      multi_user = not scene.single_user, log = function() end })
  end
  return running, kubeflow
end

---Plays a scene in a lab of its own.
---@param scene lab.Scene
---@param repaired boolean whether its policies are served
---@param options {say: fun(kind: string, text: string), root: string, serve: (fun(stage: lab.Stage, scene: lab.Scene,
---  use: function): boolean)?, on_create: (fun(stage: lab.Stage, object: table))?, after: fun(stage: lab.Stage)?}
---  serve: how its policies are served until `use` has returned; on_create: before an object is made; after: when it
---  has passed, while the lab is still there
---@return boolean passed, string? problem what kept it from being played
function M.with(scene, repaired, options)
  local running, kubeflow = start(scene, options)
  local client = kube.connect { server = running.url, token = running.token, ca = running.ca, manager = "demo",
    log = function() end }
  local self = setmetatable({ lab = running, client = client, kubeflow = kubeflow, say = options.say,
    on_create = options.on_create }, stage)
  local function act()
    local passed = scene.act(self, repaired) == true
    if passed and options.after then options.after(self) end
    return passed
  end
  local ok, passed = pcall(function()
    if scene.before then scene.before(self) end
    if repaired then return (options.serve or with_policies)(self, scene, act) end
    return act()
  end)
  client:close()
  if kubeflow then kubeflow:close() end
  running:close()
  if ok then return passed end
  if errors.is(passed, "Cancelled") then error(passed, 0) end
  return false, errors.text(passed)
end

M.job = stage.job

return M
