-- kfhost doctor: finds what is wrong with a Kubeflow and names the fix. It reads, and never writes.
-- Not for repairing: each finding names what does. The checks are in scripts/lib/doctor.
--   kfhost doctor --namespace team-a

local cli = require "cli"
local collect = require "doctor.collect"
local doctor = require "doctor"
local errors = require "errors"
local report = require "doctor.report"

-- What keeps the doctor from the cluster is a finding too.
local function no_connection(problem)
  return { {
    code = "connection", severity = "error", where = "cluster", what = errors.text(problem),
    why = "nothing can be looked at", fix = "kfhost -c ctx shows the contexts; --context and --kubeconfig choose one",
  } }
end

local function look()
  local ok, client, objects, refused = pcall(function()
    local client = require("kube").connect { readonly = true }
    return client, collect.all(client)
  end)
  if ok then return client, objects, refused end
  if not errors.is(client) then error(client, 0) end
  return nil, client
end

local function write(path, text)
  if path == "-" then io.stdout:write(text) else require("fs").write(path, text) end
end

local function print_report(args, findings)
  if args.html then write(args.html, report.html(findings)) end
  if args.json then io.stdout:write(report.json(findings))
  elseif args.html ~= "-" then io.stdout:write(report.text(findings)) end
  return report.exit_code(findings)
end

local function run(args)
  local client, objects, refused = look()
  if not client then return print_report(args, no_connection(objects)) end
  local about = collect.about(client)
  local findings = doctor.examine(objects, { namespace = args.namespace, version = about.version, refused = refused })
  if args.bundle then
    local made = require("doctor.support").write(client, args.bundle, {
      objects = objects, findings = findings, about = about })
    io.stderr:write(("%s: %d files, %d of them logs, %d bytes; values of secrets are only hashes in it\n"):format(
      args.bundle, made.files, made.logs, made.bytes))
  end
  return print_report(args, findings)
end

return cli.main {
  name = "doctor",
  summary = "finds what is wrong with a Kubeflow and names the fix",
  options = {
    { "-n, --namespace NAME", "only what concerns this namespace" },
    { "--json", "machine output" },
    { "--html FILE", "a page" },
    { "--bundle FILE", "a .tar.gz for a support engineer: findings, objects, logs; secrets masked" },
  },
  run = run,
} (...)
