-- Pipelines that are broken somewhere: told with a place, whether they are judged or run; nothing crashes, and nothing
-- starts. Each is one of the recording's with a few values replaced, by a seed.
local errors = require "errors"
local fs = require "fs"
local json = require "json"
local kfp = require "kfp"
local test = require "test"
local yaml = require "yaml"

local COUNT = 800

local PLATFORM = yaml.decode [[
platforms:
  kubernetes:
    pipelineConfig: {activeDeadlineSeconds: 60, workspace: {size: 1Gi}}
    deploymentSpec:
      executors:
        exec-train:
          pvcMount: [{mountPath: /data, pvcNameParameter: {componentInputParameter: claim}}]
          secretAsEnv: [{secretName: s, keyToEnv: [{secretKey: k, envVar: V}]}]
          nodeSelector: {labels: {disk: ssd}}
          tolerations: [{key: k, operator: Exists}]
]]

local function recorded(name)
  local response = json.decode(fs.read(("tests/fixtures/wire-kfp/%s.json"):format(name)), { duplicates = "last" })
  return response.response.body.pipeline_spec
end

local function pipelines()
  local iris = recorded "593-url-version-create"
  local looped = json.decode(json.encode(iris))
  local task = looped.root.dag.tasks.train
  task.parameterIterator = { itemInput = "epochs", items = { raw = "[1, 2]" } }
  task.triggerPolicy = { condition = "inputs.parameter_values['epochs'] == 1" }
  task.retryPolicy = { maxRetryCount = 1, backoffDuration = "0s" }
  looped.components["comp-train"].taskConfigPassthroughs = { { field = "ENV", applyToTask = true } }
  return { iris, looped }
end

local function copy(value) return json.decode(json.encode(value)) end

-- Every place in a document: a table and a key of it.
local function places(value, list)
  if type(value) ~= "table" then return list end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    list[#list + 1] = { value, key }
    places(value[key], list)
  end
  return list
end

local function values()
  return { 1, -1, 1.5, true, "", "x", "{{$.inputs.parameters['x']}}", json.null, json.array {}, json.object {},
    { a = 1 }, json.array { 1, "x", json.null }, ("x"):rep(300), "\xff" }
end

local function break_somewhere(document, random)
  local list = places(document, {})
  local place = list[random(#list)]
  local choices = values()
  local choice = random(#choices + 1)
  if choice <= #choices then place[1][place[2]] = choices[choice]
  elseif json.is_array(place[1]) then table.remove(place[1], place[2])
  else place[1][place[2]] = nil end
end

-- use(pipeline, platform) with each broken pipeline.
local function for_each_broken(use)
  local documents, state = pipelines(), 12345
  local function random(most) -- of our own: math.random would give another sequence in each run
    state = (state * 1103515245 + 12345) % 2147483648
    return state // 65536 % most + 1
  end
  for number = 1, COUNT do
    local ir, platform = copy(documents[number % 2 + 1]), copy(PLATFORM)
    for _ = 1, random(3) do break_somewhere(random(5) == 1 and platform or ir, random) end
    use(ir, platform, number)
  end
end

test("a pipeline that is broken anywhere is judged, and each finding has its place", function()
  local errors_found = 0
  for_each_broken(function(ir, platform, number)
    for _, finding in ipairs(kfp.validate(ir, { platform = platform, parameters = { epochs = 2 } })) do
      if finding.severity == "error" then errors_found = errors_found + 1 end
      local shown = ("%d: %s"):format(number, tostring(finding.path))
      assert(type(finding.path) == "string" and type(finding.message) == "string" and finding.stage, shown)
      assert(finding.path ~= "" or finding.message:find "^unknown template format", shown)
    end
  end)
  assert(errors_found > COUNT / 2, errors_found)
end)

test("a pipeline that is broken anywhere is refused before anything starts, with what is wrong", function()
  local known = { Pipeline = true, Parameter = true, Image = true, Unsupported = true, Expression = true }
  local with_path = 0
  for_each_broken(function(ir, platform, number)
    -- No image is known, so what is whole enough is refused for its images.
    local ok, problem = pcall(kfp.run, ir, { platform = platform, images = {}, params = { epochs = 2 },
      root = test.tmpdir() .. "/run" })
    assert(not ok and type(problem) == "table", ("%d: %s"):format(number, tostring(problem)))
    assert(known[problem.code], ("%d: %s"):format(number, errors.text(problem)))
    if problem.path then with_path = with_path + 1 end
  end)
  assert(with_path > COUNT / 3, with_path)
end)
