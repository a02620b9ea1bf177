-- lab.kfp.fetched: pipelines that are named by an address, fetched as the server does: from where it may, and no more.
-- Not for what is in them (lab.kfp.packages).
--   local text, name = fetched.read(state, "https://github.com/x/y.yaml", "Failed to create a pipeline")

local errors = require "errors"
local failure = require "lab.kfp.failure"
local http = require "http"
local packages = require "lab.kfp.packages"

local M = {}

local MOST, LONGEST, REDIRECTS = 32 * 1024 * 1024, "30s", 10
local REFUSED = "Pipeline URL validation failed"
local PORTS = { https = "443", http = "80" }
local DOMAINS = { "storage.googleapis.com", "s3.amazonaws.com", "github.com", "raw.githubusercontent.com" }
local REASONS = { [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [410] = "Gone", [429] = "Too Many Requests", [500] = "Internal Server Error", [502] = "Bad Gateway",
  [503] = "Service Unavailable", [504] = "Gateway Timeout" }

local function on(name) return os.getenv(name) == "true" end

---What the server's own variables allow: where pipelines may be fetched from.
---@return {checked: boolean, http: boolean, domains: string[]}
function M.rules()
  local domains = {}
  for _, domain in ipairs(DOMAINS) do domains[#domains + 1] = domain end
  for domain in (os.getenv "PIPELINE_URL_ALLOWED_DOMAINS" or ""):gmatch "[^,%s]+" do domains[#domains + 1] = domain end
  return { checked = os.getenv "PIPELINE_URL_VALIDATION_ENABLED" ~= "false", http = on "PIPELINE_URL_ALLOW_HTTP",
    domains = domains }
end

local function is_listed(host, domains)
  for _, domain in ipairs(domains) do
    local pattern = domain:gsub("[%-%.%+%[%]%(%)%$%^%%%?]", "%%%0"):gsub("%*", ".*")
    if host:find("^" .. pattern .. "$") then return true end
  end
  return false
end

-- An address of this machine or of a network that is nobody else's business, written as one.
local function is_private(host)
  local a, b = host:match "^(%d+)%.(%d+)%.%d+%.%d+$"
  a, b = tonumber(a), tonumber(b)
  if not a then return host == "localhost" or host:find(":", 1, true) ~= nil end
  return a == 0 or a == 10 or a == 127 or a == 172 and b >= 16 and b < 32 or a == 192 and b == 168
    or a == 169 and b == 254
end

---@param url string
---@param rules table of M.rules
---@return boolean
function M.may_fetch(url, rules)
  if not rules.checked then return true end
  local scheme, rest = url:match "^(%a+)://([^/?#]*)"
  scheme = (scheme or ""):lower()
  if scheme ~= "https" and not (scheme == "http" and rules.http) then return false end
  local authority = rest:match "([^@]*)$"
  local host, port = authority:match "^(%b[]):?(%d*)$"
  if not host then host, port = authority:match "^([^:]*):?(%d*)$" end
  if not host or port ~= "" and port ~= PORTS[scheme] then return false end
  host = host:lower():gsub("%.$", ""):gsub("[%[%]]", "")
  return is_listed(host, rules.domains) and not is_private(host)
end

local function get(url)
  return http.request { url = url, timeout = LONGEST, max_body = MOST, proxy = "" }
end

local function check(url, rules, before)
  if not M.may_fetch(url, rules) then failure.invalid(before, REFUSED) end
end

-- The answer of where an address leads to in the end.
local function follow(fetch, url, rules, before)
  local at = url
  for _ = 1, REDIRECTS do
    check(at, rules, before)
    local ok, response = pcall(fetch, at)
    if not ok and rules.checked and errors.text(response):find("resolve host", 1, true) then
      failure.invalid(before, REFUSED) -- the server looks up where an address leads before it asks there
    elseif not ok then
      failure.internal(("%s: InternalServerError: error downloading the pipeline spec from %s: Get %q: %s"):format(
        before, url, at, errors.text(response)))
    end
    local location = response.headers and response.headers.location
    if response.status < 300 or response.status > 399 or not location then return response end
    at = location:find "^%a+://" and location or at:match "^%a+://[^/]*" .. location
  end
  return failure.invalid(before, "too many redirects")
end

---The pipeline at an address.
---@param state table of lab.kfp.state; fetch(url) instead of http
---@param url string?
---@param before string what is being done
---@return string text # raises what the server answers
function M.read(state, url, before)
  if not url or not url:find "^%a[%w+.-]*://" and not url:find "^/" then
    failure.invalid(before, "invalid pipeline spec URL: " .. (url or ""))
  end
  local response = follow(state.fetch or get, url, state.url_rules or M.rules(), before)
  if response.status ~= 200 then
    failure.invalid(before, ("error fetching pipeline spec from %s - request returned %d %s"):format(url,
      response.status, response.reason or REASONS[response.status] or ""))
  end
  local name = url:match "([^/?#]*)[^/]*$"
  local text = packages.read(name, response.body)
  if not text then failure.invalid(before, "Failed to read a pipeline spec file") end
  return text
end

return M
