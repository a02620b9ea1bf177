-- What the words show of objects, at several sizes: tables, reasons, trees, runs, experiments, the mesh, and the
-- prompt of contexts in which nothing may be changed.
local test = require "test"
local fs = require "fs"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local clusters = dofile(folder .. "cluster.lua")
local screen = dofile(folder .. "screen.lua")

-- A set of pods that nobody schedules, made by its controller.
local function make_set(cluster)
  cluster.client:create { apiVersion = "v1", kind = "Namespace", metadata = { name = "data" } }
  cluster:make { apiVersion = "apps/v1", kind = "StatefulSet", metadata = { name = "db", namespace = "data" }, spec = {
    replicas = 2, podManagementPolicy = "Parallel", selector = { matchLabels = { app = "db" } },
    template = { metadata = { labels = { app = "db" } },
      spec = { schedulerName = "nobody", containers = { { name = "main", image = "busybox" } } } } } }
  cluster.client:wait { kind = "pods", name = "db-1", namespace = "data", jsonpath = "{.status.phase}",
    value = "Pending", timeout = "60s" }
end

-- The file, and lines with a piece of what is shown then.
local SCENES = {
  { "why", { "why pod/broken", "event Failed" } },
  { "tree", { "tree pod/db-1 -n data", "Pod/db-1" }, { "used-by pvc/data", "Pod/broken" },
    { "used-by cm/beta", "nothing uses" } },
  { "run", { "run train-x7 graph", "report" } },
  { "experiment", { "experiment tune plot", "tune-08" } },
  { "mesh", { "injected? client -n shop", "yet the pod" }, { "allowed client -n shop -> api GET /orders", "nobody" } },
  { "explain", { "?pods", "PodSpec" }, { "?pods.spec.containers.imagePullPolicy", "string" } },
}

local function objects(home)
  local s <close> = screen.open { home = home }
  for _, scene in ipairs(SCENES) do
    for index = 2, #scene do
      s:line(scene[index][1])
      s:wait(scene[index][2])
    end
    s:prompt()
    s:golden(scene[1], scene[#scene][2])
    s:clear()
  end
end

local function tables(home)
  for _, size in ipairs { { 40, 12 }, { 80, 24 }, { 120, 40 }, { 200, 50 } } do
    local s <close> = screen.open { home = home, columns = size[1], rows = size[2] }
    s:line "pods"
    s:wait "worker-0"
    s:line "pods wide"
    s:prompt()
    s:golden(("pods-%dx%d"):format(size[1], size[2]), "lab:default [5]>")
  end
end

local function guarded(cluster)
  local home = cluster:called "prod-eu"
  local s <close> = screen.open { home = home, wait = "prod-eu:default ro>" }
  s:line "scale deploy/web 3"
  s:wait "prod-eu' is read-only"
  s:line ":write 10m"
  s:wait "writable for"
  s:line ":write off"
  s:golden("production", "is read-only\n")
  s:keys "C-d"
  s:wait "left with 0"
  local typed = fs.read(home .. "/config/kfhost/history-prod-eu") -- each context has its own
  test.equal(typed, "scale deploy/web 3\n:write 10m\n:write off\n")
  assert(not fs.read(cluster.home .. "/config/kfhost/history-lab"):find "scale deploy/web 3")
end

test("tables, reasons, trees, runs, experiments and the mesh are shown as they should be", function()
  local cluster <close> = clusters.start(test.tmpdir())
  cluster:kubeflow()
  make_set(cluster)
  objects(cluster.home)
  tables(cluster.home)
  guarded(cluster)
end)
