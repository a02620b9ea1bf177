-- kale.artifacts: what an artifact of a step looks like in a report: metrics, confusion matrix, ROC curve, table,
-- image, page, text.
-- Not for values that only steps read.
--   local html = artifacts.render("scores", { type = { schemaTitle = "system.Metrics" }, metadata = { acc = 0.9 } })

local chart = require "graph.chart"
local fs = require "fs"
local hash = require "hash"
local markdown = require "kale.markdown"
local page = require "kale.page"

local M = {}

local LARGEST_IMAGE, LARGEST_TEXT = 4 << 20, 64 << 10
local ROWS, COLUMNS = 20, 12

local escape = page.escape

-- --- metadata -------------------------------------------------------------------------------------------------

local function metrics(artifact)
  local rows = {}
  for name, value in pairs(artifact.metadata or {}) do
    if type(value) == "number" or type(value) == "string" then rows[#rows + 1] = { name, value } end
  end
  if #rows == 0 then return nil end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return page.table({ "name", "value" }, rows)
end

-- A value as KFP keeps it: by itself, or in a struct.
local function unwrap(value)
  return type(value) == "table" and (value.struct or value.list or value) or nil
end

local function confusion_matrix(matrix)
  if not matrix or type(matrix.rows) ~= "table" then return nil end
  local names, most = {}, 0
  for i, one in ipairs(matrix.annotationSpecs or {}) do names[i] = one.displayName or tostring(i) end
  for _, row in ipairs(matrix.rows) do
    for _, count in ipairs(row.row or row) do most = math.max(most, tonumber(count) or 0) end
  end
  local parts = { '<table class="matrix"><tr><th></th>' }
  for _, name in ipairs(names) do parts[#parts + 1] = ("<th>%s</th>"):format(escape(name)) end
  parts[#parts + 1] = "</tr>"
  for i, row in ipairs(matrix.rows) do
    parts[#parts + 1] = ("<tr><th>%s</th>"):format(escape(names[i] or ""))
    for _, count in ipairs(row.row or row) do
      local share = most > 0 and (tonumber(count) or 0) / most or 0
      parts[#parts + 1] = ('<td style="background:rgba(47,123,217,%.2f)">%s</td>'):format(share * 0.6,
        escape(chart.number(tonumber(count) or 0)))
    end
    parts[#parts + 1] = "</tr>"
  end
  return "<h3>Confusion matrix</h3>" .. table.concat(parts)
    .. '</table><div class="soft">rows: true, columns: predicted</div>'
end

local function roc(list)
  local points = {}
  for _, one in ipairs(list or {}) do
    local x, y = tonumber(one.falsePositiveRate), tonumber(one.recall)
    if x and y then points[#points + 1] = { x, y } end
  end
  if #points == 0 then return nil end
  table.sort(points, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
  local area = 0
  for i = 2, #points do area = area + (points[i][1] - points[i - 1][1]) * (points[i][2] + points[i - 1][2]) / 2 end
  return "<h3>ROC</h3>" .. chart.lines({ { name = ("ROC, area %.3f"):format(area), points = points },
    { name = "chance", points = { { 0, 0 }, { 1, 1 } }, colour = "#a3acba" } },
    { x = "false positive rate", y = "recall", from = { 0, 0 }, to = { 1, 1 } })
end

local function classification(artifact)
  local metadata = artifact.metadata or {}
  local html = (confusion_matrix(unwrap(metadata.confusionMatrix)) or "")
    .. (roc(unwrap(metadata.confidenceMetrics)) or "")
  return html ~= "" and html or nil
end

-- One of each slice of the data.
local function sliced(artifact)
  local parts = {}
  for i, one in ipairs(unwrap((artifact.metadata or {}).evaluationSlices) or {}) do
    local html = classification { metadata = unwrap(one.sliceClassificationMetrics) }
    if html then parts[#parts + 1] = ("<h3>%s</h3>%s"):format(escape(tostring(one.slice or i)), html) end
  end
  return #parts > 0 and table.concat(parts) or nil
end

-- --- files ----------------------------------------------------------------------------------------------------

local function path_of(artifact)
  local path = (artifact.uri or ""):gsub("^file://", "")
  return path:sub(1, 1) == "/" and path or nil
end

local function read(artifact, limit)
  local path = path_of(artifact)
  local stat = path and fs.stat(path)
  if not stat or stat.type ~= "file" or stat.size > limit then return nil end
  return fs.read(path)
end

local IMAGES = { { "^\137PNG\r\n", "image/png" }, { "^\255\216\255", "image/jpeg" }, { "^GIF8", "image/gif" },
  { "^RIFF....WEBP", "image/webp" }, { "^%s*<svg", "image/svg+xml" }, { "^%s*<%?xml.-<svg", "image/svg+xml" } }

local function image(text, name)
  for _, kind in ipairs(IMAGES) do
    if text:find(kind[1]) then
      return ('<div class="output"><img alt="%s" src="data:%s;base64,%s"></div>'):format(escape(name), kind[2],
        hash.base64(text))
    end
  end
  return nil
end

-- The fields of a line of CSV; quotes may hold separators and, doubled, quotes.
local function fields_of(line, separator)
  local fields, at = {}, 1
  while at <= #line + 1 do
    if line:sub(at, at) == '"' then
      local value, last = "", at
      repeat
        local close = line:find('"', last + 1, true) or #line + 1
        value = value .. line:sub(last + 1, close - 1)
        last = close
        local doubled = line:sub(close + 1, close + 1) == '"'
        if doubled then
          value = value .. '"'
          last = close + 1
        end
      until not doubled
      fields[#fields + 1] = value
      at = (line:find(separator, last, true) or #line + 1) + 1
    else
      local stop = line:find(separator, at, true) or #line + 1
      fields[#fields + 1] = line:sub(at, stop - 1)
      at = stop + 1
    end
  end
  return fields
end

-- A table when the first lines have as many fields as the head, and more than one.
local function csv(text)
  if text:find "^%s*[{%[<]" then return nil end -- lines of JSON, a page
  local separator = text:match "^[^\n]*\t" and "\t" or ","
  local lines = {}
  for line in text:gmatch "([^\r\n]+)" do
    lines[#lines + 1] = line
    if #lines > ROWS then break end
  end
  if #lines < 2 then return nil end
  local header, rows = fields_of(lines[1], separator), {}
  if #header < 2 then return nil end
  for i = 2, #lines do
    local row = fields_of(lines[i], separator)
    if #row ~= #header then return nil end
    rows[#rows + 1] = table.move(row, 1, math.min(#row, COLUMNS), 1, {})
  end
  local _, count = text:gsub("\n", "\n")
  local shown = table.move(header, 1, math.min(#header, COLUMNS), 1, {})
  local note = ("%d of %d rows"):format(#rows, math.max(count - 1, #rows))
  if #header > COLUMNS then note = ("%s, %d of %d columns"):format(note, COLUMNS, #header) end
  return ('<div class="wide">%s</div><div class="soft">%s</div>'):format(page.table(shown, rows), note)
end

local function is_text(text) return #text > 0 and utf8.len(text) ~= nil and not text:find "[%z\1-\8\14-\31]" end

local BY_TYPE = {
  ["system.Metrics"] = metrics, ["system.ClassificationMetrics"] = classification,
  ["system.SlicedClassificationMetrics"] = sliced,
  ["system.HTML"] = function(artifact)
    local text = read(artifact, LARGEST_IMAGE)
    return text and ('<iframe sandbox class="page" srcdoc="%s"></iframe>'):format(escape(text))
  end,
  ["system.Markdown"] = function(artifact)
    local text = read(artifact, LARGEST_TEXT)
    return text and is_text(text) and ('<div class="words">%s</div>'):format(markdown.html(text)) or nil
  end,
}

-- What the bytes are, whatever the type says.
local function by_content(artifact, name)
  local text = read(artifact, LARGEST_IMAGE)
  if not text then return nil end
  local shown = image(text, name)
  if shown then return shown end
  if not is_text(text) then return nil end
  shown = csv(text)
  if shown then return shown end
  return #text <= LARGEST_TEXT and ("<pre>%s</pre>"):format(escape(text)) or nil
end

---An artifact as HTML.
---@param name string
---@param artifact table {uri, metadata, type = {schemaTitle}}
---@return string? html nil when there is nothing that people could read
function M.render(name, artifact)
  local kind = type(artifact.type) == "table" and artifact.type.schemaTitle or artifact.schemaTitle
  local by_type = BY_TYPE[kind or ""]
  -- Of a model and the like at least what was noted of it.
  local html = by_type and by_type(artifact) or by_content(artifact, name) or metrics(artifact)
  return html and ("<h3>%s</h3>%s"):format(escape(name), html)
end

---The artifacts among a task's outputs that people can read.
---@param outputs table<string, any> of kfp.run
---@param skip table<string, boolean>? names
---@return string html
function M.section(outputs, skip)
  local names, parts = {}, {}
  for name in pairs(outputs or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = outputs[name]
    if type(value) == "table" and (value.uri or value.metadata) and not (skip and skip[name]) then
      parts[#parts + 1] = M.render(name, value)
    end
  end
  return table.concat(parts)
end

return M
