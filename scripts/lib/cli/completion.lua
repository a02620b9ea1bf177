-- cli.completion: completion scripts for bash, zsh and fish, made from the tables of the commands.
-- Not for completing by itself: the scripts hold all names, so completing never starts kfhost.
--   io.write(completion.bash(nodes))    nodes = completion.nodes(commands)

local cli = require "cli"
local declare = require "cli.declare"

local M = {}

---@class cli.completion.node a place on the command line: what may come next
---@field path string "" or "kale" or "kale show"
---@field words {name: string, doc: string}[] the commands and the fixed values that may come next
---@field options table[] from cli.declare

local function choices_of(command)
  local words = {}
  for _, argument in ipairs(command.arguments) do
    for _, choice in ipairs(argument.choices or {}) do
      words[#words + 1] = { name = choice, doc = argument.doc }
    end
  end
  return words
end

local function add_command(nodes, path, command)
  local options = command.commands and {} or command.options
  local node = { path = path, words = choices_of(command), options = options }
  nodes[#nodes + 1] = node
  for index, name in ipairs(declare.names(command)) do
    local entry = command.commands[name]
    node.words[index] = { name = name, doc = entry[1] or "" }
    add_command(nodes, path .. " " .. name, cli.load(entry.module))
  end
end

---The places of all commands.
---@param commands table<string, cli.command> by name
---@return cli.completion.node[] nodes the first is the place before any command
function M.nodes(commands)
  local top = { path = "", words = {}, options = {} }
  local nodes, names = { top }, {}
  for name in pairs(commands) do names[#names + 1] = name end
  table.sort(names)
  for index, name in ipairs(names) do
    top.words[index] = { name = name, doc = commands[name].summary }
    add_command(nodes, name, commands[name])
  end
  return nodes
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function spellings(option)
  local list = {}
  if option.long then list[#list + 1] = "--" .. option.long end
  if option.short then list[#list + 1] = "-" .. option.short end
  return list
end

-- What may come next at a place, as one line.
local function next_words(node)
  local words = {}
  for _, word in ipairs(node.words) do words[#words + 1] = word.name end
  for _, option in ipairs(node.options) do
    for _, spelling in ipairs(spellings(option)) do words[#words + 1] = spelling end
  end
  return table.concat(words, " ")
end

-- --- bash and zsh ------------------------------------------------------------------------------

-- Two functions that both shells read: the words after a path, and the values of an option.
local function shared_functions(nodes)
  local words, values = {}, {}
  for _, node in ipairs(nodes) do
    words[#words + 1] = ("    %s) echo %s ;;"):format(quote(node.path), quote(next_words(node)))
    for _, option in ipairs(node.options) do
      if option.meta then
        local forms = {}
        for index, spelling in ipairs(spellings(option)) do
          forms[index] = quote(node.path .. " " .. spelling)
        end
        local found = quote(option.choices and table.concat(option.choices, " ") or "@files")
        values[#values + 1] = ("    %s) echo %s ;;"):format(table.concat(forms, " | "), found)
      end
    end
  end
  return ([==[
# The words that may follow a command.
_kfhost_words() {
  case "$1" in
%s
  esac
}

# The values of an option, @files for file names; nothing for an option without a value.
_kfhost_values() {
  case "$1" in
%s
  esac
}

# The command that the words name: the longest path of commands among them.
_kfhost_path() {
  local path='' word
  for word in "$@"; do
    case " $(_kfhost_words "$path") " in
      *" $word "*) case "$word" in -*) ;; *) path="${path:+$path }$word" ;; esac ;;
    esac
  done
  echo "$path"
}
]==]):format(table.concat(words, "\n"), table.concat(values, "\n"))
end

---@param nodes cli.completion.node[]
---@return string script for bash
function M.bash(nodes)
  local title = "# bash completion for kfhost, made by: kfhost completion bash\n\n"
  return title .. shared_functions(nodes) .. [==[

_kfhost() {
  local current="${COMP_WORDS[COMP_CWORD]}" path values
  path="$(_kfhost_path "${COMP_WORDS[@]:1:COMP_CWORD-1}")"
  values="$(_kfhost_values "$path ${COMP_WORDS[COMP_CWORD-1]}")"
  COMPREPLY=()
  [[ $values == @files ]] && return
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ $current == -* || $(_kfhost_words "$path") != -* ]]; then
    COMPREPLY=($(compgen -W "$(_kfhost_words "$path")" -- "$current"))
  fi
}

complete -o default -F _kfhost kfhost
]==]
end

---@param nodes cli.completion.node[]
---@return string script for zsh
function M.zsh(nodes)
  local title = "#compdef kfhost\n# zsh completion for kfhost, made by: kfhost completion zsh\n\n"
  return title .. shared_functions(nodes) .. [==[

_kfhost() {
  local command_path values
  command_path="$(_kfhost_path "${(@)words[2,CURRENT-1]}")"
  values="$(_kfhost_values "$command_path ${words[CURRENT-1]}")"
  if [[ $values == @files ]]; then
    _files
  elif [[ -n $values ]]; then
    compadd -- ${=values}
  else
    compadd -- ${=$(_kfhost_words "$command_path")}
    _files
  fi
}

compdef _kfhost kfhost
]==]
end

-- --- fish ----------------------------------------------------------------------------------------

local function fish_condition(path)
  return "-n " .. quote("test (__kfhost_path) = " .. quote(path))
end

local function fish_option(path, option)
  local parts = { "complete -c kfhost", fish_condition(path) }
  if option.short then parts[#parts + 1] = "-s " .. option.short end
  if option.long then parts[#parts + 1] = "-l " .. option.long end
  if option.choices then parts[#parts + 1] = "-x -a " .. quote(table.concat(option.choices, " ")) end
  if option.meta and not option.choices then parts[#parts + 1] = "-r" end
  parts[#parts + 1] = "-d " .. quote(option.doc)
  return table.concat(parts, " ")
end

---@param nodes cli.completion.node[]
---@return string script for fish
function M.fish(nodes)
  local out, paths = {}, {}
  for _, node in ipairs(nodes) do
    if node.path ~= "" then paths[#paths + 1] = quote(node.path) end
    for _, word in ipairs(node.words) do
      out[#out + 1] = ("complete -c kfhost %s -f -a %s -d %s"):format(
        fish_condition(node.path), quote(word.name), quote(word.doc))
    end
    for _, option in ipairs(node.options) do out[#out + 1] = fish_option(node.path, option) end
  end
  return ([==[
# fish completion for kfhost, made by: kfhost completion fish

# The command that the words before the cursor name.
function __kfhost_path
  set -l path
  for word in (commandline -opc)[2..-1]
    set -l longer (string trim "$path $word")
    if contains -- $longer %s
      set path $longer
    end
  end
  echo "$path"
end

%s
]==]):format(table.concat(paths, " "), table.concat(out, "\n"))
end

return M
