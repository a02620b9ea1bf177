-- kfhost policy apply: objects in, mutated objects or a diff out.
local cli = require "cli"

-- A Secret in a diff: which values change, but not what they are.
local function text_of(object)
  local shown = object.kind == "Secret" and require "kube.mask".object(object) or object
  return require "yaml".encode(shown)
end

local function write_result(result, args, object)
  if args.diff then
    local before, after = text_of(object), text_of(result.object)
    local name = require "policy.command".name_of(object)
    if before ~= after then
      io.write(require "diff".unified(before, after, { from = name, to = name .. " (by policies)" }))
    end
  elseif result.allowed then
    io.write("---\n", require "yaml".encode(result.object))
  end
end

return cli.main {
  name = "policy apply",
  summary = "Passes objects through policies and writes what they become.",
  description = "Objects come from files or standard input (YAML or JSON, several documents, lists); warnings and "
    .. "refusals go to standard error. Exit code 1 when an object is refused.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "-f, --filename FILE", "objects; standard input without it", repeated = true },
    { "--diff", "write a diff instead of the objects" },
    { "--operation NAME", "CREATE or UPDATE", choices = { "CREATE", "UPDATE" }, default = "CREATE" },
    { "--user NAME", "who asks" },
    require "policy.command".CONFIG,
    { "--json", "machine output: a line per object" },
  },
  run = function(args)
    local command, trial = require "policy.command", require "policy.trial"
    local set = command.load(args)
    local objects = command.objects(args.filename or {})
    local namespaces = {}
    for _, object in ipairs(objects) do
      if object.kind == "Namespace" then namespaces[#namespaces + 1] = object end
    end
    set:know(namespaces)
    local refused = 0
    for _, object in ipairs(objects) do
      local result = trial.apply(set, object, { operation = args.operation, user = args.user })
      for _, warning in ipairs(result.warnings) do
        io.stderr:write(("warning: %s: %s\n"):format(command.name_of(object), warning))
      end
      if not result.allowed then
        refused = refused + 1
        io.stderr:write(("refused: %s: %s\n"):format(command.name_of(object), result.message))
      end
      if args.json then print(require "json".encode(result, { sort = true }))
      else write_result(result, args, object) end
    end
    return refused > 0 and 1 or 0
  end,
}(...)
