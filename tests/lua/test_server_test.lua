-- The server for tests: each fault is what a client sees of it.
local test = require "test"
local http = require "http"
local server = require "test.server"
local task = require "task"

local function hello()
  return { headers = { ["Content-Type"] = "text/plain" }, body = "hello, world" }
end

-- What was read of a stream, and the error that ended it.
local function read_all(stream)
  local pieces = {}
  local ok, err = pcall(function()
    for piece in function() return stream:read(5) end do pieces[#pieces + 1] = piece end
  end)
  return table.concat(pieces), not ok and err or nil
end

test("without a fault it answers, and remembers what was asked", function()
  local s <close> = server.start { handler = hello }
  test.equal(http.request { url = s.url .. "/a?b" }.body, "hello, world")
  test.equal(s.requests[1].path, "/a")
  test.equal(s.requests[1].query, "b")
end)

for _, kind in ipairs { "drop", "reset" } do
  test(kind .. " ends the connection without an answer, once", function()
    local s <close> = server.start { handler = hello }
    s:fail { kind = kind }
    test.raises("Connection", function() http.request { url = s.url } end)
    test.equal(http.request { url = s.url }.status, 200)
  end)
end

test("silence keeps the client waiting", function()
  local s <close> = server.start { handler = hello }
  s:fail { kind = "silence" }
  test.raises("Timeout", function() http.request { url = s.url, timeout = 0.02 } end)
end)

test("delay lets time pass before the answer", function()
  local s <close> = server.start { handler = hello }
  s:fail { kind = "delay", seconds = 60 }
  local request = task.spawn(http.request, { url = s.url })
  while #s.requests == 0 do task.sleep(0.001) end
  test.advance(61)
  test.equal(request:wait(5).status, 200)
end)

test("status answers in the handler's place, for the paths that are named", function()
  local s <close> = server.start { handler = hello }
  s:fail { kind = "status", status = 429, headers = { ["Retry-After"] = "7" }, path = "^/api", times = 2 }
  test.equal(http.request { url = s.url .. "/other" }.status, 200)
  test.equal(http.request { url = s.url .. "/api" }.headers["retry-after"], "7")
  test.equal(http.request { url = s.url .. "/api" }.status, 429)
  test.equal(http.request { url = s.url .. "/api" }.status, 200)
end)

test("cut ends the connection in the middle of a body", function()
  local s <close> = server.start { handler = hello }
  s:fail { kind = "cut", after = 5 }
  local stream <close> = http.stream { url = s.url, timeout = 5 }
  local text, err = read_all(stream)
  test.equal(text, "hello")
  test.equal(err and err.code, "Connection")
end)

test("stall stops in the middle of a body and keeps the connection", function()
  local s <close> = server.start { handler = hello }
  s:fail { kind = "stall", after = 5 }
  local stream <close> = http.stream { url = s.url, timeout = 5 }
  test.equal(stream:read(5), "hello")
  test.raises("Timeout", function() stream:read(0.02) end)
end)

test("a function can choose the fault of each request", function()
  local s <close> = server.start {
    handler = hello,
    faults = function(_, n) return n % 2 == 0 and { kind = "status", status = 503 } or nil end,
  }
  local statuses = {}
  for i = 1, 4 do statuses[i] = http.request { url = s.url }.status end
  test.same(statuses, { 200, 503, 200, 503 })
end)

test("disconnect ends the streams that are open", function()
  local s <close> = server.start {
    handler = function() return { stream = function(w) w:write "x" task.event():wait() end } end,
  }
  local stream <close> = http.stream { url = s.url, timeout = 5 }
  test.equal(stream:read(5), "x")
  s:disconnect()
  test.raises("Connection", function() stream:read(5) end)
  local again <close> = http.stream { url = s.url, timeout = 5 }
  test.equal(again:read(5), "x")
end)
