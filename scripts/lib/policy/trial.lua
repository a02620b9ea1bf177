-- policy.trial: policies tried on objects and on their own tests, without a server.
-- Not for policies that are served.
--   for _, case in ipairs(trial.tests(set)) do print(case.name, #case.problems) end

local hash = require "hash"
local json = require "json"
local kube = require "kube"
local mask = require "kube.mask"
local policy = require "policy"

local M = {}

local STEP_SECONDS = 20
local PATIENCE = 20 -- times a policy's own time: a test is about what it does, also on a machine with much to do

local function raise_unless(value, problem)
  if value == nil and problem then error(problem, 0) end
  return value
end

-- Runs a handler; its writes are kept and come back as they were asked for.
local function run_handler(set, handler, answers)
  local writes = json.array {}
  local step = raise_unless(set.box:call("start", STEP_SECONDS, 1, handler.list, handler.number, handler.handler,
    handler.argument))
  while not step.done do
    local write = step.write
    if write.verb ~= "log" then writes[#writes + 1] = write end
    local answer = answers and answers[#writes] or {}
    step = raise_unless(set.box:call("resume", STEP_SECONDS, 1, write.object or {}, answer.error, answer.warnings))
  end
  return writes
end

-- The set that a case asks: with the settings of the case or, without any, the defaults. What a site has set is not
-- what a file's tests are about; only where a setting has no default does it stand in.
-- Cases with the same settings share one: a set is loaded anew for each case only where they differ.
local function set_for(set, case, loaded_sets)
  local configs = set.options.configs or {}
  local site = configs[case.stem] or set.options.config
  if not case.config and (site == nil or next(site) == nil) then return set end
  local own = {}
  for stem, config in pairs(configs) do own[stem] = config end
  own[case.stem] = case.config or {}
  local key = json.encode(own, { sort = true })
  if loaded_sets[key] then return loaded_sets[key] end
  local ok, loaded = pcall(policy.load, set.names, { configs = own, bypass_groups = set.options.bypass_groups })
  if ok then
    loaded_sets[key] = loaded
    return loaded
  end
  if case.config then error(loaded, 0) end
  return set
end

local function test_case(set, number, loaded_sets)
  local case = raise_unless(set.box:call("test_case", STEP_SECONDS, number))
  local asked = set_for(set, case, loaded_sets)
  asked.patience = PATIENCE
  asked:know(case.objects)
  local answer, writes
  if case.handler then writes = run_handler(asked, case.handler, case.answers)
  else answer = asked:answer(case.review, { file = case.stem }) end -- a file's tests are about that file
  local problems = raise_unless(set.box:call("test_verdict", STEP_SECONDS, number, answer, writes))
  return { name = case.name, file = case.stem, problems = problems }
end

---Runs the tests that the files of a set bring.
---@param set policy.Set
---@return {name: string, file: string, problems: string[]}[]
function M.tests(set)
  local results, loaded_sets = {}, {}
  for number, declared in ipairs(set.description.tests) do
    local ok, result = pcall(test_case, set, number, loaded_sets)
    if not ok then
      result = { name = declared.name, file = declared.file, problems = { require "errors".text(result) } }
    end
    results[number] = result
  end
  for _, one in pairs(loaded_sets) do one:close() end
  set.patience = nil
  return results
end

-- What differs between an answer and the one that was recorded.
local function differences(recorded, response, patched)
  local problems = {}
  if recorded.allowed ~= response.allowed then
    local said = response.status and response.status.message
    problems[1] = ("allowed is %s, and was %s%s"):format(tostring(response.allowed), tostring(recorded.allowed),
      said and (": " .. said) or "")
  end
  local was, is = recorded.status and recorded.status.message, response.status and response.status.message
  if was and not response.allowed and was ~= is then
    problems[#problems + 1] = ("the message is '%s', and was '%s'"):format(tostring(is), was)
  end
  local before, now = patched(recorded), patched(response)
  if json.encode(before, { sort = true }) == json.encode(now, { sort = true }) then return problems end
  if now.kind == "Secret" then before, now = mask.object(before), mask.object(now) end
  problems[#problems + 1] = "the object becomes another one: "
    .. json.encode(kube.patch.diff(before, now), { sort = true })
  return problems
end

---Answers a recorded review; where the recording holds the response, too, the answers are compared by what they mean.
---@param set policy.Set
---@param review table an AdmissionReview, with or without `response`
---@param name string
---@return {name: string, file: string, problems: string[], response: table}
function M.recorded(set, review, name)
  local recorded = review.response
  local answer, records = set:answer({ apiVersion = review.apiVersion, kind = review.kind, request = review.request })
  local response, object = answer.response, review.request.object or json.object {}
  if object == json.null then object = json.object {} end
  local problems = {}
  for _, record in ipairs(records) do
    if record.verdict == "error" then problems[#problems + 1] = record.message end
  end
  if recorded and recorded ~= json.null then
    local more = differences(recorded, response, function(one)
      return one.patch and kube.patch.json(object, json.decode(hash.unbase64(one.patch))) or object
    end)
    table.move(more, 1, #more, #problems + 1, problems)
  end
  return { name = name, file = "review", problems = problems, response = response }
end

-- An API server takes a field that is null for one that is not there, before it asks anybody.
local function without_nulls(value)
  if type(value) ~= "table" then return value end
  local copy = setmetatable({}, getmetatable(value))
  for key, inner in pairs(value) do
    if inner ~= json.null or math.type(key) then copy[key] = without_nulls(inner) end
  end
  return copy
end

---@param set policy.Set
---@param object table
---@param operation "CREATE"|"UPDATE"|"DELETE"|nil
---@param user string?
---@return table review an AdmissionReview as the API server would send it
function M.review_of(set, object, operation, user)
  object = without_nulls(object)
  local spec = { object = object, operation = operation, user = user }
  if operation == "UPDATE" then spec.old = object end
  if operation == "DELETE" then spec = { old = object, operation = operation, user = user } end
  return raise_unless(set.box:call("review_of", STEP_SECONDS, spec))
end

---Passes an object through the policies.
---@param set policy.Set
---@param object table
---@param options {operation: string?, user: string?}?
---@return {allowed: boolean, object: table, patch: table[], message: string?, warnings: string[], records: table[]}
function M.apply(set, object, options)
  options = options or {}
  local answer, records = set:answer(M.review_of(set, object, options.operation, options.user))
  local response = answer.response
  local patch = response.patch and json.decode(hash.unbase64(response.patch)) or json.array {}
  return { allowed = response.allowed, object = kube.patch.json(object, patch), patch = patch,
    message = response.status and response.status.message, warnings = response.warnings or {}, records = records }
end

return M
