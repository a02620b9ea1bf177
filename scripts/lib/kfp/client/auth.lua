-- How a client shows who it is: token file (read again for each request), token, cookie, identity header, Dex.
-- Not for what it may do: see diagnose.
--   local headers = auth.headers(client)
local errors = require "errors"
local fs = require "fs"

local M = {}

M.TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"

local function read_token(path)
  local text, problem = fs.try.read(path)
  if not text then errors.raise { code = "Auth", message = "the token cannot be read", path = path,
    cause = problem } end
  local token = text:match "^%s*(.-)%s*$"
  if token == "" then errors.raise { code = "Auth", message = "the token file is empty", path = path } end
  return token
end

---Checks what the options say; an empty identity would kill the server.
---@param options table
function M.check(options)
  if options.user ~= nil and tostring(options.user):match "^%s*$" then
    errors.raise { code = "Auth", message = "the user is empty: an empty identity kills the server" }
  end
end

---The token file that holds when nothing else is said.
---@param environment fun(name: string): string?
---@return string?
function M.default_token_file(environment)
  local path = environment "KF_PIPELINES_SA_TOKEN_PATH" or M.TOKEN_FILE
  return fs.exists(path) and path or nil
end

---The headers of the next request.
---@param client table
---@return table<string, string> # raises "Auth"
function M.headers(client)
  local options, headers = client.options, {}
  local token = options.token or (options.token_file and read_token(options.token_file))
  if token then headers.Authorization = "Bearer " .. token end
  if options.user then headers[options.user_header or "kubeflow-userid"] = options.user end
  local cookie = options.cookie or (client.jar and M.cookies(client.jar))
  if cookie and cookie ~= "" then headers.Cookie = cookie end
  return headers
end

-- --- cookies ------------------------------------------------------------------------------------------------

---@param jar table<string, string>
---@return string
function M.cookies(jar)
  local parts = {}
  for name, value in pairs(jar) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  return table.concat(parts, "; ")
end

local function keep_cookies(jar, response)
  for line in (response.headers["set-cookie"] or ""):gmatch "[^\n]+" do
    local name, value = line:match "^%s*([^=;%s]+)=([^;]*)"
    local gone = line:lower():find "max%-age=0" or line:find "[Ee]xpires=[^;]*1970"
    if name then jar[name] = not gone and value or nil end
  end
end

-- --- Dex ---------------------------------------------------------------------------------------------------------

local function absolute(base, location)
  if location:find "^https?://" then return location end
  local origin = base:match "^(https?://[^/?#]+)"
  if location:sub(1, 1) == "/" then return origin .. location end
  return (base:match "^(https?://[^?#]*/)" or origin .. "/") .. location
end

local ENTITIES = { amp = "&", quot = '"', lt = "<", gt = ">", ["#34"] = '"', ["#39"] = "'", ["#43"] = "+" }

local function unescape(text)
  return (text:gsub("&(#?%w+);", function(name) return ENTITIES[name] end))
end

-- Follows redirects, keeps cookies; the last answer and its address.
local function visit(client, jar, request)
  for _ = 1, 15 do
    request.headers = { Cookie = M.cookies(jar), ["Content-Type"] = request.kind }
    local response = client.transport(request)
    keep_cookies(jar, response)
    local location = response.headers.location
    if response.status < 300 or response.status >= 400 or not location then return response, request.url end
    request = { method = "GET", url = absolute(request.url, location), timeout = request.timeout }
  end
  errors.raise { code = "Auth", message = "the login leads from one address to the next without an end" }
end

-- The form of the connector: the page may first ask which one.
local function find_form(client, jar, response, url, connector)
  for _ = 1, 2 do
    local form = response.body:match '<form[^>]-method="[pP][oO][sS][tT]"[^>]*>' or response.body:match "<form[^>]*>"
    if form and response.body:find '<input[^>]-name="password"' then
      return absolute(url, unescape(form:match 'action="([^"]*)"' or url))
    end
    local link
    for href in response.body:gmatch 'href="([^"]+)"' do
      if href:find("/auth/" .. connector .. "[?&/]") or href:find("connector_id=" .. connector, 1,
        true) then link = href end
    end
    if not link then break end
    response, url = visit(client, jar, { method = "GET", url = absolute(url, unescape(link)) })
  end
  errors.raise { code = "Auth", message = ("there is no login form for the connector '%s'"):format(connector) }
end

---Logs in at Dex by its form, as a browser does, and keeps all cookies.
---@param client table
---@param dex {user: string, password: string, connector: string?}
---@return table<string, string> jar # raises "Auth"
function M.login(client, dex)
  local escape = require "kfp.client.query".escape
  local jar = {}
  local response, url = visit(client, jar, { method = "GET", url = client.endpoint .. "/" })
  local action = find_form(client, jar, response, url, dex.connector or "local")
  local after = visit(client, jar, {
    method = "POST", url = action, kind = "application/x-www-form-urlencoded",
    body = ("login=%s&password=%s"):format(escape(dex.user), escape(dex.password)),
  })
  if after.body:find '<input[^>]-name="password"' or after.status >= 400 then
    errors.raise { code = "Auth", message = ("Dex refuses user '%s' or the password"):format(dex.user) }
  end
  return jar
end

return M
