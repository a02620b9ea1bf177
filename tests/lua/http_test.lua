-- http against server, over loopback.
local test = require "test"
local fs = require "fs"
local host = require "host"
local http = require "http"
local proc = require "proc"
local server = require "server"
local task = require "task"
local x509 = require "x509"

local function serve(options, handler)
  options.handler = handler
  return server.listen(options)
end

local function url(s, path)
  return ("http://127.0.0.1:%d%s"):format(s.port, path or "/")
end

local function echo(request)
  return {
    status = 201,
    headers = { ["Content-Type"] = "text/plain", ["X-Two"] = { "a", "b" } },
    body = request.method .. " " .. request.path .. "?" .. (request.query or "") .. " " .. request.body,
  }
end

test("a request is answered", function()
  local s <close> = serve({}, echo)
  local response = http.request { url = url(s, "/a/b?c=d"), method = "PUT", body = "hello", timeout = 5 }
  test.equal(response.status, 201)
  test.equal(response.version, "1.1")
  test.equal(response.headers["content-type"], "text/plain")
  test.equal(response.headers["x-two"], "a, b")
  test.equal(response.body, "PUT /a/b?c=d hello")
end)

test("headers reach the handler in lower case", function()
  local seen
  local s <close> = serve({}, function(request)
    seen = request.headers
    return {}
  end)
  http.request { url = url(s), headers = { ["X-Name"] = "Value", Accept = "application/json" } }
  test.equal(seen["x-name"], "Value")
  test.equal(seen.accept, "application/json")
  test.equal(seen["content-type"], nil)
end)

test("connections of a session are used again", function()
  local s <close> = serve({}, function(request) return { body = tostring(request.peer.port) } end)
  local session <close> = http.session { url = url(s) }
  local first = session:request({}).body
  for _ = 1, 5 do test.equal(session:request({}).body, first) end
end)

test("a stream is read as it comes", function()
  local go = task.event()
  local s <close> = serve({}, function()
    return {
      headers = { ["Content-Type"] = "text/plain" },
      stream = function(w)
        w:write "one"
        go:wait()
        w:write "two"
      end,
    }
  end)
  local stream <close> = http.stream { url = url(s), timeout = 5 }
  test.equal(stream.status, 200)
  test.equal(stream:read(5), "one")
  go:set()
  test.equal(stream:read(5), "two")
  test.equal(stream:read(5), nil)
end)

test("a body can be a function, on both sides", function()
  local s <close> = serve({}, function(request)
    return { stream = function(w) w:write(request.body) end }
  end)
  local count = 0
  local response = http.request {
    url = url(s),
    method = "POST",
    body = function()
      count = count + 1
      task.sleep(0.001)
      return count <= 100 and ("%04d"):format(count) or nil
    end,
  }
  test.equal(#response.body, 400)
  test.equal(response.body:sub(-4), "0100")
end)

test("TLS with a private authority and client certificates", function()
  local ca = x509.authority { name = "test" }
  local leaf = x509.issue(ca, { names = { "127.0.0.1", "api.example" } })
  local client = x509.issue(ca, { name = "jane", usage = "client" })
  local s <close> = serve({ certificate = leaf.certificate, key = leaf.key, client_ca = ca.certificate },
    function(request) return { body = request.peer.common_name or "nobody" } end)
  local address = ("https://127.0.0.1:%d/"):format(s.port)
  test.equal(http.request { url = address, ca = ca.certificate }.body, "nobody")
  test.equal(http.request {
    url = address, ca = ca.certificate, certificate = client.certificate, key = client.key,
  }.body, "jane")
  test.equal(http.request { url = address, ca = ca.certificate, server_name = "api.example" }.body, "nobody")
  test.raises("TLS", function() http.request { url = address, ca = ca.certificate, server_name = "other.example" } end)
  local other = x509.authority { name = "other" }
  local err = test.raises("TLS", function() http.request { url = address, ca = other.certificate } end)
  test.equal(err.url, address)
end)

test("what does not listen is a connection error with the address", function()
  local s <close> = serve({}, echo)
  local address = url(s)
  s:close()
  local err = test.raises("Connection", function() http.request { url = address } end)
  test.equal(err.url, address)
end)

test("a request that takes too long is given up", function()
  local s <close> = serve({}, function() task.sleep(1000) end)
  test.raises("Timeout", function() http.request { url = url(s), timeout = 0.02 } end)
end)

test("a cancelled request ends its connection", function()
  local s <close> = serve({}, function() task.sleep(1000) end)
  local t = task.spawn(http.request, { url = url(s) })
  task.sleep(0.01)
  t:cancel()
  test.raises("Cancelled", function() t:wait() end)
end)

test("unix sockets", function()
  local path = test.tmpdir() .. "/socket"
  local _ <close> = serve({ path = path }, function(request) return { body = request.peer.address } end)
  test.equal(http.request { url = "http://localhost/", unix_socket = path }.body, "unix")
end)

test("an upgraded connection belongs to the handler", function()
  local s <close> = serve({}, function(request)
    local connection = request:upgrade { headers = { Upgrade = "echo" } }
    for bytes in function() return connection:read() end do connection:write(bytes:upper()) end
  end)
  local connection <close> = http.connect { url = url(s), timeout = 5 }
  connection:write "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
  local head = connection:read(5)
  test.equal(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
  connection:write "hello"
  test.equal(connection:read(5), "HELLO")
end)

-- --- proxies --------------------------------------------------------------------------------------

local function pass_on(from, to)
  pcall(function()
    for bytes in function() return from:read() end do to:write(bytes) end
  end)
  to:close()
end

-- A proxy; `seen` gets what it was asked for.
local function start_proxy(seen)
  return serve({}, function(request)
    seen[#seen + 1] = request.method .. " " .. (request.method == "CONNECT" and request.path or request.headers.host)
    if request.method ~= "CONNECT" then return { body = "from the proxy" } end
    local there <close> = http.connect { url = "http://" .. request.path, proxy = "", timeout = 5 }
    local here = request:upgrade { status = 200 }
    local back = task.spawn(pass_on, there, here)
    pass_on(here, there)
    back:cancel()
  end)
end

test("a request without TLS is sent to the proxy", function()
  local seen = {}
  local proxy <close> = start_proxy(seen)
  local response = http.request { url = "http://nowhere.example/x", proxy = url(proxy), timeout = 5 }
  test.equal(response.body, "from the proxy")
  test.same(seen, { "GET nowhere.example" })
end)

test("a request with TLS goes through the proxy to the server, whose certificate is checked", function()
  local ca = x509.authority { name = "test" }
  local leaf = x509.issue(ca, { names = { "127.0.0.1" } })
  local s <close> = serve({ certificate = leaf.certificate, key = leaf.key }, echo)
  local seen = {}
  local proxy <close> = start_proxy(seen)
  local address = ("https://127.0.0.1:%d/a"):format(s.port)
  local options = { url = address, proxy = url(proxy), ca = ca.certificate, timeout = 5 }
  test.equal(http.request(options).body, "GET /a? ")
  test.same(seen, { "CONNECT 127.0.0.1:" .. s.port })
  options.ca = x509.authority { name = "other" }.certificate
  test.raises("TLS", function() http.request(options) end)
end)

test("a proxy that does not answer is a connection error", function()
  local s = serve({}, echo)
  local address = url(s)
  s:close()
  local options = { url = "http://nowhere.example/", proxy = address, timeout = 5 }
  test.raises("Connection", function() http.request(options) end)
end)

test("the environment's proxy is used for other hosts, never for this one", function()
  local seen = {}
  local proxy <close> = start_proxy(seen)
  local s <close> = serve({}, function() return { body = "direct" } end)
  local result = proc.run {
    host.executable(), "-e", ([[
      local http = require "http"
      print(http.request { url = "http://nowhere.example/" }.body, http.request { url = %q }.body)
    ]]):format(url(s)), env = { http_proxy = url(proxy), no_proxy = "other.example" }, timeout = 20,
  }
  test.equal(result.stdout, "from the proxy\tdirect\n")
end)

-- --- start-up -------------------------------------------------------------------------------------

test("libcurl is mapped with the first request, not before", function()
  local result = proc.run {
    host.executable(), "-e", [[
      local function is_mapped()
        for line in io.lines "/proc/self/maps" do
          if line:find("libcurl", 1, true) then return true end
        end
        return false
      end
      local http = require "http"
      local before = is_mapped()
      pcall(http.request, { url = "http://127.0.0.1:1/" })
      print(before, is_mapped())
    ]], timeout = 20,
  }
  test.equal(result.stdout, "false\ttrue\n")
end)

-- --- leaks ----------------------------------------------------------------------------------------

local LEAKS = {
  server = 'require "server".listen { handler = function() end }',
  stream = 'require "http".stream { url = "http://127.0.0.1:" .. port }',
  connection = 'require "http".connect { url = "http://127.0.0.1:" .. port }',
}

for name, code in pairs(LEAKS) do
  test("a test that leaves a " .. name .. " open fails", function()
    local s <close> = serve({}, function() return { stream = function(w) w:write "x" task.event():wait() end } end)
    local directory = test.tmpdir()
    local file = directory .. "/leak_test.lua"
    fs.write(file, ([[
      local port, held = %d, {} -- what the collector finds, it closes
      require "test"("leaks", function() held[1] = %s end)
    ]]):format(s.port, code))
    local result = proc.run { host.executable(), "test", file, timeout = 20, stderr = "null" }
    test.equal(result.code, 1)
    test.equal(result.stdout:find("handles are still open", 1, true) ~= nil, true)
  end)
end
