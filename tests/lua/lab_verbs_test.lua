-- What clients ask of an API server, generated: each resource of the recorded discovery, each verb that it has there,
-- each option that kubectl, the Python client, kopf or our own scripts send with it. The answer is that of the
-- recordings (status, reason, details), or 404 or 405 in plain words where the lab leaves something out.
-- What is left out by decision is below; a table of all is printed.
local api = require "lab.api"
local fs = require "fs"
local json = require "json"
local test = require "test"

-- --- what there is, by the real server -----------------------------------------------------------------------------

-- Of each the recording has the aggregated discovery; groups that somebody installed there do not count.
local function recorded_resources()
  local list = {}
  for _, exchange in ipairs(json.decode(fs.read "tests/fixtures/wire/discovery-1.json")) do
    if exchange.name:find "aggregated$" then
      for _, group in ipairs(exchange.response.body.items) do
        local name = group.metadata.name or ""
        local installed = name:find "istio" or name:find "kubeflow" or name:find "argoproj"
        for _, version in ipairs(installed and {} or group.versions) do
          for _, resource in ipairs(version.resources) do
            list[#list + 1] = { group = name, version = version.version, plural = resource.resource,
              namespaced = resource.scope == "Namespaced", kind = resource.responseKind.kind, verbs = resource.verbs,
              subresources = resource.subresources or {} }
          end
        end
      end
    end
  end
  return list
end

-- Left out by decision: kinds of which no bundled script, policy or pod of a lab makes use.
local LEFT_OUT = { ["apiregistration.k8s.io"] = true, autoscaling = true, ["certificates.k8s.io"] = true,
  ["flowcontrol.apiserver.k8s.io"] = true, ["node.k8s.io"] = true, ["resource.k8s.io"] = true,
  ["storagemigration.k8s.io"] = true, componentstatuses = true, ipaddresses = true, servicecidrs = true,
  csistoragecapacities = true, volumeattributesclasses = true, mutatingadmissionpolicies = true,
  mutatingadmissionpolicybindings = true }

local function is_left_out(resource) return LEFT_OUT[resource.group] or LEFT_OUT[resource.plural] or false end

-- --- what is asked ---------------------------------------------------------------------------------------------------

local TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
local PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
local PARTIAL_ONE = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

-- A row: who, query, headers, body, and what comes: status, reason, kind.
local function row(who, query, status, more)
  local out = more or {}
  out.who, out.query, out.status = who, query, status
  return out
end

local function missing(more)
  local out = { reason = "NotFound", details = true }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end

local ASKED = {
  list = {
    row("kubectl", "limit=500", 200, { accept = TABLE, kind = "Table" }), row("kubectl", "limit=500", 200),
    row("kubectl", "labelSelector=a%3Db%2C!c&limit=500", 200), row("kubectl", "fieldSelector=metadata.name%3Dx", 200),
    row("kubectl", "includeObject=None", 200, { accept = TABLE, kind = "Table" }),
    row("kubectl", "includeObject=Some", 400, { accept = TABLE, reason = "BadRequest" }),
    row("kubectl", "pretty=true", 200), row("kubectl", "labelSelector=a%20in%20(", 400, { reason = "BadRequest" }),
    row("python", "", 200), row("python", "resourceVersion=0", 200), row("python", "limit=1", 200),
    row("python", "limit=x", 400, { reason = "BadRequest" }), row("python", "timeoutSeconds=5", 200),
    row("python", "continue=rubbish", 400, { reason = "BadRequest" }),
    row("python", "fieldSelector=no.such%3D1", 400, { reason = "BadRequest" }), row("kopf", "", 200, { wide = true }),
    row("ours", "resourceVersion=0&resourceVersionMatch=NotOlderThan", 200),
    row("ours", "limit=500&resourceVersion=0", 200), row("ours", "limit=500", 200, { accept = PARTIAL,
      kind = "PartialObjectMetadataList" }),
    row("ours", "resourceVersion=abc", 400, { reason = "BadRequest" }),
    row("ours", "resourceVersionMatch=Exact", 422, { reason = "Invalid" }),
    row("ours", "resourceVersion=99999999", 504, { reason = "Timeout" }),
    row("ours", "", 406, { accept = "text/plain", reason = "NotAcceptable" }),
  },
  watch = {
    row("kubectl", "watch=true&resourceVersion=0", 200, { accept = TABLE, stream = true }),
    row("python", "watch=True&timeoutSeconds=1", 200, { stream = true }),
    row("kopf", "watch=true&resourceVersion=1&allowWatchBookmarks=true", 200, { stream = true, wide = true }),
    row("ours", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", 200,
      { stream = true }),
    row("ours", "watch=1&resourceVersion=0", 200, { stream = true, accept = PARTIAL_ONE }),
    row("ours", "watch=1&resourceVersion=abc", 500),
    row("ours", "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1", 422, { reason = "Invalid" }),
  },
  get = {
    row("kubectl", "", 404, missing { accept = TABLE }), row("python", "pretty=true", 404, missing()),
    row("kopf", "", 404, missing()), row("ours", "resourceVersion=0", 404, missing()),
    row("ours", "", 404, missing { accept = PARTIAL_ONE }),
  },
  create = {
    row("kubectl", "fieldManager=kubectl-create&fieldValidation=Strict", 400, { body = { kind = "Strange",
      apiVersion = "strange.example/v1" }, reason = "BadRequest" }),
    row("python", "", 400, { text = "", reason = "BadRequest" }),
    row("python", "", 400, { text = "{", reason = "BadRequest" }),
    row("kubectl", "dryRun=Some", 422, { body = {}, reason = "Invalid" }),
    row("kubectl", "fieldValidation=Some", 422, { body = {}, reason = "Invalid" }),
    row("ours", "", 415, { text = "x", media = "text/plain", reason = "UnsupportedMediaType" }),
  },
  patch = {
    row("kubectl", "fieldManager=kubectl-patch", 404, missing { body = { metadata = { labels = { a = "b" } } },
      media = "application/strategic-merge-patch+json" }),
    row("kubectl", "", 404, missing { body = { metadata = {} }, media = "application/merge-patch+json" }),
    row("python", "", 404, missing { body = json.array {}, media = "application/json-patch+json" }),
    row("kopf", "", 404, missing { body = { metadata = { annotations = { a = "b" } } },
      media = "application/merge-patch+json" }),
    row("ours", "", 422, { body = { metadata = {} }, media = "application/apply-patch+yaml", reason = "Invalid" }),
    row("ours", "", 415, { body = {}, media = "application/json" }),
  },
  delete = {
    row("kubectl", "", 404, missing { body = { propagationPolicy = "Background" } }),
    row("python", "gracePeriodSeconds=0", 404, missing()),
    row("ours", "dryRun=All", 404, missing { body = { preconditions = { uid = "u" } } }),
    row("ours", "propagationPolicy=Some", 422, { reason = "Invalid" }),
  },
  deletecollection = {
    row("python", "labelSelector=no%3Dthing", 200), row("ours", "labelSelector=a%20in%20(", 400,
      { reason = "BadRequest" }),
  },
}

local METHODS = { list = "GET", watch = "GET", get = "GET", create = "POST", patch = "PATCH", delete = "DELETE",
                  deletecollection = "DELETE" }
local NAMED = { get = true, patch = true, delete = true }

-- Verbs that the real server refuses for every resource.
local REFUSED = { { "PUT", false }, { "PATCH", false }, { "POST", true } }

local function path_of(resource, name, wide, sub)
  local head = resource.group == "" and "/api/" .. resource.version
    or ("/apis/%s/%s"):format(resource.group, resource.version)
  local inner = resource.namespaced and not wide and "/namespaces/default/" or "/"
  return head .. inner .. resource.plural .. (name and "/" .. name or "") .. (sub and "/" .. sub or "")
end

-- --- asking ---------------------------------------------------------------------------------------------------

local function lab()
  local cluster = api.new {}
  return function(method, path, asked)
    local body = asked.text or asked.body and json.encode(asked.body)
    local response = cluster:handle { method = method, path = path, query = asked.query, body = body,
      headers = { accept = asked.accept or "application/json", ["user-agent"] = asked.who or "kubectl/v1.37.2",
        authorization = "Bearer " .. cluster.auth.admin_token,
        ["content-type"] = asked.media or body and "application/json" or nil } }
    local text = response.body
    return response, text and text:find "^%s*{" and json.decode(text) or text
  end
end

-- What is wrong with an answer; nil when it is that of the real server.
local function fault(resource, asked, response, value)
  if response.status ~= asked.status then
    return ("%d, not %d: %s"):format(response.status, asked.status, type(value) == "table" and value.message or "")
  end
  if asked.stream then return response.stream == nil and "no stream" or nil end
  if type(value) ~= "table" then return "no JSON" end
  if asked.reason and value.reason ~= asked.reason then return ("reason %s"):format(value.reason) end
  if asked.details and (value.details.kind ~= resource.plural or value.details.name ~= "no-such"
    or (value.details.group or "") ~= resource.group) then
    return "details " .. json.encode(value.details)
  end
  if asked.status == 200 and value.kind ~= (asked.kind or resource.list_kind) then return "kind " .. value.kind end
end

-- Whether an answer says plainly that there is no such thing.
local function is_plain_refusal(response, value)
  if response.status ~= 404 and response.status ~= 405 then return false end
  if type(value) == "string" then return value:find "^404 page not found" ~= nil end
  return (value.message or "") ~= "" and value.kind == "Status"
end

local function new_sums() return { asked = 0, as_recorded = 0, left_out = 0 } end

local function count(sums, total, what)
  sums.asked, total.asked = sums.asked + 1, total.asked + 1
  if what then sums[what], total[what] = sums[what] + 1, total[what] + 1 end
end

-- All that is asked of one resource: calls check(method, path, row) for each.
local function each_request(resource, check)
  for _, verb in ipairs(resource.verbs) do
    for _, asked in ipairs(ASKED[verb] or {}) do
      check(METHODS[verb], path_of(resource, NAMED[verb] and "no-such", asked.wide), asked, verb)
    end
  end
  for _, refused in ipairs(REFUSED) do
    check(refused[1], path_of(resource, refused[2] and "no-such"), { status = 405, reason = "MethodNotAllowed",
      who = "ours", body = {} }, "refused")
  end
  for _, sub in ipairs(resource.subresources) do
    for _, verb in ipairs(sub.verbs) do
      if verb == "get" and sub.subresource ~= "proxy" then
        check("GET", path_of(resource, "no-such", false, sub.subresource), row("kubectl", "", 404, missing()), verb)
      end
    end
  end
  check("GET", path_of(resource, "no-such", false, "nothing"), row("ours", "", 404, { reason = "NotFound" }), "none")
end

-- Kinds that only answer questions have no list, no names and no 405 of their own.
local function is_question(resource) return #resource.verbs == 1 and resource.verbs[1] == "create" end

test("requests of clients, generated: as the real server answers them, or refused plainly", function()
  local call = lab()
  local total, wrong, lines = new_sums(), {}, {}
  for _, resource in ipairs(recorded_resources()) do
    local sums = new_sums()
    resource.list_kind = resource.kind .. "List"
    if is_left_out(resource) then
      for _, request in ipairs { { "GET" }, { "GET", "no-such" }, { "POST" } } do
        local response, value = call(request[1], path_of(resource, request[2]), { body = request[1] == "POST" and {} })
        local plain = is_plain_refusal(response, value)
        count(sums, total, plain and "left_out")
        if not plain then wrong[#wrong + 1] = ("%s %s: %d"):format(request[1], resource.plural, response.status) end
      end
    elseif not is_question(resource) then
      each_request(resource, function(method, path, asked, verb)
        local response, value = call(method, path, asked)
        local found = fault(resource, asked, response, value)
        count(sums, total, not found and "as_recorded")
        if found then
          wrong[#wrong + 1] = ("%s %s?%s (%s, %s): %s"):format(method, path, asked.query or "", asked.who, verb, found)
        end
      end)
    end
    if sums.asked > 0 then
      lines[#lines + 1] = ("# %-28s %-34s %5d %5d %5d"):format(resource.group ~= "" and resource.group or "core",
        resource.plural, sums.asked, sums.as_recorded, sums.left_out)
    end
  end
  print(("# %-28s %-34s %5s %5s %5s"):format("group", "resource", "asked", "same", "none"))
  for _, line in ipairs(lines) do print(line) end
  print(("# %-63s %5d %5d %5d"):format("all", total.asked, total.as_recorded,
    total.left_out))
  test.same(wrong, {})
  test.equal(total.as_recorded >= 0.95 * total.asked, true)
  test.equal(total.asked > 1500, true)
end)

test("what a client may only ask is answered, and nothing else", function()
  local call = lab()
  for _, resource in ipairs(recorded_resources()) do
    if is_question(resource) and not is_left_out(resource) then
      local response, value = call("GET", path_of(resource), {})
      test.equal(response.status, 405)
      test.equal(value.reason, "MethodNotAllowed")
    end
  end
end)
