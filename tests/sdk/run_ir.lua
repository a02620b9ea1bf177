-- Runs a compiled pipeline for tests/sdk: run_ir.lua FILE PARAMS ROOT PYTHON prints the result as one line of JSON.
local fs = require "fs"
local json = require "json"
local kfp = require "kfp"

local path, params, root, python = ...
local findings = json.array {}
for _, finding in ipairs(kfp.validate(fs.read(path))) do
  findings[#findings + 1] = ("%s: %s: %s"):format(finding.severity, finding.path, finding.message)
end
local result = kfp.run(fs.read(path), { params = json.decode(params), root = root, python = python,
  images = { ["alpine:*"] = { command = {} } } })
local line = { state = result.state, outputs = json.object {}, metrics = json.object {}, tasks = json.array {},
  findings = findings }
for name, value in pairs(result.outputs) do line.outputs[name] = value end
for name, value in pairs(result.metrics) do line.metrics[name] = value end
for i, t in ipairs(result.tasks) do
  line.tasks[i] = { name = t.name, kind = t.kind, state = t.state, error = t.error, attempts = t.attempts }
end
print(json.encode(line, { sort = true }))
