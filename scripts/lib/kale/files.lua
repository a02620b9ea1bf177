-- Files that a cell writes under a name that stands in it: in a cluster they stay in the step's container.
-- Not for files that are there before: see kale.plan.
--   files.written(parsed, call, "to_csv") -> { ["out.csv"] = true }
local nodes = require "kale.nodes"

local text_of, child, children = nodes.text, nodes.child, nodes.children

local M = {}

local NONE = {}

---Whether a text looks like a file's path that is relative.
---@param text string
---@return boolean
function M.is_name(text)
  return #text < 256 and text:find "^[%w_.][%w_./ -]*%.%w+$" ~= nil and not text:find "^%d*%.%d*$"
end

-- The string constants below a node that look like files.
local function names_below(parsed, node, found)
  local tree = parsed.tree
  for at = node, tree.next[node] - 1 do
    if tree.kind[at] == "string_content" then
      local text = text_of(parsed, at)
      if M.is_name(text) then found[text] = true end
    end
  end
  return found
end

-- Whether open() is called to write.
local function opens_to_write(parsed, arguments)
  local tree, number = parsed.tree, 0
  for argument in children(tree, arguments) do
    if tree.named[argument] then
      number = number + 1
      local text = text_of(parsed, argument)
      local is_mode = number == 2 and tree.kind[argument] == "string" or text:find "^mode%s*="
      if is_mode and text:find "[wax+][bt+]*['\"]$" then return true end
    end
  end
  return false
end

local function is_writer(name)
  return name:find "^to_%a" or name:find "^save" or name:find "^dump" or name:find "^write_%a" or name == "imwrite"
    or name == "sink_parquet" or name == "sink_csv"
end

---@param parsed table
---@param call integer
---@param name string? what is called
---@return table<string, boolean>
function M.written(parsed, call, name)
  if not name then return NONE end
  local tree, arguments = parsed.tree, child(parsed.tree, call, "arguments")
  if not arguments then return NONE end
  if name == "open" then return opens_to_write(parsed, arguments) and names_below(parsed, arguments, {}) or NONE end
  if name == "writefile" then
    local file = text_of(parsed, arguments):match "^%('%-?a? ?([^' ]+)'"
    return file and M.is_name(file) and { [file] = true } or NONE
  end
  if not is_writer(name) then return NONE end
  local found = names_below(parsed, arguments, {})
  if name:find "^write_" then names_below(parsed, child(tree, call, "function"), found) end
  return found
end

return M
