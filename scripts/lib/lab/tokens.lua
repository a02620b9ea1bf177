-- lab.tokens: signed tokens of service accounts (JWT, HMAC with SHA-256) and their claims.
-- Not for tokens of users: those are random texts that lab.auth compares.
--   local t = tokens.new(secret); local text = t:issue(claims); t:read(text) -> claims?

local hash = require "hash"
local json = require "json"

local M = {}

local BLOCK = 64

local function from_hex(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function xor_all(text, value)
  return (text:gsub(".", function(c) return string.char(c:byte() ~ value) end))
end

local function to_url(bytes)
  return (hash.base64(bytes):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }))
end

local function from_url(text)
  text = text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })
  return hash.unbase64(text .. ("="):rep(-#text % 4))
end

---@class lab.Tokens
local tokens = {}
tokens.__index = tokens

---@param secret string? hexadecimal; made when it is not given
---@return lab.Tokens
function M.new(secret)
  secret = secret or hash.random_hex(32)
  local key = from_hex(secret)
  key = key .. ("\0"):rep(BLOCK - #key)
  return setmetatable({ secret = secret, inner = xor_all(key, 0x36), outer = xor_all(key, 0x5c), known = {} }, tokens)
end

local function sign(self, text)
  local inner = from_hex(hash.sha256(self.inner .. text))
  return to_url(from_hex(hash.sha256(self.outer .. inner)))
end

local HEADER = to_url(json.encode({ alg = "HS256", typ = "JWT", kid = "kfhost-lab" }, { sort = true }))

---@param claims table
---@return string token
function tokens:issue(claims)
  local text = HEADER .. "." .. to_url(json.encode(claims, { sort = true }))
  return text .. "." .. sign(self, text)
end

---@param token string
---@return table? claims nil when it was not signed here
function tokens:read(token)
  local known = self.known[token]
  if known then return known end
  local text, signature = token:match "^([%w_-]+%.[%w_-]+)%.([%w_-]+)$"
  if not text or sign(self, text) ~= signature then return nil end
  local ok, claims = pcall(function() return json.decode(from_url(text:match "%.(.*)$")) end)
  if not ok then return nil end
  self.known[token] = claims
  return claims
end

return M
