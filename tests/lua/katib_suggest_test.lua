-- Suggestions: equal to the real ones where those are exact, better than chance elsewhere, the same every time.
local fs = require "fs"
local json = require "json"
local katib = require "katib"
local test = require "test"

local function experiment(algorithm, parameters, settings)
  local list = {}
  for name, value in pairs(settings or {}) do list[#list + 1] = { name = name, value = value } end
  return { spec = {
    objective = { type = "minimize", objectiveMetricName = "f" }, parameters = parameters,
    algorithm = { algorithmName = algorithm, algorithmSettings = list },
  } }
end

local function as_map(assignments)
  local map = {}
  for _, assignment in ipairs(assignments) do map[assignment.name] = assignment.value end
  return map
end

-- Asks for the points in pieces, the state carried as JSON between them.
local function ask(object, count)
  local points, state = {}, nil
  while #points < count do
    local suggestions, after = katib.suggest(object, {}, math.min(7, count - #points), { state = state })
    state = json.decode(json.encode(after))
    if #suggestions == 0 then break end
    for _, suggestion in ipairs(suggestions) do points[#points + 1] = as_map(suggestion) end
  end
  return points
end

for _, algorithm in ipairs { "sobol", "grid" } do
  test(algorithm .. " gives what the library behind Katib's service gives, value by value", function()
    for i, case in ipairs(json.decode(fs.read("tests/fixtures/katib-suggest/" .. algorithm .. ".json"))) do
      local object = experiment(algorithm, case.parameters, { random_state = case.random_state })
      test.same({ i, ask(object, #case.points) }, { i, case.points })
    end
  end)
end

test("the recorded suggestions of the real grid service come in the same order", function()
  local record = json.decode(fs.read "tests/fixtures/wire-katib/268-suggestion-get-grid-4.json")
  local points = {}
  for i, group in ipairs(record.response.message.parameter_assignments) do points[i] = as_map(group.assignments) end
  test.same(ask(experiment("grid", {
    { name = "lr", parameterType = "double", feasibleSpace = { min = "0.01", max = "0.02", step = "0.01" } },
    { name = "layers", parameterType = "int", feasibleSpace = { min = "2", max = "3" } },
  }), 9), points)
end)

-- --- what holds for all ---------------------------------------------------------------------------------

local SPACE = {
  { name = "rate", parameterType = "double",
    feasibleSpace = { min = "0.0001", max = "1", distribution = "logUniform" } },
  { name = "momentum", parameterType = "double", feasibleSpace = { min = "-1", max = "1", step = "0.25" } },
  { name = "width", parameterType = "double", feasibleSpace = { min = "0", max = "6", distribution = "normal" } },
  { name = "depth", parameterType = "int", feasibleSpace = { min = "1", max = "9", step = "2" } },
  { name = "kind", parameterType = "categorical", feasibleSpace = { list = { "a", "b", "c" } } },
  { name = "batch", parameterType = "discrete", feasibleSpace = { list = { "64", "16", "32" } } },
}

local function cost(map)
  return (math.log(tonumber(map.rate), 10) + 2) ^ 2 + (tonumber(map.momentum) - 0.5) ^ 2
    + (tonumber(map.width) - 3) ^ 2 / 4 + (tonumber(map.depth) - 5) ^ 2 / 16 + (map.kind == "b" and 0 or 1)
    + math.abs(tonumber(map.batch) - 32) / 32
end

-- Runs an experiment, `parallel` trials at a time; the trials and the lowest cost.
local function optimize(algorithm, count, options)
  options = options or {}
  local object = experiment(algorithm, options.parameters or SPACE, options.settings)
  local trials, state, lowest = {}, nil, math.huge
  while #trials < count do
    local parallel, given = options.parallel or 1, { seed = options.seed, state = state }
    local suggestions, after = katib.suggest(object, trials, parallel, given)
    state = json.decode(json.encode(after))
    for _, assignments in ipairs(suggestions) do
      local value = (options.cost or cost)(as_map(assignments))
      local failed = options.fail and #trials % 5 == 4
      trials[#trials + 1] = { name = "t" .. #trials + 1, assignments = assignments, value = not failed and value or nil,
        state = failed and "Failed" or "Succeeded" }
      if not failed then lowest = math.min(lowest, value) end
    end
  end
  return trials, lowest
end

local MODELS = { "tpe", "multivariate-tpe", "cmaes", "bayesianoptimization" }

local function check_values(map)
  local rate, width = tonumber(map.rate), tonumber(map.width)
  assert(rate >= 0.0001 and rate <= 1 and width >= 0 and width <= 6)
  assert((tonumber(map.momentum) + 1) % 0.25 == 0 and math.abs(tonumber(map.momentum)) <= 1)
  assert(({ ["1"] = 1, ["3"] = 1, ["5"] = 1, ["7"] = 1, ["9"] = 1 })[map.depth], map.depth)
  assert(({ a = 1, b = 1, c = 1 })[map.kind] and ({ ["64"] = 1, ["16"] = 1, ["32"] = 1 })[map.batch])
end

for _, algorithm in ipairs { "random", "tpe", "multivariate-tpe", "cmaes", "bayesianoptimization" } do
  test(algorithm .. " keeps to the space, also with failures and four at a time", function()
    local trials = optimize(algorithm, 20, { parallel = 4, fail = true, seed = 3 })
    for _, trial in ipairs(trials) do check_values(as_map(trial.assignments)) end
  end)

  test(algorithm .. " suggests the same for the same seed, else something else", function()
    local once, again = optimize(algorithm, 14, { seed = 5 }), optimize(algorithm, 14, { seed = 5 })
    test.same(once, again)
    local other = optimize(algorithm, 14, { seed = 6 })
    assert(json.encode(other) ~= json.encode(once))
  end)
end

for _, algorithm in ipairs(MODELS) do
  test(algorithm .. " finds more than random does", function()
    local model, random = {}, {}
    for seed = 1, 3 do
      local _, a = optimize(algorithm, 28, { seed = seed })
      local _, b = optimize("random", 28, { seed = seed })
      model[seed], random[seed] = a, b
    end
    table.sort(model)
    table.sort(random)
    assert(model[2] < random[2], ("median %g against %g"):format(model[2], random[2]))
  end)
end

test("what is to be maximized is maximized", function()
  local object = experiment("bayesianoptimization", {
    { name = "x", parameterType = "double", feasibleSpace = { min = "0", max = "1" } },
  })
  object.spec.objective.type = "maximize"
  local trials = {}
  for i = 1, 20 do
    local assignments = katib.suggest(object, trials, 1)[1]
    local x = tonumber(assignments[1].value)
    trials[i] = { name = "t" .. i, state = "Succeeded", assignments = assignments, value = -(x - 0.3) ^ 2 }
  end
  assert(math.abs(tonumber(katib.best(object, trials).assignments[1].value) - 0.3) < 0.01)
end)

test("trials that are still running are not suggested again", function()
  local object = experiment("bayesianoptimization", SPACE)
  local trials = optimize("bayesianoptimization", 12)
  local seen = {}
  for i = 1, 6 do
    local assignments = katib.suggest(object, trials, 1)[1]
    local key = json.encode(assignments)
    assert(not seen[key], key)
    seen[key] = true
    trials[#trials + 1] = { name = "r" .. i, state = "Running", assignments = assignments }
  end
end)

-- --- hyperband ------------------------------------------------------------------------------------------------

test("hyperband gives the best of a round more", function()
  local object = experiment("hyperband", {
    { name = "lr", parameterType = "double", feasibleSpace = { min = "0", max = "1" } },
    { name = "epochs", parameterType = "int", feasibleSpace = { min = "1", max = "9" } },
  }, { r_l = "9", resource_name = "epochs", eta = "3" })
  local trials, state, sizes = {}, nil, {}
  for round = 1, 12 do
    local suggestions
    suggestions, state = katib.suggest(object, trials, 9, { state = state })
    if #suggestions == 0 then break end
    sizes[round] = ("%d×%s"):format(#suggestions, suggestions[1][2].value)
    for _, assignments in ipairs(suggestions) do
      trials[#trials + 1] = { state = "Succeeded", assignments = assignments, value = tonumber(assignments[1].value) }
    end
  end
  test.same({ sizes[1], sizes[2], sizes[3] }, { "9×1", "3×3", "1×9" })
  test.equal(as_map(trials[13].assignments).lr, katib.best(object, { table.unpack(trials, 1, 9) }).assignments[1].value)
end)

test("hyperband waits for a round that is not over", function()
  local object = experiment("hyperband", {
    { name = "epochs", parameterType = "int", feasibleSpace = { min = "1", max = "9" } },
  }, { r_l = "9", resource_name = "epochs" })
  local suggestions, state = katib.suggest(object, {}, 9)
  local trials = {}
  for i, assignments in ipairs(suggestions) do trials[i] = { state = "Running", assignments = assignments } end
  test.equal(#katib.suggest(object, trials, 3, { state = state }), 0)
end)

-- --- refusals --------------------------------------------------------------------------------------------------

test("algorithms that need a service are refused by name", function()
  for _, name in ipairs { "enas", "darts", "pbt", "magic" } do
    local err = test.raises("Unsupported", function() katib.suggest(experiment(name, SPACE), {}, 1) end)
    assert(err.message:find(name, 1, true))
  end
  test.raises("Unsupported", function()
    katib.suggest(experiment("bayesianoptimization", SPACE, { base_estimator = "RF" }), {}, 1)
  end)
end)

test("spaces in which nothing can be chosen are refused", function()
  for _, parameters in ipairs {
    {}, { { name = "x", parameterType = "double", feasibleSpace = { min = "2", max = "1" } } },
    { { name = "x", parameterType = "categorical", feasibleSpace = { list = json.array {} } } },
  } do
    test.raises("Space", function() katib.suggest(experiment("random", parameters), {}, 1) end)
  end
  test.raises("Space", function()
    katib.suggest(experiment("cmaes", { SPACE[1], SPACE[5] }), {}, 1)
  end)
end)
