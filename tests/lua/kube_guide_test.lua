-- The guide's pages "First script" and "Watching": their scripts, run as they stand there against a lab, print what
-- stands below them; and what a script leaves open of a watch makes its test fail.
local test = require "test"
local fs = require "fs"
local host = require "host"
local lab = require "lab"
local proc = require "proc"

-- Runs fn(start) with a lab; start(words) starts kfhost in a folder with the lab's kubeconfig.
local function with_lab(fn)
  local running = lab.serve.start { nodes = 1, time_scale = 0.02 }
  local folder = test.tmpdir()
  running:write_kubeconfig(folder .. "/config")
  local ok, problem = pcall(fn, folder, function(words)
    local command = { host.executable(), cwd = folder, timeout = 60, stderr = "stdout",
      env = { KUBECONFIG = folder .. "/config", KUBECACHEDIR = folder .. "/cache" } }
    table.move(words, 1, #words, 2, command)
    return proc.run(command)
  end)
  running:close()
  if not ok then error(problem, 0) end
end

-- What differs from run to run: names that are made, and times.
local function masked(text)
  return (text:gsub("hello%-%w+", "hello-x"):gsub("%d%d%d%d%-%d%d%-%d%dT[%d:]+Z", "TIME"):gsub("%s+$", ""))
end

-- The scripts of a page by the name that they are run by, and what they print there.
local function scripts_of(page)
  local text, last, found = fs.read("docs/guide/" .. page), nil, {}
  for kind, block in text:gmatch "\n```(%l*)\n(.-)\n```" do
    local name, output = block:match "^%$ kfhost (%w+%.lua)\n(.*)$"
    if kind == "lua" then last = block
    elseif name then found[#found + 1] = { name = name, source = last, output = output } end
  end
  return found
end

test("the scripts of 'First script' print what the page says", function()
  with_lab(function(folder, start)
    local scripts = {}
    for _, one in ipairs(scripts_of "first-script.md") do scripts[one.name] = one end
    for _, name in ipairs { "job.lua", "pods.lua" } do -- the page reads first what the second script has made
      fs.write(folder .. "/" .. name, scripts[name].source .. "\n")
      test.equal(masked(start({ name }).stdout), masked(scripts[name].output))
    end
    for _, words in ipairs { { "--readonly", "job.lua" }, { "-e", 'require "kube".connect():list("deploymnts")' } } do
      local said = start(words).stdout:match "^[^\n]*" -- a traceback follows
      assert(fs.read("docs/guide/first-script.md"):find("\n" .. said .. "\n…\n", 1, true), said)
    end
  end)
end)

test("the script of 'Watching' tells what the page says, while a pod comes and goes", function()
  with_lab(function(folder, start)
    local page = scripts_of "watching.md"[1]
    local first
    for _, one in ipairs(scripts_of "first-script.md") do first = one.name == "job.lua" and one or first end
    fs.write(folder .. "/job.lua", first.source .. "\n")
    start { "job.lua" }
    fs.write(folder .. "/watch.lua", page.source .. [[

c:delete("jobs", "hello", { propagation = "Foreground", wait = "30s" })
c:create { apiVersion = "v1", kind = "Pod", metadata = { generateName = "one-" }, spec = { restartPolicy = "Never",
  containers = { { name = "main", image = "busybox:1", command = { "true" } } } } }
local pod = c:list("pods")[1]
c:wait { kind = "pods", name = pod.metadata.name, jsonpath = "{.status.phase}", value = "Succeeded", timeout = "30s" }
c:delete("pods", pod.metadata.name, { wait = "30s" })
]])
    local said = start({ "watch.lua" }).stdout
    for _, line in ipairs { "default/hello-…      new        -> Succeeded", "in sync:\t1",
      "default/hello-…      Succeeded  -> gone", "default/one-…        new        -> Pending" } do
      assert(page.output:find(line, 1, true), "the page has no line " .. line)
      if not said:find(line, 1, true) then error(("%s is not in\n%s"):format(line, said), 0) end
    end
  end)
end)

for name, code in pairs { watch = 'c:watch "pods"', informer = 'c:informer { kind = "pods" }:sync "10s"' } do
  test("a test that leaves a " .. name .. " open fails", function()
    with_lab(function(folder, start)
      fs.write(folder .. "/leak_test.lua", ([[
        local c = require "kube".connect { log = function() end }
        local held = {} -- what the collector finds, it closes
        require "test"("leaks", function() held[1] = %s end)
      ]]):format(code))
      local result = start { "test", "leak_test.lua" }
      test.equal(result.code, 1)
      assert(result.stdout:find "still", result.stdout)
    end)
  end)
end
