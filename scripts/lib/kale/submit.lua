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
---@return {name: string, experiment: string, text: string, ir: table, katib: table?}? compiled nil with errors
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
    katib = metadata.katib_metadata }
end

local function random_uuid()
  return hash.uuid5("6ba7b811-9dad-11d1-80b4-00c04fd430c8", hash.random_hex(16))
end

---Uploads the pipeline when it is not there yet, makes the experiment when it is missing, and starts a run.
---@param k table of kfp.connect
---@param compiled table of compile
---@param options {experiment: string?, name: string?, params: string[]?}
---@return table run
---@return table uploaded {pipeline_id, version_id, name, created}
function M.start(k, compiled, options)
  local definitions = compiled.ir.root.inputDefinitions and compiled.ir.root.inputDefinitions.parameters or {}
  local params = require "kale.run".parameters(options.params or {}, definitions)
  local uploaded = k:upload(compiled.text, { name = compiled.name })
  local experiment = k.experiments:ensure(options.experiment or compiled.experiment)
  local run = k.runs:start { run_id = random_uuid(), experiment_id = experiment.experiment_id,
    display_name = options.name or ("%s %s"):format(compiled.name, os.date "!%Y-%m-%d %H:%M:%S"),
    pipeline_version_reference = { pipeline_id = uploaded.pipeline_id, pipeline_version_id = uploaded.version_id },
    runtime_config = { parameters = require "json".object(params) } }
  return run, uploaded
end

return M
