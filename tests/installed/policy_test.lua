-- A set of policies installed in a cluster: what `policy manifests` writes, run by the lab, and the commands that look
-- after it: register, status, uninstall.
local test = require "test"
local fs = require "fs"
local hash = require "hash"
local host = require "host"
local json = require "json"
local kube = require "kube"
local proc = require "proc"
local route = require "lab.route"
local serve = require "lab.serve"
local task = require "task"
local yaml = require "yaml"
local wait = dofile "tests/lua/support/wait.lua"

local SITE = [[
local policy = require "policy"
policy.grant { reads = { "persistentvolumeclaims" }, writes = {
  { resource = "namespaces", verbs = { "patch" } }, { resource = "configmaps", verbs = { "create", "delete" } } } }
policy.mutate { name = "label", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = req.object.metadata.labels or {}
  req.object.metadata.labels.seen = "yes"
end }
policy.mutate { name = "last", position = "late", match = { resource = "pods" }, apply = function() end }
policy.validate { name = "no-latest", match = { resource = "pods" }, check = function(req)
  local claim = req:lookup("persistentvolumeclaims", req.namespace, "data")
  if claim and req.object.spec.containers[1].image == "latest" then return req:deny "a version is needed" end
end }
policy.watch { name = "mark", resource = "namespaces", namespaces = { label = "team" },
  reconcile = function(namespace, ctx)
    if namespace.metadata.labels.marked then return end
    local name = namespace.metadata.name
    ctx:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "welcome", namespace = name } }
    ctx:delete { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "welcome", namespace = name } }
    ctx:patch(namespace, { metadata = { labels = { marked = "yes" } } }, { type = "merge" })
    ctx:event(namespace, "Normal", "Marked", "marked by %s", "mark")
    ctx:event(namespace, "Normal", "Marked", "marked by %s", "mark")
  end,
  finalize = function(namespace, ctx) ctx:log("%s ends", namespace.metadata.name) end }
]]

local Site = {}
Site.__index = Site

-- Who a request comes from, by its token.
local function subject(request)
  local payload = (request.headers.authorization or ""):match "^Bearer [^.]+%.([^.]+)%."
  if not payload then return nil end
  payload = payload:gsub("-", "+"):gsub("_", "/")
  return json.decode(hash.unbase64(payload .. ("="):rep(-#payload % 4))).sub
end

-- Notes what the account of the policies asks for, and how it was answered.
local function note_requests(site, cluster)
  local handle = cluster.handle
  cluster.handle = function(self, request)
    local response = handle(self, request)
    if subject(request) == "system:serviceaccount:kfhost-system:kfhost-policy" then
      local asked = route.parse(request.method, request.path, route.query(request.query))
      table.insert(site.requests, { verb = asked.verb, group = asked.group, resource = asked.plural, name = asked.name,
        status = response.status, path = request.path })
    end
    return response
  end
end

function Site:kfhost(...)
  local words = { host.executable(), "policy", ... }
  words.env = { KUBECONFIG = self.directory .. "/kubeconfig", KFHOST_PATH = false }
  words.timeout = "60s"
  return proc.run(words)
end

local function wait_until(what, holds) return wait(what, holds, 120) end

-- A lab in which the manifests were applied, with two replicas that are ready.
local function install(text, more)
  local site = setmetatable({ directory = test.tmpdir(), requests = {} }, Site)
  site.lab = serve.start { plain_pods = true, nodes = 1, time_scale = 0.2 }
  note_requests(site, site.lab.cluster)
  site.lab:write_kubeconfig(site.directory .. "/kubeconfig")
  site.file = site.directory .. "/site.lua"
  fs.write(site.file, text)
  site.client = kube.connect { kubeconfig = site.directory .. "/kubeconfig", log = function() end }
  local written = site:kfhost("manifests", site.file, "--image", "kfhost", "--workers", "1", table.unpack(more or {}))
  test.equal(written.stderr, "")
  for _, object in ipairs(yaml.decode_all(written.stdout)) do
    if object ~= json.null then site.client:apply(object, { manager = "test" }) end
  end
  wait_until("two replicas", function()
    local deployment = site.client:get("deployments.apps", "kfhost-policy", { namespace = "kfhost-system" })
    return (deployment.status or {}).readyReplicas == 2
  end)
  wait_until("caBundle", function()
    local hooks = site.client:get("validatingwebhookconfigurations", "kfhost-policy").webhooks or {}
    return hooks[1] and hooks[1].clientConfig.caBundle
  end)
  return site
end

function Site:close()
  self.client:close()
  self.lab:close()
end

local function pod(image)
  return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "default" },
    spec = { containers = { { name = "main", image = image or "busybox" } } } }
end

-- A watch may begin with all objects; servers that do not offer that are asked for a list instead.
local function is_use(request, verb)
  return request.verb == verb or (verb == "list" and request.verb == "watch")
end

-- The grants of the roles that no request was allowed by.
local function unused(site)
  local rules = {}
  for _, kind in ipairs { "clusterroles", "roles" } do
    local object = site.client:get(kind, "kfhost-policy", { namespace = kind == "roles" and "kfhost-system" or nil })
    for _, rule in ipairs(object.rules) do rules[#rules + 1] = rule end
  end
  local list = {}
  for _, rule in ipairs(rules) do
    for _, verb in ipairs(rule.verbs) do
      for _, name in ipairs(rule.resourceNames or { false }) do
        local used = false
        for _, request in ipairs(site.requests) do
          used = used or is_use(request, verb) and request.resource == rule.resources[1]
            and request.group == rule.apiGroups[1] and (not name or request.name == name)
        end
        if not used then list[#list + 1] = ("%s %s %s"):format(verb, rule.resources[1], name or "") end
      end
    end
  end
  return table.concat(list, ", ")
end

local function check_installed(webhooks)
  local site = install(SITE, { "--certificate-days", "0.0005", "--webhooks", webhooks })
  local c = site.client
  test.equal(c:create(pod(), { dry_run = true }).metadata.labels.seen, "yes")
  c:create { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "data", namespace = "default" },
    spec = { accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } } } }
  wait_until("the claim in the cache", function()
    local made, problem = c.try:create(pod "latest", { dry_run = true })
    return not made and problem.message:find("policy no-latest: a version is needed", 1, true)
  end)
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "late" } }
  c:patch("namespaces", "late", { metadata = { labels = { team = "a" } } }, { type = "merge" }) -- later, by its label
  wait_until("the mark", function() return c:get("namespaces", "late").metadata.labels.marked end)
  c:delete("namespaces", "late")
  wait_until("the end of the finalizer", function() return not c.try:get("namespaces", "late") end)
  wait_until("a renewed certificate", function() -- in the Secret, by one replica, then used by both
    for _, one in ipairs(site.requests) do
      if one.verb == "update" and one.resource == "secrets" and one.status == 200 then return true end
    end
  end)
  wait_until("each grant in use", function() return unused(site) == "" end)
  for _, one in ipairs(site.requests) do
    if one.status == 403 then error(("403 for %s %s"):format(one.verb, one.path)) end
  end
  test.equal(c:create(pod(), { dry_run = true }).metadata.labels.seen, "yes")
  site:close()
end

test("what manifests writes is all that is needed: pods that answer the API, with rights just enough", function()
  check_installed "at-once"
end)

test("with webhooks that are registered when they are served nothing else is needed, either", function()
  check_installed "when-served"
end)

test("status, the emergency exit, another leader, and an end that restores everything", function()
  local site = install(SITE)
  local c = site.client
  local function status()
    local result = site:kfhost("status", site.file, "--json")
    return json.decode(result.stdout), result.code
  end
  local first
  wait_until("status of both", function()
    local code
    first, code = status()
    return code == 0 and first.ready == 2 and first.leader
  end)
  test.equal(#first.replicas, 2)
  test.equal(first.replicas[1].set, first.replicas[2].set)
  test.equal(first.replicas[1].version, host.version)

  c:delete("validatingwebhookconfigurations", "kfhost-policy") -- the way out of an emergency
  c:delete("pods", first.leader, { namespace = "kfhost-system" })
  local second
  wait_until("another leader", function()
    second = status()
    return second.leader and second.leader ~= first.leader and second.ready == 2
  end)
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "next", labels = { team = "b" } } }
  wait_until("the next leader's mark", function() return c:get("namespaces", "next").metadata.labels.marked end)
  wait_until("that it is told", function()
    for _, one in ipairs(status().configurations) do
      if one.name == "kfhost-policy" and one.state == "deleted" then return true end
    end
  end)
  test.equal(c.try:get("validatingwebhookconfigurations", "kfhost-policy"), nil)
  local registered = site:kfhost("register", site.file)
  test.equal(registered.stdout, "mutatingwebhookconfiguration/a-kfhost-policy unchanged\n"
    .. "mutatingwebhookconfiguration/zz-kfhost-policy unchanged\n"
    .. "validatingwebhookconfiguration/kfhost-policy created\n")
  test.equal(c:get("validatingwebhookconfigurations", "kfhost-policy").webhooks[1].clientConfig.caBundle,
    c:get("mutatingwebhookconfigurations", "a-kfhost-policy").webhooks[1].clientConfig.caBundle)
  test.equal(site:kfhost("status", "deny-nothing-at-all").code, 1) -- no such policy
  fs.write(site.directory .. "/other.lua", SITE .. "\n-- other\n")
  test.equal(site:kfhost("status", site.directory .. "/other.lua").code, 1)

  local gated = pod()
  gated.spec.schedulingGates = { { name = "storage.kfhost.io/co-schedule" }, { name = "other.io/gate" } }
  c:create(gated)
  -- Another release that lives holds something, too; what a dead one has held goes.
  c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "other-status", namespace = "default",
    labels = { ["app.kubernetes.io/part-of"] = "kfhost" } }, data = {
    one = json.encode { time = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + 600),
      finalizers = { "policy.kfhost.io/theirs" } },
    two = json.encode { time = "2020-01-01T00:00:00Z", finalizers = { "policy.kfhost.io/dead" } } } }
  c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "held", namespace = "default",
    finalizers = { "policy.kfhost.io/theirs", "policy.kfhost.io/dead", "site.io/else" } } }
  test.equal(c:get("namespaces", "next").metadata.finalizers[1], "policy.kfhost.io/mark")
  local ended = site:kfhost("uninstall")
  test.equal(ended.stderr, "")
  test.equal(ended.code, 0)
  test.same(c:get("pods", "p", { namespace = "default" }).spec.schedulingGates, { { name = "other.io/gate" } })
  test.equal(c:get("namespaces", "next").metadata.finalizers, nil)
  test.same(c:get("configmaps", "held", { namespace = "default" }).metadata.finalizers,
    { "policy.kfhost.io/theirs", "site.io/else" })
  test.equal(#c:list "mutatingwebhookconfigurations" + #c:list "validatingwebhookconfigurations", 0)
  test.equal(c.try:get("clusterroles", "kfhost-policy"), nil)
  test.equal(c.try:get("clusterrolebindings", "kfhost-policy"), nil)
  wait_until("the end of the namespace", function() return not c.try:get("namespaces", "kfhost-system") end)
  test.equal(site:kfhost("uninstall").stdout, "") -- a second time there is nothing to do
  site:close()
end)

-- --- another set ----------------------------------------------------------------------------------------------------

local function checks(...)
  local text = 'local policy = require "policy"\n'
  for _, name in ipairs { ... } do
    text = text .. ([[policy.validate { name = "%s", timeout = "5s", match = { resource = "pods" },
      check = function(req) if req.object.metadata.labels.wrong == "%s" then return req:deny "wrong" end end }
    ]]):format(name, name)
  end
  return text
end

-- Applies what manifests writes for other files.
function Site:change(name, text)
  self.file = ("%s/%s.lua"):format(self.directory, name)
  fs.write(self.file, text)
  local written = self:kfhost("manifests", self.file, "--image", "kfhost", "--workers", "1", "--webhooks",
    "when-served")
  for _, object in ipairs(yaml.decode_all(written.stdout)) do
    if object ~= json.null then self.client:apply(object, { manager = "test" }) end
  end
end

-- Why the API server refuses a pod, as a dry run.
function Site:refusal(wrong)
  local one = pod()
  one.metadata.labels = { wrong = wrong or "nothing" }
  local _, problem = self.client.try:create(one, { dry_run = true })
  return problem and problem.message
end

test("with webhooks that are registered at once a replica says what it does not have yet", function()
  local site = install(checks "stays")
  fs.write(site.directory .. "/next.lua", checks("stays", "comes"))
  local written = site:kfhost("manifests", site.directory .. "/next.lua", "--image", "kfhost")
  for _, object in ipairs(yaml.decode_all(written.stdout)) do -- the webhooks arrive before the files do
    if object.kind == "ValidatingWebhookConfiguration" then site.client:apply(object, { manager = "test" }) end
  end
  wait_until("that both are named", function()
    local said = site:kfhost("status").stdout
    local _, count = said:gsub("validate/comes is registered, and kfhost%-policy%-%S+ does not have it", "")
    return count == 2
  end)
  site:close()
end)

test("a Deployment that rolls to another set refuses nobody, and no policy of both sets is skipped", function()
  local site = install(checks("stays", "goes"), { "--webhooks", "when-served" })
  local wrong, asked, enough = nil, 0, false
  local asking = task.spawn(function()
    while not enough do
      local refusal, denial = site:refusal(), site:refusal "stays"
      if refusal or not (denial or ""):find("policy stays: wrong", 1, true) then
        wrong = wrong or refusal or denial or "allowed"
      end
      asked = asked + 1
      task.sleep(0.02)
    end
  end)
  wait_until("answers", function() return asked > 5 end)
  test.equal(site:refusal "goes":find("policy goes: wrong", 1, true) ~= nil, true)
  site:change("other", checks("stays", "comes"))
  wait_until("the new policy", function()
    return (site:refusal "comes" or ""):find("policy comes: wrong", 1, true)
  end)
  enough = true
  asking:wait(20)
  test.equal(wrong, nil)
  test.equal(site:refusal "goes", nil)
  test.equal(site:kfhost("status", site.file).code, 0)
  site:close()
end)
