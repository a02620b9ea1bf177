-- lab.scan: paths of a JSON text in the order of the document, which decoded tables no longer know.
-- Not for decoding: the text has been read by json.decode; this runs only when something is to be reported.
--   scan.duplicates('{"a":1,"a":2}') -> {"a"}

local M = {}

local function skip_blank(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

-- The place after a string that starts at a quote.
local function skip_string(text, at)
  at = at + 1
  while true do
    local found = text:find('[\\"]', at)
    if not found then return #text + 1 end
    if text:byte(found) == 34 then return found + 1 end
    at = found + 2
  end
end

local walk

local function walk_object(text, at, path, visit)
  local seen = {}
  at = skip_blank(text, at + 1)
  while at <= #text and text:byte(at) ~= 125 do
    local after = skip_string(text, at)
    local name = text:sub(at + 1, after - 2)
    local inner = path == "" and name or path .. "." .. name
    visit(inner, seen[name])
    seen[name] = true
    at = skip_blank(text, after)
    at = walk(text, skip_blank(text, at + 1), inner, visit)
    at = skip_blank(text, at)
    if text:byte(at) == 44 then at = skip_blank(text, at + 1) end
  end
  return at + 1
end

local function walk_array(text, at, path, visit)
  local index = 0
  at = skip_blank(text, at + 1)
  while at <= #text and text:byte(at) ~= 93 do
    at = walk(text, at, ("%s[%d]"):format(path, index), visit)
    index = index + 1
    at = skip_blank(text, at)
    if text:byte(at) == 44 then at = skip_blank(text, at + 1) end
  end
  return at + 1
end

walk = function(text, at, path, visit)
  local byte = text:byte(at)
  if byte == 123 then return walk_object(text, at, path, visit) end
  if byte == 91 then return walk_array(text, at, path, visit) end
  if byte == 34 then return skip_string(text, at) end
  return text:find("[,%]} \t\r\n]", at) or #text + 1
end

---@param text string JSON
---@return string[] paths of names that an object has twice
function M.duplicates(text)
  local list = {}
  walk(text, skip_blank(text, 1), "", function(path, again)
    if again then list[#list + 1] = path end
  end)
  return list
end

---@param text string JSON, or anything else: then the paths stay as they are
---@param paths string[]
---@return string[] the same paths in the order of the document
function M.in_order(text, paths)
  if not text:match "^%s*{" then
    table.sort(paths)
    return paths
  end
  local wanted, list = {}, {}
  for _, path in ipairs(paths) do wanted[path] = true end
  walk(text, skip_blank(text, 1), "", function(path)
    if wanted[path] then
      list[#list + 1] = path
      wanted[path] = nil
    end
  end)
  for _, path in ipairs(paths) do
    if wanted[path] then list[#list + 1] = path end
  end
  return list
end

return M
