-- The report of a run: one HTML file that needs no network.
-- Not for what is seen while it runs: see kale.follow.
--   report.write(run, result, names)
local fs = require "fs"
local markdown = require "kale.markdown"
local page = require "kale.page"
local svg = require "graph.svg"

local M = {}

local escape = page.escape

-- "0.42 s", "1 min 5 s", "2 h 3 min".
local function seconds_text(seconds)
  if not seconds then return "" end
  if seconds < 60 then return ("%.2f s"):format(seconds) end
  local whole = math.floor(seconds + 0.5)
  if whole < 3600 then return ("%d min %d s"):format(whole // 60, whole % 60) end
  return ("%d h %d min"):format(whole // 3600, whole % 3600 // 60)
end

local function graph_section(steps)
  local nodes = {}
  for i, step in ipairs(steps) do
    nodes[i] = {
      name = step.name, after = step.after, state = step.state, note = step.seconds and seconds_text(step.seconds),
    }
  end
  return "<section><h2>Pipeline</h2>" .. svg.draw(nodes) .. "</section>"
end

local function times_section(steps)
  local last = 0.001
  for _, step in ipairs(steps) do last = math.max(last, (step.started or 0) + (step.seconds or 0)) end
  local rows = {}
  for i, step in ipairs(steps) do
    local left, width = (step.started or 0) / last * 100, (step.seconds or 0) / last * 100
    rows[i] = ('<tr><td>%s</td><td class="%s">%s</td><td class="number">%s</td><td><div class="bar">'
      .. '<i style="left:%.1f%%;width:%.1f%%"></i></div></td></tr>'):format(
      escape(step.name), step.state, step.state, seconds_text(step.seconds), left, width)
  end
  return '<section><h2>Steps</h2><table><tr><th>step</th><th>state</th><th>time</th><th></th></tr>'
    .. table.concat(rows) .. "</table></section>"
end

local function pairs_section(title, list)
  if #list == 0 then return "" end
  local rows = {}
  for i, pair in ipairs(list) do
    local value = tostring(pair[2])
    rows[i] = ('<tr><td>%s</td><td%s>%s</td></tr>'):format(escape(pair[1]), tonumber(value) and ' class="number"' or "",
      escape(value))
  end
  return ("<section><h2>%s</h2><table>%s</table></section>"):format(title, table.concat(rows))
end

local function step_section(step)
  local parts = { ('<section id="%s"><h2>%s <span class="%s">%s</span></h2>'):format(escape(step.name),
    escape(step.name), step.state, step.state == "succeeded" and "" or step.state) }
  local cells = {}
  for i, cell in ipairs(step.cells or {}) do cells[i] = tostring(cell) end
  local word = #cells == 1 and "cell" or "cells"
  if #cells > 0 then parts[#parts + 1] = ('<div class="soft">%s %s</div>'):format(word, table.concat(cells, ", ")) end
  if step.state == "failed" and step.log then
    local lines = {}
    for line in step.log:gmatch "[^\n]+" do lines[#lines + 1] = line end
    parts[#parts + 1] = '<div class="error"><pre>'
      .. escape(table.concat(lines, "\n", math.max(1, #lines - 19))) .. "</pre></div>"
  end
  if step.html and step.html ~= "" then parts[#parts + 1] = step.html end
  if step.artifacts and step.artifacts ~= "" then parts[#parts + 1] = step.artifacts end
  if step.log and step.log ~= "" then
    parts[#parts + 1] = "<details><summary>log</summary><pre>" .. escape(step.log) .. "</pre></details>"
  end
  parts[#parts + 1] = "</section>"
  return table.concat(parts)
end

---@param run table name, notebook, state, seconds; params and metrics: lists of {name, text}; steps: a list of
---  {name, after, cells, state, seconds, started, log, html}, times in seconds from the run's begin; graph: those
---  of them that are drawn, all without it
---@return string html
function M.render(run)
  local parts = {
    ('<h1>%s <span class="%s">%s</span></h1><div class="soft">%s · %s</div>'):format(escape(run.name), run.state,
      run.state, escape(run.notebook), seconds_text(run.seconds)),
    graph_section(run.graph or run.steps), pairs_section("Metrics", run.metrics),
    pairs_section("Parameters", run.params), times_section(run.steps),
  }
  for _, step in ipairs(run.steps) do parts[#parts + 1] = step_section(step) end
  return page.render(("%s: %s"):format(run.name, run.state), parts)
end

local LETTERS = { amp = "&", lt = "<", gt = ">", quot = '"', ["#x27"] = "'", ["#39"] = "'" }

local function plain(html) return (html:gsub("&(#?%w+);", LETTERS)) end

-- Displayed values of a step, from the report artifact that its program wrote.
local function displayed(directory, task_name)
  local html = fs.try.read(fs.join(directory, task_name, "report"))
  if not html then return nil end
  html = html:gsub('^<!doctype html><meta charset="utf%-8">', "")
  return (html:gsub('<pre class="markdown">(.-)</pre>', function(text)
    return ('<div class="words">%s</div>'):format(markdown.html(plain(text)))
  end))
end

local function sorted_pairs(map, format)
  local list = {}
  for name, value in pairs(map) do list[#list + 1] = { name, format(value) } end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

---@param result table of kfp.run
---@return string[][] names and values
function M.metrics(result)
  return sorted_pairs(result.metrics, function(value)
    return type(value) == "number" and ("%.6g"):format(value) or tostring(value)
  end)
end

---@param result table of kfp.run
---@return string[][] names and values
function M.parameters(result)
  return sorted_pairs(result.params or {}, function(value)
    return type(value) == "table" and require "json".encode(value, { sort = true }) or tostring(value)
  end)
end

-- Artifacts of every step that are shown elsewhere.
local OWN = { metrics = true, report = true }

---Writes report.html into the directory of a run.
---@param run table of kale.run
---@param result table of kfp.run
---@param names table<string, string> step names by task name
---@return string path
function M.write(run, result, names)
  local by_step, total = {}, 0
  for _, t in ipairs(result.tasks) do
    by_step[names[t.name] or t.name] = t
    total = math.max(total, (t.started or 0) + (t.seconds or 0))
  end
  local steps, edges = {}, require "kale.picture".edges(run.plan)
  for i, step in ipairs(run.plan.steps) do
    local t = by_step[step.name] or { state = "skipped" }
    steps[i] = {
      name = step.name, after = edges[i], cells = step.cells, state = t.state, seconds = t.seconds,
      started = t.started, log = t.log and fs.try.read(t.log), html = t.name and displayed(run.directory, t.name),
      artifacts = require "kale.artifacts".section(t.outputs, OWN),
    }
  end
  local path = fs.join(run.directory, "report.html")
  fs.write(path, M.render {
    name = run.plan.name, notebook = fs.basename(run.notebook), state = result.state, seconds = total,
    directory = run.directory, steps = steps,
    metrics = M.metrics(result), params = M.parameters(result),
  })
  return path
end

return M
