-- kfhost policy explain: which policies would act on an object, and why.
local cli = require "cli"

return cli.main {
  name = "policy explain",
  summary = "Says which policies would act on an object, and why.",
  arguments = { { "FILE…", "policy files, or names of bundled policies" } },
  options = {
    { "-f, --filename FILE", "objects; standard input without it", repeated = true },
    { "--operation NAME", "what is done", choices = { "CREATE", "UPDATE", "DELETE" }, default = "CREATE" },
    { "--user NAME", "who asks" },
    require "policy.command".CONFIG,
    { "--json", "machine output" },
  },
  run = function(args)
    local command, trial = require "policy.command", require "policy.trial"
    local json = require "json"
    local set = command.load(args)
    local answers = json.array {}
    for _, object in ipairs(command.objects(args.filename or {})) do
      local review = trial.review_of(set, object, args.operation, args.user)
      answers[#answers + 1] = { object = command.name_of(object), policies = json.array(set:explain(review)) }
    end
    if args.json then
      print(json.encode(answers, { sort = true }))
      return 0
    end
    for _, answer in ipairs(answers) do
      print(answer.object)
      for _, one in ipairs(answer.policies) do
        print(("  %-3s %-8s %s%s"):format(one.matches and "yes" or "no", one.kind, one.policy,
          one.why and ": " .. one.why or ""))
      end
    end
    return 0
  end,
}(...)
