-- repl.changes: words that change the cluster: each shows what it would change, asks, and can be taken back.
-- Not for reading. The connection's own guard rail holds beneath this (kube.guard).
--   changes.scale(session, "deploy/web", 3)

local diff = require "diff"
local errors = require "errors"
local fs = require "fs"
local objects = require "repl.objects"
local show = require "repl.show"
local term = require "term"
local yaml = require "yaml"

local M = {}

local function fail(format, ...)
  errors.raise { code = "Usage", message = format:format(...) }
end

local function title(object)
  return object.kind .. "/" .. object.metadata.name
end

-- --- what would change ----------------------------------------------------------------------

-- The object of a reference as it is now, whatever was shown before.
local function current_of(self, reference)
  return self:client():get(reference.kind, reference.name, { namespace = reference.namespace })
end

-- What the server sets by itself is no change of ours.
local function comparable(object)
  if not object then return "" end
  local mask = require "kube.mask"
  local copy = mask.object(object)
  local metadata = {}
  for key, value in pairs(copy.metadata or {}) do
    if key ~= "managedFields" and key ~= "resourceVersion" and key ~= "generation" and key ~= "uid"
      and key ~= "creationTimestamp" then
      metadata[key] = value
    end
  end
  copy.metadata, copy.status = metadata, nil
  return yaml.encode(copy, { sort = true })
end

---The difference between two objects as text, secrets masked; empty when there is none.
---@param before table?
---@param after table?
---@return string
function M.difference(before, after)
  local old, new = comparable(before), comparable(after)
  if old == new then return "" end
  return diff.unified(old, new, { from = before and "now" or "nothing", to = after and "then" or "nothing" })
end

local COLOURS = { ["+"] = "green", ["-"] = "red", ["@"] = "cyan" }

-- A difference with the colours that it has everywhere.
local function coloured(text)
  return (text:gsub("[^\n]+", function(line)
    local colour = COLOURS[line:sub(1, 1)]
    return colour and term.style(line, colour) or line
  end))
end

-- Shows the change, asks, and makes it. `given.undo(result)` gives what takes it back: before, after and run.
local function change(self, options, given)
  if given.difference == "" then return show.as_text({}, given.name .. ": nothing changes\n") end
  if given.difference then self.out(coloured(given.difference)) end
  self:confirm(given.question, options.yes)
  local result = given.run()
  if given.undo then
    self.undo_list[#self.undo_list + 1] = { what = given.question, done = given.undone, plan = given.undo(result) }
  end
  return show.as_text(type(result) == "table" and { object = result } or {}, given.done .. "\n")
end

-- --- apply ----------------------------------------------------------------------

local function read_objects(path)
  local list = {}
  for _, document in ipairs(yaml.decode_all(fs.read(path))) do
    if type(document) == "table" and document.kind then
      if document.kind == "List" then table.move(document.items, 1, #document.items, #list + 1, list)
      else list[#list + 1] = document end
    end
  end
  if #list == 0 then fail("there is no object in %s", path) end
  return list
end

local function current(client, object, namespace)
  return client.try:get(object.apiVersion .. "/" .. object.kind, object.metadata.name, {
    namespace = object.metadata.namespace or namespace,
  })
end

local BY_SERVER = { "^/metadata/resourceVersion", "^/metadata/managedFields", "^/metadata/generation", "^/metadata/uid",
  "^/metadata/creationTimestamp", "^/status" }

-- What leads from one object to another, without what the server sets.
local function operations_of(from, to)
  local kept = {}
  for _, operation in ipairs(require("kube").patch.diff(from, to)) do
    local is_own = true
    for _, pattern in ipairs(BY_SERVER) do is_own = is_own and not operation.path:find(pattern) end
    if is_own then kept[#kept + 1] = operation end
  end
  return require("json").array(kept)
end

-- Takes a change back, and leaves what others have changed meanwhile.
local function put_back(client, before)
  return function(after)
    local kind, name = after.apiVersion .. "/" .. after.kind, after.metadata.name
    local operations, now, wanted = operations_of(after, before), nil, nil
    return {
      difference = function()
        now = client:get(kind, name, { namespace = after.metadata.namespace })
        wanted = require("kube").patch.json(now, operations)
        return M.difference(now, wanted)
      end,
      run = function() return client:update(wanted) end,
    }
  end
end

local function take_away(client)
  return function(made)
    return { difference = function() return M.difference(made, nil) end, run = function()
      client:delete(made.apiVersion .. "/" .. made.kind, made.metadata.name, {
        namespace = made.metadata.namespace, uid = made.metadata.uid,
      })
    end }
  end
end

-- One object of a file: the dry run says what would be.
local function apply_one(self, object, options)
  local client = self:client()
  local before = current(client, object, options.namespace)
  local given = { namespace = options.namespace, force = options.force }
  local dry = { namespace = options.namespace, force = options.force, dry_run = true }
  local after = client:apply(object, dry)
  return change(self, options, {
    name = title(object), difference = M.difference(before, after),
    question = ("%s %s"):format(before and "change" or "create", title(object)),
    run = function() return client:apply(object, given) end,
    done = title(object) .. (before and " changed" or " created"),
    undone = title(object) .. (before and " is as it was" or " deleted"),
    undo = before and put_back(client, before) or take_away(client),
  })
end

---Server-side apply of the objects of a file: apply { file = "x.yaml" }, apply("x.yaml"), or of an object.
function M.apply(self, ...)
  local given, options = objects.arguments(...)
  self:check_write "apply"
  local source = options.file or given[1] or fail "apply needs a file (-f FILE) or an object"
  local list = type(source) == "table" and { source } or read_objects(source)
  local texts = {}
  for index, object in ipairs(list) do texts[index] = show.value(apply_one(self, object, options)) end
  return show.as_text({ count = #list }, table.concat(texts))
end

-- --- patches ----------------------------------------------------------------------

-- A patch of one object, shown and asked before.
local function patch_one(self, reference, body, options, words)
  local client, name = self:client(), objects.name_of(reference)
  local before = current_of(self, reference)
  local kind = words.type or "merge"
  local where = { namespace = before.metadata.namespace, type = kind, dry_run = true }
  local after = client:patch(reference.kind, reference.name, body, where)
  return change(self, options, {
    name = title(before), difference = M.difference(before, after), question = words.question:format(name),
    run = function()
      return client:patch(reference.kind, reference.name, body, { namespace = where.namespace, type = kind })
    end,
    done = words.done:format(name), undone = title(before) .. " is as it was", undo = put_back(client, before),
  })
end

---The same patch of several objects, each shown and asked before.
---@param self repl.Session
---@param list table[] references
---@param body table
---@param options table yes
---@param words {question: string, done: string, type: string?} with %s for the object; "merge" without a type
---@return table
function M.patch_each(self, list, body, options, words)
  local texts = {}
  for index, reference in ipairs(list) do
    texts[index] = show.value(patch_one(self, reference, body, options, words))
  end
  return show.as_text({ count = #list }, table.concat(texts))
end

---Changes the number of replicas: scale("deploy/web", 3).
function M.scale(self, ...)
  local given, options = objects.arguments(...)
  local count = math.tointeger(tonumber(table.remove(given))) or fail "scale KIND/NAME N: N is a number"
  self:check_write "scale"
  return M.patch_each(self, objects.references(given, nil, options), { spec = { replicas = count } }, options, {
    question = "scale %s to " .. count, done = "%s scaled to " .. count,
  })
end

---Starts the pods of workloads anew, as kubectl rollout restart does.
---@param self repl.Session
---@param list table[] references
---@param options table yes
function M.restart_each(self, list, options)
  local stamp = os.date("!%Y-%m-%dT%H:%M:%SZ", (self.clock or os.time)())
  local annotations = { ["kubectl.kubernetes.io/restartedAt"] = stamp }
  local body = { spec = { template = { metadata = { annotations = annotations } } } }
  return M.patch_each(self, list, body, options, { question = "restart %s", done = "%s restarts" })
end

---Starts the pods of a workload anew: restart("deploy/web").
function M.restart(self, ...)
  local given, options = objects.arguments(...)
  self:check_write "restart"
  return M.restart_each(self, objects.references(given, nil, options), options)
end

-- --- delete ----------------------------------------------------------------------

local MOST_NAMES <const> = 20

---Deletes objects, after a question that says how many and which.
function M.delete(self, ...)
  local given, options = objects.arguments(...)
  self:check_write "delete"
  local client, list, names = self:client(), objects.references(given, nil, options), {}
  for index, reference in ipairs(list) do
    local object = current_of(self, reference)
    reference.uid, reference.namespace = object.metadata.uid, object.metadata.namespace
    local place = object.metadata.namespace and object.metadata.namespace .. "/" or ""
    names[index] = ("  %s %s%s\n"):format(object.kind, place, object.metadata.name)
  end
  self.out(table.concat(names, "", 1, math.min(#names, MOST_NAMES)))
  if #names > MOST_NAMES then self.out(("  … and %d more\n"):format(#names - MOST_NAMES)) end
  self:confirm(("delete %s"):format(#list == 1 and "this object" or ("these %d objects"):format(#list)), options.yes)
  for _, reference in ipairs(list) do
    client:delete(reference.kind, reference.name, { namespace = reference.namespace, uid = reference.uid })
  end
  return show.as_text({ count = #list }, ("%d deleted\n"):format(#list))
end

-- --- edit ----------------------------------------------------------------------

---The command of the editor; a startup file may replace it.
---@return string
function M.editor()
  return os.getenv "KUBE_EDITOR" or os.getenv "VISUAL" or os.getenv "EDITOR" or "vi"
end

local function run_editor(path)
  local process = require("proc").spawn {
    shell = M.editor() .. " '" .. path:gsub("'", "'\\''") .. "'", stdin = "inherit", stdout = "inherit",
    terminal = true,
  }
  local ended = process:wait()
  if ended.code ~= 0 then
    errors.raise { code = "Exit", message = ("the editor ended with %s"):format(ended.code or "a signal"),
      exit = ended.code }
  end
end

-- The text after the editor, with what the server said of the last try above it; nil when nothing was changed.
local function edited(path, text, problem)
  local note = problem and "# " .. errors.text(problem):gsub("\n", "\n# ") .. "\n" or ""
  fs.write(path, note .. text, { mode = 384 })
  run_editor(path)
  local after = fs.read(path):gsub("^# [^\n]*\n", "")
  while after:find "^# " do after = after:gsub("^# [^\n]*\n", "") end
  return after
end

-- What the person changed, put onto the object as it is now: that, and what is to become of it.
local function merged(client, reference, base, mine)
  local now = client:get(reference.kind, reference.name, { namespace = base.metadata.namespace })
  return now, require("kube").patch.json(now, operations_of(base, mine))
end

---Changes an object in $EDITOR; what the server refuses comes back into the editor.
function M.edit(self, ...)
  local given, options = objects.arguments(...)
  local reference = objects.reference(given, nil, options)
  self:check_write "edit"
  local client = self:client()
  local base = current_of(self, reference)
  local path = fs.join(fs.tmpdir "kfhost-edit", base.metadata.name .. ".yaml")
  local start = show.yaml(base)
  local text, problem = start, nil
  for _ = 1, 5 do
    local after = edited(path, text, problem)
    if after == start or problem and after == text then return show.as_text({}, "nothing changes\n") end
    text = after
    local ok, result = pcall(function()
      local mine = yaml.decode(text)
      local now, wanted = merged(client, reference, base, mine)
      client:update(wanted, { kind = reference.kind, dry_run = true, namespace = base.metadata.namespace })
      return change(self, options, {
        name = title(base), difference = M.difference(now, wanted), question = "change " .. title(base),
        run = function()
          return client:update(wanted, { kind = reference.kind, namespace = base.metadata.namespace })
        end,
        done = title(base) .. " changed", undone = title(base) .. " is as it was", undo = put_back(client, now),
      })
    end)
    if ok then return result end
    if errors.is(result, "Cancelled") or errors.is(result, "Refused") then error(result, 0) end
    problem = result
  end
  error(problem, 0)
end

-- --- undo ----------------------------------------------------------------------

---Takes the last create, change or scale back; what others have changed since then stays.
function M.undo(self, options)
  local last = self.undo_list[#self.undo_list] or fail "there is nothing to undo"
  self:check_write "undo"
  self.out(coloured(last.plan.difference()))
  self:confirm(("undo '%s'"):format(last.what), options and options.yes)
  last.plan.run()
  table.remove(self.undo_list)
  return show.as_text({}, last.done .. "\n")
end

return M
