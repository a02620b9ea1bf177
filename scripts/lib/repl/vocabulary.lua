-- repl.vocabulary: the words of the REPL as a table, and the Lua that each word line stands for.
-- Not for doing anything: what the Lua calls is in repl.session and the rooms of words beside it.
--   vocabulary.new():translate "get pvc data yaml" -> 'get("pvc", "data", {output = "yaml"})'

local errors = require "errors"
local words = require "repl.words"

local M = {}

-- --- the table --------------------------------------------------------------------------------------
-- A word: { group, arguments, summary, kind = it lists a kind, call = Lua name, flags, formats, raw }
-- A flag: "-n NAMESPACE" = the option it sets; without a second word it sets true.

local WHERE = { ["-n NAMESPACE"] = "namespace", ["-A"] = "all_namespaces" }
local FILTERS = {
  ["-l SELECTOR"] = "labels", ["--fields SELECTOR"] = "fields", ["--sort COLUMN"] = "sort",
  ["--where LUA"] = "where", ["--columns PATHS"] = "columns", ["--limit N"] = "limit", ["--no-header"] = "no_header",
  ["--match REGEX"] = "match", ["--without REGEX"] = "without", ["--fuzzy TEXT"] = "fuzzy",
}
local FORMATS = { wide = true, yaml = true, json = true, kyaml = true, name = true, csv = true, lua = true }

local function merged(...)
  local all = {}
  for _, map in ipairs { ... } do
    for key, value in pairs(map) do all[key] = value end
  end
  return all
end

local LISTING = merged(WHERE, FILTERS, { ["-o FORMAT"] = "output", ["-w"] = "watch" })

local function listing(kind, summary)
  return {
    group = "Objects", arguments = "[NAME…] [FORM]", kind = kind, lists = true, flags = LISTING,
    formats = FORMATS, filters = true,
    summary = summary or ("lists %s; FORM: wide yaml json name csv"):format(kind),
  }
end

local LISTS = {
  "pods", "nodes", "namespaces", "services", "endpoints", "events", "configmaps", "secrets", "serviceaccounts",
  "persistentvolumeclaims", "persistentvolumes", "storageclasses", "deployments", "statefulsets", "daemonsets",
  "replicasets", "jobs", "cronjobs", "roles", "rolebindings", "quotas", "crds", "profiles", "notebooks",
  "poddefaults", "trials", "workflows",
}
local KIND_OF = { quotas = "resourcequotas", crds = "customresourcedefinitions" }

local WORDS = {
  get = {
    group = "Objects", arguments = "KIND [NAME…] [FORM]", flags = LISTING, formats = FORMATS,
    summary = "lists objects, or shows one as YAML", filters = true,
  },
  describe = { group = "Objects", arguments = "KIND/NAME…", flags = WHERE,
    summary = "object, events, owners, children" },
  why = { group = "Objects", arguments = "KIND/NAME", flags = WHERE, summary = "why it is pending or fails" },
  tree = { group = "Objects", arguments = "KIND/NAME", flags = WHERE, summary = "its owners and what it owns" },
  ["used-by"] = { group = "Objects", arguments = "KIND/NAME", flags = WHERE, call = "used_by",
    summary = "who uses a claim, secret, config or account" },
  watch = {
    group = "Objects", arguments = "KIND [NAME…]", filters = true,
    flags = merged(LISTING, { ["--for SECONDS"] = "seconds", ["--count N"] = "count" }),
    formats = FORMATS, summary = "a listing that keeps itself up to date", prints = "value",
  },
  logs = {
    group = "Streams", arguments = "POD… [CONTAINER]", summary = "what containers printed", prints = true,
    flags = merged(WHERE, { ["-f"] = "follow", ["-p"] = "previous", ["-c CONTAINER"] = "container",
      ["--tail N"] = "tail", ["--since TIME"] = "since", ["-l SELECTOR"] = "labels", ["--grep REGEX"] = "grep",
      ["--timestamps"] = "timestamps", ["--all-containers"] = "all_containers" }),
  },
  exec = { group = "Streams", arguments = "POD COMMAND…", summary = "runs a command in a container", greedy = 1,
    prints = true,
    flags = merged(WHERE, { ["-c CONTAINER"] = "container", ["-t"] = "tty" }) },
  ["port-forward"] = { group = "Streams", arguments = "POD LOCAL:REMOTE", call = "port_forward", flags = WHERE,
    summary = "a local port to a pod's, in the background" },
  forwards = { group = "Streams", arguments = "", summary = "the ports that are forwarded" },
  ["can-i"] = { group = "Rights", arguments = "VERB KIND [NAME]", call = "can_i", flags = WHERE,
    summary = "may I do that" },
  whoami = { group = "Rights", arguments = "", summary = "who the server takes me for" },
  ns = { group = "Place", arguments = "[NAME]", summary = "shows or changes the namespace" },
  ctx = { group = "Place", arguments = "[NAME]", summary = "shows or changes the context" },
  edit = { group = "Changes", arguments = "KIND/NAME", flags = WHERE, summary = "changes an object in $EDITOR" },
  apply = { group = "Changes", arguments = "-f FILE", summary = "server-side apply of a file's objects",
    flags = merged(WHERE, { ["-f FILE"] = "file", ["--force"] = "force", ["-y"] = "yes" }) },
  scale = { group = "Changes", arguments = "KIND/NAME N", summary = "changes the number of replicas",
    flags = merged(WHERE, { ["-y"] = "yes" }) },
  restart = { group = "Changes", arguments = "KIND/NAME", summary = "starts the pods of a workload anew",
    flags = merged(WHERE, { ["-y"] = "yes" }) },
  delete = { group = "Changes", arguments = "KIND/NAME…", summary = "deletes objects, after a question",
    flags = merged(WHERE, { ["-y"] = "yes" }) },
  patch = { group = "Changes", arguments = "KIND/NAME YAML", summary = "changes the parts that are given",
    flags = merged(WHERE, { ["--type TYPE"] = "type", ["-y"] = "yes" }) },
  label = { group = "Changes", arguments = "KIND/NAME KEY=VALUE KEY-", summary = "sets labels, or removes them",
    flags = merged(WHERE, { ["-y"] = "yes" }) },
  annotate = { group = "Changes", arguments = "KIND/NAME KEY=VALUE KEY-", summary = "the same for annotations",
    flags = merged(WHERE, { ["-y"] = "yes" }) },
  rollout = { group = "Changes", arguments = "WHAT KIND/NAME", flags = merged(WHERE, { ["-y"] = "yes",
    ["--to REVISION"] = "to", ["--timeout TIME"] = "timeout" }), prints = "value",
    summary = "status history undo pause resume restart" },
  cordon = { group = "Changes", arguments = "NODE…", flags = { ["-y"] = "yes" }, summary = "no new pods for a node" },
  uncordon = { group = "Changes", arguments = "NODE…", flags = { ["-y"] = "yes" }, summary = "new pods again" },
  drain = { group = "Changes", arguments = "NODE", flags = { ["-y"] = "yes", ["--timeout TIME"] = "timeout" },
    summary = "evicts a node's pods, after a question" },
  wait = { group = "Objects", arguments = "KIND/NAME CONDITION", prints = true,
    flags = merged(WHERE, { ["--timeout TIME"] = "timeout" }), summary = "until it is so: Ready, Running, gone" },
  top = { group = "Objects", arguments = "pods|nodes", flags = merged(WHERE, { ["--sort COLUMN"] = "sort" }),
    summary = "what they use of processor and memory" },
  cp = { group = "Streams", arguments = "POD:PATH FILE", summary = "a file from a pod, or FILE POD:PATH to it",
    flags = merged(WHERE, { ["-c CONTAINER"] = "container" }) },
  undo = { group = "Changes", arguments = "", summary = "takes the last create, change or scale back",
    flags = { ["-y"] = "yes" } },
  runs = { group = "Kubeflow", arguments = "[NAME…]", summary = "runs of pipelines (workflows)", kind = "workflows",
    flags = LISTING, formats = FORMATS, filters = true },
  run = { group = "Kubeflow", arguments = "NAME [graph]", flags = WHERE,
    summary = "one run and the states of its steps" },
  experiments = { group = "Kubeflow", arguments = "[NAME…]", summary = "Katib's experiments", kind = "experiments",
    flags = LISTING, formats = FORMATS, filters = true },
  experiment = { group = "Kubeflow", arguments = "NAME [plot]", flags = WHERE,
    summary = "one experiment and its trials" },
  allowed = { group = "Kubeflow", arguments = "POD -> SERVICE METHOD PATH", flags = WHERE,
    summary = "may it, by which policy and rule" },
  ["injected?"] = { group = "Kubeflow", arguments = "POD", call = "injected", flags = WHERE,
    summary = "whether the pod gets a sidecar, and why" },
  doctor = { group = "Kubeflow", arguments = "", flags = WHERE, prints = "value",
    summary = "finds what is wrong with a Kubeflow" },
  -- Of the REPL itself; with ':' before them.
  help = { group = "REPL", arguments = "[WORD]", colon = true, summary = "shows the words" },
  lua = { group = "REPL", arguments = "[LINE]", colon = true, raw = true, call = "equivalent",
    summary = "the Lua that a line, or the last line, stands for" },
  save = { group = "REPL", arguments = "FILE", colon = true, call = "save_script",
    summary = "writes what was typed as a script" },
  write = { group = "REPL", arguments = "[TIME|off]", colon = true, call = "writable",
    summary = "allows changes here for a time, such as 10m" },
  alias = { group = "REPL", arguments = "[NAME LINE]", colon = true, raw_rest = 1,
    summary = "a word that stands for a line" },
  reload = { group = "REPL", arguments = "", colon = true, summary = "runs the startup file again" },
  history = { group = "REPL", arguments = "[TEXT]", colon = true, summary = "the lines typed before" },
  bg = { group = "REPL", arguments = "LINE", colon = true, line = true,
    summary = "runs a line in the background; it reports above" },
  stop = { group = "REPL", arguments = "NUMBER", colon = true, summary = "ends what runs in the background" },
  copy = { group = "REPL", arguments = "[LINE]", colon = true, line = true,
    summary = "what a line, or the last one, shows to the clipboard" },
  tasks = { group = "REPL", arguments = "", colon = true, summary = "what runs in the background" },
  quit = { group = "REPL", arguments = "", colon = true, summary = "leaves" },
}
for _, name in ipairs(LISTS) do WORDS[name] = listing(KIND_OF[name] or name) end

local ALIASES = {
  po = "pods", no = "nodes", svc = "services", ep = "endpoints", ev = "events", cm = "configmaps",
  sa = "serviceaccounts",
  pvc = "persistentvolumeclaims", pv = "persistentvolumes", sc = "storageclasses", deploy = "deployments",
  sts = "statefulsets", rs = "replicasets", cj = "cronjobs", rb = "rolebindings", nb = "notebooks",
}

-- --- writing Lua --------------------------------------------------------------------------------------

local CONTROL = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

---A text as a Lua literal on one line.
---@param text string
---@return string
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return CONTROL[c] or ("\\%03d"):format(c:byte())
  end) .. '"'
end

local function literal(value)
  if type(value) == "string" then return M.quote(value) end
  if type(value) == "table" then
    local list = {}
    for index, element in ipairs(value) do list[index] = literal(element) end
    return "{" .. table.concat(list, ", ") .. "}"
  end
  return tostring(value)
end

local function options_text(options)
  local names = {}
  for name in pairs(options) do names[#names + 1] = name end
  if #names == 0 then return nil end
  table.sort(names)
  for index, name in ipairs(names) do names[index] = name .. " = " .. literal(options[name]) end
  return "{" .. table.concat(names, ", ") .. "}"
end

-- --- flags --------------------------------------------------------------------------------------------

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

local LONG = { ["-n"] = "--namespace", ["-l"] = "--selector", ["-f"] = "--follow", ["-c"] = "--container",
  ["-p"] = "--previous", ["-A"] = "--all-namespaces", ["-o"] = "--output", ["-w"] = "--watch", ["-y"] = "--yes" }

-- The flag that a word means: the option, and whether a value follows.
local function find_flag(flags, word)
  for spelled, option in pairs(flags or {}) do
    local flag, meta = spelled:match "^(%S+)%s*(%S*)$"
    if flag == word or LONG[flag] == word then return option, meta ~= "" end
  end
end

local function unknown_flag(name, spec, word)
  local flags = {}
  for spelled in pairs(spec.flags or {}) do flags[#flags + 1] = spelled end
  table.sort(flags)
  fail("%s has no '%s'%s", name, word, #flags > 0 and "; it has " .. table.concat(flags, ", ") or "")
end

-- Numbers stay numbers.
local function flag_value(option, text)
  if option == "tail" or option == "limit" or option == "count" then
    return math.tointeger(tonumber(text)) or fail("'%s' is no number", text)
  end
  return text
end

-- kubectl's word for columns by path means ours.
local function set_flag(options, option, text)
  local columns = option == "output" and text:match "^custom%-columns=(.+)$"
  if columns then options.columns = columns else options[option] = flag_value(option, text) end
end

local function take_flag(name, spec, options, list, at)
  local word = list[at]
  local flag, attached = word:match "^(%-%-[^=]+)=(.*)$"
  flag = flag or word
  local option, has_value = find_flag(spec.flags, flag)
  if not option and flag:find "^%-%a." and find_flag(spec.flags, flag:sub(1, 2)) then -- -nteam
    option, has_value = find_flag(spec.flags, flag:sub(1, 2))
    attached = flag:sub(3)
  end
  if not option then unknown_flag(name, spec, word) end
  if not has_value then
    options[option] = true
    return at + 1
  end
  local value = attached
  if not value then
    at = at + 1
    value = list[at] or fail("%s needs a value", word)
  end
  set_flag(options, option, value)
  return at + 1
end

-- /x keeps the rows that x finds, !/x those that it does not, ~x is fuzzy.
local function take_filter(options, word)
  local mark, text = word:match "^(!?/)(.+)$"
  if not mark then mark, text = word:match "^(~)(.+)$" end
  if not mark then return false end
  options[({ ["/"] = "match", ["!/"] = "without", ["~"] = "fuzzy" })[mark]] = text
  return true
end

-- --- a vocabulary --------------------------------------------------------------------------------------

---@class repl.Vocabulary
---@field words table<string, table>
---@field aliases table<string, string>
local vocabulary = {}
vocabulary.__index = vocabulary

---A vocabulary of all words, to which a session adds its own.
---@return repl.Vocabulary
function M.new()
  local self = setmetatable({ words = {}, aliases = {}, known = {} }, vocabulary)
  for name, spec in pairs(WORDS) do self:add(name, spec) end
  for name, line in pairs(ALIASES) do self:alias(name, line) end
  return self
end

---Adds a word.
---@param name string
---@param spec table summary, arguments, flags, call (the Lua function's name, default the word's)
function vocabulary:add(name, spec)
  self.words[name] = spec
  if not spec.colon then self.known[name] = true end
end

---Makes a word stand for the beginning of a line.
---@param name string
---@param line string
function vocabulary:alias(name, line)
  self.aliases[name] = line
  self.known[name] = true
end

---@param line string
---@return "words"|"lua"|"empty"
function vocabulary:kind(line)
  return words.kind(line, self.known)
end

-- The arguments of a word and its options.
local function arguments_of(name, spec, list, has_rows)
  local arguments, options, at, plain = {}, {}, 1, false
  while at <= #list do
    local word = list[at]
    if spec.greedy and #arguments > spec.greedy then plain = true end -- the words of a command are its own
    if not plain and word == "--" then
      plain, at = true, at + 1
    elseif not plain and word:find "^%-[%a%-]" then
      at = take_flag(name, spec, options, list, at)
    else
      if plain or not (spec.filters and take_filter(options, word)) then arguments[#arguments + 1] = word end
      at = at + 1
    end
  end
  if spec.formats and #arguments > 0 and spec.formats[arguments[#arguments]] and not options.output
    and (spec.kind or has_rows or #arguments > 1) then
    options.output = table.remove(arguments)
  end
  if options.all_namespaces then options.all_namespaces, options.namespace = nil, "*" end
  return arguments, options
end

local function call_text(self, name, spec, line)
  local parts = {}
  if line.rows then parts[1] = "rows(" .. M.quote(line.rows) .. ")" end
  if spec.line then
    if line.text ~= "" then parts[1], parts[2] = M.quote(line.text), self:function_of(line.text) end
  elseif spec.raw then
    if line.text ~= "" then parts[#parts + 1] = M.quote(line.text) end
  elseif spec.raw_rest and line.words[1] then
    parts[#parts + 1] = M.quote(line.words[1])
    local rest = line.text:match "^%S+%s+(.+)$"
    if rest then parts[#parts + 1] = M.quote(rest) end
  else
    local arguments, options = arguments_of(name, spec, line.words, line.rows)
    for _, argument in ipairs(arguments) do parts[#parts + 1] = M.quote(argument) end
    parts[#parts + 1] = options_text(options)
  end
  return (spec.call or name:gsub("%-", "_")) .. "(" .. table.concat(parts, ", ") .. ")"
end

-- A word that prints while it runs is handed over as a function.
local function redirected(text, line, spec)
  if spec and spec.prints and (line.pipe or line.file) then
    text = ("function() %s end"):format(spec.prints == "value" and "return " .. text or text)
  end
  if line.pipe then return ("pipe(%s, %s)"):format(M.quote(line.pipe), text) end
  if line.file then return ("redirect(%s, %s)"):format(M.quote(line.file), text) end
  return text
end

-- The line with its alias written out; an alias may begin with another, but not with itself.
local function expand(self, line)
  local colon, body = line:match "^%s*(:?)%s*(.-)%s*$"
  local rows, rest = body:match "^([%d,.]+%s+)(.*)$"
  rest = rest or body
  local seen = {}
  while true do
    local name, after = words.leading(rest, self.aliases)
    if not name or seen[name] then break end
    seen[name] = true
    rest = self.aliases[name] .. rest:sub(after)
  end
  return colon .. (rows or "") .. rest
end

local MEASURES = { ["%time"] = "time", ["%timeit"] = "timeit", ["%trace"] = "trace" }

---A function that does what a line does.
---@param line string
---@return string
function vocabulary:function_of(line)
  local text = self:lua_of(line)
  if not load("return " .. text) then return ("function() %s end"):format(text) end
  return ("function() return %s end"):format(text)
end

local function measured(self, line)
  if line.name == "%whos" then return "whos()" end
  local call = MEASURES[line.name]
    or fail("there is no '%s'; there are %%time, %%timeit, %%trace and %%whos", line.name)
  return ("%s(%s)"):format(call, self:function_of(line.text))
end

---The Lua that a line of words stands for.
---@param line string
---@return string lua an expression
---raises {code="Usage"}
function vocabulary:translate(line)
  local known = setmetatable({}, { __index = self.words })
  for name, spec in pairs(self.words) do known[name] = spec end
  local first = line:match "^%s*(.)"
  if first ~= "!" and first ~= "?" and first ~= "%" and not line:find "%?%?%s*$" then line = expand(self, line) end
  local parsed = words.parse(line, known)
  if parsed.name == "!" then return "shell(" .. M.quote(parsed.text) .. ")" end
  if parsed.name == "??" then return "source(" .. M.quote(parsed.text) .. ")" end
  if parsed.name:sub(1, 1) == "%" then return measured(self, parsed) end
  if parsed.name == "?" then
    local topic = parsed.words[1] and M.quote(parsed.words[1]) or ""
    return redirected(("explain(%s)"):format(topic), parsed)
  end
  local spec = self.words[parsed.name]
  return redirected(call_text(self, parsed.name, spec, parsed), parsed, spec)
end

---The Lua of any line: what words stand for, or the line itself.
---@param line string
---@return string
function vocabulary:lua_of(line)
  if self:kind(line) == "words" then return self:translate(line) end
  return (line:gsub("^%s*=", "", 1))
end

return M
