-- What can be wrong with a notebook: code -> severity, message, hint. {field} in a text is replaced by the
-- finding's field. Not for telling it: see kale.diagnostics. docs/guide/diagnostics.md has an example of each.
--   local severity, message, hint = table.unpack(require "kale.codes"["undefined-name"])
return {
  ["notebook"] = { "error", "{message}" },
  ["usage"] = { "error", "{message}" },
  ["syntax"] = { "error", "{message}", "{near}" },
  ["language"] = { "error", "the notebook's language is {name}; only Python becomes a pipeline" },
  ["no-steps"] = {
    "error", "no cell is tagged as a step",
    "tag a cell: kfhost kale tag, or step:NAME in the cell's tags",
  },
  ["tag-unknown"] = { "error", "unknown tag '{tag}'", "known tags: {known}" },
  ["tag-not-text"] = { "error", "a tag is no text" },
  ["tag-without-step"] = { "error", "tag '{tag}' needs a step in the same cell", "add step:NAME" },
  ["tag-ignored"] = { "warning", "tag '{tag}' is ignored in a cell tagged '{special}'" },
  ["tag-empty"] = { "warning", "tag '{tag}' names nothing and is left out" },
  ["tag-value"] = { "error", "tag '{tag}' is not understood", "write {wanted}" },
  ["tag-contradicts"] = { "error", "tag '{tag}' contradicts another tag of the step" },
  ["tag-on-text"] = { "warning", "tag '{tag}' has no meaning on a cell that is no code" },
  ["tag-repeated"] = {
    "warning", "tag '{tag}' is ignored where step '{step}' goes on",
    "put it on the step's first cell",
  },
  ["step-name"] = {
    "error", "'{name}' is no name of a step",
    "letters a-z, digits and _, not beginning with a digit",
  },
  ["several-steps"] = { "error", "a cell is part of one step only" },
  ["step-twice"] = { "error", "'{name}' is a step and a notebook" },
  ["cell-after-reference"] = {
    "error", "this code comes after a notebook, and no step follows that it could belong to",
    "tag it step:NAME",
  },
  ["notebook-path"] = {
    "error", "the cell says of which notebook '{name}' is nowhere", "set its metadata notebook_path",
  },
  ["notebook-missing"] = { "error", "there is no notebook {path}", "the path is relative to this notebook" },
  ["notebook-itself"] = { "error", "a notebook is no part of itself" },
  ["notebook-cycle"] = { "error", "notebooks name each other in a circle: {chain}" },
  ["notebook-many"] = { "error", "more than {most} notebooks are parts of this one" },
  ["notebook-wrong"] = { "error", "{path} cannot be read: {message}" },
  ["notebook-code"] = { "error", "a cell that stands for a notebook has no code of its own" },
  ["notebook-order"] = { "error", "'{name}' needs what only comes from a notebook that needs it" },
  ["resource-unknown"] = {
    "warning", "KFP has no place for the resource '{name}': it is left out",
    "cpu, memory, or a device such as nvidia.com/gpu",
  },
  ["resource-request"] = {
    "warning", "a device is limited, not requested: '{name}' is left out", "limit:{name}:1",
  },
  ["resource-second"] = { "error", "a step has one kind of device, '{name}' is the second" },
  ["prev-unknown"] = { "error", "no step '{name}' before this cell", "steps so far: {known}" },
  ["metrics-not-last"] = {
    "error", "a step follows the cell with the pipeline's metrics",
    "move the metrics cell to the end",
  },
  ["parameter-not-constant"] = {
    "error", "a parameter is one name and a constant",
    "for instance: rate = 0.1",
  },
  ["parameter-repeated"] = { "error", "parameter '{name}' is there twice" },
  ["parameter-large"] = {
    "warning", "parameter '{name}' is too large to arrive exactly: KFP's numbers have 53 bits",
    "hand it over as a text",
  },
  ["metric-not-print"] = { "error", "a metrics cell has lines print(name) only" },
  ["metric-unknown"] = { "error", "no step makes the metric '{name}'" },
  ["cell-dropped"] = {
    "warning", "this cell is before the first step and is left out",
    "tag it step:NAME, imports, functions or skip",
  },
  ["effects-repeated"] = { "warning", "this statement of the {kind} cell runs again in every step" },
  ["undefined-name"] = { "error", "'{name}' is not defined anywhere before", "{near}" },
  ["shell-history"] = {
    "error", "'{name}' is what the interactive shell keeps of cells that ran before: a step does not have it",
    "give the value a name in the cell that makes it",
  },
  ["undefined-in-function"] = {
    "warning", "'{name}', which a function uses, is not defined anywhere",
    "{near}",
  },
  ["missing-edge"] = {
    "error", "'{name}' is made in step '{from}', which does not come before this step",
    "add the tag prev:{from}",
  },
  ["name-deleted"] = {
    "error", "'{name}' is made in step '{from}', and del takes it away before this step",
    "leave the name, or make it again",
  },
  ["two-producers"] = {
    "error", "'{name}' is made both in step '{from}' and in step '{other}', and neither comes after the other",
    "add prev:{from} to '{other}', or use two names",
  },
  ["lost-change"] = {
    "warning", "'{name}' may be changed in step '{from}', in another branch: that change is not seen here",
    "join the branches, or return a new value",
  },
  ["function-by-value"] = {
    "warning", "'{name}' crosses to another step by value, as its {why} may have effects",
    "steps must then run the same minor version of Python",
  },
  ["not-saved"] = {
    "warning", "'{name}' of step '{from}' is {what}, which cannot be handed to another step",
    "make it in the step that uses it, or hand on what it gives",
  },
  ["state-stays"] = {
    "warning", "{what} is changed here and stays as it was elsewhere: step '{later}' does not see it",
    "do it in each step, or in a cell tagged imports or functions",
  },
  ["file-stays"] = {
    "warning", "the file '{text}' is written here: in a cluster, step '{later}' does not have it",
    "hand on the value instead, or keep the file on a volume",
  },
  ["class-state"] = {
    "warning", "attributes of class '{name}' are set where it is used: objects in other steps may not see them",
    "keep the state in objects, or set it in the class",
  },
  ["dynamic-names"] = {
    "warning", "{name} looks names up by their text: which ones this step needs cannot be known",
    "use the names themselves",
  },
  ["asks-person"] = {
    "warning", "{name}() asks a person, and a step has nobody to ask", "make it a parameter of the pipeline",
  },
  ["star-import"] = {
    "warning", "names of 'import *' cannot be known: what is not found elsewhere is taken from it",
  },
  ["magic-unknown"] = { "warning", "'{text}' is a magic that works only where IPython is in the step's image" },
  ["relative-path"] = {
    "warning", "'{text}' is a file beside the notebook: in a cluster it is not in the step's image",
  },
  ["metadata-ignored"] = { "warning", "notebook metadata '{key}' has no effect: {why}" },
  ["metadata-unknown"] = { "warning", "notebook metadata '{key}' is not known and has no effect" },
  ["metadata-value"] = { "error", "notebook metadata '{key}' is not {wanted}" },
  ["pipeline-name"] = {
    "warning", "'{name}' is no name that every cluster takes; the file says '{legal}'",
    "letters a-z, digits and '-' between them, at most 124",
  },
  ["default-wrong"] = { "error", "'{tag}' in steps_defaults is no option of a step" },
  ["volume-rok"] = {
    "warning", "volume '{name}' was filled from a snapshot of Rok ('{key}'), which is gone: the new claim is empty",
    "type clone fills it from the claim of that name, type pvc uses a claim that is there",
  },
  ["volume-clone"] = {
    "warning", "volume '{name}' is a clone of the claim of that name, made by its storage driver; Rok is gone",
    "a driver that cannot clone refuses it; type pvc uses the claim itself",
  },
  ["volume-wrong"] = { "error", "volume '{name}' of the notebook's metadata is not right", "it needs {wanted}" },
  ["secret-not-here"] = {
    "warning", "secret '{name}' gives {variable} on a cluster; nothing gives it here",
    "--secret {name}=FILE (KEY=VALUE lines, a folder with a file per key, or a manifest), or set {variable}",
  },
  ["secret-key"] = { "warning", "what stands for secret '{name}' has no key '{key}', which gives {variable}" },
  ["volume-not-here"] = {
    "warning", "nothing can be mounted at {path} here: {why}",
    "the claim is a folder in .kfhost/runs/volumes; read its path from a variable that KALE_VOLUME_… or env: sets",
  },
  ["only-in-cluster"] = { "warning", "without effect on this machine: {words}" },
}
