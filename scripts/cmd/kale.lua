-- kfhost kale: a tagged notebook as a pipeline.
local cli = require "cli"

return cli.main {
  name = "kale",
  summary = "Turns tagged notebooks into pipelines: shows, checks, compiles and runs them.",
  commands = {
    tag = { "show and change the tags of cells", module = "cmd.kale.tag" },
    compare = { "show runs side by side", module = "cmd.kale.compare" },
    jupyter = { "install the extension for Jupyter: %load_ext kfhost", module = "cmd.kale.jupyter" },
    logs = { "print what the steps of a run wrote", module = "cmd.kale.logs" },
    convert = { "turn a notebook into another form", module = "cmd.kale.convert" },
    show = { "show the pipeline that a notebook makes", module = "cmd.kale.show" },
    check = { "list everything that is wrong in a notebook", module = "cmd.kale.check" },
    compile = { "write a notebook as a KFP v2 pipeline", module = "cmd.kale.compile" },
    submit = { "send a notebook to Kubeflow Pipelines and follow its run", module = "cmd.kale.submit" },
    tune = { "find the best parameters of a notebook by a Katib experiment", module = "cmd.kale.tune" },
    trial = { "run one trial of an experiment (what a trial's pod runs)", module = "cmd.kale.trial" },
    run = { "run a notebook as a pipeline on this machine", module = "cmd.kale.run" },
  },
}(...)
