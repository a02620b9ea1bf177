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

local OWN = "kfhost-lab" -- how the directories begin that this makes

local function absolute(path) return fs.join(fs.cwd(), path) end

-- Removes a kubeconfig, and the directory that was made for it.
local function forget(path)
  pcall(fs.remove, path)
  pcall(fs.remove, path .. ".log")
  local directory = fs.dirname(path)
  if fs.basename(directory):find("^kfhost%-lab%.%w+$") then pcall(fs.remove, directory) end
end

-- Removes at the end of a block what was there for it.
local function at_end(remove) return setmetatable({}, { __close = remove }) end

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
    state = options.state, plain_pods = options.plain_pods, mesh = options.mesh,
    audit = options.audit and require("lab.audit").to_file(options.audit), on_error = warn,
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
  add("--audit", options.audit and absolute(options.audit))
  add("--kfp", options.kfp)
  add("--kfp-engine", options.kfp_engine)
  if options.kubeflow then words[#words + 1] = "--kubeflow" end
  if options.mesh then words[#words + 1] = "--mesh" end
  if options.plain_pods then words[#words + 1] = "--plain-pods" end
  -- setsid lets it live when this program and its terminal are gone; the last line says that it is not alive.
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
  local log = options.kubeconfig .. ".log"
  local inner = ("%s; echo \"ended with $?\""):format(table.concat(quoted, " "))
  proc.run { "sh", "-c", 'log=$1; shift; setsid sh -c "$1" >"$log" 2>&1 </dev/null &', "sh", log, inner }
  local task = require "task"
  for _ = 1, 1500 do
    task.sleep(0.02)
    local text = fs.exists(log) and fs.read(log) or ""
    local said = text:match "(%b{})\n"
    if said and said:find '"server"' then return json.decode(said) end
    if text:find "\nended with %d+\n$" or text:find "^ended with %d+\n$" then
      fs.remove(log)
      errors.raise { code = "Lab", message = "the lab did not start: " .. text:gsub("%s*ended with %d+%s*$", "") }
    end
  end
  errors.raise { code = "Timeout", message = "the lab did not start: " .. (fs.exists(log) and fs.read(log) or "") }
end

-- The profile that every lab with Kubeflow has, as a plain installation does.
local PROFILE, OWNER = "kubeflow-user-example-com", "user@example.com"

local function add_kubeflow(running, options, root)
  local kubeflow = require("lab.kubeflow").attach(running, { root = root, engine = options.kfp_engine,
    cwd = options.cwd, database = options.state and fs.join(options.state, "katib.db"),
    multi_user = options.kfp ~= "single", log = function(text) io.stderr:write("lab: ", text, "\n") end })
  kubeflow.tenants:profile(PROFILE, OWNER)
  return kubeflow
end

---@param options table
---@return integer exit code
function M.up(options)
  local path = options.kubeconfig or fs.join(fs.tmpdir(OWN), "kubeconfig")
  options.kubeconfig = absolute(path)
  if options.detach then
    if fs.exists(options.kubeconfig) then
      errors.raise { code = "EEXIST", path = path, message = "there is a file already, and it is not replaced" }
    end
    report(detach(options), options.json)
    return 0
  end
  local root = options.kubeflow and fs.tmpdir "kfhost-kfp"
  local _ <close> = at_end(function() -- luacheck: ignore
    if root then pcall(fs.remove, root, { recursive = true }) end
  end)
  local running <close> = start(options)
  local kubeflow = options.kubeflow and add_kubeflow(running, options, root)
  running:write_kubeconfig(options.kubeconfig)
  local _ <close> = at_end(function() forget(options.kubeconfig) end) -- luacheck: ignore
  report({ server = running.url, kubeconfig = options.kubeconfig, pid = host.pid(),
    kfp = kubeflow and kubeflow.pipelines.url or json.null,
    katib_db = kubeflow and kubeflow.katib.database_address or nil }, options.json)
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
  local stopping = M.control(kubeconfig, "stop", json.object {})
  local task = require "task"
  local process = ("/proc/%d"):format(stopping.pid)
  for _ = 1, 6000 do
    if not fs.exists(process) then break end
    task.sleep(0.01)
  end
  forget(kubeconfig)
  if fs.exists(process) then
    errors.raise { code = "Timeout", message = "the lab has been told to stop and still runs" }
  end
  return 0
end

---Runs a script or command with a lab of its own.
---@param words string[]
---@param options table
---@return integer exit code
function M.run(words, options)
  local running <close> = start(options)
  local directory = fs.tmpdir(OWN)
  local path = fs.join(directory, "kubeconfig")
  local env = { KUBECONFIG = path }
  local needs = options.kubeflow or words[1] == "kale" and (words[2] == "submit" or words[2] == "tune")
  local kubeflow
  if needs then
    options.kfp, options.cwd = options.kfp or "single", fs.cwd()
    kubeflow = add_kubeflow(running, options, fs.join(directory, "kfp"))
    running.namespace = PROFILE
    env.KF_PIPELINES_ENDPOINT = kubeflow.pipelines.url
    env.KFHOST_TRIAL_IMAGE = os.getenv "KFHOST_TRIAL_IMAGE" or "kfhost"
    env.KFHOST_LAB = "own" -- it ends with the command
  end
  running:write_kubeconfig(path)
  io.stderr:write("kfhost: in a lab of its own, which is not Kubernetes: ", running.url, "\n")
  local command = { host.executable(), table.unpack(words) }
  command.env = env
  command.stdin, command.stdout, command.stderr = "inherit", "inherit", "inherit"
  command.terminal = words[1] == "-i" or words[1] == "-c" -- the REPL reads keys, and Ctrl-C is its own
  local child <close> = proc.spawn(command)
  local exit = child:wait()
  if kubeflow then kubeflow:close() end
  fs.remove(directory, { recursive = true })
  return exit.code or 128 + exit.signal
end

return M
