-- kfhost policy test: runs the tests that policy files bring with them, offline.
local cli = require "cli"

local function print_result(result, style)
  local ok = #result.problems == 0
  print(("%s %s: %s"):format(style(ok and "ok" or "not ok", ok and "green" or "bold red"), result.file, result.name))
  for _, problem in ipairs(result.problems) do print("    " .. problem) end
end

return cli.main {
  name = "policy test",
  summary = "Runs the tests in policy files.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = { require "policy.command".CONFIG, { "--json", "machine output" } },
  examples = { { "kfhost policy test vsphere-rwo", "the tests of a bundled policy" } },
  run = function(args)
    local set = require "policy.command".load(args)
    local results = require "policy.trial".tests(set)
    local failed = 0
    for _, result in ipairs(results) do
      if #result.problems > 0 then failed = failed + 1 end
    end
    if args.json then
      local json = require "json"
      for i, result in ipairs(results) do
        results[i] = { name = result.name, file = result.file, passed = #result.problems == 0,
          problems = json.array(result.problems) }
      end
      print(json.encode(json.array(results), { sort = true }))
    else
      for _, result in ipairs(results) do print_result(result, require "term".style) end
      print(("%d passed, %d failed"):format(#results - failed, failed))
    end
    if #results == 0 then io.stderr:write "kfhost policy test: there is no test in these files\n" end
    return (failed > 0 or #results == 0) and 1 or 0
  end,
}(...)
