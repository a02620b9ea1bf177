-- kfhost lab demo: what breaks on a multi-tenant Kubeflow on vSphere, and what repairs it, each shown in a lab.
local cli = require "cli"
local errors = require "errors"

local function numbers_of(given)
  local demo = require "lab.demo"
  if #given == 0 then return demo.NUMBERS end
  local known = {}
  for _, number in ipairs(demo.NUMBERS) do known[number] = true end
  for index, number in ipairs(given) do
    given[index] = number:upper()
    if not known[given[index]] then
      errors.raise { code = "Usage", message = ("there is no scene '%s'; there are %s"):format(number,
        table.concat(demo.NUMBERS, " ")) }
    end
  end
  return given
end

local function run(args)
  local show = require "lab.demo.show"
  local numbers = numbers_of(args.scene or {})
  local out = args.json and io.stderr or io.stdout
  local folder <close> = require "kfhost.folder".new "kfhost-demo"
  local results = require("lab.demo").play(numbers, {
    root = folder.path,
    say = show.teller(function(text)
      out:write(text)
      out:flush()
    end),
  })
  out:write("\n", show.summary(results))
  if args.html then
    require("fs").write(args.html, show.page(results))
    out:write(args.html, "\n")
  end
  if args.json then print(require("json").encode(show.machine(results))) end
  for _, result in ipairs(results) do
    if not result.held then return 1 end
  end
  return 0
end

return cli.main {
  name = "lab demo",
  summary = "shows seven breakages of a Kubeflow on vSphere, and their repairs",
  description = "Each scene is played twice in a lab of its own, by real pods: without the policy that repairs it, and"
    .. " with it. Ends with 0 when each broke without, and worked with.",
  arguments = { { "[SCENE…]", "P1 to P7 (all)" } },
  options = {
    { "--html FILE", "also a page with the pictures" },
    { "--json", "machine output; the scenes are told on standard error" },
  },
  run = run,
} (...)
