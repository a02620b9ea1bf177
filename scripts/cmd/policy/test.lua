-- kfhost policy test: runs the tests that policy files bring with them, offline.
local cli = require "cli"

local function print_result(result, style)
  local ok = #result.problems == 0
  print(("%s %s: %s"):format(style(ok and "ok" or "not ok", ok and "green" or "bold red"), result.file, result.name))
  for _, problem in ipairs(result.problems) do print("    " .. problem) end
end

-- Recorded reviews: each must be answered without an error and, where the response was recorded, as it was then.
local function add_recorded(results, set, args)
  local command, fixtures, trial = require "policy.command", require "policy.fixtures", require "policy.trial"
  if #args.review == 0 then return end
  set:know(#args.objects > 0 and command.objects(args.objects) or {})
  for _, path in ipairs(args.review) do
    for number, review in ipairs(fixtures.recorded(path)) do
      local ok, result = pcall(trial.recorded, set, review, ("%s, review %d"):format(path, number))
      if not ok then
        local errors = require "errors"
        if not errors.is(result) or result.code == "Cancelled" then error(result, 0) end
        result = { name = path, file = "review", problems = { errors.text(result) } }
      end
      results[#results + 1] = result
    end
  end
end

local function print_json(results)
  local json = require "json"
  local list = json.array {}
  for i, result in ipairs(results) do
    list[i] = { name = result.name, file = result.file, passed = #result.problems == 0,
      problems = json.array(result.problems), response = result.response }
  end
  print(json.encode(list, { sort = true }))
end

return cli.main {
  name = "policy test",
  summary = "Runs the tests of policy files: those in them, those beside them (NAME.test.yaml), recorded reviews.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "--review FILE", "recorded AdmissionReviews (JSON or YAML); a response in them is what is expected",
      repeated = true },
    { "--objects FILE", "what the policies may look at while they answer those", repeated = true },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
  },
  examples = { "kfhost policy test vsphere-rwo" },
  run = function(args)
    local set = require "policy.command".load(args)
    local results = require "policy.trial".tests(set)
    add_recorded(results, set, args)
    local failed = 0
    for _, result in ipairs(results) do
      if #result.problems > 0 then failed = failed + 1 end
    end
    if args.json then print_json(results)
    else
      for _, result in ipairs(results) do print_result(result, require "term".style) end
      print(("%d passed, %d failed"):format(#results - failed, failed))
    end
    if #results == 0 then io.stderr:write "kfhost policy test: there is no test in these files\n" end
    return (failed > 0 or #results == 0) and 1 or 0
  end,
}(...)
