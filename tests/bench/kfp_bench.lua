-- Pipelines: from a container's start, and from Pipelines' return, to an accepted run; 1,000 runs listed beside plain
-- libcurl over the same pages.
--   build/release/kfhost tests/bench/kfp_bench.lua
local host = require "host"
local http = require "http"
local json = require "json"
local kfp = require "kfp"
local pipelines = require "lab.kfp.serve"
local proc = require "proc"
local task = require "task"

local ROUNDS, RUNS, PAGE = 15, 1000, 200
local missed = 0

local function bar(name, value, bound, unit)
  local held = value <= bound
  if not held then missed = missed + 1 end
  print(("%-58s %8.3f %-3s (bar %g) %s"):format(name, value, unit, bound, held and "held" or "MISSED"))
end

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

local SPEC = [[
components: {comp-a: {executorLabel: exec-a}}
deploymentSpec: {executors: {exec-a: {container: {image: "python:3.11", command: [python3, -c, "print(1)"]}}}}
pipelineInfo: {name: bench}
root: {dag: {tasks: {a: {componentRef: {name: comp-a}, taskInfo: {name: a}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
]]

-- --- an accepted run ----------------------------------------------------------------------------------------

local function start_trial(server, uploaded, name)
  local trial = { trial = name, pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id,
    experiment = "bench", namespace = "team-a", objective = "loss" }
  return proc.spawn { host.executable(), "kale", "trial", stderr = "null", stdout = "null",
    env = { KFHOST_TRIAL = json.encode(trial), KF_PIPELINES_ENDPOINT = server.url } }
end

local function accepted(server, count)
  while true do
    local have = 0
    for _ in pairs(server.state.runs) do have = have + 1 end
    if have >= count then return task.now() end
    task.sleep(0.002)
  end
end

local function starts()
  local server = pipelines.start { root = require "fs".tmpdir "kfhost-bench", engine = "none" }
  local uploaded = kfp.connect { endpoint = server.url }:upload(SPEC, { name = "bench" })
  local after_start, after_return = {}, {}
  for i = 1, ROUNDS do
    local begun = task.now()
    local process <close> = start_trial(server, uploaded, "start-" .. i)
    after_start[i] = accepted(server, i) - begun
    process:kill "KILL"
  end
  for i = 1, ROUNDS do
    local back
    local away = task.spawn(function()
      server:go_away(0.8 + i * 0.05)
      back = task.now()
    end)
    task.sleep(0.05)
    local process <close> = start_trial(server, uploaded, "return-" .. i)
    away:wait()
    after_return[i] = math.max(accepted(server, ROUNDS + i) - back, 0)
    process:kill "KILL"
  end
  server:close()
  bar("container start to accepted run, median", median(after_start), 0.3, "s")
  bar("Pipelines back to accepted run, median", median(after_return), 0.3, "s")
end

-- --- 1,000 runs ---------------------------------------------------------------------------------------------

local SERVER = [[
local server = require "lab.kfp.serve".start { root = require "fs".tmpdir "kfhost-bench", engine = "none" }
local k = require "kfp".connect { endpoint = server.url }
local uploaded = k:upload(%q, { name = "bench" })
for i = 1, %d do
  k.runs:create { display_name = "run " .. i, pipeline_version_reference = { pipeline_id = uploaded.pipeline_id,
    pipeline_version_id = uploaded.version_id } }
end
io.stdout:write(server.url, "\n")
io.stdout:flush()
require "task".event():wait()
]]

local function pages_of(url)
  local paths, token = {}, ""
  repeat
    local escape = require "kfp.client.query".escape
    local path = ("/apis/v2beta1/runs?page_size=%d&page_token=%s"):format(PAGE, escape(token))
    paths[#paths + 1] = url .. path
    token = json.decode(http.request { url = paths[#paths], proxy = "" }.body).next_page_token or ""
  until token == ""
  return paths
end

local function timed(work)
  local begun = task.now()
  work()
  return task.now() - begun
end

local function lists()
  local server <close> = proc.spawn { host.executable(), "-e", SERVER:format(SPEC, RUNS) }
  local url = server:read_line("stdout", "120s")
  local paths, k = pages_of(url), kfp.connect { endpoint = url }
  local session <close> = http.session { proxy = "" }
  local ours, plain = {}, {}
  for i = 1, ROUNDS do
    ours[i] = timed(function()
      local count = 0
      for run in k.runs:list { page_size = PAGE } do count = count + (run.run_id and 1 or 0) end
      assert(count == RUNS, count)
    end)
    plain[i] = timed(function()
      for _, path in ipairs(paths) do session:request { url = path } end
    end)
  end
  server:kill "KILL"
  table.sort(ours)
  table.sort(plain)
  print(("1,000 runs in %d pages: %.1f ms, plain libcurl %.1f ms"):format(#paths, ours[1] * 1000, plain[1] * 1000))
  bar("1,000 runs listed, beside plain libcurl", ours[1] / plain[1], 1.2, "x")
end

starts()
lists()
os.exit(missed == 0 and 0 or 1, true)
