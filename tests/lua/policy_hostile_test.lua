-- Policies that mean harm, or are badly mistaken: each is stopped or refused with policy, file, line and the review's
-- uid, the others go on, and the host answers the next review.
local test = require "test"
local fs = require "fs"
local json = require "json"
local policy = require "policy"

local UID = "7f0b2891-916f-4ed6-b7cd-27bff1815a8c"

local function review()
  return { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = { uid = UID, operation = "CREATE",
    kind = { group = "", version = "v1", kind = "Pod" }, resource = { group = "", version = "v1", resource = "pods" },
    namespace = "team-a", name = "p", userInfo = { username = "ann" },
    object = { apiVersion = "v1", kind = "Pod", metadata = { name = "p" } } } }
end

local HEAD = [[
local policy = require "policy"
policy.mutate { name = "calm", match = { resource = "pods" }, apply = function(req)
  req.object.metadata.labels = { calm = "yes" }
end }
local MATCH = { resource = "pods" }
policy.mutate { name = "hostile", on_error = "allow", timeout = "TIME", match = MATCH, apply = function(req)
]]
local HOSTILE_FROM = 7 -- the first line of the hostile code

local function load(code, time)
  local directory = test.tmpdir()
  fs.write(directory .. "/site.lua", HEAD:gsub("TIME", time or "20s") .. code .. "\nend }\n")
  return policy.load(directory .. "/site.lua")
end

-- Asks once; the record of the hostile policy.
local function ask(set)
  local answer, records = set:answer(review())
  test.equal(answer.response.uid, UID)
  if not answer.response.allowed then error("it is denied: " .. answer.response.status.message, 2) end
  test.equal(answer.response.patch ~= nil, true) -- the calm one's
  return records[2], answer
end

local STOPPED = {
  ["a loop"] = "while true do end",
  ["a loop of goto"] = "::again:: goto again",
  ["a loop under pcall"] = "while true do pcall(function() while true do end end) end",
  ["a handler of errors that loops"] = "xpcall(error, function() while true do end end)",
  ["a coroutine"] = "coroutine.wrap(function() while true do end end)()",
  ["coroutines without end"] = "while true do local c = coroutine.wrap(function() coroutine.yield() end) c() c() end",
  ["a coroutine in a coroutine under pcall"] = [[
    local function nest(n)
      if n == 0 then while true do end end
      local c = coroutine.create(function() nest(n - 1) end)
      while true do pcall(coroutine.resume, c) end
    end
    nest(5)]],
  ["__index"] = "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
  ["__eq"] = "local m = { __eq = function() while true do end end }\n"
    .. "return setmetatable({}, m) == setmetatable({}, m)",
  ["__lt in a sort"] = "local m = { __lt = function() while true do end end }\n"
    .. "table.sort { setmetatable({}, m), setmetatable({}, m) }",
  ["__concat"] = "return 'x' .. setmetatable({}, { __concat = function() while true do end end })",
  ["__len"] = "return #setmetatable({}, { __len = function() while true do end end })",
  ["__call"] = "setmetatable({}, { __call = function() while true do end end })()",
  ["__close"] = "local _ <close> = setmetatable({}, { __close = function() while true do end end })",
  ["__close that swallows the stop"] = [[
    while true do
      pcall(function()
        local _ <close> = setmetatable({}, { __close = function() while true do end end })
        while true do end
      end)
    end]],
  ["__tostring"] = "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
  ["__pairs"] = "for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end",
  ["an iterator"] = "for _ in function() return 1 end do end",
  ["a comparator of a sort"] = "table.sort({ 3, 2, 1 }, function() while true do end end)",
  ["a pattern"] = "return (('a'):rep(30000)):find(('.-'):rep(20) .. 'b')",
  ["a pattern in gsub"] = "return (('a'):rep(30000)):gsub('(.-)*b', function() end)",
  ["a loop of gsub"] = "return (('a'):rep(100)):gsub('a', function() while true do end end)",
  ["strings without end"] = "local s = 'x' while true do s = s .. 'x' end",
  ["load"] = "load('while true do end')()",
}

local MEMORY = {
  ["a table"] = "local t = {} for i = 1, 1e9 do t[i] = { i } end",
  ["string.rep"] = "return ('x'):rep(1 << 40)",
  ["string.rep with a separator"] = "return ('x'):rep(1 << 20, ('y'):rep(1 << 20))",
  ["doubling"] = "local s = 'x' while true do s = s .. s end",
  ["table.concat"] = "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e5) end return table.concat(t)",
  ["string.format"] = "local s = ('x'):rep(1 << 20) return (('%s'):rep(60)):format(table.unpack((function()\n"
    .. "local t = {} for i = 1, 60 do t[i] = s end return t end)()))",
  ["gsub"] = "return (('x'):rep(1e5)):gsub('x', ('y'):rep(1e5))",
  ["closures"] = "local f for i = 1, 1e9 do local g = f f = function() return g, i end end",
  ["coroutines"] = "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) end",
  ["memory under pcall"] =
    "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = { i } end end) end",
}

local FAILS = { -- stopped by Lua or by us, with these words
  ["deep recursion"] = { "local function f() return 1 + f() end return f()", "" }, -- of the stack, or of memory
  ["deep recursion by metamethods"] = {
    "local t = {} setmetatable(t, { __index = function(s, k) return s[k .. 'x'] end }) return t.x", "stack overflow" },
  ["a deep pattern"] = { "return (('('):rep(1e5)):find(('('):rep(1e5))", "too many captures" },
  ["a width of string.format"] = { "return ('%99999d'):format(1)", "" },
  ["table.unpack"] = { "return table.unpack({}, 1, 1e8)", "too many results" },
  ["string.byte"] = { "return (('x'):rep(1e7)):byte(1, -1)", "" },
  ["a finalizer"] = { "setmetatable({}, { __gc = function() while true do end end })", "__gc" },
  ["an invalid order"] = { "local t = {} for i = 1, 100 do t[i] = i % 7 end\n"
    .. "table.sort(t, function() return true end)", "invalid order function" },
  ["a cycle in the object"] = { "req.object.spec = req.object", "" },
  ["a function in the object"] = { "req.object.spec = function() end", "" },
  ["holes in a list"] = { "req.object.spec = { [1] = 1, [3] = 3 }", "" },
  ["not-a-number in the object"] = { "req.object.spec = 0 / 0", "" },
  ["mixed keys"] = { "req.object.spec = { 1, x = 2 }", "" },
  ["an object that is none"] = { "req.object = 7", "no object any more" },
  ["a list for an object"] = { "req.object = require 'json'.array { 1 }", "no object any more" },
  ["a yield"] = { "coroutine.yield()", "" },
  ["a global"] = { "leaked = true", "global 'leaked' is set in a handler" },
  ["a library"] = { "string.format = print", "read-only" },
  ["a library by rawset"] = { "rawset(table, 'concat', nil)", "read-only" },
  ["a library through pairs"] = { "local _, real = pairs(string) real.format = print", "read-only" },
  ["what a library holds"] = { "require 'kube'.patch.diff = print", "read-only" },
  ["what a library holds, through pairs"] = {
    "for _, inner in pairs(require 'kube') do if type(inner) == 'table' then inner.x = 1 end end", "read-only" },
  ["the mark of arrays"] = { "getmetatable(require 'json'.array {}).__index = print", "read-only" },
  ["a global of a loaded text"] = { "load('leaked = true')()", "global 'leaked' is set in a handler" },
  ["the host's modules in a loaded text"] = { "load('return require \"policy.inside.review\"')().finish()",
    "no module of policies" },
  ["the metatable of texts"] = { "getmetatable('').__index = nil", "" },
  ["the host's modules"] = { "require 'policy.inside.review'.finish()", "no module of policies" },
  ["a denial that is no text"] = { "return req:deny { message = {} }", "needs a message" },
  ["an audit key"] = { "req:audit({}, 1)", "plain key" },
  ["an error whose text loops"] = { "error(setmetatable({}, { __tostring = function() while true do end end }))",
    "raised a table" },
  ["a code that is none"] = { "return req:deny { message = 'no', code = 1e400 }", "from 400 to 599" },
  ["causes that are none"] = { "return req:deny { message = 'no', causes = { 7 } }", "each cause is" },
  ["bytes in a patch"] = { "req.object.metadata.name = '\\xff'", "" },
  ["an error that is nil"] = { "error(nil)", "" },
  ["an error that is a table"] = { "error { a = { b = {} } }", "" },
}

local function check_said(record, code, name)
  local message = record.message
  if record.verdict ~= "error" then error(("%s: the verdict is %s"):format(name, record.verdict)) end
  if code and record.code ~= code then error(("%s: %s, not %s: %s"):format(name, record.code, code, message)) end
  local said = message:find("policy hostile failed in review " .. UID, 1, true)
  if not said then error(("%s: %s"):format(name, message)) end
end

-- The line of the policy file that a message names.
local function line_of(message)
  local line = tonumber(message:match "site%.lua:(%d+): ")
  return line or message:find("site.lua (a loaded text):1: ", 1, true) and HOSTILE_FROM
end

-- On a machine with much to do the time may be over before the handler has begun: then it gets more.
local function stopped(name, code)
  local message
  for _, time in ipairs { "40ms", "400ms", "4s" } do
    local set = load(code, time)
    local record, answer = ask(set)
    check_said(record, "Timeout", name)
    test.equal(answer.response.warnings[1], record.message)
    check_said(ask(set), "Timeout", name) -- again: nothing is left over of the first time
    set:close()
    message = record.message
    local line = line_of(message)
    if line and line >= HOSTILE_FROM then return end
  end
  error(("%s: no line: %s"):format(name, message))
end

test("what takes time without end is stopped, with file, line and uid, and the host goes on", function()
  for name, code in pairs(STOPPED) do stopped(name, code) end
end)

test("what takes memory without end is stopped, and the memory is free again", function()
  for name, code in pairs(MEMORY) do
    local set = load(code, "40ms")
    local before = set.box:used()
    local record = ask(set)
    check_said(record, nil, name)
    if record.code ~= "Memory" and record.code ~= "Timeout" then error(name .. ": " .. record.message) end
    ask(set)
    set.box:collect()
    local kept = set.box:used() - before
    if kept > 4 << 20 then error(("%s: %d bytes are kept"):format(name, kept)) end
    set:close()
  end
end)

test("what cannot be is refused with a reason", function()
  for name, case in pairs(FAILS) do
    local set = load(case[1])
    local record = ask(set)
    check_said(record, nil, name)
    if not record.message:find(case[2], 1, true) then error(("%s: %s"):format(name, record.message)) end
    ask(set)
    set:close()
  end
end)

test("what would reach out of the sandbox is not there", function()
  local set = load [[
    local found = {}
    for _, name in ipairs { "io", "package", "debug", "dofile", "loadfile", "newproxy" } do
      if rawget(_G, name) ~= nil or _G[name] ~= nil then
        if not (name == "debug" and next(_G.debug) == nil) then found[#found + 1] = name end
      end
    end
    for _, name in ipairs { "execute", "exit", "getenv", "remove", "rename", "tmpname", "setlocale" } do
      if os[name] then found[#found + 1] = "os." .. name end
    end
    if string.dump then found[#found + 1] = "string.dump" end
    for _, name in ipairs { "io", "os", "debug", "package", "ffi", "socket", "fs", "proc", "http", "sandbox",
      "kube.client", "task", "server", "workers", "host", "sqlite", "../../etc/passwd", "/etc/passwd" } do
      if pcall(require, name) then found[#found + 1] = "require " .. name end
    end
    if load("\27Lua") then found[#found + 1] = "bytecode" end
    req:warn("found: %s", table.concat(found, ", "))
    req.object = nil
    error "done"]]
  local record, answer = ask(set)
  test.equal(record.message:find("done", 1, true) ~= nil, true)
  test.equal(answer.response.warnings[1]:find("found: ", 1, true) == nil, true) -- a failed policy has said nothing
  local own = load [[
    local names = {}
    for _, name in ipairs { "os", "debug" } do if pcall(require, name) then names[#names + 1] = name end end
    local lib = debug and next(debug)
    req.object.metadata.annotations = { modules = table.concat(names, " "), debug = tostring(lib),
      execute = tostring(os.execute), io = tostring(io), dump = tostring(string.dump) }]]
  local patched = json.decode(require "hash".unbase64(select(2, ask(own)).response.patch))
  for _, operation in ipairs(patched) do
    if operation.path:find "annotations" then
      test.equal(operation.value.execute, "nil")
      test.equal(operation.value.io, "nil")
      test.equal(operation.value.dump, "nil")
      test.equal(operation.value.debug == "nil" or operation.value.debug == "traceback", true)
    end
  end
end)

test("a file that loops or grows while it is loaded is refused", function()
  for code, want in pairs { ["while true do end"] = "Timeout",
    ["local t = {} while true do t[#t + 1] = {} end"] = "Memory" } do
    local directory = test.tmpdir()
    fs.write(directory .. "/site.lua", code)
    local ok, problem = pcall(policy.load, directory .. "/site.lua")
    test.equal(ok, false)
    test.equal(problem.code == want or problem.code == "Timeout", true)
  end
end)

test("words without end are cut", function()
  local set = load "for i = 1, 1e5 do req:warn(('w'):rep(1000)) end"
  local _, answer = ask(set)
  local size = 0
  for _, text in ipairs(answer.response.warnings or {}) do
    test.equal(#text <= 256, true)
    size = size + #text
  end
  test.equal(size <= 4096, true)
end)

test("bytes that are no text are question marks in what is said", function()
  local set = load [[
    req:warn("\xff%s", ("ä"):rep(200)) req:audit("a", "\xfe")
    return req:deny { message = "no \xff", reason = "\xff", causes = { { field = "\xff", message = 7 } } }]]
  local answer = set:answer(review())
  local response = json.decode(json.encode(answer)).response
  test.equal(response.status.message, "policy hostile: no ?")
  test.same(response.status.details.causes, { { field = "?", message = "7" } })
  test.equal(utf8.len(response.warnings[1]) ~= nil, true)
  test.equal(response.auditAnnotations["hostile.a"], "?")
end)

test("the value of a Secret appears in no answer, record or error", function()
  local canary = "canary-5up3r-s3cret"
  local directory = test.tmpdir()
  local leaks = {
    deny = "return req:deny('it is %s', value)", warn = "req:warn('it is %s', value) return req:deny 'no'",
    audit = "req:audit('value', value) return req:deny('no')", error = "error('it is ' .. value)",
    table = "error { code = value, message = value }", index = "local t = nil return t[value].x",
    number = "return req:deny { message = value, causes = { { message = value } } }",
    text = "error(setmetatable({}, { __tostring = function() return value end }))",
    json = "return req:deny(require 'json'.encode(req.object))", raw = "return req:deny(req.object.data.password)",
  }
  local lines = { 'local policy = require "policy"', 'policy.grant { reads = { "secrets" } }' }
  for name, code in pairs(leaks) do
    lines[#lines + 1] = ([[policy.validate { name = "%s", match = { resource = "secrets | pods" }, check = function(req)
      local secret = req:lookup("secrets", "team-a", "s")
      local value = secret.stringData.token
      if req.resource.resource == "pods" then req.object = secret end
      %s end }]]):format(name, code)
  end
  fs.write(directory .. "/site.lua", table.concat(lines, "\n"))
  local set = policy.load(directory .. "/site.lua")
  local hash = require "hash"
  local secret = { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "team-a" },
    data = { password = hash.base64(canary) }, stringData = { token = canary } }
  set:know { secret }
  local of_secret = review()
  local request = of_secret.request
  request.resource.resource, request.kind.kind, request.object = "secrets", "Secret", secret
  for _, asked in ipairs { of_secret, review() } do
    local answer, records, facts = set:answer(asked)
    local said = json.encode { answer, records, facts }
    test.equal(#records, 10)
    for _, word in ipairs { canary, hash.base64(canary) } do
      local at = said:find(word, 1, true)
      if at then error("it leaks: " .. said:sub(math.max(1, at - 150), at + 40)) end
    end
    test.equal(said:find("***", 1, true) ~= nil, true)
  end
end)
