-- cli.declare: turns the short form in which commands are written into one that is easy to walk.
-- Not for values: nothing here has seen a command line.
--   declare.option{ "-o, --output FILE", "where to" } -> {short="o", long="output", meta="FILE", …}

local M = {}

-- Every command has these; a command may say more about them by declaring them itself.
local COMMON = {
  { "--plain", "no colours, no moving lines" },
  { "--debug", "show where in the scripts an error was raised" },
  { "-h, --help", "show this text" },
}

local function key_of(name)
  return (name:lower():gsub("%-", "_"))
end

---@param spec table {"-s, --long META", "what it does", type=, choices=, default=, repeated=, min=}
---@return table option {short, long, key, meta, doc, …}; misuse raises
function M.option(spec)
  local text = spec[1]
  local option = {
    short = text:match "^%-(%w)",
    long = text:match "%-%-(%w[%w-]*)",
    meta = text:match "[ =]([^%s,-][^%s,]*)$",
    doc = spec[2] or "",
  }
  if not (option.short or option.long) then error("no option in '" .. text .. "'", 0) end
  for name, value in pairs(spec) do
    if type(name) == "string" then option[name] = value end
  end
  option.key = option.key or key_of(option.long or option.short)
  return option
end

---How the option is written: "-o, --output FILE".
---@param option table
---@return string
function M.spelling(option)
  return option.long and "--" .. option.long or "-" .. option.short
end

---@param spec table {"NAME" | "[NAME]" | "NAME…" | "[NAME…]", "what it is", type=, choices=, verbatim=}
---  verbatim: from its first word on nothing is an option
---@return table argument {name, key, doc, optional, repeated, …}
function M.argument(spec)
  local name = spec[1]:gsub("[%[%]]", ""):gsub("…", ""):gsub("%.%.%.", "")
  local argument = {
    name = name,
    key = spec.key or key_of(name),
    doc = spec[2] or "",
    optional = spec[1]:find("[", 1, true) ~= nil,
    repeated = spec[1]:find("…", 1, true) ~= nil or spec[1]:find("...", 1, true) ~= nil,
  }
  for field, value in pairs(spec) do
    if type(field) == "string" then argument[field] = value end
  end
  return argument
end

local function declares(options, long)
  for _, option in ipairs(options) do
    if option.long == long then return true end
  end
  return false
end

local function all_options(specs)
  local options = {}
  for _, spec in ipairs(specs or {}) do options[#options + 1] = M.option(spec) end
  for _, spec in ipairs(COMMON) do
    local option = M.option(spec)
    if not declares(options, option.long) then options[#options + 1] = option end
  end
  return options
end

---@param spec table as for cli.main
---@return table command {name, summary, description, options, arguments, commands, examples, run}
function M.command(spec)
  if type(spec.name) ~= "string" then error("a command needs a name", 0) end
  if (spec.run ~= nil) == (spec.commands ~= nil) then
    error(spec.name .. ": a command has either run or commands", 0)
  end
  local command = {
    name = spec.name,
    summary = spec.summary or "",
    description = spec.description,
    examples = spec.examples,
    commands = spec.commands,
    run = spec.run,
    on_misuse = spec.on_misuse,
    options = all_options(spec.options),
    arguments = {},
  }
  for _, argument in ipairs(spec.arguments or {}) do
    command.arguments[#command.arguments + 1] = M.argument(argument)
  end
  return command
end

---The names of a command's subcommands, sorted.
---@param command table
---@return string[]
function M.names(command)
  local names = {}
  for name in pairs(command.commands or {}) do names[#names + 1] = name end
  table.sort(names)
  return names
end

return M
