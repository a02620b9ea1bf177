-- The client against the recorded exchanges of a real API server: the same requests, and the same answers.
local test = require "test"
local cel = require "cel"
local errors = require "errors"
local json = require "json"
local kube = require "kube"
local wire = dofile "tests/lua/support/wire.lua"

local files = wire.load()
local manifest = wire.manifest()
local discovery = wire.discovery(files)

local function exchange_of(file, seq)
  for _, exchange in ipairs(files[file]) do
    if exchange.seq == seq then return exchange end
  end
  error(("the manifest names %s %d, which is not there"):format(file, seq))
end

-- The exchanges of a class, in their order.
local function class(name)
  local list = {}
  for _, file in ipairs { "admission-policy.json", "admission.json", "apply.json", "audit.json", "auth.json",
    "controllers.json", "crd.json", "crud.json", "delete.json", "discovery-1.json", "discovery-2.json", "dryrun.json",
    "errors.json", "kubeflow-1.json", "kubeflow-2.json", "leases-events.json", "list.json", "metadata.json",
    "patch.json", "quota-psa.json", "selectors.json", "subresources.json", "tables.json", "watch.json" } do
    for _, seq in ipairs(manifest[name][file] or {}) do list[#list + 1] = exchange_of(file, seq) end
  end
  return list
end

local function title(exchange)
  return ("%s %d (%s)"):format(exchange.file, exchange.seq, exchange.name)
end

-- A client as the one who made the recording: its requests are answered by the exchange.
local function client_for(exchange, raw)
  local transport, seen = wire.transport(not raw and discovery or nil, { exchange.response })
  local headers = exchange.request.headers or {}
  return kube.connect {
    server = "https://recorded", transport = transport, log = function() end,
    as = headers["Impersonate-User"], as_groups = headers["Impersonate-Group"],
  }, seen
end

local function check_request(exchange, seen)
  local want = exchange.request
  test.equal(#seen, 1)
  test.equal(seen[1].method, want.method)
  test.equal(seen[1].path, want.path)
  test.same(seen[1].query, wire.query(want.query))
  local want_type = want.headers and want.headers["Content-Type"]
  if want.body == nil or want.body == "" then
    test.equal(seen[1].body, want.body)
  elseif type(want.body) == "table" and not want.body["$text"] then
    test.same(json.decode(seen[1].body), want.body)
  else
    test.equal(seen[1].body, wire.text(want.body))
  end
  if want_type and want.body then test.equal(seen[1].headers["Content-Type"], want_type) end
  for _, name in ipairs { "Impersonate-User", "Impersonate-Group" } do
    test.equal(seen[1].headers[name], want.headers and want.headers[name])
  end
end

-- --- results --------------------------------------------------------------------------------------------

local function body_of(exchange)
  local text = wire.text(exchange.response.body)
  if text == nil or text == "" then return nil end
  return json.try.decode(text, { duplicates = "last" })
end

local function plain(value)
  return json.decode(json.encode(value))
end

local function check_failure(exchange, problem)
  assert(errors.is(problem), errors.text(problem))
  local status = body_of(exchange)
  if not status then -- a plain text
    test.equal(problem.code, "HTTP" .. exchange.response.status)
    return
  end
  test.same(plain(problem.object), status)
  local reason = status.reason ~= "" and status.reason or nil
  test.equal(problem.code, reason or "HTTP" .. exchange.response.status)
  test.equal(problem.status, exchange.response.status)
  test.equal(problem.message:sub(1, #status.message), status.message)
end

local checks = {}

function checks.list(exchange, items, meta)
  local body = body_of(exchange)
  test.same(plain(items), body.items)
  test.same(plain(meta), body.metadata)
  for _, item in ipairs(items) do test.equal(item.kind .. "List", body.kind) end
end

function checks.table(exchange, printed)
  local body = body_of(exchange)
  test.same(plain(printed.columns), body.columnDefinitions)
  test.same(plain(printed.rows), body.rows == json.null and {} or body.rows)
  for _, row in ipairs(printed.rows) do test.equal(#row, #printed.columns) end
end

function checks.logs(exchange, text)
  test.equal(text, wire.text(exchange.response.body) or "")
end

local function check_success(exchange, call, results)
  local check = checks[call[1]]
  if check then return check(exchange, table.unpack(results, 2, results.n)) end
  test.same(plain(results[2]), body_of(exchange))
  local warning = exchange.response.headers and exchange.response.headers.Warning
  if warning and type(results[3]) == "table" then
    test.equal(#results[3], type(warning) == "table" and #warning or 1)
  end
end

local function check_watch(exchange, c, call)
  local got, want, ending = {}, exchange.response.stream, nil
  local ok, problem = pcall(function()
    for event in c:watch(table.unpack(call, 2)) do
      got[#got + 1] = { type = event.type, object = event.object }
      test.equal(event.resource_version, event.object.metadata.resourceVersion)
    end
  end)
  if not ok then ending = problem end
  for index, event in ipairs(want) do
    if event.line.type == "ERROR" then
      test.same(plain(ending.object), event.line.object)
      test.equal(ending.code, "Expired")
    else
      test.same(plain(got[index]), event.line)
    end
  end
  test.equal(#got, ending and #want - 1 or #want)
end

local function replay(exchange)
  local call = assert(wire.call(exchange), "no call of the client makes this request")
  local c, seen = client_for(exchange)
  if call[1] == "watch" then
    check_watch(exchange, c, call)
  else
    local results = table.pack(pcall(c[call[1]], c, table.unpack(call, 2)))
    if results[1] then
      assert(exchange.response.status < 400, "the error was not raised")
      check_success(exchange, call, results)
    else
      assert(exchange.response.status >= 400, errors.text(results[2]))
      check_failure(exchange, results[2])
    end
  end
  check_request(exchange, seen)
end

local function all(exchanges, run)
  local problems = {}
  for _, exchange in ipairs(exchanges) do
    local ok, problem = pcall(run, exchange)
    if not ok then problems[#problems + 1] = title(exchange) .. ": " .. errors.text(problem) end
  end
  if #problems > 0 then error(#problems .. " exchanges differ\n" .. table.concat(problems, "\n"), 0) end
end

-- --- tests ----------------------------------------------------------------------------------------------

test("every exchange belongs to exactly one class, and few to none", function()
  local classes, total, none = {}, 0, 0
  for _, name in ipairs { "client", "raw", "server", "lab", "none" } do
    for _, exchange in ipairs(class(name)) do
      test.equal(classes[title(exchange)], nil)
      classes[title(exchange)] = name
      if name == "none" then none = none + 1 end
    end
  end
  for _, exchanges in pairs(files) do
    for _, exchange in ipairs(exchanges) do
      total = total + 1
      assert(classes[title(exchange)], title(exchange) .. " has no class")
    end
  end
  test.equal(total, 433)
  assert(none <= total * 0.03, none .. " exchanges are not applicable")
  assert(#class "client" >= total * 0.6, "too few are made by the client's own methods")
end)

local EXPRESSIONS = { expression = true, rule = true, messageExpression = true, valueExpression = true }

local function each_expression(value, visit)
  for key, below in pairs(value) do
    if type(below) == "table" then
      each_expression(below, visit)
    elseif EXPRESSIONS[key] and type(below) == "string" then
      visit(below)
    end
  end
end

test("every CEL expression of the recording compiles, and none does with a function that is not there", function()
  local seen, count = {}, 0
  each_expression(files, function(text)
    if seen[text] then return end
    seen[text], count = true, count + 1
    cel.compile(text)
    test.raises("CEL", function() cel.compile(("[%s].all(x, nosuch(x))"):format(text)) end)
  end)
  assert(count >= 10, count .. " expressions were found")
end)

test("the client makes the recorded requests and gives the recorded answers", function()
  all(class "client", replay)
end)

test("other requests go through c:request as they are", function()
  all(class "raw", function(exchange)
    local c, seen = client_for(exchange, true)
    local want = exchange.request
    local response = c:request(want.method, want.path, {
      query = want.query, headers = want.headers, body = wire.text(want.body),
    })
    test.equal(response.status, exchange.response.status)
    local text = exchange.response.stream and response.body or wire.text(exchange.response.body) or ""
    test.equal(response.body, text)
    for name, value in pairs(want.headers or {}) do test.equal(seen[1].headers[name], value) end
    seen[1].headers["Impersonate-User"] = want.headers and want.headers["Impersonate-User"]
    check_request(exchange, seen)
  end)
end)

test("a question about one's own rights is the recorded review", function()
  for _, exchange in ipairs(files["auth.json"]) do
    if exchange.name:find "^self access review" then
      local c, seen = client_for(exchange)
      local asked = exchange.request.body.spec.resourceAttributes
      local allowed, reason = c:can_i(asked.verb, asked.resource, { namespace = asked.namespace })
      test.equal(allowed, exchange.response.body.status.allowed)
      test.equal(reason, exchange.response.body.status.reason)
      check_request(exchange, seen)
    end
  end
end)

test("the API server is the client of webhooks: its reviews are complete and ours to answer", function()
  local exchanges = class "server"
  assert(#exchanges > 0)
  all(exchanges, function(exchange)
    local review = exchange.request.body
    test.equal(review.kind, "AdmissionReview")
    test.equal(exchange.response.body.response.uid, review.request.uid)
  end)
end)
