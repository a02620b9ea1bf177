-- kfhost lab fault: makes a running lab misbehave.
local cli = require "cli"

return cli.main {
  name = "lab fault",
  summary = "Makes a running lab misbehave, so that clients can show what they do then.",
  description = [[
Kinds of faults:
  error        requests are answered with --status (429 and 503 with --retry-after)
  slow         requests wait --delay first
  reset        connections break instead of an answer
  watch-drop   watches end after their next event
  watch-silent watches stay open and say nothing more
  watch-half   watches end in the middle of an event
  expire       history is forgotten: old versions are 410 from now on
  clock-skew   the lab's clock is --delay ahead
  pod-delay    pods start --delay later
  node-loss    the node named by --match is lost
  clear        ends all faults]],
  arguments = { { "KIND", "what happens", choices = { "error", "slow", "reset", "watch-drop", "watch-silent",
    "watch-half", "expire", "clock-skew", "pod-delay", "node-loss", "clear" } } },
  options = {
    { "--match PATTERN", "only paths that this Lua pattern finds, or the name of a node" },
    { "--method METHOD", "only requests of this method" },
    { "--count N", "only the next N requests; without it until clear" },
    { "--status N", "of error: 500 without it" },
    { "--retry-after N", "seconds that an error says in Retry-After" },
    { "--delay SECONDS", "of slow, clock-skew and pod-delay" },
    { "--kubeconfig FILE", "that of the lab; without it $KUBECONFIG" },
  },
  run = function(args)
    require("lab.command").control(args.kubeconfig or os.getenv "KUBECONFIG", "fault", {
      kind = args.kind, match = args.match, method = args.method, count = tonumber(args.count),
      status = tonumber(args.status), retry_after = tonumber(args.retry_after), delay = tonumber(args.delay),
    })
  end,
}(...)
