-- kfhost doctor: finds what is wrong with a Kubeflow and names the fix. It reads, and never writes.
-- Not for repairing: each finding names what does. The checks are in scripts/lib/doctor.
--   kfhost doctor --namespace team-a

local cli = require "cli"
local doctor = require "doctor"
local errors = require "errors"
local report = require "doctor.report"
local term = require "term"

local PATIENCE <const> = "30s" -- for one answer

-- What keeps the doctor from the cluster is a finding too.
local function no_connection(problem)
  return { not_checked = {}, not_installed = {}, about = {}, findings = { {
    code = "connection", severity = "error", where = "cluster", what = errors.text(problem),
    why = "nothing can be looked at",
    fix = "`kfhost -c ctx` shows the contexts; `kfhost --context NAME doctor`, or --kubeconfig FILE, chooses one",
  } } }
end

-- A line at the bottom of a terminal that says how far it is.
local function progress(args)
  if args.json or args.html == "-" or not term.shows "stderr" then return nil end
  local text = "asking the cluster what it has"
  local line = term.progress { draw = function() return { text } end }
  return line, function(kind, done, all)
    text = ("%d of %d kinds read, last: %s"):format(done, all, kind)
    line:changed()
  end
end

local function look(args)
  local line, on_kind = progress(args)
  local client
  local ok, found = pcall(function()
    client = require("kube").connect { readonly = true, timeout = args.timeout or PATIENCE }
    client.discovery:all(true) -- what was kept of it may be old
    return doctor.visit(client, { namespace = args.namespace, timeout = args.timeout or PATIENCE, on_kind = on_kind })
  end)
  if line then line:close() end
  if ok then return found, client end
  if not errors.is(found) or errors.is(found, "Cancelled") then error(found, 0) end
  return no_connection(found)
end

local function write(path, text)
  if path == "-" then io.stdout:write(text) else require("fs").write(path, text) end
end

local function bundle(args, client, found)
  local made = require("doctor.support").write(client, args.bundle, found)
  io.stderr:write(("%s: %d files, %d of them logs, %d bytes; values of secrets are only hashes in it\n"):format(
    args.bundle, made.files, made.logs, made.bytes))
end

local function run(args)
  local found, client = look(args)
  if args.bundle and client then bundle(args, client, found) end
  if args.html then write(args.html, require("doctor.page").html(found)) end
  if args.json then io.stdout:write(report.json(found))
  elseif args.html ~= "-" then io.stdout:write(report.text(found)) end
  return report.exit_code(found)
end

return cli.main {
  name = "doctor",
  summary = "finds what is wrong with a Kubeflow and names the fix",
  options = {
    { "-n, --namespace NAME", "only what concerns this namespace" },
    { "--json", "machine output" },
    { "--html FILE", "a page" },
    { "--bundle FILE", "a .tar.gz for a support engineer: findings, objects, logs; secrets masked" },
    { "--timeout TIME", "how long one answer may take: 30s without it" },
  },
  run = run,
} (...)
