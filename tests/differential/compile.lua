-- Compiles the cuts of the differential test: reads a case a line (JSON), writes what to run a line.
-- Not a notebook compiler: kale.plan and kale.ir are, and are used as they are.
--   kfhost tests/differential/compile.lua < cases > compiled
local ir = require "kale.ir"
local json = require "json"
local notebook = require "kale.notebook"
local plan = require "kale.plan"

-- The notebook of a case: blocks {tags, first, last} of its statements, one cell each.
local function document_of(case)
  local cells = json.array {}
  for _, block in ipairs(case.blocks) do
    for i = block.first, block.last do
      local tags = json.array {}
      if i == block.first then
        if block.step then
          tags[1] = "step:" .. block.step
          for _, name in ipairs(block.prev) do tags[#tags + 1] = "prev:" .. name end
        else
          tags[1] = block.tag
        end
      end
      cells[#cells + 1] = {
        cell_type = "code", metadata = { tags = tags }, outputs = json.array {}, source = case.statements[i],
      }
    end
  end
  return { nbformat = 4, nbformat_minor = 5, metadata = json.object {}, cells = cells }
end

-- Adds the edges that the findings ask for; false when there is none to add.
local function repair(case, made)
  local step_at, by_name, cell = {}, {}, 0
  for order, block in ipairs(case.blocks) do
    for _ = block.first, block.last do
      cell = cell + 1
      step_at[cell] = block
    end
    if block.step then by_name[block.step] = { block = block, order = order } end
  end
  local added = false
  local function add(to, from)
    if not to or not from or from.order >= to.order then return end
    for _, name in ipairs(to.block.prev) do
      if name == from.block.step then return end
    end
    table.insert(to.block.prev, from.block.step)
    added = true
  end
  for _, d in ipairs(made.diagnostics) do
    local step = d.cell and step_at[d.cell].step and by_name[step_at[d.cell].step]
    if d.code == "missing-edge" then
      add(step, by_name[d.message:match "in step '([^']+)'"])
    elseif d.code == "two-producers" then
      local one, other = d.message:match "in step '([^']+)' and in step '([^']+)'"
      add(by_name[other], by_name[one])
      add(by_name[one], by_name[other])
    end
  end
  return added
end

local function make(case)
  return plan.make(notebook.parse(json.encode(document_of(case)), case.id .. ".ipynb"), { infer = case.infer })
end

local function has_errors(made)
  for _, d in ipairs(made.diagnostics) do
    if d.severity == "error" then return true end
  end
end

-- What the driver needs of the IR: for each task, in order, its specification and its artifacts.
local function tasks_of(made)
  local built, keys = ir.build(made), ir.task_names(made)
  local tasks = json.array {}
  for i, step in ipairs(made.steps) do
    local key = keys[step.name]
    local task = built.root.dag.tasks[key]
    local component = built.components[task.componentRef.name]
    local args = built.deploymentSpec.executors[component.executorLabel].container.args
    local inputs, outputs = {}, json.array {}
    for name, input in pairs(task.inputs and task.inputs.artifacts or {}) do
      inputs[name] = { input.taskOutputArtifact.producerTask, input.taskOutputArtifact.outputArtifactKey }
    end
    for name in pairs(component.outputDefinitions.artifacts) do outputs[#outputs + 1] = name end
    tasks[i] = {
      key = key, spec = table.concat(args, "", 3), inputs = json.object(inputs), outputs = outputs, ins = step.ins,
      after = json.array(step.after),
    }
  end
  return tasks
end

for line in io.lines() do
  local case = json.decode(line)
  local made = make(case)
  for _ = 1, 30 do
    if not case.repair or not has_errors(made) or not repair(case, made) then break end
    made = make(case)
  end
  local result = { id = case.id, diagnostics = json.array {}, blocks = case.blocks }
  for i, d in ipairs(made.diagnostics) do
    result.diagnostics[i] = { severity = d.severity, code = d.code, message = d.message, cell = d.cell, name = d.name }
  end
  if not has_errors(made) then result.tasks = tasks_of(made) end
  io.write(json.encode(result), "\n")
end
