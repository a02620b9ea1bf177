-- lab.command: what the commands `lab up`, `lab down`, `lab run`, `lab fault` and `kfhost --lab` do.
-- Not for the lab itself.
--   command.up{ port = 0 }

local cli = require "cli"
local errors = require "errors"
local fs = require "fs"
local host = require "host"
local json = require "json"
local proc = require "proc"
local yaml = require "yaml"

local M = {}

local function absolute(path) return fs.join(fs.cwd(), path) end

local function warn(_, text, traceback)
  io.stderr:write("lab: ", text, "\n")
  if traceback then io.stderr:write(traceback, "\n") end
end

local function report(facts, as_json)
  if as_json then
    io.stdout:write(json.encode(facts, { sort = true }), "\n")
  else
    local kfp = facts.kfp ~= json.null and ("  export KF_PIPELINES_ENDPOINT=%s\n"):format(facts.kfp) or ""
    io.stdout:write(("The lab serves %s\n\n  export KUBECONFIG=%s\n%s\n"):format(facts.server, facts.kubeconfig, kfp),
      "It is a lab for learning and tests, not Kubernetes. Whoever has that file may run processes as you.\n")
  end
  io.stdout:flush()
end

local function start(options)
  return require("lab.serve").start {
    port = options.port, profile = options.profile, nodes = options.nodes, time_scale = options.time_scale,
    state = options.state, plain_pods = options.plain_pods, on_error = warn,
  }
end

-- Starts the same again in the background and waits until it says where it is.
local function detach(options)
  local words = { host.executable(), "lab", "up", "--json", "--kubeconfig", options.kubeconfig }
  local function add(option, value)
    if value then table.move({ option, tostring(value) }, 1, 2, #words + 1, words) end
  end
  add("--profile", options.profile)
  add("--port", options.port)
  add("--state", options.state)
  add("--nodes", options.nodes)
  add("--time-scale", options.time_scale)
  add("--kfp", options.kfp)
  add("--kfp-engine", options.kfp_engine)
  if options.kubeflow then words[#words + 1] = "--kubeflow" end
  -- setsid lets it live when this program and its terminal are gone.
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
  local log = options.kubeconfig .. ".log"
  local line = ("setsid %s >'%s' 2>&1 </dev/null &"):format(table.concat(quoted, " "), log)
  proc.run { "sh", "-c", line }
  local task = require "task"
  for _ = 1, 500 do
    task.sleep(0.02)
    local said = fs.exists(log) and fs.read(log):match "^(%b{})\n"
    if said then return json.decode(said) end
  end
  errors.raise { code = "Timeout", message = "the lab did not start: " .. (fs.exists(log) and fs.read(log) or "") }
end

-- Pods share this machine's network then: that is how they reach Pipelines.
local function add_kubeflow(running, options)
  return require("lab.kubeflow").attach(running, { root = fs.tmpdir "kfhost-kfp", engine = options.kfp_engine,
    multi_user = options.kfp ~= "single", log = function(text) io.stderr:write("lab: ", text, "\n") end })
end

---@param options table
---@return integer exit code
function M.up(options)
  local path = options.kubeconfig or fs.join(fs.tmpdir "kfhost-lab", "kubeconfig")
  options.kubeconfig = absolute(path)
  if options.detach then
    if fs.exists(options.kubeconfig) then
      errors.raise { code = "EEXIST", path = path, message = "there is a file already, and it is not replaced" }
    end
    report(detach(options), options.json)
    return 0
  end
  if options.kubeflow then options.plain_pods = true end
  local running <close> = start(options)
  local kubeflow = options.kubeflow and add_kubeflow(running, options)
  running:write_kubeconfig(options.kubeconfig)
  report({ server = running.url, kubeconfig = options.kubeconfig, pid = host.pid(),
    kfp = kubeflow and kubeflow.pipelines.url or json.null }, options.json)
  running.server:wait()
  if kubeflow then kubeflow:close() end
  return 0
end

-- --- a running lab --------------------------------------------------------------------------------------

---Asks a running lab for something that only a lab can do.
---@param kubeconfig string
---@param path string below /lab/
---@param body table
---@return table answer
function M.control(kubeconfig, path, body)
  if not kubeconfig then cli.usage "which lab? give --kubeconfig FILE or set KUBECONFIG" end
  local config = yaml.decode(fs.read(kubeconfig))
  local cluster, user = config.clusters[1].cluster, config.users[1].user
  local response = require("http").request {
    url = cluster.server .. "/lab/" .. path, method = "POST", body = json.encode(body), proxy = "",
    ca = require("hash").unbase64(cluster["certificate-authority-data"]),
    headers = { Authorization = "Bearer " .. user.token, ["Content-Type"] = "application/json" },
  }
  local answer = response.body:match "^{" and json.decode(response.body) or {}
  if response.status >= 300 then
    errors.raise { code = "Lab", message = answer.message or ("the lab answers %d"):format(response.status) }
  end
  return answer
end

---@param kubeconfig string?
---@return integer exit code
function M.down(kubeconfig)
  M.control(kubeconfig, "stop", json.object {})
  pcall(fs.remove, kubeconfig)
  pcall(fs.remove, kubeconfig .. ".log")
  return 0
end

---Runs a script or command with a lab of its own.
---@param words string[]
---@param options table
---@return integer exit code
function M.run(words, options)
  local running <close> = start(options)
  local directory = fs.tmpdir "kfhost-lab"
  local path = fs.join(directory, "kubeconfig")
  running:write_kubeconfig(path)
  io.stderr:write("kfhost: in a lab of its own, which is not Kubernetes: ", running.url, "\n")
  local command = { host.executable(), table.unpack(words) }
  command.env = { KUBECONFIG = path }
  command.stdin, command.stdout, command.stderr = "inherit", "inherit", "inherit"
  local child <close> = proc.spawn(command)
  local exit = child:wait()
  fs.remove(directory, { recursive = true })
  return exit.code or 128 + exit.signal
end

return M
