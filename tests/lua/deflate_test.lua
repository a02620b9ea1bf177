local hash = require "hash"
local proc = require "proc"
local test = require "test"

-- What Python's zlib makes of the compressed bytes, as base64.
local function inflate(texts)
  local lines = {}
  for i, text in ipairs(texts) do lines[i] = hash.base64(hash.deflate(text)) end
  local program = "import sys, zlib, base64\nfor line in sys.stdin:\n"
    .. "    print(base64.b64encode(zlib.decompress(base64.b64decode(line))).decode())"
  local done = proc.run { "/usr/bin/python3", "-c", program, stdin = table.concat(lines, "\n") .. "\n" }
  test.equal(done.code, 0)
  local results = {}
  for line in done.stdout:gmatch "([^\n]*)\n" do results[#results + 1] = hash.unbase64(line) end
  return results
end

test("what is compressed is the same again after zlib has read it", function()
  local texts = { "", "a", "ab", "abc", ("a"):rep(1000), ("abc"):rep(200), ("x"):rep(258), ("x"):rep(259) }
  local every, random = {}, {}
  for i = 0, 255 do every[#every + 1] = string.char(i) end
  texts[#texts + 1] = table.concat(every):rep(3)
  local seed = 7
  for i = 1, 70000 do
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    random[i] = string.char(97 + (seed >> 16) % (i % 1000 < 500 and 3 or 26))
  end
  local long = table.concat(random)
  texts[#texts + 1] = long
  texts[#texts + 1] = long .. ("-"):rep(30000) .. long
  for distance = 32766, 32770 do texts[#texts + 1] = "marker" .. ("."):rep(distance - 6) .. "marker" end
  for i, back in ipairs(inflate(texts)) do assert(back == texts[i], "text " .. i .. " differs") end
end)

test("text that repeats itself gets smaller", function()
  local text = ("the quick brown fox jumps over the lazy dog\n"):rep(100)
  assert(#hash.deflate(text) < #text // 20)
end)
