-- The verbs of each kind of resource. A part of kfp.client.
local errors = require "errors"
local query = require "kfp.client.query"
local reply = require "kfp.client.reply"

local M = {}

local BASE = "/apis/v2beta1/"

-- --- what all kinds have --------------------------------------------------------------------------------------

---@class kfp.Resource
---@field client kfp.Client
---@field path string
---@field key string of the list in an answer
local Resource = {}
Resource.__index = Resource

local function need(id, what)
  if type(id) ~= "string" or id == "" then error(what .. " expected", 3) end
  return query.escape(id)
end

---@param id string
---@return table
function Resource:get(id)
  return self.client:request("GET", BASE .. self.path .. "/" .. need(id, "an id"))
end

---@param object table
---@return table
function Resource:create(object)
  return self.client:request("POST", BASE .. self.path, { body = object })
end

---@param id string
---@param options table? of the kind
function Resource:delete(id, options)
  self.client:request("DELETE", BASE .. self.path .. "/" .. need(id, "an id"), { query = options })
end

-- The query of a list: KFP's names; the page token alone carries filter and order.
local function list_query(options, token)
  return {
    filter = not token and query.filter(options.filter) or nil, sort_by = not token and options.sort_by or nil,
    page_size = options.page_size, page_token = token, namespace = options.namespace,
    experiment_id = options.experiment_id,
  }
end

---One page.
---@param options table?
---@param token string?
---@return table[] items, string? next_token, integer total
function Resource:page(options, token)
  options = options or {}
  local path = self.list_path and self:list_path(options) or self.path
  local answer = self.client:request("GET", BASE .. path, { query = list_query(options, token) })
  local token_of_next = type(answer.next_page_token) == "string" and answer.next_page_token or nil
  return reply.list(answer, self.key), token_of_next, math.tointeger(tonumber(answer.total_size)) or 0
end

---All items, page by page, as a loop asks for them.
---@param options {filter: string|table|nil, sort_by: string?, page_size: integer?, namespace: string?}?
---@return fun(): table?
function Resource:list(options)
  local items, at, token, begun = {}, 0, nil, false
  return function()
    at = at + 1
    while items[at] == nil do
      if begun and (not token or token == "") then return nil end
      local asked = token
      items, token = self:page(options, asked)
      if token and token == asked then
        errors.raise { code = "Protocol", message = "the answer's next page is the same again" }
      end
      at, begun = 1, true
    end
    return items[at]
  end
end

-- POST /KIND/ID:verb
local function verb(name)
  return function(self, id)
    return self.client:request("POST", ("%s%s/%s:%s"):format(BASE, self.path, need(id, "an id"), name))
  end
end

local function kind(path, key, methods)
  methods.__index = methods
  setmetatable(methods, Resource)
  return function(client) return setmetatable({ client = client, path = path, key = key }, methods) end
end

-- --- pipelines and their versions -------------------------------------------------------------------------------

local pipelines = {}

---Creates a pipeline; with a version of it when one is given.
---@param object table
---@param version table?
---@return table
function pipelines:create(object, version)
  if not version then return Resource.create(self, object) end
  return self.client:request("POST", BASE .. "pipelines/create", {
    body = { pipeline = object, pipeline_version = version },
  })
end

---@param name string
---@param options {namespace: string?}?
---@return table
function pipelines:by_name(name, options)
  return self.client:request("GET", BASE .. "pipelines/names/" .. need(name, "a name"), { query = options })
end

---Changes display_name or tags, which the SDK cannot.
---@param id string
---@param change {display_name: string?, tags: table?}
---@return table
function pipelines:update(id, change)
  return self.client:request("PATCH", BASE .. "pipelines/" .. need(id, "an id"), { body = change })
end

local versions = {}

-- A version is found by its own id; the server looks at the pipeline's only where it must be said.
local function version_path(id, options)
  local pipeline = (options or {}).pipeline_id or "-"
  return ("pipelines/%s/versions/%s"):format(need(pipeline, "a pipeline's id"), need(id, "an id"))
end

function versions.list_path(_, options)
  return ("pipelines/%s/versions"):format(need(options.pipeline_id, "pipeline_id"))
end

---@param id string
---@param options {pipeline_id: string?}?
---@return table
function versions:get(id, options)
  return self.client:request("GET", BASE .. version_path(id, options))
end

---@param object table with pipeline_id
---@return table
function versions:create(object)
  local path = ("pipelines/%s/versions"):format(need(object.pipeline_id, "pipeline_id"))
  return self.client:request("POST", BASE .. path, { body = object })
end

---@param id string
---@param change table
---@param options {pipeline_id: string?}?
---@return table
function versions:update(id, change, options)
  return self.client:request("PATCH", BASE .. version_path(id, options), { body = change })
end

---@param id string
---@param options {pipeline_id: string?}?
function versions:delete(id, options)
  self.client:request("DELETE", BASE .. version_path(id, options))
end

-- --- experiments, recurring runs ---------------------------------------------------------------------------------

local experiments = { archive = verb "archive", unarchive = verb "unarchive" }

---The experiment of a name, made when there is none.
---@param name string
---@param options {namespace: string?, description: string?}?
---@return table experiment, boolean created
function experiments:ensure(name, options)
  options = options or {}
  local search = { filter = { display_name = name }, namespace = options.namespace or self.client.namespace }
  local found = self:page(search)[1]
  if found then return found, false end
  local made, problem = errors.try(self):create {
    display_name = name, namespace = search.namespace, description = options.description,
  }
  if made then return made, true end
  if not errors.is(problem, "AlreadyExists") then error(problem, 0) end
  return self:page(search)[1], false
end

local recurring = { enable = verb "enable", disable = verb "disable" }

local function words_of(cron)
  local _, count = cron:gsub("%S+", "")
  return count
end

---Creates a recurring run. A cron of five fields is refused: the server would take its minutes for seconds.
---@param object table
---@return table
function recurring:create(object)
  local cron = ((object.trigger or {}).cron_schedule or {}).cron
  if cron and cron:sub(1, 1) ~= "@" and words_of(cron) == 5 then
    errors.raise { code = "InvalidArgument", message =
      ("cron %q has five fields; KFP wants six, seconds first: %q"):format(cron, "0 " .. cron) }
  end
  return Resource.create(self, object)
end

-- --- runs ---------------------------------------------------------------------------------------------------------

local runs = { archive = verb "archive", unarchive = verb "unarchive", terminate = verb "terminate",
  retry = verb "retry" }

for _, name in ipairs { "wait", "logs", "metrics", "artifacts", "artifact", "tasks" } do
  runs[name] = function(self, ...) return require "kfp.client.runs"[name](self, ...) end
end

function runs:start(run, options)
  return require "kfp.client.start".start(self, run, options)
end

local KINDS = {
  pipelines = kind("pipelines", "pipelines", pipelines), versions = kind("versions", "pipeline_versions", versions),
  experiments = kind("experiments", "experiments", experiments), runs = kind("runs", "runs", runs),
  recurring = kind("recurringruns", "recurringRuns", recurring),
}

-- Where a namespace is part of the question, that of the client holds unless another is given.
local NAMESPACED = { pipelines = true, experiments = true, runs = true, recurring = true }

---@param client kfp.Client
---@return table<string, table>
function M.of(client)
  local map = {}
  for name, make in pairs(KINDS) do
    local resource = make(client)
    if NAMESPACED[name] then
      local page = resource.page
      resource.page = function(self, options, token)
        local asked = {}
        for key, value in pairs(options or {}) do asked[key] = value end
        if asked.namespace == nil and not asked.experiment_id then asked.namespace = client.namespace end
        return page(self, asked, token)
      end
    end
    resource.try = errors.try(resource)
    map[name] = resource
  end
  return map
end

return M
