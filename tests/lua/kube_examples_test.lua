-- The examples of examples/scripts, each run as a user runs it, against a lab.
local test = require "test"
local host = require "host"
local kube = require "kube"
local lab = require "lab"
local proc = require "proc"
local task = require "task"

-- Runs fn(client, run) with a lab; run(EXAMPLE, …) gives what the example printed and its exit code.
local function with_lab(fn)
  local running = lab.serve.start { nodes = 1, time_scale = 0.02, profile = "vsphere" }
  local folder = test.tmpdir()
  running:write_kubeconfig(folder .. "/config")
  local c = kube.connect { kubeconfig = folder .. "/config", log = function() end, cache = false }
  local ok, problem = pcall(fn, c, function(example, ...)
    local command = { host.executable(), "examples/scripts/" .. example, ... }
    command.timeout, command.env = 40, { KUBECONFIG = folder .. "/config", KUBECACHEDIR = folder .. "/cache" }
    local result = proc.run(command)
    return result.stdout, result.code, result.stderr
  end)
  c:close()
  running:close()
  if not ok then error(problem, 0) end
end

test("restart-stuck-pods deletes what is stuck and will come back, and nothing else", function()
  with_lab(function(c, run)
    local owner = c:create { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "owner" } }
    local references = { { apiVersion = "v1", kind = "ConfigMap", name = "owner", uid = owner.metadata.uid } }
    local function pod(name, image, owners)
      c:create { apiVersion = "v1", kind = "Pod", metadata = { name = name, ownerReferences = owners },
        spec = { containers = { { name = "main", image = image, command = { "sleep", "60" } } } } }
    end
    pod("stuck", "nowhere.example/none:1", references)
    pod("alone", "nowhere.example/none:1")
    pod("fine", "busybox:1", references)
    local function is_stuck(object)
      local state = object.status.containerStatuses and object.status.containerStatuses[1].state.waiting
      return state ~= nil and state.reason:find "Image" ~= nil
    end
    for _, name in ipairs { "stuck", "alone" } do
      c:wait { kind = "pods", name = name, test = is_stuck, timeout = "20s" }
    end
    local output = run("restart-stuck-pods.lua", "0", "default")
    assert(output:find "default/stuck: %u%a+ for %d+s: restarted", output)
    assert(output:find "1 restarted", output)
    assert(not output:find "alone" and not output:find "fine", output)
    c:wait { kind = "pods", name = "stuck", deleted = true, timeout = "20s" }
    test.equal(c:get("pods", "alone").metadata.name, "alone")
  end)
end)

test("claims-by-class counts claims and what they ask for", function()
  with_lab(function(c, run)
    for index, claim in ipairs { { "gold", "1Gi", "ReadWriteOnce" }, { "gold", "512Mi", "ReadWriteMany" },
      { "silver", "2Gi", "ReadWriteOnce" } } do
      c:create { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "claim-" .. index },
        spec = { storageClassName = claim[1], accessModes = { claim[3] },
          resources = { requests = { storage = claim[2] } } } }
    end
    local output = run("claims-by-class.lua")
    assert(output:find "gold%s+2%s+1.5Gi%s+0%s+1\n", output)
    assert(output:find "silver%s+1%s+2Gi%s+0%s+0\n", output)
  end)
end)

test("copy-secret copies to labelled namespaces and leaves secrets from elsewhere alone", function()
  with_lab(function(c, run)
    for name, labels in pairs { one = { team = "ml" }, two = { team = "ml" }, three = { team = "web" } } do
      c:create { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
    end
    c:create { apiVersion = "v1", kind = "Secret", metadata = { name = "registry" },
      stringData = { password = "first" } }
    c:create { apiVersion = "v1", kind = "Secret", metadata = { name = "registry", namespace = "two" } }
    local output, _, said = run("copy-secret.lua", "default/registry", "team=ml")
    assert(output:find "one: copied" and output:find "two: has a secret" and not output:find "three", output .. said)
    local copy = c:get("secrets", "registry", { namespace = "one" })
    test.equal(copy.data.password, require("hash").base64 "first")
    c:patch("secrets", "registry", { stringData = { password = "second" } })
    output = run("copy-secret.lua", "default/registry", "team=ml")
    assert(output:find "one: up to date", output)
    copy = c:get("secrets", "registry", { namespace = "one" })
    test.equal(copy.data.password, require("hash").base64 "second")
    assert(not said:find "first", "the secret is in the log")
  end)
end)

test("follow-job prints what the Job prints and ends as it ends", function()
  with_lab(function(c, run)
    for name, script in pairs { good = "echo one; sleep 0.2; echo two", bad = "echo oh; exit 3" } do
      c:create { apiVersion = "batch/v1", kind = "Job", metadata = { name = name }, spec = { backoffLimit = 0,
        template = { spec = { restartPolicy = "Never",
          containers = { { name = "main", image = "busybox:1", command = { "sh", "-c", script } } } } } } }
    end
    local both = task.all {
      function() return { run("follow-job.lua", "good") } end,
      function() return { run("follow-job.lua", "bad") } end,
    }
    assert(both[1][1]:find "one\ntwo\njob good: Complete", both[1][1] .. both[1][3])
    test.equal(both[1][2], 0)
    assert(both[2][1]:find "oh\njob bad: Failed", both[2][1] .. both[2][3])
    test.equal(both[2][2], 1)
  end)
end)

test("kfhost --lab runs a line, or the prompt's lines, with a lab of its own", function()
  local line = proc.run { host.executable(), "--lab", "-e", 'print(#require "kube".connect {}:list "nodes")' }
  test.equal(line.stdout, "3\n")
  local prompt = proc.run { host.executable(), "--lab", "-i", stdin = "x = 20 + 1\nx * 2\n" }
  test.equal(prompt.stdout, "42\n")
end)
