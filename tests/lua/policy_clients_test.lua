-- Clients that mean harm, or are badly mistaken, against the host as it is served: each is refused with a status, or
-- cut, and the next review is answered.
local test = require "test"
local fs = require "fs"
local host = require "host"
local http = require "http"
local json = require "json"
local net = require "net"
local proc = require "proc"
local task = require "task"

local SITE = [[
local policy = require "policy"
policy.validate { name = "pods", timeout = "20s", match = { resource = "pods" }, check = function(req)
  if req.object.metadata.name == "slow" then local t = os.clock() repeat until os.clock() - t > 0.1 end
  if req.object.metadata.name == "bad" then return req:deny "bad" end
end }
]]


local function start(more)
  local self = { directory = test.tmpdir(), log = {} }
  fs.write(self.directory .. "/site.lua", SITE)
  self.ca = self.directory .. "/ca.pem"
  local words = { host.executable(), "policy", "serve", self.directory .. "/site.lua", "--port", "0", "--ops-port", "0",
    "--workers", "1", "--cluster", "false", "--ca-out", self.ca, stderr = "pipe", stdout = "null",
    env = { ASAN_OPTIONS = "detect_leaks=0" } }
  table.move(more or {}, 1, #(more or {}), #words + 1, words)
  self.process = proc.spawn(words)
  repeat
    local line = self.process:read_line("stderr", 30) or error "it did not start"
    self.port, self.operations = line:match "webhooks on https://127.0.0.1:(%d+), health on http://127.0.0.1:(%d+)"
  until self.port
  self.following = task.spawn(function()
    for line in function() return self.process:read_line "stderr" end do self.log[#self.log + 1] = line end
  end)
  local url = ("http://127.0.0.1:%s/readyz"):format(self.operations)
  while http.request { url = url, timeout = 20 }.status ~= 200 do task.sleep(0.02) end
  return self
end

local function stop(self)
  self.process:kill "TERM"
  test.equal(self.process:wait(40).code, 143)
  self.following:wait(20)
end

local function review(name, more)
  local request = { uid = "u-" .. name, operation = "CREATE", kind = { group = "", version = "v1", kind = "Pod" },
    resource = { group = "", version = "v1", resource = "pods" }, namespace = "a", name = name,
    userInfo = { username = "ann" }, object = { apiVersion = "v1", kind = "Pod", metadata = { name = name } } }
  for field, value in pairs(more or {}) do request[field] = value end
  return json.encode { apiVersion = "admission.k8s.io/v1", kind = "AdmissionReview", request = request }
end

local function options(self, body, headers)
  return { url = ("https://127.0.0.1:%s/validate"):format(self.port), ca = fs.read(self.ca), method = "POST",
    body = body, headers = headers or { ["Content-Type"] = "application/json" }, timeout = 40 }
end

local function post(self, body, headers)
  return http.request(options(self, body, headers))
end

-- The host is well: a good pod passes, a bad one does not.
local function check_health(self)
  test.equal(json.decode(post(self, review "good").body).response.allowed, true)
  test.equal(json.decode(post(self, review "bad").body).response.status.message, "policy pods: bad")
end

-- A connection of bytes through TLS.
local function connect(self)
  return http.connect { url = ("https://127.0.0.1:%s"):format(self.port), ca = fs.read(self.ca), timeout = 20 }
end

local function receive_all(connection)
  local parts = {}
  while true do
    local ok, bytes = pcall(connection.read, connection, 20)
    if not ok or not bytes then break end
    parts[#parts + 1] = bytes
  end
  connection:close()
  return table.concat(parts)
end

local function status_of(text)
  return tonumber(text:match "^HTTP/1%.%d (%d+)")
end

local function head(more, body)
  return ("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s")
    :format(more or "", #body, body)
end

local function nested(depth, open, close)
  return open:rep(depth) .. close:rep(depth)
end

local DEEP = '"spec":' .. nested(600, "[", "]")

test("bodies that are no review are refused with a reason", function()
  local self = start()
  local big = ('{"kind":"AdmissionReview","x":"%s"}'):format(("x"):rep(9 << 20))
  for name, case in pairs {
    ["an empty body"] = { "", 400, "empty" },
    ["half a text"] = { review("p"):sub(1, -20), 400, "" },
    ["another kind"] = { '{"kind":"Pod","apiVersion":"v1"}', 400, "no AdmissionReview" },
    ["another version"] = { '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v7","request":{}}', 400, "v7" },
    ["no request"] = { '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', 400, "no request" },
    ["a number"] = { "7", 400, "no AdmissionReview" }, ["null"] = { "null", 400, "" },
    ["deep lists"] = { nested(100000, "[", "]"), 400, "" },
    ["deep objects"] = { ('{"a":'):rep(3000) .. "1" .. ("}"):rep(3000), 400, "" },
    ["a deep object of a review"] = { (review("p"):gsub('"metadata"', DEEP .. ',"metadata"')), 400, "" },
    ["no UTF-8"] = { (review("p"):gsub("ann", "\xff")), 400, "" },
    ["a zero byte"] = { (review("p"):gsub("ann", "a\0n")), 400, "" },
    ["a name twice"] = { '{"kind":"AdmissionReview","kind":"Pod"}', 400, "" },
    ["an operation that is none"] = { review("p", { operation = 7 }), 400, "operation" },
    ["a resource that is none"] = { review("p", { resource = "pods" }), 400, "resource" },
    ["an object that is none"] = { review("p", { object = "text" }), 400, "object" },
    ["a uid that is none"] = { review("p", { uid = {} }), 400, "uid" },
    ["a large one"] = { big, 413, "" },
  } do
    local response = post(self, case[1])
    if response.status ~= case[2] or not response.body:find(case[3], 1, true) then
      error(("%s: %d %s"):format(name, response.status, response.body:sub(1, 200)))
    end
  end
  for _, kind in ipairs { "text/plain", "application/yaml", "application/jsonp", "application/json-patch+json" } do
    test.equal(post(self, review "good", { ["Content-Type"] = kind }).status, 415)
  end
  test.equal(post(self, review "good", { ["Content-Type"] = "application/json; charset=utf-8" }).status, 200)
  test.equal(json.decode(post(self, (review "bad":gsub("admission.k8s.io/v1", "admission.k8s.io/v1beta1"))).body)
    .response.allowed, false)
  check_health(self)
  stop(self)
end)

test("requests in odd forms are answered as HTTP says, or cut", function()
  local self = start()
  local body = review "good"
  for name, case in pairs {
    ["a head without end"] = { "POST /validate HTTP/1.1\r\nX: " .. ("x"):rep(70000), 431 },
    ["many headers"] = { "POST /validate HTTP/1.1\r\n" .. ("A: b\r\n"):rep(20000) .. "\r\n", 431 },
    ["no host"] = { "POST /validate HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400 },
    ["two lengths"] = { head("Content-Length: 3\r\n", body), 400 },
    ["a length and chunks"] = { head("Transfer-Encoding: chunked\r\n", body), 400 },
    ["a length that is none"] = { "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400 },
    ["a chunk that is none"] = { "POST /validate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      400 },
    ["a length too large"] = { "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413 },
    ["chunks too large"] = { "POST /validate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. ("100000\r\n" .. ("x"):rep(0x100000) .. "\r\n"):rep(9), 413 },
    ["garbage"] = { "\0\1\2\3\r\n\r\n", 400 },
    ["HTTP/1.0"] = { ("POST /validate HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s")
      :format(#body, body), 200 },
    ["HTTP/2 without being asked"] = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
  } do
    local connection = connect(self)
    pcall(connection.write, connection, case[1])
    local text = receive_all(connection)
    if status_of(text) ~= case[2] then error(("%s: %s"):format(name, text:sub(1, 100))) end
  end
  check_health(self)
  stop(self)
end)

test("requests that come together, in pieces, in chunks or after a 100 are answered in order", function()
  local self = start()
  local together = connect(self)
  together:write(head(nil, review "good") .. head(nil, review "bad") .. head("Connection: close\r\n", review "good"))
  local verdicts = {}
  for verdict in receive_all(together):gmatch '"allowed":(%l+)' do verdicts[#verdicts + 1] = verdict end
  test.equal(table.concat(verdicts, " "), "true false true")

  local pieces = connect(self)
  local text = head("Connection: close\r\n", review "bad")
  for i = 1, #text, 7 do pieces:write(text:sub(i, i + 6)) end
  test.equal(receive_all(pieces):find('"allowed":false', 1, true) ~= nil, true)

  local chunks = connect(self)
  local body = review "bad"
  chunks:write "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
  chunks:write "Transfer-Encoding: chunked\r\n\r\n"
  for i = 1, #body, 50 do
    local part = body:sub(i, i + 49)
    chunks:write(("%x\r\n%s\r\n"):format(#part, part))
  end
  chunks:write "0\r\n\r\n"
  test.equal(receive_all(chunks):find('"allowed":false', 1, true) ~= nil, true)

  local expecting = connect(self)
  expecting:write(head("Connection: close\r\nExpect: 100-continue\r\n", body):sub(1, -#body - 1))
  test.equal(expecting:read(20), "HTTP/1.1 100 Continue\r\n\r\n")
  expecting:write(body)
  test.equal(receive_all(expecting):find('"allowed":false', 1, true) ~= nil, true)
  check_health(self)
  stop(self)
end)

test("half requests, idle connections and bytes that are no TLS hinder nobody", function()
  local self = start()
  local open = {}
  for i = 1, 40 do
    open[#open + 1] = connect(self)
    if i % 2 == 0 then open[i]:write(head(nil, review "good"):sub(1, 20 + i)) end
  end
  for i = 1, 20 do -- plain bytes, and alerts of TLS
    local plain = net.connect { port = tonumber(self.port), timeout = 20 }
    pcall(plain.write, plain, i % 2 == 0 and "GET / HTTP/1.1\r\n\r\n" or "\21\3\3\0\2\2\40")
    if i % 3 == 0 then plain:reset() else plain:close() end
  end
  for i = 1, 20 do
    local half = net.connect { port = tonumber(self.port), timeout = 20 }
    half:write(("\22\3\1\2\0\1\0\1\252\3\3"):sub(1, i % 11 + 1)) -- the beginning of a handshake
    open[#open + 1] = half
  end
  check_health(self)
  for _, one in ipairs(open) do one:close() end
  check_health(self)
  for _, line in ipairs(self.log) do
    if line:find("error", 1, true) then error(line) end
  end
  stop(self)
end)

-- --- TLS -----------------------------------------------------------------------------------------------------------

-- The first bytes of a client that speaks a version, and a record of some type and length.
local function hello(version, more)
  local body = version .. ("r"):rep(32) .. "\0" .. "\0\2\0\47" .. "\1\0" .. (more or "")
  return "\22" .. version .. string.pack(">s2", "\1" .. string.pack(">s3", body))
end

local HOSTILE = {
  { "SSL 3.0", hello "\3\0", told = true },
  { "TLS 1.0", hello "\3\1", told = true },
  { "TLS 1.1", hello "\3\2", told = true },
  { "SSL 2.0", "\128\46\1\0\2\0\21\0\0\0\16" .. ("c"):rep(37) },
  { "a record of 64 kB", "\22\3\1\255\255" .. ("x"):rep(65535) },
  { "a greeting of 16 MB", "\22\3\1\64\0\1\255\255\255\3\3" .. ("x"):rep(16378) },
  { "empty records without end", ("\22\3\1\0\0"):rep(5000) },
  { "warnings without end", ("\21\3\1\0\2\1\90"):rep(5000) },
  { "data before the handshake", "\23\3\3\0\5hello" },
  { "plain HTTP", "POST /validate HTTP/1.1\r\nHost: x\r\n\r\n" },
  { "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
}

-- What comes back of bytes, until the host ends the connection.
local function throw(self, bytes)
  local connection = net.connect { port = tonumber(self.port), timeout = 20 }
  pcall(connection.write, connection, bytes)
  return receive_all(connection)
end

local function handshake_failures(self)
  local text = http.request { url = ("http://127.0.0.1:%s/metrics"):format(self.operations), timeout = 20 }.body
  return tonumber(text:match "\nkfhost_policy_handshake_failures_total (%d+)") or 0
end

local function wait_for_line(self, text)
  while not table.concat(self.log, "\n"):find(text, 1, true) do task.sleep(0.02) end
end

test("old protocols and broken handshakes are refused, counted, and the reason is logged", function()
  local self = start()
  for i, case in ipairs(HOSTILE) do
    local answer = throw(self, case[2])
    if answer:find("200 OK", 1, true) then error(case[1] .. " was answered", 0) end
    if case.told then test.equal(answer:byte(1), 21) end -- an alert
    if i == 1 then wait_for_line(self, "1 TLS handshakes failed, the last one: version too low") end
  end
  while handshake_failures(self) < #HOSTILE do task.sleep(0.02) end
  check_health(self)
  stop(self)
end)

test("a client that wants to renegotiate is not heard", function()
  local self = start()
  local client <close> = proc.spawn { "openssl", "s_client", "-tls1_2", "-connect", "127.0.0.1:" .. self.port,
    "-CAfile", self.ca, stdin = "pipe", stdout = "pipe", stderr = "pipe" }
  repeat
    local line = client:read_line("stdout", 20) or error "the handshake failed"
  until line:find("Verify return code: 0", 1, true)
  client:write "R\n" -- the command renegotiates
  local said = {}
  for line in function() return client:read_line("stderr", 20) end do said[#said + 1] = line end
  test.equal(table.concat(said, "\n"):find("no renegotiation", 1, true) ~= nil, true)
  check_health(self)
  stop(self)
end)

test("when more reviews wait than may, the rest is answered 503 and may ask again", function()
  local self = start { "--queue", "2" }
  local tasks, counts, after = {}, {}, nil
  for i = 1, 12 do
    tasks[i] = task.spawn(function()
      local response = post(self, review "slow")
      counts[response.status] = (counts[response.status] or 0) + 1
      if response.status == 503 then after = response.headers["retry-after"] end
    end)
  end
  for _, one in ipairs(tasks) do one:wait(60) end
  test.equal((counts[200] or 0) + (counts[503] or 0), 12)
  test.equal((counts[200] or 0) >= 1, true)
  test.equal((counts[503] or 0) >= 1, true)
  test.equal(after, "1")
  check_health(self)
  local text
  repeat
    task.sleep(0.05)
    text = http.request { url = ("http://127.0.0.1:%s/metrics"):format(self.operations), timeout = 20 }.body
  until text:find(('kfhost_policy_refused_total{status="503"} %d\n'):format(counts[503]), 1, true)
  stop(self)
end)

test("told to end, the host is not ready, takes reviews for a while, and answers all that it has", function()
  local self = start { "--leave", "1" }
  local connections = {}
  for i = 1, 6 do
    connections[i] = connect(self)
    connections[i]:write(head(nil, review "slow"))
  end
  self.process:kill "TERM"
  local ready = http.request { url = ("http://127.0.0.1:%s/readyz"):format(self.operations), timeout = 20 }
  while ready.status == 200 do -- the signal is on its way
    task.sleep(0.01)
    ready = http.request { url = ("http://127.0.0.1:%s/readyz"):format(self.operations), timeout = 20 }
  end
  test.equal(ready.body, "leaving")
  for _, connection in ipairs(connections) do
    test.equal(receive_all(connection):find('"allowed":true', 1, true) ~= nil, true)
  end
  test.equal(self.process:wait(40).code, 143)
  self.following:wait(20)
  test.equal(pcall(post, self, review "good"), false)
end)

test("reviews on their way when the host is told to end at once are answered", function()
  local self = start()
  local connections = {}
  for i = 1, 6 do
    connections[i] = connect(self)
    connections[i]:write(head(nil, review "slow"))
  end
  self.process:kill "TERM"
  for _, connection in ipairs(connections) do
    test.equal(receive_all(connection):find('"allowed":true', 1, true) ~= nil, true)
  end
  test.equal(self.process:wait(40).code, 143)
  self.following:wait(20)
end)
