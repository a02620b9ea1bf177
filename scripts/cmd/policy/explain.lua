-- kfhost policy explain: which policies would act on an object, and why, and what they know of it.
local cli = require "cli"

-- What the policies look at, as the cluster has it now.
local function look(set, client)
  local rights = require "policy.rights"
  local objects = {}
  for _, list in ipairs { rights.reads(set.description), rights.follows(set.description) } do
    for _, kind in ipairs(list) do
      require "policy.command".each(client, kind, nil, function(object) objects[#objects + 1] = object end)
    end
  end
  return objects
end

-- The objects that are asked about: from files, or by name from the cluster.
local function asked(args, client)
  local command = require "policy.command"
  if #args.object == 0 then return command.objects(args.filename or {}) end
  local objects = {}
  for i, text in ipairs(args.object) do
    local kind, name = text:match "^([^/]+)/(.+)$"
    if not kind then cli.usage(("--object is KIND/NAME, not '%s'"):format(text)) end
    objects[i] = client:get(kind, name, { namespace = args.namespace })
  end
  return objects
end

local function print_answer(answer)
  print(answer.object)
  for _, one in ipairs(answer.policies) do
    print(("  %-3s %-8s %s%s"):format(one.matches and "yes" or "no", one.kind, one.policy,
      one.why and ": " .. one.why or ""))
  end
  for _, line in ipairs(answer.said) do print("  " .. line) end
end

return cli.main {
  name = "policy explain",
  summary = "Says which policies would act on an object, and why, and what they know of it.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "-f, --filename FILE", "objects; standard input without it", repeated = true },
    { "--object KIND/NAME", "of the cluster, instead of a file", repeated = true },
    { "-n, --namespace NAME", "where --object is" },
    { "--cluster", "look at the cluster, too: labels of namespaces, who uses what" },
    { "--operation NAME", "what is done", choices = { "CREATE", "UPDATE", "DELETE" }, default = "CREATE" },
    { "--user NAME", "who asks" },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
  },
  run = function(args)
    local command, trial, json = require "policy.command", require "policy.trial", require "json"
    local set = command.load(args)
    local client = (args.cluster or #args.object > 0) and require "kube".connect { readonly = true }
    local objects = asked(args, client)
    local known = client and look(set, client) or {}
    set:know(table.move(objects, 1, #objects, #known + 1, known))
    local answers = json.array {}
    for i, object in ipairs(objects) do
      local review = trial.review_of(set, object, args.operation, args.user)
      answers[i] = { object = command.name_of(object), policies = json.array(set:explain(review)),
        said = json.array(set:say(object)) }
    end
    if client then client:close() end
    if args.json then
      print(json.encode(answers, { sort = true }))
    else
      for _, answer in ipairs(answers) do print_answer(answer) end
    end
    return 0
  end,
}(...)
