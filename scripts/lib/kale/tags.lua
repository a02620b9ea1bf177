-- One tag of a cell, taken apart: what it means, or what is wrong with it.
-- Not for what cells have together: see kale.cells and kale.options.
--   tags.read "limit:memory:4Gi" -> { kind = "limit", key = "memory", value = "4Gi", tag = "limit:memory:4Gi" }
local quantity = require "kale.quantity"

local M = {}

M.SPECIAL = {
  ["skip"] = "skip", ["imports"] = "imports", ["functions"] = "functions",
  ["pipeline-parameters"] = "parameters", ["pipeline-metrics"] = "metrics",
}

M.KNOWN = "imports, functions, pipeline-parameters, pipeline-metrics, skip, step:NAME, prev:NAME, notebook:NAME, "
  .. "image: cache: report: packages: limit: request: retry: timeout: env: secret: volume: node: label: annotation:"

---@class kale.Tag
---@field kind string "special", or the tag's first word ("block" is "step")
---@field tag string as written
---@field value any
---@field key string? of what has keys: resources, labels, environment …

-- --- values ----------------------------------------------------------------------------------------------

local function is_name(text) return text:find "^[_a-z][_a-z0-9]*$" ~= nil end

-- A key of labels and annotations: [PREFIX/]NAME, letters or digits at both ends.
local function is_key(text)
  local prefix, name = text:match "^([^/]+)/([^/]+)$"
  local function part(segment, longest)
    return #segment <= longest and segment:find "^[%w]" and segment:find "[%w]$" and not segment:find "[^%w_.-]"
  end
  if prefix then return part(prefix, 253) and part(name, 63) end
  return part(text, 63)
end

local function is_label_value(text)
  return text == "" or #text <= 63 and text:find "^%w" and text:find "%w$" and not text:find "[^%w_.-]"
end

local function is_subdomain(text)
  return #text <= 253 and text:find "^[a-z0-9]" and text:find "[a-z0-9]$" and not text:find "[^a-z0-9.-]"
end

local function is_environment(text) return text:find "^[%a_][%w_]*$" ~= nil end

-- "90", "90s", "5m", "2h", "1h30m": whole seconds, or nil.
local function seconds_of(text)
  if text:find "^%d+$" then return math.tointeger(text) end
  local total, rest = 0, text
  for number, unit in text:gmatch "(%d+)([hms])" do
    total = total + number * ({ h = 3600, m = 60, s = 1 })[unit]
    rest = rest:gsub("^" .. number .. unit, "")
  end
  return rest == "" and total or nil
end
M.seconds_of = seconds_of

-- KEY:VALUE or KEY=VALUE; the value may hold either mark.
local function key_value(text)
  local key, value = text:match "^([^:=]+)[:=](.*)$"
  return key, value
end

-- --- kinds -----------------------------------------------------------------------------------------------

-- Each gives the tag's fields, or nil and what it wants instead.
local kinds = {}

function kinds.image(text)
  if text ~= "" and not text:find "%s" then return { value = text } end
  return nil, "image:NAME"
end

local function switch(word)
  return function(text)
    if text == "enabled" or text == "disabled" then return { value = text == "enabled" } end
    return nil, word .. ":enabled or " .. word .. ":disabled"
  end
end
kinds.cache, kinds.report = switch "cache", switch "report"

local function resource(word)
  return function(text)
    local key, value = text:match "^([_%a%d./-]+)[:=]([%w.]+)$"
    if not key then return nil, word .. ":RESOURCE:AMOUNT, for instance " .. word .. ":memory:4Gi" end
    local amount = quantity.read(value)
    if not amount or amount < 0 then return nil, "an amount as Kubernetes writes it, for instance 500m, 2 or 4Gi" end
    return { key = key, value = value }
  end
end
kinds.limit, kinds.request = resource "limit", resource "request"

function kinds.annotation(text)
  local key, value = key_value(text)
  if key and is_key(key) then return { key = key, value = value } end
  return nil, "annotation:KEY:VALUE, KEY as Kubernetes allows it"
end

function kinds.label(text)
  local key, value = key_value(text)
  if key and is_key(key) and is_label_value(value) then return { key = key, value = value } end
  return nil, "label:KEY:VALUE, both as Kubernetes allows them"
end

function kinds.node(text)
  local key, value = key_value(text)
  if key and is_key(key) and is_label_value(value) then return { key = key, value = value } end
  return nil, "node:LABEL:VALUE, a label of the nodes"
end

function kinds.env(text)
  local key, value = key_value(text)
  if key and is_environment(key) then return { key = key, value = value } end
  return nil, "env:NAME:VALUE"
end

function kinds.secret(text)
  local name, key, env = text:match "^([^:]+):([^:]+):([^:]+)$"
  if name and is_subdomain(name) and key:find "^[%w._-]+$" and is_environment(env) then
    return { key = env, value = { name = name, key = key } }
  end
  return nil, "secret:NAME:KEY:VARIABLE"
end

---Whether Kubernetes takes a path for one to mount a volume at.
---@param path any
---@return boolean
function M.is_mount_path(path)
  return type(path) == "string" and path:sub(1, 1) == "/" and not path:find "[:%c]"
    and not (path .. "/"):find("/../", 1, true)
end

function kinds.volume(text)
  local claim, path = text:match "^([^:]+):(/.*)$"
  if claim and is_subdomain(claim) and M.is_mount_path(path) then return { key = path, value = claim } end
  return nil, "volume:CLAIM:/PATH"
end

function kinds.retry(text)
  local count, wait, factor = text:match "^(%d+):?([%dhms]*):?([%d.]*)$"
  local seconds = wait == "" and 0 or wait and seconds_of(wait)
  count, factor = math.tointeger(count), factor == "" and 2 or tonumber(factor)
  if count and count <= 100 and seconds and factor and factor >= 1 then
    return { value = { count = count, wait = seconds, factor = factor } }
  end
  return nil, "retry:TIMES[:WAIT[:FACTOR]], for instance retry:3:10s"
end

function kinds.timeout(text)
  local seconds = seconds_of(text)
  if seconds and seconds > 0 then return { value = seconds } end
  return nil, "timeout:TIME, for instance timeout:90s or timeout:2h"
end

function kinds.packages(text)
  local list = {}
  for word in (text .. ","):gmatch "%s*([^,]-)%s*," do
    if not word:find "^[%w]" then return nil, "packages:NAME[==VERSION],…" end
    list[#list + 1] = word
  end
  return { value = list }
end

local function name_of(text)
  if text == "" then return { kind = "empty" } end
  if is_name(text) then return { value = text } end
  return nil, "letters a-z, digits and _, not beginning with a digit"
end
kinds.step, kinds.block, kinds.prev, kinds.notebook = name_of, name_of, name_of, name_of

-- Words that Kale has for steps of a notebook: these are options, the others are about the cell.
M.OPTION = {}
for word in ([[image cache report limit request annotation label node env secret volume retry timeout packages]])
  :gmatch "%S+" do M.OPTION[word] = true end

---Takes a tag apart.
---@param tag any
---@return kale.Tag? # nil for a wrong one
---@return string? code of the diagnostic
---@return table? fields of it
function M.read(tag)
  if type(tag) ~= "string" then return nil, "tag-not-text", {} end
  if M.SPECIAL[tag] then return { kind = "special", tag = tag, value = M.SPECIAL[tag] } end
  local word, text = tag:match "^([%w_-]+):(.*)$"
  local read = word and kinds[word]
  if not read then return nil, "tag-unknown", { tag = tag, known = M.KNOWN } end
  local result, wanted = read(text)
  if not result then
    if read == name_of then return nil, "step-name", { name = text } end
    return nil, "tag-value", { tag = tag, wanted = wanted }
  end
  result.kind = result.kind or (word == "block" and "step" or word)
  result.tag = tag
  return result
end

return M
