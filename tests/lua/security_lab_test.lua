-- pod-security and images in a lab whose namespaces are "restricted" when they say nothing, as on vSphere: what breaks
-- without the policies, and what two replicas of the host make of it.
local test = require "test"
local replicas = dofile "tests/lua/support/replicas.lua"
local site_of = dofile "tests/lua/support/site.lua"

local eventually, event_of = site_of.eventually, site_of.event_of

local PROFILE = { ["app.kubernetes.io/part-of"] = "kubeflow-profile" }
local ENFORCE = "pod-security.kubernetes.io/enforce"
local SETTINGS = [[
pod-security: {enforce: baseline}
images: {mapping: {registry.example/: ""}, allowed: [docker.io/, registry.example/], pull_secrets: [site]}
]]

local function namespace(c, name, labels)
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local function job(name, image)
  return { apiVersion = "batch/v1", kind = "Job", metadata = { name = name, namespace = "team-a" }, spec = {
    template = { spec = { restartPolicy = "Never", containers = {
      { name = "main", image = image, command = { "sh", "-c", "exit 0" } } } } } } }
end

local function label(c, name)
  return c:get("namespaces", name).metadata.labels[ENFORCE]
end

local function becomes(c, name, level)
  eventually(("%s is %s"):format(name, level), function() return label(c, name) == level end)
end

-- A namespace that was privileged as the site wanted it once, with a deployment whose pods "baseline" would refuse.
local function loose_namespace(c)
  c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "loose",
    labels = { [ENFORCE] = "privileged", [ENFORCE .. "-version"] = "latest" },
    annotations = { ["policy.kfhost.io/pod-security"] = "enforce-version=latest,enforce=privileged" } } }
  c:create { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web", namespace = "loose" }, spec = {
    replicas = 1, selector = { matchLabels = { app = "web" } }, template = { metadata = { labels = { app = "web" } },
      spec = { hostPID = true, containers = { { name = "web", image = "busybox", command = { "sleep", "60" } } } } } } }
  eventually("there is a pod", function() return c:list("pods", { namespace = "loose" })[1] end)
end

test("P7: the pods of a profile are refused without the policy; with it they run, and its labels stay", function()
  site_of.with({ nodes = 1, time_scale = 0.01, pod_security = "restricted" }, function(lab, c)
    namespace(c, "team-a")
    c:create(job("early", "registry.example/busybox"))
    local refused = event_of(c, "team-a", "early", "FailedCreate").message
    test.equal(refused:find('violates PodSecurity "restricted:latest"', 1, true) ~= nil, true)
    loose_namespace(c)
    namespace(c, "strict", { [ENFORCE] = "restricted", ["app.kubernetes.io/part-of"] = "kubeflow-profile" })

    local site = replicas.new(lab, c, { "pod-security", "images" }, SETTINGS, 2)
    site:register(1, 2)
    local first = site:leader()

    -- A namespace that gets its profile label later is served.
    c:patch("namespaces", "team-a", { metadata = { labels = PROFILE } })
    becomes(c, "team-a", "baseline")
    c:wait { kind = "jobs", name = "early", namespace = "team-a", condition = "Complete", timeout = "60s" }
    local pod = c:list("pods", { namespace = "team-a", labels = "job-name=early" })[1]
    test.equal(pod.spec.containers[1].image, "busybox")
    test.same(pod.spec.imagePullSecrets, { { name = "site" } })

    -- Whose pods the level would refuse is said; what an administrator has set stays.
    c:patch("namespaces", "loose", { metadata = { labels = PROFILE } })
    test.equal(event_of(c, "default", "loose", "PodSecurityWouldRefuse").message,
      "baseline would refuse pods that run here: Deployment web: host namespaces")
    test.equal(label(c, "strict"), "restricted")

    -- The replica that writes is restarted; labels of ours that are removed or edited come back.
    site[first]:stop()
    site:register(3 - first)
    c:patch("namespaces", "team-a", { metadata = { labels = { [ENFORCE] = "privileged" } } })
    becomes(c, "team-a", "baseline")
    c:patch("namespaces", "team-a", { metadata = { labels = { [ENFORCE] = require "json".null } } })
    becomes(c, "team-a", "baseline")

    -- A new profile is labelled at once, in a dry run too; an image from elsewhere is refused.
    local tried = c:create({ apiVersion = "v1", kind = "Namespace", metadata = { name = "team-b", labels = PROFILE } },
      { dry_run = true })
    test.equal(tried.metadata.labels[ENFORCE], "baseline")
    test.equal(c.try:get("namespaces", "team-b"), nil)
    local volumes = { { name = "model", image = { reference = "registry.example/model:1" } } }
    local made = c:create({ apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" },
      spec = { volumes = volumes, containers = { { name = "main", image = "busybox" } } } }, { dry_run = true })
    test.equal(made.spec.volumes[1].image.reference, "model:1")
    local _, problem = c.try:create { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team-a" },
      spec = { containers = { { name = "main", image = "quay.io/x/y:1" } } } }
    test.equal(problem.message:find("images come from docker.io/, registry.example/ here", 1, true) ~= nil, true)
    site:stop()
  end)
end)
