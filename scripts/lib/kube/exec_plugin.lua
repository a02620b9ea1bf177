-- kube.exec_plugin: asks a credential plugin (client.authentication.k8s.io v1, v1beta1) for credentials.
-- Not for keeping them (kube.auth does), and never for a script that nobody trusts.
--   local credential = exec_plugin.run(spec, context); print(credential.token, credential.expires)

local errors = require "errors"
local fs = require "fs"
local json = require "json"
local proc = require "proc"
local term = require "term"
local time = require "kube.time"

local M = {}

local GROUP = "client.authentication.k8s.io/"
local VERSIONS = { [GROUP .. "v1"] = true, [GROUP .. "v1beta1"] = true }

local function fail(context, format, ...)
  errors.raise {
    code = "Auth", message = ("user '%s': "):format(context.user_name or "") .. format:format(...),
    context = context.context, server = context.server, user = context.user_name,
  }
end

-- --- who may be asked -------------------------------------------------------------------------------

-- Whether `allowed` ("allow", "deny", a name, or a list of names) lets the command run.
local function is_allowed(command, allowed)
  if allowed == nil or allowed == "allow" or allowed == true then return true end
  if allowed == "deny" or allowed == false then return false end
  for _, name in ipairs(type(allowed) == "table" and allowed or { allowed }) do
    if name == command or name == fs.basename(command) then return true end
  end
  return false
end

local WRITABLE_BY_OTHERS <const> = 2 -- of the permission bits

local function check_allowed(spec, context, allowed)
  if not is_allowed(spec.command, allowed) then
    fail(context, "its credential plugin '%s' is not allowed here (--exec-plugins)", spec.command)
  end
  local stat = context.path and fs.stat(context.path)
  if stat and stat.mode & WRITABLE_BY_OTHERS ~= 0 then
    fail(context, "%s can be written by others, so its plugin '%s' is not run (chmod o-w)", context.path,
      spec.command)
  end
end

-- --- running one --------------------------------------------------------------------------------------

local function check_spec(spec, context)
  if type(spec.command) ~= "string" or spec.command == "" then fail(context, "exec.command is missing") end
  if not VERSIONS[spec.apiVersion] then
    fail(context, "exec.apiVersion '%s' is none of %sv1 and %sv1beta1", tostring(spec.apiVersion), GROUP, GROUP)
  end
  local mode = spec.interactiveMode
  if mode == nil and spec.apiVersion == GROUP .. "v1" then fail(context, "exec.interactiveMode is missing") end
  mode = mode or "IfAvailable"
  if mode ~= "Never" and mode ~= "IfAvailable" and mode ~= "Always" then
    fail(context, "exec.interactiveMode '%s' is none of Never, IfAvailable, Always", tostring(mode))
  end
  return mode
end

local function is_interactive(mode, spec, context)
  local terminal = term.is_terminal "stdin"
  if mode == "Always" and not terminal then
    fail(context, "its plugin '%s' must ask something, and standard input is no terminal", spec.command)
  end
  return mode ~= "Never" and terminal
end

-- What the plugin reads from KUBERNETES_EXEC_INFO.
local function exec_info(spec, context, interactive)
  local info = { apiVersion = spec.apiVersion, kind = "ExecCredential", spec = { interactive = interactive } }
  if spec.provideClusterInfo then
    info.spec.cluster = {
      server = context.server, ["tls-server-name"] = context.server_name,
      ["insecure-skip-tls-verify"] = context.insecure, ["proxy-url"] = context.proxy,
      ["certificate-authority-data"] = context.ca and require("hash").base64(context.ca),
    }
  end
  return json.encode(info)
end

local function start(spec, context, interactive)
  local options = { spec.command, stdin = interactive and "inherit" or "null", stderr = "inherit", env = {} }
  for _, argument in ipairs(spec.args or {}) do options[#options + 1] = argument end
  for _, entry in ipairs(spec.env or {}) do options.env[entry.name] = entry.value end
  options.env.KUBERNETES_EXEC_INFO = exec_info(spec, context, interactive)
  local result, problem = errors.try(proc).run(options)
  if not result then
    local hint = problem.code == "ENOENT" and type(spec.installHint) == "string" and "\n" .. spec.installHint or ""
    fail(context, "its plugin '%s' cannot be started: %s%s", spec.command, problem.message, hint)
  end
  if result.code ~= 0 then
    fail(context, "its plugin '%s' ended with %s", spec.command,
      result.code and "exit code " .. result.code or "signal " .. result.signal)
  end
  return result.stdout
end

-- The answer, of which nothing may appear in a message: it holds the credential.
local function read(output, spec, context)
  local value = json.try.decode(output)
  if type(value) ~= "table" or value.kind ~= "ExecCredential" then
    fail(context, "its plugin '%s' did not print an ExecCredential", spec.command)
  end
  if value.apiVersion ~= spec.apiVersion then
    fail(context, "its plugin '%s' answers in apiVersion '%s', not %s", spec.command, tostring(value.apiVersion),
      spec.apiVersion)
  end
  local status = value.status
  if type(status) ~= "table" then fail(context, "its plugin '%s' gave no status", spec.command) end
  local token = status.token ~= json.null and status.token or nil
  local certificate, key = status.clientCertificateData, status.clientKeyData
  if (certificate == nil) ~= (key == nil) then
    fail(context, "its plugin '%s' gave only one of certificate and key", spec.command)
  end
  if not token and not certificate then
    fail(context, "its plugin '%s' gave neither a token nor a certificate", spec.command)
  end
  local expires = status.expirationTimestamp
  return {
    token = token, certificate = certificate, key = key,
    expires = type(expires) == "string" and time.parse(expires) or nil,
  }
end

---Runs the plugin of a user.
---@param spec table the user's field `exec`
---@param context kube.Context
---@param allowed string|string[]|nil "allow", "deny" or names
---@return {token: string?, certificate: string?, key: string?, expires: number?} # expires: seconds since 1970
---raises {code="Auth"}
function M.run(spec, context, allowed)
  check_allowed(spec, context, allowed)
  local interactive = is_interactive(check_spec(spec, context), spec, context)
  return read(start(spec, context, interactive), spec, context)
end

return M
