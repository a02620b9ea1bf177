-- The server: what it refuses, how long it waits, how it ends.
local test = require "test"
local http = require "http"
local server = require "server"
local task = require "task"
local x509 = require "x509"

local function echo(request)
  return { body = request.method .. " " .. request.path .. " " .. request.body }
end

local function listen(options)
  options.handler = options.handler or echo
  return server.listen(options)
end

local function url(s, path)
  return ("http://127.0.0.1:%d%s"):format(s.port, path or "/")
end

local function connect(s)
  return http.connect { url = url(s), timeout = 5 }
end

-- All that comes until the server ends the connection.
local function read_all(connection)
  local pieces = {}
  for piece in function() return connection:read(5) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

-- The answer to raw bytes after which the server ends the connection.
local function answer(s, bytes)
  local connection <close> = connect(s)
  connection:write(bytes)
  return read_all(connection)
end

local function status_of(text)
  return tonumber(text:match "^HTTP/1.1 (%d+) ")
end

-- --- requests -------------------------------------------------------------------------------------

local REFUSED = {
  { "no request line", "hello\r\n\r\n", 400 },
  { "a version that is not spoken", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505 },
  { "no Host", "GET / HTTP/1.1\r\n\r\n", 400 },
  { "two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400 },
  { "a folded header", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400 },
  { "a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
  { "a bare line feed", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400 },
  { "a zero byte in a value", "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", 400 },
  { "two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400 },
  { "a length and chunks",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
  { "a length that is no number", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400 },
  { "another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501 },
  { "a chunk size that is none", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400 },
  { "a path that is none", "GET path HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
}

for _, case in ipairs(REFUSED) do
  test("refused: " .. case[1], function()
    local s <close> = listen {}
    test.equal(status_of(answer(s, case[2])), case[3])
  end)
end

test("a body over the limit is answered 413, at once", function()
  local s <close> = listen { max_body = 1000 }
  test.equal(status_of(answer(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")), 413)
  local chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" .. ("x"):rep(1001)
  test.equal(status_of(answer(s, chunked .. "\r\n0\r\n\r\n")), 413)
  test.equal(http.request { url = url(s), body = ("x"):rep(1000) }.status, 200)
end)

test("a client that sends a large body anyway still gets the 413", function()
  local s <close> = listen { max_body = 1000 }
  test.equal(http.request { url = url(s), method = "POST", body = ("x"):rep(2000000), timeout = 5 }.status, 413)
end)

test("a head over the limit is answered 431", function()
  local s <close> = listen { max_header = 1000 }
  test.equal(status_of(answer(s, "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(1000))), 431)
  test.equal(status_of(answer(s, "GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(1000) .. "\r\n\r\n")), 431)
  local many = {}
  for i = 1, 101 do many[i] = "a: b\r\n" end
  local t <close> = listen {}
  test.equal(status_of(answer(t, "GET / HTTP/1.1\r\n" .. table.concat(many) .. "\r\n")), 431)
end)

test("with as many requests under way as may be, another is answered 503 and told when to come again", function()
  local go, running = task.event(), 0
  local s <close> = listen { max_requests = 2, handler = function(request)
    running = running + 1
    if request.path == "/stream" then return { stream = function(w) w:write "a" go:wait(20) end } end
    go:wait(20)
    return { body = "done" }
  end }
  local stream <close> = http.stream { url = url(s, "/stream"), timeout = 10 }
  test.equal(stream:read(10), "a")
  local waiting = task.spawn(http.request, { url = url(s, "/wait"), timeout = 20 })
  while running < 2 do task.sleep(0.01) end
  local refused = http.request { url = url(s), timeout = 10 }
  test.equal(refused.status, 503)
  test.equal(refused.headers["retry-after"], "1")
  go:set()
  test.equal(waiting:wait(20).body, "done")
  test.equal(stream:read(10), nil)
  for _ = 1, 5 do test.equal(http.request { url = url(s), timeout = 10 }.body, "done") end
  test.equal(running, 7)
end)

test("requests that come together are answered in their order", function()
  local s <close> = listen {}
  local text = answer(s, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
    .. "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    .. "GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
  local paths = {}
  for path in text:gmatch "\r\n\r\n%u+ (/%d)" do paths[#paths + 1] = path end
  test.same(paths, { "/1", "/2", "/3" })
end)

test("a list of texts is written as one", function()
  local s <close> = listen { handler = function()
    return { stream = function(w)
      w:write { "a", "", "bc" }
      w:write {}
      test.raises("a list of strings expected", function() w:write { "a", 1 } end)
      w:write "d"
    end }
  end }
  local text = answer(s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
  test.equal(text:match "\r\n\r\n(.*)$", "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
  test.equal(answer(s, "GET / HTTP/1.0\r\n\r\n"):match "\r\n\r\n(.*)$", "abcd")
end)

test("a request that comes byte by byte is understood", function()
  local s <close> = listen {}
  local connection <close> = connect(s)
  local bytes = "POST /x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    .. "5\r\nhello\r\n6;a=b\r\n, all!\r\n0\r\nTrailer: x\r\n\r\n"
  for i = 1, #bytes do connection:write(bytes:sub(i, i)) end
  test.equal(read_all(connection):match "\r\n\r\n(.*)$", "POST /x hello, all!")
end)

test("HEAD is answered without a body, HTTP/1.0 by its rules", function()
  local s <close> = listen {}
  test.equal(http.request { url = url(s), method = "HEAD" }.headers["content-length"], "7")
  local text = answer(s, "GET / HTTP/1.0\r\n\r\n")
  test.equal(status_of(text), 200)
  test.equal(text:find("Connection: close", 1, true) ~= nil, true)
  local stream <close> = listen { handler = function() return { stream = function(w) w:write "abc" end } end }
  test.equal(answer(stream, "GET / HTTP/1.0\r\n\r\n"):match "\r\n\r\n(.*)$", "abc")
end)

test("a client that waits for 100 Continue gets it", function()
  local s <close> = listen {}
  local connection <close> = connect(s)
  connection:write("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
    .. "Content-Length: 2\r\nConnection: close\r\n\r\n")
  test.equal(connection:read(5), "HTTP/1.1 100 Continue\r\n\r\n")
  connection:write "hi"
  test.equal(read_all(connection):match "\r\n\r\n(.*)$", "POST / hi")
end)

-- --- handlers -------------------------------------------------------------------------------------

test("what a handler raises is answered 500 and told", function()
  local told
  local s <close> = listen {
    handler = function() error { code = "Oops" } end,
    on_error = function(err, request) told = err.code .. request.path end,
  }
  test.equal(http.request { url = url(s, "/x") }.status, 500)
  test.equal(told, "Oops/x")
end)

test("a handler that an interruption ends is no fault to tell of", function()
  local told
  local s <close> = listen {
    handler = function() require("errors").raise { code = "Cancelled", message = "interrupted" } end,
    on_error = function(err) told = err end,
  }
  test.equal(http.request { url = url(s, "/x") }.status, 500)
  test.equal(told, nil)
end)

local WRONG = {
  ["no table"] = 7, ["a status that is none"] = { status = 9 },
  ["a header with a line end"] = { headers = { A = "b\r\nC: d" } },
  ["a header name with a space"] = { headers = { ["A b"] = "c" } },
  ["a body that is no text"] = { body = {} },
}
for name, response in pairs(WRONG) do
  test("a wrong response is answered 500: " .. name, function()
    local told
    local s <close> = listen { handler = function() return response end, on_error = function() told = true end }
    test.equal(http.request { url = url(s) }.status, 500)
    test.equal(told, true)
  end)
end

test("no response is answered 500", function()
  local s <close> = listen { handler = function() end, on_error = function() end }
  test.equal(http.request { url = url(s) }.status, 500)
end)

test("an error in the middle of a stream cuts it", function()
  local s <close> = listen {
    handler = function()
      return { stream = function(w) w:write "half" error "oops" end }
    end,
    on_error = function() end,
  }
  test.raises("Connection", function() http.request { url = url(s) } end)
end)

test("a stream ends when its client goes, also while it waits for something else", function()
  local ended = task.event()
  local s <close> = listen {
    handler = function()
      return {
        stream = function(w)
          local _ <close> = setmetatable({}, { __close = function() ended:set() end })
          w:write "x"
          task.event():wait()
        end,
      }
    end,
  }
  local stream = http.stream { url = url(s), timeout = 5 }
  stream:read(5)
  stream:close()
  test.equal(ended:wait(5), true)
end)

test("a writer waits for a slow reader", function()
  local written = 0
  local s <close> = listen {
    handler = function()
      return {
        stream = function(w)
          for _ = 1, 400 do
            w:write(("x"):rep(65536))
            written = written + 65536
          end
        end,
      }
    end,
  }
  local stream <close> = http.stream { url = url(s), timeout = 5 }
  task.sleep(0.05)
  test.equal(written < 16 << 20, true)
  local total = 0
  for piece in function() return stream:read(5) end do total = total + #piece end
  test.equal(total, 400 * 65536)
end)

-- --- time -----------------------------------------------------------------------------------------

test("a connection without a request is ended after a time", function()
  local s <close> = listen { idle_timeout = 60 }
  local connection <close> = connect(s)
  connection:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  test.equal(status_of(connection:read(5)), 200)
  test.advance(61)
  test.equal(connection:read(5), nil)
end)

local SLOW = {
  head = "GET / HTTP/1.1\r\nHost:", body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
  chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
}
for name, bytes in pairs(SLOW) do
  test("half a request is answered 408 after a time: " .. name, function()
    local s <close> = listen { request_timeout = 20 }
    local connection <close> = connect(s)
    connection:write(bytes)
    task.sleep(0.01)
    test.advance(10)
    test.equal(s:connections(), 1)
    connection:write "a" -- a byte now and then does not help
    test.advance(11)
    test.equal(status_of(read_all(connection)), 408)
  end)

  test("half a request ends with its client: " .. name, function()
    local s <close> = listen {}
    local connection = connect(s)
    connection:write(bytes)
    connection:close()
    while s:connections() > 0 do task.sleep(0.001) end
  end)
end

test("a client that takes no bytes is given up", function()
  local s <close> = listen { idle_timeout = 30, handler = function() return { body = ("x"):rep(64 << 20) } end }
  local connection <close> = connect(s)
  connection:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  task.sleep(0.05)
  test.equal(s:connections(), 1)
  test.advance(31)
  test.equal(s:connections(), 0)
end)

-- --- the end --------------------------------------------------------------------------------------

test("a drain answers what was asked and ends the rest", function()
  local go = task.event()
  local s = listen { handler = function(request)
    if request.path ~= "/first" then go:wait() end
    return { body = "done" }
  end }
  local idle = connect(s)
  idle:write "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
  test.equal(status_of(idle:read(5)), 200)
  local request = task.spawn(http.request, { url = url(s), timeout = 5 })
  while s:connections() < 2 do task.sleep(0.001) end
  local drain = task.spawn(function() return s:drain(60) end)
  test.equal(idle:read(5), nil)
  test.raises("Connection", function() http.request { url = url(s) } end)
  go:set()
  test.equal(request:wait(5).headers.connection, "close")
  test.equal(drain:wait(5), true)
  idle:close()
end)

test("a drain still answers a connection that has just been made", function()
  local s = listen {}
  local new = connect(s)
  while s:connections() < 1 do task.sleep(0.001) end
  local drain = task.spawn(function() return s:drain(60) end)
  task.sleep(0.01)
  new:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  test.equal(status_of(read_all(new)), 200)
  new:close()
  test.equal(drain:wait(5), true)
end)

test("a request that came in time is answered by a process that had no time to read it", function()
  local s = listen {}
  local kept = connect(s)
  kept:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  test.equal(status_of(kept:read(5)), 200)
  local drain = task.spawn(function() return s:drain(60) end)
  task.sleep(0.001) -- it begins
  kept:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  local started = os.clock()
  while os.clock() < started + 0.3 do end -- meanwhile the drain's patience with it is over
  test.equal(status_of(read_all(kept)), 200)
  kept:close()
  test.equal(drain:wait(5), true)
end)

test("a drain is over when its grace is", function()
  local s = listen { handler = function() task.event():wait() end }
  local request = task.spawn(function() return select(2, pcall(http.request, { url = url(s) })).code end)
  while s:connections() < 1 do task.sleep(0.001) end
  task.sleep(0.01)
  test.equal(s:drain(0.01), false)
  test.equal(request:wait(5), "Connection")
end)

test("close ends requests and their tasks", function()
  local cancelled
  local s = listen {
    handler = function()
      local ok, err = pcall(function() task.event():wait() end)
      cancelled = not ok and err.code
    end,
  }
  local request = task.spawn(function() return select(2, pcall(http.request, { url = url(s) })).code end)
  while s:connections() < 1 do task.sleep(0.001) end
  task.sleep(0.01)
  s:close()
  test.equal(request:wait(5), "Connection")
  test.equal(cancelled, "Cancelled")
  test.equal(s:wait(1), true)
end)

-- --- TLS ------------------------------------------------------------------------------------------

local function issue(ca, serial)
  return x509.issue(ca, { names = { "127.0.0.1" }, name = serial })
end

test("a new certificate is for new connections, the old ones go on", function()
  local old, new = x509.authority { name = "old" }, x509.authority { name = "new" }
  local first, second = issue(old, "one"), issue(new, "two")
  local s <close> = listen { certificate = first.certificate, key = first.key }
  local address = ("https://127.0.0.1:%d/"):format(s.port)
  local session <close> = http.session { url = address, ca = old.certificate }
  test.equal(session:request({}).status, 200)
  s:set_certificate(second.certificate, second.key)
  test.equal(session:request({}).status, 200)
  test.raises("TLS", function() http.request { url = address, ca = old.certificate } end)
  test.equal(http.request { url = address, ca = new.certificate }.status, 200)
  test.raises("Certificate", function() s:set_certificate(second.certificate, first.key) end)
end)

test("who must show a certificate and does not is refused", function()
  local ca = x509.authority { name = "test" }
  local leaf = issue(ca, "server")
  local s <close> = listen {
    certificate = leaf.certificate, key = leaf.key, client_ca = ca.certificate, client_required = true,
  }
  local address = ("https://127.0.0.1:%d/"):format(s.port)
  test.raises(nil, function() http.request { url = address, ca = ca.certificate } end)
  local other = x509.authority { name = "other" }
  local stranger = x509.issue(other, { name = "eve", usage = "client" })
  test.raises(nil, function()
    http.request { url = address, ca = ca.certificate, certificate = stranger.certificate, key = stranger.key }
  end)
  local client = x509.issue(ca, { name = "jane", usage = "client" })
  test.equal(http.request {
    url = address, ca = ca.certificate, certificate = client.certificate, key = client.key,
  }.status, 200)
end)

test("what is refused without a handler is counted, and why a handshake failed is known", function()
  local ca = x509.authority { name = "test" }
  local leaf = issue(ca, "server")
  local s <close> = listen { certificate = leaf.certificate, key = leaf.key, max_body = 10 }
  local secure = { url = ("https://127.0.0.1:%d/"):format(s.port), ca = ca.certificate, body = ("x"):rep(11) }
  test.equal(http.request(secure).status, 413)
  test.raises("TLS", function()
    http.request { url = secure.url, ca = x509.authority { name = "another" }.certificate }
  end)
  while select(2, s:refused()) == 0 do task.sleep(0.001) end
  local counts, handshakes, why = s:refused()
  test.same(counts, { [413] = 1 })
  test.equal(handshakes, 1)
  test.equal(why, "tlsv1 alert unknown ca")
  local plain <close> = connect(s)
  plain:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  pcall(read_all, plain)
  test.equal(select(3, s:refused()), "http request")
end)

test("plain bytes to a TLS port harm nobody", function()
  local ca = x509.authority { name = "test" }
  local leaf = issue(ca, "server")
  local s <close> = listen { certificate = leaf.certificate, key = leaf.key }
  local connection <close> = connect(s)
  connection:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  pcall(read_all, connection)
  test.equal(http.request { url = ("https://127.0.0.1:%d/"):format(s.port), ca = ca.certificate }.status, 200)
end)

test("a port that is taken, a certificate that is none", function()
  local s <close> = listen {}
  test.raises("EADDRINUSE", function() listen { port = s.port } end)
  test.raises("Certificate", function() listen { certificate = "x", key = "y" } end)
end)
