-- Plain Python files whose cells begin with `# %%` (jupytext's percent format), as notebooks and back.
-- Not for what the cells mean. Tags stand in brackets, or as jupytext writes them:
--   # %% [step:train prev:load]        # %% tags=["step:train", "prev:load"] title="A title"
local json = require "json"
local pyast = require "pyast"

local M = {}

local KINDS = { markdown = "markdown", md = "markdown", raw = "raw" }
local KEPT = "# kfhost: what a .py file has no place for; `kfhost kale convert` puts it back"

-- --- lines ---------------------------------------------------------------------------------------------

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

local function is_marker(line)
  return line:find "^#%s?%%%%+%s*$" ~= nil or line:find "^#%s?%%%%+%s" ~= nil
end

-- A marker, or one behind any number of "# ": such lines of a cell get one "# " more in the file.
local function is_like_marker(line)
  while not is_marker(line) do
    if line:sub(1, 2) ~= "# " then return false end
    line = line:sub(3)
  end
  return true
end

-- A comment that looks like a magic that has been made a comment.
local function is_like_magic(line)
  if line:sub(1, 1) ~= "#" then return false end
  while line:find "^# ?#" do line = line:gsub("^# ?", "", 1) end
  return line:find "^# ?[%%!?]" ~= nil
end

local function starts_of_lines(text)
  local starts, at = { 1 }, 1
  for position in text:gmatch "()\n" do
    at = at + 1
    starts[at] = position + 1
  end
  return starts
end

-- The lines that are comments of the source, not part of a string.
local function comment_lines(source)
  local tree, found = pyast.parse(source), {}
  for node = 1, tree.count do
    if tree.kind[node] == "comment" then
      local line, column = pyast.position(source, tree.first[node])
      if column == 1 then found[line] = true end
    end
  end
  return found
end

-- Code as it stands in the file: magics are comments.
local function mask(source)
  if not source:find "[%%!?]" then return source end
  local lines = lines_of(source)
  if source:find "^%s*%%%%" then
    for i, line in ipairs(lines) do lines[i] = line == "" and "#" or "# " .. line end
    return table.concat(lines, "\n")
  end
  local blanked, magics = pyast.blank(source)
  local comments = comment_lines(blanked)
  local starts = starts_of_lines(source)
  for _, magic in ipairs(magics) do
    local _, last_line = source:sub(1, magic.last):gsub("\n", "")
    -- An assignment from a magic cannot be a comment and still be found again: it stays as it is.
    for number = magic.line, magic.name and 0 or last_line + 1 do
      if magic.first == starts[magic.line] then lines[number] = "# " .. lines[number] end
    end
  end
  for number in pairs(comments) do
    if is_like_magic(lines[number]) then lines[number] = "# " .. lines[number] end
  end
  return table.concat(lines, "\n")
end

local function unmask(source)
  if not source:find "#%s?[%%!?#]" then return source end
  local lines = lines_of(source)
  local first = 1
  while lines[first] == "" do first = first + 1 end
  if lines[first] and lines[first]:find "^# ?%%%%%S" then
    for i, line in ipairs(lines) do lines[i] = line:gsub("^# ?", "", 1) end
    return table.concat(lines, "\n")
  end
  for number in pairs(comment_lines(source)) do
    if is_like_magic(lines[number]) then lines[number] = lines[number]:gsub("^# ?", "", 1) end
  end
  return table.concat(lines, "\n")
end

local function comment(source)
  local lines = lines_of(source)
  for i, line in ipairs(lines) do lines[i] = line == "" and "#" or "# " .. line end
  return table.concat(lines, "\n")
end

local function uncomment(source)
  local lines = lines_of(source)
  for i, line in ipairs(lines) do lines[i] = line:gsub("^# ?", "", 1) end
  return table.concat(lines, "\n")
end

-- --- markers -------------------------------------------------------------------------------------------

-- The JSON value at the beginning of a text, and what is left of it.
local function value_at(text)
  for last = 1, #text do
    local after = text:sub(last + 1, last + 1)
    if after == "" or after == " " then
      local value, err = json.try.decode(text:sub(1, last))
      if not err then return value, text:sub(last + 1) end
    end
  end
  return nil
end

-- Tags between brackets, with blanks or commas between them; the commas in packages:A,B are its own.
local function add_tags(group, tags)
  for word in group:gmatch "%S+" do
    local packages
    for tag in word:gmatch "[^,]+" do
      if packages and not tag:find ":" then tags[#tags] = tags[#tags] .. "," .. tag
      else tags[#tags + 1] = tag end
      packages = packages or tag:find "^packages:"
    end
  end
end

---What the line of a marker says.
---@param line string
---@return string kind "code", "markdown" or "raw"
---@return table metadata of the cell, with tags
function M.read_marker(line)
  local rest = line:match "^#%s?%%%%+%s*(.*)$"
  local kind, metadata, tags, title = "code", json.object {}, nil, {}
  while rest ~= "" do
    local group, after_group = rest:match "^(%b[])%s*(.*)$"
    group = group and group:sub(2, -2)
    local key, after_key = rest:match "^([%a_][%w_.-]*)=(.*)$"
    local value, left
    if key then value, left = value_at(after_key) end
    if group and KINDS[group] then
      kind, rest = KINDS[group], after_group
    elseif group then
      tags = tags or json.array {}
      add_tags(group, tags)
      rest = after_group
    elseif value ~= nil then
      metadata[key], rest = value, left:gsub("^%s+", "")
    else
      local word, after_word = rest:match "^(%S+)%s*(.*)$"
      title[#title + 1], rest = word, after_word
    end
  end
  if tags then
    for _, tag in ipairs(type(metadata.tags) == "table" and metadata.tags or {}) do tags[#tags + 1] = tag end
    metadata.tags = tags
  end
  if #title > 0 and metadata.title == nil then metadata.title = table.concat(title, " ") end
  return kind, metadata
end

---The line of a marker; metadata that a marker cannot hold is left out.
---@param kind string
---@param metadata table
---@return string
function M.write_marker(kind, metadata)
  local words = { "# %%" }
  if kind ~= "code" then words[2] = "[" .. kind .. "]" end
  local keys = {}
  for key in pairs(metadata) do
    if key:find "^[%a_][%w_.-]*$" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    words[#words + 1] = key .. "=" .. json.encode(metadata[key], { sort = true })
  end
  return table.concat(words, " ")
end

-- --- whole files -----------------------------------------------------------------------------------------

-- The header between `# ---` lines: the notebook's metadata, under "jupyter".
local function read_header(lines)
  if lines[1] ~= "# ---" then return {}, 1 end
  for last = 2, #lines do
    if lines[last] == "# ---" then
      local text = uncomment(table.concat(lines, "\n", 2, last - 1))
      local header, err = require "yaml".try.decode(text)
      if err or type(header) ~= "table" then return {}, 1 end
      return type(header.jupyter) == "table" and header.jupyter or {}, last + 1
    end
  end
  return {}, 1
end

local READ = { code = unmask, markdown = uncomment, raw = uncomment }
local WRITE = { code = mask, markdown = comment, raw = comment }

local function read_source(kind, lines, from, to)
  local own = {}
  for number = from, to do
    local line = lines[number]
    own[#own + 1] = is_like_marker(line) and line:sub(3) or line
  end
  return READ[kind](table.concat(own, "\n"))
end

local function write_source(kind, source)
  local lines = lines_of(WRITE[kind](source))
  for i, line in ipairs(lines) do
    if is_like_marker(line) then lines[i] = "# " .. line end
  end
  return table.concat(lines, "\n")
end

---Reads a file of cells.
---@param text string
---@return {metadata: table, cells: table[], kept: table?} # a cell: kind, metadata, source, first_line, marker_line
function M.parse(text)
  text = text:gsub("\r\n?", "\n")
  local kept
  local before, rest = text:match("^(.*\n)" .. KEPT:gsub("%p", "%%%0") .. "\n# ([^\n]*)%s*$")
  if before then
    kept = json.try.decode(rest)
    text = kept and before or text
  end
  local lines = lines_of(text)
  local metadata, first = read_header(lines)
  local cells = {}
  local function add(marker, from, to)
    while to >= from and lines[to] == "" do to = to - 1 end
    local kind, cell_metadata = "code", json.object {}
    if marker then kind, cell_metadata = M.read_marker(marker) end
    if not marker and to < from then return end
    cells[#cells + 1] = {
      kind = kind, metadata = cell_metadata, source = read_source(kind, lines, from, to), first_line = from,
      marker_line = marker and from - 1,
    }
  end
  local marker, from = nil, first
  while not marker and lines[from] == "" and from < #lines do from = from + 1 end
  for number = from, #lines do
    if is_marker(lines[number]) then
      add(marker, from, number - 1)
      marker, from = lines[number], number + 1
    end
  end
  add(marker, from, #lines)
  return { metadata = metadata, cells = cells, kept = kept }
end

---Writes a file of cells.
---@param notebook {metadata: table, cells: {kind: string, metadata: table, source: string}[]}
---@param kept table? what is put at the end as a comment
---@return string
function M.write(notebook, kept)
  local pieces = {}
  if next(notebook.metadata) then
    local header = require "yaml".encode { jupyter = notebook.metadata }:gsub("\n$", "")
    pieces[1] = "# ---\n" .. comment(header) .. "\n# ---\n"
  end
  for _, cell in ipairs(notebook.cells) do
    local source = write_source(cell.kind, cell.source)
    pieces[#pieces + 1] = M.write_marker(cell.kind, cell.metadata) .. "\n" .. (source ~= "" and source .. "\n" or "")
  end
  local text = table.concat(pieces, "\n")
  if not kept then return text end
  return text .. "\n" .. KEPT .. "\n# " .. json.encode(kept, { sort = true }) .. "\n"
end

---What reading gives for a source that was written; it differs when the form cannot hold it.
---@param kind string
---@param source string
---@return string
function M.again(kind, source)
  local cells = M.parse(M.write { metadata = {}, cells = { { kind = kind, metadata = {}, source = source } } }).cells
  return #cells == 1 and cells[1].source or ""
end

return M
