-- policy: loads policy files into a sandbox and asks them about admission reviews.
-- Not for serving them (see `kfhost policy serve`); a policy file's own `require "policy"` is another table.
--   local set = policy.load "vsphere-rwo"; local answer = policy.review(set, review, { objects = { namespace } })

local files = require "policy.files"
local hash = require "hash"
local json = require "json"
local sandbox = require "sandbox"
local task = require "task"
local zones = require "policy.zone"

local M = {}

local LOAD_SECONDS = 5
local STEP_SECONDS = 5 -- for our own part of a review: decoding, matching, the patch
local LEAST_SECONDS = 0.005 -- what a policy gets when those before it took all the time there was
local BASE_MEMORY = 24 << 20
local TEXT_FACTOR = 2 -- bytes of memory for each of a text that reviews may look at: it, and what is made of some
local PORTION = 500 -- changes that cross into the sandbox at once

---@class policy.Set
---@field description table what the files declare (plain data)
---@field hash string of the files and their settings
local Set = {}
Set.__index = Set

local function raise(problem)
  error(problem, 0)
end

local function memory_for(loaded)
  local most = 16 << 20
  for _, one in ipairs(loaded.policies) do most = math.max(most, one.memory or 0) end
  for _, file in ipairs(loaded.files) do most = math.max(most, file.grants.memory or 0) end
  return BASE_MEMORY + most
end

-- A sandbox with the files loaded, and what they declare.
local function open(list, options, memory)
  local box = sandbox.open { memory = memory, modules = files.library() }
  local text, name = files.main()
  local inside = { bypass_groups = options.bypass_groups, own_namespace = options.own_namespace }
  local _, problem = box:run(text, name, LOAD_SECONDS, inside)
  for _, file in ipairs(list) do
    if problem then break end
    local config = (options.configs or {})[file.stem] or options.config
    local given = { stem = file.stem, name = file.name, text = file.text, config = config, cases = file.cases }
    _, problem = box:call("load", LOAD_SECONDS, given)
    if problem and not problem.path then problem.path = file.name:sub(2) end
  end
  if problem then
    box:close()
    raise(problem)
  end
  return box, box:call("describe", LOAD_SECONDS)
end

-- Time zones are files of this machine, which the sandbox does not see.
local function check_zones(description)
  for _, schedule in ipairs(description.schedules) do
    if schedule.zone then
      local ok, problem = pcall(zones.open, schedule.zone)
      if not ok then
        problem.message = ("policy.schedule '%s': %s"):format(schedule.name, problem.message)
        raise(problem)
      end
    end
  end
end

-- What was loaded, as a hash: the files' texts and their settings.
local function hash_of(list, options)
  local parts = {}
  for i, file in ipairs(list) do
    local config = (options.configs or {})[file.stem] or options.config or {}
    parts[i] = { file.stem, file.text, json.object(config) }
  end
  return hash.sha256(json.encode(json.array(parts), { sort = true }))
end

---Loads policy files; each sees its own settings.
---@param name string|string[] a path or the name of a bundled policy, or several
---@param options {config: table?, configs: table<string, table>?, bypass_groups: string[]?, own_namespace: string?,
---  files: table[]?}? config: settings of the file; configs: settings by the file's stem; files: as policy.files finds
---  them, instead of reading them
---@return policy.Set set raises "NotFound", "Syntax", "Config", or what the file raised, with its place
function M.load(name, options)
  options = options or {}
  local list = options.files or {}
  local names = options.files and {} or type(name) == "table" and name or { name }
  for i, one in ipairs(names) do list[i] = files.find(one) end
  local box, description = open(list, options, BASE_MEMORY + (16 << 20))
  local memory = memory_for(description)
  if memory > BASE_MEMORY + (16 << 20) then
    box:close()
    box, description = open(list, options, memory)
  end
  check_zones(description)
  return setmetatable({ box = box, description = description, names = name, list = list, options = options,
    memory = memory, hash = hash_of(list, options) }, Set)
end

---Starts again with an empty sandbox: after code ran out of memory, or to forget what it keeps.
function Set:renew()
  self.box:close()
  self.box = open(self.list, self.options, self.memory)
  self.extra = 0
end

---Whether the sandbox keeps so much that handlers may soon have no room: of what a policy remembers in its file.
---@return boolean
function Set:is_crowded()
  return self.box:used() > BASE_MEMORY + (self.extra or 0)
end

function Set:close()
  self.box:close()
end

local function ask(self, number, deadline)
  local policy = self.description.policies[number]
  if self.before then self.before(policy) end
  local seconds = policy.timeout * (self.patience or 1)
  if deadline then seconds = math.max(math.min(seconds, deadline - task.now()), LEAST_SECONDS) end
  local _, problem = self.box:call("handle", seconds, number)
  if self.after then self.after(policy) end
  if not problem then return end
  if problem.code == "Memory" then self.box:collect() end
  self.box:call("failed", STEP_SECONDS, number,
    { code = problem.code, message = problem.message, path = problem.path, line = problem.line })
end

---Answers a review.
---@param given string|table an AdmissionReview or its JSON
---@param options {kind: "mutate"|"validate"|nil, policy: string?, file: string?, selected: integer?,
---  cache_age: number?, as: "text"|"table"|nil, seconds: number?}? file: the policies of one file alone; seconds: for
---  all policies together; selected: the entry of that policy by whose namespaceSelector the API server has sent it
---@return string|table answer
---@return table[] records by policy {policy, mode, verdict, paths, message}
---@return table facts of the review
function Set:answer(given, options)
  options = options or {}
  local numbers, problem = self.box:call("begin", STEP_SECONDS, given,
    { kind = options.kind, policy = options.policy, file = options.file, selected = options.selected,
      position = options.position, cache_age = options.cache_age })
  if not numbers then raise(problem) end
  local deadline = options.seconds and task.now() + options.seconds
  for _, number in ipairs(numbers) do ask(self, number, deadline) end
  local answer, records, facts = self.box:call("finish", STEP_SECONDS, options.as)
  if not answer then raise(records) end
  return answer, records, facts
end

---Takes over what has changed of what reviews may look at; the sandbox gets the room that this needs.
---@param changes table[] of policy.serve.cache
---@param bytes integer of all that reviews may look at, as text
function Set:publish(changes, bytes)
  self.extra = TEXT_FACTOR * bytes
  self.box:limit(self.memory + self.extra)
  for from = 1, #changes, PORTION do
    local portion = table.move(changes, from, math.min(from + PORTION - 1, #changes), 1, {})
    local _, problem = self.box:call("publish", LOAD_SECONDS, portion)
    if problem then raise(problem) end
  end
end

---What reviews may look at from now on.
---@param objects table[]
function Set:know(objects)
  local _, problem = self.box:call("know", STEP_SECONDS, objects or {})
  if problem then raise(problem) end
end

---Which policies would be asked about a review, and why the others would not.
---@param given string|table
---@return {policy: string, kind: string, matches: boolean, why: string?}[]
function Set:explain(given)
  local list, problem = self.box:call("explain", STEP_SECONDS, given)
  if not list then raise(problem) end
  return list
end

---What the files have to say of an object: who uses it, why it waits.
---@param object table
---@return string[] lines
function Set:say(object)
  local lines, problem = self.box:call("say", STEP_SECONDS, object)
  if not lines then raise(problem) end
  return lines
end

---Asks a set of policies about a review.
---@param set policy.Set
---@param review string|table an AdmissionReview or its JSON
---@param options {objects: table[]?}? objects: what the policies may look at, namespaces with their labels above all
---@return table answer an AdmissionReview with `response`; raises "BadReview", or a JSON error
function M.review(set, review, options)
  if getmetatable(set) ~= Set then error("policy.review takes what policy.load gave", 2) end
  if options and options.objects then set:know(options.objects) end
  return (set:answer(review))
end

return M
