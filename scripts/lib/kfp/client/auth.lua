-- How a client shows who it is: token file (read again for each request), token, cookie, identity header.
-- Not for what it may do: see diagnose. Cookies come from dex.
--   local headers = auth.headers(client)
local endpoint = require "kfp.client.endpoint"
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
  local path = endpoint.in_pod(environment "KF_PIPELINES_SA_TOKEN_PATH" or M.TOKEN_FILE, environment)
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

---@param jar table<string, string>
---@return string
function M.cookies(jar)
  local parts = {}
  for name, value in pairs(jar) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  return table.concat(parts, "; ")
end

return M
