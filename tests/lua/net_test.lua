-- Sockets: what is written is read, ends are seen, and a socket can be handed to another process.
local fs = require "fs"
local net = require "net"
local task = require "task"
local test = require "test"

local function pair()
  local listening = net.listen {}
  local _, port = listening:here()
  local left = net.connect { port = port }
  local right = listening:accept()
  listening:close()
  return left, right
end

local function code_of(run)
  local ok, problem = pcall(run)
  return not ok and problem.code
end

test("what one side writes the other reads, and an end is an end for one direction only", function()
  local left <close>, right = pair()
  local text = ("x"):rep(3000000)
  local writer = task.spawn(function()
    left:write(text)
    left:finish()
  end)
  local parts = {}
  for part in function() return right:read "10s" end do parts[#parts + 1] = part end
  writer:wait()
  test.equal(#table.concat(parts), #text)
  right:write "answer"
  test.equal(left:read "10s", "answer")
  right:close()
end)

test("both sides know their addresses", function()
  local left <close>, right = pair()
  local address, port = left:here()
  test.same({ right:peer() }, { address, port })
  test.same({ left:peer() }, { right:here() })
  test.same({ right:destination() }, { right:here() }) -- nothing redirected it
  right:close()
end)

test("nobody listens, nothing comes, it is closed: three errors", function()
  local listening = net.listen {}
  local _, port = listening:here()
  local closed = net.connect { port = port }
  closed:close()
  test.equal(code_of(function() closed:write "x" end), "Closed")
  local waiting = net.connect { port = port }
  test.equal(code_of(function() waiting:read(0.01) end), "Timeout")
  waiting:close()
  listening:close()
  local _, problem = net.try.connect { port = port }
  test.equal(problem.code, "ECONNREFUSED")
end)

test("a reset is seen as such", function()
  local left <close>, right = pair()
  left:reset()
  test.equal(code_of(function() right:read "10s" end), "ECONNRESET")
  right:close()
end)

test("closing a listening socket ends the wait of who accepts", function()
  local listening = net.listen {}
  local waiter = task.spawn(function() return listening:accept() == nil end)
  task.sleep(0)
  listening:close()
  test.equal(waiter:wait "10s", true)
end)

test("a socket goes over a unix socket with its text", function()
  local path = fs.join(test.tmpdir(), "socket")
  local listening <close> = net.listen { path = path }
  local one <close> = net.connect { path = path }
  local two <close> = listening:accept()
  local left <close>, right = pair()
  one:send("here it is", right)
  right:close()
  local text, right_again = two:receive "10s"
  test.equal(text, "here it is")
  left:write "hello"
  test.equal(right_again:read "10s", "hello")
  right_again:close()
  one:write "no socket"
  local plain, none = two:receive "10s"
  test.same({ plain, none == nil }, { "no socket", true })
end)
