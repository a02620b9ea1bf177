-- gRPC: our two sides, the messages, and HTTP/2 as our client of HTTP meets it.
local test = require "test"
local core = require "grpc.core"
local errors = require "errors"
local grpc = require "grpc"
local http = require "http"
local proto = require "grpc.proto"
local task = require "task"
local x509 = require "x509"

local ECHO = "/test.Echo/Say"

local function with_client(methods, fn)
  local s <close> = grpc.serve { methods = methods, on_error = function() end }
  local c <close> = grpc.connect { address = "127.0.0.1:" .. s.port }
  fn(c)
end

test("a call brings bytes there and back", function()
  with_client({ [ECHO] = function(bytes) return bytes .. bytes end }, function(c)
    test.equal(c:call(ECHO, "ab"), "abab")
    test.equal(c:call(ECHO, ""), "")
    local long = ("x"):rep(1000000)
    test.equal(c:call(ECHO, long) == long .. long, true)
  end)
end)

test("calls run at the same time", function()
  local most, now = 0, 0
  with_client({ [ECHO] = function(bytes)
    now = now + 1
    most = math.max(most, now)
    task.sleep(0.02)
    now = now - 1
    return bytes
  end }, function(c)
    local calls = {}
    for i = 1, 20 do calls[i] = task.spawn(c.call, c, ECHO, tostring(i)) end
    for i = 1, 20 do test.equal(calls[i]:wait(5), tostring(i)) end
    test.equal(most > 1, true)
  end)
end)

test("a method's refusal is an error with its status", function()
  with_client({ [ECHO] = function() grpc.fail("NOT_FOUND", "no such thing: größe 100%") end }, function(c)
    local err = test.raises("GRPC", function() c:call(ECHO, "") end)
    test.equal(err.status, "NOT_FOUND")
    test.equal(err.message, "NOT_FOUND: no such thing: größe 100%")
    test.equal(test.raises("GRPC", function() c:call("/no/Method", "") end).status, "UNIMPLEMENTED")
  end)
end)

test("a method that fails is UNKNOWN", function()
  with_client({ [ECHO] = function() error "oops" end }, function(c)
    test.equal(test.raises("GRPC", function() c:call(ECHO, "") end).status, "UNKNOWN")
  end)
end)

test("a deadline is kept and told to the server", function()
  local told, cancelled
  with_client({ [ECHO] = function(_, request)
    told = request.headers["grpc-timeout"]
    cancelled = not pcall(function() task.event():wait() end)
    return ""
  end }, function(c)
    local err = test.raises("GRPC", function() c:call(ECHO, "", { timeout = 0.05 }) end)
    test.equal(err.status, "DEADLINE_EXCEEDED")
    test.equal(told, "50m")
    while cancelled == nil do task.sleep(0.001) end
    test.equal(cancelled, true)
  end)
end)

test("without a server a call is UNAVAILABLE", function()
  local s = grpc.serve { methods = {} }
  local c <close> = grpc.connect { address = "127.0.0.1:" .. s.port }
  s:close()
  test.equal(test.raises("GRPC", function() c:call(ECHO, "") end).status, "UNAVAILABLE")
end)

test("what is no gRPC is refused", function()
  local s <close> = grpc.serve { methods = {} }
  local url = ("http://127.0.0.1:%d%s"):format(s.port, ECHO)
  test.equal(http.request { url = url, http2 = "prior", method = "POST", body = "x" }.status, 415)
  test.raises(nil, function() http.request { url = url, http2 = false } end)
end)

-- --- HTTP/2 under the client of HTTP --------------------------------------------------------------

local function h2(handler)
  local s = core.listen { handler = handler }
  return s, ("http://127.0.0.1:%d/"):format(s.port)
end

test("trailers are given beside the headers", function()
  local _ <close>, url = h2(function()
    return { headers = { a = "b" }, body = "body", trailers = { c = "d" } }
  end)
  local response = http.request { url = url, http2 = "prior" }
  test.equal(response.version, "2")
  test.equal(response.headers.a, "b")
  test.equal(response.trailers.c, "d")
  test.equal(response.headers.c, nil)
end)

for _, way in ipairs { "stream", "connection" } do
  test("a request that was not begun is sent again: " .. way, function()
    local count = 0
    local _ <close>, url = h2(function()
      count = count + 1
      return count == 1 and { refuse = way } or { body = "answer " .. count }
    end)
    test.equal(http.request { url = url, http2 = "prior", timeout = 5 }.body, "answer 2")
    test.equal(count, 2)
  end)
end

test("a server that ends every connection after a request is lived with", function()
  local count = 0
  local _ <close>, url = h2(function()
    count = count + 1
    return count % 2 == 0 and { refuse = "connection" } or { body = "fine" }
  end)
  local session <close> = http.session { url = url, http2 = "prior", timeout = 5 }
  for _ = 1, 20 do test.equal(session:request({}).body, "fine") end
end)

local function tls_pair()
  local ca = x509.authority { name = "test" }
  local leaf = x509.issue(ca, { names = { "127.0.0.1" } })
  return ca.certificate, leaf
end

test("requests at the same time share one connection with TLS", function()
  local ca, leaf = tls_pair()
  local now, most = 0, 0
  local s <close> = core.listen {
    certificate = leaf.certificate, key = leaf.key,
    handler = function(request)
      now = now + 1
      most = math.max(most, now)
      task.sleep(0.02)
      now = now - 1
      return { body = ("x"):rep(100000) .. request.path }
    end,
  }
  local session <close> = http.session { ca = ca, timeout = 20 }
  local requests = {}
  for i = 1, 20 do
    requests[i] = task.spawn(session.request, session, { url = ("https://127.0.0.1:%d/%d"):format(s.port, i) })
  end
  for i = 1, 20 do
    local response = requests[i]:wait(20)
    test.equal(response.version, "2")
    test.equal(response.body, ("x"):rep(100000) .. "/" .. i)
  end
  test.equal(most > 10, true)
  test.equal(s:connections(), 1)
end)

test("a refused stream and a GOAWAY are survived by the others of the connection", function()
  local ca, leaf = tls_pair()
  local refused = {}
  local s <close> = core.listen {
    certificate = leaf.certificate, key = leaf.key,
    handler = function(request)
      local way = request.headers.refuse
      if way and not refused[request.path] then
        refused[request.path] = true
        return { refuse = way }
      end
      task.sleep(0.01)
      return { body = request.path }
    end,
  }
  local session <close> = http.session { ca = ca, timeout = 20 }
  local requests = {}
  for i = 1, 20 do
    local way = i % 5 == 0 and "stream" or i == 13 and "connection" or nil
    requests[i] = task.spawn(session.request, session,
      { url = ("https://127.0.0.1:%d/%d"):format(s.port, i), headers = way and { refuse = way } })
  end
  for i = 1, 20 do
    test.equal(requests[i]:wait(20).body, "/" .. i)
  end
end)

test("gRPC with TLS", function()
  local ca, leaf = tls_pair()
  local s <close> = grpc.serve { certificate = leaf.certificate, key = leaf.key,
    methods = { [ECHO] = function(bytes) return bytes end } }
  local c <close> = grpc.connect { address = "127.0.0.1:" .. s.port, tls = true, ca = ca }
  for _ = 1, 3 do test.equal(c:call(ECHO, "hello"), "hello") end
  test.equal(s:connections(), 1)
  local other <close> = grpc.connect { address = "127.0.0.1:" .. s.port, tls = true, ca = (tls_pair()) }
  test.equal(test.raises("GRPC", function() other:call(ECHO, "") end).status, "UNAVAILABLE")
end)

-- --- messages -------------------------------------------------------------------------------------

local Inner = proto.message { text = { 1, "string" }, flag = { 2, "bool" } }
local All = proto.message {
  a = { 1, "int32" }, b = { 2, "sint64" }, c = { 3, "uint64" }, d = { 4, "double" }, e = { 5, "float" },
  f = { 6, "fixed32" }, g = { 7, "sfixed64" }, h = { 8, "bytes" }, i = { 9, "enum" }, inner = { 10, Inner },
  list = { 11, Inner, repeated = true }, numbers = { 12, "int64", repeated = true },
  map = { 13, map = { "string", "int32" } }, maybe = { 2000, "int32", optional = true },
}

test("messages come back as they went", function()
  local value = {
    a = -5, b = -1234567890123, c = -1, d = 0.1, e = 0.5, f = 4294967295, g = -7, h = "\0\xff", i = 3,
    inner = { text = "grüße", flag = true }, list = { { text = "one" }, {}, { flag = true } },
    numbers = { 1, -1, 300, math.mininteger }, map = { x = 1, y = 0 }, maybe = 0,
  }
  test.same(All:decode(All:encode(value)), value)
  test.equal(All:encode {}, "")
end)

test("the bytes are those of the specification", function()
  local T = proto.message { a = { 1, "int32" }, b = { 2, "string" }, c = { 3, proto.message { a = { 1, "int32" } } },
    d = { 4, "int32", repeated = true } }
  test.equal(T:encode { a = 150 }, "\x08\x96\x01")
  test.equal(T:encode { b = "testing" }, "\x12\x07testing")
  test.equal(T:encode { c = { a = 150 } }, "\x1a\x03\x08\x96\x01")
  test.equal(T:encode { d = { 3, 270, 86942 } }, "\x22\x06\x03\x8e\x02\x9e\xa7\x05")
  test.same(T:decode "\x20\x03\x20\x8e\x02", { d = { 3, 270 } }) -- not packed
  test.same(T:decode "\x08\x01\x78\x05\x7a\x01x\x79\1\2\3\4\5\6\7\8\x7d\1\2\3\4\x08\x02", { a = 2 }) -- unknown fields
  test.same(T:decode "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", { a = -1 })
end)

for _, bytes in ipairs { "\x08", "\x12\x05ab", "\x0b", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x79\1" } do
  local shown = bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  test("cut or wrong bytes are refused: " .. shown, function()
    local _, err = pcall(All.decode, All, bytes)
    test.equal(errors.is(err, "Proto"), true)
  end)
end

test("a value of the wrong type, a field that is none", function()
  test.raises("message.a: integer expected", function() All:encode { a = 1.5 } end)
  test.raises("message.inner.text: text expected", function() All:encode { inner = { text = 1 } } end)
  test.raises("no field 'z'", function() All:encode { z = 1 } end)
end)

test("a message that is too large is refused by its status, and the connection goes on", function()
  local s <close> = grpc.serve { methods = { [ECHO] = function(bytes) return bytes end }, max_message = 100000 }
  local c <close> = grpc.connect { address = "127.0.0.1:" .. s.port }
  test.equal(#c:call(ECHO, ("x"):rep(100000)), 100000)
  local problem = test.raises("GRPC", function() c:call(ECHO, ("x"):rep(1000000)) end)
  test.equal(problem.status, "RESOURCE_EXHAUSTED")
  test.equal(c:call(ECHO, "again"), "again")
end)
