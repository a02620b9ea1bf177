-- Runs a pipeline's tasks on this machine: in order, side by side, with a record in root/run.json.
-- It knows an IR, parameters and options, and nothing of where the IR came from.
--   local result = require "kfp.run".run(ir, { params = { n = 3 }, root = "out" })
local builtin = require "kfp.builtin"
local cache = require "kfp.cache"
local check = require "kfp.check"
local errors = require "errors"
local executor = require "kfp.executor"
local fs = require "fs"
local hash = require "hash"
local images = require "kfp.images"
local inputs = require "kfp.inputs"
local json = require "json"
local kfp_claims = require "kfp.claims"
local kfp_record = require "kfp.record"
local mounts = require "kfp.mounts"
local secrets = require "kfp.secrets"
local spec = require "kfp.validate.spec"
local task = require "task"

local M = {}

local Run = {}
Run.__index = Run

local function processors()
  local _, count = (fs.try.read "/proc/cpuinfo" or ""):gsub("\nprocessor%s*:", "")
  return count + 1
end

-- What a container's exit code means when a signal ended it.
local SIGNALS = {
  [132] = ": SIGILL", [134] = ": SIGABRT", [135] = ": SIGBUS", [136] = ": SIGFPE",
  [137] = ": SIGKILL, perhaps for want of memory", [139] = ": SIGSEGV", [143] = ": SIGTERM", [152] = ": SIGXCPU",
  [153] = ": SIGXFSZ",
}

local ENDED = { succeeded = true, cached = true, failed = true, skipped = true, cancelled = true }

-- --- what is told -----------------------------------------------------------------------------------

function Run:tell(event)
  if self.options.on_event then self.options.on_event(event) end
end

function Run:set_state(job, state)
  job.state = state
  self:tell {
    type = "task", name = job.path, kind = job.kind, state = state, seconds = job.seconds, exit = job.exit,
    error = job.error, log = job.log, reason = job.reason,
  }
  self.record:save_soon()
end

-- --- places to run in ----------------------------------------------------------------------------------

-- Waits until one more step may run; false when no more are to be started.
function Run:enter()
  while self.running >= self.limit and not self.stopping do
    local turn = task.event()
    table.insert(self.waiting, turn)
    turn:wait()
  end
  if self.stopping then return false end
  self.running = self.running + 1
  return true
end

function Run:leave()
  self.running = self.running - 1
  local turn = table.remove(self.waiting, 1)
  if turn then turn:set() end
end

-- After the first failure nothing new is started, and what runs is stopped.
function Run:stop(failed)
  if self.stopping then return end
  self.stopping = true
  for _, turn in ipairs(self.waiting) do turn:set() end
  for _, job in ipairs(self.jobs) do
    local process = job ~= failed and job.prepared and job.prepared.process
    if process then process:stop() end
  end
end

-- The time limit of the whole pipeline: nothing is started after it, and what runs is stopped.
function Run:watch(seconds)
  if not seconds then return nil end
  return task.spawn(function()
    task.sleep(seconds)
    self.late = ("the pipeline did not end within %g s"):format(seconds)
    self:stop()
  end)
end

-- --- one step ------------------------------------------------------------------------------------------

function Run:note_all(job, texts)
  for _, text in ipairs(texts) do self:tell { type = "note", about = "place", name = job.path, text = text } end
end

function Run:attempt(job, prepared)
  local retry, words = job.task.retry, prepared.words
  local wait = retry and retry.wait or 0
  for attempt = 1, (retry and retry.count or 0) + 1 do
    job.attempts = attempt
    prepared.attempt = attempt
    local notes
    prepared.words, notes = mounts.start(words, prepared.env, prepared.mounts, {
      directory = prepared.directory, cwd = self.options.cwd or fs.cwd(),
    })
    if attempt == 1 then self:note_all(job, notes) end
    job.exit = executor.execute(prepared, self.options, function(stream, text)
      if not text:find "^KFHOST%-METRIC " then
        self:tell { type = "line", name = job.path, stream = stream, text = text }
      end
    end)
    if job.exit == 0 then return "succeeded" end
    if self.stopping then return "cancelled" end
    job.error = job.exit and ("ended with exit code %d%s"):format(job.exit, SIGNALS[job.exit] or "")
      or ("did not end within %g s"):format(prepared.timeout)
    if retry and attempt <= retry.count then
      self:tell {
        type = "note", about = "retry", name = job.path, attempt = attempt, of = retry.count + 1, error = job.error,
        text = ("%s; it is tried again (%d of %d)"):format(job.error, attempt, retry.count),
      }
      if wait > 0 then task.sleep(math.min(wait, retry.limit)) end
      wait = wait * retry.factor
    end
  end
  return "failed"
end

local function finish_step(job, prepared, state)
  local ok, results = pcall(executor.results, job.task, prepared.input)
  if not ok then
    job.error = errors.text(results)
    return "failed"
  end
  fs.write(fs.join(prepared.directory, ".done"), "")
  job.results, job.metrics, job.error = results, results.metrics, nil
  return state
end

-- What the caller wants of a step.
function Run:choice(job)
  if job.kind == "container" and self.options.choose then return self.options.choose(job.path) end
  return "run"
end

-- The outputs of an earlier run's step, whatever its inputs were.
function Run:reuse(job, folder)
  local directory = fs.join(self.context.root, job.path)
  fs.mkdir(fs.join(directory, "parameters"), { parents = true })
  local place = { directory = directory, parameters = json.object {}, artifacts = {} }
  local prepared = {
    task = job.task, input = executor.input(job.task, place), directory = directory,
    log = fs.join(directory, "log.txt"),
  }
  job.log, job.taken = prepared.log, true
  if cache.copy(folder, prepared) then return finish_step(job, prepared, "cached") end
  job.error = ("has no result in %s"):format(folder)
  return "failed"
end

function Run:step_in_place(job, place)
  local prepared, claims = executor.prepare(job.task, place, self.context, job.scope), self.context.claims
  job.log = prepared.log
  local enabled = self.options.cache and (job.task.entry.cachingOptions or {}).enableCache
  local key = enabled and cache.key(prepared, self.options.salt and self.options.salt(job.path)) or nil
  if key and self:choice(job) ~= "fresh" and claims:holds(prepared.claims, job.path, key)
    and cache.restore(self.cache_folder, key, prepared) then
    return finish_step(job, prepared, "cached")
  end
  claims:before(prepared.claims)
  self:note_all(job, prepared.notes)
  fs.remove(fs.join(prepared.directory, ".done"))
  job.prepared = prepared
  local state = self:attempt(job, prepared)
  job.prepared = nil
  if state == "succeeded" then state = finish_step(job, prepared, "succeeded") end
  claims:after(prepared.claims, job.path, state == "succeeded" and key or nil)
  if key and state == "succeeded" then cache.remember(self.cache_folder, key, prepared) end
  return state
end

function Run:step(job, place)
  if not self:enter() then return "skipped" end
  job.offset = task.now() - self.begun
  self:set_state(job, "running")
  local ok, state = pcall(self.step_in_place, self, job, place)
  self:leave()
  if not ok then error(state, 0) end
  return state
end

local function without_process(read)
  return function(self, job, place)
    job.results = read(job.task, place, self.context)
    return "succeeded"
  end
end

-- --- dags and loops --------------------------------------------------------------------------------------

-- The folder's name for a task: its key, unless that is no good name.
local function safe(key)
  if key:find "^[%w_-][%w._-]*$" then return key end
  return key:gsub("[^%w_-]", "_") .. "-" .. hash.sha256(key):sub(1, 6)
end

function Run:new_job(t, path, scope)
  local job = { task = t, key = t.key, path = path, kind = t.kind, state = "pending", scope = scope }
  table.insert(self.jobs, job)
  return job
end

local kinds = {
  container = Run.step, importer = without_process(builtin.importer), volume = without_process(builtin.volume),
}

-- What a task does once, without its condition and loop.
function Run:once(job, place) return kinds[job.kind](self, job, place) end

function kinds.dag(self, job, place)
  local scope = { parameters = place.parameters, artifacts = place.artifacts, results = {}, jobs = {} }
  local state, problem = self:dag(job.task.dag, scope, job.path .. "/")
  if state ~= "succeeded" then
    job.error = problem
    return state
  end
  local results = inputs.outputs(job.task.dag, scope)
  results.metrics = {}
  job.results = results
  return "succeeded"
end

function Run:round(job, number, item, parameters, artifacts)
  local t, values, lists = job.task, json.object {}, {}
  for name, value in pairs(parameters) do values[name] = value end
  for name, list in pairs(artifacts) do lists[name] = list end
  if t.iterator.artifact then lists[t.iterator.item] = { item }
  elseif item ~= json.null then values[t.iterator.item] = item end
  local path = ("%s/%d"):format(job.path, number)
  local inner = self:new_job(t, path, job.scope)
  inner.key, inner.directory = ("%s-%d"):format(t.key, number), fs.join(self.context.root, path)
  inner.round = true
  return inner, { name = t.key, path = path, directory = inner.directory, parameters = values, artifacts = lists }
end

-- A loop: its rounds side by side, as many as its policy allows.
function Run:loop(job, parameters, artifacts)
  local items = inputs.items(job.task, parameters, artifacts)
  local rounds, places = {}, {}
  for i, item in ipairs(items) do rounds[i], places[i] = self:round(job, i - 1, item, parameters, artifacts) end
  local limit, running, done = job.task.iterator.limit, 0, task.event()
  if limit <= 0 then limit = math.huge end
  for i, inner in ipairs(rounds) do
    while running >= limit do
      done:wait()
      done:clear()
    end
    running = running + 1
    self:start(inner, function() return self:once(inner, places[i]) end, function()
      running = running - 1
      done:set()
    end)
  end
  while running > 0 do
    done:wait()
    done:clear()
  end
  local results = {}
  for i, inner in ipairs(rounds) do
    if inner.state ~= "succeeded" and inner.state ~= "cached" then
      job.error = ("round %d: %s"):format(i - 1, inner.error or inner.state)
      return inner.state == "skipped" and "failed" or inner.state
    end
    results[i] = inner.results
  end
  job.results = inputs.collect(results, job.task.component.outputDefinitions)
  job.results.metrics = {}
  return "succeeded"
end

-- A task where it stands: its inputs, its condition, then itself or its rounds.
function Run:perform(job)
  local t = job.task
  local choice, folder = self:choice(job)
  if choice == "reuse" then return self:reuse(job, folder) end
  local place = { name = t.key, path = job.path, directory = fs.join(self.context.root, job.path) }
  local parameters, artifacts = inputs.read(t, job.scope, self.context, executor.names(place, self.context))
  if t.condition and not t.condition:test { inputs = { parameter_values = parameters } } then
    job.reason = "condition"
    return "skipped"
  end
  if t.iterator then return self:loop(job, parameters, artifacts) end
  place.parameters, place.artifacts = parameters, artifacts
  return self:once(job, place)
end

-- Runs `fn` as the job's task; its first result is the state the job ends in.
function Run:start(job, fn, ended)
  job.started = os.date "!%Y-%m-%dT%H:%M:%SZ"
  job.offset = task.now() - self.begun
  if job.kind ~= "container" or job.task.iterator and not job.round then self:set_state(job, "running") end
  job.thread = task.spawn(function()
    local ok, state = pcall(fn)
    job.seconds = task.now() - self.begun - job.offset
    if not ok then
      job.error = errors.text(state)
      state = errors.is(state, "Cancelled") and "cancelled" or "failed"
    end
    -- Whoever listens may fail, and so may the record: the others must not wait for this one for ever.
    local told, problem = pcall(self.set_state, self, job, state)
    if not told then self.broken = self.broken or problem end
    if not told or state == "failed" and self.options.fail_fast then self:stop(job) end
    ended(job)
  end)
end

-- Whether a task whose predecessors have ended runs: not after a failure, unless it asks to.
local function may_run(job, scope)
  if job.task.always then return true end
  for name in pairs(job.task.after) do
    local before = scope.jobs[name]
    if before.state == "failed" or before.state == "cancelled" or before.state == "skipped" and not before.reason then
      return false
    end
  end
  return true
end

---Runs the tasks of one dag.
---@return string state, string? problem
function Run:dag(dag, scope, prefix)
  local jobs, left, changed, ready = {}, #dag.tasks, task.event(), {}
  for i, t in ipairs(dag.tasks) do
    local job = self:new_job(t, prefix .. safe(t.key), scope)
    job.waits, job.followers = #t.after_list, {}
    jobs[i], scope.jobs[t.key] = job, job
    for _, name in ipairs(t.after_list) do table.insert(scope.jobs[name].followers, job) end
    if job.waits == 0 then ready[#ready + 1] = job end
  end
  local function ended(job)
    left = left - 1
    scope.results[job.key] = job.results
    for _, follower in ipairs(job.followers) do
      follower.waits = follower.waits - 1
      if follower.waits == 0 then ready[#ready + 1] = follower end
    end
    changed:set()
  end
  local next_ready = 1
  while left > 0 do
    while ready[next_ready] do
      local job = ready[next_ready]
      next_ready = next_ready + 1
      local choice = self:choice(job)
      if choice == "skip" or self.stopping and not job.task.always or not may_run(job, scope) then
        job.reason = choice == "skip" and "choice" or nil
        self:set_state(job, "skipped")
        ended(job)
      else
        self:start(job, function() return self:perform(job) end, ended)
      end
    end
    if left > 0 then
      changed:wait()
      changed:clear()
    end
  end
  for _, wanted in ipairs { "failed", "cancelled" } do
    for _, job in ipairs(jobs) do
      if job.state == wanted then return wanted, ("task %s %s"):format(job.path, job.error or wanted) end
    end
  end
  return "succeeded"
end

-- --- the whole -------------------------------------------------------------------------------------------

-- The run was interrupted: what runs is stopped, what waits never starts.
function Run:cancel()
  self.ending = {}
  self.stopping = true
  for _, job in ipairs(self.jobs) do
    if job.thread and not ENDED[job.state] then
      local process = job.prepared and job.prepared.process
      job.thread:cancel()
      self.ending[#self.ending + 1] = job.thread
      -- The step's task ends at once, its process when it heeds the signal, or when its grace is over.
      if process then self.ending[#self.ending + 1] = task.spawn(process.wait, process) end
      job.state = "cancelled"
    elseif job.state == "pending" then
      job.state = "skipped"
    end
  end
  self.state = "cancelled"
end

local function first_artifact(list) return #list == 1 and list[1] or json.array(list) end

-- What a task made, as plain values; an artifact is a table with name, uri and metadata.
local function outputs_of(results)
  local outputs = {}
  for name, value in pairs((results or {}).parameters or {}) do outputs[name] = value end
  for name, list in pairs((results or {}).artifacts or {}) do outputs[name] = first_artifact(list) end
  return outputs
end

function Run:result(outputs, problem)
  local metrics, tasks = {}, {}
  for i, job in ipairs(self.jobs) do
    for name, value in pairs(job.metrics or {}) do metrics[name] = value end
    tasks[i] = {
      name = job.path, task = job.key, kind = job.task.iterator and not job.round and "loop" or job.kind,
      state = job.state, seconds = job.seconds, exit = job.exit, log = job.log, error = job.error,
      started = job.offset, attempts = job.attempts, outputs = outputs_of(job.results), metrics = job.metrics or {},
    }
  end
  self.record:close()
  return {
    state = self.state, outputs = outputs, metrics = metrics, tasks = tasks, params = self.context.params,
    error = problem, root = self.context.root,
  }
end

local function new_context(ir, options, params)
  local root = options.root or fs.tmpdir "kfp"
  fs.mkdir(root, { parents = true })
  root = fs.realpath(root)
  local name, id, now = (ir.pipelineInfo or {}).name or "pipeline", hash.random_hex(8), os.date "!%Y-%m-%dT%H:%M:%SZ"
  return {
    name = name, id = id, root = root, params = params, options = options, secrets = secrets.new(options.secrets),
    claims = kfp_claims.new(root, options.root and fs.join(fs.dirname(root), "volumes") or fs.join(root, "volumes"),
      options.volumes),
    names = {
      pipeline_job_name = name, pipeline_job_resource_name = name .. "-" .. id, pipeline_job_uuid = id,
      pipeline_root = root,
      pipeline_job_create_time_utc = now, pipeline_job_schedule_time_utc = now,
      workspace_path = fs.join(root, "workspace"),
    },
  }
end

---Runs a pipeline. Mistakes in the IR, the parameters or the images are found before any step starts.
---@param ir table PipelineSpec
---@param options table params {name = value}; root: folder for everything that is written; jobs: steps at a
---  time; images {pattern = {command, env}}; python: for images python:*; cache: take equal steps from
---  earlier runs; cache_root; fail_fast: stop at the first failure; cwd: the steps' working directory; env: added
---  to the steps'; volumes {claim = folder}, without one it is a folder beside the run's that stays; secrets {name =
---  what stands for it, see kfp.secrets}; rlimits as for proc.spawn; choose(path) -> "run"|"fresh"|"skip", or "reuse"
---  and the folder of an earlier run's step: what to do with a step (fresh: not from the cache); salt(path) -> text:
---  more that decides a cached step; on_event(event): type "task", "line" or "note" (about "place": what is not as on
---  a cluster)
---@param platform table? the platform document
---@return table result state; outputs: the pipeline's; metrics: of all steps; tasks {name, task, kind, state, seconds,
---  exit, log, error, outputs, metrics}; params; error; when it was cancelled, ending: tasks that still end their steps
---  raises "Pipeline", "Parameter", "Image" or "Unsupported"
function M.run(ir, options, platform)
  platform = platform or options.platform
  if options.jobs and options.jobs < 1 then error("jobs: at least 1 expected", 2) end
  check.types(ir, platform)
  platform = platform and spec.normal_platform(platform)
  local params = check.parameters(ir, options.params or {})
  local dag, containers, left_out = check.compile(ir, platform)
  images.check(containers, options)
  local context = new_context(ir, options, params)
  local run = setmetatable({
    options = options, jobs = {}, running = 0, limit = options.jobs or processors(), waiting = {}, context = context,
    begun = task.now(), started = os.date "!%Y-%m-%dT%H:%M:%SZ",
    cache_folder = options.cache_root or fs.join(fs.dirname(context.root), "cache"),
  }, Run)
  run.record = kfp_record.new(run)
  local pipeline_config = (((platform or {}).platforms or {}).kubernetes or {}).pipelineConfig or {}
  if pipeline_config.workspace then
    fs.mkdir(context.names.workspace_path, { parents = true })
  end
  if #left_out > 0 then
    run:tell { type = "note", about = "place", name = context.name, text = table.concat(left_out, ", ")
      .. " are a cluster's: here every step takes what this machine has" }
  end
  local scope = { parameters = params, artifacts = {}, results = {}, jobs = {} }
  local watch = run:watch(tonumber(pipeline_config.activeDeadlineSeconds))
  local ok, state, problem = pcall(run.dag, run, dag, scope, "")
  if watch then
    watch:cancel()
    pcall(watch.wait, watch)
  end
  if run.late then state, problem = "failed", run.late end
  if run.broken then ok, state = false, run.broken end
  if not ok then
    run:cancel()
    if errors.is(state, "Cancelled") then
      local result = run:result({}, nil)
      result.ending = run.ending
      return result
    end
    run:result({}, nil)
    error(state, 0)
  end
  run.state = state
  local outputs = {}
  if state == "succeeded" then
    local made, results = pcall(inputs.outputs, dag, scope)
    if made then outputs = outputs_of(results)
    else run.state, problem = "failed", errors.text(results) end
  end
  return run:result(outputs, problem)
end

return M
