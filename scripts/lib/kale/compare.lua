-- Runs side by side: parameters, metrics, times; as rows, as HTML.
-- Not for reading runs: see kale.history.
--   local table = compare.rows(runs); io.write(compare.html(runs))
local escape = require "graph.svg".escape
local fs = require "fs"
local json = require "json"

local M = {}

local function sorted_keys(runs, field)
  local set, keys = {}, {}
  for _, run in ipairs(runs) do
    for key in pairs(run[field]) do set[key] = true end
  end
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- The steps of all runs, in the order of the first that has them.
local function step_names(runs)
  local seen, names = {}, {}
  for _, run in ipairs(runs) do
    for _, step in ipairs(run.steps) do
      if not seen[step.name] then
        seen[step.name] = true
        names[#names + 1] = step.name
      end
    end
  end
  return names
end

local function value_text(value)
  if value == nil then return "" end
  if math.type(value) == "float" then return ("%.6g"):format(value) end
  return type(value) == "string" and value or json.encode(value, { sort = true })
end

local function step_text(run, name)
  for _, step in ipairs(run.steps) do
    if step.name == name then
      local time = step.seconds and ("%.2f s"):format(step.seconds) or ""
      return step.state == "succeeded" and time or (step.state .. " " .. time):gsub("%s+$", "")
    end
  end
  return ""
end

---The comparison as groups of rows; a row's first cell is its name, the others belong to the runs.
---@param runs table[] of kale.history
---@return {title: string, rows: string[][], differ: boolean[]}[]
function M.groups(runs)
  local groups = {}
  local function add(title, names, text_of)
    local group = { title = title, rows = {}, differ = {} }
    for i, name in ipairs(names) do
      local row = { name }
      for k, run in ipairs(runs) do row[k + 1] = text_of(run, name) end
      group.rows[i] = row
      for k = 3, #row do group.differ[i] = group.differ[i] or row[k] ~= row[2] end
    end
    if #names > 0 then groups[#groups + 1] = group end
  end
  add("run", { "state", "started", "time" }, function(run, name)
    if name == "time" then return ("%.2f s"):format(run.seconds) end
    return run[name] or ""
  end)
  for _, field in ipairs { "params", "metrics" } do
    local title = field == "params" and "parameters" or field
    add(title, sorted_keys(runs, field), function(run, name) return value_text(run[field][name]) end)
  end
  add("steps", step_names(runs), step_text)
  return groups
end

local STYLE = [[
body { font: 15px/1.5 ui-sans-serif, system-ui, sans-serif; margin: 28px; color: #1f2733; background: #f6f7f9; }
table { border-collapse: collapse; background: #fff; }
th, td { padding: 5px 16px; border-bottom: 1px solid #dfe3e9; text-align: left; }
td { font-variant-numeric: tabular-nums; }
th.group { background: #eef1f5; }
tr.differ td { font-weight: 600; }
@media (prefers-color-scheme: dark) { body { color: #e6eaf0; background: #12161c; } table { background: #1a2029; }
  th, td { border-color: #2d3642; } th.group { background: #222a35; } }
]]

---@param runs table[] of kale.history
---@return string html one file, no network
function M.html(runs)
  local parts = {
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>runs compared</title><style>' .. STYLE
      .. "</style></head><body><table><tr><th></th>",
  }
  local function add(format, ...) parts[#parts + 1] = format:format(...) end
  for _, run in ipairs(runs) do add("<th>%s</th>", escape(fs.basename(run.path))) end
  add "</tr>"
  for _, group in ipairs(M.groups(runs)) do
    add('<tr><th class="group" colspan="%d">%s</th></tr>', #runs + 1, escape(group.title))
    for i, row in ipairs(group.rows) do
      add('<tr%s><th>%s</th>', group.differ[i] and ' class="differ"' or "", escape(row[1]))
      for k = 2, #row do add("<td>%s</td>", escape(row[k])) end
      add "</tr>"
    end
  end
  add "</table></body></html>\n"
  return table.concat(parts)
end

return M
