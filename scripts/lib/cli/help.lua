-- cli.help: what --help prints, made from the tables of a command.
-- Not for choosing the command: cmd/help.lua does that.
--   io.write(help.text(command))

local declare = require "cli.declare"

local M = {}

local WIDEST = 100 -- columns; longer lines tire the eye

local function columns()
  local ok, term = pcall(require, "term")
  return math.min(ok and term.size() or 80, WIDEST)
end

-- Breaks a text at blanks into lines of at most `width` columns.
local function wrap(text, width)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and utf8.len(line) + 1 + utf8.len(word) > width then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end

-- Paragraphs are wrapped, lines that begin with a blank are kept as they are.
local function add_paragraphs(out, text, width)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if line:find "^%s" or line == "" then
      out[#out + 1] = line
    else
      for _, part in ipairs(wrap(line, width)) do out[#out + 1] = part end
    end
  end
end

-- A list of {name, meaning} in two columns under a title.
local function add_list(out, title, entries, width)
  if #entries == 0 then return end
  local longest = 0
  for _, entry in ipairs(entries) do longest = math.max(longest, utf8.len(entry[1])) end
  longest = math.min(longest, 32)
  out[#out + 1] = ""
  out[#out + 1] = title
  local indent = (" "):rep(longest + 4)
  for _, entry in ipairs(entries) do
    local space = longest - utf8.len(entry[1])
    local line = "  " .. entry[1] .. (" "):rep(math.max(space, 0) + 2)
    for index, part in ipairs(wrap(entry[2], math.max(width - #indent, 20))) do
      if index == 1 and space >= 0 then
        out[#out + 1] = line .. part
      else
        if index == 1 then out[#out + 1] = line:gsub("%s+$", "") end
        out[#out + 1] = indent .. part
      end
    end
  end
end

local function argument_form(argument)
  local form = argument.name .. (argument.repeated and "…" or "")
  return argument.optional and "[" .. form .. "]" or form
end

local function option_form(option)
  local form = option.short and "-" .. option.short or "   "
  if option.long then form = form .. (option.short and ", " or " ") .. "--" .. option.long end
  return option.meta and form .. " " .. option.meta or form
end

local function option_meaning(option)
  local notes = {}
  if option.choices then notes[#notes + 1] = "one of " .. table.concat(option.choices, ", ") end
  if option.default ~= nil then notes[#notes + 1] = "default " .. tostring(option.default) end
  if option.repeated then notes[#notes + 1] = "may be repeated" end
  if #notes == 0 then return option.doc end
  return option.doc .. " (" .. table.concat(notes, "; ") .. ")"
end

local function usage_line(command)
  local parts = { "usage: kfhost", command.name }
  if command.commands then
    parts[#parts + 1] = "COMMAND …"
  else
    parts[#parts + 1] = "[OPTIONS]"
    for _, argument in ipairs(command.arguments) do parts[#parts + 1] = argument_form(argument) end
  end
  return table.concat(parts, " ")
end

local function subcommands(command)
  local entries = {}
  for _, name in ipairs(declare.names(command)) do
    local entry = command.commands[name]
    entries[#entries + 1] = { name, entry[1] or entry.summary or "" }
  end
  return entries
end

---The help of a command.
---@param command cli.command
---@param width? integer columns (the terminal's, 100 at most)
---@return string text ends with a newline
function M.text(command, width)
  width = width or columns()
  local out = { usage_line(command), "" }
  add_paragraphs(out, command.summary, width)
  if command.description then
    out[#out + 1] = ""
    add_paragraphs(out, command.description, width)
  end
  add_list(out, "commands:", subcommands(command), width)
  local arguments, options = {}, {}
  for _, argument in ipairs(command.arguments) do
    arguments[#arguments + 1] = { argument_form(argument), option_meaning(argument) }
  end
  for _, option in ipairs(command.options) do
    options[#options + 1] = { option_form(option), option_meaning(option) }
  end
  add_list(out, "arguments:", arguments, width)
  if not command.commands then add_list(out, "options:", options, width) end
  if command.examples then
    out[#out + 1] = ""
    out[#out + 1] = "examples:"
    for _, example in ipairs(command.examples) do out[#out + 1] = "  " .. example end
  end
  return table.concat(out, "\n") .. "\n"
end

M.list = add_list -- for cmd/help.lua
M.columns = columns

return M
