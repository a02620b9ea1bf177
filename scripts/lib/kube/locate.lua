-- kube.locate: the line on which a value of a YAML text stands, for messages about its meaning.
-- Not a parser: block style with one key a line, as kubeconfigs are written; else there is no answer.
--   locate.line(text, { "users", 2, "user", "token" }) -> 17

local M = {}

-- The lines of a text as {number, indent, body}; blank ones and comments are left out.
local function lines_of(text)
  local lines, number = {}, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    local indent, body = line:match "^( *)(.*)$"
    if body ~= "" and not body:find "^#" and not body:find "^%-%-%-" then
      lines[#lines + 1] = { number = number, indent = #indent, body = body }
    end
  end
  return lines
end

local function key_of(body)
  return body:match '^"([^"]*)"%s*:' or body:match "^'([^']*)'%s*:" or body:match "^([^%s:#][^:]*)%s*:"
end

-- Where the value under a key at `from` ends: list items may stand at the key's own indent.
local function value_end(lines, from, to)
  local indent = lines[from].indent
  for at = from + 1, to do
    local line = lines[at]
    if line.indent < indent or (line.indent == indent and not line.body:find "^%-") then return at - 1 end
  end
  return to
end

-- The lines of item `wanted`, its dash taken for blanks.
local function item(lines, from, to, wanted)
  local indent, count, begin = lines[from].indent, 0, nil
  for at = from, to + 1 do
    local line = lines[at]
    local starts = at <= to and line.indent == indent and line.body:find "^%-"
    if begin and (starts or at > to) then return begin, at - 1 end
    if starts then
      count = count + 1
      if count == wanted then begin = at end
    end
  end
end

local function without_dash(line)
  local dash, rest = line.body:match "^(%-%s*)(.*)$"
  return { number = line.number, indent = line.indent + #dash, body = rest }
end

local function find(lines, from, to, path, depth)
  if from > to then return nil end
  local step = path[depth]
  if type(step) == "number" then
    local first, last = item(lines, from, to, step)
    if not first then return nil end
    if depth == #path then return lines[first].number end
    lines[first] = without_dash(lines[first])
    return find(lines, first, last, path, depth + 1) or lines[first].number
  end
  local indent = lines[from].indent
  for at = from, to do
    if lines[at].indent == indent and key_of(lines[at].body) == step then
      if depth == #path then return lines[at].number end
      return find(lines, at + 1, value_end(lines, at, to), path, depth + 1) or lines[at].number
    end
  end
end

---@param text string
---@param path (string|integer)[] keys, and places in lists counted from 1
---@return integer? line of the value or of what is nearest above it; nil when it cannot be told
function M.line(text, path)
  local lines = lines_of(text)
  return find(lines, 1, #lines, path, 1)
end

return M
