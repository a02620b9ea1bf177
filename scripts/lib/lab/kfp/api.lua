-- lab.kfp.api: the KFP API as a function of a request: paths, and who answers them.
-- Not for listening (lab.kfp.serve).
--   local response = api.handle(state, { method = "GET", path = "/apis/v2beta1/runs", headers = {}, body = "" })

local access = require "lab.kfp.access"
local errors = require "errors"
local experiments = require "lab.kfp.experiments"
local failure = require "lab.kfp.failure"
local json = require "json"
local pipelines = require "lab.kfp.pipelines"
local recurring = require "lab.kfp.recurring"
local reports = require "lab.kfp.reports"
local runs = require "lab.kfp.runs"
local v1 = require "lab.kfp.v1"
local v1_jobs = require "lab.kfp.v1_jobs"
local v1_pipelines = require "lab.kfp.v1_pipelines"

local M = {}

local V2, V1 = "/apis/v2beta1", "/apis/v1beta1"
local JSON = { ["Content-Type"] = "application/json", ["Grpc-Metadata-Content-Type"] = "application/grpc" }
local TEXT = { ["Content-Type"] = "text/plain; charset=utf-8" }
local HEALTH = { commit_sha = "kfhost-lab", tag_name = "2.17.0" }

-- Each route: pattern with * for ids, methods, and for lists the member and how an item is shown.
local function healthz(state, request)
  return { commit_sha = HEALTH.commit_sha, tag_name = HEALTH.tag_name, multi_user = state.multi_user,
    pipeline_store = request.path:find("v2beta1", 1, true) and "database" or nil }
end

local function listed(list, member, show)
  return function(state, request)
    local page, total, token = list(state, request)
    if #page == 0 then return {} end
    local items = json.array {}
    for i, one in ipairs(page) do items[i] = show and show(one) or one end
    return { [member] = items, total_size = total, next_page_token = token }
  end
end

-- The auth review of v1: may this user do that?
local function auth(_, request)
  local query = request.query
  request.allow((query.verb or ""):lower(), (query.resources or ""):lower(), query.namespace or "")
  return {}
end

local function artifact()
  local text = "Invalid input error: read artifact from run with v2 IR spec is not supported"
  errors.raise { code = "KFP", message = text, response = { status = 500, headers = TEXT,
    body = json.encode { error_message = text, error_details = text } } }
end

local function log(state, request)
  local run = state.runs[request.id]
  if run and state.engine then return { plain = state.engine:read_log(run, request.inner) } end
  if run then
    local why = ("BadRequestError: Failed to read logs for run %s: InternalServerError: Failed to read logs from "
      .. "archive %s due to empty runtime workflow manifest: Invalid input error: Runtime workflow manifest cannot "
      .. "empty")
      :format(request.id, request.inner)
    return { plain = json.encode { error_message = why, error_details = why } }
  end
  local text = ("BadRequestError: Failed to read logs for run %s due to run fetching error: Failed to fetch run %s: "
    .. "ResourceNotFoundError: Run %s not found"):format(request.id, request.id, request.id)
  return { plain = json.encode { error_message = text, error_details = text } }
end

local ROUTES = {
  { V2 .. "/healthz", any = healthz },
  { V1 .. "/healthz", any = healthz },
  { V1 .. "/auth", GET = auth },
  { V2 .. "/experiments", GET = listed(experiments.list, "experiments", experiments.show), POST = experiments.create },
  { V2 .. "/experiments/*", GET = experiments.get, DELETE = experiments.delete },
  { V2 .. "/experiments/*:archive", POST = experiments.archive },
  { V2 .. "/experiments/*:unarchive", POST = experiments.unarchive },
  { V2 .. "/pipelines", GET = listed(pipelines.list, "pipelines", pipelines.show), POST = pipelines.create },
  { V2 .. "/pipelines/upload", any = pipelines.upload },
  { V2 .. "/pipelines/upload_version", any = pipelines.upload_version },
  { V2 .. "/pipelines/create", POST = pipelines.create_with_version },
  { V2 .. "/pipelines/names/*", GET = pipelines.by_name },
  { V2 .. "/pipelines/*", GET = pipelines.get, PATCH = pipelines.patch, DELETE = pipelines.delete },
  { V2 .. "/pipelines/*/versions", GET = listed(pipelines.list_versions, "pipeline_versions", pipelines.show_version),
    POST = pipelines.create_version },
  { V2 .. "/pipelines/*/versions/*", GET = pipelines.get_version, PATCH = pipelines.patch_version,
    DELETE = pipelines.delete_version },
  { V2 .. "/runs", GET = listed(runs.list, "runs", runs.show), POST = runs.create },
  { V2 .. "/runs/*", GET = runs.get, DELETE = runs.delete },
  { V2 .. "/runs/*:archive", POST = runs.archive },
  { V2 .. "/runs/*:unarchive", POST = runs.unarchive },
  { V2 .. "/runs/*:terminate", POST = runs.terminate },
  { V2 .. "/runs/*:retry", POST = runs.retry },
  { V2 .. "/runs/*/nodes/*/artifacts/*:read", GET = artifact },
  { "/apis/v1alpha1/runs/*/nodes/*/log", GET = log },
  { V2 .. "/recurringruns", GET = listed(recurring.list, "recurringRuns", recurring.show), POST = recurring.create },
  { V2 .. "/recurringruns/*", GET = recurring.get, DELETE = recurring.delete },
  { V2 .. "/recurringruns/*:enable", POST = recurring.enable },
  { V2 .. "/recurringruns/*:disable", POST = recurring.disable },
  { V2 .. "/workflows", POST = reports.workflow },
  { V2 .. "/scheduledworkflows", POST = reports.scheduled },
  { V1 .. "/experiments", GET = listed(v1.list_experiments, "experiments", v1.show_experiment),
    POST = v1.create_experiment },
  { V1 .. "/experiments/*", GET = v1.get_experiment, DELETE = experiments.delete },
  { V1 .. "/experiments/*:archive", POST = experiments.archive },
  { V1 .. "/experiments/*:unarchive", POST = experiments.unarchive },
  { V1 .. "/pipelines", GET = listed(v1_pipelines.list, "pipelines"), POST = v1_pipelines.create },
  { V1 .. "/pipelines/upload", any = v1_pipelines.upload },
  { V1 .. "/pipelines/upload_version", any = v1_pipelines.upload_version },
  { V1 .. "/pipelines/*", GET = v1_pipelines.get, DELETE = pipelines.delete },
  { V1 .. "/pipelines/*/templates", GET = v1_pipelines.template },
  { V1 .. "/pipelines/*/default_version/*", POST = v1_pipelines.set_default },
  { V1 .. "/namespaces/*/pipelines/*", GET = v1_pipelines.by_name },
  { V1 .. "/pipeline_versions", GET = listed(v1_pipelines.list_versions, "versions"),
    POST = v1_pipelines.create_version },
  { V1 .. "/pipeline_versions/*", GET = v1_pipelines.get_version, DELETE = v1_pipelines.delete_version },
  { V1 .. "/pipeline_versions/*/templates", GET = v1_pipelines.version_template },
  { V1 .. "/runs", GET = listed(v1.list_runs, "runs"), POST = v1.create_run },
  { V1 .. "/runs/*", GET = v1.get_run, DELETE = runs.delete },
  { V1 .. "/runs/*:archive", POST = runs.archive },
  { V1 .. "/runs/*:unarchive", POST = runs.unarchive },
  { V1 .. "/runs/*:reportMetrics", POST = v1.report_metrics },
  { V1 .. "/runs/*/terminate", POST = runs.terminate },
  { V1 .. "/runs/*/retry", POST = runs.retry },
  { V1 .. "/runs/*/nodes/*/artifacts/*:read", GET = artifact },
  { V1 .. "/jobs", GET = listed(v1_jobs.list, "jobs"), POST = v1_jobs.create },
  { V1 .. "/jobs/*", GET = v1_jobs.get, DELETE = recurring.delete },
  { V1 .. "/jobs/*/enable", POST = recurring.enable },
  { V1 .. "/jobs/*/disable", POST = recurring.disable },
  { V1 .. "/workflows", POST = reports.workflow },
  { V1 .. "/scheduledworkflows", POST = reports.scheduled },
}

for _, route in ipairs(ROUTES) do
  local pattern = route[1]:gsub("[%-%.]", "%%%0"):gsub("%*", "([^/:]+)")
  route.pattern = "^" .. pattern .. "$"
  route.literal = route[1]:find("*", 1, true) == nil
end
-- What is spelled out comes before what is open: /pipelines/upload before /pipelines/ID.
table.sort(ROUTES, function(a, b)
  if a.literal ~= b.literal then return a.literal end
  return a[1] < b[1]
end)

local function unescaped(part)
  return part and (part:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function decode_query(text)
  local query = {}
  for pair in (text or ""):gsub("+", " "):gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    query[unescaped(name)] = unescaped(value)
  end
  return query
end

local function find(path)
  for _, route in ipairs(ROUTES) do
    local id, inner = path:match(route.pattern)
    if id then return route, unescaped(id), unescaped(inner) end
  end
  return nil
end

local function answer(value)
  if value.plain then return { status = 200, headers = TEXT, body = value.plain } end
  return { status = 200, headers = JSON, body = json.encode(json.object(value)) }
end

---Answers a request.
---@param state table of lab.kfp.state
---@param given {method: string, path: string, query: string?, headers: table<string, string>, body: string}
---@return {status: integer, headers: table, body: string}
function M.handle(state, given)
  local route, id, inner = find(given.path)
  if not route then
    if given.path:find "^/apis/" then return failure.bare(5, "Not Found") end
    return { status = 404, headers = TEXT, body = "404 page not found\n" }
  end
  local handler = route.any or route[given.method]
  if not handler then return failure.bare(12, "Method Not Allowed") end
  local request = { method = given.method, path = given.path, headers = given.headers, body = given.body or "",
    query = decode_query(given.query), id = id, inner = inner }
  request.allow = access.checker(state, request)
  request.allow_upload = function(verb, resource, namespace, what)
    if namespace ~= "" and not pcall(request.allow, verb, resource, namespace) then failure.upload(400, what, true) end
  end
  local ok, value = pcall(handler, state, request)
  if ok then return answer(value) end
  if errors.is(value, "KFP") then return value.response end
  error(value, 0)
end

return M
