-- kfhost completion SHELL: prints a script that completes kfhost's command lines.
local cli = require "cli"

return cli.main {
  name = "completion",
  summary = "Prints a completion script for a shell.",
  description = "Bash: add  source <(kfhost completion bash)  to ~/.bashrc.\n" ..
    "Zsh: write it to a file _kfhost in a directory of $fpath.\n" ..
    "Fish: write it to ~/.config/fish/completions/kfhost.fish.",
  arguments = { { "SHELL", "for which shell", choices = { "bash", "zsh", "fish" } } },
  run = function(args)
    local completion = require "cli.completion"
    local nodes = completion.nodes(require("cli.commands").all())
    io.stdout:write(completion[args.shell](nodes))
  end,
}(...)
