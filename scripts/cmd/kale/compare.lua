-- kfhost kale compare: parameters, metrics and times of runs, side by side.
local cli = require "cli"

local function print_json(runs)
  local json = require "json"
  local list = json.array {}
  for i, run in ipairs(runs) do
    local shown = {
      directory = run.path, name = run.name, state = run.state, started = run.started, seconds = run.seconds,
      params = json.object {}, metrics = json.object {}, steps = json.array {},
    }
    for name, value in pairs(run.params) do shown.params[name] = value end
    for name, value in pairs(run.metrics) do shown.metrics[name] = value end
    for k, step in ipairs(run.steps) do
      shown.steps[k] = { name = step.name, state = step.state, seconds = step.seconds or 0 }
    end
    list[i] = shown
  end
  print(json.encode(list, { sort = true }))
end

local function print_table(runs)
  local compare, fs, term = require "kale.compare", require "fs", require "term"
  local header, align = { "" }, {}
  for i, run in ipairs(runs) do
    header[i + 1] = fs.basename(run.path):match "%-(%x%x%x%x)$" or fs.basename(run.path)
    align[i + 1] = "right"
  end
  for _, group in ipairs(compare.groups(runs)) do
    header[1] = group.title:upper()
    local rows = {}
    for i, row in ipairs(group.rows) do
      rows[i] = table.move(row, 1, #row, 1, {})
      if group.differ[i] then rows[i][1] = rows[i][1] .. " *" end
    end
    io.stdout:write(term.table(rows, { header = header, align = align }), "\n")
  end
  for i, run in ipairs(runs) do print(("%s  %s"):format(header[i + 1], run.path)) end
end

return cli.main {
  name = "kale compare",
  summary = "Shows parameters, metrics and times of runs side by side; * marks what differs.",
  arguments = { { "RUN…", "the folder of a run, or a notebook for all its runs", key = "runs" } },
  options = {
    { "--html FILE", "write a table as HTML; - is standard output" },
    { "--runs DIR", "where the runs of notebooks lie; .kfhost/runs beside the notebook without it", key = "folder" },
    { "--json", "machine output" },
  },
  run = function(args)
    local runs = require "kale.history".find(args.runs, args.folder)
    if args.json then return print_json(runs) end
    if not args.html then return print_table(runs) end
    local html = require "kale.compare".html(runs)
    if args.html == "-" then io.stdout:write(html) else require("fs").write(args.html, html) end
  end,
}(...)
