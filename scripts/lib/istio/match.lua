-- How Istio compares: texts with wildcards, addresses, paths, identities.
-- Not for whole policies: see authorization.
--   match.text("abc*", "abcd")   match.address("10.0.0.0/8", "10.1.2.3")   match.path("/a/{*}", "/a/b")
local M = {}

---A text with a wildcard at one end; "*" is any text but the empty one.
---@param pattern string
---@param value string?
---@return boolean
function M.text(pattern, value)
  if value == nil then return false end
  if pattern == "*" then return value ~= "" end
  if pattern:sub(-1) == "*" then return value:sub(1, #pattern - 1) == pattern:sub(1, -2) end
  if pattern:sub(1, 1) == "*" then
    local ending = pattern:sub(2)
    return #value >= #ending and value:sub(#value - #ending + 1) == ending
  end
  return value == pattern
end

---A text in which * stands for anything, anywhere.
---@param pattern string
---@param value string?
---@return boolean
function M.glob(pattern, value)
  if value == nil then return false end
  local escaped = pattern:gsub("[^%w*]", "%%%0"):gsub("%*", ".*")
  return value:find("^" .. escaped .. "$") ~= nil
end

-- --- addresses ------------------------------------------------------------------------------------------

local function bits_of_v4(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if not a then return nil end
  local bytes = {}
  for _, part in ipairs { a, b, c, d } do
    if #part > 3 or tonumber(part) > 255 then return nil end
    bytes[#bytes + 1] = math.tointeger(tonumber(part))
  end
  return bytes
end

local function groups_of(text)
  local groups = {}
  if text == "" then return groups end
  for group in (text .. ":"):gmatch "([^:]*):" do
    local v4 = group:find(".", 1, true) and bits_of_v4(group)
    if v4 then
      groups[#groups + 1] = v4[1] << 8 | v4[2]
      groups[#groups + 1] = v4[3] << 8 | v4[4]
    elseif group:find "^%x%x?%x?%x?$" then
      groups[#groups + 1] = tonumber(group, 16)
    else
      return nil
    end
  end
  return groups
end

local function bytes_of_v6(text)
  local left, right = text:match "^(.-)::(.*)$"
  local front = groups_of(left or text)
  local back = right and groups_of(right) or {}
  if not front or not back then return nil end
  local missing = 8 - #front - #back
  if (left and missing < 1) or (not left and missing ~= 0) then return nil end
  for _ = 1, left and missing or 0 do front[#front + 1] = 0 end
  table.move(back, 1, #back, #front + 1, front)
  local bytes = {}
  for i, group in ipairs(front) do bytes[2 * i - 1], bytes[2 * i] = group >> 8, group & 255 end
  return bytes
end

---The bytes of an address.
---@param text string
---@return integer[]? # 4 or 16; nil for what is none
function M.bytes(text)
  if text:find(":", 1, true) then return bytes_of_v6(text) end
  return bits_of_v4(text)
end

---The bytes of a block and how many bits count.
---@param text string "10.0.0.0/8" or an address
---@return integer[]? bytes, integer? length
function M.block(text)
  local address, length = text:match "^(.-)/(%d+)$"
  local bytes = M.bytes(address or text)
  if not bytes then return nil end
  local most = #bytes * 8
  length = length and math.tointeger(tonumber(length)) or most
  if length > most then return nil end
  return bytes, length
end

---Whether an address lies in a block.
---@param block string
---@param address string?
---@return boolean
function M.address(block, address)
  local wanted, length = M.block(block)
  local bytes = address and M.bytes(address)
  if not wanted or not bytes or #wanted ~= #bytes then return false end
  for i = 1, #bytes do
    local rest = math.min(math.max(length - (i - 1) * 8, 0), 8)
    local mask = (0xff << (8 - rest)) & 0xff
    if bytes[i] & mask ~= wanted[i] & mask then return false end
  end
  return true
end

-- --- paths -------------------------------------------------------------------------------------------------

local function remove_dots(path)
  local parts, out = {}, {}
  for part in path:gmatch "[^/]*" do parts[#parts + 1] = part end
  for i, part in ipairs(parts) do
    local last = i == #parts
    if part == ".." then
      if #out > 1 then out[#out] = nil end
      if last then out[#out + 1] = "" end
    elseif part == "." then
      if last then out[#out + 1] = "" end
    else
      out[#out + 1] = part
    end
  end
  return table.concat(out, "/")
end

local UNRESERVED = "^[%w%-._~]$"

---A path as the proxy sees it before it compares.
---@param path string
---@param how "NONE"|"BASE"|"MERGE_SLASHES"|"DECODE_AND_MERGE_SLASHES"|nil the mesh's normalization; BASE
---@return string
function M.normalize(path, how)
  path = path:match "^[^?#]*"
  if how == "NONE" then return path end
  if how == "DECODE_AND_MERGE_SLASHES" then
    path = path:gsub("%%2[fF]", "/"):gsub("%%5[cC]", "\\")
  end
  path = path:gsub("\\", "/"):gsub("%%(%x%x)", function(digits)
    local character = string.char(tonumber(digits, 16))
    return character:find(UNRESERVED) and character or nil
  end)
  path = remove_dots(path)
  if how == "MERGE_SLASHES" or how == "DECODE_AND_MERGE_SLASHES" then path = path:gsub("//+", "/") end
  return path
end

---Whether a text is a path template.
---@param pattern string
---@return boolean
function M.is_template(pattern)
  return pattern:find("{*}", 1, true) ~= nil or pattern:find("{**}", 1, true) ~= nil
end

---A path: a template ({*} one segment, {**} the rest) or a text with a wildcard at one end.
---@param pattern string
---@param path string?
---@return boolean
function M.path(pattern, path)
  if not M.is_template(pattern) then return M.text(pattern, path) end
  if path == nil then return false end
  local escaped = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0")
  escaped = escaped:gsub("{%*%*}", "\1"):gsub("{%*}", "\2"):gsub("%*", "%%*"):gsub("\1", ".*"):gsub("\2", "[^/]+")
  return path:find("^" .. escaped .. "$") ~= nil
end

-- --- identities ----------------------------------------------------------------------------------------------

---The parts of "trust-domain/ns/NAMESPACE/sa/ACCOUNT".
---@param principal string?
---@return string? trust_domain, string? namespace, string? account
function M.identity(principal)
  if not principal then return nil end
  return principal:match "^(.-)/ns/([^/]*)/sa/([^/]*)$"
end

-- A trust domain that the mesh knows by several names stands for all of them.
local function aliases(pattern, options)
  local domain, rest = pattern:match "^([^/]*)(/[^/]*/[^/]*/[^/]*/[^/]*)$"
  if not domain then return { pattern } end
  local own = options.trust_domain or "cluster.local"
  local names = { own }
  for _, alias in ipairs(options.trust_domain_aliases or {}) do names[#names + 1] = alias end
  local known = domain == "cluster.local"
  for _, name in ipairs(names) do known = known or M.text(domain, name) end
  if not known then return { pattern } end
  -- One that is written by its end stays as it is written for the names that it fits.
  local by_end, list = domain:sub(1, 1) == "*", {}
  for i, name in ipairs(names) do list[i] = by_end and M.text(domain, name) and pattern or name .. rest end
  return list
end

---@param pattern string of a policy
---@param principal string? nil for a peer without identity
---@param options {trust_domain: string?, trust_domain_aliases: string[]?}
---@return boolean
function M.principal(pattern, principal, options)
  for _, name in ipairs(aliases(pattern, options)) do
    if M.text(name, principal) then return true end
  end
  return false
end

---"ACCOUNT" or "NAMESPACE/ACCOUNT"; the first means the policy's own namespace.
---@param pattern string
---@param principal string?
---@param namespace string of the policy
---@return boolean
function M.service_account(pattern, principal, namespace)
  local _, peer_namespace, peer_account = M.identity(principal)
  if not peer_namespace then return false end
  local wanted_namespace, account = pattern:match "^(.-)/(.+)$"
  return peer_namespace == (wanted_namespace or namespace) and peer_account == (account or pattern)
end

-- A pattern for tokens as one for the issuer and one for the subject: it is split at its last slash. A wildcard without
-- a slash is about the subject when it stands in front, else about the issuer.
local function split_principal(pattern)
  local issuer, subject = pattern:match "^(.*)/([^/]*)$"
  if issuer then return issuer, subject end
  if pattern:sub(1, 1) == "*" then return "*", pattern end
  if pattern:sub(-1) == "*" then return pattern, "*" end
  return pattern, ""
end

---The identity of a token, "issuer/subject"; the two are compared apart.
---@param pattern string
---@param claims table?
---@return boolean
function M.request_principal(pattern, claims)
  if not claims or type(claims.iss) ~= "string" or type(claims.sub) ~= "string" then return false end
  local issuer, subject = split_principal(pattern)
  if not pattern:find("/", 1, true) then return M.text(issuer, claims.iss) and M.text(subject, claims.sub) end
  -- A wildcard in front is about the issuer alone, one at the end about the subject; elsewhere there is none.
  if pattern:sub(1, 1) == "*" then return M.text(issuer, claims.iss) and subject == claims.sub end
  if pattern:sub(-1) == "*" then return issuer == claims.iss and M.text(subject, claims.sub) end
  return issuer == claims.iss and subject == claims.sub
end

---A trust domain; one that the mesh knows by several names stands for all of them.
---@param pattern string
---@param domain string?
---@param options {trust_domain: string?, trust_domain_aliases: string[]?}
---@return boolean
function M.trust_domain(pattern, domain, options)
  local names = { options.trust_domain or "cluster.local" }
  for _, alias in ipairs(options.trust_domain_aliases or {}) do names[#names + 1] = alias end
  local known, here = false, false
  for _, name in ipairs(names) do known, here = known or name == pattern, here or name == domain end
  return known and here or M.text(pattern, domain)
end

return M
