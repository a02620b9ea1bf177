-- kfhost kale tag: shows and changes the tags of a notebook's cells.
local cli = require "cli"

local function first_line(cell)
  local line = cell.source:match "^%s*([^\n]*)"
  return #line > 60 and line:sub(1, (utf8.offset(line, 0, 58) or 58) - 1) .. "…" or line
end

local function list_cells(nb, as_json)
  local term = require "term"
  if as_json then
    local json = require "json"
    local list = json.array {}
    for i, cell in ipairs(nb.cells) do
      list[i] = { cell = i, kind = cell.kind, tags = json.array(table.move(cell.tags, 1, #cell.tags, 1, {})) }
    end
    return print(json.encode(list, { sort = true }))
  end
  local rows = {}
  for i, cell in ipairs(nb.cells) do
    local tags = {}
    for k, tag in ipairs(cell.tags) do tags[k] = tostring(tag) end
    rows[i] = { tostring(i), cell.kind, table.concat(tags, " "), first_line(cell) }
  end
  io.stdout:write(term.table(rows, { header = { "CELL", "KIND", "TAGS", "FIRST LINE" }, align = { "right" } }))
end

-- Tags that are not understood are not written.
local function check(words)
  local codes, tags = require "kale.codes", require "kale.tags"
  for _, word in ipairs(words) do
    local tag, code, fields = tags.read(word)
    if not tag then
      local message = codes[code][2]:gsub("{(%w+)}", function(name) return tostring(fields[name] or "") end)
      local hint = fields.wanted and ("; write " .. fields.wanted) or ""
      cli.usage("%s%s", message, hint)
    end
  end
end

local function without(list, unwanted)
  local rest = {}
  for _, tag in ipairs(list) do
    local keep = true
    for _, other in ipairs(unwanted) do keep = keep and tag ~= other end
    if keep then rest[#rest + 1] = tag end
  end
  return rest
end

local function new_tags(old, args)
  if args.clear then return {} end
  if args.remove then return without(old, args.tags) end
  if args.set then return args.tags end
  local result = without(old, args.tags)
  return table.move(args.tags, 1, #args.tags, #result + 1, result)
end

return cli.main {
  name = "kale tag",
  summary = "Shows the tags of a notebook's cells, or changes those of one; nothing else in the file changes.",
  arguments = {
    { "NOTEBOOK", "an .ipynb file, or a .py file in percent format" },
    { "[CELL]", "its number, all cells counted from 1; without it, all cells are listed", type = "int" },
    { "[TAG…]", "tags to add", key = "tags" },
  },
  options = {
    { "--set", "these tags and no others" },
    { "--remove", "take these tags away" },
    { "--clear", "take all tags away" },
    { "--json", "machine output of the list" },
  },
  examples = { "kfhost kale tag train.ipynb 4 step:train prev:load limit:memory:4Gi" },
  run = function(args)
    local fs, notebook = require "fs", require "kale.notebook"
    local text = fs.read(args.notebook)
    local nb = notebook.parse(text, args.notebook)
    args.tags = args.tags or {}
    if not args.cell then return list_cells(nb, args.json) end
    if #args.tags == 0 and not args.clear and not args.set then cli.usage "no tag is given" end
    if not args.remove then check(args.tags) end
    local cell = nb.cells[args.cell]
    local old = cell and cell.tags or {}
    fs.write(args.notebook, require "kale.edit".tags(text, args.notebook, args.cell, new_tags(old, args)))
  end,
}(...)
