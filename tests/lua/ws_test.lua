-- WebSockets: our two sides against each other, and bytes that no WebSocket may send.
local test = require "test"
local core = require "ws.core"
local http = require "http"
local server = require "server"
local task = require "task"
local ws = require "ws"

-- Runs fn with a WebSocket to a server whose handler gets the other side.
local function with_pair(handler, options, fn)
  local s <close> = server.listen {
    handler = function(request) handler(ws.accept(request, options)) end,
  }
  local copy = { url = ("ws://127.0.0.1:%d/path?query"):format(s.port), timeout = 5 }
  for key, value in pairs(options or {}) do copy[key] = value end
  local w <close> = ws.connect(copy)
  fn(w)
end

local function echo(w)
  for data, kind in function() return w:receive() end do w:send(data, kind) end
end

test("messages of all sizes come back", function()
  with_pair(echo, nil, function(w)
    for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 300000 } do
      local data = ("abcdefg"):rep(size // 7 + 1):sub(1, size)
      w:send(data, "binary")
      local back, kind = w:receive(5)
      test.equal(kind, "binary")
      if back ~= data then error(("%d bytes came back otherwise"):format(size)) end
    end
    w:send "grüße"
    test.same({ w:receive(5) }, { "grüße", "text" })
  end)
end)

test("the end is said by both sides", function()
  local seen
  with_pair(function(w)
    test.equal(w:receive(), nil)
    seen = { w.close_code, w.close_reason }
  end, nil, function(w)
    w:close(4001, "enough")
    test.same(seen, { 4001, "enough" })
    test.equal(w.close_code, 4001)
    test.raises("Closed", function() w:send "more" end)
    test.equal(w:receive(5), nil)
  end)
end)

test("a server that closes is heard", function()
  with_pair(function(w) w:close(1011, "broken") end, nil, function(w)
    test.equal(w:receive(5), nil)
    test.equal(w.close_code, 1011)
    test.equal(w.close_reason, "broken")
  end)
end)

test("an end without a close frame is an error", function()
  with_pair(function(w) w.connection:close() end, nil, function(w)
    test.raises("Connection", function() w:receive(5) end)
    test.equal(w.close_code, 1006)
  end)
end)

test("pings are answered while a message is waited for", function()
  with_pair(function(w)
    w:ping "are you there"
    w:send "go on"
    test.equal(w:receive(5), "done")
    w:send "bye"
  end, nil, function(w)
    test.equal(w:receive(5), "go on")
    w:send "done"
    test.equal(w:receive(5), "bye")
  end)
end)

test("a timeout leaves the WebSocket as it is", function()
  local go = task.event()
  with_pair(function(w)
    go:wait()
    w:send "late"
    w:receive()
  end, nil, function(w)
    test.raises("Timeout", function() w:receive(0.01) end)
    go:set()
    test.equal(w:receive(5), "late")
  end)
end)

test("messages of several tasks do not mix", function()
  local got = {}
  with_pair(function(w)
    for data in function() return w:receive() end do
      got[#got + 1] = data
      if #got == 8 then w:send "all" end
    end
  end, nil, function(w)
    local tasks = {}
    for i = 1, 8 do tasks[i] = task.spawn(w.send, w, tostring(i):rep(200000)) end
    for i = 1, 8 do tasks[i]:wait(5) end
    test.equal(w:receive(5), "all")
  end)
  for _, data in ipairs(got) do test.equal(data, data:sub(1, 1):rep(200000)) end
end)

test("the first offered protocol that the server speaks is chosen", function()
  with_pair(function(w) w:send(w.protocol or "none") w:receive() end,
    { protocols = { "v5.channel.k8s.io", "v4.channel.k8s.io" } }, function(w)
      test.equal(w.protocol, "v5.channel.k8s.io")
      test.equal(w:receive(5), "v5.channel.k8s.io")
    end)
end)

test("a message that is too large ends the WebSocket with 1009", function()
  local code
  with_pair(function(w)
    test.raises("Protocol", function() w:receive() end)
    code = true
  end, { max_message = 100 }, function(w)
    w:send(("x"):rep(101))
    test.equal(w:receive(5), nil)
    test.equal(w.close_code, 1009)
    test.equal(code, true)
  end)
end)

test("a refusal tells status and body", function()
  local s <close> = server.listen {
    handler = function() return { status = 403, headers = { ["Content-Type"] = "application/json" }, body = "{}" } end,
  }
  local err = test.raises("Protocol", function() ws.connect { url = ("ws://127.0.0.1:%d/"):format(s.port) } end)
  test.equal(err.status, 403)
  test.equal(err.body, "{}")
  test.equal(err.headers["content-type"], "application/json")
end)

test("a request that is none for a WebSocket is refused by accept", function()
  local err
  local s <close> = server.listen {
    handler = function(request)
      err = select(2, pcall(ws.accept, request))
      return { status = err.status }
    end,
  }
  test.equal(http.request { url = ("http://127.0.0.1:%d/"):format(s.port) }.status, 426)
  test.equal(err.code, "Protocol")
end)

-- --- frames ---------------------------------------------------------------------------------------

-- What a decoder of a server's frames makes of the bytes, fed in pieces of `step`.
local function decode(bytes, step)
  local decoder, got = core.decoder(false, 1000), {}
  local ok, err = pcall(function()
    for at = 1, #bytes, step do
      decoder:feed(bytes:sub(at, at + step - 1))
      for kind, data, code in function() return decoder:next() end do
        got[#got + 1] = kind .. ":" .. data .. (code and ":" .. code or "")
      end
    end
  end)
  return table.concat(got, " "), not ok and err or nil
end

test("fragments are joined, control frames may come between, whatever the pieces", function()
  local bytes = "\x01\x03one\x89\x02hi\x00\x03two\x80\x05three\x82\x01\xff\x88\x05\x03\xe8bye"
  for step = 1, #bytes do
    local text, err = decode(bytes, step)
    test.equal(err, nil)
    test.equal(text, "ping:hi text:onetwothree binary:\xff close:bye:1000")
  end
end)

test("the handshake's answer is that of RFC 6455", function()
  test.equal(core.accept_key "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
end)

local BAD = {
  { "\xc1\x00", 1002, "a reserved bit" },
  { "\x83\x00", 1002, "an unknown opcode" },
  { "\x80\x00", 1002, "a continuation of nothing" },
  { "\x01\x00\x01\x00", 1002, "a message within a message" },
  { "\x09\x00", 1002, "a ping in fragments" },
  { "\x89\x7e\x00\x7e", 1002, "a ping of 126 bytes" },
  { "\x81\x80abcd", 1002, "a masked frame of a server" },
  { "\x81\x01\xff", 1007, "a text that is not UTF-8" },
  { "\x01\x01\xc3\x80\x01\x28", 1007, "fragments that are not UTF-8 together" },
  { "\x82\x7e\x03\xe9", 1009, "a message over the limit, by its header alone" },
  { "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1009, "a length of 64 bits" },
  { "\x02\x7e\x03\xe8" .. ("x"):rep(1000) .. "\x80\x01", 1009, "fragments over the limit" },
  { "\x88\x01\x03", 1002, "a close frame of one byte" },
  { "\x88\x02\x03\xed", 1002, "a close code that nobody may send" },
  { "\x88\x03\x03\xe8\xff", 1007, "a close reason that is not UTF-8" },
}

for _, case in ipairs(BAD) do
  test("refused: " .. case[3], function()
    local _, err = decode(case[1], 1)
    test.equal(err and err.code, "Protocol")
    test.equal(err.close_code, case[2])
  end)
end

test("a frame of a client must be masked", function()
  local decoder = core.decoder(true, 100)
  decoder:feed "\x81\x01x"
  test.equal(test.raises("Protocol", function() decoder:next() end).close_code, 1002)
  decoder = core.decoder(true, 100)
  decoder:feed(core.frame("text", "hello, world", true))
  test.same({ decoder:next() }, { "text", "hello, world" })
end)
