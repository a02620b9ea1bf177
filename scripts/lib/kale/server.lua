-- kale.server: how the commands that need Pipelines are told where they are and who asks.
-- Not for what is asked: see kfp.
--   options = server.options { { "--quiet", "…" } }, run = function(args) local k = server.connect(args) … end

local errors = require "errors"

local M = {}

local OPTIONS = {
  { "--endpoint URL", "of the KFP API; KF_PIPELINES_ENDPOINT, the cluster or a kubeconfig without it" },
  { "--namespace NAME", "the profile's namespace" },
  { "--token-file FILE", "a token to show, read again for each request; KF_PIPELINES_SA_TOKEN_PATH without it" },
  { "--user NAME", "who asks, for a server that is reached behind the gateway: as by a port-forward" },
  { "--dex-user NAME", "log in at Dex; the password stands in KFHOST_DEX_PASSWORD" },
  { "--dex-connector NAME", "of Dex, where there are several", choices = { "local", "ldap" } },
}

---The options of a command, with those that say which server.
---@param options table[] of cli.main
---@return table[] options
function M.options(options)
  local all = table.move(OPTIONS, 1, #OPTIONS, 1, {})
  return table.move(options, 1, #options, #all + 1, all)
end

local function dex_of(args)
  if not args.dex_user then return nil end
  local password = os.getenv "KFHOST_DEX_PASSWORD"
  if not password or password == "" then
    errors.raise { code = "Usage", message = "--dex-user needs the password in KFHOST_DEX_PASSWORD" }
  end
  return { user = args.dex_user, password = password, connector = args.dex_connector }
end

-- The namespace of the kubeconfig's context, where there is a kubeconfig.
local function own_namespace()
  local client = errors.try(require "kube").connect { log = function() end }
  return client and client.namespace
end

---@param args table of a command that has these options
---@param namespace string? where none is said
---@return kfp.Client # raises "Auth", "Usage"
function M.connect(args, namespace)
  if args.namespace == "" then errors.raise { code = "Usage", message = "--namespace is empty" } end
  local k = require "kfp".connect { endpoint = args.endpoint, namespace = args.namespace or namespace,
    token_file = args.token_file, user = args.user, dex = dex_of(args) }
  k.namespace = k.namespace or own_namespace()
  return k
end

return M
