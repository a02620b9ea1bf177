-- kale.submit: a notebook's pipeline at a KFP server: uploaded, and a run of it started.
-- Not for following the run: kfp's client does that.
--   local run = submit.start(kfp.connect {}, submit.compile "train.ipynb", { params = { "rate=0.1" } })

local diagnostics = require "kale.diagnostics"
local hash = require "hash"
local ir = require "kale.ir"
local plans = require "kale.plan"

local M = {}

---Compiles; what is wrong is said on standard error.
---@param path string of a notebook
---@return {name: string, experiment: string, text: string, ir: table, katib: table?,
---  metrics: string[]?}? compiled nil with errors
function M.compile(path)
  local plan = plans.read(path)
  for _, one in ipairs(plan.diagnostics) do
    local function style(text, how) return require "term".style(text, how, "stderr") end
    io.stderr:write(diagnostics.render(plan.path, one, style), "\n")
  end
  if diagnostics.has_errors(plan.diagnostics) then return nil end
  local built = ir.build(plan)
  local metadata = plan.metadata or {}
  local name = built.pipelineInfo.name
  return { name = name, experiment = metadata.experiment_name or name, ir = built, text = ir.encode(built),
    katib = metadata.katib_metadata, metrics = plan.metrics }
end

local function random_uuid()
  return hash.uuid5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", hash.random_hex(16))
end

-- Servers call an empty name an error of their own.
local function check_name(what, name)
  if name and not name:find "%S" then
    require "errors".raise { code = "Usage", message = ("--%s is empty"):format(what) }
  end
end

-- Uploads the pipeline when it is not there yet, and makes the experiment when it is missing.
local function prepare(k, compiled, options)
  local definitions = compiled.ir.root.inputDefinitions and compiled.ir.root.inputDefinitions.parameters or {}
  check_name("name", options.name)
  check_name("experiment", options.experiment)
  local params = require "kale.run".parameters(options.params or {}, definitions)
  local uploaded = k:upload(compiled.text, { name = compiled.name })
  local experiment = k.experiments:ensure(options.experiment or compiled.experiment)
  return uploaded, { experiment_id = experiment.experiment_id,
    pipeline_version_reference = { pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id },
    runtime_config = { parameters = require "json".object(params) } }
end

---Uploads the pipeline when it is not there yet, makes the experiment when it is missing, and starts a run.
---@param k table of kfp.connect
---@param compiled table of compile
---@param options {experiment: string?, name: string?, params: string[]?}
---@return table run
---@return table uploaded {pipeline_id, version_id, name, created}
function M.start(k, compiled, options)
  local uploaded, object = prepare(k, compiled, options)
  object.run_id = random_uuid()
  object.display_name = options.name or ("%s %s"):format(compiled.name, os.date "!%Y-%m-%d %H:%M:%S")
  return k.runs:start(object), uploaded
end

local function usage(format, ...)
  require "errors".raise { code = "Usage", message = format:format(...) }
end

-- A time span as Go writes it: 1h30m, 90s.
local function is_span(text)
  local found = false
  local rest = text:gsub("%d+%.?%d*%a+", function(part)
    found = found or part:find "[1-9]"
    return (part:find "[hms]$" and not part:find "%a[^s]$") and "" or nil
  end)
  return rest == "" and found
end

-- Six fields, of which KFP makes what we do.
local function check_fields(cron)
  local ok, times = pcall(require "policy.inside.cron".parse, cron)
  if not ok then usage("'%s' is no schedule: %s", cron, times) end
  if cron:match "%S+%s*$":gsub("/%d+", ""):find "7" then
    usage("'%s' is no schedule: the day of week cannot be '7', for KFP Sunday is 0", cron)
  end
  if not times:next(os.time()) then usage("'%s' is a time that never comes", cron) end
end

local SHORTHANDS = "@yearly @annually @monthly @weekly @daily @midnight @hourly"

---Refuses a schedule that KFP would take for another, or not take.
---@param cron string # raises "Usage"
function M.check_cron(cron)
  local _, fields = cron:gsub("%S+", "")
  local span = cron:match "^@every (.*)$"
  if span then
    if not is_span(span) then usage("'%s' is no time span, as 1h30m is", span) end
  elseif cron:sub(1, 1) == "@" then
    if not (" " .. SHORTHANDS .. " "):find(" " .. cron .. " ", 1, true) then
      usage("'%s' is none of %s, @every SPAN", cron, (SHORTHANDS:gsub(" ", ", ")))
    end
  elseif fields == 5 then
    usage("KFP wants six fields, seconds first: of '%s' it would take the minutes for seconds. Write '0 %s'", cron,
      cron)
  elseif fields ~= 6 then
    usage("'%s' has %d fields; KFP wants six: second minute hour day month weekday", cron, fields)
  else
    check_fields(cron)
  end
end

---Makes a recurring run of the notebook.
---@param k table of kfp.connect
---@param compiled table of compile
---@param options {experiment: string?, name: string?, params: string[]?, cron: string}
---@return table recurring
---@return table uploaded # raises "Usage" for a schedule that KFP would misread
function M.schedule(k, compiled, options)
  M.check_cron(options.cron)
  local uploaded, object = prepare(k, compiled, options)
  object.display_name = options.name or compiled.name
  object.trigger = { cron_schedule = { cron = options.cron } }
  object.max_concurrency, object.mode = "1", "ENABLE"
  return k.recurring:create(object), uploaded
end

local DASHBOARD = "/_/pipeline" -- of Kubeflow's own pages

---Where a run is seen in the browser. KFP's pages are served beside its API; when that is reached by the service's name
---or through the API server, no browser gets there, and it is a path on Kubeflow's dashboard.
---@param k table of kfp.connect
---@param run table a run or a recurring run
---@return string url or path
function M.link(k, run)
  local kind = run.recurring_run_id and "recurringrun" or "runs"
  local is_inside = k.how == "cluster" or k.how == "kubeconfig"
  local base = is_inside and DASHBOARD or (k.endpoint or ""):gsub("/+$", ""):gsub("/apis.*$", "")
  return ("%s/#/%s/details/%s"):format(base, kind, run.recurring_run_id or run.run_id)
end

return M
